//! Several mirrors: what belongs to each, and what they share.
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use bstr::{BStr, BString, ByteSlice};
use durable::clock::Clock;
use gix::ObjectId;
use stargate_mirror::{
    journal::{Backlog, Located, Status, Writer},
    mirror::{Rules, Tally, watermark},
    namespace::namespace,
    ref_pattern::RefPatterns,
    ref_update::RefUpdate,
};
use ulid::Ulid;

use super::{
    FOREIGN, Simulation,
    disk::SimDisk,
    world::{Stargate, World, commit, id},
};

/// One of the mirrors.
pub struct OneMirror<'a> {
    pub place: usize,
    pub world: World<'a>,
    pub rules: Rules,
    /// Every id that a ref of the mirror has had.
    pub had: BTreeMap<BString, Vec<u32>>,
    /// True if it was removed from the settings for a while.
    pub was_removed: bool,
}

impl<'a> OneMirror<'a> {
    pub fn new(place: usize, world: World<'a>) -> Self {
        let mut chances = world.random.borrow_mut();
        let rules = Rules {
            refs: RefPatterns::default(),
            force: chances.chance(3),
            deletes: !chances.chance(3),
        };
        drop(chances);
        OneMirror {
            place,
            world,
            rules,
            had: BTreeMap::new(),
            was_removed: false,
        }
    }

    /// Remembers where its refs stood.
    pub fn remember(&mut self) {
        let stands = self.world.refs.iter().map(|(name, id)| (name.clone(), *id));
        for (name, id) in std::mem::take(&mut self.world.set).into_iter().chain(stands) {
            self.had.entry(name).or_default().push(commit(id));
        }
    }

    /// Returns true if the mirror has had this commit of a ref, or a later one.
    pub fn reached(&self, stargate: &Stargate, name: &BString, commit: u32) -> bool {
        let mut had = self.had.get(name).into_iter().flatten();
        had.any(|had| *had < FOREIGN && stargate.contains(commit, *had))
    }

    /// Rule 1.
    pub fn check_arrival(&self, stargate: &Stargate) {
        for (name, commit_) in &stargate.refs {
            let there = self.world.at(name.as_bstr());
            let of = namespace(name.as_bstr()).expect("a namespace");
            let arrived = there == Some(id(*commit_)) || self.is_held(stargate, of);
            assert!(
                arrived,
                "{name} is {commit_}, and {there:?} on the mirror {}",
                self.place
            );
        }
        for (name, commit_) in stargate.refs.iter().filter(|(name, _)| name.starts_with(b"refs/kv/")) {
            let of = namespace(name.as_bstr()).expect("a namespace");
            let there = self.world.at(watermark::watermark_ref(of).as_bstr());
            let arrived = there == Some(id(*commit_)) || self.is_held(stargate, of);
            assert!(arrived, "{name} is {commit_}, and its watermark {there:?}");
        }
    }

    /// Returns true if a ref of the namespace diverges: somebody else wrote it, or its rewrite may not be mirrored.
    pub fn is_held(&self, stargate: &Stargate, of: &BStr) -> bool {
        let mut names = stargate.refs.keys().chain(self.world.refs.keys());
        names.any(|name| {
            let (local, remote) = (stargate.refs.get(name), self.world.at(name.as_bstr()).map(commit));
            let is_held = match (local, remote) {
                (Some(local), Some(remote)) => remote >= FOREIGN || !stargate.contains(remote, *local),
                (None, Some(_)) => true,
                (_, None) => false,
            };
            is_held && namespace(name.as_bstr()) == Some(of)
        })
    }
}

/// What all mirrors share besides the journal.
#[derive(Default)]
pub struct Shared {
    /// Contents of the tally's file.
    pub tally: RefCell<Tally>,
    /// Number of mirrors at the end that are not in the settings.
    pub removed: usize,
    /// Entries that a mirror has left out: those that it skipped, and those from before it was added.
    left: RefCell<BTreeSet<(usize, Ulid)>>,
}

fn name(mirror: usize) -> &'static str {
    ["a", "b", "c"][mirror]
}

fn names(mirrors: usize) -> impl Iterator<Item = &'static str> + Clone {
    (0..mirrors).map(name)
}

impl Shared {
    /// Settles entries at one of the mirrors, as the worker does.
    pub fn settle<C: Clock>(
        &self,
        writer: &Writer<SimDisk, C>,
        disk: &SimDisk,
        (mirror, mirrors): (usize, usize),
        settled: &[(Located, Status)],
    ) -> Result<(), ()> {
        let mut tally = self.tally.borrow().clone();
        let mut ended = Vec::new();
        for (located, status) in settled {
            let entry = located.entry.entry_id;
            if *status == Status::Skipped {
                self.left.borrow_mut().insert((mirror, entry));
            }
            let overall = tally.settle(name(mirror), names(mirrors), entry, *status);
            ended.extend(overall.map(|overall| (located.clone(), overall)));
        }
        if ended.len() < settled.len() {
            self.replace(disk, tally.clone());
        }
        if !ended.is_empty() {
            writer.settle(&ended).map(drop).map_err(drop)?;
        }
        tally.forget(&ended.iter().map(|(located, _)| located.entry.entry_id).collect());
        self.replace(disk, tally);
        Ok(())
    }

    /// Leaves these entries to one of the mirrors.
    pub fn leave_to(&self, mirror: usize, mirrors: usize, disk: &SimDisk, entries: &[Ulid]) {
        let mut tally = self.tally.borrow().clone();
        for entry in entries {
            let others = (0..mirrors).filter(|other| *other != mirror);
            tally.record(others.clone().map(name), *entry, Status::Skipped);
            self.left.borrow_mut().extend(others.map(|other| (other, *entry)));
        }
        self.replace(disk, tally);
    }

    /// Replaces the file as a whole, unless the process is killed before.
    fn replace(&self, disk: &SimDisk, tally: Tally) {
        let is_new = *self.tally.borrow() != tally;
        if is_new && disk.effect().is_ok() {
            *self.tally.borrow_mut() = tally;
        }
    }

    /// Returns the status of an entry at a mirror.
    pub fn status(&self, mirror: usize, located: &Located) -> Status {
        match located.entry.status {
            Status::Pending => {
                let tally = self.tally.borrow();
                tally
                    .at(name(mirror), located.entry.entry_id)
                    .unwrap_or(Status::Pending)
            }
            status => status,
        }
    }

    /// Returns true if the mirror has left out the entry.
    pub fn has_left(&self, mirror: usize, entry: Ulid) -> bool {
        self.left.borrow().contains(&(mirror, entry))
    }
}

impl<'a> Simulation<'a> {
    /// Number of mirrors in the settings.
    pub fn configured(&self) -> usize {
        self.mirrors.len() - self.shared.removed
    }

    pub fn any_mirror(&self) -> usize {
        match self.configured() {
            1 => 0,
            mirrors => self.below(mirrors),
        }
    }

    /// The refs of all mirrors.
    pub fn refs_of_mirrors(&self) -> impl Iterator<Item = (&OneMirror<'a>, &BString, &ObjectId)> {
        self.mirrors.iter().flat_map(OneMirror::refs)
    }

    /// Entries that are pending for a mirror.
    pub fn pending(&self, mirror: usize, backlog: &Backlog) -> Vec<Located> {
        let is_pending = |located: &&Located| self.shared.status(mirror, located) == Status::Pending;
        backlog.pending.iter().filter(is_pending).cloned().collect()
    }

    /// Gives the final status to entries that all mirrors have settled, as a cycle does at its start.
    pub fn end_settled(&self) -> Result<(), ()> {
        let mut tally = self.shared.tally.borrow().clone();
        tally.retain_mirrors(names(self.configured()));
        let overall = |located: &Located| tally.overall(names(self.configured()), located.entry.entry_id);
        let pending = self.backlog().pending;
        let ended = pending
            .iter()
            .filter_map(|located| Some((located.clone(), overall(located)?)));
        let ended: Vec<(Located, Status)> = ended.collect();
        if !ended.is_empty() {
            self.writer().settle(&ended).map(drop).map_err(drop)?;
        }
        let pending: BTreeSet<Ulid> = self
            .backlog()
            .pending
            .iter()
            .map(|located| located.entry.entry_id)
            .collect();
        tally.retain_entries(|entry| pending.contains(&entry));
        self.shared.replace(self.disk, tally);
        Ok(())
    }

    /// Returns true if the journal's last word about the ref's id is this update, whose old id neither an entry nor the mirror
    /// explains: an update before it was never journaled.
    pub fn shows_a_gap(&self, mirror: &OneMirror<'_>, update: &RefUpdate) -> bool {
        let mut updates: Vec<RefUpdate> = self.entries().into_iter().map(|located| located.entry.update).collect();
        updates.retain(|other| other.name == update.name);
        let had = mirror.had.get(&update.name).map(Vec::as_slice).unwrap_or_default();
        let is_explained = update.old.is_null()
            || had.contains(&commit(update.old))
            || updates.iter().any(|other| other.new == update.old);
        let is_about = |other: &&RefUpdate| [other.old, other.new].contains(&update.new);
        !is_explained && updates.iter().rev().find(is_about) == Some(update)
    }

    /// The operator removes the last mirror from the settings, or adds it again.
    pub fn remove_or_add_the_last(&mut self) {
        if self.shared.removed == 0 {
            self.shared.removed = 1;
            return;
        }
        self.shared.removed = 0;
        let last = self.mirrors.len() - 1;
        self.mirrors[last].was_removed = true;
        let entries = self.entries();
        let before = entries.iter().map(|located| (last, located.entry.entry_id));
        self.shared.left.borrow_mut().extend(before);
    }

    /// All mirrors are in the settings, and answer.
    pub fn end_faults(&mut self) {
        if self.shared.removed > 0 {
            self.remove_or_add_the_last();
        }
        self.mirrors.iter().for_each(|mirror| mirror.world.faults.set(false));
    }
}

impl OneMirror<'_> {
    fn refs(&self) -> impl Iterator<Item = (&Self, &BString, &ObjectId)> {
        self.world.refs.iter().map(move |(name, id)| (self, name, id))
    }
}
