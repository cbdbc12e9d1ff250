//! Sources that count reads.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use git_reftable::gix_hash::Kind;
use git_reftable::{FileSource, Source, Stack, Table};

/// The reads of one or more sources.
#[derive(Debug, Default)]
pub struct Reads {
    count: AtomicU64,
    bytes: AtomicU64,
}

impl Reads {
    /// Number and bytes of the reads since the last call.
    pub fn take(&self) -> (u64, u64) {
        (self.count.swap(0, Relaxed), self.bytes.swap(0, Relaxed))
    }
}

pub struct Counting<S> {
    pub source: S,
    pub reads: Arc<Reads>,
}

impl<S: Source> Source for Counting<S> {
    fn size(&self) -> u64 {
        self.source.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.reads.count.fetch_add(1, Relaxed);
        self.reads.bytes.fetch_add(bytes.len() as u64, Relaxed);
        self.source.read_at(offset, bytes)
    }
}

/// The stack of the tables `names` in `folder`, counted.
pub fn counted(folder: &Path, names: &[String], hash: Kind) -> (Stack, Arc<Reads>) {
    let reads = Arc::new(Reads::default());
    let tables = names.iter().map(|name| {
        let source = FileSource::new(File::open(folder.join(name)).unwrap()).unwrap();
        Table::open(
            name.as_str(),
            Box::new(Counting {
                source,
                reads: Arc::clone(&reads),
            }),
        )
        .unwrap()
    });
    let stack = Stack::from_tables(tables, hash).unwrap();
    (stack, reads)
}
