//! Numbers up to which mirrors have confirmed the events of a feed: the file `confirmed.json` in the data folder.
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use durable::{
    replace::replace,
    storage::{Disk, FILE_MODE},
};
use serde::{Deserialize, Serialize};

use crate::event::{Problem, check_name};

/// Name of the file.
pub const CONFIRMED: &str = "confirmed.json";
/// Maximum number of mirrors of a feed.
const MAX_MIRRORS: usize = 64;

/// Confirmation by a mirror that it has the events of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confirmation {
    /// The feed.
    #[serde(skip)]
    pub feed: String,
    /// Name of the mirror.
    pub by: String,
    /// Number up to which it has all events; `None` if it does not mirror the feed any more.
    pub seq: Option<u64>,
}

impl Confirmation {
    /// Parses `{"by": …, "seq": …}` of a feed.
    ///
    /// # Errors
    /// The problem.
    pub fn parse(feed: String, body: &[u8]) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Body {
            by: String,
            // It must be there, if only as null.
            #[serde(deserialize_with = "Option::deserialize")]
            seq: Option<u64>,
        }
        let problem = |field: &str, problem: String| Problem {
            field: field.into(),
            problem,
        };
        let body: Body = serde_json::from_slice(body).map_err(|error| problem("", format!("is invalid: {error}")))?;
        check_name(&body.by).map_err(|why| problem("by", why.into()))?;
        Ok(Confirmation {
            feed,
            by: body.by,
            seq: body.seq,
        })
    }
}

/// Confirmations of all mirrors.
#[derive(Debug)]
pub struct Confirmed {
    path: PathBuf,
    /// For each feed, the number of each mirror.
    feeds: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Confirmed {
    /// Reads the file in the data folder.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn read(data: &Path) -> io::Result<Self> {
        let path = data.join(CONFIRMED);
        let feeds = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            json => serde_json::from_slice(&json?)?,
        };
        Ok(Confirmed { path, feeds })
    }

    /// Number up to which all mirrors of a feed have its events. `None` if it has no mirror.
    pub fn of(&self, feed: &str) -> Option<u64> {
        self.feeds.get(feed)?.values().min().copied()
    }

    /// Number up to which all mirrors of each feed have its events, for feeds with mirrors.
    pub fn all(&self) -> BTreeMap<String, u64> {
        let feeds = self.feeds.iter();
        let lowest = feeds.filter_map(|(feed, mirrors)| Some((feed.clone(), *mirrors.values().min()?)));
        lowest.collect()
    }

    /// Stores a confirmation durably.
    ///
    /// # Errors
    /// The disk fails, or there are too many mirrors.
    pub fn set(&mut self, confirmation: &Confirmation) -> io::Result<()> {
        let mut feeds = self.feeds.clone();
        let mirrors = feeds.entry(confirmation.feed.clone()).or_default();
        let before = match confirmation.seq {
            Some(seq) => mirrors.insert(confirmation.by.clone(), seq),
            None => mirrors.remove(&confirmation.by),
        };
        if before == confirmation.seq {
            return Ok(());
        }
        if mirrors.len() > MAX_MIRRORS {
            return Err(io::Error::other(format!("the feed already has {MAX_MIRRORS} mirrors")));
        }
        replace(&Disk, &self.path, &serde_json::to_vec(&feeds)?, FILE_MODE)?;
        self.feeds = feeds;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_that_is_behind_counts_and_all_is_there_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut confirmed = Confirmed::read(folder.path()).expect("no file");
        let mut set = |by: &str, seq| {
            let body = serde_json::json!({"by": by, "seq": seq}).to_string();
            let confirmation = Confirmation::parse("f".into(), body.as_bytes()).expect("a confirmation");
            confirmed.set(&confirmation).expect("a disk");
            let again = Confirmed::read(folder.path()).expect("a file");
            assert_eq!(again.of("f"), confirmed.of("f"));
            confirmed.of("f")
        };
        assert_eq!(set("one", Some(7)), Some(7));
        assert_eq!(set("two", Some(5)), Some(5));
        assert_eq!(set("two", Some(9)), Some(7));
        assert_eq!(set("one", None), Some(9));
        assert_eq!(set("two", None), None);
        for body in [
            r#"{"seq":1}"#,
            r#"{"by":"..","seq":1}"#,
            r#"{"by":"a","seq":-1}"#,
            r#"{"by":"a"}"#,
            r#"{"by":"a","seq":1,"x":1}"#,
        ] {
            Confirmation::parse("f".into(), body.as_bytes()).expect_err(body);
        }
        fs::write(folder.path().join(CONFIRMED), "{").expect("a file");
        Confirmed::read(folder.path()).expect_err("a damaged file");
    }
}
