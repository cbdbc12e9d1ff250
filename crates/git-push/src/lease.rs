//! Leases: expected ids of remote refs, which allow an update to rewind them (git-push, *--force-with-lease*).
use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;

use super::refspec;

/// One `--force-with-lease`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lease {
    /// Every ref is expected to have the id of its remote-tracking ref.
    All,
    /// The ref of this name, which may be short, is expected to have the id of its remote-tracking ref.
    Tracked(BString),
    /// The ref of this name, which may be short, is expected to have this id. The null id means that there must be no
    /// such ref.
    Expected(BString, ObjectId),
}

impl Lease {
    /// Parses the text after `--force-with-lease=`: nothing, `REF`, `REF:`, or `REF:OID`. `object` resolves the expression
    /// `OID`. Returns `None` if it does not name an object.
    #[must_use]
    pub fn parse(text: &BStr, null: ObjectId, object: impl FnOnce(&BStr) -> Option<ObjectId>) -> Option<Self> {
        if text.is_empty() {
            return Some(Lease::All);
        }
        match text.split_once_str(":") {
            None => Some(Lease::Tracked(text.into())),
            Some((name, b"")) => Some(Lease::Expected(name.into(), null)),
            Some((name, expected)) => Some(Lease::Expected(name.into(), object(expected.as_bstr())?)),
        }
    }

    fn is_for(&self, name: &BStr) -> bool {
        match self {
            Lease::All => false,
            Lease::Tracked(short) | Lease::Expected(short, _) => refspec::may_stand_for(short.as_ref(), name),
        }
    }
}

/// Returns the id that the remote's ref of this name is expected to have, if one of `leases` is for it: the first that
/// names it, else [`Lease::All`]. `tracked` is the id of its remote-tracking ref. Without one, no such ref is expected.
#[must_use]
pub fn expected(
    leases: &[Lease],
    name: &BStr,
    null: ObjectId,
    tracked: impl FnOnce() -> Option<ObjectId>,
) -> Option<ObjectId> {
    let named = leases.iter().find(|lease| lease.is_for(name));
    match named.or_else(|| leases.iter().find(|lease| **lease == Lease::All))? {
        Lease::Expected(_, id) => Some(*id),
        Lease::All | Lease::Tracked(_) => Some(tracked().unwrap_or(null)),
    }
}

/// Returns true if the lease on the remote's ref of this name, if any, expects the id of its remote-tracking ref.
#[must_use]
pub fn is_tracked(leases: &[Lease], name: &BStr) -> bool {
    match leases.iter().find(|lease| lease.is_for(name)) {
        Some(lease) => matches!(lease, Lease::Tracked(_)),
        None => leases.contains(&Lease::All),
    }
}

#[cfg(test)]
mod tests {
    use gix::hash::Kind;

    use super::*;

    const NULL: ObjectId = ObjectId::null(Kind::Sha1);
    const ONE: ObjectId = ObjectId::Sha1([1; 20]);
    const TWO: ObjectId = ObjectId::Sha1([2; 20]);

    fn lease(text: &str) -> Option<Lease> {
        Lease::parse(text.into(), NULL, |name| (name == "one").then_some(ONE))
    }

    #[test]
    fn every_form_is_understood() {
        assert_eq!(lease(""), Some(Lease::All));
        assert_eq!(lease("main"), Some(Lease::Tracked("main".into())));
        assert_eq!(lease("main:"), Some(Lease::Expected("main".into(), NULL)));
        assert_eq!(lease("main:one"), Some(Lease::Expected("main".into(), ONE)));
        assert_eq!(lease("main:nothing"), None);
    }

    #[test]
    fn the_first_that_names_the_ref_wins_over_all() {
        let leases = ["", "main:one", "refs/heads/main:", "other"].map(|text| lease(text).expect("a lease"));
        let expected = |name: &str, tracked| expected(&leases, name.into(), NULL, || tracked);
        assert_eq!(expected("refs/heads/main", Some(TWO)), Some(ONE));
        assert_eq!(expected("refs/heads/other", Some(TWO)), Some(TWO));
        assert_eq!(expected("refs/heads/third", Some(TWO)), Some(TWO));
        assert_eq!(expected("refs/heads/third", None), Some(NULL));
        assert_eq!(
            super::expected(&leases[1..], "refs/heads/x".into(), NULL, || Some(TWO)),
            None
        );
    }
}
