//! The user, host, port and path of an ssh URL.
use std::ffi::OsString;

use bstr::{BStr, BString, ByteSlice};
use git_push::{Error, ErrorKind};
use gix::url::ArgumentSafety;

use crate::service::Service;

/// A repository on a server that is reached over ssh. No part of it looks like an option of a program.
pub(super) struct Target {
    pub(super) user: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    path: BString,
    /// What the server runs instead of `git-receive-pack`.
    receive_pack: Option<BString>,
}

impl Target {
    /// Reads a URL. The shell of the server splits `receive_pack`.
    pub(super) fn new(url: &gix::Url, receive_pack: Option<OsString>) -> Result<Self, Error> {
        let misconfigured = |what: String| Error::new(ErrorKind::Misconfigured, what).with_hint("correct the URL");
        if url.password().is_some() {
            return Err(
                misconfigured("ssh accepts no password, but the URL contains one".into())
                    .with_hint("remove the password from the URL, and use a key"),
            );
        }
        // An option instead of a host could run any program.
        let host = url.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let user = match url.user_as_argument() {
            ArgumentSafety::Absent => None,
            ArgumentSafety::Usable(user) => Some(user.to_owned()),
            ArgumentSafety::Dangerous(user) => {
                return Err(misconfigured(format!(
                    "the user {user:?} of the URL looks like an option of ssh"
                )));
            }
        };
        let is_one_word = |text: &str| !text.contains(char::is_control);
        if host.is_empty() || host.starts_with('-') || !is_one_word(host) || !user.as_deref().is_none_or(is_one_word) {
            return Err(misconfigured(format!(
                "the host {host:?} of the URL is empty or looks like an option of ssh"
            )));
        }
        let path = home_relative(url.path.as_bstr());
        if path.is_empty() || path.starts_with(b"-") || path.contains(&0) {
            return Err(misconfigured(format!(
                "the path {path:?} of the URL is empty or looks like an option of ssh"
            )));
        }
        let program = receive_pack.map(gix::path::os_string_into_bstring).transpose();
        Ok(Target {
            user,
            host: host.to_owned(),
            port: url.port,
            path: path.into(),
            receive_pack: program.map_err(|_| misconfigured("the program for the server is not UTF-8".into()))?,
        })
    }

    /// Returns the host, with the user if there is one.
    pub(super) fn destination(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        }
    }

    /// Returns the command that starts `service`, for the shell of the server.
    pub(super) fn command(&self, service: Service) -> BString {
        match (service, &self.receive_pack) {
            (Service::ReceivePack, Some(program)) => self.command_of(program.as_bstr(), ""),
            _ => self.command_of(service.name().into(), ""),
        }
    }

    /// Returns the command that runs `program` with the path and these words, for the shell of the server.
    pub(super) fn command_of(&self, program: &BStr, words: &str) -> BString {
        let mut command = program.to_owned();
        command.push(b' ');
        command.extend_from_slice(&gix::quote::single(self.path.as_bstr()));
        command.extend_from_slice(words.as_bytes());
        command
    }
}

/// Removes the first slash of `/~user/…`, a path below the home of a user.
fn home_relative(path: &BStr) -> &BStr {
    match path.strip_prefix(b"/") {
        Some(below) if below.starts_with(b"~") => below.as_bstr(),
        _ => path,
    }
}
