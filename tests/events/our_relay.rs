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
use support::{
    git::git,
    programs,
    relay::{Relay, event},
    stargate::clean_command,
};

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

#[test]
fn pushed_events_are_confirmed_to_the_relay_and_only_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let answers = ["0", "1", "2"].map(|id| client.post_event(&event("f", id)));
    let last = answers.last().copied();
    let remote = folder.path().join("remote.git");
    let confirmed = folder.path().join("data/confirmed.json");
    let run = |url: &std::path::Path| {
        let mut run = clean_command(programs::mirror());
        run.args(["events", "run", "--once", "--repo"])
            .arg(folder.path().join("context"));
        run.env("RELAY_URL", format!("http://{}", relay.address))
            .env("FEED_IDS", "f")
            .env("GITHUB_REPO_URL", url);
        run.output().expect("a program")
    };
    // There is no such remote.
    let output = run(&remote);
    assert!(!output.status.success(), "{output:?}");
    assert!(!confirmed.exists(), "nothing is pushed");
    git(folder.path(), &["init", "-q", "--bare", "remote.git"]);
    let last = last.max(Some(client.post_event(&event("f", "3"))));
    let output = run(&remote);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json = std::fs::read(&confirmed).expect("a confirmation");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    let mirrors = json["f"].as_object().expect("mirrors");
    let numbers: Vec<_> = mirrors.values().map(serde_json::Value::as_u64).collect();
    assert_eq!(numbers, [last]);
}
