//! Temporary commits of a push in parts: each has a run of the objects of a commit that is too large for one part.
use bstr::BString;
use gix::{ObjectId, objs::Kind, objs::tree};

use super::{
    Error,
    list::{List, Listed},
    objects::Objects,
    sizes::SizedObject,
};

/// Upper bound of the bytes that an object adds to the tree of a temporary commit.
pub(super) const ENTRY: u64 = 64;

/// A temporary commit, in a repository that has it in memory.
pub(super) struct Filler {
    pub(super) id: ObjectId,
    pub(super) list: List,
    pub(super) repository: gix::Repository,
}

/// Makes the temporary commit whose tree has these objects. It follows from their ids, and is not written to the disk.
///
/// # Errors
/// [`ErrorKind::Broken`](super::ErrorKind::Broken) when the objects cannot be made.
pub(super) fn fill(repository: &gix::Repository, objects: &[SizedObject]) -> Result<Filler, Error> {
    let memory = repository.clone().with_object_memory();
    let failed = |error: gix::Error| Objects::new(repository).damaged(objects[0].id, &error);
    let tree = memory.write_object(tree_of(objects)).map_err(failed)?.detach();
    let id = memory.write_object(commit_of(tree)).map_err(failed)?.detach();
    let listed = |id| Listed { id, base: None };
    let ids = [id, tree].into_iter().chain(objects.iter().map(|object| object.id));
    let list = List {
        objects: ids.map(listed).collect(),
        remote: Vec::new(),
    };
    Ok(Filler {
        id,
        list,
        repository: memory,
    })
}

/// Returns a tree in which objects are named by their ids.
fn tree_of(objects: &[SizedObject]) -> gix::objs::Tree {
    let entry = |object: &SizedObject| tree::Entry {
        mode: if object.kind == Kind::Tree {
            tree::EntryKind::Tree.into()
        } else {
            tree::EntryKind::Blob.into()
        },
        filename: object.id.to_string().into(),
        oid: object.id,
    };
    let mut entries: Vec<_> = objects.iter().map(entry).collect();
    // Names of the same length have the same order with and without a slash after those of folders.
    entries.sort_by(|one, other| one.filename.cmp(&other.filename));
    gix::objs::Tree { entries }
}

fn commit_of(tree: ObjectId) -> gix::objs::Commit {
    let author = gix::actor::Signature {
        name: "git-push".into(),
        email: "git-push@localhost".into(),
        time: gix::date::Time::new(0, 0),
    };
    gix::objs::Commit {
        tree,
        parents: Vec::new().into(),
        author: author.clone(),
        committer: author,
        encoding: None,
        message: "Objects of a push in parts\n".into(),
        extra_headers: Vec::new(),
    }
}

/// Returns the name of the temporary ref for the objects from `start` to before `end` of those that `owner` adds.
pub(super) fn name(namespace: &[u8], owner: ObjectId, start: usize, end: usize) -> BString {
    let name = format!("{owner}.{start}-{end}");
    [namespace, name.as_bytes()].concat().into()
}

/// Returns the owner of a temporary ref, and its run if it is that of a temporary commit. `name` is without the namespace.
pub(super) fn parse(name: &[u8]) -> Option<(ObjectId, Option<(usize, usize)>)> {
    let name = std::str::from_utf8(name).ok()?;
    let Some((owner, run)) = name.split_once('.') else {
        return Some((ObjectId::from_hex(name.as_bytes()).ok()?, None));
    };
    let (start, end) = run.split_once('-')?;
    let run = (start.parse().ok()?, end.parse().ok()?);
    Some((ObjectId::from_hex(owner.as_bytes()).ok()?, Some(run)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_as_they_are_made() {
        let owner = ObjectId::Sha1([0xab; 20]);
        let made = name(b"refs/parts/", owner, 3, 17);
        assert_eq!(made, format!("refs/parts/{}.3-17", "ab".repeat(20)));
        assert_eq!(parse(&made["refs/parts/".len()..]), Some((owner, Some((3, 17)))));
        assert_eq!(parse("ab".repeat(20).as_bytes()), Some((owner, None)));
        for other in ["main", "ab", "", &format!("{}.1", "ab".repeat(20)), "x.1-2"] {
            assert_eq!(parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_commit_follows_from_its_objects() {
        let repository = tempfile::tempdir().expect("a folder");
        let repository = gix::init_bare(repository.path()).expect("a repository");
        let object = |byte, kind| SizedObject {
            id: ObjectId::Sha1([byte; 20]),
            kind,
            bytes: 0,
        };
        let objects = [object(9, Kind::Blob), object(1, Kind::Tree)];
        let filler = fill(&repository, &objects).expect("a commit");
        assert_eq!(filler.id, fill(&filler.repository, &objects).expect("a commit").id);
        let tree = filler
            .repository
            .find_commit(filler.id)
            .expect("in memory")
            .tree()
            .expect("its tree");
        let names: Vec<_> = tree
            .iter()
            .map(|entry| entry.expect("an entry").filename().to_string())
            .collect();
        assert_eq!(names, ["01".repeat(20), "09".repeat(20)]);
        assert!(!repository.has_object(filler.id), "nothing is written");
    }
}
