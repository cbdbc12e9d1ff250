//! What a push came to, in the shape of `push --json`.
use bstr::{BString, ByteSlice};
use git_push::ruling::Refusal;
use gix::ObjectId;
use serde::{Serialize, Serializer, ser::SerializeStruct};

/// What a push came to.
#[derive(Debug, Clone, Serialize)]
pub struct PushReport {
    /// The whole.
    pub outcome: PushOutcome,
    /// The remote, without secrets.
    pub remote: String,
    /// Every ref that the refspecs ask for: those that the remote had, by name, then new ones.
    pub refs: Vec<RefReport>,
    /// Requests that were made.
    pub http_requests: u64,
    /// Bytes of their bodies.
    pub bytes_sent: u64,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// What a push came to, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PushOutcome {
    /// The remote has everything, and some of it only now.
    Pushed,
    /// The remote had everything.
    Idle,
    /// A dry run: nothing was sent, and nothing of it was refused on our side.
    Planned,
    /// Some refs are not there, because they were refused here or rejected there.
    Rejected,
    /// Of some refs it is not known whether they are there.
    Uncertain,
}

/// What a push came to for one ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefReport {
    /// What was pushed, as git calls it; none for a deletion.
    pub source: Option<BString>,
    /// The full name on the remote.
    pub name: BString,
    /// What the remote had; the null id for no such ref.
    pub old: ObjectId,
    /// What it shall have; the null id to delete.
    pub new: ObjectId,
    /// Both ids, as short as they are unique here.
    pub short: [String; 2],
    /// Whether force or a lease overrode a refusal.
    pub forced: bool,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The remote had it already.
    UpToDate,
    /// It would be sent, were this not a dry run.
    Planned,
    /// The remote has it now: it was read back, unless that is switched off.
    Accepted,
    /// It was not sent.
    Refused(Refusal),
    /// The server rejected it, with this reason.
    Rejected(BString),
    /// What the server says and what the remote has do not agree, or one of them is missing: this is how.
    Unknown(String),
}

impl PushOutcome {
    /// The worst of the refs makes the whole.
    pub(super) fn of(refs: &[RefReport]) -> Self {
        let any = |wanted: fn(&Fate) -> bool| refs.iter().any(|report| wanted(&report.fate));
        if any(|fate| matches!(fate, Fate::Unknown(_))) {
            PushOutcome::Uncertain
        } else if any(|fate| matches!(fate, Fate::Refused(_) | Fate::Rejected(_))) {
            PushOutcome::Rejected
        } else if any(|fate| *fate == Fate::Planned) {
            PushOutcome::Planned
        } else if any(|fate| *fate == Fate::Accepted) {
            PushOutcome::Pushed
        } else {
            PushOutcome::Idle
        }
    }
}

impl Fate {
    /// `up-to-date`, `accepted`, `refused`, `rejected`, `unknown`; none in a dry run.
    fn verdict(&self) -> Option<&'static str> {
        Some(match self {
            Fate::UpToDate => "up-to-date",
            Fate::Planned => return None,
            Fate::Accepted => "accepted",
            Fate::Refused(_) => "refused",
            Fate::Rejected(_) => "rejected",
            Fate::Unknown(_) => "unknown",
        })
    }

    fn reason(&self) -> Option<String> {
        match self {
            Fate::UpToDate | Fate::Planned | Fate::Accepted => None,
            Fate::Refused(refusal) => Some(refusal.to_string()),
            Fate::Rejected(reason) => Some(reason.to_str_lossy().into_owned()),
            Fate::Unknown(how) => Some(how.clone()),
        }
    }
}

impl Serialize for RefReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("RefReport", 5)?;
        object.serialize_field("ref", &self.name.to_str_lossy())?;
        let old = (!self.old.is_null()).then(|| self.old.to_string());
        object.serialize_field("old", &old)?;
        object.serialize_field("new", &self.new.to_string())?;
        object.serialize_field("verdict", &self.fate.verdict())?;
        object.serialize_field("reason", &self.fate.reason())?;
        object.end()
    }
}
