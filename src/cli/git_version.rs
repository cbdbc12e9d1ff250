//! Version of the git on `PATH`. Only messages depend on it: nothing else runs git.
use std::{fmt, io, process::Command};

use crate::hook::configured::SINCE;

/// The git on `PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GitOnPath {
    /// There is none.
    Absent,
    /// A git with this version.
    Version {
        /// Major and minor version.
        number: (u32, u32),
        /// Whole version.
        text: String,
    },
    /// The version is unknown, for this reason.
    Unknown(String),
}

impl GitOnPath {
    /// Runs `git --version`.
    pub fn look() -> Self {
        match Command::new("git").arg("--version").output() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => GitOnPath::Absent,
            Err(error) => GitOnPath::Unknown(format!("cannot run git: {error}")),
            Ok(output) => GitOnPath::parse(&String::from_utf8_lossy(&output.stdout)),
        }
    }

    /// Parses the output of `git --version`, such as `git version 2.55.0.rc1`.
    fn parse(output: &str) -> Self {
        let line = output.lines().next().unwrap_or_default();
        let parsed = line.strip_prefix("git version ").and_then(|text| {
            let mut numbers = text.split(['.', ' ']);
            let mut number = || numbers.next()?.parse().ok();
            Some(((number()?, number()?), text))
        });
        match parsed {
            Some((number, text)) => GitOnPath::Version {
                number,
                text: text.to_owned(),
            },
            None => GitOnPath::Unknown(format!("`git --version` prints {line:?}")),
        }
    }

    /// Returns true if it ignores hooks in its configuration.
    pub fn is_too_old(&self) -> bool {
        matches!(self, GitOnPath::Version { number, .. } if *number < SINCE)
    }

    /// Returns true if it runs hooks from its configuration.
    pub fn runs_configured_hooks(&self) -> bool {
        matches!(self, GitOnPath::Version { number, .. } if *number >= SINCE)
    }
}

impl fmt::Display for GitOnPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GitOnPath::Absent => f.write_str("there is no git on PATH"),
            GitOnPath::Version { text, .. } => write!(f, "the git on PATH is {text}"),
            GitOnPath::Unknown(why) => write!(f, "the version of the git on PATH is unknown: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_releases_candidates_and_vendors_are_compared_by_number() {
        for (output, expected) in [
            ("git version 2.54.0\n", true),
            ("git version 2.54.0.rc1\n", true),
            ("git version 2.55.0.windows.1", true),
            ("git version 3.0\n", true),
            ("git version 2.53.9 (Apple Git-160)\n", false),
            ("git version 2.9.5\n", false),
        ] {
            let git = GitOnPath::parse(output);
            assert!(matches!(git, GitOnPath::Version { .. }), "{output}");
            assert_eq!(git.runs_configured_hooks(), expected, "{output}");
        }
        for output in ["", "git version next", "jj 0.35"] {
            assert!(matches!(GitOnPath::parse(output), GitOnPath::Unknown(_)), "{output}");
        }
    }
}
