//! Remote-tracking refs: local copies of a remote's refs.
use git_push::causes;
use gix::{
    ObjectId,
    refs::{
        FullName, Target,
        transaction::{Change, LogChange, PreviousValue, RefEdit, RefLog},
    },
};

/// Committer in the reflog if git's configuration has none.
const NAME: &str = "stargate-mirror";

/// Sets a remote-tracking ref, with `message` for its reflog. The null id deletes the ref. A failure is only logged, because
/// the next fetch corrects the ref.
pub fn set_tracking_ref(repository: &gix::Repository, name: FullName, id: ObjectId, message: &str) {
    let now = gix::date::Time::now_utc().to_string();
    let fallback = gix::actor::SignatureRef {
        name: NAME.into(),
        email: NAME.into(),
        time: &now,
    };
    let committer = repository.committer().and_then(Result::ok).unwrap_or(fallback);
    let edited = repository.edit_references_as([edit(name.clone(), id, message)], Some(committer));
    if let Err(error) = edited {
        let cause = causes(&error);
        tracing::warn!(name = %name.as_bstr(), %cause, "the remote-tracking ref could not be updated");
    }
}

fn edit(name: FullName, id: ObjectId, message: &str) -> RefEdit {
    let change = if id.is_null() {
        Change::Delete {
            expected: PreviousValue::Any,
            log: RefLog::AndReference,
        }
    } else {
        Change::Update {
            log: LogChange {
                message: message.into(),
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
