//! Reading of single values of git configuration.
use std::{path::PathBuf, time::Duration};

use bstr::{BStr, BString, ByteSlice};
use gix::config::{Source, source::Kind};
use secrecy::SecretString;

use super::{
    Problem,
    alerts::{AlertConfig, words},
    mirrors::last_values,
    parse_duration,
};
use crate::{append_only::Paths, ref_pattern::RefPatterns};

/// Largest valid count.
const MOST: i64 = 1000;

/// Name of the section.
const SECTION: &str = "stargate";

/// Reader of single values. An invalid one becomes a [`Problem`], and the default is returned.
pub(super) struct Reader<'a> {
    file: &'a gix::config::File,
    /// The mirror's own section, whose keys override those of `[stargate]`.
    section: Option<&'a BStr>,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a gix::config::File, section: Option<&'a BStr>, problems: &'a mut Vec<Problem>) -> Self {
        Reader {
            file,
            section,
            problems,
        }
    }

    pub(super) fn boolean(&mut self, key: &str, default: bool) -> bool {
        match self.file.boolean_by(SECTION, self.section_of(key), name(key)) {
            Ok(value) => value.unwrap_or(default),
            Err(_) => self.problem(key, "expected true or false".into(), default),
        }
    }

    pub(super) fn count(&mut self, key: &str, least: i64, default: u32) -> u32 {
        match self.integer(key) {
            Ok(None) => default,
            Ok(Some(value)) if (least..=MOST).contains(&value) => value as u32,
            Ok(Some(_)) | Err(_) => self.problem(key, format!("expected a number from {least} to {MOST}"), default),
        }
    }

    /// Reads a number of bytes. 0 is no limit.
    pub(super) fn bytes(&mut self, key: &str, default: Option<u64>) -> Option<u64> {
        match self.integer(key).map(|value| value.map(u64::try_from)) {
            Ok(None) => default,
            Ok(Some(Ok(bytes))) => Some(bytes).filter(|bytes| *bytes > 0),
            Ok(Some(Err(_))) | Err(_) => {
                self.problem(key, "expected bytes, such as 1500m, or 0 for no limit".into(), default)
            }
        }
    }

    pub(super) fn duration(&mut self, key: &str, default: Duration) -> Duration {
        match self.string(key) {
            None => default,
            Some(value) => match parse_duration(&value.to_str_lossy()) {
                Ok(duration) => duration,
                Err(why) => self.problem(key, why, default),
            },
        }
    }

    /// Reads a text. An empty one is none.
    pub(super) fn text(&self, key: &str) -> Option<BString> {
        self.string(key).filter(|value| !value.is_empty())
    }

    /// Reads an absolute path of a folder.
    pub(super) fn folder(&mut self, key: &str) -> Option<PathBuf> {
        match gix::path::from_bstring(self.text(key)?) {
            Ok(path) if path.is_absolute() => Some(path),
            Ok(_) | Err(_) => self.problem(key, "expected an absolute path".into(), None),
        }
    }

    pub(super) fn word<T: Copy + Default>(&mut self, key: &str, words: &[(&str, T)]) -> T {
        let Some(value) = self.string(key) else {
            return T::default();
        };
        match words
            .iter()
            .find(|(word, _)| value.eq_ignore_ascii_case(word.as_bytes()))
        {
            Some((_, meaning)) => *meaning,
            None => {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                self.problem(key, format!("expected {}", words.join(" or ")), T::default())
            }
        }
    }

    /// Reads patterns of refs. One invalid pattern does not disable the valid ones.
    pub(super) fn patterns(&mut self, key: &str) -> RefPatterns {
        let patterns = self.strings(key);
        RefPatterns::new(&patterns).unwrap_or_else(|error| {
            self.add(key, patterns.join(&b", "[..]).into(), error.to_string());
            let valid = patterns.iter().filter(|pattern| RefPatterns::new([pattern]).is_ok());
            RefPatterns::new(valid).unwrap_or_default()
        })
    }

    /// Reads guarded paths.
    pub(super) fn paths(&mut self, key: &str) -> Paths {
        Paths::new(self.strings(key)).unwrap_or_else(|error| {
            self.add(key, error.0.clone(), error.to_string());
            Paths::default()
        })
    }

    /// Reads the settings of alerts. They may name a program, so their origin counts.
    pub(super) fn alerts(&mut self) -> AlertConfig {
        let (command, of_command) = self.command("stargate.alertCommand");
        let (url, of_url) = self.last("stargate.alertUrl");
        let (secret_file, of_secret) = self.last("stargate.alertSecretFile");
        let mut sources = [of_command, of_url, of_secret].into_iter().flatten();
        AlertConfig {
            command,
            url: url.map(|url| SecretString::from(url.to_string())),
            secret_file,
            is_of_repository: sources.any(|source| source.kind() == Kind::Repository),
            stale_after: self.duration("stargate.staleAfter", AlertConfig::default().stale_after),
        }
    }

    /// Reads a program and its arguments: several values are one argument each, a single one is a command line.
    fn command(&mut self, key: &str) -> (Vec<BString>, Option<Source>) {
        let (mut values, source) = last_values(self.file, self.section_of(key), name(key));
        if let [line] = &values[..] {
            values = match words(line.as_bstr()) {
                Ok(words) => words,
                Err(why) => self.problem(key, why, Vec::new()),
            };
        }
        (values, source)
    }

    fn last(&self, key: &str) -> (Option<BString>, Option<Source>) {
        let (values, source) = last_values(self.file, self.section_of(key), name(key));
        (values.into_iter().next_back(), source)
    }

    fn integer(&self, key: &str) -> Result<Option<i64>, gix::Error> {
        self.file.integer_by(SECTION, self.section_of(key), name(key))
    }

    fn string(&self, key: &str) -> Option<BString> {
        self.file.string_by(SECTION, self.section_of(key), name(key))
    }

    fn strings(&self, key: &str) -> Vec<BString> {
        let strings = self.file.strings_by(SECTION, self.section_of(key), name(key));
        strings.unwrap_or_default()
    }

    /// Returns the mirror's own section if it sets the key.
    fn section_of(&self, key: &str) -> Option<&'a BStr> {
        let is_set = |section: &&BStr| {
            self.file
                .string_implicit_by(SECTION, Some(*section), name(key))
                .is_some()
        };
        self.section.filter(is_set)
    }

    fn problem<T>(&mut self, key: &str, why: String, default: T) -> T {
        let value = self.string(key).unwrap_or_default();
        self.add(key, value, why);
        default
    }

    fn add(&mut self, key: &str, value: BString, why: String) {
        let key = match self.section_of(key) {
            Some(section) => format!("{SECTION}.{section}.{}", name(key)),
            None => key.to_owned(),
        };
        self.problems.push(Problem { key, value, why });
    }
}

/// Returns the name of a key without its section.
fn name(key: &str) -> &str {
    key.split_once('.').map_or(key, |(_, name)| name)
}
