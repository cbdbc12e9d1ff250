//! Refs in reftables, as one work tree sees them (git-worktree, *Refs*).
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
    shared: Refs,
    /// The tables of a linked work tree.
    own: Option<Refs>,
}

impl TableRefs {
    pub(super) fn new(repository: &Repository) -> Self {
        let tables = |folder| Refs::in_tables(folder, repository.object_hash());
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
            add(&mut all, self.shared.list(&not_own.expect("the patterns are valid")))?;
            add(&mut all, own.list(&patterns_of(own_patterns)))?;
        } else {
            add(&mut all, self.shared.list(&RefPatterns::everything()))?;
        }
        let (head, end) = self.follow("HEAD".into());
        known(head)?;
        if end != "HEAD" {
            all.symbolic.insert("HEAD".into(), end);
        }
        Ok(all)
    }

    /// Reads a ref, and also returns the name of the ref that holds its id.
    fn follow(&self, name: &BStr) -> (LocalRef, BString) {
        let first = self.tables_of(name);
        let (read, end) = first.follow(name);
        let next = self.tables_of(end.as_ref());
        // The `HEAD` of a work tree leads to a branch that all of them share.
        if std::ptr::eq(first, next) {
            (read, end)
        } else {
            next.follow(end.as_ref())
        }
    }

    fn tables_of(&self, name: &BStr) -> &Refs {
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
