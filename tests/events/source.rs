//! A feed is followed without a gap: over relays with and without numbers, lost connections, and defects of a relay.

use std::{collections::BTreeSet, thread, time::Duration};

use durable::clock::SystemClock;
use git_push::ErrorKind;
use git_push_transport::{Settings, web::Web};
use serde_json::json;
use stargate_mirror::events::{
    inbox::{Inbox, Next, inbox},
    source::{
        Arrival, Cursor,
        relay::{Follower, Progress},
    },
};
use support::feeds::{Feeds, Manners, event};

/// Longer than any distance between connections here.
const PATIENCE: Duration = Duration::from_secs(60);

const NUMBERS: Manners = Manners {
    numbers: true,
    ids: false,
    forgetful: false,
    status: None,
    page: None,
};
const NO_NUMBERS: Manners = Manners {
    numbers: false,
    ..NUMBERS
};

fn web(feeds: &Feeds, token: Option<&str>, idle: Duration) -> Web {
    let mut settings = Settings::from_environment(|_| None).expect("settings");
    settings.idle_timeout = idle;
    Web::open(&feeds.url(), token.map(Into::into), settings).expect("a URL")
}

/// Follows the feed `f` on a separate thread.
fn follow(feeds: &Feeds, progress: Progress) -> Inbox<Arrival> {
    let (sender, inbox) = inbox();
    let follower = Follower::new(
        web(feeds, None, PATIENCE),
        "f",
        progress,
        sender,
        SystemClock::default(),
    );
    thread::spawn(move || follower.follow());
    inbox
}

fn fetch(feeds: &Feeds, progress: Progress) -> (Result<(), git_push::Error>, Vec<Arrival>) {
    let (sender, inbox) = inbox();
    let done = Follower::new(
        web(feeds, None, PATIENCE),
        "f",
        progress,
        sender,
        SystemClock::default(),
    )
    .fetch();
    let mut found = Vec::new();
    while let Next::Arrival(arrival) = inbox.next(None) {
        found.push(arrival);
    }
    (done, found)
}

fn id(arrival: &Arrival) -> String {
    arrival
        .event
        .as_ref()
        .map_or("refused".into(), |event| event.event_id().to_owned())
}

fn ids(arrivals: &[Arrival]) -> Vec<String> {
    arrivals.iter().map(id).collect()
}

/// Receives until all of `wanted` have arrived; returns the last cursor.
fn until(inbox: &Inbox<Arrival>, wanted: impl IntoIterator<Item = u32>) -> Option<Cursor> {
    let mut wanted: BTreeSet<_> = wanted.into_iter().map(|number| format!("e-{number}")).collect();
    let mut cursor = None;
    while !wanted.is_empty() {
        match inbox.next(Some(PATIENCE)) {
            Next::Arrival(arrival) => {
                wanted.remove(&id(&arrival));
                cursor = arrival.cursor;
            }
            other => panic!("{other:?}, and {wanted:?} are missing"),
        }
    }
    cursor
}

fn wait_for_a_listener(feeds: &Feeds) {
    while feeds.listeners() == 0 {
        thread::yield_now();
    }
}

#[test]
fn what_was_there_what_comes_and_what_came_in_between() {
    for manners in [
        NUMBERS,
        NO_NUMBERS,
        Manners {
            page: Some(3),
            ..NUMBERS
        },
        Manners {
            page: Some(3),
            ..NO_NUMBERS
        },
    ] {
        let feeds = Feeds::start(manners);
        (0..10).for_each(|number| feeds.post("f", event("f", number)));
        let inbox = follow(&feeds, Progress::default());
        until(&inbox, 0..10);
        wait_for_a_listener(&feeds);
        (10..20).for_each(|number| feeds.post("f", event("f", number)));
        until(&inbox, 10..20);
        feeds.hang_up();
        (20..30).for_each(|number| feeds.post("f", event("f", number)));
        let cursor = until(&inbox, 20..30);
        assert_eq!(
            cursor.map(|cursor| (cursor.sequence, cursor.event_id)),
            manners.numbers.then(|| (30, Some("e-29".into())))
        );
    }
}

#[test]
fn a_restart_reads_only_what_is_new_where_there_are_numbers() {
    let feeds = Feeds::start(NUMBERS);
    (0..10).for_each(|number| feeds.post("f", event("f", number)));
    let (done, found) = fetch(&feeds, Progress::default());
    done.expect("all is fetched");
    assert_eq!(
        ids(&found),
        (0..10).map(|number| format!("e-{number}")).collect::<Vec<_>>()
    );
    let cursor = found.last().and_then(|arrival| arrival.cursor.clone());
    // The event is late: its time is older than that of the newest one.
    feeds.post("f", json!({"event_id": "late", "feed_id": "f", "type": "t", "author_identity_id": "i",
        "source": {"platform": "p", "adapter_id": "a", "source_msg_id": "late"}, "ts": "2001-01-01T00:00:00Z", "payload": null}));
    let progress = Progress {
        cursor,
        newest: "2026-02-01T00:00:00Z".parse().ok(),
    };
    assert_eq!(ids(&fetch(&feeds, progress).1), ["late"]);
}

#[test]
fn a_restart_reads_from_before_what_is_held_where_there_are_none() {
    let feeds = Feeds::start(NO_NUMBERS);
    (0..3 * 3600)
        .step_by(600)
        .for_each(|number| feeds.post("f", event("f", number)));
    let newest = event("f", 2 * 3600 + 600)["ts"].as_str().and_then(|ts| ts.parse().ok());
    let (_, found) = fetch(&feeds, Progress { cursor: None, newest });
    let expected: Vec<_> = (3600 + 1200..3 * 3600)
        .step_by(600)
        .map(|number| format!("e-{number}"))
        .collect();
    assert_eq!(ids(&found), expected);
}

#[test]
fn a_relay_that_began_anew_is_read_from_its_beginning() {
    let feeds = Feeds::start(NUMBERS);
    (0..10).for_each(|number| feeds.post("f", event("f", number)));
    let cursor = fetch(&feeds, Progress::default())
        .1
        .pop()
        .and_then(|arrival| arrival.cursor);
    for count in [1, 10, 11] {
        feeds.begin_anew();
        (100..100 + count).for_each(|number| feeds.post("f", event("f", number)));
        let (_, found) = fetch(
            &feeds,
            Progress {
                cursor: cursor.clone(),
                newest: None,
            },
        );
        assert_eq!(found.len(), count as usize);
    }
}

#[test]
fn ids_of_a_stream_that_are_no_numbers_of_the_relay_lose_nothing() {
    let feeds = Feeds::start(NO_NUMBERS);
    feeds.post("f", event("f", 1));
    let cursor = Cursor {
        feed: "f".into(),
        sequence: 7,
        event_id: Some("e-1".into()),
    };
    let (done, found) = fetch(
        &feeds,
        Progress {
            cursor: Some(cursor),
            newest: None,
        },
    );
    done.expect("all is fetched");
    assert_eq!(ids(&found), ["e-1"]);
    assert_eq!(found[0].cursor, None);
}

#[test]
fn ids_of_the_stream_of_an_empty_feed_are_taken_for_numbers_where_they_are() {
    let ids = Manners {
        ids: true,
        ..NO_NUMBERS
    };
    for manners in [ids, NUMBERS] {
        let feeds = Feeds::start(manners);
        let inbox = follow(&feeds, Progress::default());
        // The ids of the stream, the relay's behaviour, and its events.
        while feeds.requests().len() < 3 {
            thread::yield_now();
        }
        for number in 1..3 {
            feeds.post("f", event("f", number));
            let cursor = until(&inbox, [number]).map(|cursor| cursor.sequence);
            assert_eq!(cursor, manners.numbers.then_some(number.into()));
            feeds.hang_up();
        }
    }
}

#[test]
fn a_relay_that_refuses_numbers_is_asked_without() {
    let feeds = Feeds::start(Manners {
        ids: true,
        ..NO_NUMBERS
    });
    feeds.post("f", event("f", 1));
    let cursor = Cursor {
        feed: "f".into(),
        sequence: 1,
        event_id: Some("e-1".into()),
    };
    let progress = Progress {
        cursor: Some(cursor),
        newest: None,
    };
    let (done, found) = fetch(&feeds, progress);
    done.expect("all is fetched");
    assert_eq!(ids(&found), ["e-1"]);
}

#[test]
fn an_event_without_a_position_does_not_hold_up_the_others() {
    let feeds = Feeds::start(Manners {
        page: Some(3),
        ..NO_NUMBERS
    });
    let nowhere = json!({"ts": "9999-01-01T00:00:00Z"});
    feeds.post("f", nowhere.clone());
    let (done, found) = fetch(&feeds, Progress::default());
    done.expect("all is fetched");
    assert_eq!(ids(&found), ["refused"]);
    (0..5).for_each(|number| feeds.post("f", event("f", number)));
    let (done, found) = fetch(&feeds, Progress::default());
    done.expect("all is fetched");
    assert_eq!(ids(&found)[..6], ["e-0", "e-1", "e-2", "e-3", "e-4", "refused"]);
}

#[test]
fn a_bad_event_is_told_and_hides_no_good_one() {
    let feeds = Feeds::start(NUMBERS);
    for bad in [json!(null), json!({"event_id": "../x"}), event("other", 1)] {
        feeds.post("f", bad);
    }
    feeds.post("f", event("f", 2));
    assert_eq!(
        ids(&fetch(&feeds, Progress::default()).1),
        ["refused", "refused", "refused", "e-2"]
    );
    let inbox = follow(&feeds, Progress::default());
    until(&inbox, [2]);
    wait_for_a_listener(&feeds);
    // The second response is empty, which closes the gap.
    let is_the_last = |line: &str| line.contains("after_seq=4&");
    while feeds
        .requests()
        .iter()
        .filter(|request| is_the_last(&request.line))
        .count()
        < 2
    {
        thread::yield_now();
    }
    feeds.say(b"event: ping\ndata: 12:00\n\nevent: message\ndata: {\n\n");
    feeds.say(format!("data: {}\n\n", "x".repeat(2 << 20)).as_bytes());
    feeds.post("f", event("f", 3));
    let mut found = Vec::new();
    while found.last().is_none_or(|id| id != "e-3") {
        match inbox.next(Some(PATIENCE)) {
            Next::Arrival(arrival) => found.push(id(&arrival)),
            other => panic!("{other:?} after {found:?}"),
        }
    }
    assert_eq!(found, ["refused", "refused", "e-3"]);
}

#[test]
fn a_relay_that_keeps_nothing_is_followed_all_the_same() {
    let feeds = Feeds::start(Manners {
        forgetful: true,
        ..NUMBERS
    });
    let inbox = follow(&feeds, Progress::default());
    wait_for_a_listener(&feeds);
    feeds.post("f", event("f", 1));
    until(&inbox, [1]);
    let error = fetch(&feeds, Progress::default())
        .0
        .expect_err("there is nothing to fetch");
    assert!(error.to_string().contains("feed f"), "{error}");
}

#[test]
fn a_failure_passes() {
    let feeds = Feeds::start(Manners {
        status: Some("503 Service Unavailable"),
        ..NUMBERS
    });
    feeds.post("f", event("f", 1));
    let error = fetch(&feeds, Progress::default()).0.expect_err("503");
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    let inbox = follow(&feeds, Progress::default());
    while feeds.requests().len() < 2 {
        thread::yield_now();
    }
    feeds.behave(NUMBERS);
    until(&inbox, [1]);
}

#[test]
fn a_silent_stream_is_given_up() {
    let feeds = Feeds::start(NUMBERS);
    let (sender, inbox) = inbox();
    let web = web(&feeds, None, Duration::from_millis(100));
    let follower = Follower::new(web, "f", Progress::default(), sender, SystemClock::default());
    thread::spawn(move || follower.follow());
    while feeds.listeners() < 2 {
        thread::yield_now();
    }
    drop(inbox);
}

#[test]
fn a_token_goes_as_bearer_and_is_not_told_when_it_is_refused() {
    let feeds = Feeds::start(Manners {
        status: Some("401 canary"),
        ..NUMBERS
    });
    for (token, says) in [(None, "none is set"), (Some("canary"), "refuses the token")] {
        let (sender, inbox) = inbox();
        let web = web(&feeds, token, PATIENCE);
        let error = Follower::new(web, "f", Progress::default(), sender, SystemClock::default())
            .fetch()
            .expect_err("401");
        assert_eq!(inbox.next(None), Next::Ended);
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(
            error.to_string().contains(says) && !error.to_string().contains("canary"),
            "{error}"
        );
        let sent = feeds.requests().pop().expect("a request");
        assert_eq!(
            sent.field("Authorization").map(str::to_owned),
            token.map(|token| format!("Bearer {token}"))
        );
    }
}
