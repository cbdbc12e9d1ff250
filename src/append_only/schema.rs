//! Check that each new event file is a valid event at the event's own path.
use bstr::{BString, ByteSlice};
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
        let name = file
            .path
            .rsplit_once_str("/")
            .map_or(file.path.as_slice(), |(_, name)| name);
        if name.starts_with(b".") {
            continue;
        }
        let problems = match file.kind {
            EntryKind::Blob | EntryKind::BlobExecutable => match content(objects, file.id)? {
                Some(json) => problems(&file.path, &json),
                None => vec![format!("the event is longer than {MAX_FILE} bytes")],
            },
            EntryKind::Link => vec!["it is a symbolic link".into()],
            EntryKind::Commit => vec!["it is a submodule".into()],
            EntryKind::Tree => vec!["it is a folder".into()],
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

/// Reads the file. `None` if it is larger than an event may be.
fn content(objects: &(impl Find + FindHeader), id: ObjectId) -> Result<Option<Vec<u8>>, Error> {
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
