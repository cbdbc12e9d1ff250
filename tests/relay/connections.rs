//! Connections that send nothing, too much, or only half a request; and the end of a relay.
use std::{
    io::{Read, Write},
    net::TcpStream,
};

use rustix::process::Signal;

use crate::folder;
use support::relay::{Heard, Listener, PATIENCE, Relay, Start, event};

/// Sends this, and reads until the relay closes the connection.
fn answer_to(relay: &Relay, sent: &[u8]) -> String {
    let mut stream = TcpStream::connect(relay.address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream.write_all(sent).expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it is closed");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn who_says_nothing_or_half_is_closed() {
    let folder = folder();
    let start = Start {
        arguments: &["--idle-timeout", "300ms"],
        ..Start::default()
    };
    let relay = start.start(folder.path());
    relay.client().make_feed("f");
    assert_eq!(answer_to(&relay, b""), "");
    assert_eq!(answer_to(&relay, b"GET /hea"), "");
    let whole = answer_to(&relay, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(whole.starts_with("HTTP/1.1 200"), "and then nothing more: {whole}");
    let post = "POST /feeds/f/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    for body in [
        "Content-Length: 100\r\n\r\n{\"event_id\":",
        "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"eve\r\n",
    ] {
        let half = answer_to(&relay, format!("{post}{body}").as_bytes());
        assert!(half.starts_with("HTTP/1.1 408"), "{half}");
    }
}

#[test]
fn headers_have_bounds() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let request =
        |headers: String| format!("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    let many: String = (0..100).map(|number| format!("X-{number}: 1\r\n")).collect();
    for refused in [request(many), request(format!("X: {}\r\n", "x".repeat(100 << 10)))] {
        let answer = answer_to(&relay, refused.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    assert!(answer_to(&relay, request(String::new()).as_bytes()).starts_with("HTTP/1.1 200"));
    assert!(
        answer_to(&relay, b"\x16\x03\x01\x02\x00\r\n\r\n").starts_with("HTTP/1.1 400"),
        "TLS"
    );
}

#[test]
fn a_signal_ends_it_when_everything_that_was_posted_is_durable() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = folder();
        let mut relay = Relay::start(folder.path());
        let client = relay.client();
        client.make_feed("f");
        let mut listener = Listener::connect(relay.address, "f", None);
        let idle = TcpStream::connect(relay.address).expect("a connection");
        // A request that has partly arrived when the signal comes is still answered.
        let body = event("f", "1").to_string();
        let head = format!(
            "POST /feeds/f/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut posting = TcpStream::connect(relay.address).expect("a connection");
        posting
            .write_all(&[head.as_bytes(), &body.as_bytes()[..10]].concat())
            .expect("a half");
        // An answer on a later connection shows that the relay has accepted this one.
        assert_eq!(relay.client().get("/health").status, 200);
        relay.signal(signal);
        assert_eq!(listener.next(), Heard::Id(0));
        assert_eq!(listener.try_next().expect("a clean end"), None);
        posting.write_all(&body.as_bytes()[10..]).expect("the other half");
        let mut answer = String::new();
        posting.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        drop(idle);
        assert!(relay.wait().success(), "{}", relay.said());

        let relay = Relay::start(folder.path());
        assert_eq!(relay.client().all("f"), [(2, event("f", "1"))]);
    }
}

#[test]
fn idle_connections_do_not_hold_up_its_end() {
    let folder = folder();
    let mut relay = Relay::start(folder.path());
    let client = relay.client();
    assert_eq!(client.get("/health").status, 200);
    let _idle: Vec<_> = (0..10)
        .map(|_| TcpStream::connect(relay.address).expect("a connection"))
        .collect();
    assert_eq!(client.get("/health").status, 200);
    relay.signal(Signal::TERM);
    assert!(relay.wait().success());
    assert!(!relay.said().contains("closing connections"), "{}", relay.said());
}

#[test]
fn a_second_relay_in_the_same_folder_exits_9() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let output = Start::default().command(folder.path()).output().expect("an end");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(9), "{told}");
    assert!(
        told.contains("another relay is using") && output.stdout.is_empty(),
        "{told}"
    );
    relay.kill();
    let relay = Relay::start(folder.path());
    assert_eq!(relay.client().get("/health").status, 200);
}

#[test]
fn an_address_that_is_taken_is_told() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let address = relay.address.to_string();
    let second = Start {
        arguments: &["--listen", &address],
        ..Start::default()
    };
    let output = second.command(&folder.path().join("other")).output();
    let output = output.expect("an end");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{told}");
}

/// The head of a POST of an event, with this length of the body.
fn head_of_post(length: usize) -> String {
    format!(
        "POST /feeds/f/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// A connection that has begun a POST of 1 MiB, and has sent this many bytes of its body.
fn begun_post(relay: &Relay, bytes: usize) -> TcpStream {
    let mut stream = TcpStream::connect(relay.address).expect("a connection");
    let begun = [head_of_post(1 << 20).into_bytes(), vec![b' '; bytes]].concat();
    stream.write_all(&begun).expect("a request");
    stream
}

/// Returns true if the relay has neither answered nor closed this connection.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    let peeked = stream.peek(&mut [0]);
    matches!(peeked, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn posts_that_announce_a_mebibyte_and_send_nothing_hold_up_nobody() {
    let folder = folder();
    let start = Start {
        arguments: &["--idle-timeout", "300s"],
        ..Start::default()
    };
    let relay = start.start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let silent: Vec<_> = (0..200).map(|_| begun_post(&relay, 0)).collect();
    // An answer on a later connection shows that the relay has accepted these.
    assert_eq!(relay.client().get("/health").status, 200);
    client.post_event(&event("f", "1"));
    let mut large = event("f", "2");
    large["payload"] = "x".repeat(1_000_000).into();
    client.post_event(&large);
    assert!(silent.iter().all(is_open));
}

#[test]
fn bodies_that_stop_half_way_leave_room_for_events_of_usual_size_and_for_those_that_go_on() {
    const HALF: usize = 700 << 10;
    let folder = folder();
    let start = Start {
        arguments: &["--idle-timeout", "300s"],
        ..Start::default()
    };
    let relay = start.start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    // Each of them needs a mebibyte for the bytes that it has sent, and there are 56.
    let mut halves: Vec<_> = (0..56).map(|_| begun_post(&relay, HALF)).collect();
    client.post_event(&event("f", "1"));
    let mut large = event("f", "2");
    large["payload"] = "x".repeat(1_000_000).into();
    client.post_event(&large);
    assert!(halves.iter().all(is_open));
    // One that continues gets its answer: a mebibyte of blanks is not an event.
    let mut last = halves.pop().expect("a connection");
    last.set_nonblocking(false).expect("a socket");
    last.set_read_timeout(Some(PATIENCE)).expect("a limit");
    last.write_all(&vec![b' '; (1 << 20) - HALF]).expect("the rest");
    let mut status = [0; 12];
    last.read_exact(&mut status).expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 400");
}
