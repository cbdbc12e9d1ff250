//! Checks of the token for the mirror: its file, and its end.
use std::path::Path;

use durable::clock::{Clock, SystemClock};
use git_push_transport::{Forge, Location, Remote, Settings, TokenEnd};

use super::{
    checks::{
        check::{Check, Name, Verdict},
        commands::quoted,
    },
    mirror::failed,
};
use crate::worker::{self, Memory, TokenExpiry};

/// Checks that other users cannot read the file with the token, or with the key of the GitHub App. Returns none if there is no
/// such file, or it is fine.
pub(super) fn file(location: &Location, settings: &Settings) -> Option<Check> {
    let path = match Remote::secret_file(location, settings) {
        Ok(path) => path?,
        Err(error) => return Some(failed(Name::Token, &error)),
    };
    match mode(&path) {
        Ok(mode) if mode & 0o007 != 0 => {
            let found = format!(
                "{} is open to every user of this machine (mode {mode:04o})",
                path.display()
            );
            Some(
                Check::new(Name::Token, Verdict::Warning, found)
                    .hint(format!("run `chmod o= {}`", quoted(&path.display().to_string()))),
            )
        }
        Ok(_) => None,
        Err(error) => {
            let found = format!("cannot read the mode of {}: {error}", path.display());
            Some(Check::new(Name::Token, Verdict::Warning, found))
        }
    }
}

#[cfg(unix)]
fn mode(path: &Path) -> std::io::Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o7777)
}

#[cfg(not(unix))]
fn mode(_: &Path) -> std::io::Result<u32> {
    Ok(0)
}

/// Checks the scopes and the end of a token that the mirror has accepted. Returns nothing if the mirror reports neither.
pub(super) fn checks(forge: Option<Forge>, remote: &mut Remote) -> Vec<Check> {
    let seen = remote.token_use();
    if !seen.accepted {
        return Vec::new();
    }
    if seen.renews {
        let found = "the GitHub App creates tokens, and renews each before it expires";
        return vec![Check::new(Name::Token, Verdict::Ok, found)];
    }
    let asked = forge.map(|forge| remote.token_end(forge));
    let mut checks: Vec<Check> = scopes(remote).into_iter().collect();
    checks.extend(match (seen.ends, asked) {
        (Some(end), _) => ends(TokenEnd::At(end)),
        (None, Some(Ok(end))) => ends(end),
        (None, Some(Err(error))) => {
            let found = format!("cannot find out when the token expires: {error}");
            let hint = error.hint().unwrap_or("run `stargate-mirror doctor` again later");
            Some(Check::new(Name::Token, Verdict::Warning, found).hint(hint))
        }
        (None, None) => None,
    });
    checks
}

/// Checks the scopes, if the forge has reported them.
fn scopes(remote: &mut Remote) -> Option<Check> {
    let found = "the scopes of the token do not allow pushes";
    remote.token_use().lacks_write_scope.then(|| {
        Check::new(Name::Token, Verdict::Problem, found).hint(
            "create a token with write access: on GitHub the scope repo, or Contents (read and write) of a \
             fine-grained token; on GitLab the scope write_repository",
        )
    })
}

fn ends(end: TokenEnd) -> Option<Check> {
    match end {
        TokenEnd::At(at) => {
            let expiry = TokenExpiry::new(at, SystemClock::default().now());
            let check = |verdict| Check::new(Name::Token, verdict, expiry.to_string());
            Some(if expiry.is_near() {
                check(Verdict::Warning).hint("create a new token, and replace the old one with it")
            } else {
                check(Verdict::Ok)
            })
        }
        TokenEnd::Never => Some(Check::new(Name::Token, Verdict::Ok, "the token does not expire")),
        _ => None,
    }
}

/// Adds to an error the time until which the token was accepted.
pub(super) fn explained(error: git_push::Error, remote: &mut Remote, memory: &Path) -> git_push::Error {
    // A memory that cannot be read is reported by `status`.
    let memory = Memory::read(memory).unwrap_or_default();
    let remembered = memory.tokens.get(&remote.location().to_string());
    worker::with_last_acceptance(error, remote.token_use(), remembered)
}
