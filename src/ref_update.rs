//! Ref update: old id, new id and ref name, as a hook reads them from its standard input.
use bstr::{BString, ByteSlice};
use gix::ObjectId;

/// Move of a ref in the Stargate from `old` to `new`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RefUpdate {
    /// Id before the update; the null id for a creation.
    pub old: ObjectId,
    /// Id after the update; the null id for a deletion.
    pub new: ObjectId,
    /// Full name, not necessarily UTF-8.
    pub name: BString,
}

/// Reasons why a line is not a ref update.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MalformedLine {
    /// The line is not `old SP new SP ref`.
    #[error("expected `<old> <new> <ref>`, separated by single spaces")]
    Shape,
    /// An id is not 40 or 64 hexadecimal digits, or the two are of different kinds.
    #[error("expected two object ids of 40 or 64 hexadecimal digits")]
    Id,
    /// The name is not a valid ref name (`git check-ref-format`).
    #[error("not a valid ref name")]
    Name,
}

impl RefUpdate {
    /// Parses one line without its line feed: `old SP new SP ref` (githooks, *post-receive*).
    ///
    /// # Errors
    /// See [`MalformedLine`].
    pub fn parse(line: &[u8]) -> Result<Self, MalformedLine> {
        let (old, rest) = line.split_once_str(" ").ok_or(MalformedLine::Shape)?;
        let (new, name) = rest.split_once_str(" ").ok_or(MalformedLine::Shape)?;
        let id = |hex: &[u8]| ObjectId::from_hex(hex).map_err(|_| MalformedLine::Id);
        let (old, new) = (id(old)?, id(new)?);
        if old.kind() != new.kind() {
            return Err(MalformedLine::Id);
        }
        if !name.starts_with(b"refs/") || gix::validate::reference::name(name.as_bstr()).is_err() {
            return Err(MalformedLine::Name);
        }
        Ok(RefUpdate {
            old,
            new,
            name: name.into(),
        })
    }

    /// Returns true if the ref was created.
    pub fn is_create(&self) -> bool {
        self.old.is_null()
    }

    /// Returns true if the ref was deleted.
    pub fn is_delete(&self) -> bool {
        self.new.is_null()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2";
    const ZERO: &str = "0000000000000000000000000000000000000000";

    #[test]
    fn a_line_of_git_is_a_ref_update() {
        let update = RefUpdate::parse(format!("{ZERO} {A} refs/kv/main").as_bytes()).unwrap();
        assert!(update.is_create() && !update.is_delete());
        assert_eq!(update.new.to_string(), A);
        assert_eq!(update.name, "refs/kv/main");
    }

    #[test]
    fn sha256_ids_and_names_that_are_not_utf8_are_taken() {
        let long = "ab".repeat(32);
        let mut line = format!("{long} {} refs/kv/", "0".repeat(64)).into_bytes();
        line.push(0xff);
        let update = RefUpdate::parse(&line).unwrap();
        assert!(update.is_delete());
        assert_eq!(update.name, b"refs/kv/\xff".as_bstr());
    }

    #[test]
    fn a_malformed_line_is_rejected_with_the_reason() {
        let cases: [(String, MalformedLine); 7] = [
            (String::new(), MalformedLine::Shape),
            (format!("{A} {A}"), MalformedLine::Shape),
            (format!("{A} xyz refs/kv/main"), MalformedLine::Id),
            (format!("{A} {} refs/kv/main", "ab".repeat(32)), MalformedLine::Id),
            (format!("{A} {A} refs/kv/../main"), MalformedLine::Name),
            (format!("{A} {A} refs/kv/a b"), MalformedLine::Name),
            (format!("{A} {A} main"), MalformedLine::Name),
        ];
        for (line, expected) in cases {
            assert_eq!(RefUpdate::parse(line.as_bytes()), Err(expected), "{line:?}");
        }
    }
}
