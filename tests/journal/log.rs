//! A log of lines on a storage that fails, writes short or stops.
#![cfg(unix)]

use std::{cell::Cell, collections::BTreeSet, fs, io, path::Path};

use durable::{clock::Clock, storage::Storage};
use stargate_mirror::journal::{
    Cause, Repair, WriteError,
    log::{Log, Place, Written},
};
use support::faulty::{Fault, Faulty, clock};

const STEM: &str = "events";
const MAX_LINE: usize = 64;

/// Findings of opening a log.
#[derive(Debug, Default)]
struct Found {
    repaired: Option<Repair>,
    lines: Vec<String>,
}

/// Opens the log, and returns its lines.
fn open<S: Storage + Clone>(storage: S, folder: &Path) -> Result<(Log<S, impl Clock>, Found), WriteError> {
    let mut lines = Vec::new();
    let is_complete = |tail: &[u8]| tail.ends_with(b".");
    let (log, repaired) = Log::open((storage, clock()), (folder, STEM), is_complete)?;
    let (newest, _) = log.end();
    for file in newest - log.segments().len() as u32..=newest {
        let visited = log.reader().visit((file, 0), MAX_LINE, |line| {
            let shown = line.bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            lines.push(shown.unwrap_or_else(|| format!("{} bytes", line.length)));
            Ok(())
        });
        visited.map_err(|source| WriteError::Storage {
            what: "read",
            path: folder.into(),
            source,
        })?;
    }
    Ok((log, Found { repaired, lines }))
}

fn append<S: Storage + Clone>(log: &mut Log<S, impl Clock>, lines: &[&str]) -> Result<Written, WriteError> {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for line in lines {
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        ends.push(bytes.len());
    }
    log.append(&bytes, &ends)
}

fn lines(folder: &Path) -> Vec<String> {
    let sound = Faulty::new(&|_, _| None);
    open(&sound, folder).expect("a log").1.lines
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Injects `fault` into the first call of a verb.
fn first(verb: &'static str, fault: Fault) -> impl Fn(&str, usize) -> Option<Fault> {
    let done = Cell::new(false);
    move |called, _| (called == verb && !done.replace(true)).then_some(fault)
}

#[test]
fn lines_are_written_once_synced_once_and_read_back_by_place() {
    let folder = folder();
    let sound = Faulty::new(&|_, _| None);
    let (mut log, found) = open(&sound, folder.path()).expect("a log");
    assert!(found.repaired.is_none() && found.lines.is_empty(), "{found:?}");
    assert!(
        sound.calls.take().contains(&"sync_dir"),
        "the name is durable before a line is"
    );
    let written = append(&mut log, &["one.", "two."]).expect("a disk");
    assert_eq!((written.complete, written.file, written.offset), (2, 0, 0));
    assert_eq!(sound.calls.take(), ["append", "sync"]);
    let written = append(&mut log, &["three."]).expect("a disk");
    let place = Place {
        file: written.file,
        offset: written.offset,
        length: 6,
    };
    assert_eq!(log.reader().read(place).expect("bytes"), b"three.");
    drop(log);
    assert_eq!(lines(folder.path()), ["one.", "two.", "three."]);
    let calls = sound.calls.take();
    let (..) = open(&sound, folder.path()).expect("a log");
    let calls = [calls, sound.calls.take()].concat();
    let position = |verb| calls.iter().rposition(|call| *call == verb);
    assert!(position("sync").is_some(), "{calls:?}");
    assert!(position("sync") < position("read_at"), "what is shown is durable");
}

#[test]
fn a_write_that_falls_short_is_cut_back_and_the_next_goes_on() {
    for (fault, complete) in [(Fault::Short, 1), (Fault::Error(io::ErrorKind::StorageFull), 0)] {
        let folder = folder();
        let fault = first("append", fault);
        let faulty = Faulty::new(&fault);
        let (mut log, ..) = open(&faulty, folder.path()).expect("a log");
        let written = append(&mut log, &["one.", "two.", "three."]).expect("a log that goes on");
        assert_eq!(written.complete, complete);
        assert!(
            matches!(written.cause, Some(Cause::Short { .. } | Cause::Write(_))),
            "{:?}",
            written.cause
        );
        append(&mut log, &["four."]).expect("a disk");
        let expected: &[&str] = if complete == 1 { &["one.", "four."] } else { &["four."] };
        assert_eq!(lines(folder.path()), expected);
    }
}

#[test]
fn after_an_fsync_that_failed_lines_stand_in_a_new_file_and_places_stay() {
    let folder = folder();
    let syncs = Cell::new(0);
    let third = |verb: &str, _| {
        let is_third = verb == "sync" && syncs.replace(syncs.get() + 1) == 1;
        is_third.then_some(Fault::Error(io::ErrorKind::Other))
    };
    let faulty = Faulty::new(&third);
    let (mut log, ..) = open(&faulty, folder.path()).expect("a log");
    append(&mut log, &["one."]).expect("a disk");
    let written = append(&mut log, &["two.", "three."]).expect("a new file");
    assert_eq!((written.complete, written.file, written.offset), (2, 1, 0));
    let calls = faulty.calls.take();
    assert_eq!(calls[calls.len() - 3..], ["append", "sync", "sync_dir"]);
    let after = append(&mut log, &["four."]).expect("a disk");
    assert_eq!((after.file, after.offset), (1, 12));
    let read = |file, offset, length| log.reader().read(Place { file, length, offset }).expect("bytes");
    assert_eq!((read(0, 0, 4), read(1, 5, 6)), (b"one.".to_vec(), b"three.".to_vec()));
    // The first file may keep its copies of the lines that were written to the second.
    assert_eq!(
        lines(folder.path()),
        ["one.", "two.", "three.", "two.", "three.", "four."]
    );
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2);
}

#[test]
fn in_doubt_it_takes_nothing_more() {
    let broken = Fault::Error(io::ErrorKind::Other);
    for verbs in [&["sync"][..], &["append", "truncate"]] {
        let folder = folder();
        let ready = Cell::new(false);
        let fault = |verb: &str, _| (ready.get() && verbs.contains(&verb)).then_some(broken);
        let faulty = Faulty::new(&fault);
        let (mut log, ..) = open(&faulty, folder.path()).expect("a log");
        append(&mut log, &["one."]).expect("a disk");
        ready.set(true);
        assert!(append(&mut log, &["two."]).is_err());
        ready.set(false);
        let error = append(&mut log, &["three."]).expect_err("in doubt");
        assert!(error.to_string().contains("open the log again"), "{error}");
        let kept: BTreeSet<_> = lines(folder.path()).into_iter().collect();
        assert!(kept.contains("one.") && !kept.contains("three."), "{kept:?}");
    }
}

/// Fails every call from a given one on, for each possible one. Lines that were reported as durable are present, every
/// present line was requested, and appending continues.
#[test]
fn stopped_at_any_call_it_keeps_what_it_has_reported() {
    for short in [false, true] {
        for stop in 0.. {
            let folder = folder();
            fs::write(folder.path().join("events.ndjson"), "torn").expect("a torn tail");
            let reached = Cell::new(false);
            let fault = |verb: &str, call: usize| {
                reached.set(reached.get() || call >= stop);
                match verb {
                    "append" if short && call == stop => Some(Fault::Short),
                    _ => (call >= stop).then_some(Fault::Error(io::ErrorKind::Other)),
                }
            };
            let faulty = Faulty::new(&fault);
            let mut reported = Vec::new();
            if let Ok((mut log, ..)) = open(&faulty, folder.path()) {
                for batch in [&["a.", "b."][..], &["c."], &["d.", "e.", "f."]] {
                    let complete = append(&mut log, batch).map_or(0, |written| written.complete);
                    reported.extend_from_slice(&batch[..complete]);
                }
            }
            let sound = Faulty::new(&|_, _| None);
            let (mut log, ..) = open(&sound, folder.path()).expect("a log");
            append(&mut log, &["later."]).expect("a disk");
            drop(log);
            let kept = lines(folder.path());
            for line in &reported {
                assert!(kept.iter().any(|kept| kept == line), "{line} at call {stop}: {kept:?}");
            }
            let known = ["a.", "b.", "c.", "d.", "e.", "f.", "later."];
            assert!(kept.iter().all(|line| known.contains(&line.as_str())), "{kept:?}");
            assert_eq!(kept.last().map(String::as_str), Some("later."));
            if !reached.get() {
                assert_eq!(reported.len(), 6, "nothing failed");
                break;
            }
        }
    }
}

#[test]
fn a_tail_is_repaired_and_a_line_that_is_too_long_hides_no_other() {
    let folder = folder();
    let path = folder.path().join("events.ndjson");
    let long = "x".repeat(MAX_LINE + 1);
    fs::write(&path, format!("one.\n{long}\ntwo.")).expect("a log");
    let sound = Faulty::new(&|_, _| None);
    let (log, Found { repaired, lines }) = open(&sound, folder.path()).expect("a log");
    assert_eq!(repaired, Some(Repair::Completed));
    assert_eq!(lines, ["one.", "65 bytes", "two."]);
    drop(log);
    fs::write(&path, "one.\nto").expect("a log");
    let (_, Found { repaired, lines }) = open(&sound, folder.path()).expect("a log");
    assert!(
        matches!(repaired, Some(Repair::Quarantined { length: 2, .. })),
        "{repaired:?}"
    );
    assert_eq!(lines, ["one."]);
    let kept = fs::read_dir(folder.path().join("quarantine"))
        .expect("quarantine")
        .flatten();
    let kept: Vec<_> = kept.map(|file| fs::read(file.path()).expect("bytes")).collect();
    assert_eq!(kept, [b"to"]);
}

#[test]
fn segments_end_on_request_and_the_oldest_can_be_removed() {
    let folder = folder();
    let sound = Faulty::new(&|_, _| None);
    let (mut log, ..) = open(&sound, folder.path()).expect("a log");
    log.number_from(7);
    for line in ["one.", "two.", "three."] {
        append(&mut log, &[line]).expect("a disk");
        log.end_segment().expect("a disk").expect("a name");
    }
    let written = append(&mut log, &["four."]).expect("a disk");
    assert_eq!((written.file, written.offset, log.segments().len()), (10, 0, 3));
    let read = |log: &Log<_, _>, file, length| {
        let place = Place {
            file,
            length,
            offset: 0,
        };
        log.reader().read(place)
    };
    assert_eq!(read(&log, 8, 4).expect("bytes"), b"two.");
    log.remove_oldest().expect("a disk");
    let gone = read(&log, 7, 4).expect_err("a removed segment");
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    assert_eq!(read(&log, 10, 5).expect("bytes"), b"four.");
    drop(log);
    assert_eq!(lines(folder.path()), ["two.", "three.", "four."]);
}

/// The name of a new file is durable before a line in it is reported.
#[test]
fn a_segment_that_cannot_be_ended_stays_open_or_ends_the_log() {
    for (verb, goes_on) in [("rename", true), ("open_append", false), ("sync_dir", false)] {
        let folder = folder();
        let ready = Cell::new(false);
        let fault = |called: &str, _| (ready.get() && called == verb).then_some(Fault::Error(io::ErrorKind::Other));
        let faulty = Faulty::new(&fault);
        let (mut log, ..) = open(&faulty, folder.path()).expect("a log");
        append(&mut log, &["one."]).expect("a disk");
        ready.set(true);
        assert_eq!(log.end_segment().is_ok(), goes_on, "{verb}");
        ready.set(false);
        assert_eq!(append(&mut log, &["two."]).is_ok(), goes_on, "{verb}");
        drop(log);
        let kept: &[&str] = if goes_on { &["one.", "two."] } else { &["one."] };
        assert_eq!(lines(folder.path()), kept, "{verb}");
    }
}
