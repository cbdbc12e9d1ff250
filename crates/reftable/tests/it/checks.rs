//! Each check of the reader, and reads that fail.

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use git_reftable::bstr::ByteSlice;
use git_reftable::gix_hash::Kind;
use git_reftable::{Damage, Error, Source, Stack, Table, Value};

use crate::builder::{Line, Shape, build, seal};
use crate::damage::{damage, lines, read, shapes};

#[test]
fn the_parts_of_a_header_and_a_footer_are_checked() {
    let shape = Shape {
        version: 2,
        logs: true,
        ..Shape::plain(Kind::Sha1)
    };
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
        assert_eq!(
            damaged(at, &[0xff; 8], true),
            (end as u64 - 72, Damage::Positions),
            "{position}"
        );
    }
}

#[test]
fn lengths_and_restart_points_are_checked_against_the_block() {
    let shape = Shape {
        logs: true,
        ..Shape::plain(Kind::Sha1)
    };
    let whole = build(&shape, &lines(Kind::Sha1, 20));
    let len = usize::from(whole[26]) << 8 | usize::from(whole[27]);
    let damaged = |at: usize, new: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        damage(&shape, bytes)
    };
    assert_eq!(
        damaged(25, &[0xff; 3]),
        (0, Damage::BlockLength),
        "beyond the end of the table"
    );
    assert_eq!(damaged(25, &[0, 0, 28]), (0, Damage::BlockLength), "no record");
    assert_eq!(damaged(len - 2, &[0, 0]), (0, Damage::Restarts), "none");
    assert_eq!(
        damaged(len - 2, &[0xff; 2]),
        (0, Damage::Restarts),
        "more than the block has bytes"
    );
    assert_eq!(damaged(len - 5, &[0, 0, 29]).1, Damage::Restarts, "within a record");
    assert_eq!(
        damaged(28, &[1]),
        (28, Damage::Restarts),
        "a shared prefix at a restart point"
    );
    assert_eq!(damaged(29, &[0xff, 0xff, 0xff]).1, Damage::CutRecord, "a long suffix");
    assert_eq!(damaged(29, &[0xff; 18]).1, Damage::Overflow, "a length beyond 64 bits");
    assert_eq!(damaged(29, &[whole[29] | 7]), (28, Damage::UnknownRecord));
}

#[test]
fn names_targets_and_numbers_are_checked() {
    let shape = Shape {
        block_size: 200,
        ..Shape::plain(Kind::Sha1)
    };
    let good = lines(Kind::Sha1, 30);
    let with = |change: &dyn Fn(&mut Vec<Line>)| {
        let mut lines = good.clone();
        change(&mut lines);
        damage(&shape, build(&shape, &lines)).1
    };
    assert_eq!(with(&|lines| lines.swap(1, 2)), Damage::Order, "within a block");
    assert_eq!(
        with(&|lines| lines[1] = lines[0].clone()),
        Damage::Order,
        "a name twice"
    );
    assert_eq!(
        with(&|lines| lines[..20].rotate_left(10)),
        Damage::Order,
        "from block to block"
    );
    assert_eq!(with(&|lines| lines[0].name.clear()), Damage::Key, "no name");
    assert_eq!(with(&|lines| lines[4].name.push(0)), Damage::Key, "NUL in a name");
    assert_eq!(
        with(&|lines| lines[6].value = Some(Value::Symbolic("".into()))),
        Damage::Target,
        "no target"
    );
    assert_eq!(
        with(&|lines| lines[6].value = Some(Value::Symbolic("a\0b".into()))),
        Damage::Target,
        "NUL in a target"
    );

    let mut bytes = build(&shape, &good);
    let footer = bytes.len() - 68;
    for header in [0, footer] {
        bytes[header + 8..header + 16].fill(0xff);
    }
    seal(&mut bytes, 68);
    assert_eq!(
        damage(&shape, bytes).1,
        Damage::Overflow,
        "an update index beyond 64 bits"
    );
}

/// A source of which one read fails.
struct Failing {
    bytes: Vec<u8>,
    reads_before: AtomicU64,
}

impl Source for Failing {
    fn size(&self) -> u64 {
        self.bytes.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        if self.reads_before.fetch_sub(1, Relaxed) == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.bytes.read_at(offset, bytes)
    }
}

/// A failed read is an error of the call that needs it, and the next call does not use the missing data.
#[test]
fn a_read_that_fails_is_an_error_and_nothing_else() {
    for shape in shapes() {
        let lines = lines(shape.hash, 60);
        let mut failed = 0;
        for n in 0.. {
            let source = Failing {
                bytes: build(&shape, &lines),
                reads_before: AtomicU64::new(n),
            };
            let Ok(table) = Table::open("t.ref", Box::new(source)).inspect_err(assert_timed_out) else {
                failed += 1;
                continue;
            };
            let stack = Stack::from_tables([table], shape.hash).unwrap();
            let found = stack.find(lines[50].name.as_bstr()).inspect_err(assert_timed_out);
            let listed = stack
                .iter()
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .inspect_err(assert_timed_out);
            assert!(found.is_ok() || listed.is_ok(), "one read fails");
            failed += u64::from(found.is_err() || listed.is_err());
            assert_eq!(found.unwrap_or_else(|_| lines[50].record()), lines[50].record());
            assert_eq!(listed.map_or(lines.len(), |records| records.len()), lines.len());
            if failed == n {
                break;
            }
        }
        assert!(failed > 5, "{failed} reads");
    }
}

fn assert_timed_out(error: &Error) {
    assert!(
        matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::TimedOut),
        "{error:?}"
    );
    assert!(error.is_transient());
    assert!(
        error.to_string().starts_with("cannot read table t.ref at offset "),
        "{error}"
    );
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
    assert!(
        checked.continue_value().is_some_and(|errors| errors > 100),
        "{checked:?}"
    );
}
