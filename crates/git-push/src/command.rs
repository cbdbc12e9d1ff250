//! Commands, and the server's verdicts on them.
use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;

use super::{Advertisement, server_words::kept_words};

/// Creation, update or deletion of one remote ref (gitprotocol-pack, *Reference Update Request*). Its fields are those of
/// the protocol; none will be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The full name.
    pub name: BString,
    /// The id that the remote has, advertised or read back. The null id if it has no such ref.
    pub old: ObjectId,
    /// The id to set. The null id deletes the ref.
    pub new: ObjectId,
}

impl Command {
    /// Creates the ref `name` as `new`. The server rejects it if the ref exists.
    #[must_use]
    pub fn create(name: impl Into<BString>, new: ObjectId) -> Self {
        Command::update(name, new.kind().null(), new)
    }

    /// Moves the ref `name` from `old` to `new`. The server rejects it if the ref is not `old`.
    #[must_use]
    pub fn update(name: impl Into<BString>, old: ObjectId, new: ObjectId) -> Self {
        Command {
            name: name.into(),
            old,
            new,
        }
    }

    /// Creates the ref `name`, or moves it from the id that was advertised, to `new`.
    #[must_use]
    pub fn set(name: impl Into<BString>, advertisement: &Advertisement, new: ObjectId) -> Self {
        let name = name.into();
        let old = advertisement.id(name.as_bstr()).unwrap_or(new.kind().null());
        Command::update(name, old, new)
    }

    /// Deletes the ref `name`, which is `old`.
    #[must_use]
    pub fn delete(name: impl Into<BString>, old: ObjectId) -> Self {
        Command::update(name, old, old.kind().null())
    }

    /// Returns true if the ref is to be deleted.
    #[must_use]
    pub fn is_delete(&self) -> bool {
        self.new.is_null()
    }
}

/// The server's answer to a command.
///
/// Match all verdicts: none will be added without a new major version, so that the compiler reports every caller that
/// maps verdicts to exit codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The remote already had it; nothing was sent.
    UpToDate,
    /// The server reported `ok`. Read the refs back to confirm it.
    Accepted,
    /// The server reported `ng`, with this human-readable reason. Do not base decisions on its text.
    Rejected(BString),
    /// The server did not report on it, or its report contradicts itself. Read the refs back before acting.
    Unknown,
}

/// An update that a server made for a command, as one of its hooks reported it (gitprotocol-pack, *option-line*).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportedUpdate {
    /// Name of the ref that was updated, if it is not that of the command.
    pub name: Option<BString>,
    /// Id before the update, if it is not that of the command.
    pub old: Option<ObjectId>,
    /// Id after the update, if it is not that of the command.
    pub new: Option<ObjectId>,
    /// True if the update was no fast-forward.
    pub forced: bool,
}

/// A server's complete report: one verdict for each command, in the commands' order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a verdict may be a rejection"]
pub struct Report {
    verdicts: Vec<(Command, Verdict)>,
    updates: BTreeMap<BString, Vec<ReportedUpdate>>,
    unpack_error: Option<BString>,
    server_words: Vec<String>,
    refused_thin: bool,
    refused_stream: bool,
}

impl Report {
    /// Creates a report with these verdicts.
    pub fn new(verdicts: Vec<(Command, Verdict)>) -> Self {
        Report {
            verdicts,
            updates: BTreeMap::new(),
            unpack_error: None,
            server_words: Vec::new(),
            refused_thin: false,
            refused_stream: false,
        }
    }

    /// Sets the server's human-readable lines (`remote:` lines). They are cleaned and bounded: see
    /// [`kept_words()`].
    pub fn with_server_words(mut self, lines: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.server_words = kept_words(lines);
        self
    }

    /// Returns the human-readable lines that the server sent with its report. They often explain a rejection. Do not
    /// base decisions on them.
    #[must_use]
    pub fn server_words(&self) -> &[String] {
        &self.server_words
    }

    /// Adds the updates that the server made for commands, by the name of the command.
    pub fn with_updates(mut self, updates: BTreeMap<BString, Vec<ReportedUpdate>>) -> Self {
        self.updates = updates;
        self
    }

    /// Returns the updates by the name of the command.
    pub(super) fn all_updates(&self) -> &BTreeMap<BString, Vec<ReportedUpdate>> {
        &self.updates
    }

    /// Returns the updates that the server made for the command on the ref of this name, if it accepted the command and
    /// carried out something else. Its verdict is then [`Verdict::Unknown`] if the ref or its new id differ.
    #[must_use]
    pub fn updates(&self, name: &BStr) -> &[ReportedUpdate] {
        self.updates.get(name.as_bytes()).map_or(&[], Vec::as_slice)
    }

    /// Records that the server refused a thin pack, and took the same push without thin bases.
    pub fn with_refused_thin(mut self, refused_thin: bool) -> Self {
        self.refused_thin = refused_thin;
        self
    }

    /// Returns true if the server refused a thin pack, and took the same push without thin bases. Call
    /// [`Push::thin()`](super::Push::thin()) with `false` for the next push to it.
    #[must_use]
    pub fn has_refused_thin(&self) -> bool {
        self.refused_thin
    }

    /// Records that the server refused a pack of unknown length, and took the same push with its length.
    pub fn with_refused_stream(mut self, refused_stream: bool) -> Self {
        self.refused_stream = refused_stream;
        self
    }

    /// Returns true if the server refused a pack of unknown length, and took the same push with its length. Call
    /// [`Push::stream()`](super::Push::stream()) with `false` for the next push to it.
    #[must_use]
    pub fn has_refused_stream(&self) -> bool {
        self.refused_stream
    }

    /// Adds the error of a server that could not unpack the pack, in its words (gitprotocol-pack, *unpack-status*).
    pub fn with_unpack_error(mut self, error: Option<BString>) -> Self {
        self.unpack_error = error;
        self
    }

    /// Returns the error of a server that could not unpack the pack, in its words.
    #[must_use]
    pub fn unpack_error(&self) -> Option<&BStr> {
        self.unpack_error.as_ref().map(|error| error.as_bstr())
    }

    /// Returns commands with their verdicts, in the order in which the commands were sent.
    pub fn verdicts(&self) -> impl Iterator<Item = (&Command, &Verdict)> {
        self.verdicts.iter().map(|(command, verdict)| (command, verdict))
    }

    /// Returns the verdict on the ref of this name, if a command named it.
    #[must_use]
    pub fn verdict(&self, name: &BStr) -> Option<&Verdict> {
        self.verdicts()
            .find(|(command, _)| command.name.as_bstr() == name)
            .map(|(_, verdict)| verdict)
    }

    /// Adds the unpack error to each reason. Git's own reasons say only that unpacking failed.
    pub fn with_reasons_explained(self) -> Self {
        let Some(error) = self.unpack_error.clone() else {
            return self;
        };
        let explain = |reason: &[u8]| format!("unpack failed: {error} ({})", reason.as_bstr());
        self.map_reasons(explain).with_unpack_error(Some(error))
    }

    /// Replaces the server's words in reasons and in the unpack error.
    pub fn map_reasons(self, words: impl Fn(&[u8]) -> String) -> Self {
        let unpack_error = self.unpack_error.as_ref().map(|error| words(error).into());
        let map = |verdict| match verdict {
            Verdict::Rejected(reason) => Verdict::Rejected(words(&reason).into()),
            other => other,
        };
        let verdicts = self.verdicts.into_iter();
        Report {
            verdicts: verdicts.map(|(command, verdict)| (command, map(verdict))).collect(),
            updates: self.updates,
            unpack_error,
            server_words: self.server_words,
            refused_thin: self.refused_thin,
            refused_stream: self.refused_stream,
        }
    }

    /// Returns true if each command was accepted or changed nothing.
    #[must_use]
    pub fn all_accepted(&self) -> bool {
        self.verdicts()
            .all(|(_, verdict)| matches!(verdict, Verdict::Accepted | Verdict::UpToDate))
    }
}
