//! Memory of the worker between cycles, in `.stargate/worker.json`, and for each further mirror in
//! `.stargate/worker.NAME.json`. It saves the request before a push.
//!
//! The file is private to the worker and may be deleted at any time. Only the hook reads its first key, for messages to
//! the pusher (`hook::rejections`). A push that relied on the memory is confirmed by reading the refs back. After any
//! error the remembered state of the mirror is dropped.
use std::{collections::BTreeMap, fs, io, path::Path};

use bstr::{BStr, BString, ByteSlice};
use durable::{
    replace::replace,
    storage::{Disk, FILE_MODE},
};
use git_push::{Advertisement, Capabilities};
use gix::ObjectId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    backoff::{Backoff, Backoffs},
    false_watermark::Judged,
    head::HeadDifference,
    rejection::Rejection,
    token::RememberedToken,
};
use crate::mirror::Standing;

/// Largest file that is read, in bytes.
const MAX_SIZE: u64 = 64 << 20;

/// Contents of the memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Rejections of groups that the server explained. The hook reads them too: they must come first, and are omitted if there
    /// are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejections: Vec<Rejection>,
    /// Location of the mirror, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// State of the mirror after the last push; none after an error.
    pub mirror: Option<RememberedMirror>,
    /// Backoff of groups that failed, by label.
    #[serde(default, rename = "troubles")]
    pub backoffs: Backoffs,
    /// Backoff of the comparison, if the last one failed.
    #[serde(default)]
    pub comparison: Option<Backoff>,
    /// Watermarks that differ from their ledgers.
    #[serde(default)]
    pub watermarks: Judged,
    /// Human-readable reason why the last cycle was `local-only`.
    #[serde(default)]
    pub missing: Option<String>,
    /// Findings about the settings that were logged.
    #[serde(default)]
    pub told: Vec<String>,
    /// Location of the mirror, without secrets, if it refused a thin pack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_thin: Option<String>,
    /// Location of the mirror, without secrets, if it refused a pack of unknown length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_stream: Option<String>,
    /// HEAD of the mirror at the last comparison, if it differs from the Stargate's.
    #[serde(default)]
    pub head: Option<HeadDifference>,
    /// The tokens for mirrors, by location without secrets. The tokens themselves are not stored.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, RememberedToken>,
    /// Reason why refs were pushed without their LFS objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lfs: Option<String>,
    /// Last time at which something was mirrored and nothing was left, or a comparison found nothing to do, in seconds since
    /// the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded_at: Option<i64>,
    /// Refs that the last comparison left to the operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differing: Vec<DifferingRef>,
}

/// A ref of the mirror that stays unchanged until the operator decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferingRef {
    /// Full name; bytes that are not UTF-8 are replaced.
    #[serde(rename = "ref")]
    pub name: String,
    /// Relation of the two sides: `behind`, `diverged` or `extra`, as `sync` prints it.
    pub standing: Standing,
}

/// Remembered state of a mirror.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedMirror {
    /// Location of the mirror, without secrets.
    remote: String,
    /// Object format of its ids.
    object_format: String,
    /// Capabilities of its `git-receive-pack`.
    receive_pack: Pairs,
    /// Capabilities of its `git-upload-pack` in protocol 2, if they were requested.
    upload_pack: Option<Pairs>,
    /// Refs that the worker has seen there and whose names are UTF-8.
    refs: BTreeMap<String, String>,
    /// Time of the last comparison of the Stargate's and the mirror's refs, in seconds since the epoch.
    reconciled_at: i64,
    /// Fingerprint of the Stargate's refs at that time.
    local: String,
}

type Pairs = Vec<(String, Option<String>)>;

impl Memory {
    /// Reads the memory at this path. If it cannot be read, logs the error and returns an empty memory. The
    /// cost is one more request, and the backoff of failed groups.
    pub fn load(path: &Path) -> Self {
        Memory::read(path).unwrap_or_else(|error| {
            tracing::warn!(%error, "the worker's memory cannot be read and is discarded; the mirror is asked instead");
            Memory::default()
        })
    }

    /// Reads the memory at this path. Returns an empty one if there is no file.
    ///
    /// # Errors
    /// The file cannot be read, or is not a memory.
    pub fn read(path: &Path) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let found = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Memory::default()),
            found => found.map_err(named)?,
        };
        if !found.is_file() || found.len() > MAX_SIZE {
            return Err(named(io::Error::other(format!(
                "not a file of at most {MAX_SIZE} bytes"
            ))));
        }
        let bytes = fs::read(path).map_err(named)?;
        let memory: Memory = serde_json::from_slice(&bytes).map_err(|error| named(error.into()))?;
        // Dropping the ref instead would claim that the mirror does not have it.
        if memory.mirror.as_ref().is_some_and(|mirror| !mirror.has_valid_ids()) {
            return Err(named(io::Error::other("it contains an invalid object id")));
        }
        Ok(memory)
    }

    /// Returns the memory for the mirror at this location: without the backoffs and rejections of another mirror, which had
    /// the file before.
    pub fn at(self, location: &str) -> Self {
        let is_same = self.location.as_ref().is_none_or(|known| known == location);
        let kept = if is_same { self } else { Memory::default() };
        Memory {
            location: Some(location.to_owned()),
            ..kept
        }
    }

    /// Returns the remembered state, if it belongs to this mirror.
    pub fn of_mirror(&self, remote: &str, object_format: gix::hash::Kind) -> Option<&RememberedMirror> {
        let about =
            |mirror: &&RememberedMirror| mirror.remote == remote && mirror.object_format == object_format.to_string();
        self.mirror.as_ref().filter(about)
    }

    /// Writes the memory.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        replace(&Disk, path, &serde_json::to_vec(self)?, FILE_MODE)
    }
}

impl RememberedMirror {
    /// Remembers `advertisement`, with only the refs for which `relevant` returns true.
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

    /// Adds the capabilities offered to readers.
    pub fn with_upload_pack(mut self, offered: Option<&Capabilities>) -> Self {
        self.upload_pack = offered.map(pairs);
        self
    }

    /// Adds the time of the last comparison, and the fingerprint of the Stargate's refs at that time.
    pub fn with_comparison(mut self, at: Timestamp, local: &str) -> Self {
        self.reconciled_at = at.as_second();
        local.clone_into(&mut self.local);
        self
    }

    fn has_valid_ids(&self) -> bool {
        let mut ids = self.refs.values();
        ids.all(|id| ObjectId::from_hex(id.as_bytes()).is_ok())
    }

    /// Returns the location of the mirror, without secrets.
    pub fn remote(&self) -> &str {
        &self.remote
    }

    /// Returns the fingerprint of the Stargate's refs at the last comparison.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// Returns the advertisement to expect if the mirror has not changed since.
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

    /// Sets or removes one remembered ref.
    pub fn set(&mut self, name: &BStr, id: Option<&str>) {
        // A name that is not UTF-8 is never remembered.
        let Ok(name) = name.to_str() else { return };
        match id {
            Some(id) => drop(self.refs.insert(name.to_owned(), id.to_owned())),
            None => drop(self.refs.remove(name)),
        }
    }

    /// Returns the time of the last comparison.
    pub fn reconciled_at(&self) -> Timestamp {
        Timestamp::from_second(self.reconciled_at).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Returns the capabilities offered to readers.
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
    fn a_saved_state_is_returned_for_its_mirror_only() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory {
            mirror: Some(mirror()),
            ..Default::default()
        };
        let path = folder.path().join("worker.json");
        memory.save(&path).unwrap();
        let loaded = Memory::read(&path).unwrap();
        assert_eq!(loaded.of_mirror("https://h/r", gix::hash::Kind::Sha1), Some(&mirror()));
        assert_eq!(loaded.of_mirror("https://h/other", gix::hash::Kind::Sha1), None);
        assert_eq!(loaded.of_mirror("https://h/r", gix::hash::Kind::Sha256), None);
    }

    #[test]
    fn irrelevant_refs_are_dropped_and_the_rest_is_restored() {
        let advertisement = mirror().advertisement();
        assert_eq!(advertisement.refs.keys().collect::<Vec<_>>(), ["refs/kv/main"]);
        assert!(advertisement.capabilities.offers("atomic"));
        assert_eq!(advertisement.capabilities.value("agent").unwrap(), "git/2");
    }

    #[test]
    fn a_memory_of_another_location_is_not_used_and_an_old_one_without_a_location_is() {
        let mut memory = Memory {
            mirror: Some(mirror()),
            missing: Some("no token".into()),
            ..Default::default()
        };
        assert_eq!(memory.clone().at("https://h/r").missing, memory.missing);
        memory.location = Some("https://h/r".into());
        assert_eq!(memory.clone().at("https://h/r"), memory);
        let other = memory.at("https://h/other");
        assert_eq!((other.mirror, other.missing), (None, None));
    }

    #[test]
    fn a_damaged_file_is_an_empty_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut no_id = mirror();
        no_id.set("refs/kv/main".into(), Some("a1"));
        let no_id = serde_json::to_string(&Memory {
            mirror: Some(no_id),
            ..Default::default()
        });
        for damage in ["", "{", "[]", "{\"mirror\":1}", &no_id.unwrap()] {
            let path = folder.path().join("worker.json");
            fs::write(&path, damage).unwrap();
            assert_eq!(Memory::load(&path), Memory::default(), "{damage}");
            let error = Memory::read(&path).unwrap_err().to_string();
            assert!(error.contains("worker.json"), "{error}");
        }
    }
}
