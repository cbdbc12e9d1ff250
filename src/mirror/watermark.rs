//! The refs of a namespace: `refs/kv/<ns>` is the ledger ref, `refs/kv-index/<ns>` the index ref, and
//! `refs/kv-mirror/<ns>` the watermark, the commit of the ledger that is confirmed on the mirror. `<ns>` may contain
//! slashes.
use bstr::{BStr, BString, ByteSlice};

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

#[cfg(test)]
mod tests {
    use super::*;

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
