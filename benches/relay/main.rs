//! `cargo bench --bench relay [-- --quick]`: events that a relay makes durable, on the file system of the folder for
//! temporary files.
//!
//! A relay as a process, and clients that each keep a connection and post one event after the other. For each number of
//! connections: POSTs per second, p50 and p99 of a POST, and, in a second run under strace, the number of fsyncs. Then
//! the memory of the index, and the time to read the log at the start.
//!
//! `cargo bench --bench relay -- replays [PROGRAM…]`: POSTs beside 2,500 listeners that replay a feed again and again, of this
//! program and of others, such as an earlier version. The listeners begin at different events, so that most of what they read
//! is in the files of the index and the log, not in memory.
//!
//! `cargo bench --features nats --bench relay -- --store nats`: POSTs to a relay with its own files, and to relays whose events
//! are in a stream of NATS JetStream, in one run.
//!
//! `STARGATE_MIRROR` names another program, such as the static one that is shipped.
#![cfg(unix)]
mod replays;

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use support::nats::Servers;
use tempfile::TempDir;

/// Numbers of connections, and of POSTs over all of them.
const LEVELS: [(usize, usize); 3] = [(1, 5_000), (16, 40_000), (64, 80_000)];
/// The same for `--quick`.
const QUICK: [(usize, usize); 3] = [(1, 500), (16, 4_000), (64, 8_000)];

fn main() {
    let quick = env::args().any(|argument| argument == "--quick");
    if let Some(mode) = env::args().position(|argument| argument == "replays") {
        let others = env::args()
            .skip(mode + 1)
            .filter(|argument| !argument.starts_with("--"));
        return replays::compare(&others.collect::<Vec<_>>(), quick);
    }
    println!("events of about 300 bytes, each in a POST of its own\n");
    let levels = if quick { QUICK } else { LEVELS };
    if env::args().any(|argument| argument == "--store") {
        return compare_stores(&levels);
    }
    println!("| connections | POSTs | per second | p50 ms | p99 ms | POSTs per fsync |");
    println!("|---|---|---|---|---|---|");
    for (connections, posts) in levels {
        measure(connections, posts);
    }
    let events = if quick { 20_000 } else { 200_000 };
    measure_index(events);
}

fn measure(connections: usize, posts: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = Relay::start(&[], folder.path());
    let start = Instant::now();
    let mut times = relay.post(connections, posts);
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    drop(relay);
    times.sort_unstable();

    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let trace = trace.to_str().expect("a name");
    let strace = [
        "strace",
        "-D",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-o",
        trace,
        "-e",
        "trace=fsync",
    ];
    let relay = Relay::start(&strace, folder.path());
    let traced = relay.post(connections, posts / 4).len();
    drop(relay);
    let fsyncs = fs::read_to_string(trace).expect("a trace").matches("fsync(").count();
    println!(
        "| {connections} | {} | {rate:.0} | {:.2} | {:.2} | {:.1} |",
        times.len(),
        percentile(&times, 50),
        percentile(&times, 99),
        traced as f64 / fsyncs as f64
    );
}

/// POSTs to relays with each store.
fn compare_stores(levels: &[(usize, usize)]) {
    println!("| store | relays | connections | POSTs | per second | p50 ms | p99 ms |");
    println!("|---|---|---|---|---|---|---|");
    for (connections, posts) in levels {
        for (store, servers, relays) in [
            ("files", 0, 1),
            ("one server of NATS", 1, 1),
            ("three servers of NATS", 3, 1),
            ("three servers of NATS", 3, 2),
        ] {
            if relays <= *connections {
                measure_store((store, servers, relays), (*connections, *posts / 4));
            }
        }
    }
}

fn measure_store((store, servers, relays): (&str, usize, usize), (connections, posts): (usize, usize)) {
    let running = match servers {
        0 => None,
        1 => Some(Servers::one()),
        _ => Some(Servers::three()),
    };
    let (url, replicas) = (
        running.as_ref().map(|servers| servers.url("bench")),
        servers.to_string(),
    );
    let options = match &url {
        None => Vec::new(),
        Some(url) => vec!["--store", url, "--replicas", &replicas],
    };
    let folders: Vec<_> = (0..relays).map(|_| tempfile::tempdir().expect("a folder")).collect();
    let start = |folder: &TempDir| Relay::start_with(&program(), &[], (folder.path(), &options));
    let relays: Vec<_> = folders.iter().map(start).collect();
    Client::connect(&relays[0].address).post("/feeds", r#"{"feed_id":"f"}"#);
    relays.iter().for_each(|relay| until_it_has_the_feed(&relay.address));
    let addresses: Vec<_> = relays.iter().map(|relay| relay.address.clone()).collect();
    let start = Instant::now();
    let mut times = post_while(&addresses, connections, move |post, _| post < posts / connections);
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    times.sort_unstable();
    println!(
        "| {store} | {} | {connections} | {} | {rate:.0} | {:.2} | {:.2} |",
        relays.len(),
        times.len(),
        percentile(&times, 50),
        percentile(&times, 99)
    );
}

/// Waits until a relay has the feed that another one has made.
fn until_it_has_the_feed(address: &str) {
    while ureq::get(format!("http://{address}/feeds/f")).call().is_err() {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Percentile of sorted times, in milliseconds.
fn percentile(times: &[Duration], part: usize) -> f64 {
    times[(times.len() - 1) * part / 100].as_secs_f64() * 1000.0
}

fn program() -> String {
    env::var("STARGATE_MIRROR").unwrap_or_else(|_| env!("CARGO_BIN_EXE_stargate-mirror").into())
}

/// Writes a log with so many events to a new folder of a relay.
fn write_log(folder: &Path, events: usize) {
    drop(Relay::start(&[], folder));
    let log = folder.join("events.ndjson");
    let mut lines = String::from("{\"seq\":1,\"received\":\"2026-01-10T12:00:00.000Z\",\"feed\":\"f\"}\n");
    for number in 0..events {
        let seq = number + 2;
        let id = format!("01JBAXF5Z8J8M7R2TK{number:08}");
        lines += &format!(
            "{{\"seq\":{seq},\"received\":\"2026-01-10T12:00:00.000Z\",\"event\":{}}}\n",
            event(&id)
        );
    }
    fs::write(&log, lines).expect("a log");
}

/// Measures the memory that events take and the time to read them.
fn measure_index(events: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    write_log(folder.path(), events);
    let log = folder.path().join("events.ndjson");
    let bytes = fs::metadata(&log).expect("a log").len();
    let empty = tempfile::tempdir().expect("a folder");
    let before = Relay::start(&[], empty.path()).memory();
    let start = Instant::now();
    let relay = Relay::start(&[], folder.path());
    println!(
        "\n{events} events, {:.0} MB of log: {:.2} s to start, {:.0} bytes of memory for each event; {:.1} MB without any",
        bytes as f64 / 1e6,
        start.elapsed().as_secs_f64(),
        (relay.memory() - before) as f64 * 1024.0 / events as f64,
        before as f64 / 1024.0
    );
}

/// A relay that is killed on drop.
struct Relay {
    child: Child,
    address: String,
}

impl Relay {
    fn start(behind: &[&str], data: &Path) -> Self {
        Relay::start_program(&program(), behind, data)
    }

    fn start_program(program: &str, behind: &[&str], data: &Path) -> Self {
        Relay::start_with(program, behind, (data, &[]))
    }

    fn start_with(program: &str, behind: &[&str], (data, options): (&Path, &[&str])) -> Self {
        let line = [behind, &[program, "relay", "--listen", "127.0.0.1:0"], options].concat();
        let mut command = Command::new(line[0]);
        command
            .args(&line[1..])
            .arg("--data")
            .arg(data)
            .env_remove("RELAY_TOKEN");
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a relay");
        let mut said = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        stdout.read_line(&mut said).expect("a line");
        let address = said
            .trim_end()
            .strip_prefix("listening on http://")
            .expect("an address");
        Relay {
            child,
            address: address.into(),
        }
    }

    /// Posts events over this many connections, and returns the duration of each POST.
    fn post(&self, connections: usize, posts: usize) -> Vec<Duration> {
        Client::connect(&self.address).post("/feeds", r#"{"feed_id":"f"}"#);
        self.post_while(connections, move |post, _| post < posts / connections)
    }

    /// Posts events over this many connections for this time.
    fn post_for(&self, connections: usize, time: Duration) -> Vec<Duration> {
        self.post_while(connections, move |_, elapsed| elapsed < time)
    }

    fn post_while(
        &self,
        connections: usize,
        more: impl Fn(usize, Duration) -> bool + Copy + Send + 'static,
    ) -> Vec<Duration> {
        post_while(std::slice::from_ref(&self.address), connections, more)
    }

    /// In KiB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a process");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Posts events over connections to these relays in turn, and returns the duration of each POST.
fn post_while(
    addresses: &[String],
    connections: usize,
    more: impl Fn(usize, Duration) -> bool + Copy + Send + 'static,
) -> Vec<Duration> {
    let begun = Instant::now();
    let clients = (0..connections).map(|number| {
        let mut client = Client::connect(&addresses[number % addresses.len()]);
        thread::spawn(move || {
            let post = |post: usize| {
                let event = event(&format!("{number}-{post}"));
                let start = Instant::now();
                client.post("/feeds/f/events", &event);
                start.elapsed()
            };
            let posts = (0..).take_while(|post| more(*post, begun.elapsed()));
            posts.map(post).collect::<Vec<_>>()
        })
    });
    let clients: Vec<_> = clients.collect();
    clients
        .into_iter()
        .flat_map(|client| client.join().expect("a client"))
        .collect()
}

/// A client with one connection. It does as little as possible, because it runs on the same cores.
struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("a connection");
        Client {
            reader: BufReader::new(stream),
        }
    }

    fn post(&mut self, path: &str, json: &str) {
        let length = json.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{json}"
        );
        self.reader.get_mut().write_all(request.as_bytes()).expect("a request");
        let (mut line, mut length) = (String::new(), 0);
        self.reader.read_line(&mut line).expect("a status");
        assert!(line.starts_with("HTTP/1.1 201"), "{line}");
        while line != "\r\n" {
            line.clear();
            self.reader.read_line(&mut line).expect("a header");
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim_end().parse().expect("a number");
            }
        }
        self.reader.read_exact(&mut vec![0; length]).expect("a body");
    }
}

fn event(id: &str) -> String {
    format!(
        r#"{{"author_identity_id":"identity-1","event_id":"{id}","feed_id":"f","payload":{{"text":"something that somebody has said, about as long as such things are"}},"source":{{"adapter_id":"adapter-1","platform":"bench","source_msg_id":"m-{id}"}},"ts":"2026-01-10T12:00:00Z","type":"message"}}"#
    )
}
