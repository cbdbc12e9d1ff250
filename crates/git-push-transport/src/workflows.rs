//! Changes of GitHub's workflow files by a push. GitHub accepts them only with a permission of their own.
use git_push::{Advertisement, Command};
use gix::ObjectId;

/// The folder of workflow files.
const FOLDER: [&str; 2] = [".github", "workflows"];

/// Limit of commits that are looked at. A push with more of them counts as one that changes workflow files.
const MAX_COMMITS: usize = 10_000;

/// Returns true if a commit that the push adds to the remote changes a workflow file, or if that cannot be found out.
pub(crate) fn are_changed(repository: &gix::Repository, advertisement: &Advertisement, commands: &[Command]) -> bool {
    let new = commands.iter().filter(|command| !command.is_delete());
    let tips = commits_of(repository, new.map(|command| command.new));
    let there = advertisement.refs.values().chain(&advertisement.haves);
    let there = commits_of(repository, there.copied());
    let changed = tips.and_then(|tips| any_changes(repository, tips, there?));
    changed.unwrap_or(true)
}

/// Returns the commits that these ids lead to, without ids that are missing here, or lead to none.
fn commits_of(repository: &gix::Repository, ids: impl Iterator<Item = ObjectId>) -> Result<Vec<ObjectId>, gix::Error> {
    let mut commits = Vec::new();
    for id in ids {
        if let Some(object) = repository.try_find_object(id)?
            && let Ok(commit) = object.peel_to_commit()
        {
            commits.push(commit.id);
        }
    }
    Ok(commits)
}

fn any_changes(repository: &gix::Repository, tips: Vec<ObjectId>, there: Vec<ObjectId>) -> Result<bool, gix::Error> {
    let walk = repository.rev_walk(tips).with_hidden(there).all()?;
    for (number, commit) in walk.enumerate() {
        let commit = commit?;
        if number == MAX_COMMITS {
            return Ok(true);
        }
        let own = folder_of(repository, commit.id)?;
        let mut is_inherited = commit.parent_ids.is_empty() && own.is_none();
        for parent in &commit.parent_ids {
            is_inherited |= folder_of(repository, *parent)? == own;
        }
        if !is_inherited {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the id of the folder in the tree of a commit.
fn folder_of(repository: &gix::Repository, commit: ObjectId) -> Result<Option<ObjectId>, gix::Error> {
    let tree = repository.find_commit(commit)?.tree()?;
    let entry = tree.lookup_entry(FOLDER.map(str::as_bytes))?;
    Ok(entry.map(|entry| entry.object_id()))
}

#[cfg(test)]
mod tests {
    use gix::objs::{Tree, tree};

    use super::*;

    fn tree_of(repository: &gix::Repository, name: &str, content: ObjectId, is_folder: bool) -> ObjectId {
        let kind = if is_folder {
            tree::EntryKind::Tree
        } else {
            tree::EntryKind::Blob
        };
        let entries = vec![tree::Entry {
            mode: kind.into(),
            filename: name.into(),
            oid: content,
        }];
        repository.write_object(Tree { entries }).expect("a tree").detach()
    }

    fn commit(repository: &gix::Repository, tree: ObjectId, parents: &[ObjectId]) -> ObjectId {
        let who = gix::actor::SignatureRef {
            name: "A".into(),
            email: "a@example.com".into(),
            time: "1 +0000",
        };
        let made = repository.new_commit_as(who, who, "message", tree, parents.to_vec());
        made.expect("a commit").id
    }

    #[test]
    fn only_new_commits_that_change_workflow_files_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = gix::init_bare(folder.path()).expect("a repository");
        let blob = |text: &str| repository.write_blob(text).expect("a blob").detach();
        let plain = |text: &str| tree_of(&repository, "file", blob(text), false);
        let with_workflow = |text: &str| {
            let workflows = tree_of(&repository, "ci.yml", blob(text), false);
            let github = tree_of(&repository, "workflows", workflows, true);
            tree_of(&repository, ".github", github, true)
        };
        let first = commit(&repository, plain("1"), &[]);
        let second = commit(&repository, plain("2"), &[first]);
        let added = commit(&repository, with_workflow("ci"), &[second]);
        let removed = commit(&repository, plain("3"), &[added]);
        let merged = commit(&repository, with_workflow("ci"), &[removed, added]);
        let changed = |there: &[ObjectId], new: ObjectId| {
            let names = there
                .iter()
                .enumerate()
                .map(|(number, id)| (format!("refs/heads/{number}").into(), *id));
            let advertisement = Advertisement {
                refs: names.collect(),
                ..Advertisement::default()
            };
            let command = Command::create("refs/heads/main", new);
            are_changed(&repository, &advertisement, &[command])
        };
        assert!(!changed(&[], first) && !changed(&[], second) && !changed(&[first], second));
        assert!(changed(&[first], added) && changed(&[], added));
        assert!(changed(&[first], removed), "a commit on the way");
        assert!(!changed(&[added], added));
        assert!(changed(&[added], removed));
        assert!(
            !changed(&[added, removed], merged),
            "a merge that takes one side as it is"
        );
        let unknown = gix::ObjectId::from_hex(&[b'a'; 40]).expect("an id");
        assert!(!changed(&[unknown], second), "what is missing here does not matter");
    }
}
