//! Report on a push, in the shape of `push --json`.
use std::collections::BTreeSet;

use bstr::{BStr, BString, ByteSlice};
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
    /// What the lines for people need besides.
    #[serde(skip)]
    pub context: Context,
}

/// Surroundings of a push, for its lines for people.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Length of the longest abbreviated id.
    pub id_width: usize,
    /// Full name of the branch that is checked out.
    pub head: Option<BString>,
    /// Hints that git configuration turns off (`advice.*`), in lower case.
    pub muted: BTreeSet<String>,
    /// Error of a server that could not unpack the pack.
    pub unpack_error: Option<String>,
    /// Remote-tracking refs of the pushed refs, in order.
    pub tracked: Vec<BString>,
    /// Branches that get an upstream (`--set-upstream`).
    pub upstreams: Vec<Upstream>,
    /// True if the remote has no refs, and nothing was to be pushed.
    pub is_nothing_in_common: bool,
}

/// The upstream branch that a local branch gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Short name of the local branch.
    pub branch: BString,
    /// Name or URL of the remote.
    pub remote: BString,
    /// Full name of the branch on the remote.
    pub merge: BString,
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
    /// Updates that a hook of the server made instead (git's `proc-receive`).
    pub updates: Vec<Update>,
    /// Result of the update.
    pub fate: Fate,
}

/// An update that a server made for a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Full name on the remote.
    pub name: BString,
    /// Old id.
    pub old: ObjectId,
    /// New id.
    pub new: ObjectId,
    /// True if it was no fast-forward.
    pub forced: bool,
    /// Both ids, abbreviated.
    pub short: [String; 2],
}

/// An effect that a push had on a ref of the remote.
pub(super) struct Effect<'a> {
    pub(super) name: &'a BStr,
    pub(super) old: ObjectId,
    pub(super) new: ObjectId,
    /// True if readers need not see the ref: it is new, and neither a branch nor a tag.
    pub(super) is_server_side: bool,
}

impl RefReport {
    /// Turns the result of a dry run by the remote into a plan.
    pub(super) fn rehearsed(&mut self) {
        if self.fate == Fate::Accepted {
            self.fate = Fate::Planned;
        }
    }

    /// Returns the refs that changed if the update was accepted.
    pub(super) fn effects(&self) -> impl Iterator<Item = Effect<'_>> {
        let whole = self.updates.is_empty().then(|| Effect {
            name: self.name.as_ref(),
            old: self.old,
            new: self.new,
            is_server_side: self.old.is_null() && is_other(&self.name),
        });
        let updates = self.updates.iter().map(|update| Effect {
            name: update.name.as_ref(),
            old: update.old,
            new: update.new,
            is_server_side: is_other(&update.name),
        });
        whole.into_iter().chain(updates)
    }
}

fn is_other(name: &BString) -> bool {
    !name.starts_with(b"refs/heads/") && !name.starts_with(b"refs/tags/")
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
    /// The server reported ok, and readers see no such ref: it is the server's own, such as `refs/for/main` of a code
    /// review.
    ServerSide,
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
        } else if any(|fate| matches!(fate, Fate::Accepted | Fate::ServerSide)) {
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
            Fate::Accepted | Fate::ServerSide => "accepted",
            Fate::Refused(_) => "refused",
            Fate::Rejected(_) => "rejected",
            Fate::Unknown(_) => "unknown",
        })
    }

    fn reason(&self) -> Option<String> {
        match self {
            Fate::UpToDate | Fate::Planned | Fate::Accepted => None,
            Fate::ServerSide => Some("the remote shows no such ref".into()),
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
