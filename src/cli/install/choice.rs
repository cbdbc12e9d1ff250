//! Settings that `install` writes: the mirror and the refs.
use std::{
    collections::BTreeSet,
    fmt,
    path::{self, Path},
};

use bstr::{BStr, BString, ByteSlice};
use durable::storage::Disk;
use git_push::repository;
use git_push_transport::{Location, resolve};

use super::super::report::{Exit, Failure};
use crate::{
    config::{self, Config, Mirrors},
    hook::git_config,
    ref_pattern::{DEFAULT_PATTERNS, RefPatterns},
};

/// Refs to mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// The namespaces, which are the default
    Kv,
    /// refs/heads/* and refs/tags/*
    Branches,
    /// refs/*, without refs that forges create, such as refs/pull/*
    All,
}

impl Preset {
    /// Returns the values of `stargate.ref`; none for the default.
    fn patterns(self) -> &'static [&'static str] {
        match self {
            Preset::Kv => &[],
            Preset::Branches => &["refs/heads/*", "refs/tags/*"],
            Preset::All => &["refs/*"],
        }
    }
}

/// Settings to write, compared with existing ones.
pub struct Choice {
    /// Keys without `stargate.`, and values to add.
    add: Vec<(&'static str, BString)>,
    /// Settings that exist already.
    unchanged: Vec<String>,
}

/// Settings after they were written.
pub struct Made {
    /// Mirrored refs.
    pub refs: RefPatterns,
    /// True if a mirror is set.
    pub has_remote: bool,
}

impl Choice {
    /// Compares the settings to write with those of the repository at `git_dir`. Nothing is changed.
    ///
    /// # Errors
    /// Another value exists, or the mirror is neither a URL, nor a path, nor a remote, or it contains a secret.
    pub fn new(git_dir: &Path, remote: Option<&str>, preset: Option<Preset>) -> Result<Self, Failure> {
        let file = configuration(git_dir)?;
        let mut choice = Choice {
            add: Vec::new(),
            unchanged: Vec::new(),
        };
        if let Some(remote) = remote {
            let configured = Config::from_git_config(&file).remote;
            choice.remote(&checked(git_dir, remote)?, configured)?;
        }
        if let Some(preset) = preset {
            choice.refs(preset.patterns(), file.strings("stargate.ref").unwrap_or_default())?;
        }
        Ok(choice)
    }

    fn remote(&mut self, wanted: &BString, configured: Option<BString>) -> Result<(), Failure> {
        match configured {
            None => self.add.push(("remote", wanted.clone())),
            Some(configured) if configured == *wanted => {
                self.unchanged.push(format!("stargate.remote = {}", shown(wanted)));
            }
            Some(configured) => return Err(refusal("remote", &shown(&configured))),
        }
        Ok(())
    }

    fn refs(&mut self, wanted: &[&str], configured: Vec<BString>) -> Result<(), Failure> {
        let set =
            |patterns: &[&str]| -> BTreeSet<BString> { patterns.iter().map(|pattern| (*pattern).into()).collect() };
        let wanted_set = set(if wanted.is_empty() { &DEFAULT_PATTERNS } else { wanted });
        let names: Vec<String> = configured.iter().map(ToString::to_string).collect();
        let has = if configured.is_empty() {
            set(&DEFAULT_PATTERNS)
        } else {
            configured.into_iter().collect()
        };
        if has == wanted_set {
            self.unchanged
                .extend(names.iter().map(|name| format!("stargate.ref = {name}")));
            if names.is_empty() {
                self.unchanged
                    .push("stargate.ref is not set, so the default applies".to_owned());
            }
        } else if names.is_empty() {
            self.add.extend(wanted.iter().map(|pattern| ("ref", (*pattern).into())));
        } else {
            return Err(refusal("ref", &names.join(", ")));
        }
        Ok(())
    }

    /// Writes the settings.
    ///
    /// # Errors
    /// The configuration cannot be read or written.
    pub fn apply(&self, git_dir: &Path) -> Result<Made, Failure> {
        if !self.add.is_empty() {
            git_config::add(&Disk, git_dir, &self.add)?;
        }
        let file = configuration(git_dir)?;
        let config = Config::from_git_config(&file);
        Ok(Made {
            refs: config.refs,
            has_remote: Mirrors::is_any_in(&file),
        })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.add.is_empty() || !self.unchanged.is_empty() {
            writeln!(f)?;
        }
        for (key, value) in &self.add {
            writeln!(f, "Set stargate.{key} = {}", shown(value))?;
        }
        for setting in &self.unchanged {
            writeln!(f, "Unchanged: {setting}")?;
        }
        Ok(())
    }
}

fn configuration(git_dir: &Path) -> Result<gix::config::File, Failure> {
    config::git_config(git_dir).map_err(|error| {
        let what = format!("cannot read git's configuration of {}: {error}", git_dir.display());
        Failure::new(Exit::Failed, what)
    })
}

fn refusal(key: &str, configured: &str) -> Failure {
    Failure::new(
        Exit::Refused,
        format!("stargate.{key} is already set to {configured}, so nothing was changed"),
    )
    .hint(format!(
        "to replace it, first remove it with `git config --unset-all stargate.{key}`"
    ))
}

/// Returns the value to configure: a relative path becomes absolute, because cycles run in other folders.
fn checked(git_dir: &Path, remote: &str) -> Result<BString, Failure> {
    let (repository, _) = repository::open_any_refs(git_dir)?;
    let location = resolve(BStr::new(remote), Some(&repository))?;
    let is_name = repository.try_find_remote(BStr::new(remote)).is_some();
    match &location {
        Location::Http(url)
            if !is_name && (url.user().is_some() || url.password().is_some() || remote.contains('?')) =>
        {
            let what = "the URL of the mirror contains a user, a password or a query, which may be secret; it is not written to a file";
            Err(Failure::new(Exit::Usage, what).hint("give the URL without them, and put the token into GITHUB_PAT"))
        }
        Location::Path(path) if !is_name && path.as_os_str() == remote && path.is_relative() => {
            let absolute = path::absolute(path).map_err(|error| Failure::new(Exit::Failed, error))?;
            let text =
                gix::path::into_bstr(absolute).map_err(|_| Failure::new(Exit::Usage, "the path is not UTF-8"))?;
            Ok(text.into_owned())
        }
        _ => Ok(remote.into()),
    }
}

/// Returns a remote or a pattern without user info and query.
fn shown(value: &BString) -> String {
    if value.find_byteset(b"@?").is_none() {
        return value.to_string();
    }
    match Location::parse(value.as_bstr()) {
        Ok(location) => location.to_string(),
        Err(_) => "another value".to_owned(),
    }
}
