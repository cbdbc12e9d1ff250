//! `git://`: a TCP connection to `git daemon` (gitprotocol-pack, *Git Transport*).
use std::{
    io,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use bstr::{BString, ByteSlice, ByteVec};
use git_push::{Error, ErrorKind, pkt_line};

use super::channel::{Channel, Dial};
use super::tcp;
use crate::service::Service;
use crate::settings::Settings;

/// The port of `git daemon`.
const PORT: u16 = 9418;

/// A repository that a `git daemon` serves.
pub(super) struct Daemon {
    host: String,
    port: Option<u16>,
    path: BString,
    connect_timeout: Duration,
    idle_timeout: Duration,
}

impl Daemon {
    pub(super) fn new(url: &gix::Url, settings: &Settings) -> Result<Self, Error> {
        let misconfigured = |what: &str| Error::new(ErrorKind::Misconfigured, what).with_hint("correct the URL");
        let host = url
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| misconfigured("the URL has no host"))?;
        // The request is a line of fields, each ended by a null byte.
        if url.path.find_byteset(b"\n\0").is_some() || host.contains(char::is_control) {
            return Err(misconfigured("the host or the path has a control character in it"));
        }
        if url.user().is_some() || url.password().is_some() {
            return Err(misconfigured("git:// has no users, but the URL names one"));
        }
        let path = url.path.strip_prefix(b"/").filter(|path| path.starts_with(b"~"));
        Ok(Daemon {
            host: host.to_owned(),
            port: url.port,
            path: path.unwrap_or(&url.path).into(),
            connect_timeout: settings.connect_timeout,
            idle_timeout: settings.idle_timeout,
        })
    }

    fn request(&self, service: Service, protocol_2: bool) -> Vec<u8> {
        let mut line = format!("{} ", service.name()).into_bytes();
        line.push_str(&self.path);
        line.push_str(format!("\0host={}", self.host));
        if let Some(port) = self.port {
            line.push_str(format!(":{port}"));
        }
        line.push(0);
        if protocol_2 {
            line.push_str(b"\0version=2\0");
        }
        let mut out = Vec::new();
        pkt_line::data(&mut out, &line);
        out
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let stream = tcp::connect(host, self.port.unwrap_or(PORT), self.connect_timeout)?;
        stream.set_read_timeout(Some(self.idle_timeout))?;
        stream.set_write_timeout(Some(self.idle_timeout))?;
        Ok(stream)
    }
}

impl Dial for Daemon {
    fn dial(&self, service: Service, protocol_2: bool) -> Result<Box<dyn Channel>, Error> {
        let failed = |error: io::Error| tcp::failed(&error, self.connect_timeout);
        let mut stream = self.connect().map_err(failed)?;
        stream.write_all(&self.request(service, protocol_2)).map_err(failed)?;
        Ok(Box::new(Tcp(stream)))
    }
}

/// A connection with limits of silence.
struct Tcp(TcpStream);

impl Read for Tcp {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Tcp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Channel for Tcp {
    fn last_words(&mut self) -> Option<Error> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon(url: &str) -> Result<Daemon, Error> {
        let settings = Settings::default();
        Daemon::new(&gix::url::parse(url).expect("a URL"), &settings)
    }

    #[test]
    fn the_request_names_service_path_and_host() {
        let request = |url, protocol_2| daemon(url).expect(url).request(Service::ReceivePack, protocol_2);
        assert_eq!(
            request("git://host/o/r.git", false).as_bstr(),
            "0028git-receive-pack /o/r.git\0host=host\0"
        );
        assert_eq!(
            request("git://host:81/~me/r", true).as_bstr(),
            "0033git-receive-pack ~me/r\0host=host:81\0\0version=2\0"
        );
    }

    #[test]
    fn characters_that_change_the_request_are_refused() {
        for url in [
            "git://host/a%00b",
            "git://host/a%0ab",
            "git://me@host/r",
            "git://me:word@host/r",
        ] {
            let error = daemon(url).err().unwrap_or_else(|| panic!("{url}"));
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{url}");
        }
    }
}
