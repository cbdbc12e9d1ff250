//! Requests and answers: feeds, events, pages, and permissions.
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::folder;
use support::relay::{Client, Relay, Start, event};

pub fn fields(answer: &Value) -> Vec<&str> {
    let errors = answer["details"].as_array().expect("details").iter();
    errors.map(|error| error["field"].as_str().expect("a field")).collect()
}

#[test]
fn the_same_event_again_is_stored_once_by_its_id_and_by_its_origin() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    client.make_feed("g");
    let first = client.post("/feeds/f/events", &event("f", "1"));
    assert_eq!((first.status, &first.json), (201, &event("f", "1")));

    // The same, its members in another order, with blanks.
    let reordered = r#"{ "payload":{"name":"1"}, "ts":"2026-01-10T12:00:00Z", "type":"message", "feed_id":"f",
        "source":{"source_msg_id":"m-1","adapter_id":"a-1","platform":"test"}, "event_id":"e-1", "author_identity_id":"i-1" }"#;
    let again = client.try_post("/feeds/f/events", reordered).expect("an answer");
    assert_eq!((again.status, &again.json, again.seq), (200, &first.json, first.seq));

    let mut other = event("f", "1");
    other["payload"] = json!({"name": "another"});
    let refused = client.post("/feeds/f/events", &other);
    assert_eq!((refused.status, fields(&refused.json)), (409, vec!["event_id"]));
    assert_eq!((&refused.json["stored"], refused.seq), (&first.json, first.seq));

    // An adapter that gives the same message a new id, and the time of its retry; and another adapter, in another feed.
    let mut retried = event("f", "1");
    retried["event_id"] = "e-2".into();
    retried["ts"] = "2026-01-10T12:00:07Z".into();
    let again = client.post("/feeds/f/events", &retried);
    assert_eq!((again.status, &again.json), (200, &first.json));
    retried["feed_id"] = "g".into();
    retried["source"]["adapter_id"] = "a-2".into();
    for id in ["e-2", "e-1"] {
        retried["event_id"] = id.into();
        let again = client.post("/feeds/g/events", &retried);
        assert_eq!((again.status, &again.json), (200, &first.json), "{id}");
    }

    // A different event with the same source, in any feed.
    for feed in ["f", "g"] {
        other["event_id"] = "e-2".into();
        other["feed_id"] = feed.into();
        let refused = client.post(&format!("/feeds/{feed}/events"), &other);
        assert_eq!(
            (refused.status, fields(&refused.json)),
            (409, vec!["source.source_msg_id"])
        );
        assert_eq!(refused.json["stored"], first.json);
    }
    relay.until("e-2");
    let said = relay.said();
    assert!(
        said.contains("has this source.source_msg_id and other content"),
        "{said}"
    );

    // Another platform; and events without a source id, which may be repeated.
    other["source"]["platform"] = "elsewhere".into();
    client.post_event(&other);
    for id in ["e-3", "e-4"] {
        other["event_id"] = id.into();
        other["source"]["source_msg_id"] = Value::Null;
        client.post_event(&other);
    }
    assert_eq!((client.all("f").len(), client.all("g").len()), (1, 3));
}

#[test]
fn an_event_id_in_another_case_is_a_conflict() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    client.post_event(&event("f", "one"));
    let mut other = event("f", "two");
    other["event_id"] = "E-One".into();
    let refused = client.post("/feeds/f/events", &other);
    assert_eq!((refused.status, fields(&refused.json)), (409, vec!["event_id"]));
    assert_eq!(refused.json["stored"], event("f", "one"));
    // The retry of an adapter is recognised by its source.
    let mut retried = event("f", "one");
    retried["event_id"] = "E-ONE".into();
    assert_eq!(client.post("/feeds/f/events", &retried).status, 200);
    assert_eq!(client.all("f").len(), 1);
}

#[test]
fn the_prefix_v1_is_the_same_path() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    assert_eq!(client.post("/v1/feeds", &json!({"feed_id": "f"})).status, 201);
    for name in ["1", "2"] {
        assert_eq!(client.post("/v1/feeds/f/events", &event("f", name)).status, 201);
    }
    for path in [
        "/feeds",
        "/feeds/f",
        "/feeds/f/events",
        "/feeds/x",
        "/health",
        "/openapi.json",
    ] {
        let (one, other) = (client.get(path), client.get(&format!("/v1{path}")));
        assert_eq!((one.status, one.json), (other.status, other.json), "{path}");
    }
    let page = client.get("/v1/feeds/f/events?limit=1");
    let next = page.next.expect("a next page");
    assert!(next.starts_with("/v1/feeds/f/events?after_ts="), "{next}");
    assert_eq!(client.get(&next).json, json!([event("f", "2")]));
    assert_eq!(client.get("/v1/nowhere").status, 404);
    assert_eq!(client.post("/v1/health", &json!({})).status, 405);
}

#[test]
fn everything_that_is_wrong_with_an_event_is_told_at_once() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let refused = client.post(
        "/feeds/f/events",
        &json!({"event_id": "../x", "feed_id": 7, "ts": "soon", "refs": 1}),
    );
    let expected = [
        "event_id",
        "feed_id",
        "type",
        "author_identity_id",
        "source",
        "ts",
        "payload",
        "refs",
    ];
    assert_eq!((refused.status, fields(&refused.json)), (400, expected.to_vec()));
    let refused = client.post("/feeds/f/events", &event("g", "1"));
    assert_eq!(
        (refused.status, fields(&refused.json)),
        (400, vec!["feed_id"]),
        "of another feed"
    );
    for no_json in ["", "{", "[]", "\u{0}"] {
        assert_eq!(
            client.try_post("/feeds/f/events", no_json).expect("an answer").status,
            400,
            "{no_json:?}"
        );
    }
    let with_payload = |payload: &str| {
        let mut event = event("f", "1");
        event["payload"] = json!([]);
        let body = event
            .to_string()
            .replace("\"payload\":[]", &format!("\"payload\":{payload}"));
        client.try_post("/feeds/f/events", &body).expect("an answer").status
    };
    // It would be stored as another value.
    assert_eq!(with_payload(r#"{"\u0024serde_json::private::Number":"1"}"#), 400);
    let deep = format!("{}1{}{}", "[".repeat(120), ",1".repeat(500_000), "]".repeat(120));
    assert_eq!(with_payload(&deep), 400, "its file would be far longer");
    assert_eq!(client.all("f"), []);
}

#[test]
fn an_event_has_one_mebibyte_at_most() {
    const MOST: usize = 1 << 20;
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let of_length = |name: &str, length: usize| {
        let mut event = event("f", name);
        event["payload"] = "".into();
        let missing = length - event.to_string().len();
        event["payload"] = "x".repeat(missing).into();
        event
    };
    client.post_event(&of_length("1", MOST));
    for length in [MOST + 1, MOST + (1 << 20), MOST + (6 << 20)] {
        match client.try_post("/feeds/f/events", &of_length("2", length).to_string()) {
            Ok(answer) => assert_eq!(answer.status, 413, "{length}"),
            // An overlong request is not read; its answer may be lost.
            Err(error) => assert!(length > 5 * MOST, "{length}: {error}"),
        }
    }
    // Numbers may be stored longer than they are sent: 1e5 as 100000.
    let mut event = event("f", "3");
    event["payload"] = json!([]);
    let numbers = vec!["1e5"; 240_000].join(",");
    let body = event
        .to_string()
        .replace("\"payload\":[]", &format!("\"payload\":[{numbers}]"));
    assert!(body.len() < MOST);
    assert_eq!(
        client.try_post("/feeds/f/events", &body).expect("an answer").status,
        413
    );
    let stored = client.all("f");
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].1, of_length("1", MOST));
}

/// Events whose order of arrival differs from that of their times, some of them with equal times.
fn scattered(client: &Client, count: u64) -> Vec<Value> {
    let post = |number: u64| {
        let mut event = event("f", &format!("{:03}", number * 7 % count));
        event["ts"] = format!("2026-01-{:02}T12:00:00.5Z", number * 5 % 7 + 1).into();
        client.post_event(&event);
        event
    };
    (0..count).map(post).collect()
}

#[test]
fn any_page_size_gives_the_same_sequence_once() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let arrived = scattered(&client, 40);
    let mut by_time = arrived.clone();
    by_time.sort_by_key(|event| (event["ts"].to_string(), event["event_id"].to_string()));
    for (order, expected) in [("", &by_time), ("&after_seq=0", &arrived)] {
        for limit in [1, 2, 3, 7, 39, 40, 41, 1000] {
            let (mut paged, mut next) = (Vec::new(), Some(format!("/feeds/f/events?limit={limit}{order}")));
            while let Some(path) = next {
                let answer = client.get(&path);
                let events = answer.json.as_array().expect("a list");
                assert!((1..=limit).contains(&events.len()), "{path}");
                paged.extend(events.iter().cloned());
                next = answer.next;
            }
            assert_eq!(&paged, expected, "limit {limit}{order}");
        }
    }
    // A time excludes events of exactly this time.
    let of_day = |day: &str| {
        client
            .get(&format!("/feeds/f/events?after_ts=2026-01-{day}T12:00:00.5Z"))
            .json
    };
    let later = by_time
        .iter()
        .filter(|event| event["ts"].as_str() > Some("2026-01-01T12:00:00.5Z"));
    assert_eq!(of_day("01"), later.cloned().collect::<Value>());
    assert_eq!(of_day("08"), json!([]));
}

#[test]
fn a_page_is_bounded_and_says_where_it_ends() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    assert_eq!(client.get("/feeds/f/events").seq, Some(0));
    let numbers: Vec<_> = (0..120)
        .map(|number| client.post_event(&event("f", &format!("{number:03}"))))
        .collect();
    for (query, count, more) in [
        ("", 50, true),
        ("?limit=1000", 100, true),
        ("?after_seq=0", 50, true),
        ("?after_seq=0&limit=1001", 120, false),
    ] {
        let page = client.get(&format!("/feeds/f/events{query}"));
        assert_eq!(page.json.as_array().map(Vec::len), Some(count), "{query}");
        assert_eq!(
            (page.seq, page.next.is_some()),
            (Some(numbers[count - 1]), more),
            "{query}"
        );
    }
    let last = numbers[119];
    let empty = client.get(&format!("/feeds/f/events?after_seq={last}"));
    assert_eq!((empty.json, empty.seq, empty.next), (json!([]), Some(last), None));
}

#[test]
fn what_arrives_late_is_seen_in_the_order_of_arrival() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let seq = client.post_event(&event("f", "new"));
    let mut late = event("f", "late");
    late["ts"] = "2001-01-01T00:00:00Z".into();
    client.post_event(&late);
    let ids = |path: &str| {
        let events = client.get(path).json.as_array().expect("a list").clone();
        events.iter().map(|event| event["event_id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids("/feeds/f/events"), ["e-late", "e-new"]);
    assert_eq!(ids(&format!("/feeds/f/events?after_seq={seq}")), ["e-late"]);
    assert_eq!(
        ids("/feeds/f/events?after_ts=2026-01-10T12:00:00Z&after_id=e-new"),
        [] as [&str; 0]
    );
}

#[test]
fn a_query_that_is_wrong_is_told() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    for (query, expected) in [
        ("limit=0&after_ts=soon&page=2", &["limit", "after_ts", "page"][..]),
        ("after_seq=1&after_ts=2026-01-10T12:00:00Z", &["after_seq"]),
        ("after_id=x", &["after_id"]),
    ] {
        let refused = client.get(&format!("/feeds/f/events?{query}"));
        assert_eq!(
            (refused.status, fields(&refused.json)),
            (400, expected.to_vec()),
            "{query}"
        );
    }
}

#[test]
fn a_page_has_eight_mebibytes_at_most() {
    let folder = folder();
    let start = Start {
        arguments: &["--idle-timeout", "600s"],
        ..Start::default()
    };
    let relay = start.start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    for number in 0..20 {
        let mut event = event("f", &number.to_string());
        event["payload"] = "x".repeat(1_000_000).into();
        client.post_event(&event);
    }
    let first = client.get("/feeds/f/events?after_seq=0&limit=1000").json;
    assert_eq!(first.as_array().map(Vec::len), Some(8));
    assert_eq!(client.all("f").len(), 20);
    // Many concurrent readers that read slowly get their pages one after the other.
    let asked: Vec<_> = (0..60)
        .map(|_| {
            let mut stream = TcpStream::connect(relay.address).expect("a connection");
            let request = "GET /feeds/f/events?limit=8 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).expect("a request");
            stream
        })
        .collect();
    for mut stream in asked {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.len() > 8_000_000);
    }
    let status = fs::read_to_string(format!("/proc/{}/status", relay.pid())).expect("it runs");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("its peak");
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kilobytes < 200_000, "{kilobytes} kB");
}

#[test]
fn a_token_is_asked_for_where_there_is_one_and_is_never_told() {
    let folder = folder();
    let everywhere = Start {
        arguments: &["--listen", "0.0.0.0:0"],
        ..Start::default()
    };
    let output = everywhere.command(folder.path()).output().expect("an end");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("RELAY_TOKEN") && output.stdout.is_empty(), "{told}");

    let token = "canary-7f3a";
    let mut relay = Start {
        token: Some(token),
        ..everywhere
    }
    .start(folder.path());
    relay.address.set_ip([127, 0, 0, 1].into());
    let client = relay.client();
    assert_eq!(client.get("/health").status, 200);
    assert_eq!(client.get("/feeds").status, 401);
    assert_eq!(client.clone().with_token("canary-7f3b").get("/feeds").status, 401);
    let known = client.with_token(token);
    known.make_feed("f");
    known.post_event(&event("f", "1"));
    let refused = Client::new(relay.address).post("/feeds/f/events", &event("f", "2"));
    assert_eq!(refused.status, 401);
    assert_eq!(known.all("f").len(), 1);
    assert!(!relay.said().contains(token));
    let log = std::fs::read_to_string(folder.path().join("data/events.ndjson")).expect("a log");
    assert!(!log.contains(token));
    relay.stop();
}

#[test]
fn methods_and_paths_that_are_none_are_told_as_json() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    assert_eq!(client.get("/nowhere").status, 404);
    assert_eq!(client.post("/health", &json!({})).status, 405);
    assert_eq!(client.post("/feeds/f/stream", &json!({})).status, 405);
}

#[test]
fn of_different_events_at_the_same_moment_from_one_source_one_is_stored_and_nobody_is_told_otherwise() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    relay.client().make_feed("f");
    let answers: Vec<_> = std::thread::scope(|scope| {
        let post = |number: usize| {
            let client = relay.client();
            scope.spawn(move || {
                let mut event = event("f", "1");
                event["event_id"] = format!("e-{number}").into();
                event["payload"] = json!({ "number": number });
                (event.clone(), client.post("/feeds/f/events", &event))
            })
        };
        let posting: Vec<_> = (0..24).map(post).collect();
        posting
            .into_iter()
            .map(|posted| posted.join().expect("an answer"))
            .collect()
    });
    let stored = relay.client().all("f");
    assert_eq!(stored.len(), 1);
    for (event, answer) in answers {
        if event == stored[0].1 {
            assert_eq!((answer.status, &answer.json), (201, &event));
        } else {
            assert_eq!((answer.status, &answer.json["stored"]), (409, &stored[0].1));
        }
    }
}
