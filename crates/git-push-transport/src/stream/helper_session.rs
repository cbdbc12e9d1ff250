//! A dialogue with a running remote helper (see [`super::helper_answers`]).
use std::{
    io::{self, Write},
    time::Duration,
};

use bstr::{BStr, BString, ByteSlice};
use git_push::{Command, Error, ErrorKind, Report, Request, report_status};

use super::channel::Channel;
use super::child::Program;
use super::helper::Helper;
use super::helper_answers::{Answer, Capabilities, Listing, Nonsense, option_line, push_line, status_line};
use crate::service::Service;

/// Maximum length of a line of a helper in bytes. It fits into a pkt-line.
const MAX_LINE: usize = 32 << 10;

/// Maximum number of capabilities.
const MAX_CAPABILITIES: usize = 1000;

/// A helper packs and uploads without a word. So its silence during a push may last longer, by this factor.
const PATIENCE: u32 = 10;

/// Target of log lines with what a helper wrote to standard error.
pub const WORDS: &str = "git_push_transport::remote_helper";

/// A running helper that waits for a command.
pub(super) struct Session {
    program: Program,
    name: String,
    capabilities: Capabilities,
    idle_timeout: Duration,
}

/// Result of opening a service on the remote.
pub(super) enum Opened {
    /// The helper connects to the service, whose protocol follows.
    Connected(Box<dyn Channel>),
    /// The helper has commands of its own instead.
    Commands(Box<Session>),
}

/// A command with what a helper needs to know besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prepared {
    pub(super) command: Command,
    /// Name of the new object in the local repository.
    pub(super) source: BString,
    /// The update is no fast-forward.
    pub(super) forced: bool,
}

impl Session {
    /// Asks a program that was just started for its capabilities, and sets the options of any session.
    pub(super) fn start(program: Program, helper: &Helper) -> Result<Self, Error> {
        let mut session = Session {
            program,
            name: helper.program(),
            capabilities: Capabilities::default(),
            idle_timeout: helper.idle_timeout,
        };
        session.write(b"capabilities\n", ErrorKind::Transient)?;
        let mut number = 0;
        while let Some(line) = session.line(ErrorKind::Transient)? {
            number += 1;
            let taken = session.capabilities.take(line.as_bstr());
            taken.map_err(|why| session.nonsense(&why, ErrorKind::Misconfigured))?;
            if number > MAX_CAPABILITIES {
                let why = Nonsense("it has too many capabilities".into());
                return Err(session.nonsense(&why, ErrorKind::Rejected));
            }
        }
        // As in git, these need not be supported.
        let progress = if helper.settings.progress { "true" } else { "false" };
        session.option("progress", progress.into())?;
        session.option("verbosity", helper.settings.verbosity.to_string().as_str().into())?;
        Ok(session)
    }

    /// Connects to `service` if the helper can do that.
    pub(super) fn open(mut self, service: Service, path: Option<&BStr>) -> Result<Opened, Error> {
        if let Some(path) = path
            && self.option("servpath", path)? != Answer::Taken
        {
            tracing::warn!("{} does not take the program of the remote", self.name);
        }
        if !self.capabilities.connect {
            return Ok(Opened::Commands(Box::new(self)));
        }
        self.write(format!("connect {}\n", service.name()).as_bytes(), ErrorKind::Transient)?;
        match self.line(ErrorKind::Transient)? {
            None => Ok(Opened::Connected(Box::new(self.program))),
            Some(line) if line == "fallback" => Ok(Opened::Commands(Box::new(self))),
            Some(line) => {
                let why = Nonsense::new("unknown response to connect", line.as_bstr());
                Err(self.nonsense(&why, ErrorKind::Rejected))
            }
        }
    }

    /// Checks that the helper takes pushes by command.
    pub(super) fn check_push(&self) -> Result<(), Error> {
        if self.capabilities.push {
            return Ok(());
        }
        let what = if self.capabilities.export {
            format!(
                "{} takes pushes only as streams of git fast-export (capability `export`), which are not supported",
                self.name
            )
        } else {
            format!("{} does not support pushes", self.name)
        };
        let hint = "push to this remote with git, or use a helper with the capability connect or push";
        Err(Error::new(ErrorKind::Misconfigured, what).with_hint(hint))
    }

    /// Returns true if the helper has options.
    pub(super) fn has_options(&self) -> bool {
        self.capabilities.option
    }

    /// Returns true if the refs that readers see are listed with HEAD.
    pub(super) fn lists_for_readers(&self) -> bool {
        !self.capabilities.stateless_connect
    }

    /// Lists the refs of the remote.
    pub(super) fn list(&mut self, for_push: bool) -> Result<Listing, Error> {
        if self.capabilities.object_format {
            self.option("object-format", "true".into())?;
        }
        let command = if for_push && self.capabilities.push {
            "list for-push\n"
        } else {
            "list\n"
        };
        self.write(command.as_bytes(), ErrorKind::Transient)?;
        let (mut listing, mut length) = (Listing::new(), 0);
        while let Some(line) = self.line(ErrorKind::Transient)? {
            length += line.len() as u64;
            let mut taken = listing.take(line.as_bstr());
            if length > git_push::advertisement::MAX_BYTES {
                taken = Err(Nonsense("it lists too many refs".into()));
            }
            taken.map_err(|why| self.nonsense(&why, ErrorKind::Rejected))?;
        }
        Ok(listing)
    }

    /// Pushes the commands of `request`, and ends the helper.
    pub(super) fn push(mut self, request: &Request, prepared: &[Prepared], dry_run: bool) -> Result<Report, Error> {
        self.set_options(request, dry_run)?;
        let batch = self.batch(prepared)?;
        self.program
            .set_idle_timeout(self.idle_timeout.saturating_mul(PATIENCE));
        self.write(&batch, ErrorKind::Uncertain)?;
        let mut parser = report_status::Parser::new(request);
        let fed = parser.feed(b"000eunpack ok\n");
        fed.map_err(Error::from)?;
        let (mut length, mut is_known) = (0, false);
        while let Some(line) = self.line(ErrorKind::Uncertain)? {
            length += line.len() as u64;
            let status = status_line(line.as_bstr());
            let Some(status) = status.map_err(|why| self.nonsense(&why, ErrorKind::Uncertain))? else {
                is_known = false;
                continue;
            };
            if let Some(name) = &status.name {
                is_known = prepared.iter().any(|one| one.command.name == *name);
                if !is_known {
                    let name = git_push::cleaned(name);
                    tracing::warn!("{} reported unexpected status of {name}", self.name);
                }
            }
            if length > report_status::MAX_BYTES {
                let why = Nonsense("its report is too long".into());
                return Err(self.nonsense(&why, ErrorKind::Uncertain));
            }
            if is_known {
                parser.feed(&status.packed)?;
            }
        }
        parser.feed(b"0000")?;
        let report = parser.finish()?;
        let report = report.map_reasons(git_push::cleaned);
        Ok(report.with_server_words(self.end()))
    }

    /// Returns the lines of the push. An update that overwrites has a lease, which is better than force: it overwrites only what
    /// was listed. Force is for helpers that do not support leases.
    fn batch(&mut self, prepared: &[Prepared]) -> Result<Vec<u8>, Error> {
        let mut batch = Vec::new();
        for one in prepared {
            let lease = format!("{}:{}", one.command.name, one.command.old);
            let has_lease = one.forced && self.option("cas", lease.as_str().into())? == Answer::Taken;
            batch.extend(push_line(&one.command, one.source.as_bstr(), one.forced && !has_lease));
        }
        batch.push(b'\n');
        Ok(batch)
    }

    /// Sets the options of a push.
    fn set_options(&mut self, request: &Request, dry_run: bool) -> Result<(), Error> {
        if dry_run {
            self.need("dry-run", "true".into(), "dry-run")?;
        }
        if request.atomic {
            self.need("atomic", "true".into(), "--atomic")?;
        }
        for option in &request.push_options {
            self.need("push-option", option.as_bstr(), "'push-option'")?;
        }
        Ok(())
    }

    /// Sets an option that must be supported.
    fn need(&mut self, name: &str, value: &BStr, shown: &str) -> Result<(), Error> {
        let why = match self.option(name, value)? {
            Answer::Taken => return Ok(()),
            Answer::Unsupported => String::new(),
            Answer::Refused(why) => format!(": {why}"),
        };
        let what = format!("helper {} does not support {shown}{why}", self.name);
        Err(Error::new(ErrorKind::Misconfigured, what).with_hint("push without it"))
    }

    fn option(&mut self, name: &str, value: &BStr) -> Result<Answer, Error> {
        if !self.capabilities.option {
            return Ok(Answer::Unsupported);
        }
        self.write(&option_line(name, value), ErrorKind::Transient)?;
        let line = self.line(ErrorKind::Transient)?.unwrap_or_default();
        Answer::parse(line.as_bstr()).or_else(|why| {
            tracing::warn!("{}: {}", self.name, why.0);
            Ok(Answer::Unsupported)
        })
    }

    /// Says goodbye, and waits for the end of the helper. Returns what it wrote to standard error.
    pub(super) fn end(mut self) -> Vec<String> {
        // It may have ended already.
        let _ = self.program.write_all(b"\n");
        let (status, words) = self.program.finish();
        if let Some(status) = status.filter(|status| !status.success()) {
            // As some do after a rejection. What it reported counts.
            tracing::debug!("{} failed at its end ({status})", self.name);
        }
        for line in &words {
            tracing::info!(target: WORDS, "{line}");
        }
        words
    }

    fn write(&mut self, bytes: &[u8], kind: ErrorKind) -> Result<(), Error> {
        let written = self.program.write_all(bytes);
        written.map_err(|error| self.failure(&error, kind))
    }

    /// Reads a line; none if it is empty.
    fn line(&mut self, kind: ErrorKind) -> Result<Option<BString>, Error> {
        match self.program.line(MAX_LINE) {
            Ok(line) if line.is_empty() => Ok(None),
            Ok(line) => Ok(Some(line.into())),
            Err(error) => Err(self.failure(&error, kind)),
        }
    }

    /// Returns the error of a dialogue that broke off.
    fn failure(&mut self, error: &io::Error, kind: ErrorKind) -> Error {
        let what = match error.kind() {
            io::ErrorKind::TimedOut => format!("remote helper '{}' was silent for too long", self.name),
            io::ErrorKind::InvalidData => format!("remote helper '{}' sent a line that is too long", self.name),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => match self.program.last_words() {
                Some(words) => words.to_string(),
                None => format!("remote helper '{}' aborted session", self.name),
            },
            _ => format!("the connection to the remote helper '{}' failed: {error}", self.name),
        };
        broken(kind, what)
    }

    /// Returns the error of a line that breaks the protocol.
    fn nonsense(&mut self, why: &Nonsense, kind: ErrorKind) -> Error {
        broken(kind, format!("the remote helper {} failed: {}", self.name, why.0))
    }
}

fn broken(kind: ErrorKind, what: String) -> Error {
    let hint = match kind {
        ErrorKind::Uncertain => "the push may have been carried out: read the refs back before a retry",
        _ => "check that the helper works: git push uses it, too",
    };
    Error::new(kind, what).with_hint(hint)
}
