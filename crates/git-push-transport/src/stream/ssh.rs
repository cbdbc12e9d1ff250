//! The system's `ssh`, as git runs it (git, *GIT_SSH*, *GIT_SSH_COMMAND*; git-config, *core.sshCommand*, *ssh.variant*).
use std::{
    ffi::{OsStr, OsString},
    io::{self, Read},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use bstr::{BStr, BString, ByteSlice};
use git_push::{Error, ErrorKind};
use gix::url::ArgumentSafety;

use super::channel::{Channel, Dial};
use super::child::Program;
use crate::service::Service;
use crate::settings::{Settings, SshSettings};
use crate::token::TOKEN_VARIABLE;

/// Kinds of ssh programs, which take different arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    OpenSsh,
    Plink,
    TortoisePlink,
    /// Takes a host and a command, and no option.
    Simple,
}

/// A repository that is reached through a program.
pub(super) struct Ssh {
    settings: SshSettings,
    /// With the user, where there is one.
    host: String,
    port: Option<u16>,
    path: BString,
    idle_timeout: Duration,
}

impl Ssh {
    pub(super) fn new(url: &gix::Url, settings: &Settings) -> Result<Self, Error> {
        let misconfigured = |what: String| Error::new(ErrorKind::Misconfigured, what).with_hint("correct the URL");
        if url.password().is_some() {
            return Err(misconfigured("ssh takes no password, but the URL contains one".into())
                .with_hint("remove the password from the URL, and use a key"));
        }
        // An option instead of a host could run any program.
        let host = url.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let host = match url.user_as_argument() {
            ArgumentSafety::Absent => bare.to_owned(),
            ArgumentSafety::Usable(user) => format!("{user}@{bare}"),
            ArgumentSafety::Dangerous(user) => {
                return Err(misconfigured(format!(
                    "the user {user:?} of the URL looks like an option of ssh"
                )));
            }
        };
        if bare.is_empty() || bare.starts_with('-') || host.contains(char::is_control) {
            return Err(misconfigured(format!(
                "the host {bare:?} of the URL is empty or looks like an option of ssh"
            )));
        }
        let path = home_relative(url.path.as_bstr());
        if path.is_empty() || path.starts_with(b"-") || path.contains(&0) {
            return Err(misconfigured(format!(
                "the path {path:?} of the URL is empty or looks like an option of ssh"
            )));
        }
        Ok(Ssh {
            settings: settings.ssh.clone(),
            host,
            port: url.port,
            path: path.into(),
            idle_timeout: settings.idle_timeout,
        })
    }

    fn command(&self, service: Service, protocol_2: bool) -> Result<Command, Error> {
        self.remote_command(service.name(), "", protocol_2)
    }

    /// Returns the command that runs `program` on the server, with the path and the words behind it.
    fn remote_command(&self, program: &str, words: &str, protocol_2: bool) -> Result<Command, Error> {
        let variant = self.variant();
        let mut arguments: Vec<OsString> = Vec::new();
        if variant == Variant::OpenSsh && protocol_2 {
            arguments.extend(["-o".into(), "SendEnv=GIT_PROTOCOL".into()]);
        }
        if variant == Variant::TortoisePlink {
            arguments.push("-batch".into());
        }
        if let Some(port) = self.port {
            let flag = match variant {
                Variant::OpenSsh => "-p",
                Variant::Plink | Variant::TortoisePlink => "-P",
                Variant::Simple => {
                    let what = "the configured ssh program takes no port, but the URL has one";
                    return Err(Error::new(ErrorKind::Misconfigured, what)
                        .with_hint("set ssh.variant or GIT_SSH_VARIANT to the kind of the program"));
                }
            };
            arguments.extend([flag.into(), port.to_string().into()]);
        }
        // The shell of the server splits it.
        let mut remote = BString::from(format!("{program} "));
        remote.extend_from_slice(&gix::quote::single(self.path.as_bstr()));
        remote.extend_from_slice(words.as_bytes());
        let remote = gix::path::from_bstring(remote).map_err(|_| {
            Error::new(
                ErrorKind::Misconfigured,
                "the path cannot be an argument of a program on this system",
            )
        })?;
        arguments.extend([self.host.clone().into(), remote.into()]);
        let mut command = self.program(arguments)?;
        if variant == Variant::OpenSsh && protocol_2 {
            command.env("GIT_PROTOCOL", "version=2");
        }
        Ok(command)
    }

    /// Returns the program with these arguments. Removes the token from its environment, because ssh could send
    /// it on.
    fn program(&self, arguments: Vec<OsString>) -> Result<Command, Error> {
        let prepared = match (&self.settings.command, &self.settings.program) {
            (Some(line), _) => gix::command::prepare(line.clone()).command_may_be_shell_script(),
            (None, Some(program)) => gix::command::prepare(program.clone()),
            (None, None) => gix::command::prepare("ssh"),
        };
        let mut command = Command::try_from(prepared.args(arguments)).map_err(|error| {
            Error::new(
                ErrorKind::Misconfigured,
                format!("the ssh command cannot be run: {error}"),
            )
        })?;
        command.env_remove(TOKEN_VARIABLE).env_remove("GIT_PROTOCOL");
        Ok(command)
    }

    fn variant(&self) -> Variant {
        let named = |name: &str| match name.to_ascii_lowercase().as_str() {
            "ssh" => Some(Variant::OpenSsh),
            "plink" | "putty" => Some(Variant::Plink),
            "tortoiseplink" => Some(Variant::TortoisePlink),
            _ => None,
        };
        match self.settings.variant.as_deref() {
            Some("simple") => Variant::Simple,
            Some(name) if named(name).is_some() => named(name).unwrap_or(Variant::OpenSsh),
            _ => named(&program_name(&self.settings)).unwrap_or_else(|| self.detect()),
        }
    }

    /// Detects OpenSSH by its option `-G` (print the configuration of a host), as git does.
    fn detect(&self) -> Variant {
        let arguments = vec!["-G".into(), self.host.clone().into()];
        let asked = self.program(arguments).ok().and_then(|mut command| {
            let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            quiet.status().ok()
        });
        match asked {
            Some(status) if status.success() => Variant::OpenSsh,
            _ => Variant::Simple,
        }
    }
}

impl Ssh {
    fn start(&self, command: Command) -> Result<Program, Error> {
        let name = program_name(&self.settings);
        let started = Program::start(command, &name, self.idle_timeout);
        started.map_err(|error| {
            let what = match error.kind() {
                io::ErrorKind::NotFound => format!("the program {name} is not installed"),
                _ => format!("the program {name} cannot be started: {error}"),
            };
            Error::new(ErrorKind::Misconfigured, what)
                .with_hint("install OpenSSH's client, or correct core.sshCommand or GIT_SSH_COMMAND")
        })
    }

    /// Runs `program` on the server, with the path and these words, and returns what it prints, up to `limit` bytes.
    pub(super) fn output(&self, program: &str, words: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let mut started = self.start(self.remote_command(program, &format!(" {words}"), false)?)?;
        let mut printed = Vec::new();
        let read = (&mut started).take(limit + 1).read_to_end(&mut printed);
        if let Err(error) = read {
            let what = format!("{program} did not answer: {error}");
            return Err(started
                .last_words()
                .unwrap_or_else(|| Error::new(ErrorKind::Transient, what)));
        }
        if printed.len() as u64 > limit {
            let what = format!("{program} printed more than {limit} bytes");
            return Err(Error::new(ErrorKind::Rejected, what));
        }
        match started.last_words() {
            Some(error) if printed.is_empty() => Err(error),
            _ => Ok(printed),
        }
    }
}

impl Dial for Ssh {
    fn dial(&self, service: Service, protocol_2: bool) -> Result<Box<dyn Channel>, Error> {
        Ok(Box::new(self.start(self.command(service, protocol_2)?)?))
    }
}

/// Returns the name of the program, without folders and extension.
fn program_name(settings: &SshSettings) -> String {
    let program = settings.command.as_deref().or(settings.program.as_deref());
    let text = program.unwrap_or(OsStr::new("ssh")).to_string_lossy();
    let first = if settings.command.is_some() {
        let word = text.split_whitespace().next().unwrap_or_default();
        word.trim_matches(['"', '\''])
    } else {
        &text
    };
    let stem = Path::new(first).file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// Removes the first slash of `/~user/…`, a path below the home of a user.
fn home_relative(path: &BStr) -> &BStr {
    match path.strip_prefix(b"/") {
        Some(below) if below.starts_with(b"~") => below.as_bstr(),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(url: &str, settings: SshSettings) -> Result<Ssh, Error> {
        let all = Settings {
            ssh: settings,
            ..Settings::default()
        };
        Ssh::new(&gix::url::parse(url).expect("a URL"), &all)
    }

    /// Program and arguments, one after the other.
    fn words(url: &str, settings: SshSettings, protocol_2: bool) -> Result<String, Error> {
        let command = ssh(url, settings)?.command(Service::UploadPack, protocol_2)?;
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        Ok(words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join("|"))
    }

    fn variant(name: &str) -> SshSettings {
        SshSettings {
            variant: Some(name.into()),
            program: Some("carrier".into()),
            command: None,
        }
    }

    #[test]
    fn host_port_and_path_become_arguments() {
        let cases = [
            ("ssh://host/o/r.git", "ssh|host|git-upload-pack '/o/r.git'"),
            (
                "ssh://me@host:2222/o/r.git",
                "ssh|-p|2222|me@host|git-upload-pack '/o/r.git'",
            ),
            ("git@host:o/r.git", "ssh|git@host|git-upload-pack 'o/r.git'"),
            ("host:/o/r.git", "ssh|host|git-upload-pack '/o/r.git'"),
            ("ssh://host/~me/r.git", "ssh|host|git-upload-pack '~me/r.git'"),
            ("ssh://[::1]:22/r", "ssh|-p|22|::1|git-upload-pack '/r'"),
            ("host:it's!", "ssh|host|git-upload-pack 'it'\\''s'\\!''"),
            ("host:a b;rm $HOME", "ssh|host|git-upload-pack 'a b;rm $HOME'"),
        ];
        for (url, expected) in cases {
            assert_eq!(words(url, SshSettings::default(), false).expect(url), expected, "{url}");
        }
    }

    #[test]
    fn protocol_2_is_asked_for_in_the_environment() {
        let command = ssh("host:r", SshSettings::default()).expect("ssh");
        let command = command.command(Service::UploadPack, true).expect("a command");
        let protocol = command.get_envs().find(|(name, _)| *name == "GIT_PROTOCOL");
        assert_eq!(
            protocol,
            Some((OsStr::new("GIT_PROTOCOL"), Some(OsStr::new("version=2"))))
        );
        assert!(command.get_args().any(|argument| argument == "SendEnv=GIT_PROTOCOL"));
        let token = command.get_envs().find(|(name, _)| *name == TOKEN_VARIABLE);
        assert_eq!(token, Some((OsStr::new(TOKEN_VARIABLE), None)), "it is taken away");
    }

    #[test]
    fn every_kind_of_program_is_told_the_port_in_its_way() {
        let url = "ssh://host:22/r";
        let told = |name| words(url, variant(name), true);
        assert_eq!(
            told("ssh").expect("ssh"),
            "carrier|-o|SendEnv=GIT_PROTOCOL|-p|22|host|git-upload-pack '/r'"
        );
        assert_eq!(told("plink").expect("plink"), "carrier|-P|22|host|git-upload-pack '/r'");
        assert_eq!(
            told("tortoiseplink").expect("it"),
            "carrier|-batch|-P|22|host|git-upload-pack '/r'"
        );
        let error = told("simple").expect_err("no port");
        assert!(error.to_string().contains("takes no port"), "{error}");
        assert_eq!(
            words("host:r", variant("simple"), true).expect("no port"),
            "carrier|host|git-upload-pack 'r'"
        );
    }

    #[test]
    fn options_in_the_place_of_a_host_user_or_path_are_refused() {
        let urls = [
            "ssh://-oProxyCommand=evil/r",
            "ssh://-oProxyCommand=evil@host/r",
            "-oProxyCommand=evil:r",
            "host:-evil",
            "ssh://me:canary@host/r",
        ];
        for url in urls {
            let Ok(parsed) = gix::url::parse(url) else { continue };
            if parsed.scheme != gix::url::Scheme::Ssh {
                continue;
            }
            let error = words(url, SshSettings::default(), false).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{url}");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}
