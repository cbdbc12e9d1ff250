//! Listeners: nothing is missed, even if listeners come, go, lag or are one of thousands.
use std::{fs, io, thread};

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::folder;
use support::relay::{Client, Heard, Listener, Relay, Start, event};

/// The number of concurrent listeners.
const MANY: usize = 2000;

fn posted(client: &Client, names: std::ops::Range<u32>) -> Vec<(u64, Value)> {
    let post = |name: u32| {
        let event = event("f", &name.to_string());
        (client.post_event(&event), event)
    };
    names.map(post).collect()
}

#[test]
fn a_stream_goes_on_where_it_was_without_a_gap() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    client.make_feed("other");
    let mut expected = posted(&client, 0..3);

    let mut listener = Listener::connect(relay.address, "f", None);
    assert_eq!(
        listener.next(),
        Heard::Id(expected[2].0),
        "from now on; and this is where it can resume"
    );
    client.post_event(&event("other", "elsewhere"));
    expected.extend(posted(&client, 3..6));
    for (seq, event) in &expected[3..] {
        assert_eq!(listener.next(), Heard::Event(*seq, event.clone()));
    }
    listener.close();

    // While there are no listeners, and after a restart of the relay.
    expected.extend(posted(&client, 6..9));
    relay.stop();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    let mut listener = Listener::connect(relay.address, "f", Some(&expected[4].0.to_string()));
    expected.extend(posted(&client, 9..12));
    for expected in &expected[5..] {
        assert_eq!(&listener.event(), expected);
    }
    // Ids that this relay has not assigned: a repetition of events is harmless, a gap is not.
    for strange in ["0", "999999", "x", "-1"] {
        let mut listener = Listener::connect(relay.address, "f", Some(strange));
        assert_eq!(listener.next(), Heard::Id(0));
        for expected in &expected {
            assert_eq!(&listener.event(), expected, "{strange}");
        }
    }
}

#[test]
fn who_has_paged_to_the_end_and_listens_from_there_has_everything_once() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let mut first = Listener::connect(relay.address, "f", None);
    let writer = {
        let client = relay.client();
        thread::spawn(move || posted(&client, 0..300))
    };
    // The writer is in the middle of an event.
    (0..50).for_each(|_| drop(first.event()));
    let mut seen = client.all("f");
    let last = seen.last().expect("an event").0;
    let mut listener = Listener::connect(relay.address, "f", Some(&last.to_string()));
    while seen.len() < 300 {
        seen.push(listener.event());
    }
    assert_eq!(seen, writer.join().expect("a writer"));
}

#[test]
fn one_stream_has_several_feeds_in_the_order_of_arrival() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    ["a", "b", "c"].iter().for_each(|feed| client.make_feed(feed));
    let post = |names: std::ops::Range<usize>| {
        let post = |name: usize| {
            let event = event(["a", "c", "b"][name % 3], &name.to_string());
            (client.post_event(&event), event)
        };
        names.map(post).collect::<Vec<_>>()
    };
    // More than one slice of one feed, while the other has few events.
    let mut expected = post(0..9);
    expected.extend((0..300).map(|name| {
        let event = event("a", &format!("more-{name}"));
        (client.post_event(&event), event)
    }));
    expected.extend(post(9..12));
    let mut listener = Listener::open(relay.address, "/v1/stream?feed=b&feed=a&after_seq=0", None);
    expected.extend(post(12..18));
    expected.retain(|(_, event)| event["feed_id"] != "c");
    for expected in &expected {
        assert_eq!(&listener.event(), expected);
    }
    // The header wins over the query of the first connection.
    let resume = expected[5].0.to_string();
    let mut listener = Listener::open(relay.address, "/stream?feed=a&feed=b&after_seq=0", Some(&resume));
    assert_eq!(listener.event(), expected[6]);
    for (path, status) in [
        ("/stream", 400),
        ("/stream?feed=a&feed=none", 404),
        ("/stream?feed=a&limit=1", 400),
        ("/feeds/a/stream?feed=b", 400),
        ("/feeds/a/stream?after_seq=x", 400),
    ] {
        assert_eq!(client.get(path).status, status, "{path}");
    }
}

#[test]
fn pages_and_streams_select_by_type_and_author() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let post = |name: usize| {
        let mut event = event("f", &name.to_string());
        event["type"] = ["message", "snapshot", "a&b"][name % 3].into();
        event["author_identity_id"] = ["me", "you"][name / 3 % 2].into();
        (client.post_event(&event), event)
    };
    let mut all: Vec<_> = (0..24).map(post).collect();
    let select = "type=snapshot&type=a%26b&author=you";
    let is_selected = |event: &Value| event["type"] != "message" && event["author_identity_id"] == "you";
    let mut listener = Listener::open(relay.address, &format!("/feeds/f/stream?after_seq=0&{select}"), None);
    all.extend((24..30).map(post));
    let expected: Vec<_> = all.iter().filter(|(_, event)| is_selected(event)).cloned().collect();
    for expected in &expected {
        assert_eq!(&listener.event(), expected);
    }
    for order in ["after_seq=0&", ""] {
        let (mut next, mut found) = (Some(format!("/v1/feeds/f/events?{order}limit=3&{select}")), Vec::new());
        while let Some(path) = next {
            let page = client.get(&path);
            assert_eq!(page.status, 200, "{page:?}");
            found.extend(page.json.as_array().expect("a list").clone());
            next = page.next;
        }
        let mut expected: Vec<_> = expected.iter().map(|(_, event)| event.clone()).collect();
        if order.is_empty() {
            expected.sort_by_key(|event| event["event_id"].to_string());
        }
        assert_eq!(found, expected);
    }
    let none = client.get("/feeds/f/events?after_seq=0&type=none");
    assert_eq!((none.json, none.next), (json!([]), None));
    assert_eq!(
        none.seq,
        all.last().map(|(seq, _)| *seq),
        "a reader goes on behind all of them"
    );
    let mut listener = Listener::open(relay.address, "/feeds/f/stream?after_seq=0&type=none", None);
    assert_eq!((listener.next(), listener.next()), (Heard::Id(0), Heard::Id(all[29].0)));
}

#[test]
fn a_comment_says_that_the_relay_is_alive() {
    let folder = folder();
    let arguments = ["--idle-timeout", "200ms"];
    let start = Start {
        arguments: &arguments,
        ..Start::default()
    };
    let relay = start.start(folder.path());
    relay.client().make_feed("f");
    let mut listener = Listener::connect(relay.address, "f", None);
    assert_eq!(listener.next(), Heard::Id(0));
    assert_eq!(listener.next(), Heard::Comment);
    assert_eq!(listener.next(), Heard::Comment);
}

#[test]
fn thousands_listen_without_a_thread_each() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("as many files as listeners");
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let mut listeners: Vec<_> = (0..MANY).map(|_| Listener::connect(relay.address, "f", None)).collect();
    let tasks = || {
        fs::read_dir(format!("/proc/{}/task", relay.pid()))
            .expect("threads")
            .count()
    };
    assert!(tasks() < 16, "{} threads", tasks());
    let expected = posted(&client, 0..3);
    for listener in &mut listeners {
        for expected in &expected {
            assert_eq!(&listener.event(), expected);
        }
    }
    assert!(tasks() < 16, "{} threads", tasks());
    relay.stop();
    for listener in &mut listeners {
        while listener.try_next().expect("an end that is clean").is_some() {}
    }
}

#[test]
fn a_slow_listener_is_dropped_and_resumes_while_others_get_everything() {
    const EVENTS: usize = 80;
    let folder = folder();
    let arguments = ["--idle-timeout", "1s"];
    let start = Start {
        arguments: &arguments,
        ..Start::default()
    };
    let relay = start.start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let mut slow = Listener::connect(relay.address, "f", None);
    let mut quick = Listener::connect(relay.address, "f", None);
    let address = relay.address;
    let writer = thread::spawn(move || {
        for number in 0..EVENTS {
            let mut event = event("f", &number.to_string());
            event["payload"] = "x".repeat(512 << 10).into();
            client.post_event(&event);
        }
        client
    });
    let all: Vec<_> = (0..EVENTS).map(|_| quick.event()).collect();
    let client = writer.join().expect("a writer");
    assert_eq!(client.all("f"), all);

    relay.until("stopped reading");

    let mut got = Vec::new();
    let ended = loop {
        match slow.try_next() {
            Ok(Some(Heard::Event(seq, event))) => got.push((seq, event)),
            Ok(Some(_)) => {}
            Ok(None) => panic!("it is cut, not ended"),
            Err(error) => break error,
        }
    };
    let cut = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
    assert!(cut.contains(&ended.kind()), "{ended}");
    assert!(got.len() < EVENTS, "it was buffered for");
    let resume = got.last().map_or("0".to_owned(), |(seq, _)| seq.to_string());
    let mut again = Listener::connect(address, "f", Some(&resume));
    while got.len() < EVENTS {
        got.push(again.event());
    }
    assert!(got == all, "each event once, in order");
}
