//! Reasons why a repository is *local-only*: without a remote or a token nothing can be pushed.
use std::fmt;

use serde::{Serialize, Serializer};

/// Setting that is missing for a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// No mirror is configured.
    Remote,
    /// No mirror is configured for one of several repositories, which cannot share the one of the environment.
    RemoteOfSeveral,
    /// There are no credentials for this mirror, which is shown without secrets.
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
