//! Refs in reftables, as one work tree sees them (git-worktree, *Refs*).
use std::path::{Path, PathBuf};

use bstr::{BStr, BString};
use gix::{ObjectId, Repository};

use super::AllRefs;
use crate::{
    ref_pattern::RefPatterns,
    refs::{LocalRef, LocalRefs, Refs, Unreadable},
};

/// Prefixes of refs that belong to a single work tree, as `HEAD` does.
const OF_A_WORK_TREE: [&str; 3] = ["refs/bisect/", "refs/rewritten/", "refs/worktree/"];

/// Refs in reftables.
#[derive(Debug)]
pub(super) struct TableRefs {
    shared: Stack,
    /// The tables of a linked work tree.
    own: Option<Stack>,
}

/// Tables with their git directory.
#[derive(Debug)]
struct Stack {
    git_dir: PathBuf,
    refs: Refs,
}

impl TableRefs {
    pub(super) fn new(repository: &Repository) -> Self {
        let tables = |folder: &Path| Stack {
            git_dir: folder.to_owned(),
            refs: Refs::in_tables(folder, repository.object_hash()),
        };
        let (git_dir, common_dir) = (repository.git_dir(), repository.common_dir());
        TableRefs {
            shared: tables(common_dir),
            own: (git_dir != common_dir).then(|| tables(git_dir)),
        }
    }

    /// Reads the ref with this full name.
    pub(super) fn find(&self, name: &BStr) -> Result<Option<ObjectId>, Unreadable> {
        known(self.follow(name).0)
    }

    /// Reads all refs, and `HEAD`.
    pub(super) fn all(&self) -> Result<AllRefs, Unreadable> {
        let mut all = AllRefs::default();
        let own_patterns = OF_A_WORK_TREE.map(|prefix| format!("{prefix}*"));
        if let Some(own) = &self.own {
            let not_own = RefPatterns::everything().without(&own_patterns);
            add(
                &mut all,
                self.shared.refs.list(&not_own.expect("the patterns are valid")),
            )?;
            add(&mut all, own.refs.list(&patterns_of(own_patterns)))?;
        } else {
            add(&mut all, self.shared.refs.list(&RefPatterns::everything()))?;
        }
        let (head, end) = self.follow("HEAD".into());
        known(head)?;
        if end != "HEAD" {
            all.symbolic.insert("HEAD".into(), end);
        }
        Ok(all)
    }

    /// Returns the git directory whose tables have the ref that `name` leads to, and the name of that ref.
    pub(super) fn place(&self, name: &BStr) -> (&Path, BString) {
        let (_, end) = self.follow(name);
        (&self.tables_of(end.as_ref()).git_dir, end)
    }

    /// Reads a ref, and also returns the name of the ref that holds its id.
    fn follow(&self, name: &BStr) -> (LocalRef, BString) {
        let first = self.tables_of(name);
        let (read, end) = first.refs.follow(name);
        let next = self.tables_of(end.as_ref());
        // The `HEAD` of a work tree leads to a branch that all of them share.
        if std::ptr::eq(first, next) {
            (read, end)
        } else {
            next.refs.follow(end.as_ref())
        }
    }

    fn tables_of(&self, name: &BStr) -> &Stack {
        let of_a_work_tree =
            !name.starts_with(b"refs/") || OF_A_WORK_TREE.iter().any(|prefix| name.starts_with(prefix.as_bytes()));
        self.own.as_ref().filter(|_| of_a_work_tree).unwrap_or(&self.shared)
    }
}

fn patterns_of(patterns: impl IntoIterator<Item = String>) -> RefPatterns {
    RefPatterns::new(patterns).expect("each one starts with refs/ and has one star")
}

fn known(read: LocalRef) -> Result<Option<ObjectId>, Unreadable> {
    match read {
        LocalRef::Id(id) => Ok(Some(id)),
        LocalRef::Absent => Ok(None),
        LocalRef::Unreadable(unreadable) => Err(unreadable),
    }
}

fn add(all: &mut AllRefs, listed: LocalRefs) -> Result<(), Unreadable> {
    if let Some((_, unreadable)) = listed.unreadable().next() {
        return Err(unreadable.clone());
    }
    let (ids, symbolic) = listed.into_parts();
    all.ids.extend(ids);
    all.symbolic.extend(symbolic);
    Ok(())
}
