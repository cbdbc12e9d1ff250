//! A push of several refs, which git moves one by one while a worker runs.
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::Path,
    time::Duration,
};

use bstr::{BStr, BString, ByteSlice};
use durable::clock::{Clock, ManualClock};
use gix::ObjectId;
use stargate_mirror::{
    journal::{Draft, Source, Writer, intent},
    mirror::{Damaged, LocalView},
    namespace::namespace,
    ref_pattern::RefPatterns,
    ref_update::RefUpdate,
    refs::{LocalRef, LocalRefs},
};
use support::random::Random;
use ulid::Ulid;

use super::{
    FAMILIES, GIT_DIR, Simulation,
    disk::SimDisk,
    drafts,
    world::{Stargate, commit, id, null},
};

/// A push that `pre-receive` has accepted.
pub struct Push {
    drafts: Vec<Draft>,
    /// Refs that have not moved, in the order in which they will.
    waiting: VecDeque<(BString, u32)>,
    /// Entries that `post-receive` appended.
    written: Option<Vec<Ulid>>,
}

/// The Stargate as a worker reads it during a push.
pub struct Moving<'a> {
    pub stargate: &'a RefCell<Stargate>,
    pub disk: &'a SimDisk,
    pub random: &'a RefCell<Random>,
    pub clock: &'a ManualClock,
    pub push: &'a RefCell<Option<Push>>,
}

impl Moving<'_> {
    /// The push may continue before each read.
    fn stargate(&self) -> std::cell::Ref<'_, Stargate> {
        if let Some(push) = self.push.borrow_mut().as_mut() {
            while self.random.borrow_mut().chance(3) && push.written.is_none() {
                self.advance(push);
            }
        }
        self.stargate.borrow()
    }

    /// Moves the next ref; runs `post-receive` when all have moved.
    fn advance(&self, push: &mut Push) {
        match push.waiting.pop_front() {
            Some((name, commit)) => drop(self.stargate.borrow_mut().refs.insert(name, commit)),
            None => {
                let writer = Writer::new(self.disk.clone(), self.clock, Path::new(GIT_DIR), Duration::ZERO);
                let appended = writer.append(&push.drafts);
                let written = appended.map(|appended| appended.written).unwrap_or_default();
                if written.len() == push.drafts.len() {
                    // If the hook is killed here, the intent stays.
                    let _ = writer.forget_intent(&push.drafts);
                }
                push.written = Some(written);
            }
        }
    }
}

impl LocalView for Moving<'_> {
    fn local(&self, name: &BStr) -> LocalRef {
        self.stargate().local(name)
    }
    fn list(&self, patterns: &RefPatterns) -> LocalRefs {
        self.stargate().list(patterns)
    }
    fn exists(&self, id: ObjectId) -> Result<bool, Damaged> {
        self.stargate().exists(id)
    }
    fn fast_forward(&self, old: ObjectId, new: ObjectId) -> Result<bool, Damaged> {
        self.stargate().fast_forward(old, new)
    }
    fn settled(&self, name: &BStr) -> Result<Vec<RefUpdate>, Damaged> {
        self.stargate().settled(name)
    }
    fn pushes_in_flight(&self) -> Result<Vec<Vec<RefUpdate>>, Damaged> {
        drop(self.stargate());
        let read = intent::in_flight(self.disk, Path::new(GIT_DIR), self.clock.now());
        Ok(read.expect("a disk in memory"))
    }
}

impl Simulation<'_> {
    /// Somebody pushes a ledger and other refs of its namespace. A worker runs while git moves them.
    pub fn push_several(&mut self) {
        let updates = self.several_updates();
        let unreadable = |update: &RefUpdate| self.stargate.borrow().unreadable.contains(&update.name);
        if updates.iter().any(unreadable) {
            return;
        }
        let drafts = drafts(updates.clone(), Source::PostReceive);
        if self.writer().intend(&drafts).is_err() {
            return;
        }
        let first = self.told.len();
        self.told.extend(updates.iter().cloned());
        let mut waiting: Vec<_> = updates.iter().map(moved_to).collect();
        self.remember_beside(&waiting.iter().cloned().collect());
        for place in (1..waiting.len()).rev() {
            waiting.swap(place, self.below(place + 1));
        }
        let written = None;
        let waiting = waiting.into();
        *self.push.borrow_mut() = Some(Push {
            drafts,
            waiting,
            written,
        });
        if self.below(3) == 0 {
            self.disk.kill_after(self.below(30) as u32);
        }
        let reconcile = self.below(3) == 0;
        self.cycle(reconcile);
        self.disk.restart();
        self.end_push(first);
    }

    /// Updates of a namespace's ledger and of some of its other refs.
    fn several_updates(&mut self) -> Vec<RefUpdate> {
        let of = self.below(3);
        let mut names = BTreeSet::from([BString::from(format!("refs/kv/{of}"))]);
        for _ in 0..1 + self.below(4) {
            let (folder, epoch) = FAMILIES[self.below(FAMILIES.len())];
            names.insert(format!("refs/{folder}/{of}{epoch}").into());
        }
        let mut stargate = self.stargate.borrow_mut();
        let update = |name: BString| {
            let old = stargate.refs.get(&name).copied();
            let (old, new) = (old.map_or(null(), id), id(stargate.commit(old)));
            RefUpdate { old, new, name }
        };
        names.into_iter().map(update).collect()
    }

    /// Remembers the refs beside the ledger in `after`, with their values after the push.
    fn remember_beside(&mut self, after: &BTreeMap<BString, u32>) {
        let mut refs = self.stargate.borrow().refs.clone();
        refs.extend(after.clone());
        for (name, commit) in after.iter().filter(|(name, _)| name.starts_with(b"refs/kv/")) {
            let of_namespace = |other: &BString| namespace(other.as_bstr()) == namespace(name.as_bstr());
            let beside = refs.iter().filter(|(other, _)| of_namespace(other));
            let beside = beside.map(|(other, commit)| (other.clone(), *commit)).collect();
            self.beside.insert((name.clone(), *commit), beside);
        }
    }

    /// git moves the other refs, and `post-receive` runs.
    fn end_push(&mut self, first: usize) {
        let Some(mut push) = self.push.take() else { return };
        if push.written.is_none() && self.below(6) == 0 {
            return self.kill_push(&push);
        }
        let moving = Moving {
            stargate: self.stargate,
            disk: self.disk,
            random: self.random,
            clock: &self.clock,
            push: &self.push,
        };
        while push.written.is_none() {
            moving.advance(&mut push);
        }
        let written = push.written.unwrap_or_default();
        if written.len() == push.drafts.len() {
            self.journaled.extend(first..first + push.drafts.len());
        }
        self.acknowledged.extend(written);
    }

    /// git is killed before it moves the other refs, and `post-receive` never runs.
    fn kill_push(&mut self, push: &Push) {
        let waiting: BTreeSet<&BString> = push.waiting.iter().map(|(name, _)| name).collect();
        let updates = push.drafts.iter().map(|draft| &draft.update);
        let moved = updates.filter(|update| !waiting.contains(&update.name));
        self.remember_beside(&moved.map(moved_to).collect());
    }
}

/// The ref and its new commit.
fn moved_to(update: &RefUpdate) -> (BString, u32) {
    (update.name.clone(), commit(update.new))
}
