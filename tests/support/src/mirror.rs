//! A realistic mirror: `git http-backend` behind nginx, lighttpd or Apache, on a free port of this machine.
//!
//! nginx and fcgiwrap inherit listening sockets, so no test has to wait for them or can lose the port.
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    certificates, git,
    processes::{Group, program},
    web::{self, Web},
};

/// The object format of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Sha1,
    Sha256,
}

/// Settings of the mirror's server. By default nginx serves everybody over plain HTTP, in every protocol version.
#[derive(Default)]
pub(super) struct Setup<'a> {
    pub web: Web,
    pub token: Option<&'a str>,
    pub tls: bool,
    pub client_certificates: bool,
    pub self_signed: bool,
    pub protocol_0_only: bool,
    pub takes_chunks: bool,
    /// Largest body of a request, as in `client_max_body_size`; any by default.
    pub max_body: Option<&'a str>,
    /// Additional seconds for each request.
    pub delay: Option<&'a str>,
}

/// A running mirror; it ends on drop.
pub struct Mirror {
    folder: TempDir,
    web: Web,
    scheme: &'static str,
    port: u16,
    programs: Vec<Group>,
}

impl Mirror {
    /// A mirror that everybody may read and write.
    pub fn start() -> Self {
        Mirror::new(&Setup::default())
    }

    /// A mirror that requires this token, as the password of the user `x-access-token`.
    pub fn with_token(token: &str) -> Self {
        Mirror::new(&Setup {
            token: Some(token),
            ..Setup::default()
        })
    }

    /// A mirror behind this server that requires this token, and uses https.
    pub fn behind(web: Web, token: &str) -> Self {
        Mirror::new(&Setup {
            web,
            token: Some(token),
            tls: true,
            ..Setup::default()
        })
    }

    /// A mirror that uses https, and requires the client certificate [`Mirror::client_certificate()`].
    pub fn with_client_certificates() -> Self {
        Mirror::new(&Setup {
            tls: true,
            client_certificates: true,
            ..Setup::default()
        })
    }

    /// A mirror that uses https, with a certificate of the authority [`Mirror::certificate()`].
    pub fn with_tls() -> Self {
        Mirror::new(&Setup {
            tls: true,
            ..Setup::default()
        })
    }

    /// A mirror that uses https, with the self-signed certificate [`Mirror::server_certificate()`].
    pub fn with_self_signed_certificate() -> Self {
        Mirror::new(&Setup {
            tls: true,
            self_signed: true,
            ..Setup::default()
        })
    }

    /// A mirror behind a proxy that drops the header which requests protocol 2.
    pub fn with_protocol_0() -> Self {
        Mirror::new(&Setup {
            protocol_0_only: true,
            ..Setup::default()
        })
    }

    /// A mirror for benchmarks: it requires a token, accepts chunked requests as git sends them, and delays each
    /// request by this many seconds.
    pub fn measured(token: &str, delay: Option<&str>) -> Self {
        Mirror::new(&Setup {
            token: Some(token),
            takes_chunks: true,
            delay,
            ..Setup::default()
        })
    }

    /// A mirror that accepts chunked requests, and answers 413 to larger bodies, such as `100k`.
    pub fn with_max_body(size: &str) -> Self {
        Mirror::new(&Setup {
            max_body: Some(size),
            takes_chunks: true,
            ..Setup::default()
        })
    }

    /// Returns the size of all requests so far in bytes, headers included; see [`requests()`](Self::requests).
    pub fn received(&self) -> u64 {
        self.requests();
        let log = fs::read_to_string(self.folder.path().join("sizes.log")).expect("nginx writes its log");
        log.lines().map(|line| line.parse::<u64>().expect("a number")).sum()
    }

    /// How many bytes the body of each request had, as announced; 0 for one without a length. See
    /// [`requests()`](Self::requests).
    pub fn bodies(&self) -> Vec<u64> {
        self.requests();
        let log = fs::read_to_string(self.folder.path().join("bodies.log")).expect("nginx writes its log");
        log.lines().map(|line| line.parse().unwrap_or(0)).collect()
    }

    /// The file with the certificate of the authority to trust.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// The file with the certificate of the server.
    pub fn server_certificate(&self) -> PathBuf {
        self.folder.path().join("server.pem")
    }

    /// The files with a certificate for a client, and its key.
    pub fn client_certificate(&self) -> [PathBuf; 2] {
        ["client.pem", "client.key"].map(|name| self.folder.path().join(name))
    }

    /// Accepts this token from now on, instead of the previous one.
    pub fn set_token(&self, token: &str) {
        web::write_htpasswd(self.folder.path(), token);
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Creates a bare repository of this name, such as `o/r.git`, that accepts pushes. Returns its folder.
    pub fn create(&self, name: &str, format: Format) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a folder for the repository");
        let format = match format {
            Format::Sha1 => "--object-format=sha1",
            Format::Sha256 => "--object-format=sha256",
        };
        git::git(&path, &["init", "--quiet", "--bare", format, "."]);
        git::git(&path, &["config", "http.receivepack", "true"]);
        if self.web == Web::Apache {
            web::let_everybody_write(&path);
        }
        path
    }

    /// Puts an executable hook into a repository.
    pub fn hook(&self, name: &str, hook: &str, script: &str) {
        git::hook(&self.path(name), hook, script);
    }

    /// The URL of a repository.
    pub fn url(&self, name: &str) -> String {
        format!("{}://127.0.0.1:{}{}/{name}", self.scheme, self.port, self.web.prefix())
    }

    /// The folder of a repository.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("repositories").join(name)
    }

    /// Runs git in a repository of the mirror, and returns its output.
    pub fn git(&self, name: &str, arguments: &[&str]) -> String {
        git::git(&self.path(name), arguments)
    }

    /// Every request so far that was answered by nginx, as `METHOD URI STATUS BYTES` (of the answer's body); not over https.
    pub fn requests(&self) -> Vec<String> {
        // nginx has one worker here, which writes its log before it handles the next request.
        let mut probe = TcpStream::connect(("127.0.0.1", self.port)).expect("nginx listens");
        probe.write_all(b"GET /-/probe HTTP/1.0\r\n\r\n").expect("nginx reads");
        probe.read_to_end(&mut Vec::new()).expect("nginx answers");
        let log = fs::read_to_string(self.folder.path().join("access.log")).expect("nginx writes its log");
        log.lines().map(str::to_owned).collect()
    }

    /// The same, once nginx has answered this many: it may log a request a moment after the client has the whole answer.
    pub fn first_requests(&self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let requests = self.requests();
            if requests.len() >= count || Instant::now() > deadline {
                return requests;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the servers; the repositories stay. Connections are refused from now on.
    pub fn stop(&mut self) {
        self.programs.clear();
        // Children of killed processes end a moment later.
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {}
    }

    /// Starts the servers again, on the same port.
    pub fn start_again(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).expect("the port is still free");
        self.run(listener);
    }

    fn new(setup: &Setup<'_>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the mirror");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        if let Some(token) = setup.token {
            web::write_htpasswd(folder.path(), token);
        }
        if setup.tls {
            certificates::make(folder.path());
        }
        if setup.self_signed {
            certificates::make_self_signed(folder.path());
        }
        let configuration = web::configuration(folder.path(), port, setup);
        fs::write(folder.path().join("web.conf"), configuration).expect("a file for the web server");
        let mut mirror = Mirror {
            folder,
            web: setup.web,
            scheme: if setup.tls { "https" } else { "http" },
            port,
            programs: Vec::new(),
        };
        mirror.run(listener);
        mirror
    }

    fn run(&mut self, listener: TcpListener) {
        let folder = self.folder.path();
        let configuration = folder.join("web.conf");
        let mut server = Command::new(program(self.web.program()));
        match self.web {
            Web::Nginx => {
                let socket = folder.join("fcgiwrap.socket");
                // There is one already after a restart.
                let _ = fs::remove_file(&socket);
                let backend = UnixListener::bind(&socket).expect("a socket for fcgiwrap");
                let mut fcgiwrap = Command::new(program("fcgiwrap"));
                fcgiwrap.args(["-f", "-c", "4"]).stdin(OwnedFd::from(backend));
                server.arg("-p").arg(folder).arg("-c").arg(configuration);
                // The listening socket is its standard input, as in nginx's own upgrades.
                server.arg("-e").arg(folder.join("error.log")).env("NGINX", "0;");
                server.stdin(OwnedFd::from(listener));
                self.programs = vec![Group::start(&mut fcgiwrap), Group::start(&mut server)];
            }
            Web::Lighttpd | Web::Apache => {
                drop(listener);
                let foreground = if self.web == Web::Apache { "-DFOREGROUND" } else { "-D" };
                server.arg(foreground).arg("-f").arg(configuration).stdin(Stdio::null());
                let mut server = Group::start(&mut server);
                server.wait_until_it_listens(self.port);
                self.programs = vec![server];
            }
        }
    }
}
