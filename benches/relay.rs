//! `cargo bench --bench relay [-- --quick]`: events that a relay makes durable, on the file system of the folder for
//! temporary files.
//!
//! A relay as a process, and clients that each keep a connection and post one event after the other. For each number of
//! connections: POSTs per second, p50 and p99 of a POST, and, in a second run under strace, the number of fsyncs. Then
//! the memory of the index, and the time to read the log at the start.
//!
//! `STARGATE_MIRROR` names another program, such as the static one that is shipped.
#![cfg(unix)]
use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Numbers of connections, and of POSTs over all of them.
const LEVELS: [(usize, usize); 3] = [(1, 5_000), (16, 40_000), (64, 80_000)];
/// The same for `--quick`.
const QUICK: [(usize, usize); 3] = [(1, 500), (16, 4_000), (64, 8_000)];

fn main() {
    let quick = env::args().any(|argument| argument == "--quick");
    println!("events of about 300 bytes, each in a POST of its own\n");
    println!("| connections | POSTs | per second | p50 ms | p99 ms | POSTs per fsync |");
    println!("|---|---|---|---|---|---|");
    for (connections, posts) in if quick { QUICK } else { LEVELS } {
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
    let percentile = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1000.0;

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
        percentile(50),
        percentile(99),
        traced as f64 / fsyncs as f64
    );
}

/// Measures the memory that events take and the time to read them.
fn measure_index(events: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    drop(Relay::start(&[], folder.path()));
    let log = folder.path().join("events.ndjson");
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
        let program = env::var("STARGATE_MIRROR").unwrap_or_else(|_| env!("CARGO_BIN_EXE_stargate-mirror").into());
        let line = [behind, &[&program, "relay", "--listen", "127.0.0.1:0"]].concat();
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
        let clients = (0..connections).map(|number| {
            let mut client = Client::connect(&self.address);
            thread::spawn(move || {
                let post = |post: usize| {
                    let event = event(&format!("{number}-{post}"));
                    let start = Instant::now();
                    client.post("/feeds/f/events", &event);
                    start.elapsed()
                };
                (0..posts / connections).map(post).collect::<Vec<_>>()
            })
        });
        let clients: Vec<_> = clients.collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("a client"))
            .collect()
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
