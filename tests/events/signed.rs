//! Signed events: the commands that make them, what other programs make of them, and their way to the remote.
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};
use stargate_mirror::event::{Authenticity, Event, Layout, SigningKey, pem};
use support::{
    processes::program,
    relay::{Start, event},
    stargate::{clean_command, feed, stderr},
};

use crate::World;

const DOCS: &str = include_str!("../../docs/events.md");

fn events(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = clean_command(env!("CARGO_BIN_EXE_stargate-mirror"));
    command.current_dir(folder).arg("events").args(arguments);
    feed(command, input)
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Output of the script in JavaScript for these events, a line each.
fn node(arguments: &[&str], lines: &str) -> String {
    let mut command = Command::new(program("node"));
    command.arg(format!("{}/tests/relay/sign.mjs", env!("CARGO_MANIFEST_DIR")));
    command.args(arguments);
    stdout(&feed(command, lines))
}

/// An event without an author.
fn unsigned(name: &str) -> Value {
    let mut event = event("f", name);
    event.as_object_mut().expect("an object").remove("author_identity_id");
    event
}

#[test]
fn a_new_key_signs_and_node_verifies() {
    let folder = tempfile::tempdir().expect("a folder");
    let author = stdout(&events(folder.path(), &["keygen", "author.pem"], ""));
    let file = folder.path().join("author.pem");
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    let again = events(folder.path(), &["keygen", "author.pem"], "");
    assert_eq!(again.status.code(), Some(5), "a key is never overwritten");

    let line = stdout(&events(
        folder.path(),
        &["sign", "--key", "author.pem"],
        &unsigned("1").to_string(),
    ));
    let signed: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        format!("{}\n", signed["author_identity_id"].as_str().expect("text")),
        author
    );
    assert_eq!(node(&["verify"], &line), "true\n");
    let changed = line.replace("m-1", "m-2");
    assert_eq!(node(&["verify"], &changed), "false\n");

    let refused = |event: &Value, problem: &str| {
        let output = events(folder.path(), &["sign", "--key", "author.pem"], &event.to_string());
        assert_eq!(output.status.code(), Some(3));
        assert!(stderr(&output).contains(problem), "{}", stderr(&output));
    };
    refused(&signed, "`signature` is there already");
    refused(&event("f", "1"), "`author_identity_id` is not did:key:z6Mk");
    refused(&json!({"payload": 1}), "`event_id` is missing; `feed_id` is missing");
    let mut large = unsigned("1");
    large["payload"] = json!([9_007_199_254_740_993_u64]);
    refused(
        &large,
        "`signature` cannot cover the number 9007199254740993, which RFC 8785 would round",
    );

    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a mode");
    let output = events(folder.path(), &["sign", "--key", "author.pem"], "{}");
    assert_eq!(output.status.code(), Some(4));
    assert!(
        stderr(&output).contains("run `chmod 600 author.pem`"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_key_of_openssl_signs() {
    let folder = tempfile::tempdir().expect("a folder");
    let openssl = |arguments: &[&str]| {
        let output = Command::new(program("openssl"))
            .current_dir(folder.path())
            .args(arguments)
            .output();
        assert!(output.expect("openssl").status.success());
    };
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", "key.pem"]);
    let file = folder.path().join("key.pem");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a mode");
    let line = stdout(&events(
        folder.path(),
        &["sign", "--key", "key.pem"],
        &unsigned("1").to_string(),
    ));
    assert_eq!(node(&["verify"], &line), "true\n");

    openssl(&["genpkey", "-algorithm", "x25519", "-out", "key.pem"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a mode");
    let output = events(folder.path(), &["sign", "--key", "key.pem"], "{}");
    assert_eq!(output.status.code(), Some(4));
    let problem = "the key key.pem cannot be used: it is not an unencrypted Ed25519 private key in PEM";
    assert!(stderr(&output).contains(problem), "{}", stderr(&output));

    events(folder.path(), &["keygen", "ours.pem"], "");
    openssl(&["pkey", "-in", "ours.pem", "-noout"]);
}

/// The block of the documentation after this line.
fn block(title: &str) -> &'static str {
    let (_, rest) = DOCS
        .split_once(title)
        .unwrap_or_else(|| panic!("{title} is in docs/events.md"));
    let (_, rest) = rest.split_once("```text\n").expect("a block");
    rest.split_once("```").expect("its end").0
}

#[test]
fn the_example_of_the_documentation_is_right() {
    let example = block("### A worked example");
    let value = |name: &str| {
        let line = example
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("{name} in {example}"))
    };
    let seed = value("private key");
    let digit = |index: usize| u8::from_str_radix(&seed[2 * index..2 * index + 2], 16).expect("hex");
    let key = SigningKey::from_pem(&pem(&std::array::from_fn(digit))).expect("a key");
    assert_eq!(key.author(), value("author"));
    let signed = key.sign(value("event").as_bytes()).expect("an event");
    let json = String::from_utf8(signed.to_json()).expect("text");
    assert!(
        json.ends_with(&format!(r#","signature":"{}"}}"#, value("signature"))),
        "{json}"
    );
    let by_node = node(&["sign", seed], value("event"));
    assert_eq!(by_node.trim_end(), json);
    // The canonical form is the event with sorted members, here.
    let canonical: Value = serde_json::from_str(value("canonical form")).expect("JSON");
    assert_eq!(canonical.to_string(), value("canonical form"));
    let mut expected: Value = serde_json::from_str(&json).expect("JSON");
    expected.as_object_mut().expect("an object").remove("signature");
    assert_eq!(canonical, expected);
}

#[test]
fn signatures_reach_the_remote_and_still_hold() {
    let world = World::new();
    let folder = world.folder.path();
    stdout(&events(folder, &["keygen", "author.pem"], ""));
    let arguments = ["--require-signatures"];
    let relay = Start {
        arguments: &arguments,
        ..Start::default()
    };
    let relay = relay.start(folder);
    relay.client().make_feed("f");
    let mut posted = Vec::new();
    for name in ["1", "2"] {
        let mut event = unsigned(name);
        event["payload"] = json!({"z": 1e21, "a": ["\u{2028}", 0.1, {}], "\u{fb33}": "ä", "😀": null});
        let line = stdout(&events(folder, &["sign", "--key", "author.pem"], &event.to_string()));
        let answer = relay.client().try_post("/feeds/f/events", &line).expect("an answer");
        assert_eq!(answer.status, 201, "{answer:?}");
        posted.push(line);
    }
    let url = format!("http://{}", relay.address);
    let running = world.run("context", &url, "f", &["--once"], &[]);
    let (code, said) = running.wait();
    assert_eq!(code, 0, "{said}");
    for line in posted {
        let event = Event::parse(line.trim_end().as_bytes()).expect("an event");
        let file = world.file(&event.path(Layout::Day));
        assert_eq!(file + "\n", String::from_utf8(event.to_file()).expect("text"));
        let stored = Event::parse_file(&event.to_file()).expect("an event");
        assert_eq!(
            (stored.verify(), stored.to_json()),
            (Ok(Authenticity::Signed), line.trim_end().into())
        );
        assert_eq!(node(&["verify"], &line), "true\n");
    }
    let mut check = clean_command(env!("CARGO_BIN_EXE_stargate-mirror"));
    check.current_dir(world.context("context"));
    check.args([
        "check",
        "append-only",
        "--base",
        &"0".repeat(40),
        "--schema",
        "--signatures=required",
    ]);
    let output = feed(check, "");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        stderr(&output)
    );
}
