//! Feeds from other servers of server-sent events: sse-starlette and better-sse, which `tests/sse/install` puts below
//! `target/sse`.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use durable::clock::SystemClock;
use git_push_transport::{Settings, web::Web};
use serde_json::{Value, json};
use stargate_mirror::events::{
    inbox::{Inbox, Next, inbox},
    source::{
        Arrival,
        relay::{Follower, Progress},
    },
};
use support::processes::program;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a program that prints its port.
    fn start(program: &Path, script: &Path) -> Self {
        let mut command = Command::new(program);
        let mut child = command.arg(script).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut port = String::new();
        let mut said = BufReader::new(child.stdout.take().expect("a pipe"));
        said.read_line(&mut port).expect("a line");
        assert!(!port.is_empty(), "{} {} ended", program.display(), script.display());
        Server {
            child,
            url: format!("http://127.0.0.1:{}", port.trim()),
        }
    }

    fn post(&self, path: &str, body: &Value) {
        let request = ureq::post(format!("{}{path}", self.url)).header("Content-Type", "application/json");
        request.send(body.to_string()).expect("it is taken");
    }

    fn listeners(&self) -> u64 {
        let answer = ureq::get(format!("{}/listeners", self.url)).call();
        let text = answer.expect("an answer").body_mut().read_to_string();
        text.expect("text").parse().expect("a number")
    }

    fn wait_for_listeners(&self, count: u64) {
        while self.listeners() != count {
            thread::yield_now();
        }
    }
}

/// A file that `tests/sse/install` put below target/sse.
fn installed(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sse").join(name);
    assert!(
        path.exists(),
        "{} is needed: tests/sse/install installs it",
        path.display()
    );
    path
}

/// Events that are awkward to carry in lines.
fn event(number: u32) -> Value {
    let text = match number % 4 {
        0 => "two\nlines\r\nor\rthree\n\n".to_owned(),
        1 => "data: id: 8\n: \u{feff} grüße \u{2028}\u{1f600}\u{0}".to_owned(),
        2 => "x".repeat(200_000),
        _ => String::new(),
    };
    json!({
        "event_id": format!("e-{number}"), "feed_id": "f", "type": "message", "author_identity_id": "i-1",
        "source": {"platform": "test", "adapter_id": "a-1", "source_msg_id": format!("m-{number}")},
        "ts": format!("2026-01-10T12:00:00.{number:03}Z"), "payload": {"text": text}
    })
}

/// Receives until all these events have arrived. Fails at input that is not an event.
fn take(inbox: &Inbox<Arrival>, found: &mut BTreeMap<String, Value>, until: usize) {
    while found.len() < until {
        match inbox.next(Some(PATIENCE)) {
            Next::Arrival(arrival) => {
                let event = arrival.event.expect("an event");
                found.insert(
                    event.event_id().to_owned(),
                    serde_json::from_slice(&event.to_json()).expect("JSON"),
                );
            }
            other => panic!("{other:?}, and there are {:?}", found.keys()),
        }
    }
}

fn is_followed(server: &Server) {
    (0..10).for_each(|number| server.post("/feeds/f/events", &event(number)));
    let (sender, inbox) = inbox();
    let settings = Settings::from_environment(|_| None).expect("settings");
    let web = Web::open(&server.url, None, settings).expect("a URL");
    let follower = Follower::new(web, "f", Progress::default(), sender, SystemClock::default());
    thread::spawn(move || follower.follow());
    let mut found = BTreeMap::new();
    take(&inbox, &mut found, 10);
    server.wait_for_listeners(1);
    (10..30).for_each(|number| server.post("/feeds/f/events", &event(number)));
    take(&inbox, &mut found, 30);
    for round in 0..2 {
        server.post("/hang-up", &json!({}));
        let first = 30 + 10 * round;
        (first..first + 10).for_each(|number| server.post("/feeds/f/events", &event(number)));
        take(&inbox, &mut found, first as usize + 10);
    }
    let expected: BTreeMap<_, _> = (0..50).map(|number| (format!("e-{number}"), event(number))).collect();
    assert!(found == expected, "what arrived is not what was sent");
}

#[test]
fn sse_starlette_is_followed() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sse/starlette_relay.py");
    is_followed(&Server::start(&installed("venv/bin/python"), &script));
}

#[test]
fn better_sse_is_followed() {
    installed("node_modules/better-sse");
    is_followed(&Server::start(&program("node"), &installed("better_sse_relay.js")));
}
