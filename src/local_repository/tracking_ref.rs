//! Remote-tracking refs in files: local copies of a remote's refs.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracking_ref_is_created_moved_and_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = gix::init(folder.path()).expect("a repository with a work tree");
        let name = "refs/remotes/origin/main";
        let set = |id, message| set_tracking_ref(&repository, FullName::try_from(name).expect("a name"), id, message);
        let found = || {
            let reference = repository.try_find_reference(name).expect("readable");
            reference.and_then(|reference| reference.try_id().map(gix::Id::detach))
        };
        let write = |content| repository.write_blob(content).expect("an object").detach();
        let (one, two) = (write("one"), write("two"));
        set(one, "fetch");
        assert_eq!(found(), Some(one));
        set(two, "update by push");
        assert_eq!(found(), Some(two));
        let log = repository.git_dir().join("logs").join(name);
        let log = std::fs::read_to_string(log).expect("a reflog");
        let messages: Vec<_> = log.lines().filter_map(|line| line.split_once('\t')).collect();
        assert_eq!(
            messages.iter().map(|(_, message)| *message).collect::<Vec<_>>(),
            ["fetch", "update by push"]
        );
        assert!(messages[1].0.starts_with(&format!("{one} {two} ")), "{log}");
        set(two.kind().null(), "update by push");
        assert_eq!(found(), None);
    }
}
