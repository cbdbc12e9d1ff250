//! Git configuration, as far as it is trusted.
use std::{fmt, path::PathBuf, sync::Arc};

use bstr::BString;
use git_push::{Error, ErrorKind};
use gix::config::file::{Metadata, SectionRef};

/// Git configuration, without that of a repository of another user. It may contain secrets.
#[derive(Clone, Default)]
pub(crate) struct GitConfig(Arc<gix::config::File>);

impl GitConfig {
    /// Wraps a file.
    pub(crate) fn new(file: gix::config::File) -> Self {
        GitConfig(Arc::new(file))
    }

    /// Returns the whole file. Readers must skip sections that [`is_trusted()`] does not accept.
    #[cfg(feature = "smart-http")]
    pub(crate) fn file(&self) -> &gix::config::File {
        &self.0
    }

    /// Returns the sections of this name, in order of precedence.
    pub(crate) fn sections(&self, name: &str) -> impl Iterator<Item = SectionRef<'_>> {
        self.0
            .sections_by_name_and_filter(name, is_trusted)
            .into_iter()
            .flatten()
    }

    /// Returns a value, if it is set.
    pub(crate) fn string(&self, key: &str) -> Option<BString> {
        self.0.string_filter(key, is_trusted)
    }

    /// Returns a boolean value; false if it is not set.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if it is not a boolean.
    pub(crate) fn boolean(&self, key: &str) -> Result<bool, Error> {
        let value = self.0.boolean_filter(key, is_trusted);
        Ok(value.map_err(|_| not_understood(key))?.unwrap_or_default())
    }
}

impl fmt::Debug for GitConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GitConfig")
    }
}

/// Returns false for the configuration of a repository of another user: it must not name programs, servers or secrets.
pub(crate) fn is_trusted(metadata: &Metadata) -> bool {
    metadata.trust == gix::sec::Trust::Full || metadata.source.kind() != gix::config::source::Kind::Repository
}

/// Reads the configuration of the system and of the user, and the `GIT_CONFIG_*` variables.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if it cannot be read.
pub(crate) fn user_config() -> Result<gix::config::File, Error> {
    let read = gix::config::File::from_globals().and_then(|mut file| {
        file.append(gix::config::File::from_environment_overrides()?)?;
        Ok(file)
    });
    read.map_err(|error| {
        let what = format!("cannot read git configuration: {}", git_push::causes(&error));
        Error::new(ErrorKind::Misconfigured, what).with_hint("find the file with `git config --list --show-origin`")
    })
}

/// Returns the path in the value of `key`, which may start with `~/` (git-config, *pathname*).
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if it is not a path.
pub(crate) fn interpolated(value: BString, key: &str) -> Result<PathBuf, Error> {
    let home = gix::path::env::home_dir();
    let context = gix::config::path::interpolate::Context {
        home_dir: home.as_deref(),
        ..Default::default()
    };
    let path = gix::config::Path::from(value).interpolate(context);
    path.map_err(|_| not_understood(key))
}

/// Creates the error of an invalid value.
pub(crate) fn not_understood(key: &str) -> Error {
    let what = format!("the value of {key} in git configuration is invalid");
    Error::new(ErrorKind::Misconfigured, what).with_hint(format!("correct it with `git config {key} <value>`"))
}
