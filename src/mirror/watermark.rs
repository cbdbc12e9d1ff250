//! The refs of a namespace: `refs/kv/<ns>` is the ledger ref, `refs/kv-index/<ns>` the index ref, and
//! `refs/kv-mirror/<ns>` the watermark, the commit of the ledger that is confirmed on the mirror. `<ns>` may contain
//! slashes.
use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;

const LEDGER: &[u8] = b"refs/kv/";
const INDEX: &[u8] = b"refs/kv-index/";
const WATERMARK: &[u8] = b"refs/kv-mirror/";

/// The namespace of a ledger or index ref; none for any other ref.
pub fn namespace(name: &BStr) -> Option<&BStr> {
    let namespace = name.strip_prefix(LEDGER).or_else(|| name.strip_prefix(INDEX))?;
    Some(namespace.as_bstr())
}

/// What a ref's group is called in a log: the namespace, else the ref itself.
pub fn group_label(name: &BStr) -> &BStr {
    namespace(name).unwrap_or(name)
}

/// `refs/kv/<ns>`
pub fn ledger_ref(namespace: &BStr) -> BString {
    [LEDGER, namespace.as_bytes()].concat().into()
}

/// `refs/kv-index/<ns>`
pub fn index_ref(namespace: &BStr) -> BString {
    [INDEX, namespace.as_bytes()].concat().into()
}

/// `refs/kv-mirror/<ns>`
pub fn watermark_ref(namespace: &BStr) -> BString {
    [WATERMARK, namespace.as_bytes()].concat().into()
}

/// Whether this is a watermark, which only the worker moves.
pub fn is_watermark(name: &BStr) -> bool {
    name.starts_with(WATERMARK)
}

/// A watermark that does not stand where its ledger does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The namespace.
    pub namespace: BString,
    /// Where the watermark stands.
    pub watermark: ObjectId,
    /// Where the ledger stands; none when the mirror has none.
    pub ledger: Option<ObjectId>,
}

/// The watermarks among a mirror's refs that are elsewhere than their ledgers, where these are mirrored. Such a watermark
/// is true only if its ledger contains it.
pub fn mismatches(refs: &BTreeMap<BString, ObjectId>, is_mirrored: impl Fn(&BStr) -> bool) -> Vec<Mismatch> {
    let mismatch = |(name, watermark): (&BString, &ObjectId)| {
        let namespace = name.strip_prefix(WATERMARK)?.as_bstr();
        let ledger = ledger_ref(namespace);
        let at = refs.get(&ledger).copied();
        (is_mirrored(ledger.as_bstr()) && at != Some(*watermark)).then(|| Mismatch {
            namespace: namespace.to_owned(),
            watermark: *watermark,
            ledger: at,
        })
    };
    refs.iter().filter_map(mismatch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_is_in_doubt_where_a_mirrored_ledger_is_elsewhere() {
        let id = |byte: u8| ObjectId::from_bytes_or_panic(&[byte; 20]);
        let refs = [
            ("refs/kv-mirror/equal", 1),
            ("refs/kv/equal", 1),
            ("refs/kv-mirror/moved", 1),
            ("refs/kv/moved", 2),
            ("refs/kv-mirror/gone", 1),
            ("refs/kv-mirror/other/ours-not", 1),
            ("refs/kv/without", 1),
        ];
        let refs = refs.map(|(name, byte)| (BString::from(name), id(byte)));
        let mismatches = mismatches(&refs.into(), |name| !name.starts_with(b"refs/kv/other/"));
        let found: Vec<_> = mismatches
            .iter()
            .map(|mismatch| (mismatch.namespace.to_string(), mismatch.ledger))
            .collect();
        assert_eq!(found, [("gone".to_owned(), None), ("moved".to_owned(), Some(id(2)))]);
    }

    #[test]
    fn a_namespace_may_contain_slashes() {
        assert_eq!(namespace("refs/kv/team/a".into()), Some("team/a".into()));
        assert_eq!(namespace("refs/kv-index/team/a".into()), Some("team/a".into()));
        assert_eq!(watermark_ref("team/a".into()), "refs/kv-mirror/team/a");
    }

    #[test]
    fn other_refs_have_none() {
        for name in ["refs/heads/main", "refs/kv-mirror/main", "refs/kvx/main"] {
            assert_eq!(namespace(name.into()), None, "{name}");
        }
    }
}
