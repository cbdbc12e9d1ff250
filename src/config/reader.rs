//! Reading of single values of git configuration.
use std::{path::PathBuf, time::Duration};

use bstr::ByteSlice;

use super::{Problem, parse_duration};

/// Largest valid count.
const MOST: i64 = 1000;

/// Reader of single values. An invalid one becomes a [`Problem`], and the default is returned.
pub(super) struct Reader<'a> {
    file: &'a gix::config::File,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a gix::config::File, problems: &'a mut Vec<Problem>) -> Self {
        Reader { file, problems }
    }

    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        match self.file.boolean(key) {
            Ok(value) => value.unwrap_or(default),
            Err(_) => self.problem(key, "expected true or false".into(), default),
        }
    }

    pub(super) fn count(&mut self, key: &'static str, least: i64, default: u32) -> u32 {
        match self.file.integer(key) {
            Ok(None) => default,
            Ok(Some(value)) if (least..=MOST).contains(&value) => value as u32,
            Ok(Some(_)) | Err(_) => self.problem(key, format!("expected a number from {least} to {MOST}"), default),
        }
    }

    /// Reads a number of bytes. 0 is no limit.
    pub(super) fn bytes(&mut self, key: &'static str, default: Option<u64>) -> Option<u64> {
        match self.file.integer(key).map(|value| value.map(u64::try_from)) {
            Ok(None) => default,
            Ok(Some(Ok(bytes))) => Some(bytes).filter(|bytes| *bytes > 0),
            Ok(Some(Err(_))) | Err(_) => {
                self.problem(key, "expected bytes, such as 1500m, or 0 for no limit".into(), default)
            }
        }
    }

    pub(super) fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        match self.file.string(key) {
            None => default,
            Some(value) => match parse_duration(&value.to_str_lossy()) {
                Ok(duration) => duration,
                Err(why) => self.problem(key, why, default),
            },
        }
    }

    /// Reads an absolute path of a folder.
    pub(super) fn folder(&mut self, key: &'static str) -> Option<PathBuf> {
        let value = self.file.string(key).filter(|value| !value.is_empty())?;
        match gix::path::from_bstring(value) {
            Ok(path) if path.is_absolute() => Some(path),
            Ok(_) | Err(_) => self.problem(key, "expected an absolute path".into(), None),
        }
    }

    pub(super) fn word<T: Copy + Default>(&mut self, key: &'static str, words: &[(&str, T)]) -> T {
        let Some(value) = self.file.string(key) else {
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

    fn problem<T>(&mut self, key: &'static str, why: String, default: T) -> T {
        let value = self.file.string(key).unwrap_or_default();
        self.problems.push(Problem { key, value, why });
        default
    }
}
