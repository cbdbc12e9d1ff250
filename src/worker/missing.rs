//! What a repository lacks, so that nothing of it can be pushed: it is *local-only*.
use std::fmt;

use serde::{Serialize, Serializer};

/// What is missing for a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// No mirror is named.
    Remote,
    /// The repository names no mirror, and is one of several, which cannot share the one of the environment.
    RemoteOfSeveral,
    /// Nothing proves who we are to this mirror, which is shown without secrets.
    Token(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Remote => f.write_str("there is no remote: set stargate.remote, or give --remote"),
            Missing::RemoteOfSeveral => f.write_str(
                "there is no remote: set stargate.remote; GITHUB_REPO_URL is not used for several repositories",
            ),
            Missing::Token(remote) => {
                write!(f, "there is no token for {remote}: set GITHUB_PAT or GITHUB_PAT_FILE")
            }
        }
    }
}

impl Serialize for Missing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
