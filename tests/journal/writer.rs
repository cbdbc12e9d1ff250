//! The journal's writer on a storage that fails, writes short or stops, and with concurrent writers.
#![cfg(unix)]

use std::{
    cell::{Cell, RefCell},
    fs, io,
    path::Path,
    time::Duration,
};

use durable::storage::{Disk, LockFiles, Storage, WriteFiles};
use proptest::prelude::*;
use stargate_mirror::journal::{
    Appended, Backlog, Cause, FOLDER, Origin, Repair, Source, Status, WriteError, Writer, path_in,
};
use support::faulty::{Fault, Faulty, clock, clock_with};

use crate::drafts::{draft, drafts};

fn append(storage: impl Storage, git_dir: &Path, names: &[&str]) -> Result<Appended, WriteError> {
    Writer::new(storage, clock(), git_dir, Duration::from_secs(10)).append(&drafts(names))
}

fn backlog(git_dir: &Path) -> Backlog {
    Backlog::load(&Disk, git_dir).expect("a journal can be read")
}

/// The names in the journal, in order.
fn names(git_dir: &Path) -> Vec<String> {
    let name = |name: &[u8]| String::from_utf8_lossy(&name["refs/kv/".len()..]).into_owned();
    backlog(git_dir)
        .pending
        .iter()
        .map(|located| name(&located.entry.update.name))
        .collect()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn everything_is_synced_after_the_last_write_and_directories_before_the_first_entry() {
    let folder = folder();
    let faulty = Faulty::new(&|_, _| None);
    append(&faulty, folder.path(), &["a", "b"]).unwrap();
    let calls = faulty.calls.take();
    let position = |verb| calls.iter().position(|call| *call == verb).unwrap();
    assert_eq!(
        calls.iter().filter(|call| **call == "sync_dir").count(),
        2,
        "the folder, and the one that holds it"
    );
    assert!(position("sync_dir") < position("append"));
    assert_eq!(&calls[calls.len() - 2..], ["append", "sync"], "one write");

    append(&faulty, folder.path(), &["c"]).unwrap();
    assert!(!faulty.calls.take().contains(&"sync_dir"), "nothing was created");
}

#[test]
fn a_write_that_falls_short_or_fails_is_cut_back_and_the_next_goes_on() {
    let full = io::ErrorKind::StorageFull;
    for (fault, failed, kept) in [(Fault::Short, 1, ["a", "c"]), (Fault::Error(full), 0, ["b", "c"])] {
        let folder = folder();
        let appends = Cell::new(0);
        let first = |verb: &str, _| {
            let is_first = verb == "append" && appends.replace(appends.get() + 1) == 0;
            is_first.then_some(fault)
        };
        let appended = append(&Faulty::new(&first), folder.path(), &["a", "b", "c"]).unwrap();
        assert_eq!(appended.written.len(), 2);
        let [(index, cause)] = &appended.failed[..] else {
            panic!("{:?}", appended.failed)
        };
        let why = cause.to_string();
        assert!(
            why.contains("bytes could be written") || why.contains("the write failed"),
            "{why}"
        );
        assert_eq!(
            (*index, names(folder.path())),
            (failed, kept.map(str::to_owned).to_vec())
        );
        assert_eq!(backlog(folder.path()).problem_count, 0);
    }
}

#[test]
fn what_cannot_be_cut_back_stops_the_append_and_the_next_writer_repairs_it() {
    let folder = folder();
    let fault = |verb: &str, _| match verb {
        "append" => Some(Fault::Short),
        "truncate" => Some(Fault::Error(io::ErrorKind::Other)),
        _ => None,
    };
    let appended = append(&Faulty::new(&fault), folder.path(), &["longer", "b"]).unwrap();
    assert!(appended.written.is_empty());
    assert!(
        appended
            .failed
            .iter()
            .all(|(_, cause)| matches!(cause, Cause::NotCutBack(_)))
            && appended.failed.len() == 2
    );

    let appended = append(Disk, folder.path(), &["c"]).unwrap();
    assert!(matches!(appended.repaired, Some(Repair::Quarantined { .. })));
    assert_eq!(names(folder.path()), ["c"]);
}

#[test]
fn after_a_failed_sync_the_entries_go_to_a_new_segment_and_nobody_syncs_that_file_again() {
    let folder = folder();
    append(Disk, folder.path(), &["old"]).unwrap();
    let fault = |verb: &str, _| (verb == "sync").then_some(Fault::Error(io::ErrorKind::Other));
    let faulty = Faulty::new(&fault);
    let appended = append(&faulty, folder.path(), &["a", "b"]).unwrap();
    assert_eq!((appended.written.len(), appended.failed.len()), (2, 0));
    assert_eq!(faulty.calls.take().iter().filter(|call| **call == "sync").count(), 1);

    // The same entries are in the failed file and in the new one, and are read once.
    let whole = Backlog::load(&Disk, folder.path()).unwrap();
    let ids: Vec<_> = whole.pending.iter().map(|located| located.entry.entry_id).collect();
    assert_eq!(ids[1..], appended.written);
    assert_eq!(whole.counts.pending, 3);
    assert_eq!(whole.pending[1].copies[0].segment, appended.segment);
    assert_eq!(
        fs::read(path_in(folder.path())).unwrap(),
        b"",
        "others begin a new file"
    );

    let next = append(Disk, folder.path(), &["c"]).unwrap().written;
    assert!(next[0] > appended.written[1]);
    let settlements: Vec<_> = whole
        .pending
        .into_iter()
        .map(|located| (located, Status::Done))
        .collect();
    let writer = Writer::new(Disk, clock(), folder.path(), Duration::from_secs(1));
    assert_eq!(writer.settle(&settlements).unwrap().settled, 3);
    let left = Backlog::load(&Disk, folder.path()).unwrap();
    assert_eq!(
        (left.pending.len(), left.counts.done),
        (1, 5),
        "both copies have their status"
    );
}

#[test]
fn when_nothing_can_be_made_durable_every_entry_has_failed() {
    let folder = folder();
    let fault = |verb: &str, _| matches!(verb, "sync" | "write_new").then_some(Fault::Error(io::ErrorKind::Other));
    let appended = append(&Faulty::new(&fault), folder.path(), &["a", "b"]).unwrap();
    assert!(appended.written.is_empty());
    let failed: Vec<_> = appended
        .failed
        .iter()
        .map(|(index, cause)| (*index, matches!(cause, Cause::Sync(_))))
        .collect();
    assert_eq!(failed, [(0, true), (1, true)]);
}

#[test]
fn a_network_file_system_is_refused_unless_it_is_allowed() {
    let folder = folder();
    let fault = |verb: &str, _| (verb == "network").then_some(Fault::Short);
    let faulty = Faulty::new(&fault);
    let error = append(&faulty, folder.path(), &["a"]).unwrap_err();
    assert!(matches!(error, WriteError::Network { kind: "NFS", .. }));
    assert!(
        error.to_string().contains("git config stargate.allowNfs true"),
        "{error}"
    );
    let writer = Writer::new(&faulty, clock(), folder.path(), Duration::from_secs(1)).allow_network(true);
    writer.append(&drafts(&["a"])).unwrap();
    assert_eq!(names(folder.path()), ["a"]);
}

#[test]
fn ids_grow_over_a_rotation_while_the_clock_goes_back() {
    let folder = folder();
    let clock = clock();
    clock.now.set(2_000_000);
    let writer = Writer::new(Disk, &clock, folder.path(), Duration::from_secs(1));
    let first = writer.append(&drafts(&["a"])).unwrap().written[0];
    clock.now.set(1_000_000);
    let segment = writer.rotate().unwrap().unwrap();
    let second = writer.append(&drafts(&["b"])).unwrap().written[0];
    assert!(first < segment && segment < second);
    assert_eq!(writer.rotate().unwrap().unwrap().0, second.0 + 1);
    assert_eq!(writer.rotate().unwrap(), None, "an empty journal is not put aside");
}

#[test]
fn a_writer_that_stops_at_any_call_leaves_a_journal_that_goes_on() {
    // A journal with a torn tail, so that every possible step precedes the append.
    let prepare = || {
        let folder = folder();
        append(Disk, folder.path(), &["old"]).unwrap();
        let torn = [&fs::read(path_in(folder.path())).unwrap()[..], b"{\"entry_id\":\"01"].concat();
        fs::write(path_in(folder.path()), torn).unwrap();
        folder
    };
    let faultless = Faulty::new(&|_, _| None);
    append(&faultless, prepare().path(), &["a", "b", "c"]).unwrap();
    let calls = faultless.calls.take().len();
    assert!(calls > 10);

    for stop in 0..calls {
        let folder = prepare();
        // From here on no call has an effect; the current write completes half of its bytes.
        let fault = |_: &str, call: usize| match call {
            call if call < stop => None,
            call if call == stop => Some(Fault::Short),
            _ => Some(Fault::Error(io::ErrorKind::BrokenPipe)),
        };
        let acknowledged =
            append(&Faulty::new(&fault), folder.path(), &["a", "b", "c"]).map(|appended| appended.written);
        append(Disk, folder.path(), &["new"]).unwrap_or_else(|error| panic!("stopped at {stop}: {error}"));

        let found = names(folder.path());
        let after = backlog(folder.path());
        assert_eq!(after.problem_count, 0, "stopped at {stop}");
        assert_eq!(
            (&*found[0], &*found[found.len() - 1]),
            ("old", "new"),
            "stopped at {stop}"
        );
        let order = ["a", "b", "c"]
            .iter()
            .filter(|name| found.contains(&(**name).to_owned()));
        assert!(
            order.eq(found[1..found.len() - 1].iter()),
            "stopped at {stop}: {found:?}"
        );
        assert!(
            after
                .pending
                .is_sorted_by(|one, two| one.entry.entry_id < two.entry.entry_id)
        );
        for id in acknowledged.unwrap_or_default() {
            assert!(
                after.pending.iter().any(|located| located.entry.entry_id == id),
                "stopped at {stop}"
            );
        }
    }
}

#[test]
fn a_journal_that_was_replaced_while_waiting_for_its_lock_is_noticed() {
    let folder = folder();
    append(Disk, folder.path(), &["a"]).unwrap();
    let journal = path_in(folder.path());
    let held = RefCell::new(Some(Disk.open_append(&journal).unwrap()));
    assert!(Disk.try_lock(held.borrow().as_ref().unwrap()).unwrap());
    let aside = journal.with_extension("aside");
    let replace = || {
        fs::rename(&journal, &aside).unwrap();
        held.take();
    };
    let writer = Writer::new(Disk, clock_with(replace), folder.path(), Duration::from_secs(1));
    writer.append(&drafts(&["b"])).unwrap();
    assert_eq!(names(folder.path()), ["b"]);
    assert_eq!(
        Backlog::read(&aside).unwrap().pending.len(),
        1,
        "nothing was added to the one that was put aside"
    );
}

#[test]
fn waiting_for_the_lock_doubles_up_to_a_cap_and_ends() {
    let folder = folder();
    append(Disk, folder.path(), &["a"]).unwrap();
    let held = Disk.open_append(&path_in(folder.path())).unwrap();
    assert!(Disk.try_lock(&held).unwrap());
    let sleeps = Cell::new(0);
    let clock = clock_with(|| sleeps.set(sleeps.get() + 1));
    let error = Writer::new(Disk, clock, folder.path(), Duration::from_secs(1))
        .append(&drafts(&["b"]))
        .unwrap_err();
    assert!(matches!(error, WriteError::Locked { .. }), "{error}");
    // 1 + 2 ms, then 4 ms at a time, up to a second.
    assert_eq!(sleeps.get(), 2 + 250);
    assert_eq!(names(folder.path()), ["a"]);
}

#[test]
fn a_status_is_overwritten_in_place_and_nothing_else_changes() {
    let folder = folder();
    append(Disk, folder.path(), &["a", "b", "c", "d"]).unwrap();
    let before = fs::read_to_string(path_in(folder.path())).unwrap();
    let entries = backlog(folder.path()).pending;
    let faulty = Faulty::new(&|_, _| None);
    let writer = Writer::new(&faulty, clock(), folder.path(), Duration::from_secs(1));
    let statuses = [Status::Done, Status::Failed, Status::Skipped];
    let settlements: Vec<_> = entries.iter().cloned().zip(statuses).collect();
    let settled = writer.settle(&settlements).unwrap();
    assert_eq!((settled.settled, settled.failed.len()), (3, 0));
    let calls = faulty.calls.take();
    assert_eq!(calls.iter().filter(|call| **call == "sync").count(), 1);
    assert_eq!(calls.last(), Some(&"sync"));

    let expected = ["\"done\"   ", "\"failed\" ", "\"skipped\""]
        .iter()
        .fold(before, |text, status| {
            text.replacen("\"status\":\"pending\"", &format!("\"status\":{status}"), 1)
        });
    assert_eq!(fs::read_to_string(path_in(folder.path())).unwrap(), expected);
    assert_eq!(names(folder.path()), ["d"]);
    assert_eq!(
        writer.settle(&settlements).unwrap().settled,
        3,
        "the same again changes nothing"
    );
}

#[test]
fn a_status_that_someone_else_changed_is_left_alone() {
    let folder = folder();
    append(Disk, folder.path(), &["a", "b"]).unwrap();
    let entries = backlog(folder.path()).pending;
    let writer = Writer::new(Disk, clock(), folder.path(), Duration::from_secs(1));
    writer.settle(&[(entries[0].clone(), Status::Skipped)]).unwrap();
    let mut elsewhere = entries[1].clone();
    elsewhere.entry.entry_id = entries[0].entry.entry_id;
    let settled = writer
        .settle(&[(entries[0].clone(), Status::Done), (elsewhere, Status::Done)])
        .unwrap();
    assert_eq!(settled.settled, 0);
    let failed: Vec<_> = settled
        .failed
        .iter()
        .map(|(index, cause)| (*index, matches!(cause, Cause::Moved(_))))
        .collect();
    assert_eq!(failed, [(0, true), (1, true)]);
    assert_eq!(names(folder.path()), ["b"]);
}

#[test]
fn repair_by_name_makes_a_torn_journal_whole_and_touches_no_other() {
    let folder = folder();
    let writer = Writer::new(Disk, clock(), folder.path(), Duration::from_secs(1));
    assert_eq!(writer.repair().unwrap(), None, "there is no journal");
    assert!(!folder.path().join(FOLDER).exists());
    append(Disk, folder.path(), &["a"]).unwrap();
    assert_eq!(writer.repair().unwrap(), None);
    let whole = fs::read(path_in(folder.path())).unwrap();
    fs::write(path_in(folder.path()), whole.strip_suffix(b"\n").unwrap()).unwrap();
    assert_eq!(writer.repair().unwrap(), Some(Repair::Completed));
    assert_eq!(fs::read(path_in(folder.path())).unwrap(), whole);
}

#[test]
fn an_entry_that_is_longer_than_a_reader_takes_is_refused() {
    let folder = folder();
    let mut long = draft("long");
    let pusher = Some("\u{1}".repeat(200_000).into());
    long.origin = Origin {
        pusher,
        ..Origin::of(Source::PostReceive)
    }
    .into();
    let writer = Writer::new(Disk, clock(), folder.path(), Duration::from_secs(1));
    let appended = writer.append(&[draft("a"), long, draft("b")]).unwrap();
    assert!(
        matches!(appended.failed[..], [(1, Cause::TooLong(_))]),
        "{:?}",
        appended.failed
    );
    assert_eq!(names(folder.path()), ["a", "b"]);
}

#[test]
fn ids_go_on_after_the_last_entry_even_behind_much_damage_and_a_clock_that_stands_still() {
    let folder = folder();
    append(Disk, folder.path(), &["a"]).unwrap();
    let mut journal = fs::read(path_in(folder.path())).unwrap();
    journal.extend_from_slice("damage\n".repeat(100_000).as_bytes());
    fs::write(path_in(folder.path()), journal).unwrap();
    append(Disk, folder.path(), &["b"]).unwrap();
    let pending = backlog(folder.path()).pending;
    assert_eq!(pending[1].entry.entry_id.0, pending[0].entry.entry_id.0 + 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_journal_cut_anywhere_and_appended_to_keeps_every_entry_before_the_cut(
        sizes in proptest::collection::vec(1usize..300, 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let folder = folder();
        let all: Vec<String> = sizes.iter().enumerate().map(|(number, size)| format!("{number}/{}", "x".repeat(*size))).collect();
        append(Disk, folder.path(), &all.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        let whole = fs::read(path_in(folder.path())).unwrap();
        let length = cut.index(whole.len() + 1);
        fs::write(path_in(folder.path()), &whole[..length]).unwrap();
        append(Disk, folder.path(), &["new"]).unwrap();

        let found = names(folder.path());
        let kept = found.len() - 1;
        // A cut between an entry and its line feed loses nothing.
        let complete = whole[..(length + 1).min(whole.len())].iter().filter(|byte| **byte == b'\n').count();
        prop_assert_eq!(kept, complete);
        prop_assert_eq!(&found[..kept], &all[..kept]);
        prop_assert_eq!(&found[kept], "new");
        prop_assert_eq!(backlog(folder.path()).problem_count, 0);
    }
}
