//! Kinds of servers with a REST API, and what they report about a token.
use std::fmt;

use jiff::Timestamp;

/// The end of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenEnd {
    /// It ends at this time.
    At(Timestamp),
    /// It has no end.
    Never,
    /// The server does not report it.
    Unknown,
}

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forge {
    /// github.com, GitHub Enterprise.
    GitHub,
    /// gitlab.com, or GitLab on another server.
    GitLab,
    /// Gitea or Forgejo.
    Gitea,
}

impl Forge {
    /// Returns the forge that is known to be at `host`.
    pub fn of_host(host: &str) -> Option<Self> {
        let host = host.to_ascii_lowercase();
        match host.as_str() {
            "github.com" => Some(Forge::GitHub),
            "gitlab.com" => Some(Forge::GitLab),
            "gitea.com" | "codeberg.org" => Some(Forge::Gitea),
            _ if host.ends_with(".ghe.com") => Some(Forge::GitHub),
            _ => None,
        }
    }

    /// Permission that a token needs to set the default branch.
    pub(crate) fn permission(self) -> &'static str {
        match self {
            Forge::GitHub => "the permission Administration (write), or the scope repo of an administrator",
            Forge::GitLab => "the scope api and the role Maintainer",
            Forge::Gitea => "the scope write:repository and the rights of an administrator of the repository",
        }
    }
}

impl fmt::Display for Forge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Forge::GitHub => "GitHub",
            Forge::GitLab => "GitLab",
            Forge::Gitea => "Gitea",
        })
    }
}
