//! Tokens of a relay, with their rights, their feeds and their rates.
//!
//! ```json
//! {"tokens": [
//!   {"name": "reader", "sha256": "9f86…", "rights": ["read"], "feeds": ["general", "team-*"]},
//!   {"name": "bot", "sha256": "6030…", "rights": ["read", "write"], "feeds": ["*"], "per_minute": 600}
//! ]}
//! ```
//!
//! The file has the SHA-256 of each token, in hexadecimal digits, and never a token. `feeds` are globs of feed ids. `read` is
//! for pages, streams and descriptions of feeds, `write` for events, `admin` for new feeds and for policies. `per_minute` limits the requests.
//! Unknown members are errors.
use std::{
    collections::HashMap,
    fs, io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bstr::BStr;
use gix::glob::wildmatch;
use serde::Deserialize;

/// Maximum number of tokens in a file.
const MAX_TOKENS: usize = 10_000;
/// Time for which a rate is given. As many requests may come at once.
const MINUTE: Duration = Duration::from_secs(60);

/// SHA-256 of a token.
pub type Hash = [u8; 32];

/// Right of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Pages, streams, descriptions of feeds.
    Read,
    /// Events.
    Write,
    /// New feeds, policies.
    Admin,
}

/// A token, without its secret.
#[derive(Debug)]
pub struct Token {
    /// Name for people, and for the policies of feeds.
    pub name: String,
    rights: Vec<Right>,
    feeds: Vec<String>,
    rate: Option<Mutex<Rate>>,
    is_owner: bool,
}

/// Requests of a token: the generic cell rate algorithm (ITU-T I.371).
#[derive(Debug)]
struct Rate {
    /// Time of one request.
    interval: Duration,
    /// Time when all requests so far would have come, at this rate.
    used_up: Duration,
}

/// A file of tokens that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("cannot read the tokens in {}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Its content is invalid.
    #[error("the tokens in {} are invalid: {problem}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Description of the problem.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tokens: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    sha256: String,
    rights: Vec<Right>,
    feeds: Vec<String>,
    per_minute: Option<NonZeroU32>,
}

/// Reads a file of tokens.
///
/// # Errors
/// [`TokenFileError`]
pub fn read(path: &Path) -> Result<HashMap<Hash, Arc<Token>>, TokenFileError> {
    let text = fs::read(path).map_err(|source| TokenFileError::Unreadable {
        path: path.into(),
        source,
    })?;
    parse(&text).map_err(|problem| TokenFileError::Invalid {
        path: path.into(),
        problem,
    })
}

fn parse(text: &[u8]) -> Result<HashMap<Hash, Arc<Token>>, String> {
    let file: File = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if file.tokens.len() > MAX_TOKENS {
        return Err(format!("there are more than {MAX_TOKENS}"));
    }
    let mut tokens = HashMap::new();
    for entry in file.tokens {
        let name = entry.name.clone();
        let hash = hash_of(&entry.sha256)
            .ok_or_else(|| format!("the sha256 of {name:?} does not have 64 hexadecimal digits"))?;
        if tokens.insert(hash, Arc::new(Token::from(entry))).is_some() {
            return Err(format!("the token {name:?} has the sha256 of another one"));
        }
    }
    Ok(tokens)
}

fn hash_of(digits: &str) -> Option<Hash> {
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = Hash::default();
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(hash)
}

impl From<Entry> for Token {
    fn from(entry: Entry) -> Self {
        let rate = |requests: NonZeroU32| Rate {
            interval: MINUTE / requests.get(),
            used_up: Duration::ZERO,
        };
        Token {
            name: entry.name,
            rights: entry.rights,
            feeds: entry.feeds,
            rate: entry.per_minute.map(rate).map(Mutex::new),
            is_owner: false,
        }
    }
}

impl Token {
    /// The token that allows everything.
    pub fn owner() -> Self {
        Token {
            name: "RELAY_TOKEN".into(),
            rights: vec![Right::Read, Right::Write, Right::Admin],
            feeds: vec!["*".into()],
            rate: None,
            is_owner: true,
        }
    }

    /// Returns true if the token has this right.
    pub fn has(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }

    /// Returns true for the token that allows everything.
    pub fn is_owner(&self) -> bool {
        self.is_owner
    }

    /// Returns true if the token allows this for the feed.
    pub fn allows(&self, right: Right, feed: &str) -> bool {
        let is_named = |glob: &String| wildmatch(BStr::new(glob), BStr::new(feed), wildmatch::Mode::empty());
        self.has(right) && self.feeds.iter().any(is_named)
    }

    /// Counts a request at this time of a monotonic clock.
    ///
    /// # Errors
    /// The rate is exceeded: the time until the next request is allowed.
    pub fn count(&self, now: Duration) -> Result<(), Duration> {
        let Some(rate) = &self.rate else { return Ok(()) };
        rate.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }
}

impl Rate {
    fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let next = self.used_up.max(now) + self.interval;
        match next.checked_sub(now + MINUTE) {
            Some(wait) if wait > Duration::ZERO => Err(wait),
            _ => {
                self.used_up = next;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn entry(more: &str) -> String {
        format!(r#"{{"name":"n","sha256":"{HASH}","rights":["read"],"feeds":["general","team-*"]{more}}}"#)
    }

    fn one(more: &str) -> Arc<Token> {
        let text = format!(r#"{{"tokens":[{}]}}"#, entry(more));
        let tokens = parse(text.as_bytes()).expect("tokens");
        tokens.into_values().next().expect("a token")
    }

    #[test]
    fn a_token_is_for_its_rights_and_feeds() {
        let token = one("");
        for (right, feed, expected) in [
            (Right::Read, "general", true),
            (Right::Read, "team-a", true),
            (Right::Read, "team", false),
            (Right::Read, "generally", false),
            (Right::Write, "general", false),
            (Right::Admin, "team-a", false),
        ] {
            assert_eq!(token.allows(right, feed), expected, "{right:?} {feed}");
        }
        assert!(Token::owner().allows(Right::Admin, ".x") && Token::owner().count(Duration::ZERO).is_ok());
    }

    #[test]
    fn a_rate_allows_a_burst_and_then_one_after_the_other() {
        let token = one(r#","per_minute":3"#);
        let second = Duration::from_secs(1);
        for _ in 0..3 {
            assert_eq!(token.count(100 * second), Ok(()));
        }
        assert_eq!(token.count(100 * second), Err(20 * second));
        assert_eq!(token.count(119 * second), Err(second));
        assert_eq!(token.count(120 * second), Ok(()));
        assert_eq!(token.count(120 * second), Err(20 * second));
        for _ in 0..3 {
            assert_eq!(token.count(1000 * second), Ok(()));
        }
    }

    #[test]
    fn a_file_that_is_not_understood_is_refused() {
        let entry = entry("");
        for (text, problem) in [
            ("{}".to_owned(), "missing field `tokens`"),
            (r#"{"tokens":[],"more":1}"#.into(), "unknown field `more`"),
            (format!(r#"{{"tokens":[{entry},{entry}]}}"#), "of another one"),
            (
                format!(r#"{{"tokens":[{}]}}"#, entry.replace("9f86", "9f8")),
                "64 hexadecimal digits",
            ),
            (
                format!(r#"{{"tokens":[{}]}}"#, entry.replace("\"read\"", "\"all\"")),
                "unknown variant `all`",
            ),
            (
                format!(r#"{{"tokens":[{}]}}"#, self::entry(r#","per_minute":0"#)),
                "nonzero",
            ),
        ] {
            let told = parse(text.as_bytes()).expect_err(&text);
            assert!(told.contains(problem), "{text}: {told}");
        }
        assert!(parse(br#"{"tokens":[]}"#).expect("nobody").is_empty());
        assert!(hash_of(&HASH.to_uppercase()).is_some() && hash_of(&"é".repeat(32)).is_none());
    }
}
