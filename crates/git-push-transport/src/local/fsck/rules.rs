//! The configuration of the checks (git-config, *receive.fsckObjects*, *transfer.fsckObjects*, *receive.fsck.&lt;msg-id&gt;*,
//! *receive.fsck.skipList*).
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use bstr::{BStr, ByteSlice};
use git_push::{Error, ErrorKind, causes};
use gix::ObjectId;

use super::message::{Message, Severity};

/// Longest name in a tree, in bytes, unless `receive.fsck.largePathname` has another limit.
const LONGEST_NAME: usize = 4096;

/// Rules of one repository.
#[derive(Debug)]
pub(in crate::local) struct Rules {
    severities: BTreeMap<Message, Severity>,
    skipped: BTreeSet<ObjectId>,
    /// Longest name in a tree that is no fault, in bytes.
    pub longest_name: usize,
    /// Lines for the person who pushes.
    pub words: Vec<String>,
}

impl Rules {
    /// Returns the rules of a repository, or `None` if it does not check objects.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if a value is invalid.
    pub fn of(repository: &gix::Repository) -> Result<Option<Self>, Error> {
        let mut rules = Rules {
            severities: BTreeMap::new(),
            skipped: BTreeSet::new(),
            longest_name: LONGEST_NAME,
            words: Vec::new(),
        };
        if !is_on(repository)? {
            return Ok(None);
        }
        let config = repository.config_snapshot();
        let Some(sections) = config.plumbing().sections_by_name("receive") else {
            return Ok(Some(rules));
        };
        for section in sections.filter(|section| section.header().subsection_name() == Some(BStr::new("fsck"))) {
            for key in section.value_names() {
                let named = section.values(&key);
                for value in named {
                    rules.set(key.as_bytes().as_bstr(), value.as_bstr(), repository)?;
                }
            }
        }
        Ok(Some(rules))
    }

    /// Takes a value of `receive.fsck.<key>`.
    fn set(&mut self, key: &BStr, value: &BStr, repository: &gix::Repository) -> Result<(), Error> {
        if key.eq_ignore_ascii_case(b"skipList") {
            return self.skip(value, repository);
        }
        let wrong = |why: &str| misconfigured(repository, &format!("receive.fsck.{key}"), &format!("{value}: {why}"));
        let Some(message) = Message::named(key) else {
            self.words.push(format!("warning: skipping unknown msg id '{key}'"));
            return Ok(());
        };
        let (name, limit) = match value.split_once_str(":") {
            Some((name, limit)) if message == Message::LargePathname => (name.as_bstr(), Some(limit)),
            _ => (value, None),
        };
        let severity = Severity::named(name).ok_or_else(|| wrong("it is not error, warn or ignore"))?;
        if message.is_fatal() && severity != Severity::Error {
            return Err(wrong("this message is always an error"));
        }
        if let Some(limit) = limit {
            let limit = limit.to_str().ok().and_then(|limit| limit.parse().ok());
            self.longest_name = limit.ok_or_else(|| wrong("the limit is not a number"))?;
        }
        self.severities.insert(message, severity);
        Ok(())
    }

    /// Reads a list of ids, one a line, with comments after `#`.
    fn skip(&mut self, path: &BStr, repository: &gix::Repository) -> Result<(), Error> {
        const KEY: &str = "receive.fsck.skipList";
        let unusable = |why: &str| misconfigured(repository, KEY, &format!("{path}: {why}"));
        if path.starts_with(b":(") || (path.starts_with(b"~") && !path.starts_with(b"~/")) {
            return Err(unusable("this form of a path is not supported"));
        }
        let path = match path.strip_prefix(b"~/") {
            Some(below) => home().ok_or_else(|| unusable("HOME is not set"))?.join(native(below)),
            // Git reads the list in the folder of the repository.
            None => repository.git_dir().join(native(path)),
        };
        let wrong = |why: &str| misconfigured(repository, KEY, &format!("{}: {why}", path.display()));
        let text = fs::read(&path).map_err(|error| wrong(&error.to_string()))?;
        for line in text.lines() {
            let id = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim();
            if !id.is_empty() {
                let id =
                    ObjectId::from_hex(id).map_err(|_| wrong(&format!("invalid object name: {}", id.as_bstr())))?;
                self.skipped.insert(id);
            }
        }
        Ok(())
    }

    /// Returns the severity of a fault of this object.
    pub fn severity(&self, message: Message, id: ObjectId) -> Severity {
        if self.skipped.contains(&id) {
            return Severity::Ignore;
        }
        self.severities
            .get(&message)
            .copied()
            .unwrap_or_else(|| message.severity())
    }

    /// Returns the severity that configuration gives to a message, if it does.
    pub fn chosen(&self, message: Message) -> Option<Severity> {
        self.severities.get(&message).copied()
    }
}

/// Returns true if the repository checks the objects that it receives.
fn is_on(repository: &gix::Repository) -> Result<bool, Error> {
    let config = repository.config_snapshot();
    for key in ["receive.fsckObjects", "transfer.fsckObjects"] {
        let value = config.try_boolean(key);
        let value = value.map_err(|error| misconfigured(repository, key, &causes(&error)))?;
        if let Some(is_on) = value {
            return Ok(is_on);
        }
    }
    Ok(false)
}

fn home() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    home.map(PathBuf::from)
}

fn native(path: &[u8]) -> PathBuf {
    path.to_path_lossy().into_owned()
}

fn misconfigured(repository: &gix::Repository, key: &str, why: &str) -> Error {
    let what = format!("{key} of {} is invalid: {why}", repository.git_dir().display());
    Error::new(ErrorKind::Misconfigured, what).with_hint("correct it with `git config`")
}
