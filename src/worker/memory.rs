//! `.stargate/worker.json`: what the worker remembers between cycles, so that a push needs no question before it. It is
//! private to the worker, and may be deleted at any time: what is remembered is never believed without a look
//! afterwards, and forgotten when anything goes wrong.
use std::{collections::BTreeMap, fs, io, path::Path};

use bstr::{BStr, BString, ByteSlice};
use durable::storage::{Disk, Storage};
use git_push::{Advertisement, Capabilities};
use gix::ObjectId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    trouble::{Trouble, Troubles},
    watermarks::Judged,
};

/// The memory's name in the `.stargate` folder.
pub const MEMORY_FILE: &str = "worker.json";
/// A larger file is not ours, in bytes.
const MAX_SIZE: u64 = 64 << 20;
const MODE: u32 = 0o644;

/// Everything that is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The mirror as it was after the last push, if nothing went wrong since.
    pub mirror: Option<RememberedMirror>,
    /// Groups that have failed, by label.
    #[serde(default)]
    pub troubles: Troubles,
    /// Why the refs of both sides could not be compared, when that was tried last.
    #[serde(default)]
    pub comparison: Option<Trouble>,
    /// Watermarks that are not at their ledgers.
    #[serde(default)]
    pub watermarks: Judged,
    /// What was missing for a push in the last cycle, for a person.
    #[serde(default)]
    pub missing: Option<String>,
}

/// What is remembered of the mirror.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedMirror {
    /// Which mirror it is about, without secrets.
    remote: String,
    /// The object format of its ids.
    object_format: String,
    /// What `git-receive-pack` offers there.
    receive_pack: Pairs,
    /// What `git-upload-pack` offers there in protocol 2, where it was asked.
    upload_pack: Option<Pairs>,
    /// The refs that the worker has seen there, where their names are UTF-8.
    refs: BTreeMap<String, String>,
    /// When the refs of both sides were compared last, in seconds since the epoch.
    reconciled_at: i64,
    /// What stood for the Stargate's refs then.
    local: String,
}

type Pairs = Vec<(String, Option<String>)>;

impl Memory {
    /// Reads the memory in this `.stargate` folder. One that cannot be read is logged and forgotten: all that is lost is
    /// a request that could have been saved, and the distance to the next try of what has failed.
    pub fn load(folder: &Path) -> Self {
        Memory::read(folder).unwrap_or_else(|error| {
            tracing::warn!(%error, "what the worker remembers cannot be read and is forgotten; the mirror is asked instead");
            Memory::default()
        })
    }

    /// Reads the memory in this `.stargate` folder; an empty one where there is no file.
    ///
    /// # Errors
    /// The file cannot be read, or is not a memory.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let path = folder.join(MEMORY_FILE);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let found = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Memory::default()),
            found => found.map_err(named)?,
        };
        if !found.is_file() || found.len() > MAX_SIZE {
            return Err(named(io::Error::other(format!(
                "not a file of at most {MAX_SIZE} bytes"
            ))));
        }
        let bytes = fs::read(&path).map_err(named)?;
        let memory: Memory = serde_json::from_slice(&bytes).map_err(|error| named(error.into()))?;
        // A ref that was left out would look like one that the mirror does not have.
        match memory.mirror.as_ref().is_none_or(RememberedMirror::has_ids) {
            true => Ok(memory),
            false => Err(named(io::Error::other("an object id in it is none"))),
        }
    }

    /// What is remembered of this mirror.
    pub fn of_mirror(&self, remote: &str, object_format: gix::hash::Kind) -> Option<&RememberedMirror> {
        let about =
            |mirror: &&RememberedMirror| mirror.remote == remote && mirror.object_format == object_format.to_string();
        self.mirror.as_ref().filter(about)
    }

    /// Writes the memory.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        let (path, draft) = (folder.join(MEMORY_FILE), folder.join(format!("{MEMORY_FILE}.new")));
        match fs::remove_file(&draft) {
            // What a worker that died has left is gone.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Disk.write_new(&draft, &serde_json::to_vec(self)?, MODE)?;
        Disk.rename(&draft, &path)
    }
}

impl RememberedMirror {
    /// What is worth remembering: `advertisement` with those of its refs that `relevant` takes.
    pub fn new(
        remote: &str,
        object_format: gix::hash::Kind,
        advertisement: &Advertisement,
        relevant: impl Fn(&bstr::BStr) -> bool,
    ) -> Self {
        let refs = advertisement.refs.iter().filter(|(name, _)| relevant(name.as_bstr()));
        let named = refs.filter_map(|(name, id)| Some((name.to_str().ok()?.to_owned(), id.to_string())));
        RememberedMirror {
            remote: remote.to_owned(),
            object_format: object_format.to_string(),
            receive_pack: pairs(&advertisement.capabilities),
            refs: named.collect(),
            ..Default::default()
        }
    }

    /// Adds what is offered to readers.
    pub fn with_upload_pack(mut self, offered: Option<&Capabilities>) -> Self {
        self.upload_pack = offered.map(pairs);
        self
    }

    /// Adds when the refs of both sides were compared last, and what stood for the Stargate's.
    pub fn with_comparison(mut self, at: Timestamp, local: &str) -> Self {
        self.reconciled_at = at.as_second();
        local.clone_into(&mut self.local);
        self
    }

    fn has_ids(&self) -> bool {
        let mut ids = self.refs.values();
        ids.all(|id| ObjectId::from_hex(id.as_bytes()).is_ok())
    }

    /// Which mirror it is about, without secrets.
    pub fn remote(&self) -> &str {
        &self.remote
    }

    /// What stood for the Stargate's refs when the refs of both sides were compared.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// What the mirror would advertise if nobody had touched it.
    pub fn advertisement(&self) -> Advertisement {
        let refs = self.refs.iter();
        let parsed =
            refs.filter_map(|(name, id)| Some((name.as_str().into(), ObjectId::from_hex(id.as_bytes()).ok()?)));
        Advertisement {
            refs: parsed.collect(),
            capabilities: capabilities(&self.receive_pack),
            ..Default::default()
        }
    }

    /// Remembers where this ref stands now.
    pub fn set(&mut self, name: &BStr, id: Option<&str>) {
        // What is not UTF-8 was not remembered before either.
        let Ok(name) = name.to_str() else { return };
        match id {
            Some(id) => drop(self.refs.insert(name.to_owned(), id.to_owned())),
            None => drop(self.refs.remove(name)),
        }
    }

    /// When the refs of both sides were compared last.
    pub fn reconciled_at(&self) -> Timestamp {
        Timestamp::from_second(self.reconciled_at).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// What it offers to readers.
    pub fn upload_pack(&self) -> Option<Capabilities> {
        self.upload_pack.as_ref().map(capabilities)
    }
}

fn pairs(capabilities: &Capabilities) -> Pairs {
    let text = |text: &BString| text.to_str_lossy().into_owned();
    capabilities
        .list
        .iter()
        .map(|(name, value)| (text(name), value.as_ref().map(text)))
        .collect()
}

fn capabilities(pairs: &Pairs) -> Capabilities {
    let pairs = pairs.iter();
    Capabilities {
        list: pairs
            .map(|(name, value)| (name.as_str().into(), value.as_deref().map(BString::from)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror() -> RememberedMirror {
        let id = ObjectId::from_hex("a1".repeat(20).as_bytes()).unwrap();
        let advertisement = Advertisement {
            refs: [("refs/kv/main".into(), id), ("refs/heads/x".into(), id)].into(),
            capabilities: Capabilities {
                list: vec![("atomic".into(), None), ("agent".into(), Some("git/2".into()))],
            },
            ..Default::default()
        };
        let relevant = |name: &bstr::BStr| name.starts_with(b"refs/kv");
        RememberedMirror::new("https://h/r", gix::hash::Kind::Sha1, &advertisement, relevant)
    }

    #[test]
    fn what_is_saved_is_remembered_of_this_mirror_only() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory {
            mirror: Some(mirror()),
            ..Default::default()
        };
        memory.save(folder.path()).unwrap();
        let loaded = Memory::read(folder.path()).unwrap();
        assert_eq!(loaded.of_mirror("https://h/r", gix::hash::Kind::Sha1), Some(&mirror()));
        assert_eq!(loaded.of_mirror("https://h/other", gix::hash::Kind::Sha1), None);
        assert_eq!(loaded.of_mirror("https://h/r", gix::hash::Kind::Sha256), None);
    }

    #[test]
    fn irrelevant_refs_are_not_kept_and_the_rest_comes_back() {
        let advertisement = mirror().advertisement();
        assert_eq!(advertisement.refs.keys().collect::<Vec<_>>(), ["refs/kv/main"]);
        assert!(advertisement.capabilities.offers("atomic"));
        assert_eq!(advertisement.capabilities.value("agent").unwrap(), "git/2");
    }

    #[test]
    fn damage_is_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut no_id = mirror();
        no_id.set("refs/kv/main".into(), Some("a1"));
        let no_id = serde_json::to_string(&Memory {
            mirror: Some(no_id),
            ..Default::default()
        });
        for damage in ["", "{", "[]", "{\"mirror\":1}", &no_id.unwrap()] {
            fs::write(folder.path().join(MEMORY_FILE), damage).unwrap();
            assert_eq!(Memory::load(folder.path()), Memory::default(), "{damage}");
            let error = Memory::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains(MEMORY_FILE), "{error}");
        }
    }
}
