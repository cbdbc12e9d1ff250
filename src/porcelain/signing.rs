//! Signatures of push certificates by the programs that git configuration names (git-config, *gpg.format*, *user.signingKey*).
use std::{
    ffi::{OsStr, OsString},
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use bstr::{BStr, BString, ByteSlice};
use git_push::{Error, ErrorKind, certificate::Signer};
use gix::Repository;

use super::{error::PushError, settings::GitSettings};

/// Kinds of signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    OpenPgp,
    X509,
    Ssh,
}

/// Signs with a program.
pub(super) struct ProgramSigner {
    format: Format,
    program: OsString,
    key: BString,
    pushee: BString,
}

impl ProgramSigner {
    /// Reads the settings. `pushee` is the URL of the remote, without secrets.
    ///
    /// # Errors
    /// The format is unknown, or there is no key.
    pub(super) fn new(repository: &Repository, pushee: &str) -> Result<Self, PushError> {
        let settings = GitSettings::new(repository);
        let format = match settings.text("gpg.format").as_ref().map(|format| format.as_slice()) {
            None | Some(b"openpgp") => Format::OpenPgp,
            Some(b"x509") => Format::X509,
            Some(b"ssh") => Format::Ssh,
            Some(other) => {
                let other = other.as_bstr();
                return Err(PushError::Fatal(format!("invalid value for 'gpg.format': '{other}'")));
            }
        };
        let (name, default) = match format {
            Format::OpenPgp => ("openpgp", "gpg"),
            Format::X509 => ("x509", "gpgsm"),
            Format::Ssh => ("ssh", "ssh-keygen"),
        };
        let program = settings.program(&format!("gpg.{name}.program"));
        let legacy = || settings.program("gpg.program").filter(|_| format == Format::OpenPgp);
        Ok(ProgramSigner {
            format,
            program: program.or_else(legacy).unwrap_or_else(|| default.into()),
            key: key(repository, &settings, format)?,
            pushee: pushee.into(),
        })
    }

    fn run(&self, arguments: &[&OsStr], input: &[u8]) -> Result<Output, Error> {
        let failed = |error: std::io::Error| {
            let what = format!("{} cannot be run: {error}", self.program.display());
            Error::new(ErrorKind::Misconfigured, what).with_hint("set gpg.program to the program that signs")
        };
        let mut command = Command::new(&self.program);
        let pipes = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = pipes.stderr(Stdio::piped()).spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // If the program ended early, its status says why.
            let _ = stdin.write_all(input);
        }
        child.wait_with_output().map_err(failed)
    }

    fn refused(&self, output: &Output) -> Error {
        let words: Vec<_> = output
            .stderr
            .lines()
            .filter(|line| !line.starts_with(b"[GNUPG:]"))
            .map(git_push::cleaned)
            .collect();
        let what = format!("failed to sign the push certificate: {}", words.join("; "));
        Error::new(ErrorKind::Misconfigured, what).with_hint("set user.signingKey to a key that you have")
    }

    fn by_gpg(&self, certificate: &[u8]) -> Result<BString, Error> {
        let key = self.key.to_os_str_lossy();
        let arguments = ["--status-fd=2", "-bsau"].map(OsStr::new);
        let output = self.run(&[&arguments[..], &[key.as_ref()]].concat(), certificate)?;
        let is_created = output
            .stderr
            .lines()
            .any(|line| line.starts_with(b"[GNUPG:] SIG_CREATED "));
        if !output.status.success() || !is_created {
            return Err(self.refused(&output));
        }
        Ok(output.stdout.replace("\r\n", "\n").into())
    }

    fn by_ssh(&self, certificate: &[u8]) -> Result<BString, Error> {
        let failed = |error: std::io::Error| {
            Error::new(
                ErrorKind::Broken,
                format!("a temporary file cannot be written: {error}"),
            )
        };
        let folder = tempfile::tempdir().map_err(failed)?;
        let buffer = folder.path().join("certificate");
        fs::write(&buffer, certificate).map_err(failed)?;
        let literal = literal_key(self.key.as_bstr());
        let key = match literal {
            Some(literal) => {
                let path = folder.path().join("key");
                fs::write(&path, literal).map_err(failed)?;
                path
            }
            None => key_file(self.key.as_bstr()),
        };
        let mut arguments: Vec<&OsStr> = ["-Y", "sign", "-n", "git", "-f"].map(OsStr::new).into();
        arguments.push(key.as_os_str());
        // The private key of a literal public one is in the agent.
        arguments.extend(literal.map(|_| OsStr::new("-U")));
        arguments.push(buffer.as_os_str());
        let output = self.run(&arguments, b"")?;
        if !output.status.success() {
            return Err(self.refused(&output));
        }
        fs::read(buffer.with_extension("sig"))
            .map(BString::from)
            .map_err(failed)
    }

    /// Returns the key as the certificate names it.
    fn key_id(&self) -> Result<BString, Error> {
        if self.format != Format::Ssh {
            return Ok(self.key.clone());
        }
        let (file, input) = match literal_key(self.key.as_bstr()) {
            Some(literal) => (PathBuf::from("-"), literal),
            None => (key_file(self.key.as_bstr()), BStr::new("")),
        };
        let output = self.run(&[OsStr::new("-lf"), file.as_os_str()], input)?;
        match output.stdout.fields().nth(1) {
            Some(fingerprint) if output.status.success() => Ok(fingerprint.into()),
            _ => Err(self.refused(&output)),
        }
    }
}

impl Signer for ProgramSigner {
    fn parties(&self) -> Result<(BString, BString), Error> {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        let pusher = format!("{} {seconds} +0000", self.key_id()?);
        Ok((pusher.into(), self.pushee.clone()))
    }

    fn sign(&self, certificate: &[u8]) -> Result<BString, Error> {
        match self.format {
            Format::OpenPgp | Format::X509 => self.by_gpg(certificate),
            Format::Ssh => self.by_ssh(certificate),
        }
    }
}

/// Returns `user.signingKey`, else the first key of `gpg.ssh.defaultKeyCommand`, else name and address of the committer.
fn key(repository: &Repository, settings: &GitSettings<'_>, format: Format) -> Result<BString, PushError> {
    if let Some(key) = settings.text("user.signingKey") {
        return Ok(key);
    }
    if format == Format::Ssh {
        let command = settings.program("gpg.ssh.defaultKeyCommand");
        return command.map_or(Err(no_ssh_key()), |command| default_key(&command));
    }
    match repository.committer() {
        Some(Ok(committer)) => Ok(format!("{} <{}>", committer.name, committer.email).into()),
        _ => Err(PushError::Fatal(
            "a signed push needs user.signingKey, or a name and an address".into(),
        )),
    }
}

fn no_ssh_key() -> PushError {
    PushError::Fatal("either user.signingkey or gpg.ssh.defaultKeyCommand needs to be configured".into())
}

/// Returns the first key that a command line prints: a line that starts with `key::` or `ssh-`.
fn default_key(command: &OsStr) -> Result<BString, PushError> {
    let prepared = gix::command::prepare(command).command_may_be_shell_script();
    let output = Command::try_from(prepared)
        .map_err(|error| PushError::Fatal(error.to_string()))
        .and_then(|mut command| command.output().map_err(|error| PushError::Fatal(error.to_string())))?;
    let first = output.stdout.lines().next().unwrap_or_default().as_bstr();
    match literal_key(first) {
        Some(_) if output.status.success() => Ok(first.into()),
        _ => Err(no_ssh_key()),
    }
}

/// Returns a public key that is given itself, and not as the name of a file.
fn literal_key(key: &BStr) -> Option<&BStr> {
    match key.strip_prefix(b"key::") {
        Some(literal) => Some(literal.as_bstr()),
        None => key.starts_with(b"ssh-").then_some(key),
    }
}

fn key_file(key: &BStr) -> PathBuf {
    let path = PathBuf::from(key.to_os_str_lossy().into_owned());
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(below), Some(home)) => home.join(below),
        _ => path,
    }
}
