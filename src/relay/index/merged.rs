//! Entries of several sorted sources as one sequence.
use std::io;

use super::key::{Key, Value};

/// Sorted entries.
pub type Source<'a> = Box<dyn Iterator<Item = io::Result<(Key, Value)>> + 'a>;

/// Entries of all sources, sorted. No two sources have the same key.
pub struct Merged<'a> {
    /// Each source that is not at its end, with its next entry.
    heads: Vec<((Key, Value), Source<'a>)>,
    /// An error of a source, which is the end.
    error: Option<io::Error>,
}

impl<'a> Merged<'a> {
    /// Merges these sources.
    pub fn new(sources: impl IntoIterator<Item = Source<'a>>) -> Self {
        let mut merged = Merged {
            heads: Vec::new(),
            error: None,
        };
        for source in sources {
            merged.push(source);
        }
        merged
    }

    fn push(&mut self, mut source: Source<'a>) {
        match source.next() {
            None => {}
            Some(Ok(head)) => self.heads.push((head, source)),
            Some(Err(error)) => self.error = Some(error),
        }
    }
}

impl Iterator for Merged<'_> {
    type Item = io::Result<(Key, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.error.take() {
            self.heads.clear();
            return Some(Err(error));
        }
        let keys = self.heads.iter().enumerate().map(|(index, ((key, _), _))| (key, index));
        let (_, least) = keys.min()?;
        let (entry, source) = self.heads.swap_remove(least);
        self.push(source);
        Some(Ok(entry))
    }
}
