//! Settings of a push in git configuration: `push.*`, `remote.*`, `branch.*` and `advice.*` (git-config).
use std::{collections::BTreeSet, ffi::OsString};

use bstr::{BStr, BString, ByteSlice};
use gix::{Repository, config::file::Metadata};

use super::error::PushError;

/// Meaning of a push without refspecs (git-config, *push.default*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PushDefault {
    Unspecified,
    Simple,
    Current,
    Upstream,
    Matching,
    Nothing,
}

/// Demand for a push certificate (git-push, *--signed*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// None.
    Never,
    /// If the server accepts one.
    IfAsked,
    /// Always: a server that accepts none is an error.
    Always,
}

/// Git configuration of a repository.
pub(super) struct GitSettings<'a> {
    repository: &'a Repository,
}

impl<'a> GitSettings<'a> {
    pub(super) fn new(repository: &'a Repository) -> Self {
        GitSettings { repository }
    }

    /// Returns the last value of a key.
    pub(super) fn text(&self, key: &str) -> Option<BString> {
        self.repository.config_snapshot().string(key)
    }

    /// Returns the last value of a key that names a program, from configuration that is trusted.
    pub(super) fn program(&self, key: &str) -> Option<OsString> {
        let snapshot = self.repository.config_snapshot();
        let value = snapshot.plumbing().string_filter(key, is_trusted)?;
        gix::path::from_bstring(value).ok().map(Into::into)
    }

    /// Returns all values of a key, without those before an empty one.
    pub(super) fn list(&self, key: &str) -> Vec<BString> {
        let snapshot = self.repository.config_snapshot();
        let values = snapshot.plumbing().strings(key).unwrap_or_default();
        let start = values.iter().rposition(|value| value.is_empty()).map_or(0, |at| at + 1);
        values[start..].to_vec()
    }

    /// Returns `push.pushOption`, like [`list()`](GitSettings::list()).
    ///
    /// # Errors
    /// One has no value.
    pub(super) fn push_options(&self) -> Result<Vec<BString>, PushError> {
        let snapshot = self.repository.config_snapshot();
        let mut sections = snapshot.plumbing().sections_by_name("push").into_iter().flatten();
        if sections.any(|section| section.value_implicit("pushOption") == Some(None)) {
            let what = "missing value for 'push.pushoption'";
            return Err(PushError::Fatal(what.into()));
        }
        Ok(self.list("push.pushOption"))
    }

    /// Returns a boolean.
    ///
    /// # Errors
    /// The value is not one.
    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>, PushError> {
        let snapshot = self.repository.config_snapshot();
        snapshot.try_boolean(key).map_err(|_| self.bad(key))
    }

    /// Returns `push.default`.
    pub(super) fn push_default(&self) -> Result<PushDefault, PushError> {
        let Some(value) = self.text("push.default") else {
            return Ok(PushDefault::Unspecified);
        };
        Ok(match value.as_slice() {
            b"simple" => PushDefault::Simple,
            b"current" => PushDefault::Current,
            b"upstream" | b"tracking" => PushDefault::Upstream,
            b"matching" => PushDefault::Matching,
            b"nothing" => PushDefault::Nothing,
            _ => {
                let words = "Must be one of nothing, matching, simple, upstream or current.";
                return Err(PushError::Fatal(format!(
                    "malformed value for push.default: {value}\n{words}"
                )));
            }
        })
    }

    /// Returns `push.gpgSign`.
    pub(super) fn signed(&self) -> Result<Signed, PushError> {
        let key = "push.gpgSign";
        match self.text(key) {
            None => Ok(Signed::Never),
            Some(value) if value.eq_ignore_ascii_case(b"if-asked") => Ok(Signed::IfAsked),
            Some(_) if self.boolean(key)? == Some(true) => Ok(Signed::Always),
            Some(_) => Ok(Signed::Never),
        }
    }

    /// Returns the names of the configured remotes.
    pub(super) fn remotes(&self) -> Vec<BString> {
        let names = self.repository.remote_names();
        names.iter().map(|name| BString::from(name.as_bstr())).collect()
    }

    /// Returns the hints that are turned off, in lower case. `GIT_ADVICE=0` turns all off.
    pub(super) fn muted_advice(&self) -> BTreeSet<String> {
        let snapshot = self.repository.config_snapshot();
        let sections = snapshot.plumbing().sections_by_name("advice").into_iter().flatten();
        let names = sections.flat_map(|section| section.value_names().collect::<Vec<_>>());
        let is_off = |name: &String| snapshot.boolean(format!("advice.{name}").as_str()) == Some(false);
        names.filter(is_off).map(|name| name.to_ascii_lowercase()).collect()
    }

    fn bad(&self, key: &str) -> PushError {
        let value = self.text(key).unwrap_or_default();
        PushError::Fatal(format!(
            "bad boolean config value '{value}' for '{}'",
            key.to_ascii_lowercase()
        ))
    }
}

/// Returns false for the configuration of a repository of another user, which must not name programs.
fn is_trusted(metadata: &Metadata) -> bool {
    metadata.trust == gix::sec::Trust::Full || metadata.source.kind() != gix::config::source::Kind::Repository
}

/// Parses `GIT_CONFIG_PARAMETERS`, in which `git -c` passes settings on: quoted `key=value`, or quoted keys and values.
///
/// # Errors
/// The quoting is invalid.
pub fn config_parameters(text: &BStr) -> Result<Vec<BString>, PushError> {
    let bogus = || PushError::Fatal("bogus format in GIT_CONFIG_PARAMETERS".into());
    let mut settings = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (mut setting, after) = unquoted(rest).ok_or_else(bogus)?;
        rest = after;
        if let Some(value) = rest.strip_prefix(b"=") {
            setting.push(b'=');
            if value.starts_with(b"'") {
                let (value, after) = unquoted(value).ok_or_else(bogus)?;
                setting.extend_from_slice(&value);
                rest = after;
            } else {
                // A key without a value.
                setting.pop();
                rest = value;
            }
        }
        if !rest.is_empty() && !rest[0].is_ascii_whitespace() {
            return Err(bogus());
        }
        settings.push(setting.into());
        rest = rest.trim_start();
    }
    Ok(settings)
}

/// Removes the quotes of a shell word at the start. Returns it and the rest.
fn unquoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut rest = text.strip_prefix(b"'")?;
    loop {
        let (inside, after) = rest.split_once_str("'")?;
        word.extend_from_slice(inside);
        // `'\''` is a quote, and `'\!'` an exclamation mark.
        match after {
            [b'\\', byte @ (b'\'' | b'!'), b'\'', more @ ..] => {
                word.push(*byte);
                rest = more;
            }
            _ => return Some((word, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_git_are_unquoted() {
        let parsed = |text: &str| config_parameters(text.into()).map_err(|error| error.to_string());
        assert_eq!(parsed("").expect("none"), [""; 0]);
        assert_eq!(parsed("'a.b=c d'").expect("old"), ["a.b=c d"]);
        assert_eq!(
            parsed("'a.x=y.b'='c'\\''d' 'e.f'= 'g.h'='i'").expect("new"),
            ["a.x=y.b=c'd", "e.f", "g.h=i"]
        );
        for bad in ["a.b=c", "'a.b", "'a.b'x"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
