//! The relay and event files, used by programs in TypeScript and JavaScript that follow only the protocol.
use std::{
    fmt::Write as _,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use stargate_mirror::event::Event;
use support::{processes::program, random::Random, relay::Relay};

use crate::folder;

/// Generated events.
const EVENTS: usize = 3000;

fn script(path: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program("node"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    command
}

/// Path of the client, which `tests/sse/install` compiles, with its types checked.
fn compiled_client() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = fs::read(root.join("tests/relay/client.mts")).expect("a source");
    let is_compiled = fs::read(root.join("target/sse/client.mts")).is_ok_and(|compiled| compiled == source);
    assert!(
        is_compiled,
        "the client in TypeScript must be compiled: run tests/sse/install"
    );
    root.join("target/sse/client.mjs")
}

#[test]
fn a_client_that_knows_the_protocol_alone_is_served() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = script(compiled_client())
        .arg(format!("http://{}", relay.address))
        .output();
    let client = client.expect("node");
    let said = String::from_utf8_lossy(&client.stderr);
    assert!(client.status.success() && client.stdout == b"done\n", "{said}");
}

#[test]
fn files_are_what_json_stringify_writes_byte_for_byte() {
    let mut random = Random::new(13);
    let texts: Vec<_> = (0..EVENTS).map(|number| event(&mut random, number)).collect();
    let mut node = script("tests/relay/stringify.mjs");
    let mut node = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node");
    let mut stdin = node.stdin.take().expect("a pipe");
    let input = texts.join("\n") + "\n";
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = node.wait_with_output().expect("node");
    writer.join().expect("a writer").expect("it reads all");
    assert!(output.status.success());
    let written: Vec<[String; 2]> = String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(written.len(), EVENTS);
    for (text, [file, compact]) in texts.iter().zip(written) {
        let event = Event::parse_posted(text.as_bytes()).unwrap_or_else(|problems| panic!("{problems:?} in {text}"));
        assert_eq!(String::from_utf8(event.to_file()).expect("text"), file, "{text}");
        assert_eq!(String::from_utf8(event.to_json()).expect("text"), compact, "{text}");
        assert!(event.is_file(file.as_bytes()));
        assert!(event.is_file(sorted(&file).as_bytes()), "sorted: {text}");
    }
}

/// The file of an earlier version: members sorted.
fn sorted(file: &str) -> String {
    let value: Value = serde_json::from_str(file).expect("JSON");
    serde_json::to_string_pretty(&value).expect("JSON") + "\n"
}

/// A posted event, as text: members in any order, payloads of any kind, blanks.
pub fn event(random: &mut Random, number: usize) -> String {
    let mut members = vec![
        format!(r#""event_id":"e-{number}""#),
        r#""feed_id": "f""#.to_owned(),
        r#""type":"message" "#.to_owned(),
        r#""author_identity_id":"i-\u0031""#.to_owned(),
        r#""source":{"platform":"p","adapter_id":"a","source_msg_id":null}"#.to_owned(),
        r#""ts" :"2026-01-10T12:00:00.000Z""#.to_owned(),
        format!(r#""payload":{}"#, value(random, 4)),
        format!("{}:{}", name(random), value(random, 2)),
    ];
    let mut text = String::from("{");
    while !members.is_empty() {
        let member = members.swap_remove(random.below(members.len()));
        let comma = if members.is_empty() { "}" } else { "," };
        write!(text, "{member}{comma}").expect("memory");
    }
    text
}

fn value(random: &mut Random, depth: usize) -> String {
    let many = |random: &mut Random| random.below(4);
    match random.below(if depth == 0 { 4 } else { 6 }) {
        0 => ["null", "true", "false"][random.below(3)].to_owned(),
        1 | 2 => number(random),
        3 => string(random),
        4 => {
            let elements: Vec<_> = (0..many(random)).map(|_| value(random, depth - 1)).collect();
            format!("[{}]", elements.join(" , "))
        }
        _ => {
            let members: Vec<_> = (0..many(random))
                .map(|_| format!("{} : {}", name(random), value(random, depth - 1)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
    }
}

/// Names of members. Some are array indices in JavaScript, and some occur twice.
fn name(random: &mut Random) -> String {
    let names = [
        "a",
        "b",
        "0",
        "7",
        "10",
        "01",
        "-1",
        "4294967294",
        "4294967295",
        "__proto__",
        "constructor",
        "",
    ];
    match names.get(random.below(2 * names.len())) {
        Some(name) => json!(name).to_string(),
        None => string(random),
    }
}

/// Numbers that a double can represent, in many forms.
fn number(random: &mut Random) -> String {
    let bits = (0..8).fold(0, |bits, _| bits << 8 | random.below(256) as u64);
    let double = match random.below(3) {
        0 => f64::from_bits(bits),
        1 => (bits % 100_000) as f64 / 1000.0,
        _ => (bits % 1_000_000) as f64 * 10_f64.powi(random.below(60) as i32 - 30),
    };
    if !double.is_finite() {
        return "-0".into();
    }
    match random.below(5) {
        0 => format!("{double:e}"),
        1 => format!("{double:E}").replace("E-", "e-0"),
        2 if double.fract() == 0.0 && double.abs() < 1e15 => format!("{double}.000"),
        3 => format!("{}", bits % 9_007_199_254_740_992),
        _ => format!("{double}"),
    }
}

fn string(random: &mut Random) -> String {
    let mut text = String::from("\"");
    for _ in 0..random.below(8) {
        let piece = [
            "a",
            "é",
            "\u{1f600}",
            "\u{2028}",
            "\u{7f}",
            "\u{ffff}",
            r"\u0000",
            r"\u001f",
            r"\u00E9",
            r"\ud83d\ude00",
            r"\/",
            r"\b\f\n\r\t",
            r#"\""#,
            r"\\",
            r"\u2029",
            "/",
        ];
        text.push_str(piece[random.below(piece.len())]);
    }
    text + "\""
}
