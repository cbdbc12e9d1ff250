//! A proxy in front of a mirror, for pushes that are lost or refused on the way.
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::chunks::Chunks;

/// What happens to the body of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// It goes to the mirror.
    Forwarded,
    /// It is read whole, and answered with 408.
    TooLate,
    /// Its first bytes are read, then the connection is lost.
    Lost,
}

/// How many bytes of a push that is lost are read, at most.
const READ: usize = 2 << 20;

/// A running proxy.
pub struct Front {
    port: u16,
    pushes: Arc<AtomicUsize>,
}

impl Front {
    /// Serves the mirror at this port of this machine. `treat` gets the number of a push, from 1 on, and its size. A push in
    /// chunks has the size of what was read first.
    pub fn of(port: u16, treat: impl Fn(usize, usize) -> Treatment + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let own = listener.local_addr().expect("its address").port();
        let pushes = Arc::<AtomicUsize>::default();
        let counted = pushes.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A client that has gone has been tested by then.
                let _ = serve(client, port, &counted, &treat);
            }
        });
        Front { port: own, pushes }
    }

    /// The URL of a repository.
    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }

    /// How many pushes came.
    pub fn pushes(&self) -> usize {
        self.pushes.load(Ordering::SeqCst)
    }
}

/// One request and its answer; the connection is closed after it.
fn serve(
    client: TcpStream,
    port: u16,
    pushes: &AtomicUsize,
    treat: &impl Fn(usize, usize) -> Treatment,
) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let mut header = Vec::new();
    let (mut length, mut is_chunked) = (0, false);
    loop {
        let mut line = String::new();
        if client.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line.trim_end().is_empty() {
            break;
        }
        if lower.starts_with("transfer-encoding:") {
            is_chunked = true;
        } else if !lower.starts_with("connection:") {
            header.extend_from_slice(line.as_bytes());
        }
    }
    let mut chunks = Chunks::default();
    if is_chunked {
        chunks.read(&mut client, READ)?;
        length = chunks.body.len();
    }
    let is_push = header.starts_with(b"POST ") && header.windows(17).any(|word| word == b"git-receive-pack ");
    let treatment = if is_push {
        treat(pushes.fetch_add(1, Ordering::SeqCst) + 1, length)
    } else {
        Treatment::Forwarded
    };
    if treatment == Treatment::Lost && is_chunked {
        return Ok(());
    }
    if treatment == Treatment::Lost {
        return client.read_exact(&mut vec![0; READ.min(length / 2)]);
    }
    let body = if is_chunked {
        chunks.read(&mut client, usize::MAX)?;
        header.extend_from_slice(format!("Content-Length: {}\r\n", chunks.body.len()).as_bytes());
        chunks.body
    } else {
        let mut body = vec![0; length];
        client.read_exact(&mut body)?;
        body
    };
    header.extend_from_slice(b"Connection: close\r\n\r\n");
    if treatment == Treatment::TooLate {
        let answer = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return client.get_mut().write_all(answer);
    }
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    server.write_all(&header)?;
    server.write_all(&body)?;
    std::io::copy(&mut server, client.get_mut())?;
    Ok(())
}
