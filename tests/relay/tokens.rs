//! Tokens of a file: rights, feeds, rates, and reading the file again.
use std::{fs, path::Path, process::Command};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::folder;
use support::{
    processes::program,
    relay::{Client, Heard, Listener, Relay, Start, event},
};

/// SHA-256 as an operator computes it.
fn sha256(token: &str) -> String {
    let script = format!("printf %s '{token}' | sha256sum");
    let output = Command::new(program("sh")).args(["-c", &script]).output().expect("sh");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split(' ').next().expect("a hash").to_owned()
}

pub fn entry(token: &str, rights: &[&str], feeds: &[&str]) -> Value {
    json!({"name": token, "sha256": sha256(token), "rights": rights, "feeds": feeds})
}

pub fn write(folder: &Path, tokens: &[Value]) {
    fs::write(folder.join("tokens.json"), json!({ "tokens": tokens }).to_string()).expect("a file");
}

/// A relay with the owner's token `owner` and the file.
pub fn start(folder: &Path) -> Relay {
    let file = folder.join("tokens.json");
    let arguments = ["--tokens", file.to_str().expect("UTF-8"), "--token-in-query"];
    let start = Start {
        arguments: &arguments,
        token: Some("owner"),
        ..Start::default()
    };
    start.start(folder)
}

fn post(client: &Client, event: &Value) -> u16 {
    let feed = event["feed_id"].as_str().expect("a feed");
    client.post(&format!("/feeds/{feed}/events"), event).status
}

#[test]
fn a_token_does_what_the_file_says_and_nothing_else() {
    let folder = folder();
    let tokens = [
        entry("reader", &["read"], &["team-*"]),
        entry("writer", &["write"], &["team-a"]),
        entry("admin", &["admin", "read"], &["team-*"]),
    ];
    write(folder.path(), &tokens);
    let relay = start(folder.path());
    let [owner, reader, writer, admin] =
        ["owner", "reader", "writer", "admin"].map(|token| relay.client().with_token(token));
    owner.make_feed("team-a");
    owner.make_feed("secret");
    admin.make_feed("team-b");
    for (client, body, status) in [
        (&admin, json!({"feed_id": "other"}), 403),
        (&admin, json!({"name": "with an id of the relay"}), 403),
        (&reader, json!({"feed_id": "team-c"}), 403),
        (&relay.client().with_token("nobody"), json!({"feed_id": "team-c"}), 401),
    ] {
        assert_eq!(client.post("/feeds", &body).status, status, "{body}");
    }
    let feeds = |client: &Client| {
        let feeds = client.get("/feeds").json;
        let ids = feeds.as_array().expect("a list").iter();
        ids.map(|feed| feed["id"].as_str().expect("an id").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(feeds(&owner), ["team-b", "secret", "team-a"]);
    assert_eq!(feeds(&reader), ["team-b", "team-a"]);
    assert_eq!(feeds(&writer), [""; 0]);

    let one = event("team-a", "1");
    assert_eq!(
        (post(&writer, &one), post(&writer, &one)),
        (201, 200),
        "its own event comes back"
    );
    assert_eq!(post(&writer, &event("team-b", "2")), 403);
    assert_eq!((post(&reader, &one), post(&admin, &one)), (403, 403));
    for (client, path, status) in [
        (&reader, "/feeds/team-a", 200),
        (&reader, "/v1/feeds/team-a/events", 200),
        (&reader, "/feeds/secret", 403),
        (&reader, "/feeds/secret/events", 403),
        (&reader, "/feeds/secret/stream", 403),
        (&reader, "/feeds/none", 403),
        (&reader, "/feeds/team-none", 404),
        (&reader, "/stream?feed=team-a&feed=secret", 403),
        (&writer, "/feeds/team-a/events", 403),
        (&writer, "/feeds/team-a/stream", 403),
    ] {
        assert_eq!(client.get(path).status, status, "{path}");
    }
    let mut listener = Listener::open(
        relay.address,
        "/stream?feed=team-a&feed=team-b&after_seq=0&access_token=reader",
        None,
    );
    assert_eq!(listener.event().1, one);
}

#[test]
fn stored_events_are_not_shown_to_those_who_may_not_read_them() {
    let folder = folder();
    write(folder.path(), &[entry("writer", &["write"], &["open"])]);
    let relay = start(folder.path());
    let [owner, writer] = ["owner", "writer"].map(|token| relay.client().with_token(token));
    owner.make_feed("open");
    owner.make_feed("secret");
    let mut secret = event("secret", "1");
    owner.post_event(&secret);
    let mut other = event("open", "1");
    other["payload"] = json!("a guess");
    let answer = writer.post("/feeds/open/events", &other);
    assert_eq!((answer.status, answer.seq), (409, None));
    assert!(!answer.json.to_string().contains("secret") && answer.json["stored"].is_null());
    secret["feed_id"] = "open".into();
    assert_eq!(
        writer.post("/feeds/open/events", &secret).status,
        409,
        "nor that a guess is right"
    );
    assert_eq!(
        owner.post("/feeds/open/events", &other).json["stored"]["feed_id"],
        "secret"
    );
}

#[test]
fn a_rate_is_answered_with_429_and_the_time_to_wait() {
    let folder = folder();
    let mut limited = entry("limited", &["read"], &["*"]);
    limited["per_minute"] = json!(2);
    write(folder.path(), &[limited]);
    let relay = start(folder.path());
    let url = format!("http://{}/feeds", relay.address);
    let ask = || {
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        let agent: ureq::Agent = config.build().into();
        let answer = agent
            .get(&url)
            .header("Authorization", "Bearer limited")
            .call()
            .expect("an answer");
        let wait = answer
            .headers()
            .get("Retry-After")
            .and_then(|wait| wait.to_str().ok()?.parse::<u64>().ok());
        (answer.status().as_u16(), wait)
    };
    assert_eq!([ask(), ask()], [(200, None), (200, None)]);
    let (status, wait) = ask();
    assert!(
        status == 429 && wait.is_some_and(|wait| (1..=30).contains(&wait)),
        "{status} {wait:?}"
    );
    assert_eq!(
        relay.client().with_token("owner").get("/feeds").status,
        200,
        "others have their own rate"
    );
}

#[test]
fn the_file_is_read_again_and_streams_end() {
    let folder = folder();
    write(folder.path(), &[entry("old", &["read"], &["*"])]);
    let relay = start(folder.path());
    relay.client().with_token("owner").make_feed("f");
    let mut listener = Listener::open(relay.address, "/feeds/f/stream?access_token=old", None);
    assert!(matches!(listener.next(), Heard::Id(_)));
    let status = |token: &str| relay.client().with_token(token).get("/feeds").status;

    fs::write(folder.path().join("tokens.json"), "{").expect("a file");
    relay.signal(Signal::HUP);
    relay.until("the previous tokens stay in use");
    assert_eq!((status("old"), status("owner")), (200, 200));

    write(folder.path(), &[entry("new", &["read"], &["*"])]);
    relay.signal(Signal::HUP);
    relay.until("reloaded the tokens");
    assert_eq!((status("old"), status("new"), status("owner")), (401, 200, 200));
    assert_eq!(listener.try_next().expect("an end that is clean"), None);
    relay.stop();
    fs::write(folder.path().join("tokens.json"), "{").expect("a file");
    let file = folder.path().join("tokens.json");
    let arguments = ["--tokens", file.to_str().expect("UTF-8")];
    let refused = Start {
        arguments: &arguments,
        ..Start::default()
    };
    let output = refused.command(folder.path()).output().expect("it starts");
    assert_eq!(
        output.status.code(),
        Some(4),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
