//! A program that connects to the server (git-remote-ext): `ext::COMMAND`.
use std::{ffi::OsString, io::Write, path::PathBuf, process::Command, time::Duration};

use bstr::{BStr, BString, ByteSlice, ByteVec};
use git_push::{Error, ErrorKind, pkt_line};

use super::channel::{Channel, Dial};
use super::child::Program;
use super::helper;
use crate::child_environment::of_another_repository;
use crate::service::Service;

/// The command of an `ext::` URL.
pub(super) struct Ext {
    pub(super) command: BString,
    /// The folder in which the program starts, by default the current one.
    pub(super) folder: Option<PathBuf>,
    pub(super) idle_timeout: Duration,
}

/// The parts of a command for one service.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parsed {
    arguments: Vec<BString>,
    /// `%G`: the repository to ask for, as over `git://`.
    repository: Option<BString>,
    /// `%V`: the virtual host to ask for.
    host: Option<BString>,
}

impl Dial for Ext {
    fn dial(&self, service: Service, _protocol_2: bool) -> Result<Box<dyn Channel>, Error> {
        let parsed = parse(self.command.as_bstr(), service.name())?;
        let mut arguments = parsed.arguments.iter().map(|argument| argument.to_os_str_lossy());
        let name = arguments.next().ok_or_else(|| unusable("it names no program"))?;
        let mut command = Command::new(&name);
        of_another_repository(&mut command);
        command.env_remove("GIT_PROTOCOL");
        command.env("GIT_EXT_SERVICE", service.name());
        command.env("GIT_EXT_SERVICE_NOPREFIX", short(service.name()));
        command.args(arguments.map(OsString::from));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let shown = name.to_string_lossy();
        let failed = |error: std::io::Error| unusable(&format!("{shown} cannot be started: {error}"));
        let mut program = Program::start(command, &shown, self.idle_timeout, helper::ended).map_err(failed)?;
        if let Some(repository) = parsed.repository {
            let request = request(service.name(), &repository, parsed.host.as_ref());
            program.write_all(&request).map_err(failed)?;
        }
        Ok(Box::new(program))
    }
}

/// Returns the request of `git://` (gitprotocol-pack, *Git Transport*).
fn request(service: &str, repository: &BString, host: Option<&BString>) -> Vec<u8> {
    let mut line = format!("{service} ").into_bytes();
    line.push_str(repository);
    line.push(0);
    if let Some(host) = host {
        line.push_str("host=");
        line.push_str(host);
        line.push(0);
    }
    let mut out = Vec::new();
    pkt_line::data(&mut out, &line);
    out
}

fn short(service: &str) -> &str {
    service.strip_prefix("git-").unwrap_or(service)
}

/// Splits a command at spaces, and replaces its placeholders (git-remote-ext).
fn parse(command: &BStr, service: &str) -> Result<Parsed, Error> {
    let mut parsed = Parsed::default();
    let mut bytes = command.iter().copied().peekable();
    while bytes.peek().is_some() {
        let (mut word, mut kind) = (BString::default(), None);
        while let Some(byte) = bytes.next().filter(|byte| *byte != b' ') {
            if byte != b'%' {
                word.push(byte);
                continue;
            }
            match bytes.next() {
                Some(byte @ (b' ' | b'%')) => word.push(byte),
                Some(b's') => word.push_str(short(service)),
                Some(b'S') => word.push_str(service),
                Some(byte @ (b'G' | b'V')) if word.is_empty() && kind.is_none() => kind = Some(byte),
                _ => return Err(unusable("it has an unknown placeholder")),
            }
        }
        match kind {
            Some(b'G') => parsed.repository = Some(word),
            Some(_) => parsed.host = Some(word),
            None => parsed.arguments.push(word),
        }
    }
    Ok(parsed)
}

fn unusable(why: &str) -> Error {
    let what = format!("the command of the ext:: URL cannot be run: {why}");
    Error::new(ErrorKind::Misconfigured, what).with_hint("correct the URL; `git help remote-ext` describes it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_those_of_git() {
        let words = |words: &[&str]| words.iter().map(|word| BString::from(*word)).collect::<Vec<_>>();
        let parsed = |command: &str| parse(command.into(), "git-receive-pack");
        let plain = parsed("ssh -p 22 host %S 'a% b' %s 100%%").unwrap();
        assert_eq!(
            plain.arguments,
            words(&[
                "ssh",
                "-p",
                "22",
                "host",
                "git-receive-pack",
                "'a b'",
                "receive-pack",
                "100%"
            ])
        );
        let asking = parsed("socat - %G/r.git %Vhost").unwrap();
        assert_eq!(asking.arguments, words(&["socat", "-"]));
        let repository = asking.repository.unwrap();
        let sent = request("git-receive-pack", &repository, asking.host.as_ref());
        assert_eq!(sent.as_bstr(), "0026git-receive-pack /r.git\0host=host\0");
        for command in ["a %x", "a b%G", "a %"] {
            assert!(parsed(command).is_err(), "{command}");
        }
    }
}
