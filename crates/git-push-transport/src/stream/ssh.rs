//! The system's `ssh`, as git runs it (git, *GIT_SSH*, *GIT_SSH_COMMAND*; git-config, *core.sshCommand*, *ssh.variant*).
use std::{
    ffi::{OsStr, OsString},
    io,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use bstr::BString;
use git_push::{Error, ErrorKind};

use super::channel::{Channel, Dial};
use super::child::Program;
use super::key_file::{self, KeyFile};
use super::ssh_failure;
use super::target::Target;
use crate::child_environment::without_secrets;
use crate::service::Service;
use crate::settings::{Settings, SshSettings};

/// Instruction for a passphrase that the program does not take.
const NO_PASSPHRASE_HINT: &str = if cfg!(feature = "ssh-builtin") {
    "set stargate.sshClient to builtin, or remove the passphrase with `ssh-keygen -p`"
} else {
    "remove the passphrase with `ssh-keygen -p`, or use a program that is built with the feature ssh-builtin"
};

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
    target: Target,
    idle_timeout: Duration,
}

impl Ssh {
    pub(super) fn new(target: Target, settings: &Settings) -> Self {
        Ssh {
            settings: settings.ssh.clone(),
            target,
            idle_timeout: settings.idle_timeout,
        }
    }

    fn command(&self, service: Service, protocol_2: bool) -> Result<Command, Error> {
        self.remote_command(self.target.command(service), protocol_2)
    }

    /// Returns the command that runs this one on the server.
    fn remote_command(&self, remote: BString, protocol_2: bool) -> Result<Command, Error> {
        let variant = self.variant();
        let mut arguments = self.identity(variant)?;
        if variant == Variant::OpenSsh && protocol_2 {
            arguments.extend(["-o".into(), "SendEnv=GIT_PROTOCOL".into()]);
        }
        if variant == Variant::TortoisePlink {
            arguments.push("-batch".into());
        }
        if let Some(port) = self.target.port {
            let flag = match variant {
                Variant::OpenSsh => "-p",
                Variant::Plink | Variant::TortoisePlink => "-P",
                Variant::Simple => {
                    let what = "the configured ssh program accepts no port, but the URL has one";
                    return Err(Error::new(ErrorKind::Misconfigured, what)
                        .with_hint("set ssh.variant or GIT_SSH_VARIANT to the kind of the program"));
                }
            };
            arguments.extend([flag.into(), port.to_string().into()]);
        }
        let remote = gix::path::from_bstring(remote).map_err(|_| {
            Error::new(
                ErrorKind::Misconfigured,
                "the path cannot be an argument of a program on this system",
            )
        })?;
        arguments.extend([self.target.destination().into(), remote.into()]);
        let mut command = self.program(arguments)?;
        if variant == Variant::OpenSsh && protocol_2 {
            command.env("GIT_PROTOCOL", "version=2");
        }
        Ok(command)
    }

    /// Returns the options for the configured key and host keys. With them, the program asks nothing, trusts known
    /// hosts only, and uses neither an agent nor, unless it is a configured one, the configuration of the user.
    fn identity(&self, variant: Variant) -> Result<Vec<OsString>, Error> {
        let SshSettings { key, known_hosts, .. } = &self.settings;
        if key.is_none() && known_hosts.is_none() {
            return Ok(Vec::new());
        }
        if variant != Variant::OpenSsh {
            let what = "stargate.sshKey and stargate.sshKnownHosts need OpenSSH's client, but another ssh program is configured";
            return Err(Error::new(ErrorKind::Misconfigured, what)
                .with_hint("unset them, and configure key and host keys in that program; or unset core.sshCommand"));
        }
        let mut options = Vec::new();
        let is_configured = self.settings.command.is_some() || self.settings.program.is_some();
        if key.is_some() && !is_configured {
            options.extend(["-F".into(), "none".into()]);
        }
        for fixed in ["BatchMode=yes", "StrictHostKeyChecking=yes"] {
            options.extend(["-o".into(), fixed.into()]);
        }
        if let Some(key) = key {
            options.extend([
                "-o".into(),
                "IdentitiesOnly=yes".into(),
                "-o".into(),
                "IdentityAgent=none".into(),
            ]);
            options.extend(["-o".into(), option("IdentityFile", key)?]);
        }
        if let Some(file) = known_hosts {
            for name in ["UserKnownHostsFile", "GlobalKnownHostsFile"] {
                options.extend(["-o".into(), option(name, file)?]);
            }
        }
        Ok(options)
    }

    /// Checks the files of the settings before the program uses them.
    fn check_files(&self) -> Result<(), Error> {
        if let Some(path) = &self.settings.key
            && KeyFile::read(path)?.is_encrypted
        {
            return Err(match &self.settings.passphrase_file {
                None => key_file::encrypted(path),
                Some(_) => Error::new(
                    ErrorKind::Misconfigured,
                    "the ssh program does not take the passphrase of stargate.sshPassphraseFile",
                )
                .with_hint(NO_PASSPHRASE_HINT),
            });
        }
        self.settings
            .known_hosts
            .as_deref()
            .map_or(Ok(()), key_file::check_known_hosts)
    }

    /// Returns the program with these arguments. Removes secrets from its environment, because ssh could send them on.
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
        without_secrets(&mut command);
        command.env_remove("GIT_PROTOCOL");
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
        let arguments = vec!["-G".into(), self.target.destination().into()];
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
        self.check_files()?;
        let name = program_name(&self.settings);
        let started = Program::start(command, &name, self.idle_timeout, ssh_failure::of_program);
        started.map_err(|error| {
            let what = match error.kind() {
                io::ErrorKind::NotFound => format!("the program {name} is not installed"),
                _ => format!("the program {name} cannot be started: {error}"),
            };
            Error::new(ErrorKind::Misconfigured, what)
                .with_hint("install OpenSSH's client, or correct core.sshCommand or GIT_SSH_COMMAND")
        })
    }

    /// Starts `program` on the server, with the path and these words.
    pub(super) fn run(&self, program: &str, words: &str) -> Result<Box<dyn Channel>, Error> {
        let remote = self.target.command_of(program.into(), words);
        Ok(Box::new(self.start(self.remote_command(remote, false)?)?))
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

/// Returns an option of OpenSSH that names a file, quoted as in its configuration (ssh_config(5)).
fn option(name: &str, path: &Path) -> Result<OsString, Error> {
    let text = path
        .to_str()
        .filter(|text| !text.contains(|char: char| char.is_control() || char == '$'));
    let Some(text) = text else {
        let what = format!("the path {} cannot be an option of ssh", path.display());
        return Err(
            Error::new(ErrorKind::Misconfigured, what).with_hint("use a path without `$` and control characters")
        );
    };
    let quoted = text.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
    Ok(format!("{name}=\"{quoted}\"").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child_environment::SECRET_VARIABLES;

    fn ssh(url: &str, settings: SshSettings) -> Result<Ssh, Error> {
        let all = Settings {
            ssh: settings,
            ..Settings::default()
        };
        Ok(Ssh::new(
            Target::new(&gix::url::parse(url).expect("a URL"), all.receive_pack.clone())?,
            &all,
        ))
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
            ..SshSettings::default()
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
            ("ssh://host/a%20b%2520c.git", "ssh|host|git-upload-pack '/a b%20c.git'"),
            ("host:a%20b.git", "ssh|host|git-upload-pack 'a%20b.git'"),
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
        for secret in SECRET_VARIABLES {
            let found = command.get_envs().find(|(name, _)| *name == secret);
            assert_eq!(found, Some((OsStr::new(secret), None)), "it is taken away");
        }
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
        assert!(error.to_string().contains("accepts no port"), "{error}");
        assert_eq!(
            words("host:r", variant("simple"), true).expect("no port"),
            "carrier|host|git-upload-pack 'r'"
        );
    }

    #[test]
    fn a_configured_key_is_the_only_identity_and_known_hosts_are_checked() {
        let own = SshSettings {
            key: Some("/a key".into()),
            known_hosts: Some("/100%".into()),
            ..SshSettings::default()
        };
        let batch = "-o|BatchMode=yes|-o|StrictHostKeyChecking=yes";
        let identity = "-o|IdentitiesOnly=yes|-o|IdentityAgent=none|-o|IdentityFile=\"/a key\"";
        let hosts = "-o|UserKnownHostsFile=\"/100%%\"|-o|GlobalKnownHostsFile=\"/100%%\"";
        let told = |settings: &SshSettings| words("host:r", settings.clone(), false);
        let service = "host|git-upload-pack 'r'";
        assert_eq!(
            told(&own).expect("a command"),
            format!("ssh|-F|none|{batch}|{identity}|{hosts}|{service}")
        );
        // The program of the user keeps its configuration.
        let with_program = SshSettings {
            program: Some("/bin/ssh".into()),
            ..own.clone()
        };
        assert_eq!(
            told(&with_program).expect("a command"),
            format!("/bin/ssh|{batch}|{identity}|{hosts}|{service}")
        );
        let without_key = SshSettings {
            key: None,
            ..own.clone()
        };
        assert_eq!(
            told(&without_key).expect("a command"),
            format!("ssh|{batch}|{hosts}|{service}")
        );
        let plink = SshSettings {
            variant: Some("plink".into()),
            ..own.clone()
        };
        let error = told(&plink).expect_err("another kind of options");
        assert!(error.to_string().contains("need OpenSSH's client"), "{error}");
        let odd = SshSettings {
            key: Some("/${HOME}".into()),
            ..own
        };
        assert!(
            told(&odd)
                .expect_err("a variable")
                .to_string()
                .contains("cannot be an option")
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
