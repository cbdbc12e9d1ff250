//! The journal's writer on a storage that fails, falls short or stops, and against others who write.
#![cfg(unix)]
use std::{
    cell::{Cell, RefCell},
    ffi::OsString,
    fs, io,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use jiff::Timestamp;
use proptest::prelude::*;
use stargate_mirror::{
    clock::Clock,
    journal::{Appended, Backlog, Cause, Draft, FOLDER, Repair, Source, Status, WriteError, Writer, path_in},
    ref_update::RefUpdate,
    storage::{Disk, DiskFile, Identity, Look, Storage},
};

/// A clock that moves only when someone sleeps, and tells a test of that.
struct StillClock<F: Fn()> {
    elapsed: Cell<Duration>,
    on_sleep: F,
}

impl<F: Fn()> Clock for StillClock<F> {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
    fn elapsed(&self) -> Duration {
        self.elapsed.get()
    }
    fn sleep(&self, duration: Duration) {
        self.elapsed.set(self.elapsed.get() + duration);
        (self.on_sleep)();
    }
    fn random(&self) -> f64 {
        // Never the same twice, as names of files in quarantine must be.
        static DRAWN: AtomicU32 = AtomicU32::new(0);
        f64::from(DRAWN.fetch_add(1, Ordering::Relaxed)) / f64::from(u32::MAX)
    }
}

fn clock_with<F: Fn()>(on_sleep: F) -> StillClock<F> {
    StillClock {
        elapsed: Cell::default(),
        on_sleep,
    }
}

fn clock() -> impl Clock {
    clock_with(|| panic!("nobody has the lock, so nobody waits"))
}

/// What happens at one call of a verb.
#[derive(Clone, Copy)]
enum Fault {
    /// It fails.
    Error(io::ErrorKind),
    /// Half of the bytes are written.
    Short,
}

/// A disk that does to each call of a verb what `fault` says of it, given the number of the call.
struct Faulty<'a> {
    fault: &'a dyn Fn(&str, usize) -> Option<Fault>,
    calls: RefCell<Vec<&'static str>>,
}

impl<'a> Faulty<'a> {
    fn new(fault: &'a dyn Fn(&str, usize) -> Option<Fault>) -> Self {
        Faulty {
            fault,
            calls: RefCell::default(),
        }
    }

    fn call<T>(&self, verb: &'static str, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.next(verb) {
            Some(Fault::Error(kind)) => Err(kind.into()),
            _ => act(),
        }
    }

    fn next(&self, verb: &'static str) -> Option<Fault> {
        let mut calls = self.calls.borrow_mut();
        calls.push(verb);
        (self.fault)(verb, calls.len() - 1)
    }
}

impl Storage for &Faulty<'_> {
    type File = DiskFile;
    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        self.call("create_dir", || Disk.create_dir(path))
    }
    fn open_append(&self, path: &Path) -> io::Result<DiskFile> {
        self.call("open_append", || Disk.open_append(path))
    }
    fn open_overwrite(&self, path: &Path) -> io::Result<DiskFile> {
        self.call("open_overwrite", || Disk.open_overwrite(path))
    }
    fn open_read(&self, path: &Path) -> io::Result<DiskFile> {
        self.call("open_read", || Disk.open_read(path))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call("remove", || Disk.remove(path))
    }
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.call("list", || Disk.list(path))
    }
    fn look(&self, path: &Path) -> io::Result<Option<Look>> {
        self.call("look", || Disk.look(path))
    }
    fn network(&self, path: &Path) -> io::Result<Option<&'static str>> {
        match self.next("network") {
            Some(_) => Ok(Some("NFS")),
            None => Disk.network(path),
        }
    }
    fn identity(&self, file: &DiskFile) -> io::Result<Identity> {
        self.call("identity", || Disk.identity(file))
    }
    fn reserve(&self, file: &DiskFile, bytes: u64) -> io::Result<()> {
        self.call("reserve", || Disk.reserve(file, bytes))
    }
    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        self.call("write_new", || Disk.write_new(path, bytes, mode))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call("rename", || Disk.rename(from, to))
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.call("sync_dir", || Disk.sync_dir(path))
    }
    fn try_lock(&self, file: &DiskFile) -> io::Result<bool> {
        self.call("try_lock", || Disk.try_lock(file))
    }
    fn still_names(&self, path: &Path, file: &DiskFile) -> io::Result<bool> {
        self.call("still_names", || Disk.still_names(path, file))
    }
    fn length(&self, file: &DiskFile) -> io::Result<u64> {
        self.call("length", || Disk.length(file))
    }
    fn read_at(&self, file: &DiskFile, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.call("read_at", || Disk.read_at(file, offset, buffer))
    }
    fn append(&self, file: &DiskFile, bytes: &[u8]) -> io::Result<usize> {
        match self.next("append") {
            None => Disk.append(file, bytes),
            Some(Fault::Short) => Disk.append(file, &bytes[..bytes.len() / 2]),
            Some(Fault::Error(kind)) => Err(kind.into()),
        }
    }
    fn overwrite_at(&self, file: &DiskFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.call("overwrite_at", || Disk.overwrite_at(file, offset, bytes))
    }
    fn truncate(&self, file: &DiskFile, length: u64) -> io::Result<()> {
        self.call("truncate", || Disk.truncate(file, length))
    }
    fn sync(&self, file: &DiskFile) -> io::Result<()> {
        self.call("sync", || Disk.sync(file))
    }
}

fn draft(name: &str) -> Draft {
    let line = format!("{} {} refs/kv/{name}", "0".repeat(40), "1".repeat(40));
    Draft {
        update: RefUpdate::parse(line.as_bytes()).expect("a ref update"),
        pusher: None,
        repo: None,
        source: Source::PostReceive,
        meta: None,
    }
}

fn drafts(names: &[&str]) -> Vec<Draft> {
    names.iter().map(|name| draft(name)).collect()
}

fn append(storage: impl Storage, git_dir: &Path, names: &[&str]) -> Result<Appended, WriteError> {
    Writer::new(storage, clock(), git_dir, Duration::from_secs(10)).append(&drafts(names))
}

fn backlog(git_dir: &Path) -> Backlog {
    Backlog::read(&path_in(git_dir)).expect("a journal can be read")
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
    assert_eq!(&calls[calls.len() - 3..], ["append", "append", "sync"]);

    append(&faulty, folder.path(), &["c"]).unwrap();
    assert!(!faulty.calls.take().contains(&"sync_dir"), "nothing was created");
}

#[test]
fn a_write_that_falls_short_or_fails_is_cut_back_and_the_next_goes_on() {
    for fault in [Fault::Short, Fault::Error(io::ErrorKind::StorageFull)] {
        let folder = folder();
        let appends = Cell::new(0);
        let second = |verb: &str, _| {
            let is_second = verb == "append" && appends.replace(appends.get() + 1) == 1;
            is_second.then_some(fault)
        };
        let appended = append(&Faulty::new(&second), folder.path(), &["a", "b", "c"]).unwrap();
        assert_eq!(appended.written.len(), 2);
        let [(1, cause)] = &appended.failed[..] else {
            panic!("{:?}", appended.failed)
        };
        let why = cause.to_string();
        assert!(
            why.contains("bytes could be written") || why.contains("the write failed"),
            "{why}"
        );
        assert_eq!(names(folder.path()), ["a", "c"]);
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
    let appended = append(&Faulty::new(&fault), folder.path(), &["a", "b"]).unwrap();
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
fn after_a_failed_sync_every_entry_has_failed_and_nobody_syncs_again() {
    let folder = folder();
    let fault = |verb: &str, _| (verb == "sync").then_some(Fault::Error(io::ErrorKind::Other));
    let faulty = Faulty::new(&fault);
    let appended = append(&faulty, folder.path(), &["a", "b"]).unwrap();
    assert!(appended.written.is_empty());
    let failed: Vec<_> = appended
        .failed
        .iter()
        .map(|(index, cause)| (*index, matches!(cause, Cause::Sync(_))))
        .collect();
    assert_eq!(failed, [(0, true), (1, true)]);
    assert_eq!(faulty.calls.take().iter().filter(|call| **call == "sync").count(), 1);
}

#[test]
fn a_writer_that_stops_at_any_call_leaves_a_journal_that_goes_on() {
    // A journal with a torn tail, so that every step there is comes before the append.
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
        // From here on nothing happens any more; the write that is under way gets half of its bytes out.
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
    // 1 + 2 + 4 + 8 + 16 + 32 ms, then 50 ms at a time, up to a second.
    assert_eq!(sleeps.get(), 6 + 19);
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
    long.pusher = Some("\u{1}".repeat(200_000).into());
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
        // A cut between an entry and its line feed costs nothing.
        let complete = whole[..(length + 1).min(whole.len())].iter().filter(|byte| **byte == b'\n').count();
        prop_assert_eq!(kept, complete);
        prop_assert_eq!(&found[..kept], &all[..kept]);
        prop_assert_eq!(&found[kept], "new");
        prop_assert_eq!(backlog(folder.path()).problem_count, 0);
    }
}
