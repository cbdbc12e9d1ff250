//! Creating a context repository, and recognising one.
use std::{fs, io, path::Path};

use bstr::{BStr, ByteSlice};
use durable::storage::Storage;
use git_push::{
    causes,
    repository::{self, OpenError},
};
use git_push_transport::redacted;
use gix::{
    ObjectId,
    objs::{Kind, tree::EntryKind},
};
use jiff::Timestamp;

use super::{Options, lock_file, refused};
use crate::object_store::{
    Error,
    branch::Branch,
    commit_object::commit_object,
    git_files,
    new_pack::NewPack,
    objects::Objects,
    store_pack,
    tree_buffer::Leaf,
    tree_cache::{SetError, Trees, file_of},
    work_tree::WorkTree,
};

/// File that identifies a context repository.
pub const MANIFEST: &str = ".crp/manifest.json";

/// Version of the repository layout that this program writes and reads.
const VERSION: &str = "0.1";
const MESSAGE: &str = "Context repository\n";
const POLICY: &str = "{\n  \"members\": [],\n  \"permissions\": {}\n}\n";
/// Workflow of the append-only guard.
const WORKFLOW: &str = ".github/workflows/append-only.yml";
/// Example of the workflow, after a line of instructions.
const EXAMPLE: &str = include_str!("../../../examples/append-only.yml");
/// The action that the example names.
pub const GUARD: &str = "OWNER/stargate-mirror@v0.1.0";
const README: &str = "\
# Context repository

One file per event: `events/<feed>/<day>/<event>.json`, the day in UTC. `stargate-mirror events run` writes them.

Files below `events/` are only added. A correction is a new event that refers to the old one. Do not change, move or
delete an event: that breaks the history that others rely on, and stops the mirror.

| | |
|---|---|
| `events/` | the events |
| `snapshots/` | data derived from them |
| `policy/policy.json` | who may do what |
| `.crp/manifest.json` | what this repository is |
| `.crp/lock.json` | which instance is at work; advisory |
";

/// Returns true if a repository can be created at `path`; refuses a path that holds anything but a repository.
pub fn is_free(path: &Path) -> Result<bool, Error> {
    let mut entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(Error::refused(format!("{} is a file, not a folder", path.display())));
        }
        entries => entries.map_err(|error| Error::failed("read", path, error))?,
    };
    if entries.next().is_none() {
        return Ok(true);
    }
    match repository::open(path) {
        // An unsupported repository is refused later, when it is opened, with the reason.
        Ok(_) | Err(OpenError::NotUnderstood { .. }) => Ok(false),
        Err(OpenError::Unreadable { .. }) => Err(Error::refused(format!(
            "{} is neither empty nor a context repository",
            path.display()
        ))
        .with_hint("give the path of a new or empty folder")),
    }
}

/// Creates a context repository in a temporary folder beside `path`, then moves it there as a whole.
pub fn make(storage: &impl Storage, path: &Path, options: &Options, now: Timestamp) -> Result<(), Error> {
    let path = std::path::absolute(path).map_err(|error| Error::failed("find", path, error))?;
    let parent = path.parent().unwrap_or(&path);
    let failed = |error: io::Error| Error::failed("create a context repository at", &path, error);
    fs::create_dir_all(parent).map_err(failed)?;
    let new = tempfile::Builder::new()
        .prefix(".new-context-")
        .tempdir_in(parent)
        .map_err(failed)?;
    fill(storage, new.path(), options, now)?;
    // An empty folder at the target is removed.
    match fs::remove_dir(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    readable(new.path()).map_err(failed)?;
    storage.rename(new.path(), &path).map_err(failed)?;
    // The temporary folder has been renamed: there is nothing to delete.
    let _ = new.keep();
    storage.sync_dir(parent).map_err(failed)
}

/// Refuses a commit whose tree is not a context repository of a known version.
pub fn check_manifest(objects: Objects<'_>, commit: ObjectId) -> Result<(), Error> {
    let folder = objects.0.git_dir().display();
    let Some(manifest) = file_of(objects, commit, MANIFEST)? else {
        return Err(
            Error::refused(format!("{folder} is not a context repository: {MANIFEST} is missing"))
                .with_hint("run `stargate-mirror events init` with the path of a new or empty folder"),
        );
    };
    let manifest: Option<serde_json::Value> = serde_json::from_slice(&manifest).ok();
    match manifest.as_ref().and_then(|manifest| manifest["version"].as_str()) {
        Some(VERSION) => Ok(()),
        Some(other) => Err(Error::refused(format!(
            "the context repository {folder} has version {other:?}, not {VERSION}"
        ))
        .with_hint("use a version of stargate-mirror that supports it")),
        None => Err(Error::refused(format!("{MANIFEST} of {folder} has no version"))),
    }
}

/// Returns the configuration at `path` with the remote `origin` set to `url`, without its secrets; `None` if it is set already.
pub fn with_origin(path: &Path, url: &str) -> Result<Option<Vec<u8>>, Error> {
    let parsed = gix::url::parse(BStr::new(url)).map_err(|_| Error::refused("the URL of the remote is invalid"))?;
    let url = redacted(&parsed).to_bstring();
    let failed = |why: String| Error::failed("set the remote origin in", path, why);
    let text = fs::read(path).map_err(|error| failed(error.to_string()))?;
    let mut config = gix::config::File::from_bytes_no_includes(
        &text,
        gix::config::file::Metadata::from(gix::config::Source::Local),
        gix::config::file::init::Options::default(),
    )
    .map_err(|error| failed(error.to_string()))?;
    if config.string("remote.origin.url").is_some_and(|known| *known == url) {
        return Ok(None);
    }
    let set = |config: &mut gix::config::File, key: &str, value: &BStr| {
        let done = config.set_raw_value_by("remote", Some(BStr::new("origin")), key, value);
        done.map(drop).map_err(|error| failed(error.to_string()))
    };
    set(&mut config, "url", url.as_ref())?;
    if config.string("remote.origin.fetch").is_none() {
        set(&mut config, "fetch", BStr::new("+refs/heads/*:refs/remotes/origin/*"))?;
    }
    Ok(Some(config.to_bstring().into()))
}

fn fill(storage: &impl Storage, folder: &Path, options: &Options, now: Timestamp) -> Result<(), Error> {
    let made = if options.bare {
        gix::init_bare(folder)
    } else {
        gix::init(folder)
    };
    let failed = |why: String| Error::failed("create a repository in", folder, why);
    let repository = made.map_err(|error| failed(causes(&error)))?;
    let branch = Branch {
        repository: &repository,
        name: &options.branch,
    };
    if gix::validate::reference::name(branch.full_name().as_bytes().as_bstr()).is_err() {
        return Err(Error::refused(format!(
            "{:?} is not a valid branch name",
            options.branch
        )));
    }
    let head = repository.git_dir().join("HEAD");
    git_files::overwrite(storage, &head, format!("ref: {}\n", branch.full_name()).as_bytes())
        .map_err(|error| failed(error.to_string()))?;
    if !options.bare {
        let exclude = repository.git_dir().join("info/exclude");
        let ignored = format!("/{}\n/.crp/refused-*.ndjson\n", refused::FILE);
        let there = match fs::read(&exclude) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read,
        };
        there
            .and_then(|there| {
                fs::create_dir_all(repository.git_dir().join("info"))?;
                fs::write(&exclude, [there, ignored.into_bytes()].concat())
            })
            .map_err(|error| failed(error.to_string()))?;
    }
    let mut pack = NewPack::new(repository.object_hash());
    let tree = tree(Objects(&repository), &mut pack, options, now)?;
    let commit = commit_object(&repository, options.author.as_ref(), tree, &[], MESSAGE, now)?;
    let commit = pack
        .add(Kind::Commit, &commit)
        .map_err(|error| failed(error.to_string()))?;
    let finished = pack.finish().map_err(|error| failed(error.to_string()))?;
    store_pack(storage, repository.objects.store_ref().path(), &finished)?;
    match repository.workdir() {
        Some(folder) => WorkTree {
            storage,
            folder,
            branch,
            unguarded: lock_file::PATH,
        }
        .advance(None, commit),
        None => branch.advance(storage, None, commit),
    }
}

fn tree(objects: Objects<'_>, pack: &mut NewPack, options: &Options, now: Timestamp) -> Result<ObjectId, Error> {
    let failed = |why: &dyn std::fmt::Display| Error::failed("create a repository in", objects.0.git_dir(), why);
    let manifest = format!("{{\n  \"version\": \"{VERSION}\",\n  \"created_at\": \"{now:.3}\"\n}}\n");
    let files = [
        ("README.md", README),
        ("events/.gitkeep", ""),
        ("snapshots/.gitkeep", ""),
        ("policy/policy.json", POLICY),
        (MANIFEST, manifest.as_str()),
    ];
    let mut trees = Trees::default();
    let mut edit = trees.edit(objects, None);
    let workflow = options.guard.as_ref().map(|action| workflow(action, &options.branch));
    let workflow = workflow.as_deref().map(|workflow| (WORKFLOW, workflow));
    for (path, content) in files.into_iter().chain(workflow) {
        let id = pack
            .add(Kind::Blob, content.as_bytes())
            .map_err(|error| failed(&error))?;
        let kind = EntryKind::Blob;
        edit.set(BStr::new(path), Leaf { kind, id })
            .map_err(SetError::into_error)?;
    }
    edit.write(pack).map_err(|error| failed(&error))
}

/// Returns the workflow that runs `action` for pull requests, and for pushes to `branch`.
fn workflow(action: &str, branch: &str) -> String {
    let (_, example) = EXAMPLE.split_once('\n').unwrap_or(("", EXAMPLE));
    // A JSON string is valid in YAML.
    let branches = serde_json::json!([branch]).to_string();
    example.replace(GUARD, action).replace("[main]", &branches)
}

/// Makes the repository readable for others. A temporary folder is private to its owner.
#[cfg(unix)]
fn readable(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(durable::storage::DIRECTORY_MODE))
}

#[cfg(not(unix))]
fn readable(_folder: &Path) -> io::Result<()> {
    Ok(())
}
