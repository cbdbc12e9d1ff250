//! Choice of the ssh client.
use git_push::Error;

#[cfg(feature = "ssh-builtin")]
use super::builtin::Builtin;
use super::channel::{Channel, Dial};
use super::ssh::Ssh;
use super::target::Target;
use crate::settings::{Settings, SshClient, SshSettings};

/// Returns the client for the repository at `url`.
pub(super) fn dial(url: &gix::Url, settings: &Settings) -> Result<Box<dyn Dial>, Error> {
    let target = Target::new(url, settings.receive_pack.clone())?;
    if !uses_builtin(&settings.ssh, has_program) {
        return Ok(Box::new(Ssh::new(target, settings)));
    }
    #[cfg(feature = "ssh-builtin")]
    return Ok(Box::new(Builtin::new(target, settings)));
    #[cfg(not(feature = "ssh-builtin"))]
    Err(not_built())
}

/// Starts `program` on the server of `url`, with the path of the URL and these words.
pub(super) fn run(url: &gix::Url, settings: &Settings, program: &str, words: &str) -> Result<Box<dyn Channel>, Error> {
    let target = Target::new(url, None)?;
    if !uses_builtin(&settings.ssh, has_program) {
        return Ssh::new(target, settings).run(program, words);
    }
    #[cfg(feature = "ssh-builtin")]
    return Builtin::new(target, settings).run(program, words);
    #[cfg(not(feature = "ssh-builtin"))]
    Err(not_built())
}

#[cfg(not(feature = "ssh-builtin"))]
fn not_built() -> Error {
    Error::new(
        git_push::ErrorKind::Misconfigured,
        "stargate.sshClient is builtin, but this program was built without an ssh client",
    )
    .with_hint("build it with the feature ssh-builtin, or set stargate.sshClient to program")
}

/// Returns true if the built-in client is to be used.
fn uses_builtin(settings: &SshSettings, has_program: impl Fn() -> bool) -> bool {
    let is_configured = settings.command.is_some() || settings.program.is_some();
    match settings.client {
        SshClient::Program => false,
        SshClient::Builtin => true,
        SshClient::Auto if cfg!(not(feature = "ssh-builtin")) || is_configured => false,
        SshClient::Auto => settings.passphrase_file.is_some() || !has_program(),
    }
}

/// Returns true if there is a program `ssh` in `PATH`.
fn has_program() -> bool {
    let name = if cfg!(windows) { "ssh.exe" } else { "ssh" };
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_client_is_used_where_no_program_would_do() {
        let auto = SshSettings::default;
        let with = |client| SshSettings { client, ..auto() };
        let has_feature = cfg!(feature = "ssh-builtin");
        let passphrase = SshSettings {
            passphrase_file: Some("/file".into()),
            ..auto()
        };
        let configured = SshSettings {
            program: Some("/ssh".into()),
            ..passphrase.clone()
        };
        for (settings, has_program, expected) in [
            (auto(), true, false),
            (auto(), false, has_feature),
            (passphrase, true, has_feature),
            (configured, false, false),
            (with(SshClient::Program), false, false),
            (with(SshClient::Builtin), true, true),
        ] {
            assert_eq!(uses_builtin(&settings, || has_program), expected, "{settings:?}");
        }
    }
}
