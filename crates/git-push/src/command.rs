//! Commands and what became of them.
use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;

/// Create, update or delete of one remote ref (gitprotocol-pack, *Reference Update Request*).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The full name.
    pub name: BString,
    /// What the remote has, advertised or read back; the null id when it has no such ref. Never a journal's word.
    pub old: ObjectId,
    /// What the remote shall have; the null id to delete.
    pub new: ObjectId,
}

impl Command {
    /// Whether the ref is to be deleted.
    pub fn is_delete(&self) -> bool {
        self.new.is_null()
    }
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The remote already had it; nothing was sent.
    UpToDate,
    /// The server reported `ok`. A look at the refs confirms it.
    Accepted,
    /// The server reported `ng`, with this reason. Text for a person: nothing may be decided by it.
    Rejected(BString),
    /// The server did not say, or said something impossible. Look before acting.
    Unknown,
}

/// A server's complete report: one verdict for each command, in the commands' order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    verdicts: Vec<(Command, Verdict)>,
    unpack_error: Option<BString>,
}

impl Report {
    /// A report with these verdicts.
    pub fn new(verdicts: Vec<(Command, Verdict)>) -> Self {
        Report {
            verdicts,
            unpack_error: None,
        }
    }

    /// The same, of a server that could not unpack what it was sent, in its words (gitprotocol-pack, *unpack-status*).
    pub fn with_unpack_error(mut self, error: Option<BString>) -> Self {
        self.unpack_error = error;
        self
    }

    /// Why the server could not unpack what it was sent, in its words.
    pub fn unpack_error(&self) -> Option<&BStr> {
        self.unpack_error.as_ref().map(|error| error.as_bstr())
    }

    /// Commands with their verdicts, in the order in which the commands were sent.
    pub fn verdicts(&self) -> impl Iterator<Item = (&Command, &Verdict)> {
        self.verdicts.iter().map(|(command, verdict)| (command, verdict))
    }

    /// The verdict on the ref of this name, if a command named it.
    pub fn verdict(&self, name: &BStr) -> Option<&Verdict> {
        self.verdicts()
            .find(|(command, _)| command.name.as_bstr() == name)
            .map(|(_, verdict)| verdict)
    }

    /// The same report, whose reasons say why nothing was unpacked: git's own say that, but not why.
    pub fn with_reasons_explained(self) -> Self {
        let Some(error) = self.unpack_error.clone() else {
            return self;
        };
        let explain = |reason: &[u8]| format!("unpack failed: {error} ({})", reason.as_bstr());
        self.map_reasons(explain).with_unpack_error(Some(error))
    }

    /// The same report, with other words in the place of the server's.
    pub fn map_reasons(self, words: impl Fn(&[u8]) -> String) -> Self {
        let unpack_error = self.unpack_error.as_ref().map(|error| words(error).into());
        let map = |verdict| match verdict {
            Verdict::Rejected(reason) => Verdict::Rejected(words(&reason).into()),
            other => other,
        };
        let verdicts = self.verdicts.into_iter();
        Report::new(verdicts.map(|(command, verdict)| (command, map(verdict))).collect())
            .with_unpack_error(unpack_error)
    }

    /// Whether the server accepted every command, or had it already.
    pub fn all_accepted(&self) -> bool {
        self.verdicts()
            .all(|(_, verdict)| matches!(verdict, Verdict::Accepted | Verdict::UpToDate))
    }
}
