//! Checks of the hooks: those in the hooks folder, and those that git runs from its configuration.
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use super::{
    Subject,
    checks::{
        check::{Check, Name, Verdict},
        commands::Commands,
        hook_file::{self, HookFacts, Wrapper},
    },
};
use crate::{
    cli::{git_version::GitOnPath, install::hook_program},
    config::git_config,
    hook::{
        PRE_RECEIVE,
        configured::{
            self, SINCE,
            sections::{self, Section},
        },
        install::{self, Chain, Standing},
    },
};

/// Bytes of a hook of another program in which the name of a server is looked for.
const BEGINNING: u64 = 64 << 10;

/// Checks the hooks of the repository. Runs `git --version`.
pub(super) fn checks(subject: &Subject<'_>) -> Vec<Check> {
    try_checks(subject).unwrap_or_else(|error| vec![Check::new(Name::Hook, Verdict::Problem, error)])
}

fn try_checks(subject: &Subject<'_>) -> Result<Vec<Check>, String> {
    let git_dir = subject.git_dir;
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
            commands: &subject.commands,
        };
        let sections = sections::find(&config, name).map_err(unreadable)?;
        checks.extend(hook.checks(git_dir, &sections)?);
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
    commands: &'a Commands,
}

impl Hook<'_> {
    fn checks(&self, git_dir: &Path, sections: &[Section]) -> Result<Vec<Check>, String> {
        let runs = sections.iter().filter(|section| section.is_enabled).count();
        let is_covered = runs > 0 && !self.git.is_too_old();
        let mut checks = Vec::new();
        if self.standing == Standing::Ours || !is_covered {
            checks.extend(self.in_folder(git_dir)?);
        }
        checks.extend(sections.iter().map(|section| self.in_configuration(section)));
        if runs > 1 && is_covered && self.standing != Standing::Ours {
            let found = format!(
                "{runs} sections of git's configuration record each push as {}",
                self.name
            );
            let hint = "remove all but one with `git config --remove-section`";
            checks.push(Check::new(Name::Hook, Verdict::Warning, found).hint(hint));
        }
        Ok(checks)
    }

    /// Checks of the program in the hooks folder.
    fn in_folder(&self, git_dir: &Path) -> Result<Vec<Check>, String> {
        let unreadable = |error: io::Error| format!("cannot read {}: {error}", self.path.display());
        let path = self.path.display().to_string();
        let is_ours = self.standing == Standing::Ours;
        let facts = HookFacts {
            name: self.name,
            standing: self.standing,
            chain: self.chain()?,
            is_kept: install::exists(Path::new(&format!("{path}.chained"))).map_err(|error| error.to_string())?,
            wrapper: if self.standing == Standing::Foreign {
                self.wrapper().map_err(unreadable)?
            } else {
                None
            },
            other_version: if is_ours { self.other_version()? } else { None },
            bypassed: if is_ours { None } else { self.bypassed(git_dir)? },
            path: &path,
        };
        Ok(hook_file::checks(&facts, self.commands))
    }

    fn chain(&self) -> Result<Chain, String> {
        install::chain_of(self.path).map_err(|error| error.to_string())
    }

    /// Returns the server to which the hook belongs. A dangling link is nobody's.
    fn wrapper(&self) -> io::Result<Option<Wrapper>> {
        let mut beginning = Vec::new();
        match File::open(self.path) {
            Ok(file) => file.take(BEGINNING).read_to_end(&mut beginning)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Wrapper::of(&beginning))
    }

    /// Returns the program that `install` would put there, if the hook is another one.
    fn other_version(&self) -> Result<Option<String>, String> {
        let unreadable = |error: io::Error| format!("cannot compare {} with the program: {error}", self.path.display());
        let (program, _) = hook_program().map_err(|failure| failure.to_string())?;
        let is_same = is_same_file(&program, self.path).map_err(unreadable)?;
        Ok((!is_same).then(|| program.display().to_string()))
    }

    /// Returns the hook in the folder of the repository, if it is ours, and `core.hooksPath` is another folder.
    fn bypassed(&self, git_dir: &Path) -> Result<Option<String>, String> {
        let own = git_dir.join("hooks").join(self.path.file_name().unwrap_or_default());
        let standing = install::standing_at(&own).map_err(|error| error.to_string())?;
        Ok((own != self.path && standing == Standing::Ours).then(|| own.display().to_string()))
    }

    /// Check of a section of git's configuration.
    fn in_configuration(&self, section: &Section) -> Check {
        let (shown, git, (major, minor)) = (described(section), self.git, SINCE);
        let found = |verdict, what: String| Check::new(Name::Hook, verdict, format!("{shown}{what}"));
        if !section.is_enabled {
            found(Verdict::Ok, " is disabled".to_owned())
        } else if git.is_too_old() {
            let what = format!(" has no effect: it needs git {major}.{minor} or later, and {git}");
            found(Verdict::Warning, what)
        } else if !section.is_executable() {
            self.without_program(section)
        } else if self.standing == Standing::Ours {
            let own = self.path.display();
            found(Verdict::Ok, format!(" also runs, but {own} records the pushes"))
        } else if !self.is_mirrored {
            let what = " does nothing, because the repository has no mirror".to_owned();
            let set = self.commands.set("stargate.remote", "URL");
            found(Verdict::Warning, what).hint(format!("run {set} with the URL of the mirror"))
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
        Check::new(Name::Hook, Verdict::Problem, found)
            .hint("install the program there, or remove the section with `git config --remove-section`")
    }
}

fn described(section: &Section) -> String {
    match &section.file {
        Some(file) => format!("hook.{} in {}", section.name, file.display()),
        None => format!("hook.{} in the environment", section.name),
    }
}

/// Returns true if two files have the same bytes. Their lengths differ in most other versions.
fn is_same_file(one: &Path, other: &Path) -> io::Result<bool> {
    if fs::metadata(one)?.len() != fs::metadata(other)?.len() {
        return Ok(false);
    }
    let mut readers = (BufReader::new(File::open(one)?), BufReader::new(File::open(other)?));
    loop {
        let (one, other) = (readers.0.fill_buf()?, readers.1.fill_buf()?);
        let length = one.len().min(other.len());
        if length == 0 || one[..length] != other[..length] {
            return Ok(one.is_empty() && other.is_empty());
        }
        readers.0.consume(length);
        readers.1.consume(length);
    }
}
