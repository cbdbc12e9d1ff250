//! Streams are followed by clients that are not ours, as `tests/sse/install` puts them below `target/sse`; and the description
//! is tried by schemathesis.
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use crate::folder;
use support::{
    processes::program,
    relay::{Client, Relay, Start, event},
};

/// A text that is awkward to carry in lines.
const AWKWARD: &str = "data: id: 8\n: \u{feff} grüße \u{2028}\u{1f600}\u{0}";

/// A client that prints what it receives, a line of JSON each.
struct Listening {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Listening {
    /// Starts a client, and waits until it is connected.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut listening = Listening { child, said };
        assert_eq!(listening.next(), "open");
        listening
    }

    fn next(&mut self) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.said.read_line(&mut line).expect("a line") > 0, "it has ended");
            if let Ok(value) = serde_json::from_str(&line) {
                return value;
            }
        }
    }

    /// Receives a message; a reconnection is none.
    fn message(&mut self) -> Value {
        loop {
            let value = self.next();
            if value != "open" {
                return value;
            }
        }
    }
}

/// A file that `tests/sse/install` put below target/sse.
pub fn installed(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sse").join(name);
    assert!(
        path.exists(),
        "{} is needed: tests/sse/install installs it",
        path.display()
    );
    path
}

fn script(name: &str) -> String {
    format!("{}/tests/relay/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn of_node(url: &str) -> Command {
    installed("node_modules/eventsource");
    let mut command = Command::new(program("node"));
    command.arg(script("listen.mjs")).arg(installed("")).arg(url);
    command
}

fn of_python(package: &str, url: &str) -> Command {
    let mut command = Command::new(installed("venv/bin/python"));
    command.arg(script("listen.py")).args([package, url]);
    command
}

/// Posts awkward events; returns the messages that a client prints.
fn post(client: &Client, numbers: std::ops::Range<usize>, text: &str) -> Vec<Value> {
    let post = |number: usize| {
        let mut event = event("f", &number.to_string());
        event["payload"] = match number % 4 {
            0 => json!("two\nlines\r\nor\rthree\n\n"),
            1 => json!(text),
            2 => json!("x".repeat(200_000)),
            _ => json!({}),
        };
        let seq = client.post_event(&event);
        let stored = client.get(&format!("/feeds/f/events?after_seq={}&limit=1", seq - 1));
        json!([seq.to_string(), stored.json[0]])
    };
    numbers.map(post).collect()
}

fn receives(listening: &mut Listening, expected: &[Value]) {
    for expected in expected {
        let mut message = listening.message();
        message[1] = serde_json::from_str(message[1].as_str().expect("text")).expect("JSON");
        assert!(&message == expected, "{message:.200} is not {expected:.200}");
    }
}

/// With `resumes`, the relay is restarted: the client connects again by itself, and misses nothing.
fn follows(command: impl Fn(&str) -> Command, text: &str, resumes: bool) {
    let folder = folder();
    let relay = Relay::start(folder.path());
    relay.client().make_feed("f");
    let stored = post(&relay.client(), 0..4, text);
    let url = format!("http://{}/feeds/f/stream", relay.address);
    let mut listening = Listening::start(&mut command(&format!("{url}?after_seq=0")));
    receives(&mut listening, &stored);
    receives(&mut listening, &post(&relay.client(), 4..12, text));
    if resumes {
        let address = relay.address.to_string();
        relay.stop();
        let arguments = ["--listen", address.as_str()];
        let again = Start {
            arguments: &arguments,
            ..Start::default()
        };
        let relay = again.start(folder.path());
        receives(&mut listening, &post(&relay.client(), 12..20, text));
    }
}

#[test]
fn eventsource_of_npm_follows_and_resumes() {
    follows(of_node, AWKWARD, true);
}

#[test]
fn sseclient_of_pypi_follows_and_resumes() {
    // It divides lines at U+2028, too.
    let text = AWKWARD.replace('\u{2028}', "");
    follows(|url| of_python("sseclient", url), &text, true);
}

#[test]
fn sseclient_py_of_pypi_follows() {
    follows(|url| of_python("sseclient-py", url), AWKWARD, false);
}

#[test]
fn schemathesis_finds_nothing() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    relay.client().make_feed("f");
    let mut command = Command::new(installed("venv/bin/python"));
    command
        .args(["-m", "schemathesis.cli", "run"])
        .arg(format!("http://{}/openapi.json", relay.address))
        // Streams have no end.
        .args(["--exclude-path-regex", "stream"])
        // The description cannot say which names are files on every system, or that lengths are those of UTF-8.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "40"])
        .args(["--seed", "13", "--no-shrink", "--no-color", "--request-timeout", "10"])
        .current_dir(folder.path());
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", relay.said());
    assert!(said.contains("passed"), "{said}");
}
