//! Git's rules for `git push` on overwriting refs. They are checked on this side, because a server may have none.
//!
//! A lease is the expected id of a remote ref (git-push, *--force-with-lease*). If the remote has it, the update may rewind
//! the ref. If not, the update is stale.
use std::fmt;

use gix::{ObjectId, Repository};

use super::{Error, fast_forward, fast_forward::peeled, objects::Objects, refspec::Wanted};

/// Decision on an update. Match all of them: none will be added without a new major version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// The remote has it already.
    UpToDate,
    /// It may be sent.
    Send {
        /// True if force or a lease overrides a refusal.
        forced: bool,
    },
    /// It must not be sent.
    Refuse(Refusal),
}

/// Reason not to send an update. `Display` has git's words.
///
/// Match all of them: none will be added without a new major version, so that the compiler reports every caller that
/// gives advice on refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The remote would lose commits that the local repository has.
    NonFastForward,
    /// The remote has an object that the local repository lacks.
    FetchFirst,
    /// The old or the new object is not a commit, so a loss cannot be excluded.
    NeedsForce,
    /// The remote has the tag already.
    AlreadyExists,
    /// The remote's ref does not have the id of the lease.
    StaleInfo,
    /// The local branch never had the remote's commit (git-push, *--force-if-includes*). Only callers decide this.
    RemoteUpdated,
    /// The server does not offer to delete refs.
    CannotDelete,
    /// Another update of an atomic push is refused.
    AtomicPushFailed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::NonFastForward => "non-fast-forward",
            Refusal::FetchFirst => "fetch first",
            Refusal::NeedsForce => "needs force",
            Refusal::AlreadyExists => "already exists",
            Refusal::StaleInfo => "stale info",
            Refusal::RemoteUpdated => "remote ref updated since checkout",
            Refusal::CannotDelete => "remote does not support deleting refs",
            Refusal::AtomicPushFailed => "atomic push failed",
        })
    }
}

/// Relation of a new id to the remote's id. Match all of them, as for [`Ruling`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The new commit contains the old one.
    FastForward,
    /// Commits would be lost.
    Rewind,
    /// The local repository lacks the remote's object.
    Unknown,
    /// One of the two is not a commit.
    NotCommits,
}

/// Compares `new` with `old`. Tags stand for their targets.
///
/// # Errors
/// [`ErrorKind::Broken`](super::ErrorKind::Broken) when `new` is not in the local repository, or something
/// cannot be read.
pub fn relation(repository: &Repository, old: ObjectId, new: ObjectId) -> Result<Relation, Error> {
    if !repository.has_object(old) {
        return Ok(Relation::Unknown);
    }
    let objects = Objects::new(repository);
    for id in [old, new] {
        if !matches!(peeled(&objects, id)?, Some((_, gix::objs::Kind::Commit))) {
            return Ok(Relation::NotCommits);
        }
    }
    Ok(if fast_forward(repository, old, new)? {
        Relation::FastForward
    } else {
        Relation::Rewind
    })
}

/// Decides on an update. `lease` is the expected id of the remote's ref, if there is a lease. The null id means that
/// there must be no such ref. `relation` is called only if the decision depends on it.
///
/// # Errors
/// The errors of `relation`.
pub fn rule<E>(
    wanted: &Wanted,
    force: bool,
    lease: Option<ObjectId>,
    relation: impl FnOnce() -> Result<Relation, E>,
) -> Result<Ruling, E> {
    let delete = wanted.new.is_null();
    if !delete && wanted.old == wanted.new {
        return Ok(Ruling::UpToDate);
    }
    let refusal = match lease {
        Some(expected) if expected != wanted.old => Some(Refusal::StaleInfo),
        _ if delete || wanted.old.is_null() => None,
        _ if wanted.name.starts_with(b"refs/tags/") => Some(Refusal::AlreadyExists),
        _ => match relation()? {
            Relation::FastForward => None,
            Relation::Rewind => Some(Refusal::NonFastForward),
            Relation::Unknown => Some(Refusal::FetchFirst),
            Relation::NotCommits => Some(Refusal::NeedsForce),
        },
    };
    let lease_holds = lease == Some(wanted.old);
    Ok(match refusal {
        Some(refusal) if !(force || wanted.force || lease_holds) => Ruling::Refuse(refusal),
        refusal => Ruling::Send {
            forced: refusal.is_some(),
        },
    })
}

/// Refuses all updates if one of them is refused.
pub fn all_or_none(rulings: &mut [Ruling]) {
    if rulings.iter().any(|ruling| matches!(ruling, Ruling::Refuse(_))) {
        for ruling in rulings {
            if matches!(ruling, Ruling::Send { .. }) {
                *ruling = Ruling::Refuse(Refusal::AtomicPushFailed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn id(byte: u8) -> ObjectId {
        ObjectId::Sha1([byte; 20])
    }

    fn ruled(name: &str, ids: (u8, u8), force: bool, lease: Option<u8>, relation: Relation) -> Ruling {
        let wanted = Wanted {
            source: None,
            name: name.into(),
            old: id(ids.0),
            new: id(ids.1),
            force: false,
        };
        let plus = Wanted {
            force: true,
            ..wanted.clone()
        };
        let rule = |wanted: &Wanted, force| {
            rule(wanted, force, lease.map(id), || Ok::<_, Infallible>(relation)).expect("a relation")
        };
        let ruling = rule(&wanted, force);
        if force {
            assert_eq!(rule(&plus, false), ruling, "`+` and --force are the same");
        }
        ruling
    }

    #[test]
    fn what_may_be_lost_is_not_sent_without_force_or_a_lease_that_holds() {
        use Relation::{FastForward, NotCommits, Rewind, Unknown};
        let cases = [
            ("refs/heads/a", (1, 1), Rewind, None),
            ("refs/heads/a", (0, 1), Unknown, None),
            ("refs/heads/a", (1, 0), Unknown, None),
            ("refs/heads/a", (1, 2), FastForward, None),
            ("refs/heads/a", (1, 2), Rewind, Some(Refusal::NonFastForward)),
            ("refs/kv/a", (1, 2), Unknown, Some(Refusal::FetchFirst)),
            ("refs/heads/a", (1, 2), NotCommits, Some(Refusal::NeedsForce)),
            ("refs/tags/a", (1, 2), FastForward, Some(Refusal::AlreadyExists)),
            ("refs/tags/a", (0, 2), FastForward, None),
        ];
        for (name, ids, relation, refusal) in cases {
            let fine = if ids.0 == ids.1 {
                Ruling::UpToDate
            } else {
                Ruling::Send { forced: false }
            };
            let forced = match refusal {
                Some(_) => Ruling::Send { forced: true },
                None => fine,
            };
            let plain = refusal.map_or(fine, Ruling::Refuse);
            let about = format!("{name} {ids:?} {relation:?}");
            assert_eq!(ruled(name, ids, false, None, relation), plain, "{about}");
            assert_eq!(ruled(name, ids, true, None, relation), forced, "{about} by force");
            assert_eq!(
                ruled(name, ids, false, Some(ids.0), relation),
                forced,
                "{about} with a lease"
            );
        }
    }

    #[test]
    fn a_stale_lease_refuses_what_would_be_fine_but_not_force() {
        for ids in [(1, 2), (0, 2), (1, 0)] {
            let stale = |force| ruled("refs/heads/a", ids, force, Some(9), Relation::FastForward);
            assert_eq!(stale(false), Ruling::Refuse(Refusal::StaleInfo), "{ids:?}");
            assert_eq!(stale(true), Ruling::Send { forced: true }, "{ids:?}");
        }
        assert_eq!(
            ruled("refs/heads/a", (1, 1), false, Some(9), Relation::FastForward),
            Ruling::UpToDate
        );
    }

    #[test]
    fn one_refusal_refuses_an_atomic_push() {
        let send = Ruling::Send { forced: false };
        let refuse = Ruling::Refuse(Refusal::FetchFirst);
        let mut rulings = [send, Ruling::UpToDate, refuse];
        all_or_none(&mut rulings);
        assert_eq!(
            rulings,
            [Ruling::Refuse(Refusal::AtomicPushFailed), Ruling::UpToDate, refuse]
        );
        let mut fine = [send, Ruling::UpToDate];
        all_or_none(&mut fine);
        assert_eq!(fine, [send, Ruling::UpToDate]);
    }
}
