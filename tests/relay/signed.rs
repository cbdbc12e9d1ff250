//! Signed events, by a signer in JavaScript that follows only the documentation.
use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use stargate_mirror::event::{Authenticity, Event};
use support::{
    processes::program,
    random::Random,
    relay::{Client, Relay, Start, event},
};

use crate::{contract, folder, requests::fields};

/// Private keys.
const ALICE: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const BOB: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
/// Generated events that are signed, and how many of them are posted.
const EVENTS: usize = 500;
const POSTED: usize = 30;

/// Gives events to the script, a line each; returns what it prints.
fn node(arguments: &[&str], events: &[String]) -> Vec<String> {
    let mut node = Command::new(program("node"));
    node.arg(format!("{}/tests/relay/sign.mjs", env!("CARGO_MANIFEST_DIR")));
    let mut node = node
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node");
    let mut stdin = node.stdin.take().expect("a pipe");
    let input = events.join("\n") + "\n";
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = node.wait_with_output().expect("node");
    writer.join().expect("a writer").expect("it reads all");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(str::to_owned).collect()
}

/// Signs an event with this key.
pub fn signed(key: &str, event: &Value) -> Value {
    let lines = node(&["sign", key], &[event.to_string()]);
    serde_json::from_str(&lines[0]).expect("JSON")
}

fn post(client: &Client, event: &Value) -> (u16, Value) {
    let answer = client.post("/feeds/f/events", event);
    (answer.status, answer.json)
}

#[test]
fn events_that_node_signs_are_accepted_and_node_verifies_what_is_stored() {
    let mut random = Random::new(8785);
    let texts: Vec<_> = (0..EVENTS).map(|number| contract::event(&mut random, number)).collect();
    let texts = node(&["sign", ALICE], &texts);
    assert_eq!(texts.len(), EVENTS);
    for text in &texts {
        let event = Event::parse_posted(text.as_bytes()).expect("an event");
        assert_eq!(event.verify(), Ok(Authenticity::Signed), "{text}");
        assert_eq!(event.to_json(), text.as_bytes(), "{text}");
    }
    let folder = folder();
    let arguments = ["--require-signatures"];
    let start = Start {
        arguments: &arguments,
        ..Start::default()
    };
    let relay = start.start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    for text in &texts[..POSTED] {
        let answer = client.try_post("/feeds/f/events", text).expect("an answer");
        assert_eq!(answer.status, 201, "{text}: {answer:?}");
    }
    let stored = client.get("/feeds/f/events?after_seq=0&limit=1000").json;
    let stored: Vec<_> = stored
        .as_array()
        .expect("a page")
        .iter()
        .map(Value::to_string)
        .collect();
    assert_eq!(node(&["verify"], &stored), vec!["true"; POSTED]);
}

#[test]
fn a_wrong_signature_is_refused_with_details() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let good = signed(ALICE, &event("f", "1"));
    let with = |name: &str, value: Value| {
        let mut event = good.clone();
        event[name] = value;
        event
    };
    for (event, field) in [
        (with("payload", json!({"name": "2"})), "signature"),
        (with("more", json!(1)), "signature"),
        (with("signature", json!("x")), "signature"),
        (with("signature", json!(1)), "signature"),
        (with("payload", json!(12_345_678_901_234_567_890_u64)), "signature"),
        (with("author_identity_id", json!("alice")), "author_identity_id"),
        (
            with("author_identity_id", signed(BOB, &good)["author_identity_id"].clone()),
            "signature",
        ),
    ] {
        let (status, answer) = post(&client, &event);
        assert_eq!((status, fields(&answer)), (400, vec![field]), "{event}");
    }
    assert_eq!(client.get("/feeds/f/events").json, json!([]));
    assert_eq!(post(&client, &good), (201, good.clone()));
    assert_eq!(post(&client, &event("f", "2")).0, 201, "signatures are optional");
}

#[test]
fn an_event_may_be_signed_again_but_a_signature_is_not_lost() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let first = signed(ALICE, &event("f", "1"));
    let mut again = first.clone();
    again["event_id"] = "e-again".into();
    again["ts"] = "2026-01-10T13:00:00Z".into();
    let again = signed(ALICE, &again);
    assert_ne!(first["signature"], again["signature"]);
    assert_eq!(post(&client, &first).0, 201);
    assert_eq!(post(&client, &again), (200, first.clone()), "the content is the same");
    let mut bare = first.clone();
    bare["signature"] = Value::Null;
    let (status, answer) = post(&client, &bare);
    assert_eq!((status, &answer["stored"]), (409, &first));
}

#[test]
fn a_relay_that_requires_signatures_refuses_events_without() {
    let folder = folder();
    let arguments = ["--require-signatures"];
    let start = Start {
        arguments: &arguments,
        ..Start::default()
    };
    let relay = start.start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let (status, answer) = post(&client, &event("f", "1"));
    assert_eq!((status, fields(&answer)), (403, vec!["signature"]));
    assert_eq!(answer["error"], "signature is missing; this relay requires one");
    assert_eq!(post(&client, &signed(BOB, &event("f", "1"))).0, 201);
}
