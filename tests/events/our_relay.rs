//! Feeds of our own relay are followed by the headers of its pages.
use std::collections::BTreeSet;

use durable::clock::SystemClock;
use git_push_transport::{Settings, web::Web};
use stargate_mirror::events::{
    inbox::{Next, inbox},
    source::{
        Arrival,
        relay::{Follower, Progress},
    },
};
use support::relay::{Relay, event};

/// Events of the feed; more than two pages.
const EVENTS: u32 = 150;

fn fetch(relay: &Relay, progress: Progress) -> Vec<Arrival> {
    let (sender, inbox) = inbox();
    let settings = Settings::from_environment(|_| None).expect("settings");
    let web = Web::open(&format!("http://{}", relay.address), None, settings).expect("a URL");
    let follower = Follower::new(web, "f", progress, sender, SystemClock::default());
    follower.fetch().expect("all is fetched");
    let mut found = Vec::new();
    while let Next::Arrival(arrival) = inbox.next(None) {
        found.push(arrival);
    }
    found
}

fn ids(arrivals: &[Arrival]) -> Vec<&str> {
    let events = arrivals.iter().map(|arrival| arrival.event.as_ref().expect("an event"));
    events.map(|event| event.event_id()).collect()
}

#[test]
fn all_pages_are_read_and_a_restart_reads_only_what_is_new() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    assert!(fetch(&relay, Progress::default()).is_empty());
    let mut posted = Vec::new();
    for number in 0..EVENTS {
        let mut event = event("f", &number.to_string());
        // The latest arrive with the earliest times, and without a message id.
        event["ts"] = format!("2026-01-10T12:{:02}:00Z", 59 - number % 60).into();
        event["source"]["source_msg_id"] = serde_json::Value::Null;
        posted.push((client.post_event(&event), event));
    }
    let found = fetch(&relay, Progress::default());
    let expected: Vec<_> = posted
        .iter()
        .map(|(_, event)| event["event_id"].as_str().expect("an id"))
        .collect();
    assert_eq!(ids(&found), expected);
    let cursor = found.last().and_then(|arrival| arrival.cursor.clone());
    let (last, _) = posted[posted.len() - 1];
    assert_eq!(cursor.as_ref().map(|cursor| cursor.sequence), Some(last));
    let known: BTreeSet<_> = found
        .iter()
        .filter_map(|arrival| arrival.cursor.as_ref())
        .map(|cursor| cursor.sequence)
        .collect();
    assert!(
        known
            .iter()
            .all(|sequence| posted.iter().any(|(seq, _)| seq == sequence))
    );

    let progress = Progress { cursor, newest: None };
    assert!(fetch(&relay, progress.clone()).is_empty());
    let mut late = event("f", "late");
    late["ts"] = "2001-01-01T00:00:00Z".into();
    client.post_event(&late);
    assert_eq!(ids(&fetch(&relay, progress)), ["e-late"]);
}
