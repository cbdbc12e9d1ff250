//! Events that were refused because their id stands for another content, kept outside the commits: one JSON object per
//! line.
//!
//! ```json
//! {"refused_at":"2026-01-10T12:00:00.000Z","path":"events/general/2026-01-10/e-1.json","blob":"<id of the file>","event":{…}}
//! ```
//!
//! What is no event at all is kept, too: its `path` is empty, its `event` a text where it is not JSON that can be kept.
//!
//! The same event is kept once. A file of [`MAX_BYTES`] is put aside as `refused-<milliseconds since 1970>.ndjson`.
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

use super::{Error, replace};
use crate::event::read_json;

/// Where they are kept: in the Git folder of a bare repository, else in the work tree, where git ignores it.
pub const FILE: &str = ".crp/refused.ndjson";
/// The most bytes of one file of them.
pub const MAX_BYTES: u64 = 64 << 20;

/// The file of refused events.
pub(super) struct RefusedEvents {
    path: PathBuf,
    /// What is in it, by path and content; none before it was read.
    kept: Option<HashSet<(String, String)>>,
}

impl RefusedEvents {
    /// That of the repository with this Git folder or work tree.
    pub(super) fn new(repository: &Path) -> Self {
        RefusedEvents {
            path: repository.join(FILE),
            kept: None,
        }
    }

    /// Keeps an event that was to be at `path`, durably, unless it is kept already.
    pub(super) fn keep(
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
        let event = read_json(file).unwrap_or_else(|_| Value::String(file.to_str_lossy().into_owned()));
        let line = json!({"refused_at": format!("{now:.3}"), "path": path, "blob": key.1, "event": event});
        append(storage, &self.path, &format!("{line}\n"), now).map_err(failed)?;
        kept.insert(key);
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<HashSet<(String, String)>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    let mut kept = HashSet::new();
    for line in bytes.lines() {
        // A line that a crash has torn is none.
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
    replace::create_folders(storage, folder)?;
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
    // What a crash has torn must not swallow this line.
    let line = match last {
        [b'\n'] => line.to_owned(),
        _ => format!("\n{line}"),
    };
    replace::append(storage, &file, line.as_bytes())?;
    storage.sync(&file)?;
    storage.sync_dir(folder)
}
