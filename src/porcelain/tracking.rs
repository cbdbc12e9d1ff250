//! Remote-tracking refs: the local copies of a configured remote's refs, by its fetch refspecs.
use bstr::{BStr, BString, ByteSlice};
use git_push::{causes, refspec};
use gix::{
    ObjectId, Repository,
    refs::{
        FullName, Target,
        transaction::{Change, LogChange, PreviousValue, RefEdit, RefLog},
    },
    refspec::{Instruction, instruction::Fetch},
    remote::Direction,
};

/// Committer in the reflog if git's configuration has none.
const NAME: &str = "stargate-mirror";

/// The remote-tracking refs of a remote.
#[derive(Debug)]
pub struct Tracking<'a> {
    repository: &'a Repository,
    /// Pairs of remote and local names or patterns.
    followed: Vec<(BString, BString)>,
    excluded: Vec<BString>,
}

impl<'a> Tracking<'a> {
    /// Reads the fetch refspecs of a configured remote. A URL has none.
    pub fn new(repository: &'a Repository, remote: Option<&gix::Remote<'_>>) -> Self {
        let mut tracking = Tracking {
            repository,
            followed: Vec::new(),
            excluded: Vec::new(),
        };
        for refspec in remote.map_or(&[][..], |remote| remote.refspecs(Direction::Fetch)) {
            match refspec.to_ref().instruction() {
                Instruction::Fetch(Fetch::AndUpdate { src, dst, .. }) => {
                    tracking.followed.push((src.into(), dst.into()));
                }
                Instruction::Fetch(Fetch::Exclude { src }) => tracking.excluded.push(src.into()),
                _ => {}
            }
        }
        tracking
    }

    /// Returns the value of the remote-tracking ref for the remote's ref `name`.
    pub fn id(&self, name: &BStr) -> Option<ObjectId> {
        let reference = self.repository.try_find_reference(self.name(name)?.as_ref()).ok()??;
        Some({ reference }.follow_to_object().ok()?.detach())
    }

    /// Sets the remote-tracking ref for the remote's ref `name` to `id`, or deletes it if `id` is null. A failure is only
    /// logged: the push succeeded, and the next fetch corrects the ref.
    pub fn update(&self, name: &BStr, id: ObjectId) {
        let Some(local) = self.name(name) else { return };
        let known = self.id(name);
        if known == Some(id) || known.is_none() && id.is_null() {
            return;
        }
        let now = gix::date::Time::now_utc().to_string();
        let fallback = gix::actor::SignatureRef {
            name: NAME.into(),
            email: NAME.into(),
            time: &now,
        };
        let committer = self.repository.committer().and_then(Result::ok).unwrap_or(fallback);
        let edited = self
            .repository
            .edit_references_as([edit(local.clone(), id)], Some(committer));
        if let Err(error) = edited {
            let cause = causes(&error);
            tracing::warn!(name = %local.as_bstr(), %cause, "the remote-tracking ref could not be updated");
        }
    }

    /// Returns the name of the remote-tracking ref for the remote's ref `name`.
    fn name(&self, name: &BStr) -> Option<FullName> {
        let fits = |pattern: &BString| refspec::filled(pattern.as_ref(), name, b"".as_bstr()).is_some();
        if self.excluded.iter().any(fits) {
            return None;
        }
        let mut local = self
            .followed
            .iter()
            .filter_map(|(there, here)| refspec::filled(there.as_ref(), name, here.as_ref()));
        FullName::try_from(local.next()?).ok()
    }
}

fn edit(name: FullName, id: ObjectId) -> RefEdit {
    let change = if id.is_null() {
        Change::Delete {
            expected: PreviousValue::Any,
            log: RefLog::AndReference,
        }
    } else {
        Change::Update {
            log: LogChange {
                message: "update by push".into(),
                ..LogChange::default()
            },
            expected: PreviousValue::Any,
            new: Target::Object(id),
        }
    };
    RefEdit {
        change,
        name,
        deref: true,
    }
}
