//! Choice of the mirror that a cycle works on.
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};
use git_push_transport::{Location, resolve};

use super::{
    error::RunError,
    options::{Environment, Options, remote_name},
};
use crate::{
    config::{Config, Mirrors, alerts_file, alerts_lock_file, lock_file, memory_file},
    journal,
};

/// One of the mirrors of a repository.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// Settings of the repository.
    pub mirrors: Mirrors,
    /// Place of the mirror among them.
    place: usize,
}

impl Chosen {
    /// Chooses the mirror with this name, configured remote or location. A single mirror is chosen under any name, because
    /// then `remote` replaces its remote.
    ///
    /// # Errors
    /// There are several mirrors, and `remote` is none or another one.
    pub fn new(mirrors: Mirrors, remote: Option<&str>, repository: &gix::Repository) -> Result<Self, RunError> {
        if !mirrors.are_several() {
            return Ok(Chosen { mirrors, place: 0 });
        }
        let Some(remote) = remote else {
            return Err(RunError::SeveralMirrors(listed(&mirrors)));
        };
        match named_place(&mirrors, remote).or_else(|| at_location(&mirrors, remote, repository)) {
            Some(place) => Ok(Chosen { mirrors, place }),
            None => Err(RunError::NoSuchMirror(
                Location::parse(BStr::new(remote)).map_or_else(|_| "the remote".into(), |is| is.to_string()),
                listed(&mirrors),
            )),
        }
    }

    /// Chooses the mirrors that a watch works on: the one with this name or configured remote, else all of them.
    pub(super) fn watched(mirrors: &Mirrors, remote: Option<&str>) -> Vec<Chosen> {
        let place = remote.and_then(|remote| named_place(mirrors, remote));
        let is_watched = |chosen: &Chosen| place.is_none_or(|place| chosen.place == place);
        Chosen::each(mirrors).filter(is_watched).collect()
    }

    /// Chooses each mirror in turn.
    pub fn each(mirrors: &Mirrors) -> impl Iterator<Item = Chosen> {
        let places = 0..mirrors.each.len();
        places.map(|place| Chosen {
            mirrors: mirrors.clone(),
            place,
        })
    }

    /// Returns the settings of the mirror.
    pub fn config(&self) -> &Config {
        &self.mirrors.each[self.place]
    }

    /// Returns true if the mirror's cycle reports findings about the section of this mirror, or about no mirror's section.
    pub(super) fn is_about(&self, section: Option<&str>) -> bool {
        match section {
            Some(section) => self.config().name == section,
            None => self.place == 0,
        }
    }

    /// Returns the name of the mirror if there are others.
    pub fn name_among_several(&self) -> Option<&str> {
        self.mirrors.are_several().then_some(self.config().name.as_str())
    }

    /// Returns the path of the worker's memory of the mirror, in the repository at `git_dir`.
    pub fn memory_path(&self, git_dir: &Path) -> PathBuf {
        self.path(git_dir, memory_file)
    }

    /// Returns the path of the worker's lock of the mirror.
    pub fn lock_path(&self, git_dir: &Path) -> PathBuf {
        self.path(git_dir, lock_file)
    }

    /// Returns the path of the memory of alerts about the mirror.
    pub(super) fn alerts_path(&self, git_dir: &Path) -> PathBuf {
        self.path(git_dir, alerts_file)
    }

    /// Returns the path of the lock of that memory.
    pub(super) fn alerts_lock_path(&self, git_dir: &Path) -> PathBuf {
        self.path(git_dir, alerts_lock_file)
    }

    fn path(&self, git_dir: &Path, file: fn(usize, &str) -> String) -> PathBuf {
        git_dir
            .join(journal::FOLDER)
            .join(file(self.place, &self.config().name))
    }

    /// Returns the mirror's remote: that of the options replaces the one of a single mirror.
    pub fn remote(&self, options: &Options, environment: Environment<'_>) -> Option<String> {
        let configured = self.config().remote.as_ref().map(ToString::to_string);
        if self.mirrors.are_several() {
            configured
        } else {
            options.mirror(configured, environment)
        }
    }
}

/// Returns the names of the mirrors that a command works on, each in a cycle of its own: that of `remote`, else all of them.
/// A single mirror needs no name.
///
/// # Errors
/// The configuration cannot be read.
pub fn mirror_names(git_dir: &Path, remote: Option<&str>) -> Result<Vec<Option<String>>, RunError> {
    if remote.is_some() {
        return Ok(vec![remote.map(str::to_owned)]);
    }
    let unreadable = |error| RunError::Unreadable(git_dir.to_owned(), error);
    let mirrors = Mirrors::load(git_dir).map_err(unreadable)?;
    Ok(if mirrors.are_several() {
        mirrors.names().map(|name| Some(name.to_owned())).collect()
    } else {
        vec![None]
    })
}

/// A remote that a reader waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteToRead {
    /// Name of the mirror, if there are several to read.
    pub mirror: Option<String>,
    /// The remote, as it is configured or given.
    pub remote: String,
    /// The mirror's own section, which may have keys of ssh.
    pub section: Option<BString>,
}

/// Returns the remotes that a reader waits for: that of `remote`, which may be any remote, else all of the repository.
/// A remote that is that of a mirror is read with the settings of the mirror.
pub fn remotes_to_read(
    mirrors: Option<&Mirrors>,
    remote: Option<&str>,
    repository: Option<&gix::Repository>,
    environment: Environment<'_>,
) -> Vec<RemoteToRead> {
    let each = mirrors.map_or(&[][..], |mirrors| &mirrors.each);
    let configured = |mirror: &Config| mirror.remote.as_ref().map(ToString::to_string);
    if remote.is_none() && each.len() > 1 {
        let to_read = |mirror: &Config| {
            Some(RemoteToRead {
                mirror: Some(mirror.name.clone()),
                remote: configured(mirror)?,
                section: mirror.section.clone(),
            })
        };
        return each.iter().filter_map(to_read).collect();
    }
    let is_named = |mirror: &&Config| remote.is_some_and(|remote| mirror.section.is_some() && mirror.name == remote);
    let named = each.iter().find(is_named);
    let first = each.first().and_then(configured);
    let given = named.and_then(configured).or_else(|| remote.map(str::to_owned));
    let found = remote_name(given, first, environment);
    let at = |remote: &String| {
        let mirrors = mirrors?;
        let place = named_place(mirrors, remote).or_else(|| at_location(mirrors, remote, repository?));
        place.map(|place| &mirrors.each[place])
    };
    let section = |remote: &String| named.or_else(|| at(remote))?.section.clone();
    let to_read = |remote: String| RemoteToRead {
        mirror: None,
        section: section(&remote),
        remote,
    };
    found.map(to_read).into_iter().collect()
}

/// Returns the place of the mirror with this name, else of the one with this configured remote.
fn named_place(mirrors: &Mirrors, remote: &str) -> Option<usize> {
    let of_remote = |mirror: &Config| mirror.remote.as_ref().is_some_and(|is| is == remote);
    let name = mirrors.names().position(|name| name == remote);
    name.or_else(|| mirrors.each.iter().position(of_remote))
}

fn at_location(mirrors: &Mirrors, remote: &str, repository: &gix::Repository) -> Option<usize> {
    // A location that is invalid is that of no mirror.
    let location = |remote: &BStr| resolve(remote, Some(repository)).ok().map(|is| is.to_string());
    let wanted = location(BStr::new(remote))?;
    mirrors.each.iter().position(|mirror| {
        let remote = mirror.remote.as_ref();
        remote.is_some_and(|remote| location(remote.as_bstr()).as_ref() == Some(&wanted))
    })
}

fn listed(mirrors: &Mirrors) -> String {
    mirrors.names().collect::<Vec<_>>().join(", ")
}
