//! Commits of a repository: those that are missing, and the large files of those that are pending. Both searches are
//! bounded, so that a large history does not hold up the other checks.
use std::collections::{HashSet, VecDeque};

use git_push::repository::promisor;
use gix::{ObjectId, objs::Kind};

use crate::{
    cli::doctor::checks::{
        history::{HistoryFacts, MissingParent},
        large_files::{GITHUB_LIMIT, LargeFile},
    },
    config::Mirrors,
    git_objects::{Additions, Error, FileChange, Leaf, Reader, differences},
    worker::Stargate,
};

/// Maximum number of commits that are read in search of missing ones.
const MAX_COMMITS: usize = 20_000;
/// Maximum number of pending commits whose files are looked at.
const MAX_PENDING: usize = 500;
/// Maximum number of changed files of one commit. Those of a commit with more are not looked at.
const MAX_FILES: usize = 200_000;

/// Reads the commits before the mirrored refs.
///
/// # Errors
/// The list of shallow commits or a commit cannot be read.
pub fn history(stargate: &Stargate, mirrors: &Mirrors) -> Result<HistoryFacts, String> {
    let repository = stargate.repository();
    let shallow: HashSet<ObjectId> = match repository.shallow_commits() {
        Ok(None) => HashSet::new(),
        Ok(Some(ends)) => ends.iter().copied().collect(),
        Err(error) => {
            return Err(format!(
                "cannot read the list of shallow commits: {}",
                git_push::causes(&error)
            ));
        }
    };
    let facts = HistoryFacts {
        shallow: shallow.len() as u64,
        promisor: promisor(repository).map(|remote| remote.to_string()),
        ..HistoryFacts::default()
    };
    // Missing objects of a partial clone are a finding of their own.
    if facts.promisor.is_some() {
        return Ok(HistoryFacts {
            reaches_shallow: true,
            ..facts
        });
    }
    let mut tips = Vec::new();
    for mirror in &mirrors.each {
        let refs = stargate.mirrored_refs(&mirror.refs);
        tips.extend(refs.known().iter().map(|(name, id)| (name.to_string(), *id)));
    }
    walked(Reader(&repository.objects), tips, &shallow, facts).map_err(|error| error.to_string())
}

/// Reads the commits that these refs reach, up to [`MAX_COMMITS`].
fn walked(
    reader: Reader<'_>,
    tips: Vec<(String, ObjectId)>,
    shallow: &HashSet<ObjectId>,
    mut facts: HistoryFacts,
) -> Result<HistoryFacts, Error> {
    let (mut seen, mut queue) = (HashSet::new(), VecDeque::new());
    for (name, id) in tips {
        // Refs whose own object is missing are reported by another check.
        if let Ok(Some(commit)) = reader.peel(id)
            && seen.insert(commit)
        {
            queue.push_back((name, commit));
        }
    }
    while let Some((name, id)) = queue.pop_front() {
        let commit = match reader.commit(id) {
            Err(Error::Missing { .. }) => {
                let parent = id.to_string();
                facts.missing = Some(MissingParent { name, parent });
                break;
            }
            commit => commit?,
        };
        if shallow.contains(&id) {
            facts.reaches_shallow = true;
        } else if seen.len() < MAX_COMMITS {
            let parents = commit.parents.into_iter().filter(|parent| seen.insert(*parent));
            queue.extend(parents.map(|parent| (name.clone(), parent)));
        } else {
            // What the other commits reach is unknown.
            facts.reaches_shallow = true;
            break;
        }
    }
    Ok(facts)
}

/// Returns the files of the commits `pending` and of those before them, up to `known` ones, that are larger than GitHub takes.
///
/// # Errors
/// An object is missing or damaged.
pub fn large_files(
    repository: &gix::Repository,
    pending: impl Iterator<Item = ObjectId>,
    known: impl Iterator<Item = ObjectId>,
) -> Result<Vec<LargeFile>, Error> {
    let reader = Reader(&repository.objects);
    let mut seen: HashSet<ObjectId> = known.collect();
    let mut queue = VecDeque::new();
    for id in pending {
        // A pending deletion has no object, and that of an older update may be gone.
        let commit = match reader.peel(id) {
            Err(Error::Missing { .. }) => None,
            commit => commit?,
        };
        queue.extend(commit.filter(|commit| seen.insert(*commit)));
    }
    let (mut large, mut looked_at) = (Vec::new(), 0);
    while let Some(id) = queue.pop_front().filter(|_| looked_at < MAX_PENDING) {
        looked_at += 1;
        let commit = reader.commit(id)?;
        let before = match commit.parents.first().map(|parent| reader.commit(*parent)) {
            None | Some(Err(Error::Missing { .. })) => None,
            Some(parent) => Some(parent?.tree),
        };
        for file in changed(reader, before, commit.tree)? {
            if let Some(file) = as_large(repository, file)
                && !large.contains(&file)
            {
                large.push(file);
            }
        }
        queue.extend(commit.parents.into_iter().filter(|parent| seen.insert(*parent)));
    }
    Ok(large)
}

fn changed(reader: Reader<'_>, old: Option<ObjectId>, new: ObjectId) -> Result<Vec<FileChange>, Error> {
    let whole = FileChange {
        path: "".into(),
        old: old.map(Leaf::tree),
        new: Some(Leaf::tree(new)),
    };
    match differences(reader, whole, Additions::Wanted, MAX_FILES) {
        Err(Error::TooMany(..)) => Ok(Vec::new()),
        changed => changed,
    }
}

/// Returns the file if it is large. An object that cannot be read is reported by another check.
fn as_large(repository: &gix::Repository, file: FileChange) -> Option<LargeFile> {
    let blob = file.new?.id;
    let header = repository.find_header(blob).ok()?;
    (header.kind() == Kind::Blob && header.size() > GITHUB_LIMIT).then(|| LargeFile {
        path: git_push::cleaned(file.path.as_ref()),
        blob: blob.to_string(),
        size: header.size(),
    })
}
