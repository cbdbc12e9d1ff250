//! TCP connections with time limits.
use std::{
    io,
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use git_push::{Error, ErrorKind};

/// Connects to the first address of `host` that answers within `timeout`.
pub(super) fn connect(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name cannot be resolved");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Creates the error for a connection that failed.
pub(super) fn failed(error: &io::Error, timeout: Duration) -> Error {
    let what = match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection was refused: nothing listens there".into(),
        io::ErrorKind::TimedOut => format!("could not connect within {timeout:?}"),
        _ => format!("could not connect: {error}"),
    };
    Error::new(ErrorKind::Transient, what)
}
