//! `openapi.json` compared with the relay's real answers.
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::folder;
use support::relay::{Relay, Start, event};

/// The description, and its answers that were seen.
struct Description {
    document: Value,
    seen: BTreeSet<String>,
}

impl Description {
    fn of(document: Value) -> Self {
        Description {
            document,
            seen: BTreeSet::new(),
        }
    }

    /// Checks an answer to this method and path, and notes that there was one.
    fn check(&mut self, method: &str, path: &str, status: u16, body: &Value) {
        let name = format!("{method} {path} {status}");
        let operation = &self.document["paths"][path][method];
        let response = &operation["responses"][status.to_string()];
        assert!(response.is_object(), "{name} is not described: {body}");
        let schema = &response["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{name} has no schema");
        if let Err(problem) = self.conforms(schema, body) {
            panic!("{name}: {problem} in {body}");
        }
        self.seen.insert(name);
    }

    /// Every answer that is described.
    fn all(&self) -> BTreeSet<String> {
        let members = |value: &Value| value.as_object().cloned().unwrap_or_default().into_iter();
        members(&self.document["paths"])
            .flat_map(|(path, item)| members(&item).map(move |(method, operation)| (path.clone(), method, operation)))
            .filter(|(_, method, _)| method != "parameters")
            .flat_map(|(path, method, operation)| {
                let statuses = members(&operation["responses"]).map(|(status, _)| status);
                statuses
                    .map(|status| format!("{method} {path} {status}"))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// JSON Schema, as far as the description uses it. An unknown keyword is a failure.
    fn conforms(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let schema = schema.as_object().ok_or("a schema is no object")?;
        for (keyword, wanted) in schema {
            let holds = match keyword.as_str() {
                "$ref" => {
                    let pointer = wanted
                        .as_str()
                        .and_then(|name| name.strip_prefix('#'))
                        .ok_or("a strange $ref")?;
                    let target = self
                        .document
                        .pointer(pointer)
                        .ok_or(format!("{pointer} is not there"))?;
                    self.conforms(target, value)?;
                    true
                }
                "type" => match wanted {
                    Value::Array(kinds) => kinds.iter().any(|kind| is_a(kind, value)),
                    kind => is_a(kind, value),
                },
                "required" => wanted
                    .as_array()
                    .ok_or("required is no list")?
                    .iter()
                    .all(|name| value.get(name.as_str().unwrap_or_default()).is_some()),
                "properties" => {
                    for (name, schema) in wanted.as_object().ok_or("properties is no object")? {
                        if let Some(member) = value.get(name) {
                            self.conforms(schema, member)
                                .map_err(|problem| format!("{name}: {problem}"))?;
                        }
                    }
                    true
                }
                "additionalProperties" => value.as_object().is_none_or(|members| {
                    let known = schema.get("properties").and_then(Value::as_object);
                    members
                        .keys()
                        .all(|name| known.is_some_and(|known| known.contains_key(name)))
                }),
                "items" => {
                    for item in value.as_array().into_iter().flatten() {
                        self.conforms(wanted, item)?;
                    }
                    true
                }
                "const" => wanted == value,
                "minimum" => value.as_u64() >= wanted.as_u64(),
                "minItems" => value.as_array().map(Vec::len) >= wanted.as_u64().map(|least| least as usize),
                "minLength" => value.as_str().map(str::len) >= wanted.as_u64().map(|least| least as usize),
                "maxLength" => value.as_str().map(str::len) <= wanted.as_u64().map(|most| most as usize),
                "format" => value
                    .as_str()
                    .is_none_or(|text| text.parse::<jiff::Timestamp>().is_ok()),
                "description" => true,
                other => return Err(format!("{other} is not known to this test")),
            };
            if !holds {
                return Err(format!("{keyword} {wanted} does not hold"));
            }
        }
        Ok(())
    }
}

fn is_a(kind: &Value, value: &Value) -> bool {
    match kind.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    }
}

/// Sends a request as it stands, and reads the answer: its status, and its body as JSON.
fn raw(relay: &Relay, request: &[u8]) -> (u16, Value) {
    let mut stream = TcpStream::connect(relay.address).expect("a connection");
    stream.write_all(request).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    (status.expect("a status"), serde_json::from_str(body).expect("JSON"))
}

const FEEDS: &str = "/feeds";
const FEED: &str = "/feeds/{feed_id}";
const POLICY: &str = "/feeds/{feed_id}/policy";
const EVENTS: &str = "/feeds/{feed_id}/events";
const CONFIRMED: &str = "/feeds/{feed_id}/confirmed";
const STREAM: &str = "/feeds/{feed_id}/stream";
const STREAMS: &str = "/stream";
const STATUS: &str = "/status";
const METRICS: &str = "/metrics";

#[test]
fn every_answer_is_as_described_and_every_described_answer_is_given() {
    let folder = folder();
    let arguments = ["--idle-timeout", "300ms"];
    let start = Start {
        arguments: &arguments,
        ..Start::default()
    };
    let relay = start.start(folder.path());
    let client = relay.client();
    let mut description = Description::of(client.get("/openapi.json").json);
    assert_eq!(description.document["openapi"], "3.1.0");

    let mut get = |path: &str, url: &str| {
        let answer = client.get(url);
        description.check("get", path, answer.status, &answer.json);
    };
    get("/openapi.json", "/openapi.json");
    get("/health", "/health");
    get("/healthz", "/healthz");
    get("/readyz", "/v1/readyz");
    get(STATUS, "/status");
    get(FEEDS, "/feeds");
    let mut post = |path: &str, url: &str, body: &str| {
        let answer = client.try_post(url, body).expect("an answer");
        description.check("post", path, answer.status, &answer.json);
    };
    for body in [
        r#"{"feed_id":"f"}"#,
        r#"{"feed_id":"f"}"#,
        r#"{"feed_id":"F"}"#,
        r#"{"feed_id":"/"}"#,
        r#"{"feed_id":"closed","policy_json":{"enforce":{"require_signatures":true,"types":[],"read":["nobody"]},"more":1}}"#,
        r#"{"feed_id":"closed"}"#,
        r#"{"feed_id":"closed","name":"another"}"#,
        r#"{"feed_id":"odd","policy_json":{"enforce":{"authors":"me"}}}"#,
        &format!("\"{}\"", "x".repeat(8192)),
    ] {
        post(FEEDS, "/feeds", body);
    }
    let one = event("f", "1");
    let mut other = one.clone();
    other["payload"] = json!(2);
    for body in [&one, &one, &other, &json!({}), &json!("x".repeat(1 << 20))] {
        post(EVENTS, "/feeds/f/events", &body.to_string());
    }
    post(EVENTS, "/feeds/g/events", &one.to_string());
    post(EVENTS, "/feeds/closed/events", &event("closed", "2").to_string());
    for (url, body) in [
        ("/feeds/f/confirmed", json!({"by": "m", "seq": 1})),
        ("/feeds/f/confirmed", json!({"by": "m", "seq": 99})),
        ("/feeds/g/confirmed", json!({"by": "m", "seq": 1})),
        ("/feeds/f/confirmed", json!("x".repeat(8192))),
    ] {
        let answer = client.put(url, &body);
        description.check("put", CONFIRMED, answer.status, &answer.json);
    }
    let mut get = |path: &str, url: &str| {
        let answer = client.get(url);
        description.check("get", path, answer.status, &answer.json);
    };
    for (path, url) in [
        (FEEDS, "/feeds"),
        (FEED, "/feeds/f"),
        (FEED, "/feeds/g"),
        (EVENTS, "/feeds/f/events"),
        (EVENTS, "/feeds/f/events?limit=0"),
        (EVENTS, "/feeds/g/events"),
        (STREAM, "/feeds/g/stream"),
        (STREAM, "/feeds/f/stream?after_seq=x"),
        (STREAMS, "/stream"),
        (STREAMS, "/stream?feed=g"),
        (FEED, "/feeds/closed"),
        (EVENTS, "/feeds/closed/events"),
        (STREAM, "/feeds/closed/stream"),
        (STREAMS, "/stream?feed=f&feed=closed"),
    ] {
        get(path, url);
    }
    let mut put = |feed: &str, policy: &str| {
        let length = policy.len();
        let head = "Host: localhost\r\nConnection: close\r\nContent-Type: application/json";
        let request =
            format!("PUT /feeds/{feed}/policy HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n{policy}");
        let (status, body) = raw(&relay, request.as_bytes());
        description.check("put", POLICY, status, &body);
    };
    put("f", r#"{"enforce":{"types":["message"]},"more":null}"#);
    put("f", r#"{"enforce":{"types":[1]}}"#);
    put("g", "null");
    put("f", &format!("\"{}\"", "x".repeat(8192)));
    // A foreign host name; another type; a body that does not arrive.
    for (method, path, url) in [
        ("get", FEEDS, "/feeds"),
        ("post", FEEDS, "/feeds"),
        ("get", FEED, "/feeds/f"),
        ("put", POLICY, "/feeds/f/policy"),
        ("get", EVENTS, "/feeds/f/events"),
        ("post", EVENTS, "/feeds/f/events"),
        ("put", CONFIRMED, "/feeds/f/confirmed"),
        ("get", STREAM, "/feeds/f/stream"),
        ("get", STREAMS, "/stream?feed=f"),
        ("get", STATUS, "/status"),
        ("get", METRICS, "/metrics"),
    ] {
        let verb = method.to_uppercase();
        let mut ask = |headers: &str| {
            let request = format!("{verb} {url} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
            let (status, body) = raw(&relay, request.as_bytes());
            description.check(method, path, status, &body);
        };
        ask("Host: example.com\r\n");
        if method != "get" {
            ask("Host: localhost\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n");
            ask("Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 5\r\n");
        }
    }
    drop(relay);

    let start = Start {
        token: Some("secret"),
        ..start
    };
    let relay = start.start(folder.path());
    for (method, path, url) in [
        ("get", FEEDS, "/feeds"),
        ("post", FEEDS, "/feeds"),
        ("get", FEED, "/feeds/f"),
        ("put", POLICY, "/feeds/f/policy"),
        ("get", EVENTS, "/feeds/f/events"),
        ("post", EVENTS, "/feeds/f/events"),
        ("put", CONFIRMED, "/feeds/f/confirmed"),
        ("get", STREAM, "/feeds/f/stream"),
        ("get", STREAMS, "/stream?feed=f"),
        ("get", STATUS, "/status"),
        ("get", METRICS, "/metrics"),
    ] {
        let verb = method.to_uppercase();
        let request = format!("{verb} {url} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let (status, body) = raw(&relay, request.as_bytes());
        description.check(method, path, status, &body);
    }
    assert!(relay.client().with_token("secret").get("/feeds").status == 200);

    // Other tests cover the answers that need tokens, a full disk, a high load or removed events. A stream, the
    // metrics and the page are not JSON.
    let elsewhere = |name: &String| {
        ["410", "429", "500", "503", "507"]
            .iter()
            .any(|status| name.ends_with(status))
            || [
                format!("post {FEEDS} 403"),
                format!("put {POLICY} 403"),
                format!("put {CONFIRMED} 403"),
                format!("get {METRICS} 403"),
            ]
            .contains(name)
            || [STREAM, STREAMS, METRICS, "/"]
                .iter()
                .any(|path| *name == format!("get {path} 200"))
    };
    let missing: Vec<_> = description
        .all()
        .difference(&description.seen)
        .filter(|name| !elsewhere(name))
        .cloned()
        .collect();
    assert!(missing.is_empty(), "described and not seen: {missing:?}");
}
