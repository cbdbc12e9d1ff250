//! Damaged tables: an error that names table and offset, or refs, but no panic and no silence.

use std::ops::ControlFlow;
use std::sync::Arc;

use git_reftable::bstr::ByteSlice;
use git_reftable::gix_hash::{Kind, ObjectId};
use git_reftable::{Damage, Error, Record, Stack, Table, Value};
use proptest::prelude::*;
use proptest::sample::Index as At;

use crate::builder::{Alignment, Index, Line, Shape, build, seal};
use crate::source::{Counting, Reads};

fn lines(hash: Kind, count: usize) -> Vec<Line> {
    let id = |n: usize| ObjectId::try_from(&vec![n as u8; hash.len_in_bytes()][..]).unwrap();
    (0..count)
        .map(|n| Line {
            name: format!("refs/heads/{n:03}").into_bytes(),
            value: match n % 10 {
                3 => Some(Value::Peeled { id: id(n), peeled: id(n + 1) }),
                6 => Some(Value::Symbolic("refs/heads/main".into())),
                _ => Some(Value::Id(id(n))),
            },
            update_index: 1 + n as u64 % 4,
        })
        .collect()
}

/// Tables with every section, in three alignments.
fn shapes() -> [Shape; 4] {
    let shape = Shape { block_size: 256, index: Index::Levels(2), objects: true, logs: true, ..Shape::plain(Kind::Sha1) };
    [
        shape,
        Shape { alignment: Alignment::None, objects: false, ..shape },
        Shape { alignment: Alignment::Unpadded, index: Index::None, version: 2, hash: Kind::Sha256, ..shape },
        Shape { index: Index::OneBlock, logs: false, ..shape },
    ]
}

struct Read {
    result: Result<Vec<Record>, Error>,
    bytes: u64,
}

/// Reads everything there is, and looks up every name that was written.
fn read(shape: &Shape, lines: &[Line], bytes: Vec<u8>) -> Read {
    let reads = Arc::new(Reads::default());
    let source = Counting { source: bytes, reads: Arc::clone(&reads) };
    let result = Table::open("t.ref", Box::new(source)).and_then(|table| {
        let stack = Stack::from_tables([table], shape.hash)?;
        let records = stack.iter()?.collect::<Result<Vec<_>, _>>()?;
        let bytes = reads.take().1;
        for line in lines {
            stack.find(line.name.as_bstr())?;
        }
        Ok((records, bytes))
    });
    match result {
        Ok((records, bytes)) => Read { result: Ok(records), bytes },
        Err(error) => Read { result: Err(error), bytes: reads.take().1 },
    }
}

fn damage(shape: &Shape, bytes: Vec<u8>) -> (u64, Damage) {
    match read(shape, &[], bytes).result {
        Err(Error::Damaged { table, offset, damage }) => {
            assert_eq!(table, "t.ref");
            (offset, damage)
        }
        other => panic!("{other:?}"),
    }
}

#[derive(Debug, Clone)]
enum Wound {
    Flip(At, u8),
    Set(At, Vec<u8>),
    Truncate(At),
    Cut(At, At),
    Insert(At, Vec<u8>),
    Copy(At, At, usize),
    Seal,
}

impl Wound {
    fn strike(&self, bytes: &mut Vec<u8>, footer_len: usize) {
        let len = bytes.len();
        match self {
            _ if len <= footer_len => {}
            Self::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Self::Set(at, new) => {
                let at = at.index(len);
                let end = len.min(at + new.len());
                bytes[at..end].copy_from_slice(&new[..end - at]);
            }
            Self::Truncate(at) => bytes.truncate(at.index(len)),
            Self::Cut(from, to) => {
                let (from, to) = (from.index(len), to.index(len));
                bytes.drain(from.min(to)..from.max(to));
            }
            Self::Insert(at, new) => drop(bytes.splice(at.index(len)..at.index(len), new.iter().copied())),
            Self::Copy(from, to, count) => {
                let (from, to) = (from.index(len), to.index(len));
                let count = (*count).min(len - from.max(to));
                bytes.copy_within(from..from + count, to);
            }
            Self::Seal => seal(bytes, footer_len),
        }
    }
}

fn wound() -> impl Strategy<Value = Wound> {
    let bytes = || prop_oneof![prop::collection::vec(any::<u8>(), 1..8), Just(vec![0xff; 4]), Just(vec![0; 9])];
    prop_oneof![
        6 => (any::<At>(), 0_u8..8).prop_map(|(at, bit)| Wound::Flip(at, bit)),
        3 => (any::<At>(), bytes()).prop_map(|(at, new)| Wound::Set(at, new)),
        1 => any::<At>().prop_map(Wound::Truncate),
        1 => any::<(At, At)>().prop_map(|(from, to)| Wound::Cut(from, to)),
        1 => (any::<At>(), bytes()).prop_map(|(at, new)| Wound::Insert(at, new)),
        2 => (any::<(At, At)>(), 1_usize..300).prop_map(|((from, to), count)| Wound::Copy(from, to, count)),
        3 => Just(Wound::Seal),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_damage_is_an_error_or_refs(shape in any::<At>(), wounds in prop::collection::vec(wound(), 1..5)) {
        let shape = *shape.get(&shapes());
        let lines = lines(shape.hash, 60);
        let mut bytes = build(&shape, &lines);
        for wound in &wounds {
            wound.strike(&mut bytes, shape.header_len() + 44);
        }
        seal_sometimes(&wounds, &mut bytes, shape.header_len() + 44);
        let size = bytes.len() as u64;
        let read = read(&shape, &lines, bytes);
        if let Ok(records) = &read.result {
            prop_assert!(records.len() as u64 <= size, "{} refs of {size} bytes", records.len());
            prop_assert!(read.bytes <= 4 * size + 100_000, "{} bytes read of {size}", read.bytes);
        }
    }
}

/// Seals if the last wound was not to the footer, so that the damage gets beyond the checksum.
fn seal_sometimes(wounds: &[Wound], bytes: &mut [u8], footer_len: usize) {
    if wounds.len() > 1 && bytes.len() > footer_len {
        seal(bytes, footer_len);
    }
}

/// Each single bit of a table: the result is an error, or as many refs as before.
///
/// A flipped bit in a name, an id, a target, or an update index is not always noticed. A lost ref is.
#[test]
fn no_flipped_bit_loses_a_ref() {
    for shape in shapes() {
        let lines = lines(shape.hash, 40);
        let bytes = build(&shape, &lines);
        let whole = read(&shape, &lines, bytes.clone()).result.unwrap();
        assert_eq!(whole.len(), lines.len());
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(records) = read(&shape, &lines, flipped).result {
                assert_eq!(records.len(), whole.len(), "{shape:?}: bit {} of byte {}", bit % 8, bit / 8);
            }
        }
    }
}

/// The offset of the block number `n` of a padded table.
fn block(n: usize) -> usize {
    256 * n
}

#[test]
fn a_ref_block_that_calls_itself_another_one_is_an_error() {
    for shape in shapes().into_iter().filter(|shape| shape.alignment == Alignment::Padded) {
        let whole = build(&shape, &lines(shape.hash, 60));
        for kind in [b'i', b'o', b'g', 0, b'R', 0xff] {
            for n in 0..8 {
                let mut bytes = whole.clone();
                let at = block(n).max(if n == 0 { shape.header_len() } else { 0 });
                assert_eq!(bytes[at], b'r');
                bytes[at] = kind;
                let (offset, _) = damage(&shape, bytes);
                assert!(offset >= block(n) as u64 && offset < block(n + 1) as u64, "block {n} as {kind}: {offset}");
            }
        }
    }
}

#[test]
fn a_table_that_ends_after_some_of_its_refs_is_an_error() {
    let shape = Shape { block_size: 256, ..Shape::plain(Kind::Sha1) };
    for index in [Index::None, Index::Levels(1), Index::OneBlock] {
        for alignment in [Alignment::Padded, Alignment::None] {
            let shape = Shape { index, alignment, logs: true, ..shape };
            let whole = build(&shape, &lines(Kind::Sha1, 60));
            let footer = whole[whole.len() - 68..].to_vec();
            for end in (256..whole.len() - 100).step_by(if alignment == Alignment::Padded { 256 } else { 1 }) {
                let mut bytes = whole[..end].to_vec();
                bytes.extend(&footer);
                assert!(read(&shape, &[], bytes).result.is_err(), "{index:?}, {alignment:?}: {end} bytes");
            }
        }
    }
}

#[test]
fn an_index_that_points_forwards_or_elsewhere_is_an_error() {
    let shape = shapes()[0];
    let lines = lines(shape.hash, 60);
    let whole = build(&shape, &lines);
    let root = u64::from_be_bytes(whole[whole.len() - 44..][..8].try_into().unwrap()) as usize;
    assert_eq!(whole[root], b'i');
    let mut bytes = whole.clone();
    // The first record of the root: no shared prefix, one byte of lengths, the key, the offset.
    let key_len = usize::from(bytes[root + 5] >> 3);
    let pointer = root + 6 + key_len;
    for (offset, expected) in [([0xff, 0x7f], Damage::Index), ([0x81, 0x00], Damage::Index)] {
        bytes[pointer..pointer + 2].copy_from_slice(&offset);
        let stack = Stack::from_tables([Table::open("t.ref", Box::new(bytes.clone())).unwrap()], shape.hash).unwrap();
        match stack.find(lines[0].name.as_bstr()) {
            Err(Error::Damaged { damage, .. }) => assert_eq!(damage, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_parts_of_a_header_and_a_footer_are_checked() {
    let shape = Shape { version: 2, logs: true, ..Shape::plain(Kind::Sha1) };
    let whole = build(&shape, &lines(Kind::Sha1, 5));
    let end = whole.len();
    let damaged = |at: usize, new: &[u8], sealed: bool| {
        let mut bytes = whole.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        if sealed {
            seal(&mut bytes, 72);
        }
        damage(&shape, bytes)
    };
    assert_eq!(damaged(0, b"X", false), (0, Damage::Magic));
    assert_eq!(damaged(24, b"s512", false), (24, Damage::UnknownHash));
    assert_eq!(damaged(end - 4, &[0; 4], false), (end as u64 - 72, Damage::Checksum));
    assert_eq!(damaged(end - 72, b"X", true), (end as u64 - 72, Damage::Footer));
    assert_eq!(damaged(end - 64, &[9], true), (end as u64 - 72, Damage::Footer));
    for position in 0..5 {
        let at = end - 72 + 28 + 8 * position;
        assert_eq!(damaged(at, &[0xff; 8], true), (end as u64 - 72, Damage::Positions), "{position}");
    }
}

#[test]
fn lengths_and_restart_points_are_checked_against_the_block() {
    let shape = Shape { logs: true, ..Shape::plain(Kind::Sha1) };
    let whole = build(&shape, &lines(Kind::Sha1, 20));
    let len = usize::from(whole[26]) << 8 | usize::from(whole[27]);
    let damaged = |at: usize, new: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        damage(&shape, bytes)
    };
    assert_eq!(damaged(25, &[0xff; 3]), (0, Damage::BlockLength), "beyond the end of the table");
    assert_eq!(damaged(25, &[0, 0, 28]), (0, Damage::BlockLength), "no record");
    assert_eq!(damaged(len - 2, &[0, 0]), (0, Damage::Restarts), "none");
    assert_eq!(damaged(len - 2, &[0xff; 2]), (0, Damage::Restarts), "more than the block has bytes");
    assert_eq!(damaged(len - 5, &[0, 0, 29]).1, Damage::Restarts, "within a record");
    assert_eq!(damaged(28, &[1]), (28, Damage::Restarts), "a shared prefix at a restart point");
    assert_eq!(damaged(29, &[0xff, 0xff, 0xff]).1, Damage::CutRecord, "a long suffix");
    assert_eq!(damaged(29, &[0xff; 18]).1, Damage::Overflow, "a length beyond 64 bits");
    assert_eq!(damaged(29, &[whole[29] | 7]), (28, Damage::UnknownRecord));
}

/// Every error names a table and an offset within the table.
#[test]
fn offsets_lie_within_the_table() {
    let shape = shapes()[1];
    let whole = build(&shape, &lines(shape.hash, 40));
    let checked = (0..whole.len()).try_fold(0, |errors, at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        match read(&shape, &[], bytes).result {
            Err(Error::Damaged { offset, .. }) if offset <= whole.len() as u64 => ControlFlow::Continue(errors + 1),
            Err(Error::Damaged { offset, .. }) => ControlFlow::Break((at, offset)),
            Err(Error::Version { .. } | Error::Hash { .. }) | Ok(_) => ControlFlow::Continue(errors),
            Err(other) => panic!("{other}"),
        }
    });
    assert!(checked.continue_value().is_some_and(|errors| errors > 100), "{checked:?}");
}
