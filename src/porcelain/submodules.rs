//! Commits of submodules that a push refers to (git-push, *--recurse-submodules*).
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use bstr::{BStr, BString, ByteSlice};
use git_push::refspec::LocalRefs;
use gix::{ObjectId, Repository};

use super::{driver::Next, error::PushError, report::RefReport, run::Options, settings::GitSettings};
use crate::local_repository::{AllRefs, LocalRepository};

/// Variables that name the repository, and must not name it for a submodule.
const OF_A_REPOSITORY: [&str; 8] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
    "GIT_CONFIG_PARAMETERS",
];

/// Rule for commits of submodules that no remote of theirs is known to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recurse {
    /// They are not looked at.
    No,
    /// They stop the push.
    Check,
    /// They are pushed first.
    OnDemand,
    /// Only they are pushed.
    Only,
    /// As configuration says, but `Only` is `OnDemand`: for submodules of a push.
    OnlyIsOnDemand,
}

/// Returns the rule of `push.recurseSubmodules`, else of `submodule.recurse`.
fn configured(settings: &GitSettings<'_>) -> Result<Recurse, PushError> {
    let Some(value) = settings.text("push.recurseSubmodules") else {
        let recurse = settings.boolean("submodule.recurse")? == Some(true);
        return Ok(if recurse { Recurse::OnDemand } else { Recurse::No });
    };
    match value.as_slice() {
        b"check" => Ok(Recurse::Check),
        b"on-demand" => Ok(Recurse::OnDemand),
        b"only" => Ok(Recurse::Only),
        _ if settings
            .boolean("push.recurseSubmodules")
            .is_ok_and(|value| value == Some(false)) =>
        {
            Ok(Recurse::No)
        }
        _ => Err(PushError::Fatal(format!(
            "bad push.recursesubmodules argument: {value}"
        ))),
    }
}

/// Returns the rule for an option, if there is one, else the configured one.
pub(super) fn chosen(option: Option<Recurse>, settings: &GitSettings<'_>) -> Result<Recurse, PushError> {
    match option {
        None => configured(settings),
        Some(Recurse::OnlyIsOnDemand) => Ok(match configured(settings)? {
            Recurse::Only => Recurse::OnDemand,
            other => other,
        }),
        Some(recurse) => Ok(recurse),
    }
}

/// Looks for commits of submodules that no remote is known to have, and pushes them first if `recurse` says so.
///
/// # Errors
/// There are some, and they are not pushed.
pub(super) fn check(
    local: &LocalRepository,
    remote: &BStr,
    options: &Options,
    recurse: Recurse,
    refs: &[RefReport],
    says: &dyn Fn(&str),
) -> Result<Next, PushError> {
    let next = if recurse == Recurse::Only {
        Next::Stop
    } else {
        Next::Send
    };
    let Some(top) = local.repository().workdir().filter(|_| recurse != Recurse::No) else {
        return Ok(next);
    };
    let tips: Vec<_> = refs
        .iter()
        .map(|report| report.new)
        .filter(|id| !id.is_null())
        .collect();
    let is_known = local
        .repository()
        .remote_names()
        .iter()
        .any(|name| name.as_bstr() == remote);
    if recurse != Recurse::Check {
        let paths = unpushed(local, remote, &tips)?;
        for path in paths.iter().filter(|_| is_known) {
            check_sources(local, &folder_of(top, path), path.as_bstr(), &options.refspecs)?;
        }
        for path in &paths {
            push(
                &folder_of(top, path),
                path.as_bstr(),
                is_known.then_some(remote),
                options,
                says,
            )?;
        }
    }
    if recurse == Recurse::Check || !options.dry_run {
        let left = unpushed(local, remote, &tips)?;
        if !left.is_empty() {
            return Err(PushError::Submodules(advice(&left)));
        }
    }
    Ok(next)
}

fn folder_of(top: &Path, path: &BString) -> PathBuf {
    top.join(gix::path::from_bstr(path.as_bstr()).unwrap_or_default())
}

/// Fails if a refspec cannot be used in a submodule: its source must be one ref there, or HEAD with the same branch.
fn check_sources(local: &LocalRepository, folder: &Path, path: &BStr, refspecs: &[BString]) -> Result<(), PushError> {
    let AllRefs { ids, symbolic } = LocalRepository::open(folder)?.all_refs()?;
    let head = |refs: &BTreeMap<BString, BString>| refs.get(b"HEAD".as_bstr()).cloned();
    let here = local.all_refs()?.symbolic;
    let there = LocalRefs {
        null: local.repository().object_hash().null(),
        object: &|_| None,
        ids,
        symbolic,
    };
    for text in refspecs {
        let plain = text.strip_prefix(b"+").unwrap_or(text);
        let source = plain.split_once_str(":").map_or(plain, |(source, _)| source).as_bstr();
        let is_plain = !source.is_empty() && !source.contains(&b'*') && !text.starts_with(b"^");
        let is_head = || source == "HEAD" && head(&there.symbolic) == head(&here);
        if is_plain && there.only(source).is_none() && !is_head() {
            let what = format!("src refspec '{source}' must name a ref\nUnable to push submodule '{path}'");
            return Err(PushError::Submodules(what));
        }
    }
    Ok(())
}

fn advice(paths: &BTreeSet<BString>) -> String {
    let paths: String = paths.iter().map(|path| format!("  {path}\n")).collect();
    format!(
        "The following submodule paths contain changes that can\nnot be found on any remote:\n{paths}\n\
         Please try\n\n\tgit push --recurse-submodules=on-demand\n\n\
         or cd to the path and use\n\n\tgit push\n\nto push them to a remote.\n"
    )
}

/// Pushes the submodule in this folder by this program. Without a configured remote of that name, its default remote is used.
fn push(
    folder: &Path,
    path: &BStr,
    remote: Option<&BStr>,
    options: &Options,
    says: &dyn Fn(&str),
) -> Result<(), PushError> {
    says(&format!("Pushing submodule '{path}'"));
    let failed = || PushError::Submodules(format!("Unable to push submodule '{path}'"));
    let program = std::env::current_exe().map_err(|_| failed())?;
    let mut command = Command::new(program);
    command
        .args(["push", "--recurse-submodules=only-is-on-demand"])
        .current_dir(folder);
    if options.dry_run {
        command.arg("--dry-run");
    }
    if let Some(program) = &options.receive_pack {
        command.arg("--receive-pack").arg(program);
    }
    for option in &options.push_options {
        command.arg("--push-option").arg(option.to_os_str_lossy());
    }
    if let Some(remote) = remote {
        let names = std::iter::once(remote).chain(options.refspecs.iter().map(|text| text.as_bstr()));
        command.args(names.map(|text| text.to_os_str_lossy().into_owned()));
    }
    for variable in OF_A_REPOSITORY {
        command.env_remove(variable);
    }
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(failed()),
    }
}

/// Returns the paths of the submodules whose commits, named by the pushed history, no remote of theirs is known to have.
fn unpushed(local: &LocalRepository, remote: &BStr, tips: &[ObjectId]) -> Result<BTreeSet<BString>, PushError> {
    let repository = local.repository();
    let unreadable = |error: gix::Error| PushError::Objects(git_push::causes(&error));
    let prefix = [b"refs/remotes/", remote.as_bytes(), b"/"].concat();
    let known = local.all_refs()?.ids;
    let known = known
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix))
        .map(|(_, id)| *id);
    let mut links = BTreeMap::<BString, BTreeSet<ObjectId>>::new();
    let known: BTreeSet<_> = known.collect();
    let new = tips.iter().copied().filter(|tip| !known.contains(tip));
    let walk = repository.rev_walk(new).with_hidden(known.iter().copied()).all();
    for commit in walk.map_err(unreadable)? {
        let commit = commit.map_err(unreadable)?;
        let tree = |id: ObjectId| Ok(repository.find_commit(id)?.tree_id()?.detach());
        let parents = commit
            .parent_ids
            .iter()
            .map(|id| tree(*id))
            .collect::<Result<Vec<_>, _>>();
        let parents = parents.map_err(unreadable)?;
        let new = tree(commit.id).map_err(unreadable)?;
        changed(repository, &parents, new, b"".as_bstr(), &mut links).map_err(unreadable)?;
    }
    let Some(top) = repository.workdir() else {
        return Ok(BTreeSet::new());
    };
    let mut paths = BTreeSet::new();
    for (path, ids) in links {
        if is_unpushed(&folder_of(top, &path), path.as_bstr(), &ids)? {
            paths.insert(path);
        }
    }
    Ok(paths)
}

/// Collects the links to commits in a tree that differ from those in all trees of the parents.
fn changed(
    repository: &Repository,
    parents: &[ObjectId],
    new: ObjectId,
    prefix: &BStr,
    links: &mut BTreeMap<BString, BTreeSet<ObjectId>>,
) -> Result<(), gix::Error> {
    if parents.contains(&new) {
        return Ok(());
    }
    let mut before = Vec::new();
    for parent in parents {
        let tree = repository.find_tree(*parent)?;
        let decoded = tree.decode()?;
        let entries = decoded.entries.iter();
        let entries = entries.map(|entry| (entry.filename.to_owned(), entry.oid.to_owned()));
        before.push(entries.collect::<BTreeMap<BString, ObjectId>>());
    }
    let tree = repository.find_tree(new)?;
    for entry in &tree.decode()?.entries {
        let (id, name) = (entry.oid.to_owned(), entry.filename);
        let mut older = before.iter().filter_map(|entries| entries.get(name).copied());
        let path: BString = [prefix.as_bytes(), name.as_bytes()].concat().into();
        if entry.mode.is_commit() && !older.any(|older| older == id) {
            links.entry(path).or_default().insert(id);
        } else if entry.mode.is_tree() {
            let older: Vec<_> = older.filter(|id| is_tree(repository, *id)).collect();
            let below = [&path[..], b"/"].concat();
            changed(repository, &older, id, below.as_bstr(), links)?;
        }
    }
    Ok(())
}

fn is_tree(repository: &Repository, id: ObjectId) -> bool {
    matches!(repository.try_find_header(id), Ok(Some(header)) if header.kind() == gix::objs::Kind::Tree)
}

/// Returns true if the submodule in this folder has a remote, and one of these commits that none of its remotes is known to
/// have. A folder without a repository, or without these commits, has nothing to push.
fn is_unpushed(folder: &Path, path: &BStr, ids: &BTreeSet<ObjectId>) -> Result<bool, PushError> {
    let git_dir: PathBuf = folder.join(".git");
    if !git_dir.exists() {
        return Ok(false);
    }
    let local = LocalRepository::open(folder)?;
    let repository = local.repository();
    let refs = local.all_refs()?.ids;
    let known: Vec<_> = refs
        .iter()
        .filter(|(name, _)| name.starts_with(b"refs/remotes/"))
        .map(|(_, id)| *id)
        .collect();
    for id in ids {
        let kind = repository.try_find_header(*id);
        let kind = kind.map_err(|error| PushError::Objects(git_push::causes(&error)))?;
        if let Some(kind) = kind
            .map(|header| header.kind())
            .filter(|kind| *kind != gix::objs::Kind::Commit)
        {
            let what = format!("submodule entry '{path}' ({id}) is a {kind}, not a commit");
            return Err(PushError::Submodules(what));
        }
    }
    if known.is_empty() || !ids.iter().all(|id| repository.has_object(*id)) {
        return Ok(false);
    }
    for id in ids {
        let mut is_known = false;
        for tip in &known {
            is_known = is_known || git_push::fast_forward(repository, *id, *tip)?;
        }
        if !is_known {
            return Ok(true);
        }
    }
    Ok(false)
}
