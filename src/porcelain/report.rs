//! Report on a push, in the shape of `push --json`.
use bstr::{BString, ByteSlice};
use git_push::ruling::Refusal;
use gix::ObjectId;
use serde::{Serialize, Serializer, ser::SerializeStruct};

/// Report on a push.
#[derive(Debug, Clone, Serialize)]
pub struct PushReport {
    /// Outcome of the push as a whole.
    pub outcome: PushOutcome,
    /// The remote's URL, without secrets.
    pub remote: String,
    /// Every ref that the refspecs match: first those that the remote had, by name, then new ones.
    pub refs: Vec<RefReport>,
    /// Number of HTTP requests.
    pub http_requests: u64,
    /// Bytes sent in request bodies.
    pub bytes_sent: u64,
    /// Duration in milliseconds.
    pub elapsed_ms: u64,
}

/// Outcome of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PushOutcome {
    /// At least one ref was updated, and all others were up to date.
    Pushed,
    /// All refs were up to date.
    Idle,
    /// Dry run: nothing was sent, and no update was refused.
    Planned,
    /// Some updates were refused locally or rejected by the remote.
    Rejected,
    /// For some refs, the result is unknown.
    Uncertain,
}

/// Report on one ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefReport {
    /// Local source, as git names it. `None` for a deletion.
    pub source: Option<BString>,
    /// Full name on the remote.
    pub name: BString,
    /// Old id on the remote. The null id if there was no such ref.
    pub old: ObjectId,
    /// New id. The null id for a deletion.
    pub new: ObjectId,
    /// Both ids, each abbreviated to a length that is unique locally.
    pub short: [String; 2],
    /// True if force or a lease overrode a refusal.
    pub forced: bool,
    /// Result of the update.
    pub fate: Fate,
}

/// Result of the update of one ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The remote had the new id already.
    UpToDate,
    /// Dry run: it would be sent.
    Planned,
    /// The remote has the new id. It was read back, unless that is disabled.
    Accepted,
    /// It was refused locally and not sent.
    Refused(Refusal),
    /// The server rejected it, with this reason.
    Rejected(BString),
    /// The server's report or the ref that was read back is missing, or the two differ. The text explains it.
    Unknown(String),
}

impl PushOutcome {
    /// Returns the worst outcome among the refs.
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
    /// Returns `up-to-date`, `accepted`, `refused`, `rejected` or `unknown`. `None` in a dry run.
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
