//! Encoder of tables, a pure function from records to bytes.

use std::io::{self, Write};

use bstr::BString;
use gix_hash::Kind;
use gix_zlib::{Compression, stream::deflate};

use crate::block::BlockType;
use crate::block_builder::{BlockBuilder, RawRecord};
use crate::cursor::push_varint;
use crate::header::{Header, Sections, Version};
use crate::log::LogRecord;
use crate::record::Entry;

/// Maximum number of blocks that need no index, and of blocks in the root level of an index, as for git.
const MAX_ROOT_BLOCKS: usize = 3;

/// Bytes that compression adds at most to a block that fits. Git reads a compressed log block in the length of a block.
const ZLIB_OVERHEAD: usize = 16;

/// The shape of a table that is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub hash: Kind,
    pub block_size: u32,
    pub restart_interval: usize,
    pub min_update_index: u64,
    pub max_update_index: u64,
}

impl Shape {
    /// The shape of a table with one transaction, as git writes it by default.
    pub(crate) fn of_transaction(hash: Kind, update_index: u64) -> Self {
        Self {
            hash,
            block_size: 4096,
            restart_interval: 16,
            min_update_index: update_index,
            max_update_index: update_index,
        }
    }

    fn header(&self) -> Header {
        Header {
            version: if self.hash == Kind::Sha1 {
                Version::One
            } else {
                Version::Two
            },
            block_size: self.block_size,
            min_update_index: self.min_update_index,
            max_update_index: self.max_update_index,
            hash: self.hash,
        }
    }
}

/// The reasons why records cannot be encoded.
#[derive(Debug)]
pub(crate) enum EncodeError {
    /// The record with this key does not fit into a block.
    TooLarge(BString),
    Compression(io::Error),
}

/// Returns the bytes of a table with these refs and lines of reflogs, both in the order of their keys.
pub(crate) fn encode(shape: &Shape, entries: &[Entry], logs: &[LogRecord]) -> Result<Vec<u8>, EncodeError> {
    let header = shape.header();
    let mut writer = Writer {
        shape,
        bytes: header.encode(),
        padding: 0,
    };
    let refs = entries.iter().map(|entry| entry.encode(shape.min_update_index));
    let refs = writer.section(BlockType::Refs, refs)?;
    let ref_index = writer.index(refs)?;
    writer.padding = 0;
    let logs = writer.section(BlockType::Logs, logs.iter().map(LogRecord::encode))?;
    // The position of a section at the start of the file is 0.
    let first_log = logs.first().map_or(0, |block| block.offset);
    let log_index = writer.index(logs)?;
    let mut bytes = writer.bytes;
    let sections = Sections {
        ref_index,
        objects: 0,
        object_index: 0,
        logs: first_log,
        log_index,
        end: bytes.len() as u64,
    };
    bytes.extend(sections.encode(&header));
    Ok(bytes)
}

/// A block that was written.
struct Written {
    last_key: Vec<u8>,
    offset: u64,
}

struct Writer<'a> {
    shape: &'a Shape,
    bytes: Vec<u8>,
    /// The number of bytes to write before another block that is aligned.
    padding: usize,
}

impl Writer<'_> {
    fn section(
        &mut self,
        kind: BlockType,
        records: impl Iterator<Item = RawRecord>,
    ) -> Result<Vec<Written>, EncodeError> {
        let mut blocks = Vec::new();
        let mut block = self.begin(kind);
        for record in records {
            if block.push(&record, self.limit(kind)) {
                continue;
            }
            if !block.is_empty() {
                blocks.push(self.end(kind, block)?);
                block = self.begin(kind);
                if block.push(&record, self.limit(kind)) {
                    continue;
                }
            }
            return Err(EncodeError::TooLarge(name_in_key(&record.key)));
        }
        if !block.is_empty() {
            blocks.push(self.end(kind, block)?);
        }
        Ok(blocks)
    }

    /// Writes the levels of an index, and returns the position of the root level, 0 if the blocks need no index.
    fn index(&mut self, mut blocks: Vec<Written>) -> Result<u64, EncodeError> {
        let mut root = 0;
        while blocks.len() > MAX_ROOT_BLOCKS {
            let level = self.section(BlockType::Index, blocks.iter().map(Written::record))?;
            root = level[0].offset;
            // Keys almost as long as a block need one block each.
            if level.len() >= blocks.len() {
                break;
            }
            blocks = level;
        }
        Ok(root)
    }

    fn limit(&self, kind: BlockType) -> usize {
        let size = self.shape.block_size as usize;
        if kind == BlockType::Logs {
            size.saturating_sub(ZLIB_OVERHEAD)
        } else {
            size
        }
    }

    fn is_first_block(&self) -> bool {
        self.bytes.len() == self.shape.header().version.header_len()
    }

    fn begin(&mut self, kind: BlockType) -> BlockBuilder {
        let skip = if self.is_first_block() { self.bytes.len() } else { 0 };
        BlockBuilder::new(kind, skip, self.shape.restart_interval)
    }

    fn end(&mut self, kind: BlockType, block: BlockBuilder) -> Result<Written, EncodeError> {
        let padding = std::mem::take(&mut self.padding);
        self.bytes.resize(self.bytes.len() + padding, 0);
        let start = if self.is_first_block() { 0 } else { self.bytes.len() };
        let last_key = block.last_key().to_owned();
        let (header, content) = block.finish();
        self.bytes.extend(header);
        if kind == BlockType::Logs {
            self.bytes
                .extend(compressed(&content).map_err(EncodeError::Compression)?);
        } else {
            self.bytes.extend(content);
            let len = self.bytes.len() - start;
            self.padding = len.next_multiple_of(self.shape.block_size as usize) - len;
        }
        Ok(Written {
            last_key,
            offset: start as u64,
        })
    }
}

impl Written {
    /// The index record for the block.
    fn record(&self) -> RawRecord {
        let mut body = Vec::new();
        push_varint(&mut body, self.offset);
        RawRecord {
            key: self.last_key.clone(),
            kind: 0,
            body,
        }
    }
}

/// The key of a log record has more than the name.
fn name_in_key(key: &[u8]) -> BString {
    key.split(|byte| *byte == 0).next().unwrap_or_default().into()
}

fn compressed(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = deflate::Write::new(Vec::new(), Compression::DEFAULT);
    stream.write_all(content)?;
    stream.flush()?;
    Ok(stream.into_inner())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use gix_hash::ObjectId;
    use proptest::prelude::*;

    use super::*;
    use crate::log::{Committer, LogLine};
    use crate::record::Value;
    use crate::table::Table;

    fn id(hash: Kind) -> impl Strategy<Value = ObjectId> {
        prop::collection::vec(1_u8.., hash.len_in_bytes())
            .prop_map(|bytes| ObjectId::try_from(bytes.as_slice()).expect("the length of an id"))
    }

    fn name() -> impl Strategy<Value = BString> {
        let part = prop_oneof![
            Just("some/common/beginning/".to_owned()),
            "[a-z]{1,9}",
            "[a-z/]{0,200}",
            "[\u{1}-\u{ff}]{1,9}"
        ];
        part.prop_flat_map(|start| (Just(start), 0_u32..2000))
            .prop_map(|(start, n)| format!("refs/{start}{n}").into())
    }

    fn value(hash: Kind) -> impl Strategy<Value = Option<Value>> {
        prop_oneof![
            4 => id(hash).prop_map(|id| Some(Value::Id(id))),
            1 => (id(hash), id(hash)).prop_map(|(id, peeled)| Some(Value::Peeled { id, peeled })),
            1 => name().prop_map(|target| Some(Value::Symbolic(target))),
            1 => Just(None),
        ]
    }

    fn entries(hash: Kind) -> impl Strategy<Value = Vec<Entry>> {
        prop::collection::btree_map(name(), (value(hash), 7_u64..9), 0..150).prop_map(|by_name| {
            let entry = |(name, (value, update_index))| Entry {
                name,
                value,
                update_index,
            };
            by_name.into_iter().map(entry).collect()
        })
    }

    fn log(entry: &Entry, hash: Kind) -> LogRecord {
        LogRecord {
            name: entry.name.clone(),
            update_index: entry.update_index,
            old: hash.null(),
            new: entry.value.as_ref().and_then(Value::id).unwrap_or(hash.null()),
            line: LogLine {
                committer: Committer {
                    name: "A".into(),
                    email: "a@example.com".into(),
                    seconds: 1_700_000_000,
                    offset_minutes: -90,
                },
                message: "push".into(),
            },
        }
    }

    fn shape(hash: Kind, block_size: u32, restart_interval: usize) -> Shape {
        Shape {
            hash,
            block_size,
            restart_interval,
            min_update_index: 7,
            max_update_index: 8,
        }
    }

    fn table(bytes: Vec<u8>) -> Arc<Table> {
        Arc::new(Table::open("new.ref", Box::new(bytes)).expect("a table"))
    }

    /// All entries, tombstones included, in the order of the table.
    fn read(table: &Arc<Table>) -> Vec<Entry> {
        let mut iter = table.seek(b"").expect("a table");
        std::iter::from_fn(|| iter.next().expect("no damage")).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

        #[test]
        fn the_reader_returns_what_was_encoded(
            (hash, entries) in prop_oneof![Just(Kind::Sha1), Just(Kind::Sha256)].prop_flat_map(|hash| (Just(hash), entries(hash))),
            block_size in prop_oneof![Just(700_u32), Just(1000), Just(4096), Just(70_000)],
            restart_interval in 1_usize..40,
            with_logs in any::<bool>(),
        ) {
            let logs: Vec<_> = entries.iter().filter(|_| with_logs).map(|entry| log(entry, hash)).collect();
            let bytes = encode(&shape(hash, block_size, restart_interval), &entries, &logs).expect("all records fit");
            let table = table(bytes);
            prop_assert_eq!(read(&table), &entries[..]);
            prop_assert_eq!((table.min_update_index(), table.max_update_index(), table.hash()), (7, 8, hash));
            for entry in entries.iter().step_by(5) {
                let found = table.seek(&entry.name).expect("a table").next().expect("no damage");
                prop_assert_eq!(found.as_ref(), Some(entry));
            }
        }
    }

    fn entry(name: String, value: Option<Value>) -> Entry {
        Entry {
            name: name.into(),
            value,
            update_index: 7,
        }
    }

    #[test]
    fn a_record_that_does_not_fit_into_a_block_is_named() {
        let hash = Kind::Sha1;
        let long = entry("refs/".to_owned() + &"x".repeat(4096), None);
        let short = entry("refs/a".into(), None);
        let shape = shape(hash, 4096, 16);
        let error = encode(&shape, &[short.clone(), long.clone()], &[]).expect_err("too long");
        assert!(matches!(error, EncodeError::TooLarge(name) if name == long.name));
        let mut line = log(&short, hash);
        line.line.message = "x".repeat(4096).into();
        let error = encode(&shape, std::slice::from_ref(&short), &[line]).expect_err("too long");
        assert!(matches!(error, EncodeError::TooLarge(name) if name == short.name));
    }

    #[test]
    fn names_almost_as_long_as_a_block_have_an_index_that_ends() {
        let long = |n| entry(format!("refs/{n}/{}", "x".repeat(3900)), None);
        let entries: Vec<_> = (0..9).map(long).collect();
        let table = table(encode(&shape(Kind::Sha1, 4096, 16), &entries, &[]).expect("they fit"));
        assert_eq!(read(&table), entries);
        for entry in &entries {
            assert_eq!(table.seek(&entry.name).unwrap().next().unwrap().as_ref(), Some(entry));
        }
    }

    #[test]
    fn more_than_three_blocks_have_an_index_as_in_git() {
        for (count, indexed) in [(100, false), (1000, true)] {
            let entries: BTreeMap<_, _> = (0..count).map(|n| (format!("refs/heads/{n}"), n)).collect();
            let id = ObjectId::from_bytes_or_panic(&[1; 20]);
            let entries: Vec<_> = entries
                .into_keys()
                .map(|name| entry(name, Some(Value::Id(id))))
                .collect();
            let table = table(encode(&shape(Kind::Sha1, 4096, 16), &entries, &[]).expect("they fit"));
            assert_eq!(table.ref_index() != 0, indexed, "{count}");
        }
    }
}
