//! Watermarks: `refs/kv-mirror/<ns>` is the commit of the ledger `refs/kv/<ns>` that is confirmed on the mirror.
use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;

pub use crate::namespace::is_watermark;
use crate::namespace::{Family, WATERMARKS};

/// Returns `refs/kv/<ns>`.
pub fn ledger_ref(namespace: &BStr) -> BString {
    Family::Ledger.ref_of(namespace)
}

/// Returns `refs/kv-mirror/<ns>`.
pub fn watermark_ref(namespace: &BStr) -> BString {
    [WATERMARKS.as_bytes(), namespace].concat().into()
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
        let namespace = name.strip_prefix(WATERMARKS.as_bytes())?.as_bstr();
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
}
