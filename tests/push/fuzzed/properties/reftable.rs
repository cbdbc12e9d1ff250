//! Reftables: the result is sorted refs or an error, look-ups agree with the iteration, and nothing panics.
use std::io;

use bstr::ByteSlice;
use git_reftable::{Error, Record, Source, Stack, Table};
use gix::hash::Kind;

use super::control;

/// The number of refs that are looked up.
const MOST_FOUND: usize = 64;
/// Length of a header and a footer by the version of a table.
const LENGTHS: [(u8, usize); 2] = [(1, 24 + 44), (2, 28 + 44)];

/// The first byte determines if the checksum of the footer is corrected, so that other damage is reached, and if the
/// table is in the stack once or twice.
pub fn check(bytes: &[u8]) {
    let (variant, bytes) = control(bytes, 4);
    let mut bytes = bytes.to_vec();
    if variant & 1 == 1 {
        seal(&mut bytes);
    }
    let Ok(table) = open(&bytes) else { return };
    let hash = table.hash();
    let other = match hash {
        Kind::Sha1 => Kind::Sha256,
        _ => Kind::Sha1,
    };
    assert!(matches!(Stack::from_tables([table], other), Err(Error::Hash { .. })));
    let tables = (0..=variant >> 1).map(|_| open(&bytes).expect("it was one just now"));
    let stack = Stack::from_tables(tables, hash).expect("the hash is that of the table");
    let read = records(&stack);
    if let Ok(once) = records(&Stack::from_tables([open(&bytes).expect("a table")], hash).expect("a stack")) {
        assert_eq!(read.as_ref().ok(), Some(&once), "the same table twice is the same refs");
    }
    let Ok(records) = read else { return };
    assert!(records.is_sorted_by(|one, next| one.name < next.name));
    assert!(records.len() <= bytes.len());
    records
        .iter()
        .take(MOST_FOUND)
        .for_each(|record| look_up(&stack, record));
}

/// The table, read piece by piece like a file.
fn open(bytes: &[u8]) -> Result<Table, Error> {
    struct Bytes(Vec<u8>);
    impl Source for Bytes {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
            assert!(bytes.len() <= self.0.len(), "more is read at once than there is");
            self.0.read_at(offset, bytes)
        }
    }
    Table::open("t.ref", Box::new(Bytes(bytes.to_vec())))
}

fn records(stack: &Stack) -> Result<Vec<Record>, Error> {
    stack.iter()?.collect()
}

/// An index that is damaged may hide a ref, and never shows another one.
fn look_up(stack: &Stack, record: &Record) {
    let name = record.name.as_bstr();
    if let Ok(Some(found)) = stack.find(name) {
        assert_eq!(found.name, record.name);
    }
    if let Ok(Some(Ok(first))) = stack.iter_from(name).map(|mut rest| rest.next()) {
        assert!(first.name >= record.name);
    }
    if let Ok(mut below) = stack.iter_prefix(name) {
        assert!(below.all(|one| one.is_err() || one.is_ok_and(|one| one.name.starts_with(name))));
    }
}

/// Writes the checksum that an intact table of this version would have.
fn seal(bytes: &mut [u8]) {
    let version = bytes.get(4).copied().unwrap_or_default();
    let Some((_, length)) = LENGTHS.into_iter().find(|(known, _)| *known == version) else {
        return;
    };
    if let Some(start) = bytes.len().checked_sub(length) {
        let end = bytes.len() - 4;
        let sum = crc32(&bytes[start..end]);
        bytes[end..].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The checksum of zlib and PNG.
fn crc32(bytes: &[u8]) -> u32 {
    let shift = |sum: u32| (sum >> 1) ^ (0xedb8_8320 * (sum & 1));
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| shift(sum))
    })
}
