//! An acknowledged event survives a restart, a kill at any moment, a full disk and a failed fsync.
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::Value;

use crate::folder;
use support::{
    counter::Counter,
    relay::{Client, Relay, Start, event},
};

/// The number of concurrent clients.
const AT_ONCE: usize = 64;

fn log(folder: &Path) -> std::path::PathBuf {
    folder.join("data/events.ndjson")
}

fn append(folder: &Path, bytes: &[u8]) {
    let mut log = OpenOptions::new().append(true).open(log(folder)).expect("a log");
    log.write_all(bytes).expect("a disk");
}

/// strace for the relay, which keeps its process id; the trace is written to `trace`.
fn strace<'a>(trace: &'a str, rule: &'a str) -> [&'a str; 8] {
    ["strace", "-D", "-f", "-qq", "-o", trace, "-e", rule]
}

#[test]
fn a_restart_keeps_everything_in_its_order() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    client.make_feed("empty");
    let expected: Vec<_> = (0..20)
        .map(|number| {
            let event = event("f", &number.to_string());
            (client.post_event(&event), event)
        })
        .collect();
    let feeds = client.get("/feeds").json;
    relay.stop();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    assert_eq!(client.get("/feeds").json, feeds);
    assert_eq!(client.all("f"), expected);
    assert_eq!(client.post("/feeds/f/events", &expected[3].1).status, 200);
    let next = client.post_event(&event("f", "next"));
    assert!(next > expected[19].0);
}

#[test]
fn a_folder_of_version_1_opens_and_keeps_what_is_refused_today_and_a_copy() {
    let folder = folder();
    let data = folder.path().join("data");
    fs::create_dir(&data).expect("a folder");
    let old = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/relay/version-1/events.ndjson");
    fs::copy(old, log(folder.path())).expect("a log");
    // Of a relay that was killed while it copied.
    fs::create_dir(data.join("version-1.new")).expect("a folder");
    fs::write(data.join("version-1.new/events.ndjson"), "{").expect("a file");
    let relay = Relay::start(folder.path());
    assert!(!relay.said().contains("not written by a relay"), "{}", relay.said());
    assert_eq!(fs::read_to_string(data.join("version")).expect("a version"), "3\n");
    let client = relay.client();
    let feeds = client.get("/feeds").json;
    assert_eq!(
        (&feeds[1]["id"], &feeds[1]["name"], &feeds[1]["policy_json"]),
        (&"general".into(), &"general".into(), &Value::Null)
    );
    let stored = client.all("general");
    let ids: Vec<_> = stored
        .iter()
        .map(|(seq, event)| (*seq, event["event_id"].as_str().expect("an id")))
        .collect();
    assert_eq!(ids, [(3, "e-1"), (5, "E-1"), (6, "e-2"), (7, "e-3")]);
    assert_eq!(client.all("General").len(), 1);
    // An event that was posted today is recognised, and a new one is stored after it.
    for (_, event) in &stored[..2] {
        assert_eq!(client.post("/feeds/general/events", event).status, 200, "{event}");
    }
    let next = client.post_event(&event("general", "next"));
    relay.stop();
    let relay = Relay::start(folder.path());
    assert_eq!((relay.client().all("general").len(), next), (5, 8));
    relay.stop();
    let files = |folder: &str| {
        let names = fs::read_dir(data.join(folder)).expect("a copy");
        let files = names.map(|file| file.expect("a file"));
        let content = |file: fs::DirEntry| (file.file_name(), fs::read(file.path()).expect("a file"));
        files.map(content).collect::<BTreeMap<_, _>>()
    };
    let copy = || BTreeMap::from([("events.ndjson".into(), fs::read(old).expect("a log"))]);
    assert_eq!(files("version-1"), copy());
    assert!(!data.join("version-1.new").exists());
    // A folder of a later version is left alone.
    fs::write(data.join("version"), "4\n").expect("a version");
    let output = Start::default().command(folder.path()).output().expect("an end");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("has the version 4") && output.stdout.is_empty(), "{told}");
    fs::write(data.join("version"), "2\n").expect("a version");
    let expected = [
        ("events.ndjson", fs::read(log(folder.path())).expect("a log")),
        ("version", b"2\n".into()),
    ];
    let relay = Relay::start(folder.path());
    relay.client().post_event(&event("general", "later"));
    assert_eq!(
        files("version-2"),
        expected.map(|(name, content)| (name.into(), content)).into()
    );
    assert_eq!(files("version-1"), copy(), "the copy of an earlier version stays");
}

#[test]
fn a_torn_tail_is_repaired_and_hides_nothing() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    relay.client().make_feed("f");
    relay.client().post_event(&event("f", "1"));
    relay.kill();
    let whole = fs::read(log(folder.path())).expect("a log");
    let second = format!(
        r#"{{"seq":3,"received":"2026-01-10T12:00:00.000Z","event":{}}}"#,
        event("f", "2")
    );
    for cut in [1, 20, second.len() / 2, second.len() - 1] {
        append(folder.path(), &second.as_bytes()[..cut]);
        let relay = Relay::start(folder.path());
        assert!(relay.said().contains("quarantine"), "{}", relay.said());
        assert_eq!(relay.client().all("f"), [(2, event("f", "1"))], "cut at {cut}");
        relay.kill();
        assert_eq!(fs::read(log(folder.path())).expect("a log"), whole);
    }
    // A line that lacks only its line feed is an event that was not acknowledged. Later events are not appended to its
    // line.
    append(folder.path(), second.as_bytes());
    let relay = Relay::start(folder.path());
    assert_eq!(relay.client().post("/feeds/f/events", &event("f", "2")).status, 200);
    relay.client().post_event(&event("f", "3"));
    relay.kill();
    let relay = Relay::start(folder.path());
    assert_eq!(
        relay.client().all("f"),
        [(2, event("f", "1")), (3, event("f", "2")), (4, event("f", "3"))]
    );
}

#[test]
fn a_corrupt_line_is_told_and_hides_no_other() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    relay.client().make_feed("f");
    relay.client().post_event(&event("f", "1"));
    relay.kill();
    append(folder.path(), b"\0\0\0\n{\"seq\":\n\n   \n{\"seq\":9}\n");
    let again = format!(
        r#"{{"seq":2,"received":"2026-01-10T12:00:00.000Z","event":{}}}"#,
        event("f", "2")
    );
    append(
        folder.path(),
        format!("{again}\n{}\n", again.replace("\"seq\":2", "\"seq\":7")).as_bytes(),
    );
    let relay = Relay::start(folder.path());
    assert_eq!(
        relay.said().matches("were not written by a relay").count(),
        4,
        "{}",
        relay.said()
    );
    assert_eq!(relay.client().all("f"), [(2, event("f", "1")), (7, event("f", "2"))]);
}

#[test]
fn killed_at_any_moment_under_load_it_loses_and_doubles_nothing_that_it_answered() {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 12;
    let folder = folder();
    Relay::start(folder.path()).client().make_feed("f");
    let mut answered = BTreeMap::new();
    let mut unanswered = 0;
    for round in 0..ROUNDS {
        let relay = Relay::start(folder.path());
        let count = Arc::new(Counter::new());
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (client, count) = (relay.client(), count.clone());
                thread::spawn(move || write_until_it_breaks(&client, &format!("{round}-{writer}"), &count))
            })
            .collect();
        // Kills at another moment each time, in the middle of a write.
        count.wait_beyond(round * 37);
        relay.kill();
        for writer in writers {
            let (stored, lost) = writer.join().expect("a writer");
            answered.extend(stored);
            unanswered += lost;
        }
    }
    let relay = Relay::start(folder.path());
    let all = relay.client().all("f");
    let stored: BTreeMap<_, _> = all
        .iter()
        .map(|(seq, event)| (event["event_id"].to_string(), *seq))
        .collect();
    assert_eq!(stored.len(), all.len(), "none is there twice");
    assert!(all.is_sorted_by(|one, two| one.0 < two.0));
    for (id, seq) in &answered {
        assert_eq!(stored.get(id), Some(seq), "{id} was answered");
    }
    assert!(stored.len() <= answered.len() + unanswered);
    assert!(answered.len() > ROUNDS * WRITERS, "{} were answered", answered.len());
}

/// Posts events until there is no answer. Returns the acknowledged events with their numbers, and the unacknowledged
/// ones.
fn write_until_it_breaks(client: &Client, name: &str, count: &Counter) -> (BTreeMap<String, u64>, usize) {
    let mut answered = BTreeMap::new();
    for number in 0.. {
        let event = event("f", &format!("{name}-{number}"));
        match client.try_post("/feeds/f/events", &event.to_string()) {
            Ok(answer) => {
                assert_eq!(answer.status, 201, "{answer:?}");
                answered.insert(event["event_id"].to_string(), answer.seq.expect("a number"));
                count.add();
            }
            Err(_) => break,
        }
    }
    (answered, 1)
}

#[test]
fn posts_at_once_share_an_fsync() {
    let folder = folder();
    let trace = folder.path().join("trace");
    let trace = trace.to_str().expect("a name");
    // A disk so slow that clients that post meanwhile are ready before it is done, however busy the machine is.
    let slow = ["-e", "inject=fsync,fdatasync:delay_enter=200000"];
    let behind = [&strace(trace, "trace=fsync,fdatasync")[..], &slow].concat();
    let start = Start {
        behind: &behind,
        ..Start::default()
    };
    let relay = start.start(folder.path());
    relay.client().make_feed("f");
    let syncs = || {
        let trace = fs::read_to_string(trace).expect("a trace");
        trace.lines().filter(|line| line.contains("sync(")).count()
    };
    let before = syncs();
    let barrier = Arc::new(Barrier::new(AT_ONCE));
    let writers: Vec<_> = (0..AT_ONCE)
        .map(|number| {
            let (client, barrier) = (relay.client(), barrier.clone());
            thread::spawn(move || {
                client.get("/health");
                barrier.wait();
                client.post_event(&event("f", &number.to_string()))
            })
        })
        .collect();
    let mut numbers: Vec<_> = writers
        .into_iter()
        .map(|writer| writer.join().expect("a writer"))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), AT_ONCE);
    let shared = syncs() - before;
    assert!(
        (1..AT_ONCE / 2).contains(&shared),
        "{shared} fsyncs for {AT_ONCE} posts"
    );
    relay.stop();
}

#[test]
fn the_same_event_posted_by_many_at_once_is_stored_once() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    relay.client().make_feed("f");
    let barrier = Arc::new(Barrier::new(AT_ONCE));
    let writers: Vec<_> = (0..AT_ONCE)
        .map(|number| {
            let (client, barrier) = (relay.client(), barrier.clone());
            thread::spawn(move || {
                // A third of them has different content under the same id; a third has another id for the same source.
                let mut event = event("f", "1");
                match number % 3 {
                    0 => {}
                    1 => event["payload"] = Value::Null,
                    _ => event["event_id"] = format!("e-{number}").into(),
                }
                barrier.wait();
                client.post("/feeds/f/events", &event).status
            })
        })
        .collect();
    let mut statuses = BTreeMap::new();
    for writer in writers {
        *statuses.entry(writer.join().expect("a writer")).or_insert(0) += 1;
    }
    assert_eq!(statuses.get(&201), Some(&1), "{statuses:?}");
    assert!(
        statuses.keys().all(|status| [200, 201, 409].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(relay.client().all("f").len(), 1);
}

#[test]
fn a_full_disk_refuses_and_keeps_what_is_there() {
    let folder = folder();
    // 64 blocks of 1,024 bytes.
    let limited = ["sh", "-c", r#"ulimit -f 64; exec "$0" "$@""#];
    let start = Start {
        behind: &limited,
        ..Start::default()
    };
    let relay = start.start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let mut stored = Vec::new();
    let refused = loop {
        let mut event = event("f", &stored.len().to_string());
        event["payload"] = "x".repeat(5000).into();
        let answer = client.post("/feeds/f/events", &event);
        match answer.status {
            201 => stored.push((answer.seq.expect("a number"), event)),
            _ => break answer,
        }
        assert!(stored.len() < 100, "the limit does not hold");
    };
    assert_eq!(refused.status, 507, "{refused:?}");
    assert!(stored.len() > 5);
    assert_eq!(client.all("f"), stored, "what is there can be read");
    // A shorter event may still fit, and a refused event can be posted again once there is room.
    let short = event("f", "short");
    stored.push((client.post_event(&short), short));
    relay.stop();
    let relay = Relay::start(folder.path());
    assert_eq!(relay.client().all("f"), stored);
    relay.client().post_event(&event("f", "later"));
}

/// Runs posts of several clients against a relay one of whose fsyncs fails, or all from then on.
fn with_failing_fsyncs(folder: &Path, when: &str) -> (Relay, BTreeMap<String, u64>) {
    Relay::start(folder).client().make_feed("f");
    let trace = folder.join("trace");
    let rule = format!("inject=fsync:error=EIO:when={when}");
    let behind = strace(trace.to_str().expect("a name"), &rule);
    let start = Start {
        behind: &behind,
        ..Start::default()
    };
    let relay = start.start(folder);
    let ended = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (client, ended) = (relay.client(), ended.clone());
            thread::spawn(move || {
                let mut answered = BTreeMap::new();
                for number in 0..10 {
                    let event = event("f", &format!("{writer}-{number}"));
                    match client.try_post("/feeds/f/events", &event.to_string()) {
                        Ok(answer) if answer.status == 201 => {
                            answered.insert(event["event_id"].to_string(), answer.seq.expect("a number"));
                        }
                        Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
                        Err(_) => ended.store(true, Ordering::Relaxed),
                    }
                }
                answered
            })
        })
        .collect();
    let answered = writers
        .into_iter()
        .flat_map(|writer| writer.join().expect("a writer"))
        .collect();
    (relay, answered)
}

fn stored(client: &Client) -> BTreeMap<String, u64> {
    let all = client.all("f");
    let stored: BTreeMap<_, _> = all
        .iter()
        .map(|(seq, event)| (event["event_id"].to_string(), *seq))
        .collect();
    assert_eq!(stored.len(), all.len(), "none is there twice");
    stored
}

#[test]
fn after_an_fsync_that_failed_the_same_lines_go_to_another_file() {
    let folder = folder();
    // The first fsync happens at the start. strace counts those of each thread, and one thread writes.
    let (relay, answered) = with_failing_fsyncs(folder.path(), "3");
    assert_eq!(answered.len(), 40);
    assert_eq!(stored(&relay.client()), answered);
    relay.stop();
    let files = fs::read_dir(folder.path().join("data")).expect("a folder").flatten();
    let segments = files.filter(|file| file.file_name().to_string_lossy().starts_with("events."));
    assert_eq!(segments.count(), 2, "the log and a segment");
    let relay = Relay::start(folder.path());
    assert!(!relay.said().contains("not written by a relay"), "{}", relay.said());
    assert_eq!(stored(&relay.client()), answered);
}

#[test]
fn a_disk_that_fails_for_good_ends_it_with_an_error_and_what_was_answered_is_there() {
    let folder = folder();
    let (mut relay, answered) = with_failing_fsyncs(folder.path(), "3+");
    assert!(answered.len() < 40);
    assert_eq!(relay.wait().code(), Some(5), "{}", relay.said());
    assert!(relay.said().contains("check the disk"), "{}", relay.said());
    let relay = Relay::start(folder.path());
    let stored = stored(&relay.client());
    for (id, seq) in &answered {
        assert_eq!(stored.get(id), Some(seq), "{id} was answered");
    }
    relay.client().post_event(&event("f", "later"));
}
