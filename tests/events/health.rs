//! `GET /health` of `events run`.
use serde_json::{Value, json};

use crate::{REPOSITORY, World, feeds};
use support::{feeds::event, running::Running};

/// Waits until the run reports the address of its health endpoint.
fn address(run: &Running) -> String {
    run.until("health at http://");
    let said = run.said();
    let url = said
        .split("health at ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    url.expect("a URL").to_owned()
}

fn health(url: &str) -> Value {
    let mut answer = ureq::get(url).call().expect("an answer");
    serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("JSON")
}

#[test]
fn the_health_names_the_last_pushed_commit_and_the_last_event() {
    let (world, feeds) = (World::new(), feeds());
    let events: Vec<_> = (0..2).map(|number| event("f", number)).collect();
    events.iter().for_each(|event| feeds.post("f", event.clone()));
    let run = world.run("context", &feeds.url(), "f", &["--listen", "127.0.0.1:0"], &[]);
    let url = address(&run);
    run.until("Pushed 2 event(s) to GitHub");
    let told = health(&url);
    let tip = world.mirror.git(REPOSITORY, &["rev-parse", "main"]);
    assert!(told["uptime_seconds"].is_u64());
    let expected = json!({
        "status": "ok", "last_commit_sha": tip, "last_event_id": "e-1", "last_event_ts": "2026-01-09T12:00:01.000Z",
        "uptime_seconds": told["uptime_seconds"], "feed_ids": ["f"]
    });
    assert_eq!(told, expected);
    assert_eq!(run.terminate().0, 0);

    // After a restart the last event is the newest one of the repository.
    let run = world.run("context", &feeds.url(), "f", &[], &[("PORT", "0")]);
    let told = health(&address(&run));
    assert_eq!(told["last_event_id"], "e-1");
    assert_eq!(run.terminate().0, 0);
}
