//! Checks of the hooks: those in the hooks folder, and those that git runs from its configuration.
use std::path::Path;

use super::{Check, Verdict};
use crate::{
    cli::git_version::GitOnPath,
    config::git_config,
    hook::{
        PRE_RECEIVE,
        configured::{
            self, SINCE,
            sections::{self, Section},
        },
        install::{self, Standing},
    },
};

/// Name of a check of a hook.
const HOOK: &str = "hook";

/// Checks the hooks of the repository at `git_dir`. Runs `git --version`.
pub(super) fn checks(git_dir: &Path) -> Vec<Check> {
    try_checks(git_dir).unwrap_or_else(|error| vec![Check::new("hooks", Verdict::Problem, error)])
}

fn try_checks(git_dir: &Path) -> Result<Vec<Check>, String> {
    let unreadable = |error| format!("cannot read git's configuration: {error}");
    let config = git_config(git_dir).map_err(unreadable)?;
    let is_mirrored = configured::is_mirrored(git_dir, &config);
    let git = GitOnPath::look();
    let mut checks = Vec::new();
    for (path, standing) in install::look(git_dir).map_err(|error| error.to_string())? {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let hook = Hook {
            name,
            path: &path,
            standing,
            is_mirrored,
            git: &git,
        };
        let sections = sections::find(&config, name).map_err(unreadable)?;
        checks.extend(hook.checks(git_dir, &sections));
    }
    Ok(checks)
}

/// A hook of a repository.
struct Hook<'a> {
    name: &'a str,
    /// Path in the hooks folder.
    path: &'a Path,
    standing: Standing,
    is_mirrored: bool,
    git: &'a GitOnPath,
}

impl Hook<'_> {
    fn checks(&self, git_dir: &Path, sections: &[Section]) -> Vec<Check> {
        let runs = sections.iter().filter(|section| section.is_enabled).count();
        let is_covered = runs > 0 && !self.git.is_too_old();
        let mut checks = Vec::new();
        if self.standing == Standing::Ours || !is_covered {
            checks.push(self.in_folder(git_dir));
        }
        checks.extend(sections.iter().map(|section| self.in_configuration(section)));
        if runs > 1 && is_covered && self.standing != Standing::Ours {
            let found = format!(
                "{runs} sections of git's configuration record each push as {}",
                self.name
            );
            checks.push(
                Check::new(HOOK, Verdict::Warning, found).hint("remove all but one with `git config --remove-section`"),
            );
        }
        checks
    }

    /// Check of the program in the hooks folder.
    fn in_folder(&self, git_dir: &Path) -> Check {
        let shown = self.path.display();
        let install = format!("run `stargate-mirror install --repo {}`", git_dir.display());
        match self.standing {
            Standing::Ours => Check::new(HOOK, Verdict::Ok, shown.to_string()),
            Standing::NoProgram => {
                Check::new(HOOK, Verdict::Problem, format!("{shown} is not executable")).hint(install)
            }
            Standing::Foreign => {
                let found = format!("{shown} was not installed by stargate-mirror");
                Check::new(HOOK, Verdict::Problem, found).hint(format!("{install} with --chain, which keeps it"))
            }
            Standing::Missing if self.name == PRE_RECEIVE => {
                let found = format!("{shown} is missing: pushes are accepted even if they cannot be recorded");
                Check::new(HOOK, Verdict::Warning, found).hint(install)
            }
            Standing::Missing => Check::new(HOOK, Verdict::Problem, format!("{shown} is missing")).hint(install),
        }
    }

    /// Check of a section of git's configuration.
    fn in_configuration(&self, section: &Section) -> Check {
        let (shown, git, (major, minor)) = (described(section), self.git, SINCE);
        let found = |verdict, what: String| Check::new(HOOK, verdict, format!("{shown}{what}"));
        if !section.is_enabled {
            found(Verdict::Ok, " is disabled".to_owned())
        } else if git.is_too_old() {
            let what = format!(" has no effect: it needs git {major}.{minor} or later, and {git}");
            found(Verdict::Warning, what)
        } else if !section.is_executable() {
            self.without_program(section)
        } else if self.standing == Standing::Ours {
            let own = self.path.display();
            found(Verdict::Ok, format!(" runs, too, and leaves pushes to {own}"))
        } else if !self.is_mirrored {
            let what = " does nothing, because the repository has no mirror".to_owned();
            found(Verdict::Warning, what).hint("set stargate.remote")
        } else if git.runs_configured_hooks() {
            found(Verdict::Ok, format!("; {git}"))
        } else {
            found(
                Verdict::Warning,
                format!(" needs git {major}.{minor} or later, and {git}"),
            )
        }
    }

    /// Check of a section whose program git cannot run.
    fn without_program(&self, section: &Section) -> Check {
        let (shown, program) = (described(section), section.program.display());
        let so = if self.name == PRE_RECEIVE {
            "git rejects every push"
        } else {
            "it records nothing"
        };
        let found = format!("{shown} runs {program}, which is missing or not executable: {so}");
        Check::new(HOOK, Verdict::Problem, found)
            .hint("install the program there, or remove the section with `git config --remove-section`")
    }
}

fn described(section: &Section) -> String {
    match &section.file {
        Some(file) => format!("hook.{} in {}", section.name, file.display()),
        None => format!("hook.{} in the environment", section.name),
    }
}
