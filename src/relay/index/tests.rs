//! Tests of the index, in memory and in tables.
use std::path::Path;

use durable::{
    clock::SystemClock,
    storage::{Disk, Folders},
};
use proptest::prelude::*;

use super::{files::IndexFiles, *};
use crate::journal::log::Log;

const ALL: Bounds = Bounds {
    events: usize::MAX,
    bytes: usize::MAX,
};

fn record(seq: u64) -> Record {
    let place = Place {
        file: 0,
        length: 100,
        offset: seq * 100,
    };
    Record { seq, place }
}

fn identity(id: &str, second: i64) -> Identity {
    Identity {
        event_id: id.into(),
        ts: Timestamp::from_second(second).expect("a time"),
        origin: Some(origin(("p", id))),
    }
}

fn about(id: &str) -> About {
    About {
        id: id.into(),
        name: id.into(),
        policy: "null".into(),
    }
}

fn files(folder: &Path) -> IndexFiles {
    Disk.create_dir(folder).expect("a folder");
    let (log, _) = Log::open((Disk, SystemClock::default()), (folder, "events"), |_| true).expect("a log");
    IndexFiles::create(folder, log.reader()).expect("an index")
}

/// A feed with events of these times, in the order of arrival; their ids are their numbers. After each event of `tables`, a
/// table is written.
fn feed(folder: &Path, seconds: &[i64], tables: &[usize]) -> Index {
    let mut files = files(folder);
    let mut index = Index::default();
    index.add_feed(1, about("other"), Timestamp::UNIX_EPOCH);
    index.add_feed(2, about("f"), Timestamp::UNIX_EPOCH);
    for (number, second) in seconds.iter().enumerate() {
        let seq = 2 * number as u64 + 3;
        assert!(index.add_event("f", &identity(&seq.to_string(), *second), record(seq)));
        assert!(index.add_event("other", &identity(&format!("o{seq}"), *second), record(seq + 1)));
        if tables.contains(&number) {
            let frozen = index.freeze().expect("nothing is frozen");
            files.fold(&frozen, Vec::new()).expect("a disk");
            index.use_tables(files.tables(), true);
            while files.merge(0).expect("a disk") {
                index.use_tables(files.tables(), false);
            }
        }
    }
    index
}

#[test]
fn a_number_that_was_used_and_a_feed_that_is_missing_change_nothing() {
    let mut index = Index::default();
    index.add_feed(1, about("f"), Timestamp::UNIX_EPOCH);
    assert!(index.add_event("f", &identity("a", 5), record(3)));
    for seq in [3, 1] {
        assert!(!index.add_event("f", &identity("new", 7), record(seq)), "{seq}");
    }
    assert!(
        !index.add_event("other", &identity("new", 7), record(9)),
        "no such feed"
    );
    index.add_feed(9, about("f"), Timestamp::MAX);
    index.add_feed(10, about("F"), Timestamp::MAX);
    let feed = index.feed("f").expect("a feed");
    assert_eq!(
        (feed.count(), feed.last(), feed.created(), index.last()),
        (1, 3, Timestamp::UNIX_EPOCH, 10)
    );
    let like = index.feed_like(&Folded("F".into())).expect("a feed");
    assert_eq!(&*like.about().id, "f", "the first one");
    let ids: Vec<_> = index.feeds().rev().map(|feed| &*feed.about().id).collect();
    assert_eq!(ids, ["F", "f"]);
}

#[test]
fn events_are_found_by_their_hashes_wherever_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut index = feed(folder.path(), &[1; 40], &[10, 11, 12, 30]);
    let find = |index: &Index, kind, hash| index.with_hash(kind, hash).records().expect("a disk");
    for seq in (3..83).step_by(2) {
        let id: Arc<str> = seq.to_string().into();
        let expected = [(record(seq), true)];
        assert_eq!(find(&index, Kind::Id, key::hash_of_id(&id)), expected);
        let hash = key::hash(origin(("p", &id)).as_bytes());
        assert_eq!(find(&index, Kind::Origin, hash), expected);
    }
    assert_eq!(find(&index, Kind::Id, key::hash_of_id(&"new".into())), []);
    assert_eq!(key::hash_of_id(&"É-1".into()), key::hash_of_id(&"é-1".into()));
    index.remove_before(1, 0);
    let (hash, feed) = (key::hash_of_id(&"3".into()), index.feed("f").expect("a feed"));
    assert_eq!(
        find(&index, Kind::Id, hash),
        [(record(3), false)],
        "known, but not stored"
    );
    let left = index.arrived_after(feed, 0, ALL).arrived(ALL).expect("a disk");
    assert!(left.records.is_empty());
}

#[test]
fn a_time_alone_excludes_the_events_of_exactly_this_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let index = feed(folder.path(), &[1, 2, 2, 3], &[1]);
    let feed = index.feed("f").expect("a feed");
    let after = |after| {
        index
            .after(feed, after, ALL)
            .by_time(ALL)
            .expect("a disk")
            .records
            .len()
    };
    let second = |second: i64| Timestamp::from_second(second).expect("a time");
    let counts = [None, Some(""), Some("5")].map(|id| after(Some((second(2), id))));
    assert_eq!(counts, [1, 3, 2]);
    assert_eq!(after(Some((Timestamp::MAX, None))), 0);
}

#[test]
fn no_two_pairs_are_one_origin() {
    assert_ne!(origin(("ab", "c")), origin(("a", "bc")));
    assert_ne!(origin(("", "1:a")), origin(("1:a", "")));
}

#[test]
fn bounds_let_one_event_through_in_any_case() {
    let records = || (1..4).map(|seq| Ok(((), record(seq))));
    for (bytes, expected, more) in [(0, 1, true), (199, 1, true), (200, 2, true), (300, 3, false)] {
        let slice = Bounds { events: 9, bytes }.apply(records()).expect("records");
        assert_eq!((slice.records.len(), slice.more), (expected, more), "{bytes}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_page_size_gives_the_same_sequence_once(
        seconds in prop::collection::vec(0i64..5, 0..40),
        events in 1usize..10,
        tables in prop::collection::vec(0usize..40, 0..6),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let index = feed(folder.path(), &seconds, &tables);
        let feed = index.feed("f").expect("a feed");
        let bounds = Bounds { events, ..ALL };

        let all = index.after(feed, None, ALL).by_time(ALL).expect("a disk");
        prop_assert!(!all.more && all.records.len() == seconds.len());
        prop_assert!(all.records.is_sorted_by_key(|(key, _)| key.clone()));
        let (mut paged, mut after) = (Vec::new(), None::<(Timestamp, Arc<str>)>);
        loop {
            let from = after.as_ref().map(|(ts, id)| (*ts, Some(&**id)));
            let slice = index.after(feed, from, bounds).by_time(bounds).expect("a disk");
            paged.extend(slice.records);
            after = paged.last().map(|(key, _)| key.clone());
            if !slice.more {
                break;
            }
        }
        prop_assert_eq!(paged, all.records);

        let all = index.arrived_after(feed, 0, ALL).arrived(ALL).expect("a disk").records;
        let numbers = (0..seconds.len() as u64).map(|number| ((), record(2 * number + 3)));
        prop_assert_eq!(&all, &numbers.collect::<Vec<_>>());
        let mut paged: Vec<((), Record)> = Vec::new();
        loop {
            let last = paged.last().map_or(0, |(_, record)| record.seq);
            let slice = index.arrived_after(feed, last, bounds).arrived(bounds).expect("a disk");
            paged.extend(slice.records);
            if !slice.more {
                break;
            }
        }
        prop_assert_eq!(paged, all);
    }
}
