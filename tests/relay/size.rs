//! Memory and the start do not grow with what is stored; the index is never believed; old events are removed once mirrors have
//! confirmed them.
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use serde_json::{Value, json};

use crate::folder;
use support::{
    counter::Counter,
    relay::{Answer, Client, Relay, Start, event},
};

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// Writes a log with this many events of about 700 bytes; returns its length.
fn write_log(folder: &Path, events: usize) -> u64 {
    let mut log = String::from("{\"seq\":1,\"received\":\"2026-01-10T12:00:00.000Z\",\"feed\":\"f\"}\n");
    let text = "x".repeat(450);
    for number in 0..events {
        let (seq, id) = (number + 2, format!("01JBAXF5Z8J8M7R2TK{number:08}"));
        let mut event = event("f", &id);
        event["payload"] = Value::Null;
        event["text"] = text.as_str().into();
        let line = writeln!(
            log,
            r#"{{"seq":{seq},"received":"2026-01-10T12:00:00.000Z","event":{event}}}"#
        );
        line.expect("a string");
    }
    fs::create_dir_all(data(folder)).expect("a folder");
    fs::write(data(folder).join("events.ndjson"), &log).expect("a log");
    log.len() as u64
}

/// A number of a file of `/proc` about a relay.
fn of_process(relay: &Relay, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/{file}", relay.pid())).expect("a process");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    let number = line.split_whitespace().next().expect("a number");
    number.parse().expect("a number")
}

#[test]
fn memory_and_the_start_depend_on_what_is_new() {
    const EVENTS: usize = 28_000;
    // The bound in kibibytes: a tail of 8,192 events, and blocks of the index.
    const BOUND: u64 = 8 << 10;
    let peak = |events: usize| {
        let folder = folder();
        let length = write_log(folder.path(), events);
        let relay = Relay::start(folder.path());
        let answer = relay.client().get("/feeds/f/events?after_seq=0&limit=1000");
        assert_eq!(answer.json.as_array().map(Vec::len), Some(1000));
        let peak = of_process(&relay, "status", "VmHWM:");
        relay.stop();
        (folder, length, peak)
    };
    let (.., small) = peak(1_000);
    let (folder, length, large) = peak(EVENTS);
    assert!(large < small + BOUND, "{large} KiB instead of {small} KiB");
    // 350 bytes for each event would not fit.
    assert!(EVENTS as u64 * 350 / 1024 > BOUND);

    let read = |relay: &Relay| of_process(relay, "io", "rchar:");
    let relay = Relay::start(folder.path());
    let at_start = read(&relay);
    assert!(
        at_start < length / 20,
        "{at_start} of {length} bytes were read at the start"
    );
    assert_eq!(relay.client().get("/health").json["last_seq"], EVENTS + 1);
    // Every event is found by its keys, and by its place in both orders.
    let client = relay.client();
    for number in [0, 8_191, 8_192, 20_000, EVENTS - 1] {
        let found = client.get(&format!("/feeds/f/events?after_seq={}&limit=1", number + 1));
        assert_eq!(found.seq, Some(number as u64 + 2));
        let stored = &found.json[0];
        let again = client.post("/feeds/f/events", stored);
        assert_eq!((again.status, again.seq), (200, found.seq));
        let id = stored["event_id"].as_str().expect("an id");
        let later = client.get(&format!(
            "/feeds/f/events?after_ts=2026-01-10T12:00:00Z&after_id={id}&limit=1"
        ));
        assert_eq!(
            later.json.as_array().map_or(0, Vec::len),
            usize::from(number + 1 < EVENTS)
        );
    }
    assert_eq!(client.post_event(&event("f", "new")), EVENTS as u64 + 2);
    // After a kill, only the new event is read.
    relay.kill();
    let relay = Relay::start(folder.path());
    assert!(read(&relay) < length / 20);
    assert_eq!(relay.client().get("/health").json["last_seq"], EVENTS + 2);
}

/// Stored events are there with their numbers, none is stored twice, and a new one gets a new number.
fn assert_all_there(folder: &Path, stored: &mut Vec<(u64, Value)>, what: &str) {
    let relay = Relay::start(folder);
    let client = relay.client();
    assert_eq!(client.all("f"), *stored, "{what}");
    for (seq, event) in stored.iter() {
        let again = client.post("/feeds/f/events", event);
        assert_eq!((again.status, again.seq), (200, Some(*seq)), "{what}");
    }
    let next = event("f", &format!("after-{}", stored.len()));
    let seq = client.post_event(&next);
    assert!(seq > stored.last().map_or(0, |(seq, _)| *seq), "{what}");
    stored.push((seq, next));
    relay.stop();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for file in fs::read_dir(from).expect("a folder") {
        let path = file.expect("a file").path();
        fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
    }
}

#[test]
fn an_index_that_is_damaged_old_or_foreign_is_not_believed() {
    let folder = folder();
    Relay::start(folder.path()).client().make_feed("f");
    let mut stored = Vec::new();
    for _ in 0..3 {
        assert_all_there(folder.path(), &mut stored, "a new folder");
    }
    let index = data(folder.path()).join("index");
    let old = folder.path().join("old");
    copy(&index, &old);
    assert_all_there(folder.path(), &mut stored, "a sound index");

    let foreign = crate::folder();
    Relay::start(foreign.path()).client().make_feed("f");
    for _ in 0..5 {
        assert_all_there(foreign.path(), &mut Vec::new(), "another folder");
        fs::remove_dir_all(data(foreign.path())).expect("a folder");
        Relay::start(foreign.path()).client().make_feed("f");
    }
    let other = Relay::start(foreign.path());
    other.client().post_event(&event("f", "other"));
    other.stop();
    for (source, what) in [
        (&old, "an older index"),
        (&data(foreign.path()).join("index"), "a foreign index"),
    ] {
        fs::remove_dir_all(&index).expect("an index");
        copy(source, &index);
        assert_all_there(folder.path(), &mut stored, what);
    }
    let files: Vec<_> = fs::read_dir(&index).expect("an index").flatten().collect();
    assert!(files.len() >= 2, "a manifest and a table");
    for number in 0..files.len() {
        for damage in ["flip", "cut", "empty", "missing"] {
            let files = fs::read_dir(&index).expect("an index").flatten();
            let Some(path) = files.map(|file| file.path()).nth(number) else {
                continue;
            };
            let mut bytes = fs::read(&path).expect("a file");
            let middle = bytes.len() / 2;
            match damage {
                "flip" => bytes[10] ^= 1,
                "cut" => bytes.truncate(middle),
                _ => bytes.clear(),
            }
            fs::write(&path, bytes).expect("a file");
            if damage == "missing" {
                fs::remove_file(&path).expect("a file");
            }
            assert_all_there(folder.path(), &mut stored, damage);
        }
    }
    // The log lost its last line.
    let log = data(folder.path()).join("events.ndjson");
    let text = fs::read_to_string(&log).expect("a log");
    let (rest, _) = text.trim_end().rsplit_once('\n').expect("two lines");
    fs::write(&log, format!("{rest}\n")).expect("a log");
    stored.pop();
    assert_all_there(folder.path(), &mut stored, "a shorter log");
}

/// Damage that the start does not see: the relay answers nothing wrong, ends with an error, and makes the index anew.
#[test]
fn damage_that_is_found_later_ends_the_relay_and_the_next_start_repairs_it() {
    let folder = folder();
    write_log(folder.path(), 9_000);
    Relay::start(folder.path()).stop();
    let index = data(folder.path()).join("index");
    for file in fs::read_dir(&index).expect("an index").flatten() {
        let mut bytes = fs::read(file.path()).expect("a file");
        if bytes.len() > 1 << 20 {
            // All blocks of the lowest level, and no other.
            for block in bytes.chunks_mut(4096).filter(|block| block[4] == 0) {
                block[100] ^= 1;
            }
            fs::write(file.path(), bytes).expect("a file");
        }
    }
    let mut relay = Relay::start(folder.path());
    let answer = relay
        .client()
        .try_post("/feeds/f/events", &event("f", "new").to_string());
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 500));
    assert_eq!(relay.wait().code(), Some(5), "{}", relay.said());
    let relay = Relay::start(folder.path());
    assert_eq!(relay.client().post_event(&event("f", "new")), 9_002);
}

/// Removal of old events from small segments.
const SMALL: [&str; 4] = ["--segment-bytes", "4KiB", "--keep-bytes", "12KiB"];

fn start(folder: &Path) -> Relay {
    let start = Start {
        arguments: &SMALL,
        ..Start::default()
    };
    start.start(folder)
}

fn confirm(client: &Client, seq: u64) -> Answer {
    client.put("/feeds/f/confirmed", &json!({"by": "mirror", "seq": seq}))
}

/// Posts events until the relay has removed some; returns the first number that is left.
fn post_until_removed(client: &Client, name: &str, stored: &mut Vec<(u64, Value)>, before: Option<u64>) -> u64 {
    for number in 0..1000 {
        let event = event("f", &format!("{name}-{number}"));
        stored.push((client.post_event(&event), event));
        let first = client.get("/feeds/f/events?after_seq=0&limit=1").first;
        if first > before {
            return first.expect("a number");
        }
    }
    panic!("nothing is removed");
}

#[test]
fn old_events_are_removed_once_they_are_confirmed_and_their_ids_stay_known() {
    let folder = folder();
    let relay = start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let mut stored: Vec<_> = (0..100)
        .map(|number| {
            let event = event("f", &number.to_string());
            (client.post_event(&event), event)
        })
        .collect();
    assert_eq!(client.all("f"), stored, "nothing is confirmed");
    assert_eq!(
        relay.said().matches("old events are kept").count(),
        1,
        "{}",
        relay.said()
    );
    assert_eq!(confirm(&client, 999).status, 400);
    assert_eq!(confirm(&client, stored[60].0).status, 200);
    let mut first = post_until_removed(&client, "a", &mut stored, None);
    // The rest that is confirmed follows, and no more: the segment with the unconfirmed event stays.
    for number in 0..20 {
        let event = event("f", &format!("b-{number}"));
        stored.push((client.post_event(&event), event));
    }
    first = first.max(client.get("/feeds/f/events").first.expect("a number"));
    assert!(first <= stored[60].0 + 1, "{first}");
    let check = |client: &Client, stored: &[(u64, Value)]| {
        let first = client.get("/feeds/f/events").first.expect("a number");
        let left: Vec<_> = stored.iter().filter(|(seq, _)| *seq >= first).cloned().collect();
        assert!(left.len() < stored.len());
        assert_eq!(client.all("f"), left);
        let by_time = client.get("/feeds/f/events?limit=1");
        assert!(left.iter().any(|(seq, _)| Some(*seq) == by_time.seq));
        for (seq, event) in stored {
            let late = client.post("/feeds/f/events", event);
            assert_eq!(
                late.status,
                if *seq < first { 410 } else { 200 },
                "{seq} of {first}: {late:?}"
            );
        }
        let mut other = stored[0].1.clone();
        other["event_id"] = "another".into();
        assert_eq!(client.post("/feeds/f/events", &other).status, 410, "the same source");
    };
    check(&client, &stored);
    relay.stop();
    let relay = start(folder.path());
    check(&relay.client(), &stored);
    relay.kill();
    // An index that is made anew has all of that, too, and the feed, whose line was removed.
    fs::remove_dir_all(data(folder.path()).join("index")).expect("an index");
    let relay = start(folder.path());
    check(&relay.client(), &stored);
    let next = relay.client().post_event(&event("f", "next"));
    assert!(next > stored[stored.len() - 1].0);
}

#[test]
fn killed_while_segments_end_and_are_removed_it_loses_and_doubles_nothing() {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 10;
    let folder = folder();
    start(folder.path()).client().make_feed("f");
    let mut answered = BTreeMap::new();
    let mut confirmed = 0;
    for round in 0..ROUNDS {
        let relay = start(folder.path());
        let count = Arc::new(Counter::new());
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (client, count) = (relay.client(), count.clone());
                thread::spawn(move || {
                    let mut answered = Vec::new();
                    for number in 0.. {
                        let event = event("f", &format!("{round}-{writer}-{number}"));
                        let Ok(answer) = client.try_post("/feeds/f/events", &event.to_string()) else {
                            break;
                        };
                        assert_eq!(answer.status, 201, "{answer:?}");
                        answered.push((answer.seq.expect("a number"), event));
                        count.add();
                    }
                    answered
                })
            })
            .collect();
        if let Some((last, _)) = answered.last_key_value() {
            confirmed = *last;
            assert_eq!(confirm(&relay.client(), confirmed).status, 200);
        }
        count.wait_beyond(40 + round * 13);
        relay.kill();
        for writer in writers {
            answered.extend(writer.join().expect("a writer"));
        }
    }
    for is_new in [false, true] {
        if is_new {
            fs::remove_dir_all(data(folder.path()).join("index")).expect("an index");
        }
        let relay = start(folder.path());
        let client = relay.client();
        let first = client.get("/feeds/f/events").first.expect("some were removed");
        assert!(first <= confirmed + 1, "{first} of {confirmed}");
        let all = client.all("f");
        assert!(all.is_sorted_by(|one, two| one.0 < two.0));
        let stored: BTreeMap<_, _> = all.iter().cloned().collect();
        let ids: BTreeMap<_, _> = all
            .iter()
            .map(|(_, event)| (event["event_id"].to_string(), 0))
            .collect();
        assert_eq!(ids.len(), all.len(), "none is there twice");
        for (seq, event) in &answered {
            if *seq >= first {
                assert_eq!(stored.get(seq), Some(event), "{seq} was answered");
            } else {
                assert_eq!(client.post("/feeds/f/events", event).status, 410, "{seq}");
            }
        }
        relay.kill();
    }
}
