//! The hook `pre-push` (githooks): it may stop a push before anything is sent.
use std::{
    env::consts,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use bstr::{BStr, ByteSlice};
use durable::ownership::is_executable;
use git_push::ruling::Refusal;
use gix::Repository;

use super::{
    error::PushError,
    report::{Fate, RefReport},
    settings::GitSettings,
};

/// Name of the hook.
const NAME: &str = "pre-push";

/// Runs the hook, if there is one, with the remote's name and URL as arguments and the updates on standard input.
///
/// # Errors
/// [`PushError::Declined`] if it fails.
pub(super) fn run(repository: &Repository, name: &BStr, url: &BStr, refs: &[RefReport]) -> Result<(), PushError> {
    let Some(hook) = find(repository)? else {
        return Ok(());
    };
    let failed = |error: io::Error| PushError::Hook(hook.clone(), error.to_string());
    let mut command = Command::new(&hook);
    command.args([name, url].map(|text| text.to_os_str_lossy().into_owned()));
    command.current_dir(repository.workdir().unwrap_or(repository.git_dir()));
    let mut child = command.stdin(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(&lines(refs)) {
            // A hook need not read its input.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.map_err(failed)?,
        }
    }
    if child.wait().map_err(failed)?.success() {
        Ok(())
    } else {
        Err(PushError::Declined)
    }
}

/// Returns the hook's file, if it exists and can be run.
fn find(repository: &Repository) -> Result<Option<PathBuf>, PushError> {
    let settings = GitSettings::new(repository);
    let folder = match settings.program("core.hooksPath") {
        Some(path) => {
            let path = home_relative(Path::new(&path), repository)?;
            let base = repository.workdir().unwrap_or(repository.git_dir());
            base.join(path)
        }
        None => repository.common_dir().join("hooks"),
    };
    let hook = folder.join(NAME).with_extension(consts::EXE_EXTENSION);
    let metadata = match hook.metadata() {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        found => found.map_err(|error| PushError::Hook(hook.clone(), error.to_string()))?,
    };
    if !is_executable(&metadata) {
        tracing::warn!("the hook {} was ignored because it is not executable", hook.display());
        return Ok(None);
    }
    if repository.git_dir_trust() != gix::sec::Trust::Full {
        let why = "the repository belongs to another user";
        return Err(PushError::Hook(hook, why.into()));
    }
    let hook = std::path::absolute(&hook).map_err(|error| PushError::Hook(hook.clone(), error.to_string()))?;
    Ok(Some(hook))
}

/// Replaces `~/` by the user's home folder.
fn home_relative(path: &Path, repository: &Repository) -> Result<PathBuf, PushError> {
    let unusable = |error: gix::Error| PushError::Hook(path.to_owned(), git_push::causes(&error));
    let snapshot = repository.config_snapshot();
    let trusted = snapshot.trusted_path("core.hooksPath").map_err(unusable)?;
    Ok(trusted.unwrap_or_else(|| path.to_owned()))
}

/// Returns a line for each update that may be sent: `<local ref> <new id> <remote ref> <old id>`.
fn lines(refs: &[RefReport]) -> Vec<u8> {
    let is_left_out = |fate: &Fate| {
        let refused = [Refusal::NonFastForward, Refusal::StaleInfo, Refusal::RemoteUpdated];
        *fate == Fate::UpToDate || matches!(fate, Fate::Refused(refusal) if refused.contains(refusal))
    };
    let mut lines = Vec::new();
    for report in refs.iter().filter(|report| !is_left_out(&report.fate)) {
        let source = report
            .source
            .as_ref()
            .map_or(BStr::new("(delete)"), |source| source.as_bstr());
        lines.extend_from_slice(source);
        lines.extend_from_slice(format!(" {} ", report.new).as_bytes());
        lines.extend_from_slice(&report.name);
        lines.extend_from_slice(format!(" {}\n", report.old).as_bytes());
    }
    lines
}
