//! Errors of ssh clients, with what to do.
use std::process::ExitStatus;

use git_push::{Error, ErrorKind};

/// Maximum number of bytes that are kept of the standard error of a service: the last ones.
pub(super) const MAX_WORDS: usize = 4096;

/// Instruction for a failure of ssh or of the program on the server.
const HINT: &str = "check that ssh reaches the host as the user of this process, and that the path is a repository";

/// Instruction for a server that accepts none of the keys.
const KEY_HINT: &str = "add the public key of the user of this process to the server (as a deploy key with write access), or \
                        name another private key: git config stargate.sshKey /PATH/OF/KEY";

/// Instruction for a host key that is unknown.
const HOST_KEY_HINT: &str = "compare the server's host key with the one its operator publishes, and add it to the known_hosts \
                             file of stargate.sshKnownHosts, else of the user of this process (ssh-keyscan HOST prints it)";

/// Instruction for a host key that has changed.
const CHANGED_HINT: &str = "ask the operator of the server whether the host key was replaced: somebody could be listening in. If \
                            it was, remove the old one from the known_hosts file (ssh-keygen -R HOST -f FILE), and add the new one";

/// End of a service on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// It ended without a failure.
    Success,
    /// It failed with this status.
    Failure(String),
    /// The client could not reach the server.
    Unreached,
    /// A signal ended it, or its end is unknown.
    Lost,
}

/// Returns the error for the end of the program `client` that provided a service.
pub(super) fn of_program(client: &str, status: Option<ExitStatus>, words: &str) -> Option<Error> {
    let ending = match status {
        Some(status) if status.success() => Ending::Success,
        // ssh itself failed. Every other code comes from the program on the server.
        Some(status) if status.code() == Some(255) => Ending::Unreached,
        Some(status) if status.code().is_some() => Ending::Failure(status.to_string()),
        _ => Ending::Lost,
    };
    ended(client, &ending, words)
}

/// Returns the error for the end of a service that `client` provided, and for what was written to standard error. None
/// if both are in order.
pub(super) fn ended(client: &str, ending: &Ending, words: &str) -> Option<Error> {
    let says = if words.is_empty() {
        String::new()
    } else {
        format!(": {words}")
    };
    let (kind, what) = match ending {
        Ending::Success if words.is_empty() => return None,
        Ending::Success => (ErrorKind::Transient, format!("{client} ended{says}")),
        Ending::Unreached => {
            if let Some(error) = refusal(client, words) {
                return Some(error);
            }
            (
                ErrorKind::Transient,
                format!("{client} could not reach the server{says}"),
            )
        }
        Ending::Failure(status) => (
            ErrorKind::Misconfigured,
            format!("the server could not serve the repository ({status}){says}"),
        ),
        Ending::Lost => (ErrorKind::Transient, format!("{client} was terminated{says}")),
    };
    Some(Error::new(kind, what).with_hint(HINT))
}

/// The server accepts none of the keys.
pub(super) fn key_refused(client: &str, words: &str) -> Error {
    let what = format!("{client} was refused by the server: {words}");
    Error::new(ErrorKind::Misconfigured, what).with_hint(KEY_HINT)
}

/// The host key is not a known one.
pub(super) fn host_key_refused(client: &str, words: &str, has_changed: bool) -> Error {
    let what = format!("{client} does not trust the server's host key: {words}");
    let hint = if has_changed { CHANGED_HINT } else { HOST_KEY_HINT };
    Error::new(ErrorKind::Misconfigured, what).with_hint(hint)
}

/// Returns the error for a message of OpenSSH after which a retry cannot succeed: the server accepts none of the keys,
/// or its host key is not the known one.
fn refusal(client: &str, words: &str) -> Option<Error> {
    let says = |text| words.contains(text);
    if says("Host key verification failed") || says("REVOKED HOST KEY") {
        let has_changed = says("IDENTIFICATION HAS CHANGED") || says("REVOKED HOST KEY");
        Some(host_key_refused(client, words, has_changed))
    } else if says("Permission denied (") || says("Too many authentication failures") {
        Some(key_refused(client, words))
    } else {
        None
    }
}

/// Returns the lines of standard error as one, safe for a terminal.
pub(super) fn in_one_line(bytes: &[u8]) -> String {
    lines(bytes).join("; ")
}

/// Returns the lines of standard error, safe for a terminal.
pub(super) fn lines(bytes: &[u8]) -> Vec<String> {
    let lines = bytes.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.map(git_push::cleaned).filter(|line| !line.is_empty()).collect()
}
