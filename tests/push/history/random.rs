//! Random histories, and a naive search for the objects that are reachable in them.
use std::collections::{BTreeMap, BTreeSet};

use gix::objs::tree::{Entry, EntryKind};
use gix::objs::{Kind, Tree};
use gix::{ObjectId, Repository};
use proptest::prelude::*;
use proptest::sample::Index;

use super::commit;

/// A difference between a commit and its first parent.
#[derive(Debug, Clone)]
pub enum Edit {
    /// A file at a path, with one of a few contents, of some kind.
    Put(String, u8, EntryKind),
    /// Removes a path.
    Remove(String),
    /// Copies the content of the first path to the second.
    Copy(String, String),
    /// Swaps the contents of two paths.
    Swap(String, String),
    /// An empty folder.
    Empty(String),
}

/// One commit.
#[derive(Debug, Clone)]
pub struct Step {
    /// Numbers of earlier commits; none for a root.
    pub parents: Vec<Index>,
    pub edits: Vec<Edit>,
    /// Seconds. A child may be older than its parents.
    pub date: u32,
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&["a", "b", "c"][..]), 1..4).prop_map(|parts| parts.join("/"))
}

const KINDS: [EntryKind; 4] = [
    EntryKind::Blob,
    EntryKind::BlobExecutable,
    EntryKind::Link,
    EntryKind::Commit,
];

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (path(), 0..6u8, prop::sample::select(&KINDS[..])).prop_map(|(path, content, kind)| Edit::Put(path, content, kind)),
        2 => path().prop_map(Edit::Remove),
        2 => (path(), path()).prop_map(|(from, to)| Edit::Copy(from, to)),
        2 => (path(), path()).prop_map(|(one, other)| Edit::Swap(one, other)),
        1 => path().prop_map(Edit::Empty),
    ]
}

/// Histories of up to 12 commits: roots, merges, octopuses, dates in any order.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let parents = prop_oneof![
        1 => Just(0..1usize),
        6 => Just(1..2),
        2 => Just(2..3),
        1 => Just(3..5),
    ];
    let parents = parents.prop_flat_map(|count| prop::collection::vec(any::<Index>(), count));
    let step = (parents, prop::collection::vec(edit(), 0..5), 0..1000u32);
    let step = step.prop_map(|(parents, edits, date)| Step { parents, edits, date });
    prop::collection::vec(step, 1..12)
}

/// A folder's content.
#[derive(Debug, Clone, Default)]
struct Folder(BTreeMap<String, Node>);

#[derive(Debug, Clone)]
enum Node {
    File(u8, EntryKind),
    Folder(Folder),
}

impl Folder {
    fn get(&self, path: &str) -> Option<&Node> {
        match path.split_once('/') {
            None => self.0.get(path),
            Some((first, rest)) => match self.0.get(first)? {
                Node::Folder(folder) => folder.get(rest),
                Node::File(..) => None,
            },
        }
    }

    fn put(&mut self, path: &str, node: Option<Node>) {
        match (path.split_once('/'), node) {
            (None, Some(node)) => {
                self.0.insert(path.into(), node);
            }
            (None, None) => {
                self.0.remove(path);
            }
            (Some((first, rest)), node) => {
                let slot = self
                    .0
                    .entry(first.into())
                    .or_insert_with(|| Node::Folder(Folder::default()));
                if let Node::File(..) = slot {
                    *slot = Node::Folder(Folder::default());
                }
                if let Node::Folder(folder) = slot {
                    folder.put(rest, node);
                }
            }
        }
    }

    fn edit(&mut self, edit: &Edit) {
        match edit {
            Edit::Put(path, content, kind) => self.put(path, Some(Node::File(*content, *kind))),
            Edit::Remove(path) => self.put(path, None),
            Edit::Copy(from, to) => self.put(to, self.get(from).cloned()),
            Edit::Swap(one, other) => {
                let (first, second) = (self.get(one).cloned(), self.get(other).cloned());
                self.put(one, second);
                self.put(other, first);
            }
            Edit::Empty(path) => self.put(path, Some(Node::Folder(Folder::default()))),
        }
    }

    fn write(&self, repository: &Repository) -> ObjectId {
        let entries = self.0.iter().map(|(name, node)| {
            let (kind, oid) = match node {
                Node::Folder(folder) => (EntryKind::Tree, folder.write(repository)),
                // A submodule's commit is in another repository.
                Node::File(content, EntryKind::Commit) => {
                    let digits = repository.object_hash().len_in_hex();
                    (
                        EntryKind::Commit,
                        ObjectId::from_hex(format!("{:01$}", content + 1, digits).as_bytes()).unwrap(),
                    )
                }
                Node::File(content, kind) => (*kind, repository.write_blob(text(*content)).unwrap().detach()),
            };
            Entry {
                mode: kind.into(),
                filename: name.as_str().into(),
                oid,
            }
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort();
        repository.write_object(Tree { entries }).unwrap().detach()
    }
}

/// One of a few contents: nothing, a few bytes, or versions of a text.
fn text(content: u8) -> String {
    match content {
        0 => String::new(),
        1 => "content 1".into(),
        version => {
            let line = |number: u8| match number == 11 * version {
                true => format!("line {number} is that of version {version}\n"),
                false => format!(
                    "line {number} is the same in all versions, {:x}\n",
                    u32::from(number) * 2_654_435
                ),
            };
            (0..60).map(line).collect()
        }
    }
}

/// Writes the commits, and returns their ids in order.
pub fn write(repository: &Repository, steps: &[Step]) -> Vec<ObjectId> {
    let mut commits: Vec<(ObjectId, Folder)> = Vec::new();
    for step in steps {
        let mut parents: Vec<usize> = Vec::new();
        for parent in step.parents.iter().filter(|_| !commits.is_empty()) {
            let parent = parent.index(commits.len());
            if !parents.contains(&parent) {
                parents.push(parent);
            }
        }
        let mut folder = parents
            .first()
            .map(|parent| commits[*parent].1.clone())
            .unwrap_or_default();
        step.edits.iter().for_each(|edit| folder.edit(edit));
        let parents: Vec<_> = parents.iter().map(|parent| commits[*parent].0).collect();
        commits.push((
            commit(repository, folder.write(repository), &parents, step.date),
            folder,
        ));
    }
    commits.into_iter().map(|(id, _)| id).collect()
}

/// Everything that is reachable from `tips`, except submodules.
pub fn closure(repository: &Repository, tips: impl IntoIterator<Item = ObjectId>) -> BTreeSet<ObjectId> {
    let mut found = BTreeSet::new();
    let mut waiting: Vec<ObjectId> = tips.into_iter().collect();
    while let Some(id) = waiting.pop() {
        if !found.insert(id) {
            continue;
        }
        let object = repository.find_object(id).unwrap();
        match object.kind {
            Kind::Blob => {}
            Kind::Tag => waiting.push(object.into_tag().target_id().unwrap().detach()),
            Kind::Commit => {
                let commit = object.into_commit();
                waiting.push(commit.tree_id().unwrap().detach());
                waiting.extend(commit.parent_ids().map(gix::Id::detach));
            }
            Kind::Tree => {
                let tree = object.into_tree();
                let entries = tree.iter().map(Result::unwrap);
                waiting.extend(
                    entries
                        .filter(|entry| !entry.mode().is_commit())
                        .map(|entry| entry.object_id()),
                );
            }
        }
    }
    found
}
