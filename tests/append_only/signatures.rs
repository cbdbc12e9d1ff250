//! `check append-only --signatures`, over events that the program signs.
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use stargate_mirror::event::{Layout, SigningKey, pem};

use crate::check::{Repository, stdout};

/// A signed event, and its path.
fn signed(id: &str) -> (Value, String) {
    let event = json!({
        "event_id": id, "feed_id": "f", "type": "message", "payload": {"text": "hello", "n": 1.5},
        "source": {"platform": "p", "adapter_id": "a", "source_msg_id": null}, "ts": "2026-01-10T12:00:00Z"
    });
    let key = SigningKey::from_pem(&pem(&[7; 32])).expect("a key");
    let event = key.sign(event.to_string().as_bytes()).expect("an event");
    let path = event.path(Layout::Day);
    (serde_json::from_slice(&event.to_json()).expect("JSON"), path)
}

/// Names of the badly signed files, each with its problem.
fn badly_signed(report: &Value) -> Vec<(String, String)> {
    let files = report["badly_signed"].as_array().expect("a list").iter();
    let file = |file: &Value| {
        let path = file["path"].as_str().expect("a path");
        let name = path.rsplit('/').next().expect("a name");
        (
            name.to_owned(),
            file["problems"][0].as_str().expect("a problem").to_owned(),
        )
    };
    let mut files: Vec<_> = files.map(file).collect();
    files.sort();
    files
}

#[test]
fn new_events_have_right_signatures() {
    let repository = Repository::new();
    repository.git(&["checkout", "-q", "-b", "work"]);
    let (event, path) = signed("1");
    repository.write(&path, &(serde_json::to_string_pretty(&event).expect("JSON") + "\n"));
    repository.write("events/f/.gitkeep", "");
    repository.commit("good");
    for flag in ["--signatures", "--signatures=optional", "--signatures=required"] {
        let report = repository.json(&["--base", "main", flag]);
        assert_eq!(
            (&report["outcome"], &report["badly_signed"]),
            (&json!("clean"), &json!([]))
        );
    }
    assert!(repository.json(&["--base", "main"])["badly_signed"].is_null());

    let write = |id: &str, change: &dyn Fn(&mut Value)| {
        let (mut event, path) = signed(id);
        change(&mut event);
        repository.write(&path, &event.to_string());
    };
    write("2", &|event| event["payload"]["text"] = json!("Hello"));
    write("3", &|event| event["author_identity_id"] = json!("alice"));
    write("4", &|event| event["signature"] = Value::Null);
    repository.write("events/f/2026-01-10/5.json", "{}");
    symlink("1.json", repository.path().join("events/f/2026-01-10/6.json")).expect("a link");
    let bad = repository.commit("bad");
    let report = repository.json(&["--base", "main", "--signatures"]);
    let expected = [
        (
            "2.json",
            "`signature` is not a signature of this event by its author_identity_id",
        ),
        (
            "3.json",
            "`author_identity_id` is not the did:key of an Ed25519 key (did:key:z6Mk…), but the event has a signature",
        ),
        ("5.json", "it is not an event: `event_id` is missing"),
        ("6.json", "it is a symbolic link"),
    ];
    let mut expected: Vec<_> = expected
        .map(|(name, problem)| (name.to_owned(), problem.to_owned()))
        .into();
    assert_eq!(badly_signed(&report), expected);
    assert_eq!(report["badly_signed"][0]["commit"], bad);
    let required = repository.json(&["--base", "main", "--signatures=required"]);
    expected.insert(2, ("4.json".into(), "`signature` is missing".into()));
    assert_eq!(badly_signed(&required), expected);
    // With a base of zeros, everything is new: the files of the first commit are no events.
    let zeros = "0".repeat(40);
    assert_eq!(
        badly_signed(&repository.json(&["--base", &zeros, "--signatures"])).len(),
        6
    );
}

#[test]
fn the_report_names_path_and_reason() {
    let repository = Repository::new();
    repository.git(&["checkout", "-q", "-b", "work"]);
    let (mut event, path) = signed("1");
    event["type"] = json!("note");
    repository.write(&path, &event.to_string());
    let commit = repository.commit("bad")[..10].to_owned();
    let why = "`signature` is not a signature of this event by its author_identity_id";
    let output = repository.check(&["--base", "main", "--signatures"]);
    let summary = "append-only: events/ in 1 new commit: 1 new file badly signed";
    assert_eq!(stdout(&output), format!("A  {path}  {commit}  {why}\n{summary}\n"));
    assert_eq!(output.status.code(), Some(1));
    let output = repository.check(&["--base", "main", "--signatures", "--format", "github"]);
    let annotation = format!("::error file={path},title=event signature::in {commit}: {why}");
    assert_eq!(stdout(&output), format!("{annotation}\n{summary}\n"));
}
