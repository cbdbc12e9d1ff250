//! Tables of every shape that the format allows, made here, read here and by git.

use std::fs;

use git_reftable::bstr::{BString, ByteSlice};
use git_reftable::gix_hash::{Kind, ObjectId};
use git_reftable::{Record, Stack, Table, Value};
use proptest::prelude::*;

use crate::builder::{Alignment, Index, Line, Shape, build};
use crate::git::{Repo, as_git_prints, list};

fn stack(shape: &Shape, tables: Vec<Vec<u8>>) -> Stack {
    let tables = tables
        .into_iter()
        .enumerate()
        .map(|(n, bytes)| Table::open(format!("{n}.ref"), Box::new(bytes)).unwrap());
    Stack::from_tables(tables, shape.hash).unwrap()
}

fn id(hash: Kind, n: u8) -> ObjectId {
    ObjectId::try_from(&vec![n; hash.len_in_bytes()][..]).unwrap()
}

fn lines(hash: Kind, count: usize) -> Vec<Line> {
    (0..count)
        .map(|n| Line {
            name: format!("refs/heads/{:02}/{n:05}", n / 50).into_bytes(),
            value: match n % 5 {
                0 => None,
                1 => Some(Value::Peeled {
                    id: id(hash, 1),
                    peeled: id(hash, n as u8),
                }),
                2 => Some(Value::Symbolic(format!("refs/tags/{n}").into())),
                _ => Some(Value::Id(id(hash, n as u8))),
            },
            update_index: 7 + n as u64 % 300,
        })
        .collect()
}

fn records(lines: &[Line]) -> Vec<Record> {
    lines.iter().filter_map(Line::record).collect()
}

/// Reads the table in all ways, and compares with what was written.
fn assert_holds(shape: &Shape, lines: &[Line]) {
    let stack = stack(shape, vec![build(shape, lines)]);
    assert_eq!(list(&stack), records(lines), "{shape:?}");
    // A look-up checks a whole block.
    let step = if shape.block_size > 5000 { 17 } else { 3 };
    for line in lines.iter().step_by(step) {
        assert_eq!(stack.find(line.name.as_bstr()).unwrap(), line.record(), "{shape:?}");
        let mut absent = line.name.clone();
        absent.push(1);
        assert_eq!(stack.find(absent.as_bstr()).unwrap(), None, "{shape:?}");
    }
    let from = lines.len() / 2;
    let Some(line) = lines.get(from) else { return };
    let rest: Vec<_> = stack
        .iter_from(line.name.as_bstr())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rest, records(&lines[from..]), "{shape:?}");
}

fn shapes() -> impl Strategy<Value = Shape> {
    let hash = prop_oneof![Just((1, Kind::Sha1)), Just((2, Kind::Sha1)), Just((2, Kind::Sha256))];
    let block_size = prop_oneof![200_usize..600, 600_usize..5000, Just(65536), Just(16_777_215)];
    let alignment = prop_oneof![
        Just(Alignment::Padded),
        Just(Alignment::Unpadded),
        Just(Alignment::None)
    ];
    let index = prop_oneof![
        Just(Index::None),
        Just(Index::OneBlock),
        (1_usize..5).prop_map(Index::Levels)
    ];
    (
        hash,
        block_size,
        alignment,
        1_usize..40,
        index,
        any::<[bool; 2]>(),
        0_u64..8,
    )
        .prop_map(
            |((version, hash), block_size, alignment, restart_interval, index, [objects, logs], min_update_index)| {
                Shape {
                    version,
                    hash,
                    block_size,
                    alignment,
                    restart_interval,
                    index,
                    objects,
                    logs,
                    min_update_index,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_table_of_any_shape_is_read(shape in shapes(), count in 0_usize..400) {
        // A padded table of this size would be 16 MiB per block.
        prop_assume!(shape.block_size < 1 << 20 || shape.alignment != Alignment::Padded || shape.index == Index::None);
        assert_holds(&shape, &lines(shape.hash, count));
    }

    #[test]
    fn names_are_any_bytes(mut names in prop::collection::btree_set(prop::collection::vec(1_u8.., 1..60), 1..80), shape in shapes()) {
        names.insert(vec![0xff; 100]);
        let value = Some(Value::Id(id(shape.hash, 3)));
        let lines: Vec<_> = names.into_iter().map(|name| Line { name, value: value.clone(), update_index: 9 }).collect();
        prop_assume!(shape.block_size < 1 << 20 || shape.alignment != Alignment::Padded || shape.index == Index::None);
        assert_holds(&shape, &lines);
    }
}

#[test]
fn git_reads_these_tables_too() {
    let aligned = Shape {
        block_size: 256,
        index: Index::Levels(3),
        objects: true,
        ..Shape::plain(Kind::Sha1)
    };
    let shapes = [
        aligned,
        Shape { version: 2, ..aligned },
        Shape {
            index: Index::OneBlock,
            ..aligned
        },
        Shape {
            index: Index::Levels(1),
            restart_interval: 1,
            ..aligned
        },
        Shape {
            alignment: Alignment::None,
            ..aligned
        },
        Shape {
            alignment: Alignment::None,
            index: Index::OneBlock,
            objects: false,
            ..aligned
        },
        Shape {
            alignment: Alignment::Unpadded,
            version: 2,
            ..aligned
        },
        Shape {
            version: 2,
            hash: Kind::Sha256,
            ..aligned
        },
    ];
    for shape in shapes {
        let repo = Repo::new(shape.hash);
        let commits = &repo.objects().commits;
        let lines: Vec<_> = (0..700)
            .map(|n| Line {
                name: format!("refs/heads/{n:04}").into_bytes(),
                value: Some(Value::Id(commits[n % commits.len()])),
                update_index: 2,
            })
            .collect();
        let name = "0x000000000002-0x000000000002-12345678.ref";
        let shape = Shape {
            min_update_index: 2,
            ..shape
        };
        fs::write(repo.folder().join(name), build(&shape, &lines)).unwrap();
        let list_path = repo.folder().join("tables.list");
        fs::write(&list_path, fs::read_to_string(&list_path).unwrap() + name + "\n").unwrap();

        let listed = repo.for_each_ref();
        assert_eq!(listed.len(), 700, "{shape:?}");
        assert_eq!(as_git_prints(&repo.stack()), listed, "{shape:?}");
        repo.git(["rev-parse", "--verify", "refs/heads/0357"]);
    }
}

#[test]
fn an_index_of_many_levels_is_descended() {
    for alignment in [Alignment::Padded, Alignment::None] {
        let shape = Shape {
            block_size: 160,
            alignment,
            index: Index::Levels(1),
            ..Shape::plain(Kind::Sha1)
        };
        assert_holds(&shape, &lines(Kind::Sha1, 3000));
    }
}

#[test]
fn an_empty_table_has_no_refs() {
    for version in [1, 2] {
        let shape = Shape {
            version,
            ..Shape::plain(Kind::Sha1)
        };
        let bytes = build(&shape, &[]);
        assert_eq!(bytes.len(), if version == 1 { 24 + 68 } else { 28 + 72 });
        assert_eq!(list(&stack(&shape, vec![bytes])), []);
    }
}

#[test]
fn a_table_of_logs_only_has_no_refs() {
    for (version, alignment) in [(1, Alignment::Padded), (2, Alignment::None)] {
        let shape = Shape {
            version,
            alignment,
            logs: true,
            ..Shape::plain(Kind::Sha1)
        };
        let stack = stack(&shape, vec![build(&shape, &[])]);
        assert_eq!(list(&stack), []);
        assert_eq!(stack.find("HEAD").unwrap(), None);
    }
}

#[test]
fn the_newest_table_wins_and_tombstones_hide() {
    let shape = Shape::plain(Kind::Sha1);
    let line = |name: &str, value: Option<u8>, update_index| Line {
        name: name.into(),
        value: value.map(|n| Value::Id(id(Kind::Sha1, n))),
        update_index,
    };
    let oldest = [
        line("a", Some(1), 1),
        line("b", Some(1), 1),
        line("c", Some(1), 1),
        line("d", Some(1), 1),
    ];
    let middle = [
        line("a", None, 2),
        line("b", Some(2), 2),
        line("d", None, 2),
        line("e", None, 2),
    ];
    let newest = [line("a", Some(3), 3), line("b", None, 3), line("f", Some(3), 3)];
    let stack = stack(
        &shape,
        [&oldest[..], &middle, &newest]
            .map(|lines| build(&shape, lines))
            .to_vec(),
    );
    let expected = [newest[0].record(), oldest[2].record(), newest[2].record()].map(Option::unwrap);
    assert_eq!(list(&stack), expected);
    for (name, record) in [
        ("a", newest[0].record()),
        ("b", None),
        ("c", oldest[2].record()),
        ("d", None),
        ("e", None),
    ] {
        assert_eq!(stack.find(name).unwrap(), record, "{name}");
    }
}

#[test]
fn a_block_of_16_mib_is_searched_by_its_restart_points() {
    let shape = Shape {
        block_size: 16_777_215,
        restart_interval: 64,
        alignment: Alignment::None,
        ..Shape::plain(Kind::Sha1)
    };
    let lines: Vec<_> = (0..100_000)
        .map(|n| Line {
            name: format!("refs/heads/{n:06}").into_bytes(),
            value: Some(Value::Id(id(Kind::Sha1, n as u8))),
            update_index: 1,
        })
        .collect();
    let stack = stack(&shape, vec![build(&shape, &lines)]);
    assert_eq!(stack.iter().unwrap().map(Result::unwrap).count(), lines.len());
    for line in lines.iter().step_by(9_999) {
        assert_eq!(stack.find(line.name.as_bstr()).unwrap(), line.record());
    }
}

#[test]
fn long_names_are_read_up_to_64_kib() {
    let shape = Shape {
        block_size: 1 << 20,
        alignment: Alignment::None,
        ..Shape::plain(Kind::Sha1)
    };
    let line = |len| Line {
        name: vec![b'a'; len],
        value: Some(Value::Id(id(Kind::Sha1, 1))),
        update_index: 1,
    };
    assert_eq!(
        list(&stack(&shape, vec![build(&shape, &[line(65_535)])]))[0].name,
        BString::from(vec![b'a'; 65_535])
    );
    let stack = stack(&shape, vec![build(&shape, &[line(65_536)])]);
    let error = stack.iter().unwrap_err();
    assert_eq!(
        error.to_string(),
        "table 0.ref is damaged at offset 28: the name is impossible"
    );
}
