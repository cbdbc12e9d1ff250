//! A server that follows a script, for faults that a real one does not produce on demand.
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    thread,
    time::Duration,
};

use super::chunks::Chunks;

/// The longest time that a client may be idle before the server gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server's reaction to one request.
#[derive(Debug, Clone)]
pub enum Step {
    /// It is read whole and answered with these bytes; the connection stays open.
    Answer(Vec<u8>),
    /// It is read whole and answered with these bytes; the connection is closed.
    AnswerAndClose(Vec<u8>),
    /// Its header is read, then the connection is closed.
    CloseBeforeBody,
    /// It is read whole, then the connection is closed.
    CloseAfterBody,
    /// It is read whole and answered with the result of this function; the connection stays open.
    Reply(fn(&Received) -> Vec<u8>),
    /// The same behind a proxy, which is this server, too: it connects every client to itself.
    Tunnelled(fn(&Received) -> Vec<u8>),
    /// It is read whole and answered with the first bytes, then with the second ones repeatedly: 1 GiB of them.
    Endless(Vec<u8>, Vec<u8>),
    /// It is read whole and answered with the first bytes, and with the others after a signal. Then the connection is
    /// closed.
    Held(Vec<u8>, Arc<Mutex<Receiver<()>>>, Vec<u8>),
    /// It is read whole and never answered.
    Silence,
    /// Its header is read, and nothing else.
    SilenceBeforeBody,
    /// Its header is read and answered with these bytes; then the connection is closed.
    AnswerBeforeBody(Vec<u8>),
    /// Its header is read and answered with these bytes; then nothing more is read.
    AnswerBeforeBodyAndSilence(Vec<u8>),
    /// The start of its chunks is read, then the flag is set, then the rest is read. It is not answered.
    SetInBody(Arc<AtomicBool>),
}

/// A received request.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// The first line.
    pub line: String,
    /// The other lines of the header.
    pub header: Vec<String>,
    /// The body, as far as it was read.
    pub body: Vec<u8>,
    /// The client's port: the same for requests on the same connection.
    pub from: u16,
    /// True if the last chunk of a body in chunks came.
    pub has_ended: bool,
}

/// A running server. At the end of its script it accepts no more connections.
pub struct Scripted {
    port: u16,
    log: Arc<Log>,
}

/// The server's record of its requests and connections.
#[derive(Default)]
struct Log {
    received: Mutex<Vec<Received>>,
    /// Connections that are held open as long as the server: closing them would be an answer.
    silent: Mutex<Vec<TcpStream>>,
}

impl Received {
    /// The value of a header field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.header.iter().filter_map(|line| line.split_once(':'));
        let mut named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.trim())
    }
}

impl Scripted {
    /// Serves one request after the other, one step each.
    pub fn serve<S: IntoIterator<Item = Step>>(script: S) -> Self
    where
        S::IntoIter: Send + 'static,
    {
        let script = script.into_iter();
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let log = Arc::<Log>::default();
        let shared = log.clone();
        thread::spawn(move || run(&listener, script, &shared));
        Scripted { port, log }
    }

    /// The URL of a repository.
    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }

    /// Every request so far.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.log.received).clone()
    }
}

/// An answer of HTTP/1.1 with its length.
pub fn answer(status: &str, header: &[&str], body: &[u8]) -> Vec<u8> {
    let mut lines = vec![format!("HTTP/1.1 {status}"), format!("Content-Length: {}", body.len())];
    lines.extend(header.iter().map(|line| (*line).to_owned()));
    let mut answer = lines.join("\r\n").into_bytes();
    answer.extend_from_slice(b"\r\n\r\n");
    answer.extend_from_slice(body);
    answer
}

fn run(listener: &TcpListener, script: impl Iterator<Item = Step>, log: &Log) {
    let mut connection = None;
    for step in script {
        let (mut stream, request) = next_request(listener, connection.take());
        let request = match &step {
            Step::CloseBeforeBody
            | Step::SilenceBeforeBody
            | Step::AnswerBeforeBody(_)
            | Step::AnswerBeforeBodyAndSilence(_) => request,
            Step::SetInBody(flag) => {
                let mut chunks = Chunks::default();
                // The client breaks off.
                let _ = chunks.read(&mut stream, 1);
                flag.store(true, Ordering::SeqCst);
                let _ = chunks.read(&mut stream, usize::MAX);
                Received {
                    has_ended: chunks.has_ended,
                    body: chunks.body,
                    ..request
                }
            }
            _ => with_body(&mut stream, request),
        };
        lock(&log.received).push(request.clone());
        match step {
            Step::Reply(answer) => {
                let _ = stream.get_mut().write_all(&answer(&request));
                connection = Some(stream);
            }
            Step::Tunnelled(answer) => {
                let bytes = match request.line.starts_with("CONNECT ") {
                    true => b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec(),
                    false => answer(&request),
                };
                let _ = stream.get_mut().write_all(&bytes);
                connection = Some(stream);
            }
            Step::Endless(head, piece) => {
                let mut sent = stream.get_mut().write_all(&head);
                let mut left = (1_u64 << 30) / piece.len() as u64;
                while sent.is_ok() && left > 0 {
                    sent = stream.get_mut().write_all(&piece);
                    left -= 1;
                }
            }
            Step::Held(first, word, rest) => {
                let sent = stream.get_mut().write_all(&first);
                if sent.is_ok() && lock(&word).recv_timeout(PATIENCE).is_ok() {
                    let _ = stream.get_mut().write_all(&rest);
                }
            }
            Step::Answer(bytes) => {
                // If the client has gone, its test is over.
                let _ = stream.get_mut().write_all(&bytes);
                connection = Some(stream);
            }
            Step::AnswerBeforeBodyAndSilence(bytes) => {
                let _ = stream.get_mut().write_all(&bytes);
                lock(&log.silent).push(stream.into_inner());
            }
            Step::AnswerAndClose(bytes) | Step::AnswerBeforeBody(bytes) => {
                let _ = stream.get_mut().write_all(&bytes);
            }
            Step::CloseBeforeBody | Step::CloseAfterBody | Step::SetInBody(_) => {}
            Step::Silence | Step::SilenceBeforeBody => lock(&log.silent).push(stream.into_inner()),
        }
    }
}

/// The header of the next request, on the connection from before or on a new one.
fn next_request(listener: &TcpListener, connection: Option<BufReader<TcpStream>>) -> (BufReader<TcpStream>, Received) {
    if let Some(mut stream) = connection
        && let Some(request) = header(&mut stream)
    {
        return (stream, request);
    }
    loop {
        let (stream, _) = listener.accept().expect("a client");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream.set_write_timeout(Some(PATIENCE)).expect("a limit");
        let mut stream = BufReader::new(stream);
        if let Some(request) = header(&mut stream) {
            return (stream, request);
        }
    }
}

/// Reads the header of a request; `None` if the client has gone.
pub(super) fn header(stream: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match stream.read_line(&mut line) {
            Ok(0) | Err(_) => return None,
            Ok(_) if line.trim_end().is_empty() => break,
            Ok(_) => lines.push(line.trim_end().to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    Some(Received {
        line: lines.next()?,
        header: lines.collect(),
        body: Vec::new(),
        has_ended: false,
        from: stream.get_ref().peer_addr().ok()?.port(),
    })
}

/// Reads the body of a request.
pub(super) fn with_body(stream: &mut BufReader<TcpStream>, mut request: Received) -> Received {
    if request.field("Transfer-Encoding") == Some("chunked") {
        let mut chunks = Chunks::default();
        // A client that broke off is shown by the missing end.
        let _ = chunks.read(stream, usize::MAX);
        (request.body, request.has_ended) = (chunks.body, chunks.has_ended);
        return request;
    }
    let length = request
        .field("Content-Length")
        .and_then(|value| value.parse().ok())
        .unwrap_or(0);
    // A shorter body means that the client cut it off.
    let _ = stream.take(length).read_to_end(&mut request.body);
    request
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
