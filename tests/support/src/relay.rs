//! A relay as a process, a client, and a listener.
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{programs, stargate::clean_command};

/// The longest time that a test waits for an expected message.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// File in a relay's folder with the URL of its stream. Without it, the events are in the folder.
pub const STORE: &str = "store";

/// A running relay. It is killed on drop.
pub struct Relay {
    child: Child,
    /// Its address.
    pub address: SocketAddr,
    said: PathBuf,
}

/// Options for starting a relay.
#[derive(Debug, Clone, Default)]
pub struct Start<'a> {
    /// A program that runs the relay, such as strace, with its arguments. It must not change the relay's process id.
    pub behind: &'a [&'a str],
    /// Arguments in addition to `--data` and a free port of this machine.
    pub arguments: &'a [&'a str],
    /// Its `RELAY_TOKEN`.
    pub token: Option<&'a str>,
}

impl Start<'_> {
    /// The command, for the data in `folder`.
    pub fn command(&self, folder: &Path) -> Command {
        let mut line = self.behind.to_vec();
        let program = programs::mirror();
        line.extend([program.to_str().expect("UTF-8"), "relay"]);
        if !self.arguments.contains(&"--listen") {
            line.extend(["--listen", "127.0.0.1:0"]);
        }
        let mut command = clean_command(line[0]);
        command
            .args(&line[1..])
            .args(self.arguments)
            .arg("--data")
            .arg(folder.join("data"));
        // A test chooses the store of its relays by this file.
        match std::fs::read_to_string(folder.join(STORE)) {
            Ok(url) => drop(command.args(["--store", &url])),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}"),
        }
        if let Some(token) = self.token {
            command.env("RELAY_TOKEN", token);
        }
        command
    }

    /// Starts it, and returns once it listens.
    pub fn start(&self, folder: &Path) -> Relay {
        let said = folder.join("relay.err");
        let mut command = self.command(folder);
        command
            .stdout(Stdio::piped())
            .stderr(File::create(&said).expect("a file"));
        let mut child = command.spawn().unwrap_or_else(|error| {
            let program = command.get_program().display();
            panic!("{program} does not start: {error}; docs/proof.md names the packages of the tests")
        });
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        stdout.read_line(&mut line).expect("a line");
        let address = line.trim_end().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("{}", std::fs::read_to_string(&said).expect("a file")));
        Relay {
            child,
            address: address.parse().expect("an address"),
            said,
        }
    }
}

impl Relay {
    /// Starts a relay without options.
    pub fn start(folder: &Path) -> Self {
        Start::default().start(folder)
    }

    /// Returns a client of it.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns its output on stderr so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.said).expect("a file")
    }

    /// Waits until a line on stderr has these words, or [`PATIENCE`] has passed.
    ///
    /// # Panics
    /// No line has them.
    pub fn until(&self, words: &str) {
        let mut follow = Command::new("timeout");
        follow.arg(PATIENCE.as_secs().to_string());
        follow.args(["tail", "-n", "+1", "-f"]).arg(&self.said);
        let mut tail = follow.stdout(Stdio::piped()).spawn().expect("timeout and tail");
        let lines = BufReader::new(tail.stdout.take().expect("a pipe")).lines();
        let is_said = lines.map_while(Result::ok).any(|line| line.contains(words));
        // `timeout` forwards this signal.
        kill_process(Pid::from_child(&tail), Signal::TERM).expect("a child");
        tail.wait().expect("a child");
        assert!(is_said, "{words:?} is missing in:\n{}", self.said());
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a process");
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("a child")
    }

    /// Kills it with SIGKILL.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Stops it with SIGTERM.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let ended = self.wait();
        assert!(ended.success(), "{ended}\n{}", self.said());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of a relay.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    address: SocketAddr,
    token: Option<String>,
}

/// An answer.
#[derive(Debug, PartialEq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub json: Value,
    /// The number of the event, or of the last one of a page.
    pub seq: Option<u64>,
    /// The path and query of the next page.
    pub next: Option<String>,
    /// The first number after all events that were removed.
    pub first: Option<u64>,
}

impl Client {
    /// Creates a client of the relay at this address.
    pub fn new(address: SocketAddr) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        Client {
            agent: config.timeout_global(Some(PATIENCE)).build().into(),
            address,
            token: None,
        }
    }

    /// Adds this token.
    pub fn with_token(self, token: &str) -> Self {
        Client {
            token: Some(token.into()),
            ..self
        }
    }

    /// Sends a GET request.
    ///
    /// # Errors
    /// There was no answer.
    pub fn try_get(&self, path: &str) -> Result<Answer, ureq::Error> {
        let mut request = self.agent.get(format!("http://{}{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        read(request.call()?)
    }

    /// Posts JSON.
    ///
    /// # Errors
    /// There was no answer.
    pub fn try_post(&self, path: &str, json: &str) -> Result<Answer, ureq::Error> {
        let mut request = self.agent.post(format!("http://{}{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        read(request.header("Content-Type", "application/json").send(json)?)
    }

    /// Puts JSON.
    pub fn put(&self, path: &str, json: &Value) -> Answer {
        let mut request = self.agent.put(format!("http://{}{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let answered = request
            .header("Content-Type", "application/json")
            .send(json.to_string());
        answered.and_then(read).expect("an answer")
    }

    /// Sends a GET request.
    pub fn get(&self, path: &str) -> Answer {
        self.try_get(path).expect("an answer")
    }

    /// Posts JSON.
    pub fn post(&self, path: &str, json: &Value) -> Answer {
        self.try_post(path, &json.to_string()).expect("an answer")
    }

    /// Creates a feed.
    pub fn make_feed(&self, feed: &str) {
        let answer = self.post("/feeds", &json!({ "feed_id": feed }));
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    /// Posts an event that must be new, and returns its number.
    pub fn post_event(&self, event: &Value) -> u64 {
        let feed = event["feed_id"].as_str().expect("a feed");
        let answer = self.post(&format!("/feeds/{feed}/events"), event);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.seq.expect("a number")
    }

    /// Every event of a feed with its number, in the order of arrival. A page has the number of its last event only.
    pub fn all(&self, feed: &str) -> Vec<(u64, Value)> {
        let (mut all, mut next) = (Vec::new(), Some(format!("/feeds/{feed}/events?after_seq=0&limit=1")));
        while let Some(path) = next {
            let answer = self.get(&path);
            assert_eq!(answer.status, 200, "{answer:?}");
            let event = answer.json.as_array().expect("a list").first().cloned();
            all.extend(event.map(|event| (answer.seq.expect("a number"), event)));
            next = answer.next;
        }
        all
    }
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let text = response.body_mut().with_config().limit(64 << 20).read_to_string()?;
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"));
    let header = |name: &str| response.headers().get(name)?.to_str().ok();
    let next = header("Link").and_then(|link| link.strip_prefix('<')?.strip_suffix(">; rel=\"next\""));
    Ok(Answer {
        status: response.status().as_u16(),
        json,
        seq: header("Relay-Seq").and_then(|seq| seq.parse().ok()),
        next: next.map(str::to_owned),
        first: header("Relay-First-Seq").and_then(|seq| seq.parse().ok()),
    })
}

/// An event of `feed`, whose ids are derived from `name`.
pub fn event(feed: &str, name: &str) -> Value {
    json!({
        "event_id": format!("e-{name}"), "feed_id": feed, "type": "message", "author_identity_id": "i-1",
        "source": {"platform": "test", "adapter_id": "a-1", "source_msg_id": format!("m-{name}")},
        "ts": "2026-01-10T12:00:00Z", "payload": {"name": name}
    })
}

/// A listener of a feed, which sees the bytes as they arrive.
pub struct Listener {
    reader: BufReader<TcpStream>,
    /// The bytes of the current chunk that were not read yet.
    chunk: Vec<u8>,
}

/// A message of the stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A comment.
    Comment,
    /// An id without data.
    Id(u64),
    /// An event with its id.
    Event(u64, Value),
}

impl Listener {
    /// Listens from now on, or after `last_id`. Returns when the relay has answered.
    pub fn connect(address: SocketAddr, feed: &str, last_id: Option<&str>) -> Self {
        Listener::open(address, &format!("/feeds/{feed}/stream"), last_id)
    }

    /// Listens at a path with its query.
    pub fn open(address: SocketAddr, path: &str, last_id: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let resume = last_id.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{resume}\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("a status");
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).expect("a header");
        }
        Listener {
            reader,
            chunk: Vec::new(),
        }
    }

    /// Returns the next message, or `None` if the relay has ended the stream.
    ///
    /// # Errors
    /// The connection broke.
    pub fn try_next(&mut self) -> io::Result<Option<Heard>> {
        let mut message = String::new();
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            if line.is_empty() && !message.is_empty() {
                return Ok(Some(heard(&message)));
            }
            message += &line;
            message.push('\n');
        }
    }

    /// Returns the next message.
    #[expect(
        clippy::should_implement_trait,
        reason = "it ends the test when nothing comes; an iterator would end"
    )]
    pub fn next(&mut self) -> Heard {
        self.try_next().expect("a connection").expect("something")
    }

    /// Returns the next event, and skips ids and comments.
    pub fn event(&mut self) -> (u64, Value) {
        loop {
            if let Heard::Event(id, event) = self.next() {
                return (id, event);
            }
        }
    }

    /// Ends it.
    pub fn close(self) {
        self.reader.get_ref().shutdown(Shutdown::Both).expect("a connection");
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.chunk.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.chunk.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            let mut length = String::new();
            if self.reader.read_line(&mut length)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let length = usize::from_str_radix(length.trim_end(), 16).map_err(io::Error::other)?;
            let mut piece = vec![0; length + 2];
            self.reader.read_exact(&mut piece)?;
            if length == 0 {
                return Ok(None);
            }
            self.chunk.extend_from_slice(&piece[..length]);
        }
    }
}

fn heard(message: &str) -> Heard {
    let field = |name: &str| {
        message
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let id = field("id").and_then(|id| id.parse().ok());
    match (id, field("data")) {
        (Some(id), Some(data)) => Heard::Event(id, serde_json::from_str(data).expect("JSON")),
        (Some(id), None) => Heard::Id(id),
        _ => {
            assert!(message.starts_with(':'), "{message:?}");
            Heard::Comment
        }
    }
}
