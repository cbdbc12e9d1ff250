//! The worker's core in an environment with random faults, by seeds: pushers, hooks and workers that are killed at any
//! effect, power cuts that drop unsynced data, lost answers, and mirrors that refuse, lie and are written to by others.
//!
//! The journal's writer and reader, the plan, the cycle with its memory, the settlement and reconcile are real. Disk
//! and mirror are simulated. These rules must always hold:
//!
//! 1. every accepted update reaches the mirror once faults end, unless somebody else wrote there;
//! 2. a watermark never points to a commit that its ledger on the mirror neither has nor has had;
//! 3. nothing on the mirror is rewound or deleted, unless a journaled update and the rules say so, and never what others
//!    wrote;
//! 4. an entry that is marked as done was on the mirror;
//! 5. an acknowledged entry stays in the journal, despite kills and power cuts;
//! 6. a ref whose last update was acknowledged is on the mirror as it is in the Stargate, or an entry shows that it is
//!    not, in any order in which hooks append;
//! 7. nothing on the mirror is deleted while the Stargate's ref or its commit cannot be read, and no entry fails,
//!    because no object is ever lost;
//! 8. if a watermark exists, the mirror has had every ref of the namespace as it was in the Stargate when the ledger
//!    was pushed, or a later id of it.
//!
//! With several mirrors, each has faults, rules and a memory of its own, and may be removed from the settings for a while.
//! The rules hold for each of them: an entry that is marked as done was on every mirror that has not skipped it.
//!
//! `SIMULATION_SEED=N` runs one seed, `SIMULATION_SEEDS=N` that many.
//!
//! `docs/simulation.md` lists the deliberate breakages that this simulation detected.
mod disk;
mod landing;
mod several;
mod world;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bstr::{BStr, BString, ByteSlice};
use disk::SimDisk;
use durable::{
    clock::{Clock, ManualClock},
    retry::RetryPolicy,
};
use landing::{Moving, Push};
use several::{OneMirror, Shared};
use stargate_mirror::{
    journal::{self, Backlog, Draft, Located, Origin, Source, Status, Writer},
    mirror::{LocalView, compare, missed, watermark},
    namespace::namespace,
    ref_update::RefUpdate,
    worker::{Cycle, EntryResults, Mirror},
};
use support::random::Random;
use ulid::Ulid;
use world::{Stargate, World, commit, id, null};

const GIT_DIR: &str = "/r.git";
const STEPS: usize = 60;
const DEFAULT_SEEDS: u64 = 160;
/// Commits from this number on were written by others.
const FOREIGN: u32 = 1_000_000;
/// Folders of refs, with the suffix after the namespace, weighted by how often they are pushed to.
const FAMILIES: [(&str, &str); 9] = [
    ("kv", ""),
    ("kv", ""),
    ("kv", ""),
    ("kv", ""),
    ("kv-index", ""),
    ("kv-epoch", ""),
    ("kv-chunks", "@1"),
    ("kv-chunks", "@2"),
    ("kv-archive", "@1"),
];

/// Behaviour of pushes and their hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pushes {
    /// A push has one ref, and its hook appends at once.
    InOrder,
    /// Hooks may wait before they append.
    Late,
    /// A push may have several refs, which move one by one while a worker runs.
    RefByRef,
}

struct Simulation<'a> {
    stargate: &'a RefCell<Stargate>,
    disk: &'a SimDisk,
    random: &'a RefCell<Random>,
    mirrors: Vec<OneMirror<'a>>,
    /// What the mirrors have settled.
    shared: Shared,
    clock: ManualClock,
    /// Updates in the input of the hook.
    told: Vec<RefUpdate>,
    /// The acknowledged ones of them, by index.
    journaled: BTreeSet<usize>,
    /// Behaviour of pushes and their hooks.
    pushes: Pushes,
    /// The push whose refs git is moving.
    push: RefCell<Option<Push>>,
    /// Drafts of the hook that waits, and the update's index.
    waiting: Option<(Vec<Draft>, usize)>,
    /// Ids of entries whose append was acknowledged.
    acknowledged: Vec<Ulid>,
    /// Other refs of the namespace when a ledger was pushed, by the ledger's name and commit.
    beside: BTreeMap<(BString, u32), Vec<(BString, u32)>>,
    foreign: u32,
}

impl<'a> Simulation<'a> {
    fn new(
        stargate: &'a RefCell<Stargate>,
        disk: &'a SimDisk,
        random: &'a RefCell<Random>,
        (pushes, mirrors): (Pushes, usize),
    ) -> Self {
        let world = || World {
            refs: BTreeMap::new(),
            stargate,
            disk,
            random,
            faults: true.into(),
            memory: None,
            removed: Vec::new(),
            set: Vec::new(),
        };
        Simulation {
            stargate,
            disk,
            random,
            mirrors: (0..mirrors).map(|place| OneMirror::new(place, world())).collect(),
            shared: Shared::default(),
            clock: ManualClock::default(),
            told: Vec::new(),
            journaled: BTreeSet::new(),
            pushes,
            push: None.into(),
            waiting: None,
            acknowledged: Vec::new(),
            beside: BTreeMap::new(),
            foreign: FOREIGN,
        }
    }

    fn below(&self, bound: usize) -> usize {
        self.random.borrow_mut().below(bound)
    }

    fn writer(&self) -> Writer<SimDisk, &ManualClock> {
        Writer::new(self.disk.clone(), &self.clock, Path::new(GIT_DIR), Duration::ZERO)
    }

    fn backlog(&self) -> Backlog {
        Backlog::load(self.disk, Path::new(GIT_DIR)).expect("a disk in memory")
    }

    fn step(&mut self) {
        // Intents are resolved when they are a minute old.
        self.clock.sleep(Duration::from_secs(20));
        match self.below(12) {
            0..5 if self.pushes == Pushes::RefByRef && self.below(2) == 0 => self.push_several(),
            0..5 => self.push(),
            5..9 => {
                if self.below(2) == 0 {
                    self.disk.kill_after(self.below(30) as u32);
                }
                self.cycle(self.below(3) == 0);
                self.disk.restart();
            }
            9 => {
                self.waiting = None;
                self.disk.cut_power(&mut self.random.borrow_mut());
                // The memory is replaced as a whole, synced: it is the old one or the new one, or it is gone.
                for place in 0..self.mirrors.len() {
                    if self.below(2) == 0 {
                        self.mirrors[place].world.memory = None;
                    }
                }
                if self.mirrors.len() > 1 && self.below(4) == 0 {
                    self.shared.tally.take();
                }
            }
            10 if self.below(4) == 0 => self.write_to_the_mirror(),
            10 if self.mirrors.len() > 1 && self.below(3) == 0 => self.remove_or_add_the_last(),
            10 => self.damage(),
            _ => self.mend(),
        }
        self.check_watermarks();
        self.check_acknowledged();
    }

    /// Makes a push. Its hook may be killed at any effect.
    fn push(&mut self) {
        let (folder, epoch) = FAMILIES[self.below(FAMILIES.len())];
        let name = BString::from(format!("refs/{folder}/{}{epoch}", self.below(3)));
        let mut stargate = self.stargate.borrow_mut();
        if stargate.unreadable.contains(&name) {
            // git cannot lock it, and rejects the push.
            return;
        }
        let old = stargate.refs.get(&name).copied();
        let new = match self.random.borrow_mut().below(12) {
            0 => None,
            1 => Some(stargate.commit(None)),
            _ => Some(stargate.commit(old)),
        };
        if old.is_none() && new.is_none() {
            return;
        }
        let update = RefUpdate {
            old: old.map_or(null(), id),
            new: new.map_or(null(), id),
            name: name.clone(),
        };
        // Some Stargates have no pre-receive hook. If the hook exists and is killed, the push is rejected.
        let intended = self.random.borrow_mut().chance(2);
        if intended {
            if self.random.borrow_mut().chance(6) {
                self.disk.kill_after(self.random.borrow_mut().below(8) as u32);
            }
            let intent = self.writer().intend(&drafts(vec![update.clone()], Source::PostReceive));
            self.disk.restart();
            if intent.is_err() {
                return;
            }
        }
        match new {
            Some(new) => drop(stargate.refs.insert(name.clone(), new)),
            None => drop(stargate.refs.remove(&name)),
        }
        if let Some(new) = new.filter(|_| name.starts_with(b"refs/kv/")) {
            let of_namespace = |other: &BString| namespace(other.as_bstr()) == namespace(name.as_bstr());
            let beside = stargate.refs.iter().filter(|(other, _)| of_namespace(other));
            let beside = beside.map(|(other, commit)| (other.clone(), *commit)).collect();
            self.beside.insert((name.clone(), new), beside);
        }
        drop(stargate);
        self.told.push(update.clone());
        if self.below(4) == 0 {
            self.disk.kill_after(self.below(8) as u32);
        }
        let (drafts, place) = (drafts(vec![update], Source::PostReceive), self.told.len() - 1);
        let late = self.pushes == Pushes::Late;
        if late && self.waiting.is_none() && self.below(3) == 0 {
            self.waiting = Some((drafts, place));
        } else {
            self.journal(&drafts, place);
            if late && self.below(2) == 0 {
                self.journal_waiting();
            }
        }
        self.disk.restart();
    }

    /// Does the work of `post-receive`.
    fn journal(&mut self, drafts: &[Draft], place: usize) {
        if !self.append(drafts).is_empty() {
            self.journaled.insert(place);
            // There may be none.
            let _ = self.writer().forget_intent(drafts);
        }
    }

    /// The waiting hook continues.
    fn journal_waiting(&mut self) {
        if let Some((drafts, place)) = self.waiting.take() {
            self.journal(&drafts, place);
        }
    }

    /// Appends the drafts and returns the acknowledged entries. A killed process acknowledges nothing, but its writes are on
    /// the disk.
    fn append(&mut self, drafts: &[Draft]) -> Vec<Ulid> {
        let appended = self.writer().append(drafts);
        let written = appended.map(|appended| appended.written).unwrap_or_default();
        self.acknowledged.extend(&written);
        written
    }

    /// Runs one cycle of a worker to one of the mirrors, as `run` does.
    fn cycle(&mut self, reconcile: bool) {
        let mirror = self.any_mirror();
        self.cycle_to(mirror, reconcile);
    }

    fn cycle_to(&mut self, mirror: usize, reconcile: bool) {
        let stands = |name: &BStr| self.stargate.borrow().local(name);
        if self.writer().repair().is_err() || self.writer().recover_intents(&stands).is_err() {
            return;
        }
        if self.below(6) == 0 && self.writer().rotate().is_err() {
            return;
        }
        if reconcile {
            self.reconcile(mirror);
        }
        if self.pushes == Pushes::Late && self.below(2) == 0 {
            self.journal_waiting();
        }
        if self.pushes == Pushes::Late || self.mirrors.len() > 1 {
            self.stargate.borrow_mut().settled = self.done(mirror);
        }
        if self.end_settled().is_err() {
            return;
        }
        let backlog = self.backlog();
        let pending = self.pending(mirror, &backlog);
        let updates: Vec<RefUpdate> = pending.iter().map(|located| located.entry.update.clone()).collect();
        let moving = Moving {
            stargate: self.stargate,
            disk: self.disk,
            random: self.random,
            clock: &self.clock,
            push: &self.push,
        };
        let clock = ManualClock::default();
        let cycle = Cycle {
            rules: self.mirrors[mirror].rules.clone(),
            retry: RetryPolicy::default(),
            verify: true,
            clock: &clock,
            local_view: &moving,
            null: null(),
        };
        let writer = Writer::new(self.disk.clone(), &self.clock, Path::new(GIT_DIR), Duration::ZERO);
        let (shared, mirrors) = (&self.shared, self.configured());
        let record = |marks: &EntryResults| -> Result<(), ()> {
            assert!(
                marks.failed.is_empty(),
                "{:?} can never be mirrored, though nothing is gone",
                marks.failed
            );
            let with = |indexes: &[usize], status| -> Vec<(Located, Status)> {
                indexes.iter().map(|index| (pending[*index].clone(), status)).collect()
            };
            let mut settled = with(&marks.mirrored, Status::Done);
            settled.extend(with(&marks.skipped, Status::Skipped));
            shared.settle(&writer, self.disk, (mirror, mirrors), &settled)
        };
        // A killed worker stops here; its effects stay.
        let _ = cycle.run(&mut self.mirrors[mirror].world, &updates, record);
        let _ = writer.maintain(&backlog, Duration::from_secs(3600));
        self.remember_what_the_mirrors_had();
        self.check_removed();
        self.check_done();
        self.check_beside();
    }

    fn reconcile(&mut self, mirror: usize) {
        let Ok(advertisement) = self.mirrors[mirror].world.advertisement() else {
            return;
        };
        let stargate = self.stargate.borrow();
        let rules = &self.mirrors[mirror].rules;
        let compared = compare(&stargate.list(&rules.refs), &advertisement.refs, &*stargate, rules);
        let pending = self.pending(mirror, &self.backlog());
        let is_pending = |name: &BStr| pending.iter().any(|located| located.entry.update.name == name);
        let missed = missed(&compared, &advertisement.refs, &*stargate, &is_pending, null());
        drop(stargate);
        if !missed.is_empty() {
            let written = self.append(&drafts(missed, Source::Reconcile));
            self.shared.leave_to(mirror, self.configured(), self.disk, &written);
        }
    }

    /// Makes a ref or its commit unreadable.
    fn damage(&mut self) {
        let mut stargate = self.stargate.borrow_mut();
        if stargate.refs.is_empty() {
            return;
        }
        let place = self.below(stargate.refs.len());
        let (name, commit) = stargate.refs.iter().nth(place).expect("one of them");
        let (name, commit) = (name.clone(), *commit);
        if self.below(3) > 0 {
            stargate.unreadable.insert(name);
        } else {
            stargate.damaged.insert(commit);
        }
    }

    /// Makes everything readable again.
    fn mend(&mut self) {
        let mut stargate = self.stargate.borrow_mut();
        stargate.unreadable.clear();
        stargate.damaged.clear();
    }

    /// Writes to the mirror as somebody else, or removes a watermark.
    fn write_to_the_mirror(&mut self) {
        let mirror = self.any_mirror();
        if self.below(2) == 0 {
            let name = format!("refs/kv-mirror/{}", self.below(3));
            self.mirrors[mirror].world.refs.remove(name.as_bytes());
            return;
        }
        self.foreign += 1;
        let name = format!("refs/kv/{}", self.below(3));
        self.mirrors[mirror].world.refs.insert(name.into(), id(self.foreign));
        self.remember_what_the_mirrors_had();
    }

    fn remember_what_the_mirrors_had(&mut self) {
        self.mirrors.iter_mut().for_each(OneMirror::remember);
    }

    /// Rule 2.
    fn check_watermarks(&self) {
        for (mirror, name, id) in self.refs_of_mirrors() {
            let Some(namespace) = name.strip_prefix(b"refs/kv-mirror/") else {
                continue;
            };
            let ledger = watermark::ledger_ref(namespace.as_bstr());
            let had = mirror.had.get(&ledger).map(Vec::as_slice).unwrap_or_default();
            assert!(had.contains(&commit(*id)), "{name} stands where {ledger} never was");
        }
    }

    /// Rule 3.
    fn check_removed(&mut self) {
        let taken = |mirror: &mut OneMirror<'_>| {
            let rules = mirror.rules.clone();
            let removed = std::mem::take(&mut mirror.world.removed);
            removed
                .into_iter()
                .map(move |one| (rules.clone(), one))
                .collect::<Vec<_>>()
        };
        let removed: Vec<_> = self.mirrors.iter_mut().flat_map(taken).collect();
        for (rules, (name, old, new)) in removed {
            assert!(commit(old) < FOREIGN, "{name}: what others wrote was overwritten");
            let of_ref = || self.told.iter().filter(|update| update.name == name);
            let deleted = rules.deletes && of_ref().any(RefUpdate::is_delete);
            let forced = rules.force && of_ref().any(|update| update.new == new);
            assert!(deleted || forced, "{name} went from {old} to {new} unasked");
            let stargate = self.stargate.borrow();
            assert!(
                !stargate.unreadable.contains(&name),
                "{name} went from {old} to {new}, and cannot be read"
            );
            let damaged = !new.is_null() && stargate.damaged.contains(&commit(new));
            assert!(!damaged, "{name} went from {old} to {new}, which cannot be read");
        }
    }

    /// Rule 4.
    fn check_done(&self) {
        let stargate = self.stargate.borrow();
        let entries = self.entries();
        for (located, mirror) in entries.iter().flat_map(|located| {
            self.mirrors[..self.configured()]
                .iter()
                .map(move |mirror| (located, mirror))
        }) {
            let update = &located.entry.update;
            let is_its = !self.shared.has_left(mirror.place, located.entry.entry_id);
            if is_its && located.entry.status == Status::Done && !update.is_delete() {
                // An overtaken update is covered by the one that overtook it.
                let later = self.told.iter().rposition(|told| told == update).unwrap_or_default();
                assert!(
                    mirror.reached(&stargate, &update.name, commit(update.new))
                        || self.overtaken(&stargate, &update.name, later),
                    "{} is done, but {} never was on the mirror",
                    located.entry.entry_id,
                    update.new
                );
            }
        }
    }

    /// Returns true if an update at or after index `from` deleted or rewrote the ref.
    fn overtaken(&self, stargate: &Stargate, name: &BString, from: usize) -> bool {
        let rewrites = |told: &RefUpdate| told.is_delete() || !stargate.contains(commit(told.old), commit(told.new));
        self.told[from..]
            .iter()
            .any(|told| told.name == *name && rewrites(told))
    }

    /// Rule 8.
    fn check_beside(&self) {
        let stargate = self.stargate.borrow();
        for (mirror, name, id) in self.refs_of_mirrors() {
            let Some(namespace) = name.strip_prefix(b"refs/kv-mirror/") else {
                continue;
            };
            let ledger = (watermark::ledger_ref(namespace.as_bstr()), commit(*id));
            for (beside, commit_) in self.beside.get(&ledger).into_iter().flatten() {
                let pushed = self
                    .told
                    .iter()
                    .rposition(|told| told.name == *beside && told.new == world::id(*commit_));
                let overtaken = pushed.is_none_or(|pushed| self.overtaken(&stargate, beside, pushed + 1));
                assert!(
                    overtaken || mirror.reached(&stargate, beside, *commit_),
                    "{name} is at {id}, and the mirror never had {beside} at {commit_}"
                );
            }
        }
    }

    /// The updates of entries that are done, at this mirror at least.
    fn done(&self, mirror: usize) -> Vec<RefUpdate> {
        let mut entries = self.entries();
        entries.retain(|located| self.shared.status(mirror, located) == Status::Done);
        entries.into_iter().map(|located| located.entry.update).collect()
    }

    /// Every entry, in all files of the journal.
    fn entries(&self) -> Vec<Located> {
        let mut entries = Vec::new();
        let visited = journal::visit(self.disk, Path::new(GIT_DIR), None, &mut |located| {
            entries.push(located)
        });
        visited.expect("a disk in memory");
        entries
    }

    /// Rule 5.
    fn check_acknowledged(&self) {
        let there: BTreeSet<Ulid> = self.entries().iter().map(|located| located.entry.entry_id).collect();
        for entry in &self.acknowledged {
            assert!(there.contains(entry), "{entry} was acknowledged and is lost");
        }
    }

    /// Rule 1.
    fn check_arrival(&mut self) {
        self.end_faults();
        self.mend();
        // The pushes that were killed are over, and their intents are stale.
        self.clock.sleep(journal::intent::IN_FLIGHT);
        for _ in 0..4 {
            for mirror in 0..self.mirrors.len() {
                self.cycle_to(mirror, true);
            }
            self.check_watermarks();
            self.journal_waiting();
        }
        let stargate = self.stargate.borrow();
        self.mirrors.iter().for_each(|mirror| mirror.check_arrival(&stargate));
        for located in self.backlog().pending {
            let of = namespace(located.entry.update.name.as_bstr()).expect("a namespace");
            let is_held = self.mirrors.iter().any(|mirror| mirror.is_held(&stargate, of));
            assert!(is_held, "{:?} stays pending", located.entry);
        }
    }

    /// Rule 6.
    fn check_journaled(&self) {
        // A forced update or a deletion does not reach a mirror that was not there.
        let stayed = self.mirrors.iter().filter(|mirror| !mirror.was_removed);
        stayed.for_each(|mirror| self.check_journaled_on(mirror));
    }

    fn check_journaled_on(&self, mirror: &OneMirror<'_>) {
        let pending = self.backlog().pending;
        let last: BTreeMap<_, _> = self
            .told
            .iter()
            .enumerate()
            .map(|(place, told)| (&told.name, place))
            .collect();
        for (name, place) in last {
            let update = &self.told[place];
            let skipped = update.is_delete() && !mirror.rules.deletes;
            let waits = pending.iter().any(|located| located.entry.update.name == *name);
            let there = mirror.world.at(name.as_bstr());
            let foreign = there.is_some_and(|there| commit(there) >= FOREIGN);
            // Without the entry of an update between them, an earlier entry that is pending at one of several mirrors may
            // count as the end of the later ones, unless the last entry shows the gap.
            let mut told = self.told.iter().enumerate().filter(|(_, told)| told.name == *name);
            let is_whole = self.mirrors.len() == 1
                || told.all(|(place, _)| self.journaled.contains(&place))
                || self.shows_a_gap(mirror, update);
            if is_whole && self.journaled.contains(&place) && !skipped && !waits && !foreign {
                assert_eq!(
                    there.unwrap_or(null()),
                    update.new,
                    "{name} was settled, and is not as it shall be"
                );
            }
        }
    }
}

fn drafts(updates: Vec<RefUpdate>, source: Source) -> Vec<Draft> {
    let origin = Arc::new(Origin::of(source));
    let draft = |update| Draft {
        update,
        txn_id: None,
        origin: origin.clone(),
    };
    updates.into_iter().map(draft).collect()
}

fn run(seed: u64, pushes: Pushes, mirrors: usize) {
    let (stargate, disk, random) = (RefCell::default(), SimDisk::default(), RefCell::new(Random::new(seed)));
    let mut simulation = Simulation::new(&stargate, &disk, &random, (pushes, mirrors));
    for _ in 0..STEPS {
        simulation.step();
    }
    simulation.check_arrival();
    simulation.check_journaled();
}

/// The number in a variable of the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Runs the simulation with each seed. The environment or this default sets their number.
fn run_seeds(default: u64, pushes: Pushes, mirrors: usize) {
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(default),
    };
    for seed in seeds {
        let ended = std::panic::catch_unwind(|| run(seed, pushes, mirrors));
        assert!(
            ended.is_ok(),
            "seed {seed} failed; run it again with SIMULATION_SEED={seed} cargo test --test faults simulation"
        );
    }
}

#[test]
fn whatever_goes_wrong_nothing_is_lost_and_nothing_is_damaged() {
    run_seeds(DEFAULT_SEEDS, Pushes::InOrder, 1);
}

#[test]
fn in_whatever_order_hooks_append_nothing_is_lost_and_nothing_is_damaged() {
    run_seeds(DEFAULT_SEEDS / 2, Pushes::Late, 1);
}

#[test]
fn while_pushes_land_ref_by_ref_nothing_is_lost_and_no_watermark_lies() {
    run_seeds(DEFAULT_SEEDS / 2, Pushes::RefByRef, 1);
}

#[test]
fn with_several_mirrors_nothing_is_lost_and_none_waits_for_another() {
    run_seeds(DEFAULT_SEEDS / 8, Pushes::InOrder, 3);
    run_seeds(DEFAULT_SEEDS / 8, Pushes::Late, 2);
}
