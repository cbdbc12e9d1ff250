//! Checks of received objects, as `git-receive-pack` makes them if `receive.fsckObjects` or `transfer.fsckObjects` is true:
//! `git index-pack --strict`, then a walk from the new tips (git-fsck, git-config).
//!
//! 1. Each new object is parsed and checked (`tree`, `header`, `modules`). The first one with a fault that is an error
//!    ends the push.
//! 2. Each object that a new one refers to exists, and has the type that it is referred to by.
//! 3. Everything that a new tip reaches exists (`connectivity`).
//!
//! # Limitations
//! - Bases of a thin pack, which the repository has and the stream does not, are not checked again, as by git.
//! - A `.gitmodules` that cannot be parsed is an error. Git warns, and checks the part before the fault.
mod connectivity;
mod header;
mod message;
mod modules;
mod names;
mod report;
mod rules;
mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::atomic::{AtomicBool, Ordering as Atomic},
};

use bstr::{BStr, BString, ByteSlice};
use git_push::{Command, Error, ErrorKind, causes};
use gix::{
    ObjectId,
    objs::{Find, FindHeader, Kind},
    odb::store::iter::Ordering,
};

use self::{
    connectivity::Connectivity,
    message::Message,
    report::{Faulty, Report},
};

pub(super) use self::rules::Rules;

/// Largest file with submodules or attributes that is read, in bytes. Git does not read larger attributes either.
const LARGEST: u64 = 100 << 20;

/// Least size of a tag beside the id in it, in bytes. Git reads no shorter one.
const SHORTEST_TAG: usize = 24;

/// Result of the checks.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Lines for the person who pushes.
    pub words: Vec<String>,
    /// The reason why the whole push is refused.
    pub refusal: Option<String>,
    /// Tips that reach an object that does not exist.
    pub disconnected: BTreeSet<ObjectId>,
}

/// Objects that a push has brought.
#[derive(Clone, Copy)]
pub(super) struct Brought<'a> {
    pub folder: &'a Path,
    /// Those that were added to the pack, and were not in its stream.
    pub bases: &'a BTreeSet<ObjectId>,
    /// True if the caller asked to stop.
    pub interrupt: &'a AtomicBool,
}

/// Objects of a stream in a folder, and the repository that gets them.
pub(super) struct Objects<'a> {
    repository: &'a gix::Repository,
    brought: Brought<'a>,
    old: gix::OdbHandle,
    new: gix::odb::Handle,
    /// Objects of the stream with their types.
    kinds: BTreeMap<ObjectId, Kind>,
}

impl<'a> Objects<'a> {
    /// Opens a folder of objects.
    fn open(repository: &'a gix::Repository, brought: Brought<'a>) -> Result<Self, Error> {
        let new =
            gix::odb::at(brought.folder, repository.object_hash()).map_err(|error| unreadable(&error.to_string()))?;
        let mut old = repository.objects.clone();
        // Most new objects are not there, and folders are not listed again for each of them.
        old.refresh_never();
        Ok(Objects {
            repository,
            brought,
            old,
            new,
            kinds: BTreeMap::new(),
        })
    }

    /// Returns an error if the caller asked to stop.
    fn go_on(&self) -> Result<(), Error> {
        if self.brought.interrupt.load(Atomic::Relaxed) {
            return Err(Error::interrupted());
        }
        Ok(())
    }

    /// Returns the type of an object, if it exists.
    fn kind(&self, id: ObjectId) -> Result<Option<Kind>, Error> {
        self.go_on()?;
        if let Some(kind) = self.kinds.get(&id) {
            return Ok(Some(*kind));
        }
        let failed = |error: gix::Error| unreadable(&format!("{id}: {}", causes(&error)));
        let header = match self.old.try_header(&id).map_err(failed)? {
            // `git gc` may have moved it meanwhile.
            None => self.repository.objects.try_header(&id).map_err(failed)?,
            found => found,
        };
        Ok(header.map(|header| header.kind))
    }

    /// Returns an object, if it exists.
    fn find<'b>(&self, id: ObjectId, buffer: &'b mut Vec<u8>) -> Result<Option<gix::objs::Data<'b>>, Error> {
        self.go_on()?;
        let failed = |error: gix::Error| unreadable(&format!("{id}: {}", causes(&error)));
        if self.kinds.contains_key(&id) {
            self.new.try_find(&id, buffer).map_err(failed)
        } else {
            self.repository.objects.try_find(&id, buffer).map_err(failed)
        }
    }

    /// Returns true for an object of the stream.
    fn is_new(&self, id: &ObjectId) -> bool {
        self.kinds.contains_key(id)
    }
}

/// Checks the brought objects, and everything that the commands reach, up to what `refs` reach.
///
/// # Errors
/// A brought object cannot be read, or the caller asked to stop.
pub(super) fn check(
    rules: &Rules,
    repository: &gix::Repository,
    brought: Brought<'_>,
    (commands, refs): (&[Command], &BTreeMap<BString, ObjectId>),
) -> Result<Checked, Error> {
    let mut report = Report::new(rules);
    report.words.clone_from(&rules.words);
    let mut checked = Checked::default();
    let mut objects = Objects::open(repository, brought)?;
    checked.refusal = contents(&mut objects, &mut report)?;
    checked.words = report.words;
    if checked.refusal.is_none() {
        let tips = commands.iter().filter(|command| !command.is_delete());
        let tips: BTreeSet<_> = tips.map(|command| command.new).collect();
        let connectivity = Connectivity::new(&objects, refs)?;
        checked.disconnected = connectivity.disconnected(&tips)?;
        checked.words.extend(connectivity.into_words());
    }
    Ok(checked)
}

/// Checks all objects of the stream and those that they refer to. Returns the reason why they are refused.
fn contents(objects: &mut Objects<'_>, report: &mut Report<'_>) -> Result<Option<String>, Error> {
    let mut links = BTreeSet::new();
    let mut buffer = Vec::new();
    let order = Ordering::PackAscendingOffsetThenLooseLexicographical;
    let ids = objects.new.iter().map_err(|error| unreadable(&causes(&error)))?;
    for id in ids.with_ordering(order) {
        let id = id.map_err(|error| unreadable(&error.to_string()))?;
        objects.go_on()?;
        if objects.brought.bases.contains(&id) {
            continue;
        }
        let failed = |error: gix::Error| unreadable(&format!("{id}: {}", causes(&error)));
        let found = objects.new.try_find(&id, &mut buffer).map_err(failed)?;
        let object = found.ok_or_else(|| unreadable(&format!("{id}: it has gone")))?;
        let (kind, data) = (object.kind, object.data);
        objects.kinds.insert(id, kind);
        if let Some(word) = unparsable(id, kind, data) {
            report.words.extend(word);
            return Ok(Some(format!("invalid {kind}")));
        }
        let format = match kind {
            Kind::Tree => tree::check(id, data, report),
            Kind::Commit => header::check_commit(id, data, report),
            Kind::Tag => header::check_tag(id, data, report),
            Kind::Blob => Ok(()),
        };
        if format.is_err() {
            return Ok(Some("fsck error in packed object".into()));
        }
        links.extend(referred(kind, data, id.kind()));
    }
    if let Some(refusal) = missing(objects, &links)? {
        return Ok(Some(refusal));
    }
    let files = special_files(objects, report)?;
    Ok(files.is_err().then(|| "fsck error in packed object".into()))
}

/// Returns the reason if one of these objects does not exist or is of another type.
fn missing(objects: &Objects<'_>, links: &BTreeSet<(ObjectId, Kind)>) -> Result<Option<String>, Error> {
    for (id, expected) in links {
        match objects.kind(*id)? {
            None => return Ok(Some(format!("did not receive expected object {id}"))),
            Some(found) if found != *expected => {
                return Ok(Some(format!("object {id}: expected type {expected}, found {found}")));
            }
            Some(_) => {}
        }
    }
    Ok(None)
}

/// Checks the `.gitmodules` and `.gitattributes` of the new trees.
fn special_files(objects: &Objects<'_>, report: &mut Report<'_>) -> Result<Result<(), Faulty>, Error> {
    let mut result = Ok(());
    let modules = std::mem::take(&mut report.modules);
    for id in modules {
        let faults = (
            Message::GitmodulesMissing,
            Message::GitmodulesBlob,
            Message::GitmodulesLarge,
        );
        let file = special_file(objects, report, id, ".gitmodules", faults, modules::check_modules)?;
        result = result.and(file);
    }
    let attributes = std::mem::take(&mut report.attributes);
    for id in attributes {
        let faults = (
            Message::GitattributesMissing,
            Message::GitattributesBlob,
            Message::GitattributesLarge,
        );
        let file = special_file(objects, report, id, ".gitattributes", faults, modules::check_attributes)?;
        result = result.and(file);
    }
    Ok(result)
}

fn special_file(
    objects: &Objects<'_>,
    report: &mut Report<'_>,
    id: ObjectId,
    name: &str,
    (missing, other, large): (Message, Message, Message),
    check: impl Fn(ObjectId, &[u8], &mut Report<'_>) -> Result<(), Faulty>,
) -> Result<Result<(), Faulty>, Error> {
    let Some(kind) = objects.kind(id)? else {
        return Ok(report.fault(id, missing, &format!("unable to read {name} blob")));
    };
    if kind != Kind::Blob {
        return Ok(report.fault(id, other, &format!("non-blob found at {name}")));
    }
    let header = objects.new.try_header(&id);
    let header = header.map_err(|error| unreadable(&format!("{id}: {error}")))?;
    if header.is_some_and(|header| header.size > LARGEST) {
        return Ok(report.fault(id, large, &format!("{name} too large to parse")));
    }
    let mut buffer = Vec::new();
    let found = objects.find(id, &mut buffer)?;
    let data = found.ok_or_else(|| unreadable(&format!("{id}: it has gone")))?.data;
    Ok(check(id, data, report))
}

/// Returns the objects that an object refers to, with their types.
fn referred(kind: Kind, data: &[u8], hash: gix::hash::Kind) -> Vec<(ObjectId, Kind)> {
    let id = |hex: &[u8]| ObjectId::from_hex(hex).ok();
    let header = || data.lines().take_while(|line| !line.is_empty());
    match kind {
        Kind::Blob => Vec::new(),
        Kind::Tree => tree::links(data, hash),
        Kind::Commit => {
            let tree = header().next().and_then(|line| line.strip_prefix(b"tree "));
            let parents = header().skip(1).map_while(|line| line.strip_prefix(b"parent "));
            let tree = tree.and_then(id).map(|id| (id, Kind::Tree));
            tree.into_iter()
                .chain(parents.filter_map(id).map(|id| (id, Kind::Commit)))
                .collect()
        }
        Kind::Tag => {
            let target = header().next().and_then(|line| line.strip_prefix(b"object "));
            let kind = header().nth(1).and_then(|line| line.strip_prefix(b"type "));
            let kind = kind.and_then(|kind| Kind::from_bytes(kind).ok());
            target.and_then(id).zip(kind).into_iter().collect()
        }
    }
}

/// Returns the lines of git about an object that it cannot parse at all, if it is one. Trees are parsed when they are checked.
fn unparsable(id: ObjectId, kind: Kind, data: &[u8]) -> Option<Option<String>> {
    let mut lines = data.lines_with_terminator();
    let named = |line: Option<&'_ [u8]>, key: &str| -> bool {
        let hex = line.and_then(|line| line.strip_prefix(key.as_bytes())?.strip_suffix(b"\n").map(BStr::new));
        hex.is_some_and(|hex| hex.len() == id.kind().len_in_hex() && ObjectId::from_hex(hex).is_ok())
    };
    match kind {
        Kind::Blob | Kind::Tree => None,
        Kind::Commit => {
            if !named(lines.next(), "tree ") || data.len() <= id.kind().len_in_hex() + 7 {
                return Some(Some(format!("error: bogus commit object {id}")));
            }
            let mut parents = lines.take_while(|line| line.starts_with(b"parent "));
            let is_bad = parents.any(|line| !named(Some(line), "parent "));
            is_bad.then(|| Some(format!("error: bad parents in commit {id}")))
        }
        Kind::Tag => {
            if data.len() < id.kind().len_in_hex() + SHORTEST_TAG || !named(lines.next(), "object ") {
                return Some(None);
            }
            let Some(kind) = lines
                .next()
                .and_then(|line| line.strip_prefix(b"type ")?.strip_suffix(b"\n"))
            else {
                return Some(None);
            };
            if Kind::from_bytes(kind).is_err() {
                let kind = kind.as_bstr();
                return Some(Some(format!("error: unknown tag type '{kind}' in {id}")));
            }
            let is_named = lines
                .next()
                .is_some_and(|line| line.starts_with(b"tag ") && line.ends_with(b"\n"));
            (!is_named).then_some(None)
        }
    }
}

fn unreadable(why: &str) -> Error {
    Error::new(
        ErrorKind::Transient,
        format!("cannot check the objects of the push: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_ends_the_checks() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = gix::init_bare(folder.path())
            .expect("a repository")
            .git_dir()
            .join("config");
        std::fs::write(config, "[core]\n\tbare = true\n[receive]\n\tfsckObjects = true\n").expect("a file");
        let repository = gix::open(folder.path()).expect("a repository");
        let rules = Rules::of(&repository).expect("rules").expect("checks");
        let blob = repository.write_blob(b"content").expect("a blob").detach();
        let nothing = tempfile::tempdir().expect("a folder");
        // In the objects, and in the walk after them.
        for objects in [repository.objects.store_ref().path(), nothing.path()] {
            let checked = |is_interrupted| {
                let brought = Brought {
                    folder: objects,
                    bases: &BTreeSet::new(),
                    interrupt: &AtomicBool::new(is_interrupted),
                };
                let create = Command::create("refs/tags/file", blob);
                check(&rules, &repository, brought, (&[create], &BTreeMap::new()))
            };
            let error = checked(true).expect_err("it was interrupted");
            assert_eq!(error.kind(), ErrorKind::Interrupted);
            let checked = checked(false).expect("checks");
            assert!(
                checked.refusal.is_none() && checked.disconnected.is_empty(),
                "{checked:?}"
            );
        }
    }
}
