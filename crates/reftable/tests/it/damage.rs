//! Damaged tables: reading gives refs, or an error that names table and offset, but never a panic or a silent loss.

use std::sync::Arc;

use git_reftable::bstr::ByteSlice;
use git_reftable::gix_hash::{Kind, ObjectId};
use git_reftable::{Damage, Error, Record, Stack, Table, Value};
use proptest::prelude::*;
use proptest::sample::Index as At;

use crate::builder::{Alignment, Index, Line, Shape, build, seal, varint};
use crate::source::{Counting, Reads};

pub fn lines(hash: Kind, count: usize) -> Vec<Line> {
    let id = |n: usize| {
        // Bytes as different from each other as those of real ids.
        let bytes = (0..hash.len_in_bytes()).map(|at| (((n * 61 + at * 101 + 13) * (at + 7 * n + 3)) >> 3) as u8);
        ObjectId::try_from(&bytes.collect::<Vec<_>>()[..]).unwrap()
    };
    (0..count)
        .map(|n| Line {
            name: format!("refs/head/{n:05}").into_bytes(),
            value: match n % 10 {
                3 => Some(Value::Peeled {
                    id: id(n),
                    peeled: id(n + 1),
                }),
                6 => Some(Value::Symbolic("refs/heads/trunk".into())),
                _ => Some(Value::Id(id(n))),
            },
            update_index: 1 + n as u64 % 4,
        })
        .collect()
}

/// Tables with every section, in three alignments.
pub fn shapes() -> [Shape; 4] {
    let shape = Shape {
        block_size: 256,
        index: Index::Levels(2),
        objects: true,
        logs: true,
        ..Shape::plain(Kind::Sha1)
    };
    [
        shape,
        Shape {
            alignment: Alignment::None,
            objects: false,
            ..shape
        },
        Shape {
            alignment: Alignment::Unpadded,
            index: Index::None,
            version: 2,
            hash: Kind::Sha256,
            ..shape
        },
        Shape {
            index: Index::OneBlock,
            logs: false,
            ..shape
        },
    ]
}

pub struct Read {
    pub result: Result<Vec<Record>, Error>,
    bytes: u64,
}

/// Reads everything there is, and looks up every name that was written.
pub fn read(shape: &Shape, lines: &[Line], bytes: Vec<u8>) -> Read {
    let reads = Arc::new(Reads::default());
    let source = Counting {
        source: bytes,
        reads: Arc::clone(&reads),
    };
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
        Ok((records, bytes)) => Read {
            result: Ok(records),
            bytes,
        },
        Err(error) => Read {
            result: Err(error),
            bytes: reads.take().1,
        },
    }
}

pub fn damage(shape: &Shape, bytes: Vec<u8>) -> (u64, Damage) {
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
    let bytes = || {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 1..8),
            Just(vec![0xff; 4]),
            Just(vec![0; 9])
        ]
    };
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
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

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

/// Corrects the checksum, unless the last damage was to the footer, so that the damage is not hidden by the checksum.
fn seal_sometimes(wounds: &[Wound], bytes: &mut [u8], footer_len: usize) {
    if wounds.len() > 1 && bytes.len() > footer_len {
        seal(bytes, footer_len);
    }
}

/// Each single bit of a table: the result is an error, or as many refs as before.
///
/// A flipped bit in a name, an id, a target, or an update index is not always noticed. Neither is a type that turns a
/// symbolic ref into two ids, if these end where the next record ends; the lengths here exclude this.
#[test]
fn no_flipped_bit_loses_a_ref() {
    for shape in [shapes()[0], shapes()[1]] {
        let bytes = build(&shape, &lines(shape.hash, 24));
        let whole = read(&shape, &[], bytes.clone()).result.unwrap();
        assert_eq!(whole.len(), 24);
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(records) = read(&shape, &[], flipped).result {
                assert_eq!(
                    records.len(),
                    whole.len(),
                    "{shape:?}: bit {} of byte {}",
                    bit % 8,
                    bit / 8
                );
            }
        }
    }
}

/// Small blocks in a table that promises large ones are not read again and again.
#[test]
fn a_false_block_size_does_not_multiply_what_is_read() {
    let shape = Shape {
        block_size: 100,
        alignment: Alignment::Unpadded,
        ..Shape::plain(Kind::Sha1)
    };
    let lines = lines(Kind::Sha1, 20_000);
    let mut bytes = build(&shape, &lines);
    let size = bytes.len();
    for at in [5, size - 68 + 5] {
        bytes[at..at + 3].copy_from_slice(&[0xff; 3]);
    }
    seal(&mut bytes, 68);
    let read = read(&shape, &[], bytes);
    assert_eq!(read.result.unwrap().len(), lines.len());
    assert!(read.bytes <= 2 * size as u64, "{} bytes read of {size}", read.bytes);
}

/// The offset of the block number `n` of a padded table.
fn block(n: usize) -> usize {
    256 * n
}

#[test]
fn a_ref_block_that_calls_itself_another_one_is_an_error() {
    for shape in shapes()
        .into_iter()
        .filter(|shape| shape.alignment == Alignment::Padded)
    {
        let whole = build(&shape, &lines(shape.hash, 60));
        let blocks = (0..).find(|n| *n > 0 && whole[block(*n)] != b'r').unwrap();
        assert!(blocks > 5);
        for kind in [b'i', b'o', b'g', 0, b'R', 0xff] {
            for n in 0..blocks {
                let mut bytes = whole.clone();
                let at = block(n).max(if n == 0 { shape.header_len() } else { 0 });
                assert_eq!(bytes[at], b'r');
                bytes[at] = kind;
                let (offset, _) = damage(&shape, bytes);
                assert!(
                    offset >= block(n) as u64 && offset < block(n + 1) as u64,
                    "block {n} as {kind}: {offset}"
                );
            }
        }
    }
}

/// Tables without an index: the section that ends the refs must be where the footer has it, and be valid.
#[test]
fn the_end_of_refs_without_an_index_is_checked() {
    let plain = Shape {
        block_size: 256,
        ..Shape::plain(Kind::Sha1)
    };
    let refs_only = build(&plain, &lines(Kind::Sha1, 60));
    let with_logs = build(&Shape { logs: true, ..plain }, &lines(Kind::Sha1, 60));
    let logs = u64::from_be_bytes(with_logs[with_logs.len() - 20..][..8].try_into().unwrap()) as usize;
    assert_eq!(with_logs[logs], b'g');

    for (n, kind) in [(0, b'g'), (0, b'o'), (0, b'i'), (3, b'g'), (3, b'o'), (3, b'i')] {
        let at = if n == 0 { 24 } else { block(n) };
        for table in [&refs_only, &with_logs] {
            let mut bytes = table.clone();
            assert_eq!(bytes[at], b'r');
            bytes[at] = kind;
            let (offset, _) = damage(&plain, bytes);
            assert!(
                offset as usize / 256 == n,
                "block {n} as {}: {offset}",
                char::from(kind)
            );
        }
    }

    let mut bytes = with_logs.clone();
    bytes[logs] = 0;
    assert_eq!(damage(&plain, bytes).1, Damage::EarlyEnd, "padding instead of logs");

    // A block of logs in place of the ref block 3.
    let mut bytes = with_logs.clone();
    bytes.copy_within(logs..logs + 36, block(3));
    assert_eq!(damage(&plain, bytes), (block(3) as u64, Damage::MisplacedBlock));

    // Two swapped ref blocks.
    let mut bytes = refs_only.clone();
    let (before, after) = bytes[..block(4)].split_at_mut(block(3));
    before[block(2)..].swap_with_slice(after);
    assert_eq!(damage(&plain, bytes), (block(2 + 1) as u64, Damage::Order));
}

/// A block of tombstones is also a valid index block: the end of the refs is known only by the last name in the index.
#[test]
fn tombstones_that_call_themselves_an_index_are_an_error() {
    let shape = shapes()[0];
    let mut lines = lines(shape.hash, 200);
    lines.iter_mut().for_each(|line| line.value = None);
    let mut bytes = build(&shape, &lines);
    let at = block(3);
    assert_eq!(bytes[at], b'r');
    bytes[at] = b'i';
    assert_eq!(damage(&shape, bytes), (at as u64, Damage::EarlyEnd));
}

#[test]
fn a_table_that_ends_after_some_of_its_refs_is_an_error() {
    let shape = Shape {
        block_size: 256,
        ..Shape::plain(Kind::Sha1)
    };
    for index in [Index::None, Index::Levels(1), Index::OneBlock] {
        for alignment in [Alignment::Padded, Alignment::None] {
            let shape = Shape {
                index,
                alignment,
                logs: true,
                ..shape
            };
            let whole = build(&shape, &lines(Kind::Sha1, 60));
            let footer = whole[whole.len() - 68..].to_vec();
            for end in (256..whole.len() - 100).step_by(if alignment == Alignment::Padded { 256 } else { 1 }) {
                let mut bytes = whole[..end].to_vec();
                bytes.extend(&footer);
                assert!(
                    read(&shape, &[], bytes).result.is_err(),
                    "{index:?}, {alignment:?}: {end} bytes"
                );
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
    // A record of the root is two lengths, a suffix, and an offset, which in the second record is that of block 1.
    let first = root + 4 + 2 + usize::from(whole[root + 5] >> 3) + 1;
    let second = first + 2 + usize::from(whole[first + 1] >> 3);
    assert_eq!(whole[second..second + 2], varint(256));
    let mut bytes = whole.clone();
    for offset in [root as u64, 1000, 512] {
        assert_eq!(varint(offset).len(), 2);
        bytes[second..second + 2].copy_from_slice(&varint(offset));
        let stack = Stack::from_tables([Table::open("t.ref", Box::new(bytes.clone())).unwrap()], shape.hash).unwrap();
        // The name at the end of block 1, and all others in it, are found by the second record.
        let first_of_block_1 = lines.iter().find(|line| !in_first_block(&whole, line)).unwrap();
        match stack.find(first_of_block_1.name.as_bstr()) {
            Err(Error::Damaged {
                damage: Damage::Index | Damage::UnknownBlock,
                ..
            }) => {}
            other => panic!("{offset}: {other:?}"),
        }
    }
}

/// Returns true if the index has the name in its first block.
fn in_first_block(table: &[u8], line: &Line) -> bool {
    let root = u64::from_be_bytes(table[table.len() - 44..][..8].try_into().unwrap()) as usize;
    let key_len = usize::from(table[root + 5] >> 3);
    line.name.as_slice() <= &table[root + 6..root + 6 + key_len]
}
