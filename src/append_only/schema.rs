//! Check that each new event file is a valid event at the event's own path.
use bstr::{BStr, BString, ByteSlice};
use gix::{
    ObjectId,
    objs::{Find, FindHeader, tree::EntryKind},
};

use super::{Added, Error};
use crate::event::{Event, Layout, MAX_FILE};
use crate::git_objects::{Error as ObjectError, Reader};

/// A new file that is not an event, or has the wrong path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Its path.
    pub path: BString,
    /// The commit that added it.
    pub commit: ObjectId,
    /// All problems, each as a sentence without a full stop.
    pub problems: Vec<String>,
}

/// Returns the malformed new files. Skips files whose name starts with a dot, such as `.gitkeep`.
///
/// # Errors
/// An object cannot be read.
pub fn malformed(objects: &(impl Find + FindHeader), added: &[Added]) -> Result<Vec<Malformed>, Error> {
    let mut found = Vec::new();
    for file in added {
        if is_skipped(file.path.as_bstr()) {
            continue;
        }
        let problems = match not_a_file(file.kind) {
            Some(problem) => vec![problem.into()],
            None => match content(objects, file.id)? {
                Some(json) => problems(&file.path, &json),
                None => vec![format!("the event is longer than {MAX_FILE} bytes")],
            },
        };
        if !problems.is_empty() {
            found.push(Malformed {
                path: file.path.clone(),
                commit: file.commit,
                problems,
            });
        }
    }
    Ok(found)
}

/// Returns true for a file whose name starts with a dot.
pub(super) fn is_skipped(path: &BStr) -> bool {
    let name = path.rsplit_once_str("/").map_or(path.as_bytes(), |(_, name)| name);
    name.starts_with(b".")
}

/// Returns the problem of something that is not a regular file.
pub(super) fn not_a_file(kind: EntryKind) -> Option<&'static str> {
    match kind {
        EntryKind::Blob | EntryKind::BlobExecutable => None,
        EntryKind::Link => Some("it is a symbolic link"),
        EntryKind::Commit => Some("it is a submodule"),
        EntryKind::Tree => Some("it is a folder"),
    }
}

/// Reads the file. `None` if it is larger than an event may be.
pub(super) fn content(objects: &(impl Find + FindHeader), id: ObjectId) -> Result<Option<Vec<u8>>, Error> {
    let header = objects.try_header(&id).map_err(|error| ObjectError::Damaged {
        what: "blob",
        id,
        why: error.to_string(),
    })?;
    match header {
        Some(header) if header.size > MAX_FILE as u64 => Ok(None),
        _ => Ok(Some(Reader(objects).blob(id)?)),
    }
}

fn problems(path: &BString, json: &[u8]) -> Vec<String> {
    let event = match Event::parse_file(json) {
        Ok(event) => event,
        Err(problems) => return problems.iter().map(ToString::to_string).collect(),
    };
    let places = [Layout::Day, Layout::Hour].map(|layout| event.path(layout));
    if places.iter().any(|place| path == place) {
        Vec::new()
    } else {
        vec![format!("the event belongs at {} or at {}", places[0], places[1])]
    }
}
