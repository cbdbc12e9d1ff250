//! Pushes over an HTTP client and credentials of the application:
//!
//! ```sh
//! cargo run -p git-push-transport --example own_client -- http://127.0.0.1:8080/o/r.git refs/heads/main <user> <password>
//! ```
use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use bstr::BStr;
use git_push::{Command, Connection, Error, ErrorKind, Push, Report};
use git_push_transport::{
    HttpUrl, Settings,
    credentials::{Authorization, Credentials, Need},
    http::Http,
    http_client::{HttpClient, HttpRequest, HttpResponse},
};
use gix::ObjectId;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, name, user, password] = &arguments[..] else {
        return Err("usage: own_client URL REF USER PASSWORD".into());
    };
    let repository = gix::discover(".")?;
    let new = repository.head_id()?.detach();
    let url = gix::url::parse(BStr::new(url))?;
    let host = url.host().unwrap_or_default().to_owned();
    let passwords = Passwords(BTreeMap::from([(host, (user.clone(), password.clone()))]));
    let mut http = Http::new(&url, &Settings::default(), Arc::new(TcpClient), Box::new(passwords))?;
    println!("{:?}", push(&mut http, &repository, name, new)?);
    Ok(())
}

/// Sets the ref `name` to `new`.
///
/// # Errors
/// The errors of a push.
pub fn push(
    connection: &mut dyn Connection,
    repository: &gix::Repository,
    name: &str,
    new: ObjectId,
) -> Result<Report, Error> {
    let advertisement = connection.advertisement()?;
    let command = Command::set(name, &advertisement, new);
    Push::new(repository, &advertisement).command(command).send(connection)
}

/// Users and passwords by host.
pub struct Passwords(pub BTreeMap<String, (String, String)>);

impl Credentials for Passwords {
    fn get(&mut self, url: &HttpUrl, _: Need) -> Result<Option<Authorization>, Error> {
        let found = self.0.get(url.host());
        Ok(found.map(|(user, password)| Authorization::basic(user, password.as_str())))
    }

    fn approve(&mut self, _: &HttpUrl, _: &Authorization) {}

    fn reject(&mut self, url: &HttpUrl, _: &Authorization) {
        self.0.remove(url.host());
    }
}

/// A client of HTTP/1.0 without TLS, which needs nothing but the standard library.
pub struct TcpClient;

/// Limit of the header of an answer, in bytes.
const MAX_HEADER: u64 = 64 << 10;

impl HttpClient for TcpClient {
    fn send(&self, request: HttpRequest<'_>) -> Result<HttpResponse, Error> {
        let rest = request.url.strip_prefix("http://").ok_or_else(|| {
            Error::new(ErrorKind::Misconfigured, "this client supports only http").with_hint("use an http URL")
        })?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let authority = authority.to_owned();
        let path = path.to_owned();
        exchange(&authority, &path, request).map_err(|error| {
            Error::new(
                ErrorKind::Transient,
                format!("the exchange with the server failed: {error}"),
            )
        })
    }
}

fn exchange(authority: &str, path: &str, request: HttpRequest<'_>) -> io::Result<HttpResponse> {
    let address = if authority.contains(':') {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    let mut stream = TcpStream::connect(address)?;
    let mut head = format!("{} {path} HTTP/1.0\r\nHost: {authority}\r\n", request.method.name());
    for header in &request.headers {
        head += &format!("{}: {}\r\n", header.name(), header.value());
    }
    // Without `takes_streams()`, each body has a length.
    if let Some(length) = request.body.as_ref().and_then(|body| body.length) {
        head += &format!("Content-Length: {length}\r\n");
    }
    stream.write_all(format!("{head}User-Agent: git/own-client\r\n\r\n").as_bytes())?;
    if let Some(body) = request.body {
        io::copy(body.reader, &mut stream)?;
    }
    let mut stream = BufReader::new(stream);
    let lines: Vec<_> = (&mut stream)
        .take(MAX_HEADER)
        .lines()
        .take_while(|line| !line.as_ref().is_ok_and(String::is_empty))
        .collect::<io::Result<_>>()?;
    let status = lines.first().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an answer of HTTP"))?;
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    // The server closes the connection at the end of the body.
    Ok(HttpResponse::new(status, headers.collect(), Box::new(stream)))
}
