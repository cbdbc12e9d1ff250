//! The Stargate and the mirror as models: commits are numbers, and faults come from a seed.
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap},
};

use bstr::{BStr, BString, ByteSlice};
use git_push::{Advertisement, Command, Error, ErrorKind, RemoteRef, Report, Verdict};
use gix::ObjectId;
use stargate_mirror::{
    mirror::{Damaged, LocalView, watermark},
    ref_pattern::RefPatterns,
    ref_update::RefUpdate,
    refs::{LocalRef, LocalRefs, Unreadable, Why},
    worker::Mirror,
};

use super::disk::SimDisk;
use support::random::Random;

/// A commit's id.
pub fn id(commit: u32) -> ObjectId {
    ObjectId::from_hex(format!("{commit:040x}").as_bytes()).expect("40 digits")
}

/// The null id.
pub fn null() -> ObjectId {
    gix::hash::Kind::Sha1.null()
}

/// Returns the number of the commit with this id.
pub fn commit(id: ObjectId) -> u32 {
    u32::from_str_radix(&id.to_string()[32..], 16).expect("8 digits")
}

/// Refs and history of the server that accepts pushes.
#[derive(Default)]
pub struct Stargate {
    pub refs: BTreeMap<BString, u32>,
    /// Refs that exist, but cannot be read.
    pub unreadable: BTreeSet<BString>,
    /// Commits that exist, but cannot be read.
    pub damaged: BTreeSet<u32>,
    /// Updates of entries that are done.
    pub settled: Vec<RefUpdate>,
    parents: HashMap<u32, u32>,
    commits: u32,
}

impl Stargate {
    /// A new commit.
    pub fn commit(&mut self, parent: Option<u32>) -> u32 {
        self.commits += 1;
        self.parents.extend(parent.map(|parent| (self.commits, parent)));
        self.commits
    }

    /// Returns true if `new` is `old` or descends from it.
    pub fn contains(&self, old: u32, mut new: u32) -> bool {
        loop {
            if old == new {
                return true;
            }
            match self.parents.get(&new) {
                Some(parent) => new = *parent,
                None => return false,
            }
        }
    }
}

fn damage() -> Unreadable {
    Unreadable {
        place: "/r.git/refs".into(),
        why: Why::Empty,
    }
}

impl Stargate {
    /// All commits, including those that others wrote to the mirror, which have high numbers.
    fn has(&self, id: ObjectId) -> Result<bool, Damaged> {
        if self.damaged.contains(&commit(id)) {
            return Err(Damaged(format!("object {id} cannot be read")));
        }
        Ok(commit(id) <= self.commits)
    }
}

impl LocalView for Stargate {
    fn local(&self, name: &BStr) -> LocalRef {
        if self.unreadable.contains(name.as_bytes()) {
            return LocalRef::Unreadable(damage());
        }
        let found = self.refs.get(name.as_bytes());
        found.map_or(LocalRef::Absent, |commit| LocalRef::Id(id(*commit)))
    }
    fn list(&self, patterns: &RefPatterns) -> LocalRefs {
        let is_listed = |name: &BString| patterns.matches(name.as_bstr());
        let known = self.refs.iter().filter(|(name, _)| !self.unreadable.contains(*name));
        let known = known.filter(|(name, _)| is_listed(name));
        let known = known.map(|(name, commit)| (name.clone(), id(*commit)));
        let unreadable = self.unreadable.iter().filter(|name| is_listed(name));
        let unreadable = unreadable.map(|name| (name.clone(), damage()));
        LocalRefs::from(known.collect::<BTreeMap<_, _>>()).with_unreadable(unreadable)
    }
    fn exists(&self, id: ObjectId) -> Result<bool, Damaged> {
        self.has(id)
    }
    fn fast_forward(&self, old: ObjectId, new: ObjectId) -> Result<bool, Damaged> {
        Ok(self.has(old)? && self.has(new)? && self.contains(commit(old), commit(new)))
    }
    fn settled(&self, name: &BStr) -> Result<Vec<RefUpdate>, Damaged> {
        let settled = self.settled.iter().filter(|update| update.name == name);
        Ok(settled.cloned().collect())
    }
}

/// A mirror with faults.
pub struct World<'a> {
    pub refs: BTreeMap<BString, ObjectId>,
    pub stargate: &'a RefCell<Stargate>,
    pub disk: &'a SimDisk,
    pub random: &'a RefCell<Random>,
    /// True if faults occur.
    pub faults: Cell<bool>,
    pub memory: Option<Advertisement>,
    /// Refs that were rewound or deleted: name, old id, new id. The new id of a deleted ref is the null id.
    pub removed: Vec<(BString, ObjectId, ObjectId)>,
    /// Every new value of a ref. A ref may move twice in one cycle: the Stargate's ref can move between two attempts.
    pub set: Vec<(BString, ObjectId)>,
}

impl World<'_> {
    fn fault(&self, of: usize) -> bool {
        self.faults.get() && self.random.borrow_mut().chance(of)
    }

    /// Applies all commands, or none.
    fn apply(&mut self, commands: &[Command]) -> bool {
        let held = |name: &BString| self.refs.get(name).copied().unwrap_or(null());
        if commands.iter().any(|command| held(&command.name) != command.old) {
            return false;
        }
        for command in commands {
            let stargate = self.stargate.borrow();
            let adds = command.old.is_null()
                || (!command.new.is_null() && stargate.contains(commit(command.old), commit(command.new)));
            if !adds && !watermark::is_watermark(command.name.as_bstr()) {
                self.removed.push((command.name.clone(), command.old, command.new));
            }
            if command.new.is_null() {
                self.refs.remove(&command.name);
            } else {
                self.refs.insert(command.name.clone(), command.new);
                self.set.push((command.name.clone(), command.new));
            }
        }
        true
    }

    /// Returns the id of a ref on the mirror.
    pub fn at(&self, name: &BStr) -> Option<ObjectId> {
        self.refs.get(name.as_bytes()).copied()
    }
}

fn transient() -> Error {
    Error::new(ErrorKind::Transient, "unreachable")
}

impl Mirror for World<'_> {
    fn remembered(&mut self) -> Option<Advertisement> {
        self.memory.clone()
    }

    fn remember(&mut self, advertisement: Option<Advertisement>) {
        if self.disk.effect().is_ok() {
            self.memory = advertisement;
        }
    }

    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        if self.disk.is_killed() || self.fault(8) {
            return Err(transient());
        }
        Ok(Advertisement {
            refs: self.refs.clone(),
            ..Default::default()
        })
    }

    fn push(&mut self, _: &Advertisement, commands: Vec<Command>) -> Result<Report, Error> {
        let all = |verdict: Verdict| Report::new(commands.iter().map(|c| (c.clone(), verdict.clone())).collect());
        let rejected = || all(Verdict::Rejected("declined".into()));
        if self.disk.effect().is_err() || self.fault(12) {
            return Err(transient());
        }
        let kind = if self.faults.get() {
            self.random.borrow_mut().below(16)
        } else {
            15
        };
        let report = match kind {
            0 => return Err(Error::new(ErrorKind::Uncertain, "lost on the way")),
            1 => rejected(),
            // Says ok and stores nothing, or only the first ref of the atomic push.
            2 => all(Verdict::Accepted),
            3 => {
                self.apply(&commands[..1]);
                all(Verdict::Accepted)
            }
            4 if commands.iter().any(|command| command.name.ends_with(b"/1")) => rejected(),
            _ if !self.apply(&commands) => rejected(),
            5 => return Err(Error::new(ErrorKind::Uncertain, "the answer was lost")),
            6 => all(Verdict::Unknown),
            _ => all(Verdict::Accepted),
        };
        // The worker may be killed before it reads the answer.
        match self.disk.effect() {
            Ok(()) => Ok(report),
            Err(_) => Err(Error::new(ErrorKind::Uncertain, "nobody reads this")),
        }
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        if self.disk.is_killed() || self.fault(10) {
            return Err(transient());
        }
        let wanted = self
            .refs
            .iter()
            .filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)));
        Ok(wanted
            .map(|(name, id)| RemoteRef {
                name: name.clone(),
                id: *id,
            })
            .collect())
    }
}
