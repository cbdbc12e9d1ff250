//! A page in a real browser, headless Chromium, uses a relay of another origin.
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use serde_json::{Value, json};
use support::{
    processes::{Group, program},
    relay::{PATIENCE, Start, event},
};

use crate::folder;

const PAGE: &str = include_str!("page.html");
const TOKEN: &str = "canary-page-7d1a";

/// Serves the page; what it reports can be received.
fn serve_page() -> (SocketAddr, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, reports) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            thread::spawn(move || answer(stream, &sender));
        }
    });
    (address, reports)
}

/// Answers one request. A browser may connect and ask nothing.
fn answer(mut stream: TcpStream, reports: &Sender<Value>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).ok()?;
    let is_report = line.starts_with("POST /report ");
    let is_page = line.starts_with("GET /?");
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        let header = line.to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.trim_end().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (status, page) = match (is_page, is_report) {
        (true, _) => ("200 OK", PAGE),
        (_, true) => ("200 OK", ""),
        _ => ("404 Not Found", ""),
    };
    let length = page.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + page).as_bytes()).ok()?;
    if is_report {
        reports.send(serde_json::from_slice(&body).ok()?).ok()?;
    }
    Some(())
}

/// Opens a page that uses the relay, in a browser of its own.
fn open(page: SocketAddr, relay: SocketAddr, profile: &Path) -> Group {
    let mut browser = Command::new(program("chromium-headless-shell"));
    browser
        // As root, in a container.
        .args([
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-proxy-server",
        ])
        .arg("--remote-debugging-port=0")
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("http://{page}/?relay=http://{relay}&token={TOKEN}"));
    Group::start(&mut browser)
}

#[test]
fn a_page_of_an_allowed_origin_posts_reads_and_follows() {
    let folder = folder();
    let (page, reports) = serve_page();
    let origin = format!("http://{page}");
    let arguments = ["--cors-origin", origin.as_str(), "--token-in-query"];
    let start = Start {
        arguments: &arguments,
        token: Some(TOKEN),
        ..Start::default()
    };
    let relay = start.start(folder.path());
    let address = relay.address;
    let report = || reports.recv_timeout(PATIENCE).expect("a report of the page");
    let _browser = open(page, address, &folder.path().join("profile"));
    assert_eq!(
        report(),
        json!({"statuses": [201, 201, 201, 201], "events": ["page-1"], "seq": "2", "link": "</feeds/f/events?after_seq=2&limit=1>; rel=\"next\""})
    );
    let mut expected = json!([["2", "page-1"], ["3", "page-2"], ["4", "page-3"]]);
    while report() != expected {}
    let owner = relay.client().with_token(TOKEN);
    let seq = owner.post_event(&event("f", "live"));
    expected
        .as_array_mut()
        .expect("a list")
        .push(json!([seq.to_string(), "e-live"]));
    while report() != expected {}
    relay.stop();

    // The browser connects again by itself, behind the last event.
    let listen = address.to_string();
    let arguments = [&arguments[..], &["--listen", &listen]].concat();
    let again = Start {
        arguments: &arguments,
        ..start
    };
    let relay = again.start(folder.path());
    let seq = relay.client().with_token(TOKEN).post_event(&event("f", "later"));
    expected
        .as_array_mut()
        .expect("a list")
        .push(json!([seq.to_string(), "e-later"]));
    while report() != expected {}
    assert!(!relay.said().contains(TOKEN), "{}", relay.said());
}

#[test]
fn a_page_of_another_origin_is_refused_by_the_browser() {
    let folder = folder();
    let (page, reports) = serve_page();
    let start = Start {
        arguments: &["--cors-origin", "http://127.0.0.1:9", "--token-in-query"],
        token: Some(TOKEN),
        ..Start::default()
    };
    let relay = start.start(folder.path());
    let _browser = open(page, relay.address, &folder.path().join("profile"));
    let report = reports.recv_timeout(PATIENCE).expect("a report of the page");
    assert_eq!(report, "TypeError: Failed to fetch");
    let feeds = relay.client().with_token(TOKEN).get("/feeds");
    assert_eq!(feeds.json, json!([]), "the preflight came first");
}
