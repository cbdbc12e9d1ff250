//! Refused events, stored outside the commits, one JSON object per line. An event is refused if its id exists with other
//! content.
//!
//! ```json
//! {"refused_at":"2026-01-10T12:00:00.000Z","path":"events/general/2026-01-10/e-1.json","blob":"<id of the file>","event":{…}}
//! ```
//!
//! Input that is not an event is stored, too: its `path` is empty, and its `event` is text unless it is JSON that can be stored.
//!
//! The same event is stored once. A file of [`MAX_BYTES`] is renamed to `refused-<milliseconds since 1970>.ndjson`.
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use bstr::ByteSlice;
use durable::storage::Storage;
use gix::ObjectId;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    event::{Form, Json, read_json},
    object_store::{Error, git_files},
};

/// Path of the file: in the Git folder of a bare repository, else in the work tree, where git ignores it.
pub const FILE: &str = ".crp/refused.ndjson";
/// Size at which the file is rotated, in bytes.
pub const MAX_BYTES: u64 = 64 << 20;

/// An event that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Feed of the event.
    pub feed_id: String,
    /// Id of the event.
    pub event_id: String,
    /// Path of the file with other content.
    pub path: String,
}

/// The file of refused events.
pub(in crate::events) struct RefusedEvents {
    path: PathBuf,
    /// Path and blob of each stored event; `None` before the file was read.
    kept: Option<HashSet<(String, String)>>,
}

impl RefusedEvents {
    /// The file of the repository with this Git folder or work tree.
    pub(in crate::events) fn new(repository: &Path) -> Self {
        RefusedEvents {
            path: repository.join(FILE),
            kept: None,
        }
    }

    /// Stores an event that was meant for `path`, durably, unless it is stored already.
    pub(in crate::events) fn keep(
        &mut self,
        storage: &impl Storage,
        path: &str,
        blob: ObjectId,
        file: &[u8],
        now: Timestamp,
    ) -> Result<(), Error> {
        let failed = |error: io::Error| Error::failed("write", &self.path, error);
        let kept = match &mut self.kept {
            Some(kept) => kept,
            none => none.insert(read(&self.path).map_err(failed)?),
        };
        let key = (path.to_owned(), blob.to_string());
        if kept.contains(&key) {
            return Ok(());
        }
        let line = line(&key, file, now);
        append(storage, &self.path, &line, now).map_err(failed)?;
        kept.insert(key);
        Ok(())
    }
}

/// Returns the line of an event or of other input, whose path and blob are `key`.
fn line((path, blob): &(String, String), file: &[u8], now: Timestamp) -> String {
    let event = read_json(file).unwrap_or_else(|_| Json::String(file.to_str_lossy().into_owned()));
    let mut json = Vec::new();
    event
        .write(&mut json, Form::Compact)
        .expect("JSON is written into memory");
    let (path, blob, event) = (json!(path), json!(blob), json.to_str_lossy());
    format!("{{\"refused_at\":\"{now:.3}\",\"path\":{path},\"blob\":{blob},\"event\":{event}}}\n")
}

fn read(path: &Path) -> io::Result<HashSet<(String, String)>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    let mut kept = HashSet::new();
    for line in bytes.lines() {
        // A line that was torn by a crash is ignored.
        if let Ok(Value::Object(line)) = serde_json::from_slice(line)
            && let (Some(Value::String(path)), Some(Value::String(blob))) = (line.get("path"), line.get("blob"))
        {
            kept.insert((path.clone(), blob.clone()));
        }
    }
    Ok(kept)
}

fn append(storage: &impl Storage, path: &Path, line: &str, now: Timestamp) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    git_files::create_folders(storage, folder)?;
    let mut file = storage.open_append(path)?;
    if storage.length(&file)? >= MAX_BYTES {
        let aside = format!("refused-{}.ndjson", now.as_millisecond());
        storage.rename(path, &folder.join(aside))?;
        file = storage.open_append(path)?;
    }
    let mut last = [b'\n'];
    let length = storage.length(&file)?;
    if length > 0 {
        storage.read_at(&file, length - 1, &mut last)?;
    }
    // This line must not be appended to a torn one.
    let line = match last {
        [b'\n'] => line.to_owned(),
        _ => format!("\n{line}"),
    };
    git_files::append(storage, &file, line.as_bytes())?;
    storage.sync(&file)?;
    storage.sync_dir(folder)
}
