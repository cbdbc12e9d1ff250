//! `packed-refs`: many refs in one file, each on a line `<hex> SP <name> LF`. A following line `^<hex>` has the target of a
//! tag. A first line with `#` has traits (git's `refs/packed-backend.c`).
use std::{collections::BTreeMap, fs, path::Path};

use bstr::{BStr, BString, ByteSlice};
use gix::{ObjectId, hash::Kind};

use super::{Unreadable, Why};

/// Lines of `packed-refs`, including damaged ones.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Packed {
    /// Refs on intact lines.
    pub(super) refs: BTreeMap<BString, ObjectId>,
    /// Names on damaged lines, with the numbers of the lines, from 1.
    pub(super) named: BTreeMap<BString, usize>,
    /// First damaged line without an intact name.
    pub(super) nameless: Option<usize>,
}

/// Result of looking up a ref in `packed-refs`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Id(ObjectId),
    Nothing,
    /// This damaged line may be the ref's.
    Damaged(usize),
}

impl Packed {
    pub(super) fn read(path: &Path, format: Kind) -> Result<Self, Unreadable> {
        let content = fs::read(path).map_err(|error| Unreadable::system(path, &error))?;
        // git writes a header even if there are no refs.
        if content.is_empty() {
            return Err(Unreadable::new(path, Why::Empty));
        }
        Ok(Packed::parse(&content, format))
    }

    fn parse(content: &[u8], format: Kind) -> Self {
        let mut packed = Packed::default();
        for (index, line) in content.lines_with_terminator().enumerate() {
            packed.add(line, index + 1, format);
        }
        packed
    }

    fn add(&mut self, line: &[u8], number: usize, format: Kind) {
        if line.starts_with(b"#") && line.ends_with(b"\n") {
            return;
        }
        let Some(line) = line.strip_suffix(b"\n") else {
            // The last line is incomplete.
            self.nameless.get_or_insert(number);
            return;
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(peeled) = line.strip_prefix(b"^") {
            // The peeled id is not used, but a damaged one may be the rest of a line with a name.
            if id(peeled, format).is_none() {
                self.nameless.get_or_insert(number);
            }
            return;
        }
        match (split(line, format), number) {
            (Some((hex, name)), _) if id(hex, format).is_some() => {
                self.refs.extend(id(hex, format).map(|id| (name.to_owned(), id)));
            }
            (Some((_, name)), number) => drop(self.named.insert(name.to_owned(), number)),
            (None, number) => drop(self.nameless.get_or_insert(number)),
        }
    }

    pub(super) fn find(&self, name: &BStr) -> Found {
        let damaged = || self.named.get(name.as_bytes()).copied();
        match self.refs.get(name.as_bytes()) {
            Some(id) if damaged().is_none() => Found::Id(*id),
            _ => damaged().or(self.nameless).map_or(Found::Nothing, Found::Damaged),
        }
    }
}

/// Splits a line into id and name, if both are at their places.
fn split(line: &[u8], format: Kind) -> Option<(&[u8], &BStr)> {
    let (hex, rest) = line.split_at_checked(format.len_in_hex())?;
    let name = rest.strip_prefix(b" ")?.as_bstr();
    gix::validate::reference::name(name).ok().map(|_| (hex, name))
}

fn id(hex: &[u8], format: Kind) -> Option<ObjectId> {
    let id = ObjectId::from_hex(hex).ok()?;
    (id.kind() == format && !id.is_null()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "# pack-refs with: peeled fully-peeled sorted \n";

    fn hex() -> String {
        "a1".repeat(20)
    }

    fn of(lines: &[String]) -> Packed {
        Packed::parse([HEADER, &lines.concat()].concat().as_bytes(), Kind::Sha1)
    }

    fn found(lines: &[String], name: &str) -> Found {
        of(lines).find(name.into())
    }

    #[test]
    fn refs_are_found_in_any_order_with_and_without_what_tags_stand_for() {
        let lines = [
            format!("{} refs/tags/v1\n", hex()),
            format!("^{}\n", hex()),
            format!("{} refs/heads/main\r\n", hex()),
        ];
        let id = ObjectId::from_hex(hex().as_bytes()).unwrap();
        assert_eq!(found(&lines, "refs/tags/v1"), Found::Id(id));
        assert_eq!(found(&lines, "refs/heads/main"), Found::Id(id));
        assert_eq!(found(&lines, "refs/heads/other"), Found::Nothing);
    }

    #[test]
    fn a_damaged_id_leaves_the_other_refs_as_they_are() {
        for damaged in ["x".repeat(40), "\0".repeat(40), "0".repeat(40)] {
            let lines = [format!("{} refs/heads/a\n", hex()), format!("{damaged} refs/heads/b\n")];
            assert_eq!(found(&lines, "refs/heads/b"), Found::Damaged(3), "{damaged:?}");
            assert_eq!(found(&lines, "refs/heads/c"), Found::Nothing);
            assert!(matches!(found(&lines, "refs/heads/a"), Found::Id(_)));
        }
    }

    #[test]
    fn a_line_without_a_name_may_be_of_any_ref_that_is_not_found() {
        let damages = [
            "\n".to_owned(),
            format!("{}\n", hex()),
            format!("{} refs/heads/\0\0\n", hex()),
            format!("{} refs/heads/b{} refs/heads/d\n", &hex()[..20], &hex()[..20]),
            "^a1\n".to_owned(),
            format!("{} refs/heads/b", hex()),
        ];
        for damage in damages {
            let lines = [format!("{} refs/heads/a\n", hex()), damage.clone()];
            assert_eq!(found(&lines, "refs/heads/b"), Found::Damaged(3), "{damage:?}");
            assert!(matches!(found(&lines, "refs/heads/a"), Found::Id(_)));
        }
    }

    #[test]
    fn an_empty_file_is_damage_and_one_without_refs_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("packed-refs");
        fs::write(&path, "").unwrap();
        assert_eq!(Packed::read(&path, Kind::Sha1).unwrap_err().why, Why::Empty);
        fs::write(&path, HEADER).unwrap();
        assert_eq!(Packed::read(&path, Kind::Sha1), Ok(Packed::default()));
    }
}
