//! `install --system` and `--global`: our hooks in git's configuration, for all repositories.
use std::{
    path::{Path, PathBuf},
    process::Command,
};

use durable::storage::Disk;

use super::{
    super::{
        environment,
        git_version::GitOnPath,
        report::{Exit, Failure},
    },
    hook_program,
};
use crate::hook::{
    POST_RECEIVE, PRE_RECEIVE,
    configured::{
        SINCE,
        install::{InPlace, Scope, file_of, install},
    },
    install::Change,
};

/// Installs the hooks for all repositories of `scope`, and prints what was done and what to do next.
///
/// # Errors
/// There is no `stargate-hook`, or the configuration cannot be changed.
pub fn main(scope: Scope, pre_receive: bool) -> Result<Exit, Failure> {
    let file = file_of(scope, &environment)?.ok_or_else(|| {
        Failure::new(
            Exit::Misconfigured,
            "HOME is not set, so the user's git configuration is unknown",
        )
        .hint("Set HOME or GIT_CONFIG_GLOBAL, or use --system.")
    })?;
    let program = match hook_program()? {
        (program, true) => program,
        (program, false) => {
            let what = format!("there is no stargate-hook beside {}", program.display());
            return Err(Failure::new(Exit::Misconfigured, what).hint("Copy stargate-hook into that folder."));
        }
    };
    // post-receive first: pre-receive must not promise a record that no hook makes.
    let hooks = [POST_RECEIVE, PRE_RECEIVE];
    let in_place = install(&Disk, &file, &program, &hooks[..if pre_receive { 2 } else { 1 }])?;
    print!("{}", text(scope, &file, &program, &in_place));
    warn(scope, &file);
    Ok(Exit::Done)
}

fn text(scope: Scope, file: &Path, program: &Path, in_place: &[InPlace]) -> String {
    let (file, program, (major, minor)) = (file.display(), program.display(), SINCE);
    let sections = in_place.iter().map(|InPlace { name, change }| match change {
        Change::Installed | Change::Chained => format!("Added hook.{name} to {file}.\n"),
        Change::Updated => format!("Updated hook.{name} in {file}.\n"),
        Change::Unchanged => format!("hook.{name} is already in {file}; nothing was changed.\n"),
    });
    let pushes = match scope {
        Scope::System => "every push to a repository of this machine",
        Scope::Global => "every push that this user receives",
    };
    sections.collect::<String>()
        + &format!(
            "git {major}.{minor} and later runs {program} for {pushes}.\n\
             Older versions of git ignore these sections.\n\
             Keep the program at that path: if it is missing, git rejects every push.\n\
             The hook records pushes to repositories that have stargate.remote. It does nothing in other repositories, and\n\
             in those where `stargate-mirror install` has put it into the hooks folder.\n\
             \nNext, set the mirror of a repository, and check it:\n\
             \n    git config -f DIR/config stargate.remote https://github.com/OWNER/NAME.git\
             \n    stargate-mirror doctor --repo DIR\n"
        )
}

/// Warns on stderr if the git on `PATH` ignores the file or its hooks.
fn warn(scope: Scope, file: &Path) {
    let git = GitOnPath::look();
    if !git.runs_configured_hooks() {
        let (major, minor) = SINCE;
        eprintln!("{git}; the hooks need git {major}.{minor} or later.");
    }
    if let Some(other) = system_file().filter(|other| scope == Scope::System && other != file) {
        let (file, other) = (file.display(), other.display());
        eprintln!(
            "The git on PATH reads {other}, not {file}. If that git serves the repositories, run this command again with\n\
             GIT_CONFIG_SYSTEM={other}."
        );
    }
}

/// Returns the system configuration that the git on `PATH` reads. `None` if there is no git, or it is older than 2.42.
fn system_file() -> Option<PathBuf> {
    let output = Command::new("git").args(["var", "GIT_CONFIG_SYSTEM"]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    let path = path.trim_end_matches('\n');
    (output.status.success() && !path.is_empty()).then(|| path.into())
}
