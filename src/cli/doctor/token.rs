//! Checks of the token for the mirror: its file, and its end.
use std::path::Path;

use durable::clock::{Clock, SystemClock};
use git_push_transport::{Location, Remote, Settings, TokenEnd};

use super::{Check, Verdict, failed};
use crate::{
    config::Config,
    worker::{self, Memory, TokenExpiry},
};

const TOKEN: &str = "token";

/// Checks that other users cannot read the file with the token, or with the key of the GitHub App. Returns none if there is no
/// such file, or it is fine.
pub(super) fn file(location: &Location, settings: &Settings) -> Option<Check> {
    let path = match Remote::secret_file(location, settings) {
        Ok(path) => path?,
        Err(error) => return Some(failed(TOKEN, &error)),
    };
    match mode(&path) {
        Ok(mode) if mode & 0o007 != 0 => {
            let found = format!(
                "{} is open to every user of this machine (mode {mode:04o})",
                path.display()
            );
            Some(Check::new(TOKEN, Verdict::Warning, found).hint(format!("chmod o= {}", path.display())))
        }
        Ok(_) => None,
        Err(error) => {
            let found = format!("cannot read the mode of {}: {error}", path.display());
            Some(Check::new(TOKEN, Verdict::Warning, found))
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

/// Checks the end of a token that the mirror has accepted. Returns none if the mirror does not report it.
pub(super) fn end(config: &Config, remote: &mut Remote) -> Option<Check> {
    let seen = remote.token_use();
    let end = match (seen.ends, worker::forge_at(remote.location(), config.forge)) {
        _ if !seen.accepted => return None,
        _ if seen.renews => {
            let found = "the GitHub App makes tokens, each of which is renewed before its end";
            return Some(Check::new(TOKEN, Verdict::Ok, found));
        }
        (Some(end), _) => TokenEnd::At(end),
        (None, Some(forge)) => match remote.token_end(forge) {
            Ok(end) => end,
            Err(error) => {
                let found = format!("cannot ask for the end of the token: {error}");
                return Some(Check::new(TOKEN, Verdict::Warning, found));
            }
        },
        (None, None) => return None,
    };
    match end {
        TokenEnd::At(at) => {
            let expiry = TokenExpiry::new(at, SystemClock::default().now());
            let check = |verdict| Check::new(TOKEN, verdict, expiry.to_string());
            Some(if expiry.is_near() {
                check(Verdict::Warning).hint("make a new token, and put it in the place of the old one")
            } else {
                check(Verdict::Ok)
            })
        }
        TokenEnd::Never => Some(Check::new(TOKEN, Verdict::Ok, "the token has no end")),
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
