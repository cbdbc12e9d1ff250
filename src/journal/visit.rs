//! Visits of every entry of a journal.
use std::{io, path::Path};

use durable::storage::{Folders, ReadFiles};
use ulid::Ulid;

use super::{
    entry::Located,
    reader::{FileInput, Item, READ_SIZE, open_existing},
    segment::{file_in, segments},
};

/// Visits every entry of the journal in the repository at `git_dir`, with any status, in order. Skips problems, and
/// segments without entries younger than `since`.
///
/// # Errors
/// A file cannot be read.
pub fn visit<S: Folders + ReadFiles>(
    storage: &S,
    git_dir: &Path,
    since: Option<Ulid>,
    mut visitor: impl FnMut(Located),
) -> io::Result<()> {
    // Open the journal before listing the segments: if it is rotated in between, it is read twice rather than not at all.
    let journal = open_existing(storage, &file_in(git_dir, None))?;
    let mut visit_file = |segment: Option<Ulid>, file: &S::File| -> io::Result<()> {
        for item in FileInput::reader(storage, file, 0, READ_SIZE) {
            if let Item::Entry(mut located) = item? {
                located.place.segment = segment;
                visitor(*located);
            }
        }
        Ok(())
    };
    for segment in segments(storage, git_dir)? {
        // A segment's id is greater than all ids in it.
        if since.is_none_or(|since| segment > since)
            && let Some(file) = open_existing(storage, &file_in(git_dir, Some(segment)))?
        {
            visit_file(Some(segment), &file)?;
        }
    }
    journal.map_or(Ok(()), |file| visit_file(None, &file))
}
