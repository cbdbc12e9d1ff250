//! Ref names of a namespace: `refs/kv/<ns>` is the ledger ref, and `refs/kv-index/<ns>` the index ref.
//! `refs/kv-mirror/<ns>` is the watermark, the commit of the ledger that is confirmed on the mirror. `<ns>` may contain
//! slashes.
use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;

const LEDGER: &[u8] = b"refs/kv/";
const INDEX: &[u8] = b"refs/kv-index/";
const WATERMARK: &[u8] = b"refs/kv-mirror/";

/// Returns the namespace of a ledger or index ref, and none for any other ref.
pub fn namespace(name: &BStr) -> Option<&BStr> {
    let namespace = name.strip_prefix(LEDGER).or_else(|| name.strip_prefix(INDEX))?;
    Some(namespace.as_bstr())
}

/// Returns the label of a ref's group in a log: the namespace, else the ref itself.
pub fn group_label(name: &BStr) -> &BStr {
    namespace(name).unwrap_or(name)
}

/// Returns `refs/kv/<ns>`.
pub fn ledger_ref(namespace: &BStr) -> BString {
    [LEDGER, namespace.as_bytes()].concat().into()
}

/// Returns `refs/kv-index/<ns>`.
pub fn index_ref(namespace: &BStr) -> BString {
    [INDEX, namespace.as_bytes()].concat().into()
}

/// Returns `refs/kv-mirror/<ns>`.
pub fn watermark_ref(namespace: &BStr) -> BString {
    [WATERMARK, namespace.as_bytes()].concat().into()
}

/// Returns true for a watermark, which only the worker moves.
pub fn is_watermark(name: &BStr) -> bool {
    name.starts_with(WATERMARK)
}

/// A watermark that differs from its ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The namespace.
    pub namespace: BString,
    /// Position of the watermark.
    pub watermark: ObjectId,
    /// Position of the ledger; none if the mirror has none.
    pub ledger: Option<ObjectId>,
}

/// Returns the watermarks among a mirror's refs that differ from their ledgers, if the ledgers are mirrored. Such a
/// watermark is true only if its ledger contains it.
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
    fn a_watermark_mismatches_a_mirrored_ledger_elsewhere() {
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
    fn other_refs_have_no_namespace() {
        for name in ["refs/heads/main", "refs/kv-mirror/main", "refs/kvx/main"] {
            assert_eq!(namespace(name.into()), None, "{name}");
        }
    }
}
