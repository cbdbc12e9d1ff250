//! A mirror that offers `atomic` but does not honour it: a proxy in front of a mirror removes the word from each push.
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

/// Serves the mirror at this port of this machine, without atomic pushes. Returns the new port.
pub fn in_front_of(port: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let own = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // If the client has gone, its test is over.
            let _ = forward(client, port);
        }
    });
    own
}

/// Handles one request and its answer; then the connection is closed.
fn forward(client: TcpStream, port: u16) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let mut header = Vec::new();
    let mut length = 0;
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
        if !lower.starts_with("connection:") {
            header.extend_from_slice(line.as_bytes());
        }
    }
    header.extend_from_slice(b"Connection: close\r\n\r\n");
    let mut body = vec![0; length];
    client.read_exact(&mut body)?;
    // The capabilities are in the first command. git ignores another word of the same length.
    let word = b" atomic";
    if let Some(at) = body.windows(word.len()).position(|window| window == word) {
        body[at..at + word.len()].copy_from_slice(b" xtomic");
    }
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    server.write_all(&header)?;
    server.write_all(&body)?;
    std::io::copy(&mut server, client.get_mut())?;
    Ok(())
}
