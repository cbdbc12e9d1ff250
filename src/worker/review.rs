//! Review of a repository's settings: unknown keys, invalid values, and patterns that match no ref.
use std::{collections::BTreeSet, fmt, path::Path};

use bstr::{BStr, BString, ByteSlice};

use super::{RunError, Stargate};
use crate::{
    config::{self, Config, KEYS, Problem, URL_KEYS},
    ref_pattern::{DEFAULT_PATTERNS, Kind, RefPatterns},
    refs::LocalRefs,
};

/// Patterns that are no mistake if they match nothing yet, such as those of the default.
const ORDINARY: [&str; 2] = ["refs/heads/*", "refs/tags/*"];
/// Largest edit distance at which another key is suggested.
const MOST_EDITS: usize = 3;

/// A setting that has no effect, or not the intended one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsFinding {
    /// No such key exists.
    UnknownKey {
        /// The key, as it is written.
        key: String,
        /// The nearest known key, if one is near.
        nearest: Option<&'static str>,
    },
    /// The value is invalid.
    InvalidValue(Problem),
    /// A pattern of `stargate.ref` matches no ref.
    UnusedPattern {
        /// The pattern, with `!` in front if it excludes.
        pattern: String,
        /// Number of refs in the repository.
        refs: usize,
    },
    /// No ref is mirrored, although there are refs.
    NothingMirrored(NothingMirrored),
}

/// No ref of the repository matches `stargate.ref`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NothingMirrored {
    /// Number of refs in the repository.
    pub refs: usize,
    /// The patterns.
    pub patterns: String,
}

impl fmt::Display for SettingsFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingsFinding::UnknownKey { key, nearest: None } => write!(f, "{key} is not a known setting"),
            SettingsFinding::UnknownKey {
                key,
                nearest: Some(nearest),
            } => write!(f, "{key} is not a known setting; the nearest one is {nearest}"),
            SettingsFinding::InvalidValue(problem) => problem.fmt(f),
            SettingsFinding::UnusedPattern { pattern, refs } => {
                write!(f, "stargate.ref = {pattern} matches 0 of {refs} refs")
            }
            SettingsFinding::NothingMirrored(nothing) => nothing.fmt(f),
        }
    }
}

impl fmt::Display for NothingMirrored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0 of {} refs match stargate.ref ({})", self.refs, self.patterns)
    }
}

impl NothingMirrored {
    /// Instruction for the operator.
    pub const HINT: &'static str =
        "set stargate.ref to the refs to mirror; for branches and tags: stargate-mirror install --mirror branches";

    /// Returns none if a ref is mirrored, or there are no refs, or a ref cannot be read.
    pub(super) fn find(stargate: &Stargate, refs: &RefPatterns) -> Option<Self> {
        let names = every_name(stargate)?;
        let is_mirrored = |name: &BString| refs.matches(name.as_bstr());
        (!names.is_empty() && !names.iter().any(is_mirrored)).then(|| NothingMirrored {
            refs: names.len(),
            patterns: refs.to_string(),
        })
    }
}

/// Reviews the settings of the repository at `git_dir`.
///
/// # Errors
/// The repository cannot be opened, or its configuration cannot be read.
pub fn review_settings(git_dir: &Path) -> Result<Vec<SettingsFinding>, RunError> {
    let file = config::git_config(git_dir).map_err(|error| RunError::Unreadable(git_dir.to_owned(), error))?;
    let stargate = Stargate::open(git_dir)?;
    let mut found = unknown_keys(&file);
    let config = Config::from_git_config(&file);
    found.extend(config.problems.iter().cloned().map(SettingsFinding::InvalidValue));
    found.extend(unused_patterns(&stargate, &config.refs));
    Ok(found)
}

/// Returns messages about the unknown keys of the repository at `git_dir`, whose configuration was read before. An error
/// means that it has changed since; the next cycle reports that.
pub(super) fn unknown_settings(git_dir: &Path) -> Vec<String> {
    let found = config::git_config(git_dir).map_or_else(|_| Vec::new(), |file| unknown_keys(&file));
    found.iter().map(ToString::to_string).collect()
}

/// Returns the keys of `[stargate]` that are not known.
fn unknown_keys(file: &gix::config::File) -> Vec<SettingsFinding> {
    let mut keys = Vec::new();
    for section in file.sections_by_name("stargate").into_iter().flatten() {
        let middle = section.header().subsection_name().map(BStr::to_string);
        let is_url = middle.as_ref().is_some_and(|middle| middle.contains("://"));
        let start = middle.map_or("stargate".to_owned(), |middle| format!("stargate.{middle}"));
        let is_known = |name: &str| is_url && URL_KEYS.iter().any(|known| known.eq_ignore_ascii_case(name));
        let names = section.value_names();
        let names = names.filter(|name| !is_known(&name.to_string()));
        keys.extend(names.map(|name| format!("{start}.{name}")));
    }
    let is_unknown = |key: &String| !KEYS.iter().any(|known| known.eq_ignore_ascii_case(key));
    let unknown: BTreeSet<String> = keys.into_iter().filter(is_unknown).collect();
    let finding = |key: String| SettingsFinding::UnknownKey {
        nearest: nearest(&key),
        key,
    };
    unknown.into_iter().map(finding).collect()
}

fn nearest(key: &str) -> Option<&'static str> {
    let key = key.to_ascii_lowercase();
    let distance = |known: &str| strsim::osa_distance(&known.to_ascii_lowercase(), &key);
    let (edits, known) = KEYS.iter().map(|known| (distance(known), *known)).min()?;
    (edits <= MOST_EDITS).then_some(known)
}

/// Returns the patterns that match no ref. If no pattern matches any ref, returns a single finding. Returns nothing if
/// there are no refs, or a ref cannot be read.
pub(super) fn unused_patterns(stargate: &Stargate, refs: &RefPatterns) -> Vec<SettingsFinding> {
    if let Some(nothing) = NothingMirrored::find(stargate, refs) {
        return vec![SettingsFinding::NothingMirrored(nothing)];
    }
    let names = every_name(stargate).unwrap_or_default();
    if names.is_empty() || *refs == RefPatterns::default() {
        return Vec::new();
    }
    let unused = refs.each().filter_map(|(kind, pattern)| {
        let text = pattern.to_string();
        let is_used = names.iter().any(|name| pattern.matches(name.as_bstr()));
        let is_ordinary = ORDINARY.iter().chain(&DEFAULT_PATTERNS).any(|known| *known == text);
        let sign = if kind == Kind::Excluded { "!" } else { "" };
        (!is_used && !is_ordinary).then(|| SettingsFinding::UnusedPattern {
            pattern: format!("{sign}{text}"),
            refs: names.len(),
        })
    });
    unused.collect()
}

/// Returns the names of all refs, or none if one of them cannot be read.
fn every_name(stargate: &Stargate) -> Option<BTreeSet<BString>> {
    let all: LocalRefs = stargate.mirrored_refs(&RefPatterns::everything());
    let is_whole = all.unreadable().next().is_none();
    let names = all.known().keys().chain(all.aliases().keys());
    is_whole.then(|| names.cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let file = gix::config::File::try_from(text).expect("git configuration");
        unknown_keys(&file).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn unknown_keys_have_the_nearest_known_one() {
        let all: String = KEYS
            .iter()
            .map(|key| format!("{} = 1\n", key.trim_start_matches("stargate.")))
            .collect();
        assert_eq!(shown(&format!("[stargate]\n{all}[Stargate]\nREMOTE = x\n")), [""; 0]);
        assert_eq!(
            shown(
                "[stargate]\nremot = x\nretries = 3\npushPerMinute = 1\n[stargate \"github\"]\nref = refs/x\n[other]\nx = 1\n\
                 [stargate \"https://host/o\"]\nTokenFile = /t\ngithubApp = 1\ngithubAppKey = /k\nremote = x\n"
            ),
            [
                "stargate.github.ref is not a known setting",
                "stargate.https://host/o.remote is not a known setting",
                "stargate.pushPerMinute is not a known setting; the nearest one is stargate.pushesPerMinute",
                "stargate.remot is not a known setting; the nearest one is stargate.remote",
                "stargate.retries is not a known setting",
            ]
        );
    }
}
