//! Mapping of library errors to message, hint and exit code.
use std::{fmt, process::ExitCode};

use git_push::{self, refspec::RefspecError, repository::OpenError};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

#[cfg(feature = "events")]
use crate::events::{self, settings::BadSetting};
#[cfg(feature = "relay")]
use crate::relay::{access::NoAccess, server::ServeError, store::OpenError as StoreError};
use crate::{
    advice,
    hook::install::InstallError,
    journal::WriteError,
    mirror::Outcome,
    porcelain::PushError,
    worker::{ComparisonOutcome, CycleOutcome, CycleReport, GroupOutcome, GroupReport, RunError},
};

/// Instruction for a ref or an object that cannot be read.
pub const REPAIR: &str = "run as the user that owns the repository; if a ref's file is damaged, move it away, and set the \
                          ref to the id in the journal with `git update-ref`; `git fsck` lists missing and damaged objects";

/// Exit code of a command. Scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// Entries stay pending and will be retried.
    Incomplete = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Diverged, not a fast-forward, or a rule would be violated.
    Refused = 3,
    /// Wrong settings: no such remote, refused credentials, `atomic` not offered, TLS.
    Misconfigured = 4,
    /// Input/output or repository error.
    Failed = 5,
    /// Another worker or relay holds the lock.
    Locked = 9,
    /// `wait` timed out.
    TimedOut = 10,
    /// A fatal error in git's sense: there was no push. With `push --porcelain` only.
    GitFatal = 128,
    /// Git's code for usage. With `push --porcelain` only.
    GitUsage = 129,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Human-readable error (what failed, why, and what to do), with an exit code.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    exit: Exit,
    what: String,
    hint: Option<String>,
    /// Text on stderr, if it is not made from the other fields.
    printed_as: Option<String>,
}

impl Failure {
    /// Creates a failure with this exit code.
    pub fn new(exit: Exit, what: impl fmt::Display) -> Self {
        Failure {
            exit,
            what: what.to_string(),
            hint: None,
            printed_as: None,
        }
    }

    /// Sets the text on stderr, in git's form. Log lines in JSON have the message and the hint.
    pub fn printed_as(mut self, text: String) -> Self {
        self.printed_as = Some(text);
        self
    }

    /// Adds an instruction.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the mirror that the failure concerns.
    pub fn of_mirror(mut self, mirror: &str) -> Self {
        self.what = format!("mirror {mirror}: {}", self.what);
        self
    }

    /// Changes the exit code.
    pub fn exits(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Returns the exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Returns the instruction.
    pub fn instruction(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Returns the error and its hint, as printed on stderr: wrapped at `width`, if it is given.
    pub fn render(&self, colours: bool, width: Option<usize>) -> String {
        if let Some(text) = &self.printed_as {
            return text.clone();
        }
        let theme = if colours {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let mut text = String::new();
        let handler = GraphicalReportHandler::new_themed(theme).with_links(false);
        let handler = match width {
            Some(width) => handler.with_width(width).with_break_words(false),
            None => handler.with_wrap_lines(false),
        };
        match handler.render_report(&mut text, self) {
            Ok(()) => text,
            Err(_) => format!("{}\n", self.what),
        }
    }
}

impl Diagnostic for Failure {
    fn help(&self) -> Option<Box<dyn fmt::Display + '_>> {
        self.hint.as_deref().map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }
}

impl From<git_push::Error> for Failure {
    fn from(error: git_push::Error) -> Self {
        let exit = match Outcome::from(error.kind()) {
            Outcome::Mirrored => Exit::Done,
            Outcome::Transient | Outcome::Uncertain => Exit::Incomplete,
            Outcome::Rejected | Outcome::Diverged => Exit::Refused,
            Outcome::Misconfigured => Exit::Misconfigured,
            Outcome::Broken => Exit::Failed,
        };
        let failure = Failure::new(exit, &error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Hint if the refs of a local repository cannot be read.
pub const REFS_HINT: &str = "run `git fsck` in the local repository";

impl From<PushError> for Failure {
    fn from(error: PushError) -> Self {
        let (exit, hint) = match &error {
            PushError::Remote(_) | PushError::Repository(_) => (Exit::Failed, None),
            PushError::Refs(_) => (Exit::Failed, Some(REFS_HINT)),
            PushError::Objects(_) => (Exit::Failed, Some("run `git fsck` in the local repository")),
            PushError::Fatal(_) => (Exit::Usage, None),
            PushError::Unsupported(_) => (
                Exit::Misconfigured,
                Some("push without it, or change the server's settings"),
            ),
            PushError::Declined => (
                Exit::Refused,
                Some("correct what the hook reports, or push with --no-verify"),
            ),
            PushError::Hook(..) => (Exit::Failed, Some("correct the hook, or push with --no-verify")),
            PushError::Submodules(_) => (Exit::Refused, None),
            PushError::DeleteTakesNames(_) => (
                Exit::Usage,
                Some("give the names of the refs to delete, without a colon"),
            ),
            PushError::Lease(_) => (
                Exit::Usage,
                Some("give an id, or leave it empty after the colon if the ref must not exist"),
            ),
            PushError::Refspec(refspec) => (Exit::Usage, refspec_hint(refspec)),
            PushError::Setting(_) => (Exit::Misconfigured, Some("correct the value with `git config`")),
        };
        match (error, hint) {
            (PushError::Remote(error), _) => error.into(),
            (PushError::Repository(error), _) => error.into(),
            (error, Some(hint)) => Failure::new(exit, error).hint(hint),
            (error, None) => Failure::new(exit, error),
        }
    }
}

fn refspec_hint(error: &RefspecError) -> Option<&'static str> {
    Some(match error {
        RefspecError::Invalid(..) => "use [+]SRC[:DST], :DST, a pattern with one * on each side, or ^EXCLUDED",
        RefspecError::AmbiguousSource(_) | RefspecError::AmbiguousDestination(_) => {
            "give the full name, such as refs/heads/main"
        }
        RefspecError::NotABranch(_) | RefspecError::Unqualified { .. } => {
            "give the full name of the destination, such as SRC:refs/heads/NAME"
        }
        _ => return None,
    })
}

/// Returns git's exit code for a push that did not happen.
pub fn git_exit(error: &PushError) -> Exit {
    match error {
        PushError::Lease(_) => Exit::GitUsage,
        PushError::Refspec(RefspecError::Invalid(..) | RefspecError::NotABranch(_)) => Exit::GitFatal,
        PushError::Refspec(_) | PushError::Declined => Exit::Incomplete,
        PushError::DeleteTakesNames(_)
        | PushError::Fatal(_)
        | PushError::Unsupported(_)
        | PushError::Hook(..)
        | PushError::Submodules(_)
        | PushError::Objects(_)
        | PushError::Setting(_)
        | PushError::Remote(_)
        | PushError::Repository(..)
        | PushError::Refs(_) => Exit::GitFatal,
    }
}

impl From<InstallError> for Failure {
    fn from(error: InstallError) -> Self {
        let exit = match error {
            InstallError::ForeignHook(_) | InstallError::AlreadyChained { .. } => Exit::Refused,
            InstallError::Configuration { .. } | InstallError::ConfigLocked(_) | InstallError::Io { .. } => {
                Exit::Failed
            }
        };
        Failure::new(exit, error)
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        let (exit, hint) = match error {
            WriteError::Network { .. } => (
                Exit::Misconfigured,
                "file locks are unreliable on network file systems, so concurrent writers could corrupt the journal",
            ),
            WriteError::Locked { .. } => (Exit::Failed, "nothing was changed; run the command again"),
            WriteError::Storage { .. } => (Exit::Failed, "run as the user that owns the repository"),
        };
        Failure::new(exit, error).hint(hint)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let exit = match error {
            OpenError::Unreadable { .. } => Exit::Failed,
            OpenError::NotUnderstood { .. } => Exit::Misconfigured,
        };
        let hint = advice::on_opening(&error);
        Failure::new(exit, error).hint(hint)
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let (exit, hint) = match error {
            RunError::Remote(error) => return error.into(),
            RunError::SeveralMirrors(_) => (Exit::Usage, "give the name of one of them with --remote"),
            RunError::NoSuchMirror(..) => (
                Exit::Misconfigured,
                "give the name or the URL of one of them with --remote, or add a section [stargate \"NAME\"]",
            ),
            RunError::Locked(_) => (
                Exit::Locked,
                "wait until it finishes; the next cycle continues where it stopped",
            ),
            RunError::Config(..) => (
                Exit::Misconfigured,
                "correct the value with git config -f FILE KEY VALUE",
            ),
            RunError::Repository(error) => return error.into(),
            RunError::Unreadable(..) => (Exit::Failed, "run as the user that owns the repository"),
            RunError::Lock(..) | RunError::Read(..) => (
                Exit::Failed,
                "run as the user that owns the repository; nothing was sent",
            ),
            RunError::Missing(_) => (Exit::Failed, "look whether its volume is mounted"),
            RunError::NoEnd => (Exit::Failed, "see the log; the entries stay pending"),
            RunError::Write(_) => (
                Exit::Failed,
                "the entries stay pending; the next cycle finds those that are on the mirror",
            ),
        };
        Failure::new(exit, error).hint(hint)
    }
}

#[cfg(feature = "relay")]
impl From<NoAccess> for Failure {
    fn from(error: NoAccess) -> Self {
        let hint = match error {
            NoAccess::TokenNeeded => "set RELAY_TOKEN, use --tokens, or listen on 127.0.0.1 or [::1]",
            NoAccess::NoTokenForQuery => "set RELAY_TOKEN, use --tokens, or leave out --token-in-query",
            NoAccess::BadToken => "set RELAY_TOKEN to visible ASCII characters",
            NoAccess::File(_) => "correct the file; docs/relay.md describes it",
        };
        Failure::new(Exit::Misconfigured, error).hint(hint)
    }
}

#[cfg(feature = "relay")]
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Locked(_) => {
                Failure::new(Exit::Locked, error).hint("stop it, or choose another folder with --data")
            }
            StoreError::Version { .. } => {
                Failure::new(Exit::Misconfigured, error).hint("use a later version of this program")
            }
            StoreError::OtherStore { .. } => {
                Failure::new(Exit::Misconfigured, error).hint("choose another folder with --data, or another --store")
            }
            #[cfg(feature = "nats")]
            StoreError::Stream(error) => error.into(),
            #[cfg(feature = "nats")]
            StoreError::Copy(..) => {
                Failure::new(Exit::Failed, error).hint("check the servers, then start the relay again")
            }
            StoreError::Log(_) => Failure::new(Exit::Failed, error).hint("the stored events were not changed"),
        }
    }
}

#[cfg(feature = "relay")]
impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let hint = match error {
            ServeError::System(_) => "all acknowledged events are on the disk",
            ServeError::Log(_) => "all acknowledged events are on the disk; check the disk, then start the relay again",
        };
        Failure::new(Exit::Failed, error).hint(hint)
    }
}

#[cfg(feature = "events")]
impl From<BadSetting> for Failure {
    fn from(error: BadSetting) -> Self {
        let hint = error.hint;
        Failure::new(Exit::Misconfigured, error).hint(hint)
    }
}

#[cfg(feature = "events")]
impl From<events::Error> for Failure {
    fn from(error: events::Error) -> Self {
        let exit = match error.kind() {
            events::Kind::Refused => Exit::Refused,
            events::Kind::Misconfigured => Exit::Misconfigured,
            events::Kind::Busy => Exit::Locked,
            events::Kind::Failed => Exit::Failed,
        };
        let failure = Failure::new(exit, &error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Hint for the URL of a stream.
#[cfg(feature = "nats")]
pub const STREAM_URL: &str = "name the servers and the stream, such as nats://127.0.0.1:4222/stargate";

#[cfg(feature = "events")]
impl From<events::RunError> for Failure {
    fn from(error: events::RunError) -> Self {
        match error {
            events::RunError::Context(error) => error.into(),
            events::RunError::Remote(error) => error.into(),
            #[cfg(feature = "nats")]
            events::RunError::Stream(error) => error.into(),
            #[cfg(feature = "nats")]
            error @ events::RunError::StreamAddress(_) => Failure::new(Exit::Misconfigured, error).hint(STREAM_URL),
            #[cfg(feature = "nats")]
            error @ events::RunError::MirrorName(_) => Failure::new(Exit::Failed, error),
            error @ events::RunError::Listen(..) => Failure::new(Exit::Failed, error)
                .hint("choose another address with --listen, or another PORT; port 0 selects a free port"),
            events::RunError::Relay(error) => {
                let hint =
                    "set it to the URL of a relay, such as http://127.0.0.1:3000, and put a token into RELAY_TOKEN";
                let what = format!("RELAY_URL cannot be used: {error}");
                Failure::new(Exit::Misconfigured, what).hint(error.hint().unwrap_or(hint))
            }
        }
    }
}

/// Returns the exit code of a cycle: the one that demands most from the operator.
pub fn cycle_exit(report: &CycleReport) -> Exit {
    if report.outcome != CycleOutcome::Incomplete {
        return Exit::Done;
    }
    if report.unwritten > 0 {
        return Exit::Incomplete;
    }
    // Entries that a dry run would push do not make it incomplete.
    let is_planned = |group: &GroupReport| group.outcome == GroupOutcome::Planned;
    let comparison = report.comparison.as_ref().map(|failed| failed.outcome);
    let at_least = if comparison == Some(ComparisonOutcome::Misconfigured) {
        Exit::Misconfigured
    } else if comparison.is_none() && report.watermarks.is_empty() && report.groups.iter().any(is_planned) {
        Exit::Done
    } else {
        Exit::Incomplete
    };
    let exits = report.groups.iter().map(|group| group_exit(group.outcome));
    exits.fold(at_least, Exit::max)
}

fn group_exit(outcome: GroupOutcome) -> Exit {
    match outcome {
        GroupOutcome::Planned | GroupOutcome::Settled(Outcome::Mirrored) => Exit::Done,
        GroupOutcome::Settled(Outcome::Transient | Outcome::Uncertain | Outcome::Rejected) => Exit::Incomplete,
        GroupOutcome::Settled(Outcome::Diverged) => Exit::Refused,
        GroupOutcome::Settled(Outcome::Misconfigured) => Exit::Misconfigured,
        GroupOutcome::Settled(Outcome::Broken) => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_wrapped_for_a_terminal_only() {
        let failure = Failure::new(Exit::Failed, "a word ".repeat(20)).hint("do this ".repeat(20));
        assert_eq!(failure.render(false, None).lines().count(), 2);
        let wrapped = failure.render(false, Some(60));
        assert!(wrapped.lines().count() > 4, "{wrapped}");
        assert!(wrapped.lines().all(|line| line.chars().count() <= 60), "{wrapped}");
    }
}
