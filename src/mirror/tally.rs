//! Tally of pending entries: which mirrors have settled which of them.
//!
//! The journal has one status for an entry. It stays pending until every mirror has settled the entry, each in its own
//! time. Until then, the tally has the status at each mirror that was faster. The rules, each with a test below:
//!
//! 1. An entry is settled when each of the configured mirrors has settled it. A mirror that was removed does not count.
//! 2. It is then failed if it failed at a mirror, else done if a mirror has it, else skipped.
//! 3. The result does not depend on the order in which the mirrors settle, nor on repetitions.
//! 4. A lost tally loses nothing: the entries are pending for every mirror again, and each of them is asked.
//! 5. Of two entries of a ref, the later one is never in the journal as done while the tally has lost the earlier one: the
//!    tally is written first. Otherwise the earlier one would be carried alone, and undo the later one.
//! 6. With a single mirror, every entry is settled at once, and the tally stays empty.
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::journal::Status;

/// Statuses of pending entries at single mirrors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Entries that a mirror has settled, by the mirror's name.
    mirrors: BTreeMap<String, Settled>,
}

/// Entries that one mirror has settled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Settled {
    /// Location of the mirror, without secrets.
    location: String,
    entries: BTreeMap<Ulid, Status>,
}

impl Tally {
    /// Returns the status of an entry at a mirror that has settled it.
    pub fn at(&self, mirror: &str, entry: Ulid) -> Option<Status> {
        self.mirrors.get(mirror)?.entries.get(&entry).copied()
    }

    /// Returns the number of entries with this status at a mirror.
    pub fn count(&self, mirror: &str, status: Status) -> usize {
        let settled = self.mirrors.get(mirror).map(|settled| &settled.entries);
        let with_status = settled.into_iter().flatten().filter(|(_, is)| **is == status);
        with_status.count()
    }

    /// Records that these mirrors have settled an entry with this status.
    pub fn record<'a>(&mut self, mirrors: impl IntoIterator<Item = &'a str>, entry: Ulid, status: Status) {
        for mirror in mirrors {
            let settled = self.mirrors.entry(mirror.to_owned()).or_default();
            settled.entries.insert(entry, status);
        }
    }

    /// Settles an entry at `mirror`. If each of the other `mirrors` has settled it before, returns its final status, which
    /// belongs into the journal. Once it is there, [`forget`](Self::forget) the entry.
    pub fn settle<'a>(
        &mut self,
        mirror: &str,
        mirrors: impl IntoIterator<Item = &'a str>,
        entry: Ulid,
        status: Status,
    ) -> Option<Status> {
        self.record([mirror], entry, status);
        self.overall(mirrors, entry)
    }

    /// Forgets these entries, because they are settled in the journal.
    pub fn forget(&mut self, entries: &BTreeSet<Ulid>) {
        self.retain_entries(|entry| !entries.contains(&entry));
    }

    /// Returns the final status of an entry, if each of these mirrors has settled it (rules 1 and 2).
    pub fn overall<'a>(&self, mirrors: impl IntoIterator<Item = &'a str>, entry: Ulid) -> Option<Status> {
        let mut overall = None;
        for mirror in mirrors {
            let status = self.at(mirror, entry)?;
            overall = Some(overall.map_or(status, |other| stronger(other, status)));
        }
        overall
    }

    /// Forgets every mirror that is not one of these.
    pub fn retain_mirrors<'a>(&mut self, mirrors: impl IntoIterator<Item = &'a str>) {
        let mirrors: Vec<&str> = mirrors.into_iter().collect();
        self.mirrors.retain(|name, _| mirrors.contains(&name.as_str()));
    }

    /// Forgets every entry that is not pending in the journal.
    pub fn retain_entries(&mut self, is_pending: impl Fn(Ulid) -> bool) {
        for settled in self.mirrors.values_mut() {
            settled.entries.retain(|entry, _| is_pending(*entry));
        }
        self.mirrors.retain(|_, settled| !settled.entries.is_empty());
    }

    /// Forgets what a mirror had at another location, because a new location starts without anything.
    pub fn locate(&mut self, mirror: &str, location: &str) {
        if let Some(settled) = self.mirrors.get_mut(mirror)
            && settled.location != location
        {
            if !settled.location.is_empty() {
                settled.entries.clear();
            }
            location.clone_into(&mut settled.location);
        }
    }
}

/// Returns the status that decides about the whole entry.
fn stronger(one: Status, other: Status) -> Status {
    let strength = |status| match status {
        Status::Skipped => 0,
        Status::Done => 1,
        Status::Failed => 2,
        Status::Pending => 3,
    };
    if strength(other) > strength(one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIRRORS: [&str; 3] = ["a", "b", "c"];
    const ENTRIES: u64 = 4;

    fn id(number: u64) -> Ulid {
        Ulid::from_parts(number, 0)
    }

    fn status() -> impl Strategy<Value = Status> {
        prop::sample::select(vec![Status::Done, Status::Failed, Status::Skipped])
    }

    #[test]
    fn an_entry_is_settled_when_every_mirror_has_settled_it() {
        let mut tally = Tally::default();
        tally.record(["a"], id(1), Status::Skipped);
        assert_eq!(tally.overall(["a", "b"], id(1)), None);
        tally.record(["b"], id(1), Status::Done);
        assert_eq!(tally.overall(["a", "b"], id(1)), Some(Status::Done));
        assert_eq!(tally.overall(["a", "b", "c"], id(1)), None, "added later");
        assert_eq!(tally.overall(["a"], id(1)), Some(Status::Skipped), "removed");
        tally.record(["c"], id(1), Status::Failed);
        assert_eq!(tally.overall(MIRRORS, id(1)), Some(Status::Failed));
        assert_eq!(
            (tally.count("c", Status::Failed), tally.count("c", Status::Done)),
            (1, 0)
        );
    }

    #[test]
    fn the_last_mirror_ends_an_entry_and_a_single_one_does_at_once() {
        let mut tally = Tally::default();
        assert_eq!(tally.settle("a", ["a"], id(1), Status::Done), Some(Status::Done));
        tally.forget(&[id(1)].into());
        assert_eq!(tally, Tally::default(), "rule 6");
        assert_eq!(tally.settle("a", ["a", "b"], id(1), Status::Done), None);
        assert_eq!(
            tally.settle("b", ["a", "b"], id(1), Status::Skipped),
            Some(Status::Done)
        );
        assert_eq!(tally.at("a", id(1)), Some(Status::Done), "until it is in the journal");
        tally.forget(&[id(1)].into());
        assert_eq!(tally, Tally::default());
    }

    #[test]
    fn another_location_under_the_same_name_starts_anew() {
        let mut tally = Tally::default();
        tally.record(["a", "b"], id(1), Status::Done);
        tally.locate("a", "https://h/r");
        tally.locate("a", "https://h/r");
        assert_eq!(
            tally.at("a", id(1)),
            Some(Status::Done),
            "the location was not known before"
        );
        tally.locate("a", "https://h/other");
        assert_eq!((tally.at("a", id(1)), tally.at("b", id(1))), (None, Some(Status::Done)));
    }

    #[test]
    fn a_saved_tally_is_read_again() {
        let mut tally = Tally::default();
        tally.record(["a", "https://h/r"], id(1), Status::Done);
        tally.locate("a", "x");
        let text = serde_json::to_string(&tally).unwrap();
        assert_eq!(serde_json::from_str::<Tally>(&text).unwrap(), tally);
    }

    proptest! {
        #[test]
        fn the_order_of_the_mirrors_and_repetitions_change_nothing(
            statuses in prop::collection::vec(status(), MIRRORS.len()),
            order in Just((0..MIRRORS.len()).collect::<Vec<_>>()).prop_shuffle(),
            again in 0..MIRRORS.len(),
        ) {
            let (mut ordered, mut shuffled) = (Tally::default(), Tally::default());
            for (mirror, status) in MIRRORS.iter().zip(&statuses) {
                ordered.record([*mirror], id(1), *status);
            }
            for place in order.iter().chain([&again]) {
                shuffled.record([MIRRORS[*place]], id(1), statuses[*place]);
            }
            prop_assert_eq!(&shuffled, &ordered);
            let overall = ordered.overall(MIRRORS, id(1)).unwrap();
            prop_assert!(statuses.contains(&overall));
            prop_assert_eq!(overall == Status::Failed, statuses.contains(&Status::Failed));
            let is_skipped = statuses.iter().all(|status| *status == Status::Skipped);
            prop_assert_eq!(overall == Status::Skipped, is_skipped);
        }

        #[test]
        fn an_entry_leaves_only_after_all_mirrors_and_what_is_pending_stays(
            steps in prop::collection::vec((0..MIRRORS.len(), 0..ENTRIES, status()), 0..40),
            kept in prop::collection::btree_set(0..ENTRIES, 0..4),
        ) {
            let mut tally = Tally::default();
            let mut known = BTreeSet::new();
            for (mirror, entry, status) in steps {
                tally.record([MIRRORS[mirror]], id(entry), status);
                known.insert((mirror, entry));
            }
            for entry in 0..ENTRIES {
                let everywhere = (0..MIRRORS.len()).all(|mirror| known.contains(&(mirror, entry)));
                prop_assert_eq!(tally.overall(MIRRORS, id(entry)).is_some(), everywhere);
            }
            tally.retain_entries(|entry| kept.iter().any(|kept| id(*kept) == entry));
            tally.retain_mirrors(["a", "c"]);
            for (mirror, entry) in known {
                let stays = kept.contains(&entry) && MIRRORS[mirror] != "b";
                prop_assert_eq!(tally.at(MIRRORS[mirror], id(entry)).is_some(), stays);
            }
        }
    }
}
