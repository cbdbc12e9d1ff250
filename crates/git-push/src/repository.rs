//! Opens a repository if its format is supported. Otherwise the error names the setting that is not.
//!
//! gix opens a repository with reftables without an error and shows no refs in it. [`open()`] therefore accepts only
//! refs that gix can read and write. [`open_any_refs`] also accepts reftables; its callers must not read or write refs
//! through gix. Git reads `core.repositoryFormatVersion` and `extensions.*` from the repository's own `config` file
//! alone (gitrepository-layout,
//! *repository format*); so does this module. The decision is a function of that file:
//!
//! | key | supported | why |
//! |---|---|---|
//! | `core.repositoryFormatVersion` | 0, 1 | git has no other |
//! | `noop`, `noop-v1` | any value | they change nothing |
//! | `preciousObjects` | any value | forbids deleting objects; nothing here deletes one |
//! | `partialClone` | any value | an absent object is reported when it is needed |
//! | `worktreeConfig` | any value | `config.worktree` is read after `config` |
//! | `relativeWorktrees` | any value | paths between work trees are resolved either way |
//! | `submodulePathConfig` | any value | submodules are never entered |
//! | `objectFormat` | `sha1`, `sha256` | |
//! | `refStorage` | `files` | |
//! | `refStorage` | `reftable` | by [`open_any_refs`] only: gix sees no refs there |
//! | `compatObjectFormat` | never | objects written here would lack their id in the other format |
//! | any other | never | |
//!
//! Git ignores an unknown extension in a repository of version 0. It is refused here, because it was set for a reason.
//!
//! This is the only place that decides on the storage format of refs by configuration: the worker, revisions and
//! remote-tracking refs of `push`, mirrors in folders, and the context repository of events go through it. The hook does not open
//! repositories with gix, for its size, and recognizes reftables by `HEAD` instead.
//!
//! # Limitations
//!
//! With reftables, gix does not see the branch of `HEAD`, so `includeIf "onbranch:…"` in git's configuration has no effect.
use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use bstr::{BStr, BString, ByteSlice};

use crate::causes;

const VERSION: &str = "core.repositoryFormatVersion";
const REF_STORAGE: &str = "extensions.refstorage";

/// The storage format of a repository's refs (git-config, `extensions.refStorage`).
///
/// Match both: a new format will come with a new major version, because callers have to read refs in another way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RefStorage {
    /// Files below `refs/`, and `packed-refs`.
    #[default]
    Files,
    /// Tables in `reftable/`.
    Reftable,
}

/// A key of a repository's format with its value, such as `extensions.refStorage = reftable`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// The full key.
    pub key: String,
    /// The value, empty if there is none.
    pub value: BString,
}

/// Errors of opening a repository.
///
/// Match both: callers choose exit codes by them, so that none will be added without a new major version.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no repository, or it cannot be read.
    #[error("cannot open the repository {}: {}", path.display(), causes(cause))]
    Unreadable {
        /// The path that was tried.
        path: PathBuf,
        /// The cause.
        cause: gix::Error,
    },
    /// Its format is not supported, so that data read from it could be wrong.
    #[error("the repository {} has {setting}, which {}", path.display(), setting.refusal())]
    NotUnderstood {
        /// The repository.
        path: PathBuf,
        /// The setting that is not supported.
        setting: Setting,
    },
}

impl Setting {
    /// Returns true if this setting is the storage format of refs.
    #[must_use]
    pub fn is_ref_storage(&self) -> bool {
        self.key.eq_ignore_ascii_case(REF_STORAGE)
    }

    /// Returns the storage format of refs that the setting names, if it is known.
    fn ref_storage(&self) -> Option<RefStorage> {
        match self.value.as_slice() {
            b"files" if self.is_ref_storage() => Some(RefStorage::Files),
            b"reftable" if self.is_ref_storage() => Some(RefStorage::Reftable),
            _ => None,
        }
    }

    /// Returns the end of the sentence "the repository has this setting, which …".
    fn refusal(&self) -> &'static str {
        if self.ref_storage().is_some() {
            "is not supported here"
        } else {
            "this version does not understand"
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.key, self.value)
    }
}

/// Opens the repository at `path`: a git directory, or the work tree around `.git`. Its refs are in files.
///
/// # Errors
/// The repository does not exist, cannot be read, has a format that is not supported, or its refs are not in files.
pub fn open(path: &Path) -> Result<gix::Repository, OpenError> {
    Ok(open_with(path, gix::open::Options::default())?.to_thread_local())
}

/// Opens the repository like [`open()`], with options of gix, for use from several threads.
///
/// # Errors
/// The errors of [`open()`].
pub fn open_with(path: &Path, options: gix::open::Options) -> Result<gix::ThreadSafeRepository, OpenError> {
    let (repository, _) = open_checked(path, options, &[RefStorage::Files])?;
    Ok(repository)
}

/// Opens the repository at `path` with its refs in any known storage format.
///
/// gix sees no refs in [`RefStorage::Reftable`]. Callers must read and write refs by other means, such as the
/// crate `git-reftable`.
///
/// # Errors
/// The repository does not exist, cannot be read, or has a format that is not supported.
pub fn open_any_refs(path: &Path) -> Result<(gix::Repository, RefStorage), OpenError> {
    open_any_refs_with(path, gix::open::Options::default())
}

/// Opens the repository like [`open_any_refs()`], with options of gix.
///
/// # Errors
/// As [`open_any_refs()`].
pub fn open_any_refs_with(
    path: &Path,
    options: gix::open::Options,
) -> Result<(gix::Repository, RefStorage), OpenError> {
    let accepted = [RefStorage::Files, RefStorage::Reftable];
    let (repository, storage) = open_checked(path, options, &accepted)?;
    Ok((repository.to_thread_local(), storage))
}

fn open_checked(
    path: &Path,
    options: gix::open::Options,
    accepted: &[RefStorage],
) -> Result<(gix::ThreadSafeRepository, RefStorage), OpenError> {
    match options.open(path) {
        Ok(repository) => {
            let storage = check(repository.refs.common_dir_resolved(), accepted)?;
            Ok((repository, storage))
        }
        Err(cause) => {
            // gix's error about the format does not name the setting.
            for folder in [path.join(".git"), path.to_owned()] {
                if folder.join("config").is_file() {
                    check(&folder, accepted)?;
                }
            }
            let path = path.to_owned();
            Err(OpenError::Unreadable { path, cause })
        }
    }
}

/// Returns the remote that promises the objects which a partial clone lacks (git's `partial-clone` documentation). `None` if
/// the repository is no partial clone.
#[must_use]
pub fn promisor(repository: &gix::Repository) -> Option<String> {
    let config = repository.config_snapshot();
    let extension = config.string("extensions.partialClone").map(|name| name.to_string());
    let sections = config.plumbing().sections_by_name("remote").into_iter().flatten();
    let mut promising = sections.filter_map(|section| {
        let name = section.header().subsection_name()?;
        let is_promising = config.boolean(format!("remote.{name}.promisor").as_str()) == Some(true);
        is_promising.then(|| name.to_string())
    });
    extension.or_else(|| promising.next())
}

/// Returns the git directory of `given`, else of `GIT_DIR`, else the one around the current directory. Does not check its
/// format.
///
/// # Errors
/// There is no repository.
pub fn locate(given: Option<&Path>) -> Result<PathBuf, OpenError> {
    let named = given
        .map(Path::to_owned)
        .or_else(|| std::env::var_os("GIT_DIR").map(PathBuf::from));
    let found = match &named {
        Some(path) => at(path),
        None => at(Path::new(".")).or_else(|_| above()),
    };
    let path = named.unwrap_or_else(|| ".".into());
    match found {
        Ok(found) => Ok(found.into_repository_and_work_tree_directories().0),
        Err(cause) => Err(OpenError::Unreadable { path, cause }),
    }
}

/// Finds the repository around the current directory, by its absolute path. From a relative one, gix 0.90 shortens the path of
/// a bare repository to the `.git` beside it, which does not exist or is another repository.
fn above() -> Result<gix::discover::repository::Path, gix::Error> {
    let current = std::env::current_dir().map_err(gix::Error::from_error)?;
    gix::discover::upwards(&current).map(|(found, _)| found)
}

/// Finds the repository at exactly this path, or in its `.git`.
fn at(path: &Path) -> Result<gix::discover::repository::Path, gix::Error> {
    use gix::discover::{is_git, repository};

    let around = path.join(".git");
    let (path, kind) = match is_git(&around) {
        Ok(kind) => (around, kind),
        Err(_) => match is_git(path) {
            Ok(kind) => (path.to_owned(), kind),
            Err(_) if !path.try_exists().unwrap_or(true) => {
                let what = format!("{path:?} does not appear to be a git repository");
                return Err(gix::Error::from_error(io::Error::other(what)));
            }
            Err(error) => return Err(error),
        },
    };
    let current = std::env::current_dir().map_err(gix::Error::from_error)?;
    let found = repository::Path::from_dot_git_dir(path, kind, &current);
    found.ok_or_else(|| gix::Error::from_error(io::Error::other("its path cannot be resolved")))
}

/// Checks the format of the repository whose `config` is in this folder, and returns the storage of its refs.
fn check(common_dir: &Path, accepted: &[RefStorage]) -> Result<RefStorage, OpenError> {
    let settings = format_settings(common_dir).map_err(|cause| OpenError::Unreadable {
        path: common_dir.to_owned(),
        cause,
    })?;
    // The last value counts, as for git.
    let storage = settings.iter().filter_map(Setting::ref_storage).next_back();
    match settings.into_iter().find(|setting| !is_supported(setting, accepted)) {
        None => Ok(storage.unwrap_or_default()),
        Some(setting) => Err(OpenError::NotUnderstood {
            path: common_dir.to_owned(),
            setting,
        }),
    }
}

/// Returns all settings of the repository's format in `config`. Like git, this follows no includes.
fn format_settings(common_dir: &Path) -> Result<Vec<Setting>, gix::Error> {
    use gix::config::{File, Source, file::Metadata};

    let path = common_dir.join("config");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(gix::Error::from_error(error)),
    };
    let file = File::from_bytes_no_includes(&text, Metadata::from(Source::Local), Default::default())?;
    let mut settings = Vec::new();
    for value in file.strings(VERSION).unwrap_or_default() {
        let key = VERSION.to_owned();
        settings.push(Setting { key, value });
    }
    for section in file.sections_by_name("extensions").into_iter().flatten() {
        let subsection = section.header().subsection_name();
        let prefix = subsection.map_or("extensions".into(), |name| format!("extensions.{name}"));
        for name in section.value_names() {
            let key = format!("{prefix}.{name}");
            let values = section.values(&name);
            let value = |value: Option<BString>| Setting {
                key: key.clone(),
                value: value.unwrap_or_default(),
            };
            if values.is_empty() {
                settings.push(value(None));
            } else {
                settings.extend(values.into_iter().map(|text| value(Some(text))));
            }
        }
    }
    Ok(settings)
}

/// Returns true if the setting selects a format that this crate reads and writes as git does, with refs in one of the
/// `accepted` storage formats.
fn is_supported(setting: &Setting, accepted: &[RefStorage]) -> bool {
    if setting.is_ref_storage() {
        return setting.ref_storage().is_some_and(|storage| accepted.contains(&storage));
    }
    let key = setting.key.to_ascii_lowercase();
    let value = setting.value.as_bstr();
    let Some(extension) = key.strip_prefix("extensions.") else {
        return [BStr::new("0"), BStr::new("1")].contains(&value);
    };
    match extension {
        "noop" | "noop-v1" | "preciousobjects" | "partialclone" => true,
        "worktreeconfig" | "relativeworktrees" | "submodulepathconfig" => true,
        "objectformat" => value == "sha1" || value == "sha256",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: &str) -> Vec<String> {
        refused_with(config, &[RefStorage::Files])
    }

    fn refused_with(config: &str, accepted: &[RefStorage]) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config"), config).expect("a file");
        let settings = format_settings(folder.path()).expect("git configuration");
        let refused = settings.iter().filter(|setting| !is_supported(setting, accepted));
        refused.map(ToString::to_string).collect()
    }

    #[test]
    fn what_git_knows_and_reading_needs_not_care_about_is_supported() {
        let config = "[core]\nrepositoryformatversion = 1\n[extensions]\nnoop = true\nnoop-v1\nPreciousObjects = true\n\
                      partialClone = origin\nworktreeConfig = true\nobjectFormat = sha256\nrefStorage = files\n\
                      relativeWorktrees = true\nsubmodulePathConfig = true\n";
        assert_eq!(refused(config), [""; 0]);
        assert_eq!(refused(""), [""; 0]);
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_value() {
        for (config, expected) in [
            (
                "[extensions]\nrefStorage = reftable\n",
                "extensions.refStorage = reftable",
            ),
            (
                "[extensions]\nrefstorage = files://x\n",
                "extensions.refstorage = files://x",
            ),
            ("[extensions]\nobjectFormat = sha3\n", "extensions.objectFormat = sha3"),
            (
                "[extensions]\ncompatObjectFormat = sha1\n",
                "extensions.compatObjectFormat = sha1",
            ),
            ("[extensions]\nmadeUp\n", "extensions.madeUp = "),
            ("[extensions \"noop\"]\nnoop = 1\n", "extensions.noop.noop = 1"),
            (
                "[core]\nrepositoryFormatVersion = 2\n",
                "core.repositoryFormatVersion = 2",
            ),
            (
                "[core]\nrepositoryFormatVersion = x\n",
                "core.repositoryFormatVersion = x",
            ),
        ] {
            assert_eq!(refused(config), [expected], "{config}");
        }
    }

    #[test]
    fn of_a_key_that_is_set_twice_every_value_counts() {
        let config = "[extensions]\nrefStorage = reftable\n[extensions]\nrefStorage = files\n";
        assert_eq!(refused(config), ["extensions.refStorage = reftable"]);
    }

    #[test]
    fn reftables_are_accepted_where_they_are_asked_for_and_the_last_value_counts() {
        let any = [RefStorage::Files, RefStorage::Reftable];
        let folder = tempfile::tempdir().expect("a folder");
        for (config, expected) in [
            ("", RefStorage::Files),
            ("[extensions]\nrefStorage = files\n", RefStorage::Files),
            ("[extensions]\nrefstorage = reftable\n", RefStorage::Reftable),
            (
                "[extensions]\nrefStorage = reftable\nrefStorage = files\n",
                RefStorage::Files,
            ),
        ] {
            std::fs::write(folder.path().join("config"), config).expect("a file");
            assert_eq!(check(folder.path(), &any).expect("understood"), expected, "{config}");
        }
        for value in ["Reftable", "reftable://elsewhere", ""] {
            let config = format!("[extensions]\nrefStorage = {value}\n");
            let expected = format!("extensions.refStorage = {value}");
            assert_eq!(refused_with(&config, &any), [expected]);
        }
    }
}
