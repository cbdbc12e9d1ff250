//! Metrics, as a parser that is not ours reads them; the access log; and logs as JSON.
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use support::{
    relay::{Heard, Listener, Relay, Start, event},
    stargate::{clean_command, feed},
};

use crate::{clients::installed, folder, tokens};

/// Reads a path as text; returns the status, the media type and the body.
fn get(relay: &Relay, path: &str, token: Option<&str>) -> (u16, String, String) {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    let agent: ureq::Agent = config.build().into();
    let mut request = agent.get(format!("http://{}{path}", relay.address));
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let mut answer = request.call().expect("an answer");
    let kind = answer.headers()["content-type"].to_str().expect("text").to_owned();
    let body = answer.body_mut().read_to_string().expect("text");
    (answer.status().as_u16(), kind, body)
}

/// The metrics of a relay, as `prometheus_client` from PyPI reads them.
struct Metrics(Value);

impl Metrics {
    fn of(relay: &Relay) -> Self {
        let (status, kind, text) = get(relay, "/metrics", None);
        assert_eq!(status, 200, "{text}");
        assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        let mut command = Command::new(installed("venv/bin/python"));
        command.arg(format!("{}/tests/relay/metrics.py", env!("CARGO_MANIFEST_DIR")));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = feed(command, &text);
        assert!(
            output.status.success(),
            "{}\n{text}",
            String::from_utf8_lossy(&output.stderr)
        );
        Metrics(serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    /// The sum of the samples with this name and these labels.
    fn sum(&self, name: &str, labels: &Value) -> f64 {
        let samples = self.0.as_object().expect("metrics").values();
        let samples = samples.flat_map(|family| family["samples"].as_array().expect("a list"));
        let has_labels = |sample: &&Value| {
            let wanted = labels.as_object().expect("labels");
            wanted.iter().all(|(name, value)| sample[1][name] == *value)
        };
        let found: Vec<_> = samples.filter(|sample| sample[0] == name).filter(has_labels).collect();
        assert!(!found.is_empty(), "{name} {labels} is missing in {}", self.0);
        found.iter().map(|sample| sample[2].as_f64().expect("a number")).sum()
    }

    fn one(&self, name: &str) -> f64 {
        self.sum(&format!("stargate_relay_{name}"), &json!({}))
    }
}

#[test]
fn metrics_count_what_happened() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    for number in 0..5 {
        client.post_event(&event("f", &number.to_string()));
    }
    let mut other = event("f", "0");
    assert_eq!(client.post("/v1/feeds/f/events", &other).status, 200);
    other["payload"] = json!("other");
    assert_eq!(client.post("/feeds/f/events", &other).status, 409);
    assert_eq!(client.post("/feeds/f/events", &json!({})).status, 400);
    for path in ["/feeds/f", "/v1/feeds/g", "/feeds/%2e%2e/x/canary", "/canary"] {
        client.get(path);
    }
    let mut listener = Listener::connect(relay.address, "f", None);
    assert_eq!(listener.next(), Heard::Id(6));

    let metrics = Metrics::of(&relay);
    for (name, labels, value) in [
        ("events_total", json!({"outcome": "accepted", "status": "201"}), 5.0),
        ("events_total", json!({"outcome": "known", "status": "200"}), 1.0),
        ("events_total", json!({"outcome": "refused", "status": "409"}), 1.0),
        ("events_total", json!({"outcome": "refused", "status": "400"}), 1.0),
        (
            "requests_total",
            json!({"method": "POST", "route": "/feeds/{feed_id}/events"}),
            8.0,
        ),
        (
            "requests_total",
            json!({"method": "GET", "route": "/feeds/{feed_id}", "status": "404"}),
            1.0,
        ),
        ("requests_total", json!({"route": "none", "status": "404"}), 2.0),
        ("requests_total", json!({"route": "/feeds/{feed_id}/stream"}), 1.0),
    ] {
        let found = metrics.sum(&format!("stargate_relay_{name}"), &labels);
        assert_eq!(found, value, "{name} {labels}");
    }
    assert_eq!(metrics.one("post_duration_seconds_count"), 8.0);
    assert!(metrics.one("post_duration_seconds_sum") > 0.0);
    assert_eq!(
        (metrics.one("listeners"), metrics.one("feeds"), metrics.one("last_seq")),
        (1.0, 1.0, 6.0)
    );
    assert_eq!(metrics.one("batch_lines_sum"), 6.0);
    assert_eq!(metrics.one("batch_lines_count"), metrics.one("fsyncs_total"));
    let log = fs::metadata(folder.path().join("data/events.ndjson"))
        .expect("the log")
        .len() as f64;
    assert!(metrics.one("written_bytes_total") <= log && metrics.one("written_bytes_total") > 1000.0);
    assert!(metrics.one("data_bytes") >= log);
    assert_eq!(
        metrics.sum(
            "stargate_relay_build_info",
            &json!({"version": env!("CARGO_PKG_VERSION")})
        ),
        1.0
    );
    // The listener, a connection of `client` that is kept, and that of the metrics.
    assert!(metrics.one("connections") >= 2.0);
    let text = metrics.0.to_string();
    assert!(
        !text.contains("canary") && !text.contains("/v1"),
        "labels are bounded: {text}"
    );

    listener.close();
    while Metrics::of(&relay).one("listeners") > 0.0 {}
}

#[test]
fn metrics_need_a_token_that_may_read_or_administer() {
    let folder = folder();
    let entries = [
        tokens::entry("reader", &["read"], &["team-*"]),
        tokens::entry("admin", &["admin"], &["x"]),
        tokens::entry("writer", &["write"], &["*"]),
    ];
    tokens::write(folder.path(), &entries);
    let relay = tokens::start(folder.path());
    for (token, path, status) in [
        (None, "/metrics", 401),
        (Some("wrong"), "/v1/metrics", 401),
        (Some("writer"), "/metrics", 403),
        (Some("reader"), "/metrics", 200),
        (Some("admin"), "/v1/metrics", 200),
        (Some("owner"), "/metrics", 200),
        (None, "/status", 401),
    ] {
        let (found, _, body) = get(&relay, path, token);
        assert_eq!(found, status, "{path} {token:?}: {body}");
    }
    let owner = relay.client().with_token("owner");
    for feed in ["team-a", "secret"] {
        owner.make_feed(feed);
    }
    let seq = owner.post_event(&event("team-a", "1"));
    let version = env!("CARGO_PKG_VERSION");
    let feeds = json!([{"id": "team-a", "name": "team-a", "last_seq": seq, "confirmed": null, "behind": null}]);
    assert_eq!(
        relay.client().with_token("reader").get("/status").json,
        json!({"status": "ok", "version": version, "last_seq": 3, "feeds": feeds})
    );
}

/// Lines of the log that are JSON; all lines must be.
fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect()
}

fn start_logging(folder: &Path, arguments: &[&str]) -> Relay {
    tokens::write(folder, &[tokens::entry("canary-reader", &["read"], &["*"])]);
    let file = folder.join("tokens.json");
    let arguments = [
        &["--tokens", file.to_str().expect("UTF-8"), "--token-in-query"],
        arguments,
    ]
    .concat();
    let start = Start {
        arguments: &arguments,
        token: Some("canary-owner"),
        ..Start::default()
    };
    start.start(folder)
}

#[test]
fn the_access_log_has_a_line_for_each_request() {
    let folder = folder();
    let relay = start_logging(folder.path(), &["--access-log", "--log-format", "json"]);
    let owner = relay.client().with_token("canary-owner");
    owner.make_feed("a b");
    assert_eq!(owner.post("/feeds/a%20b/events", &event("a b", "1")).status, 201);
    let page = "/feeds/a%20b/events?limit=1&access_token=canary-reader";
    let (status, _, body) = get(&relay, page, None);
    assert_eq!(status, 200);
    assert_eq!(relay.client().get("/feeds?access_token=canary-wrong").status, 401);
    let listener = Listener::open(relay.address, "/stream?feed=a%20b&access_token=canary-reader", None);
    listener.close();
    // Its line comes when the relay has noticed that the listener is gone.
    relay.until("\"/stream\"");
    let said = relay.said();
    let of_target = lines(&said);
    let of_target: Vec<_> = of_target
        .iter()
        .filter(|line| line["target"] == "relay::access")
        .collect();
    let shown = |line: &Value| {
        json!([
            line["method"],
            line["path"],
            line["status"],
            line["token"],
            line["feed"]
        ])
    };
    assert_eq!(
        of_target.iter().map(|line| shown(line)).collect::<Vec<_>>(),
        [
            json!(["POST", "/feeds", 201, "RELAY_TOKEN", null]),
            json!(["POST", "/feeds/a%20b/events", 201, "RELAY_TOKEN", "a b"]),
            json!(["GET", "/feeds/a%20b/events", 200, "canary-reader", "a b"]),
            json!(["GET", "/feeds", 401, null, null]),
            json!(["GET", "/stream", 200, "canary-reader", null]),
        ]
    );
    for line in &of_target {
        let remote = line["remote"].as_str().expect("an address");
        assert!(remote.starts_with("127.0.0.1:"), "{line}");
        assert!(line["duration_ms"].as_f64().expect("a number") > 0.0, "{line}");
        assert_eq!((&line["level"], &line["message"]), (&json!("INFO"), &json!("request")));
    }
    assert_eq!(of_target[2]["bytes"], body.len());
    assert!(
        !said.contains("canary-owner") && !said.contains("canary-wrong"),
        "{said}"
    );
    assert!(!said.contains("access_token"), "{said}");
    relay.stop();

    let relay = start_logging(folder.path(), &[]);
    assert_eq!(get(&relay, page, None).0, 200);
    let said = relay.said();
    assert!(said.contains("listening on") && !said.contains("a%20b"), "{said}");
}

#[test]
fn errors_are_json_if_the_logs_are() {
    let folder = folder();
    let run = |level: &str, arguments: &[&str]| {
        let start = Start {
            arguments,
            ..Start::default()
        };
        let mut command = start.command(folder.path());
        command.env("STARGATE_LOG", level);
        let output = command.output().expect("it starts");
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    let (code, said) = run("", &["--log-format=json", "--listen", "0.0.0.0:0"]);
    let said = lines(&said);
    assert_eq!((code, said.len()), (Some(4), 1));
    assert_eq!(
        (&said[0]["level"], &said[0]["message"], &said[0]["exit"]),
        (
            &json!("ERROR"),
            &json!("a relay that other machines can reach requires a token"),
            &json!(4)
        )
    );
    assert!(
        said[0]["hint"].is_string() && said[0]["timestamp"].is_string(),
        "{}",
        said[0]
    );

    let (code, said) = run("wran", &[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("STARGATE_LOG=wran is not a log level"), "{said}");
    assert!(
        said.contains("set STARGATE_LOG to error, warn, info, debug or trace"),
        "{said}"
    );

    // The same for the other commands.
    let mut command = clean_command(support::programs::mirror());
    let repository = folder.path().join("missing");
    command
        .args(["status", "--log-format", "json", "--repo"])
        .arg(&repository);
    let output = command.output().expect("it starts");
    let said = lines(&String::from_utf8(output.stderr).expect("UTF-8"));
    assert_eq!(said[0]["exit"], output.status.code().expect("a code"));
}
