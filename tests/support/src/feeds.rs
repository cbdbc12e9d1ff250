//! A relay with faults that a real one does not produce on demand: it drops listeners, restarts, omits numbers, fails.
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::scripted::{Received, answer};

/// The longest time that a client may be idle before the server gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running relay.
pub struct Feeds {
    port: u16,
    state: Arc<Mutex<State>>,
}

/// Behaviour of the relay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manners {
    /// Its events have numbers, in answers and as ids of its streams.
    pub numbers: bool,
    /// Its streams have ids that look like numbers, but its pages have none, and it rejects requests that use them.
    pub ids: bool,
    /// It has streams, but does not store events.
    pub forgetful: bool,
    /// The status of every answer, if set.
    pub status: Option<&'static str>,
    /// Maximum number of events in an answer.
    pub page: Option<usize>,
}

#[derive(Default)]
struct State {
    manners: Manners,
    events: BTreeMap<String, Vec<Value>>,
    listeners: Vec<(String, TcpStream)>,
    requests: Vec<Received>,
}

/// An event of `feed`. A greater number means a later time.
pub fn event(feed: &str, number: u32) -> Value {
    let ts = jiff::Timestamp::from_second(1_767_960_000 + i64::from(number)).expect("a time");
    json!({
        "event_id": format!("e-{number}"), "feed_id": feed, "type": "message", "author_identity_id": "i-1",
        "source": {"platform": "test", "adapter_id": "a-1", "source_msg_id": format!("m-{number}")},
        "ts": ts.to_string(), "payload": {"number": number}
    })
}

impl Feeds {
    /// Starts a relay without events.
    pub fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let state = Arc::new(Mutex::new(State {
            manners,
            ..State::default()
        }));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                thread::spawn(move || serve(stream, &state));
            }
        });
        Feeds { port, state }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Stores an event without validation, and sends it to the listeners of its feed.
    pub fn post(&self, feed: &str, event: Value) {
        let mut state = self.lock();
        let events = state.events.entry(feed.to_owned()).or_default();
        events.push(event.clone());
        let (number, manners) = (events.len(), state.manners);
        for (listens_to, stream) in &mut state.listeners {
            if listens_to == feed {
                // A listener that has gone is noticed elsewhere.
                let _ = stream.write_all(message(&event, number, manners).as_bytes());
            }
        }
    }

    /// Writes these bytes to all listeners.
    pub fn say(&self, bytes: &[u8]) {
        for (_, stream) in &mut self.lock().listeners {
            let _ = stream.write_all(bytes);
        }
    }

    /// Behaves differently from now on.
    pub fn behave(&self, manners: Manners) {
        self.lock().manners = manners;
    }

    /// Ends all streams.
    pub fn hang_up(&self) {
        for (_, stream) in self.lock().listeners.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Removes all events.
    pub fn begin_anew(&self) {
        self.lock().events.clear();
    }

    /// Returns the number of listening clients.
    pub fn listeners(&self) -> usize {
        self.lock().listeners.len()
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Received> {
        self.lock().requests.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn message(event: &Value, number: usize, manners: Manners) -> String {
    match manners.numbers || manners.ids {
        true => format!("id: {number}\ndata: {event}\n\n"),
        false => format!("data: {event}\n\n"),
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    while let Some(request) = header(&mut reader) {
        let target = request.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let parts: Vec<_> = path.split('/').skip(1).collect();
        let mut state = lock(state);
        state.requests.push(request.clone());
        let mut stream = stream.try_clone().expect("a second handle");
        let answered = match (state.manners.status, &parts[..]) {
            (Some(status), _) => stream.write_all(&answer(status, &[], b"")),
            (None, ["feeds", _, "events"]) if state.manners.ids && query.contains("after_seq") => {
                stream.write_all(&answer("400 Bad Request", &[], b""))
            }
            (None, ["feeds", feed, "events"]) if !state.manners.forgetful => {
                let page = page(&state, feed, query);
                stream.write_all(&answer(
                    "200 OK",
                    &["Content-Type: application/json"],
                    page.to_string().as_bytes(),
                ))
            }
            (None, ["feeds", feed, "stream"]) => return listen(&mut state, feed, &request, stream),
            _ => stream.write_all(&answer("404 Not Found", &[], b"")),
        };
        if answered.is_err() {
            return;
        }
    }
}

fn listen(state: &mut State, feed: &str, request: &Received, mut stream: TcpStream) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n: hello\n\n";
    let _ = stream.write_all(head.as_bytes());
    let last = request.field("Last-Event-ID").and_then(|id| id.parse::<usize>().ok());
    let events = state.events.get(feed).map(Vec::as_slice).unwrap_or_default();
    for (index, event) in events.iter().enumerate().skip(last.unwrap_or(events.len())) {
        let _ = stream.write_all(message(event, index + 1, state.manners).as_bytes());
    }
    state.listeners.push((feed.to_owned(), stream));
}

/// An answer with events: by number, or by time and id.
fn page(state: &State, feed: &str, query: &str) -> Value {
    let decoded = query.replace("%3A", ":").replace("%2B", "+");
    let members: BTreeMap<_, _> = decoded.split('&').filter_map(|member| member.split_once('=')).collect();
    let limit = members
        .get("limit")
        .map_or(100, |limit| limit.parse().expect("a number"));
    let limit = state.manners.page.map_or(limit, |most| limit.min(most));
    let events = state.events.get(feed).map(Vec::as_slice).unwrap_or_default();
    if state.manners.numbers {
        let after = members
            .get("after_seq")
            .map_or(0, |after| after.parse().expect("a number"));
        let behind = events.iter().enumerate().skip(after).take(limit);
        let events: Vec<_> = behind
            .map(|(index, event)| json!({"seq": index + 1, "event": event}))
            .collect();
        return json!({ "events": events });
    }
    let place = |event: &Value| {
        let word = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        (word("ts"), word("event_id"))
    };
    let after = members.get("after_ts").map(|ts| {
        (
            (*ts).to_owned(),
            members.get("after_id").copied().unwrap_or("~").to_owned(),
        )
    });
    let mut behind: Vec<_> = events
        .iter()
        .filter(|event| after.as_ref().is_none_or(|after| place(event) > *after))
        .collect();
    behind.sort_by_key(|event| place(event));
    behind.truncate(limit);
    json!(behind)
}

fn header(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return None,
            Ok(_) if line.trim_end().is_empty() => break,
            Ok(_) => lines.push(line.trim_end().to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    Some(Received {
        line: lines.next()?,
        header: lines.collect(),
        ..Received::default()
    })
}
