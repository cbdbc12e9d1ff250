//! Review of a repository's settings: unknown keys, invalid values, and patterns that match no ref.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

use bstr::{BStr, BString, ByteSlice};

use super::{Chosen, RunError, Stargate};
use crate::{
    config::{self, Config, KEYS, MIRROR_KEYS, Mirrors, Problem, URL_KEYS},
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
        /// The key, as it is written.
        key: String,
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
    /// The key of the patterns: `stargate.ref`, or that of a mirror's own section.
    pub key: String,
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
            SettingsFinding::UnusedPattern { key, pattern, refs } => {
                write!(f, "{key} = {pattern} matches 0 of {refs} refs")
            }
            SettingsFinding::NothingMirrored(nothing) => nothing.fmt(f),
        }
    }
}

impl fmt::Display for NothingMirrored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0 of {} refs match {} ({})", self.refs, self.key, self.patterns)
    }
}

impl NothingMirrored {
    /// Instruction for the operator.
    pub const HINT: &'static str =
        "set stargate.ref to the refs to mirror; for branches and tags: stargate-mirror install --mirror branches";

    /// Returns none if a ref is mirrored, or there are no refs, or a ref cannot be read.
    pub(super) fn find(stargate: &Stargate, config: &Config) -> Option<Self> {
        let names = every_name(stargate)?;
        let is_mirrored = |name: &BString| config.refs.matches(name.as_bstr());
        (!names.is_empty() && !names.iter().any(is_mirrored)).then(|| NothingMirrored {
            key: config.key("ref"),
            refs: names.len(),
            patterns: config.refs.to_string(),
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
    let mut found: Vec<SettingsFinding> = unknown_keys(&file).into_iter().map(|(_, finding)| finding).collect();
    let mirrors = Mirrors::from_git_config(&file);
    found.extend(mirrors.problems().into_iter().map(SettingsFinding::InvalidValue));
    for finding in mirrors
        .each
        .iter()
        .flat_map(|mirror| unused_patterns(&stargate, mirror))
    {
        if !found.contains(&finding) {
            found.push(finding);
        }
    }
    Ok(found)
}

/// Returns messages about the unknown keys of the repository at `git_dir`, whose configuration was read before. An error
/// means that it has changed since; the next cycle reports that. A mirror's cycle reports the keys of its own section,
/// and that of the first mirror also those that belong to none.
pub(super) fn unknown_settings(git_dir: &Path, chosen: &Chosen) -> Vec<String> {
    let found = config::git_config(git_dir).map_or_else(|_| Vec::new(), |file| unknown_keys(&file));
    let of_mirror = found
        .into_iter()
        .filter(|(section, _)| chosen.is_about(section.as_deref()));
    of_mirror.map(|(_, finding)| finding.to_string()).collect()
}

/// Returns the keys of `[stargate]`, and of mirrors' own sections, that are not known. Each has the name of its section,
/// if that is a mirror's.
fn unknown_keys(file: &gix::config::File) -> Vec<(Option<String>, SettingsFinding)> {
    let mut unknown = BTreeMap::new();
    for section in file.sections_by_name("stargate").into_iter().flatten() {
        let middle = section.header().subsection_name();
        let start = middle.map_or("stargate".to_owned(), |middle| format!("stargate.{middle}"));
        let has_remote = |middle: &&BStr| file.string_by("stargate", Some(*middle), "remote").is_some();
        let mirror = middle.filter(has_remote).map(ToString::to_string);
        let is_url = middle.is_some_and(|middle| middle.contains_str("://"));
        for name in section.value_names() {
            let key = format!("{start}.{name}");
            let is_same = |known: &str| match &mirror {
                Some(_) => known.eq_ignore_ascii_case(&name),
                None => known.eq_ignore_ascii_case(&key),
            };
            let is_of_url = is_url && URL_KEYS.iter().any(|known| known.eq_ignore_ascii_case(&name));
            if !is_of_url && !known_keys(mirror.is_some()).iter().any(|known| is_same(known)) {
                unknown.insert(key, (mirror.clone(), name));
            }
        }
    }
    let finding = |(key, (mirror, name)): (String, (Option<String>, String))| {
        let nearest = match &mirror {
            Some(_) => nearest(&name, known_keys(true)),
            None => nearest(&key, known_keys(false)),
        };
        (mirror, SettingsFinding::UnknownKey { key, nearest })
    };
    unknown.into_iter().map(finding).collect()
}

/// Returns the known keys: of a mirror's own section without `stargate.`, else in full.
fn known_keys(of_mirror: bool) -> &'static [&'static str] {
    if of_mirror { &MIRROR_KEYS } else { &KEYS }
}

fn nearest(key: &str, known: &'static [&'static str]) -> Option<&'static str> {
    let key = key.to_ascii_lowercase();
    let distance = |known: &str| strsim::osa_distance(&known.to_ascii_lowercase(), &key);
    let (edits, known) = known.iter().map(|known| (distance(known), *known)).min()?;
    // A name of a few letters is near to every other one.
    let name = key.rsplit('.').next().unwrap_or_default();
    (edits <= MOST_EDITS && edits < name.len()).then_some(known)
}

/// Returns the patterns that match no ref. If no pattern matches any ref, returns a single finding. Returns nothing if
/// there are no refs, or a ref cannot be read.
pub(super) fn unused_patterns(stargate: &Stargate, config: &Config) -> Vec<SettingsFinding> {
    let refs = &config.refs;
    if let Some(nothing) = NothingMirrored::find(stargate, config) {
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
            key: config.key("ref"),
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
        unknown_keys(&file)
            .iter()
            .map(|(_, finding)| finding.to_string())
            .collect()
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
                "[stargate]\nx = 1\nremot = x\nretries = 3\npushPerMinute = 1\n[stargate \"github\"]\nref = refs/x\n[other]\nx = 1\n\
                 [stargate \"https://host/o\"]\nTokenFile = /t\ngithubApp = 1\ngithubAppKey = /k\nfast = x\n"
            ),
            [
                "stargate.github.ref is not a known setting",
                "stargate.https://host/o.fast is not a known setting",
                "stargate.pushPerMinute is not a known setting; the nearest one is stargate.pushesPerMinute",
                "stargate.remot is not a known setting; the nearest one is stargate.remote",
                "stargate.retries is not a known setting",
                "stargate.x is not a known setting",
            ]
        );
    }

    #[test]
    fn a_section_with_a_remote_is_a_mirror_with_keys_of_its_own() {
        let all: String = MIRROR_KEYS.iter().map(|key| format!("{key} = 1\n")).collect();
        assert_eq!(shown(&format!("[stargate \"b\"]\n{all}")), [""; 0]);
        assert_eq!(
            shown("[stargate \"b\"]\nremote = x\nfroce = true\nretention = 1d\n"),
            [
                "stargate.b.froce is not a known setting; the nearest one is force",
                "stargate.b.retention is not a known setting",
            ]
        );
    }
}
