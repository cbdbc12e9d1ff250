//! A small HTTP server: it answers each request on a connection of its own, with what a function returns for a path.
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

/// Number of threads that answer.
const THREADS: usize = 4;
/// Time that a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum length of a request, in bytes.
const MAX_REQUEST: usize = 8192;
pub(super) const OK: &str = "200 OK";
pub(super) const UNAVAILABLE: &str = "503 Service Unavailable";

/// Answer to a request.
pub(super) struct Answer {
    pub(super) status: &'static str,
    pub(super) kind: &'static str,
    pub(super) body: Vec<u8>,
}

/// Returns the answer to a request for a path, if there is such a path.
type Answers = Arc<dyn Fn(&[u8]) -> Option<Answer> + Send + Sync>;

impl Answer {
    /// Creates an answer with this JSON.
    pub(super) fn new(status: &'static str, body: &serde_json::Value) -> Self {
        Answer {
            status,
            kind: "application/json",
            body: body.to_string().into_bytes(),
        }
    }
}

/// Answers requests at this address until the process ends. Returns the address. `paths` names all of them.
///
/// # Errors
/// The system reports an error, for instance because the address is in use.
pub(super) fn listen(address: SocketAddr, paths: &'static str, answers: Answers) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    for _ in 0..THREADS {
        let (listener, answers) = (listener.try_clone()?, answers.clone());
        thread::spawn(move || {
            loop {
                let accepted = listener.accept();
                let answered = accepted.and_then(|(stream, _)| answer(stream, paths, &answers));
                if let Err(error) = answered {
                    tracing::debug!(%error, "a health request failed");
                }
            }
        });
    }
    Ok(address)
}

fn answer(mut stream: TcpStream, paths: &str, answers: &Answers) -> io::Result<()> {
    stream.set_write_timeout(Some(TIMEOUT))?;
    let head = read_head(&mut stream)?;
    let mut words = head.split(|byte| byte.is_ascii_whitespace());
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default();
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let Answer { status, kind, body } = match answers(path) {
        None => Answer::new("404 Not Found", &json!({"error": format!("no such path; see {paths}")})),
        Some(_) if ![&b"GET"[..], b"HEAD"].contains(&method) => {
            Answer::new("405 Method Not Allowed", &json!({"error": "use GET"}))
        }
        Some(answer) => answer,
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n\
        Connection: close\r\n\r\n"
    );
    let body = if method == b"HEAD" { Vec::new() } else { body };
    stream.write_all(&[head.into_bytes(), body].concat())
}

/// Reads a request up to the end of its headers.
fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + TIMEOUT;
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if head.len() > MAX_REQUEST => return Err(io::ErrorKind::FileTooLarge.into()),
            length => head.extend_from_slice(&piece[..length]),
        }
    }
    Ok(head)
}
