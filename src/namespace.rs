//! Ref names of a namespace `<ns>`. `<ns>` may contain slashes and `@`.
//!
//! | family | ref |
//! |---|---|
//! | ledger | `refs/kv/<ns>` |
//! | index | `refs/kv-index/<ns>` |
//! | chunks | `refs/kv-chunks/<ns>@<epoch>` |
//! | epoch | `refs/kv-epoch/<ns>` |
//! | archive | `refs/kv-archive/<ns>@<epoch>` |
//! | watchlog | `refs/kv-watchlog/<ns>@<epoch>` |
//!
//! The watermark `refs/kv-mirror/<ns>` exists on the mirror only.
//!
//! `<epoch>` is the part after the last `@`, and has no slash. So the chunks `a@1@2` belong to the namespace `a@1`, and
//! the chunks `a@1/b` to the namespace `a@1/b`. In a family without epochs, an `@` is part of the namespace.
use bstr::{BStr, BString, ByteSlice};

/// Folder of the watermarks, with its slash.
pub const WATERMARKS: &str = "refs/kv-mirror/";

/// Family of a namespace's refs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// The namespace's history.
    Ledger,
    /// Index of the ledger.
    Index,
    /// Values that are too large for the ledger.
    Chunks,
    /// The current epoch.
    Epoch,
    /// Ledgers of earlier epochs.
    Archive,
    /// Log for watchers of the namespace.
    Watchlog,
}

impl Family {
    /// Every family, the ledger first.
    pub const ALL: [Family; 6] = [
        Family::Ledger,
        Family::Index,
        Family::Chunks,
        Family::Epoch,
        Family::Archive,
        Family::Watchlog,
    ];

    /// Returns the family's folder, with its slash.
    pub const fn folder(self) -> &'static str {
        match self {
            Family::Ledger => "refs/kv/",
            Family::Index => "refs/kv-index/",
            Family::Chunks => "refs/kv-chunks/",
            Family::Epoch => "refs/kv-epoch/",
            Family::Archive => "refs/kv-archive/",
            Family::Watchlog => "refs/kv-watchlog/",
        }
    }

    /// Returns true if a namespace has one ref for each epoch in this family.
    pub const fn has_epochs(self) -> bool {
        matches!(self, Family::Chunks | Family::Archive | Family::Watchlog)
    }

    /// Returns the ref of this namespace in a family without epochs, and the common beginning of its refs in a family with
    /// epochs.
    pub fn ref_of(self, namespace: &BStr) -> BString {
        let epoch: &[u8] = if self.has_epochs() { b"@" } else { b"" };
        [self.folder().as_bytes(), namespace, epoch].concat().into()
    }
}

/// Returns the family and the namespace of a ref. Returns none for a ref outside the families, such as a watermark.
pub fn family_of(name: &BStr) -> Option<(Family, &BStr)> {
    let in_family = |family: Family| Some((family, name.strip_prefix(family.folder().as_bytes())?));
    let (family, rest) = Family::ALL.into_iter().find_map(in_family)?;
    let epoch = rest
        .rfind_byte(b'@')
        .filter(|at| family.has_epochs() && is_epoch(rest, *at));
    Some((family, rest[..epoch.unwrap_or(rest.len())].as_bstr()))
}

/// Returns the namespace of a ref, and none for a ref outside the families.
pub fn namespace(name: &BStr) -> Option<&BStr> {
    family_of(name).map(|(_, namespace)| namespace)
}

/// Returns true for a watermark, which only the worker moves.
pub fn is_watermark(name: &BStr) -> bool {
    name.starts_with(WATERMARKS.as_bytes())
}

/// Returns true if an epoch begins at the `@` at this place.
fn is_epoch(rest: &[u8], at: usize) -> bool {
    at > 0 && rest[at - 1] != b'/' && !rest[at..].contains(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refs_of_every_family_have_their_namespace() {
        for (name, expected) in [
            ("refs/kv/main", "main"),
            ("refs/kv-index/main", "main"),
            ("refs/kv-chunks/main@1", "main"),
            ("refs/kv-epoch/main", "main"),
            ("refs/kv-archive/main@01JB", "main"),
            ("refs/kv-watchlog/main@3", "main"),
            ("refs/kv/team/a", "team/a"),
            ("refs/kv-chunks/team/a@2", "team/a"),
        ] {
            assert_eq!(namespace(name.into()), Some(expected.into()), "{name}");
        }
    }

    #[test]
    fn an_at_sign_is_part_of_the_namespace_except_before_an_epoch() {
        for (name, expected) in [
            ("refs/kv/a@1", "a@1"),
            ("refs/kv-epoch/a@1", "a@1"),
            ("refs/kv-chunks/a@1", "a"),
            ("refs/kv-chunks/a@1@2", "a@1"),
            ("refs/kv-chunks/a@1/b", "a@1/b"),
            ("refs/kv-chunks/a@1/b@2", "a@1/b"),
            ("refs/kv-chunks/a", "a"),
            ("refs/kv-chunks/a@", "a"),
            // A namespace is not empty.
            ("refs/kv-chunks/@1", "@1"),
            ("refs/kv-chunks/a/@1", "a/@1"),
        ] {
            assert_eq!(namespace(name.into()), Some(expected.into()), "{name}");
        }
    }

    #[test]
    fn other_refs_have_no_namespace() {
        for name in [
            "refs/heads/main",
            "refs/kv-mirror/main",
            "refs/kvx/main",
            "refs/kv-chunksx/a@1",
        ] {
            assert_eq!(namespace(name.into()), None, "{name}");
        }
        assert!(is_watermark("refs/kv-mirror/a".into()));
    }

    #[test]
    fn the_refs_of_a_namespace_lead_back_to_it() {
        for family in Family::ALL {
            for namespace_ in ["main", "team/a", "a@1"] {
                let mut name = family.ref_of(namespace_.into());
                if family.has_epochs() {
                    name.extend_from_slice(b"7");
                }
                assert_eq!(family_of(name.as_bstr()), Some((family, namespace_.into())), "{name}");
            }
        }
    }
}
