//! PURE: credibility of entry ids, see *Ids* in [`journal`](crate::journal).
use jiff::Timestamp;
use ulid::Ulid;

use super::entry::Entry;

/// Milliseconds by which an id may be ahead of its entry's timestamp: a day.
const AHEAD: u64 = 24 * 60 * 60 * 1000;
/// Greatest difference from one id to the next at which the second one counts as its successor.
const STEP: u128 = 1 << 32;

/// Checks the ids of entries in file order.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ids {
    greatest: Option<Ulid>,
}

impl Ids {
    /// Records an id that precedes the following entries.
    pub(super) fn raise(&mut self, id: Ulid) {
        if is_possible(id) {
            self.greatest = self.greatest.max(Some(id));
        }
    }

    /// Takes the next entry and returns true if its id is credible. Without an earlier id, every id with a possible
    /// time is credible.
    pub(super) fn take(&mut self, entry: &Entry) -> bool {
        let id = entry.entry_id;
        let continues = match self.greatest {
            Some(greatest) => id.0 <= greatest.0.saturating_add(STEP),
            None => true,
        };
        let credible = is_of_its_time(entry) || continues && is_possible(id);
        if credible {
            self.greatest = self.greatest.max(Some(id));
        }
        credible
    }

    /// Returns the greatest credible id so far.
    pub(super) fn greatest(self) -> Option<Ulid> {
        self.greatest
    }
}

/// Returns true if the id of an entry is not ahead of the entry's timestamp.
pub(super) fn is_of_its_time(entry: &Entry) -> bool {
    let written = u64::try_from(entry.timestamp.as_millisecond()).unwrap_or(0);
    entry.entry_id.timestamp_ms() <= written.saturating_add(AHEAD) && is_possible(entry.entry_id)
}

/// Returns true if the time of an id is not later than the year 9999.
pub(super) fn is_possible(id: Ulid) -> bool {
    i64::try_from(id.timestamp_ms()).is_ok_and(|milliseconds| Timestamp::from_millisecond(milliseconds).is_ok())
}

/// Returns the greatest credible id among the last entries of a file. `None` if they do not suffice, so that more of the
/// file must be read.
///
/// A single entry whose id is ahead of its timestamp is not credible. Several in a row are credible, because the clock
/// has gone back since.
pub(super) fn greatest_of_last(entries: &[Entry]) -> Option<Ulid> {
    let strict = Ids {
        greatest: Some(Ulid::nil()),
    };
    greatest_behind(strict, entries).or_else(|| {
        let several = entries.len() > 1;
        several.then(|| greatest_behind(Ids::default(), entries)).flatten()
    })
}

/// Returns the greatest credible id of these entries, if at least one of them is credible after those in `ids`.
fn greatest_behind(mut ids: Ids, entries: &[Entry]) -> Option<Ulid> {
    let credible = entries.iter().filter(|entry| ids.take(entry)).count();
    ids.greatest.filter(|_| credible > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::draft;

    const YEAR: u64 = 365 * AHEAD;

    /// An entry with an id from one year and a timestamp from another.
    fn entry(id: u64, step: u128, written: u64) -> Entry {
        let written = Timestamp::from_millisecond((written * YEAR) as i64).unwrap();
        draft("main").entry(Ulid(Ulid::from_parts(id * YEAR, 7).0 + step), written)
    }

    fn forged(id: Ulid) -> Entry {
        Entry {
            entry_id: id,
            ..entry(50, 0, 50)
        }
    }

    fn judged(base: Option<Ulid>, entries: &[Entry]) -> Vec<bool> {
        let mut ids = Ids::default();
        base.into_iter().for_each(|base| ids.raise(base));
        entries.iter().map(|entry| ids.take(entry)).collect()
    }

    #[test]
    fn an_id_that_jumps_ahead_of_its_time_is_not_credible() {
        let entries = [
            entry(50, 0, 50),
            forged(Ulid::max()),
            entry(4000, 0, 50),
            entry(4000, 1, 50),
            entry(50, 1, 50),
        ];
        assert_eq!(judged(None, &entries), [true, false, false, false, true]);
        assert_eq!(greatest_of_last(&entries), Some(entries[4].entry_id));
        assert_eq!(greatest_of_last(&entries[..2]), Some(entries[0].entry_id));
        assert_eq!(greatest_of_last(&entries[1..2]), None, "look farther back");
        assert_eq!(judged(None, &entries[1..2]), [false], "the greatest is never the first");
    }

    #[test]
    fn ids_stay_credible_after_the_clock_went_back() {
        // The first entry was written in year 60 by a wrong clock, the later ones in year 50.
        let entries: Vec<_> = (0..5)
            .map(|step| entry(60, step, if step == 0 { 60 } else { 50 }))
            .collect();
        assert_eq!(judged(None, &entries), [true; 5]);
        assert_eq!(greatest_of_last(&entries), Some(entries[4].entry_id));
        // Without the first entry: once after the segment's name, and once without an earlier id.
        assert_eq!(judged(Some(entries[1].entry_id), &entries[2..]), [true; 3]);
        assert_eq!(judged(None, &entries[2..]), [true; 3]);
        assert_eq!(greatest_of_last(&entries[2..]), Some(entries[4].entry_id));
    }

    #[test]
    fn an_impossible_name_of_a_segment_is_ignored() {
        let mut ids = Ids::default();
        ids.raise(Ulid::max());
        assert_eq!(ids.greatest(), None);
    }
}
