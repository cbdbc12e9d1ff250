//! A mirror as it is in the world: `git http-backend` behind nginx, on a free port of this machine.
//!
//! Both programs get sockets that listen already, so there is nothing to wait for and no port to lose.
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{
    git,
    processes::{Group, program},
};

/// The object format of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Sha1,
    Sha256,
}

/// How the mirror is served, other than to everybody over plain http in every protocol.
#[derive(Default)]
struct Setup<'a> {
    token: Option<&'a str>,
    tls: bool,
    protocol_0_only: bool,
}

/// A running mirror; it ends with this value.
pub struct Mirror {
    folder: TempDir,
    scheme: &'static str,
    port: u16,
    programs: Vec<Group>,
}

impl Mirror {
    /// A mirror that lets everybody read and write.
    pub fn start() -> Self {
        Mirror::new(&Setup::default())
    }

    /// A mirror that asks for this token, as the password of the user `x-access-token`.
    pub fn with_token(token: &str) -> Self {
        Mirror::new(&Setup {
            token: Some(token),
            ..Setup::default()
        })
    }

    /// A mirror that speaks https, with a certificate of its own: [`Mirror::certificate()`].
    pub fn with_tls() -> Self {
        Mirror::new(&Setup {
            tls: true,
            ..Setup::default()
        })
    }

    /// A mirror in front of which something drops the header that asks for protocol 2.
    pub fn with_protocol_0() -> Self {
        Mirror::new(&Setup {
            protocol_0_only: true,
            ..Setup::default()
        })
    }

    /// The file with the certificate to trust.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// Creates a bare repository of this name, such as `o/r.git`, that takes pushes; gives its folder.
    pub fn create(&self, name: &str, format: Format) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a folder for the repository");
        let format = match format {
            Format::Sha1 => "--object-format=sha1",
            Format::Sha256 => "--object-format=sha256",
        };
        git::git(&path, &["init", "--quiet", "--bare", format, "."]);
        git::git(&path, &["config", "http.receivepack", "true"]);
        path
    }

    /// Puts an executable hook into a repository.
    pub fn hook(&self, name: &str, hook: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name).join("hooks").join(hook);
        fs::create_dir_all(path.parent().expect("hooks/")).expect("a folder for hooks");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a hook");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its x bit");
    }

    /// The URL of a repository.
    pub fn url(&self, name: &str) -> String {
        format!("{}://127.0.0.1:{}/{name}", self.scheme, self.port)
    }

    /// The folder of a repository.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("repositories").join(name)
    }

    /// Runs git in a repository of the mirror; gives what it prints.
    pub fn git(&self, name: &str, arguments: &[&str]) -> String {
        git::git(&self.path(name), arguments)
    }

    /// Every request so far that was answered, as `METHOD URI STATUS BYTES` (of the answer's body); not over https.
    pub fn requests(&self) -> Vec<String> {
        // nginx has one worker here, which writes its log before it looks at the next request.
        let mut probe = TcpStream::connect(("127.0.0.1", self.port)).expect("nginx listens");
        probe.write_all(b"GET /-/probe HTTP/1.0\r\n\r\n").expect("nginx reads");
        probe.read_to_end(&mut Vec::new()).expect("nginx answers");
        let log = fs::read_to_string(self.folder.path().join("access.log")).expect("nginx writes its log");
        log.lines().map(str::to_owned).collect()
    }

    /// Ends the servers; the repositories stay. Connections are refused from now on.
    pub fn stop(&mut self) {
        self.programs.clear();
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
            let line = format!("x-access-token:{{PLAIN}}{token}\n");
            fs::write(folder.path().join("htpasswd"), line).expect("a file for the token");
        }
        if setup.tls {
            make_certificate(folder.path());
        }
        let configuration = configuration(folder.path(), port, setup);
        fs::write(folder.path().join("nginx.conf"), configuration).expect("a file for nginx");
        let mut mirror = Mirror {
            folder,
            scheme: if setup.tls { "https" } else { "http" },
            port,
            programs: Vec::new(),
        };
        mirror.run(listener);
        mirror
    }

    fn run(&mut self, listener: TcpListener) {
        let folder = self.folder.path();
        let socket = folder.join("fcgiwrap.socket");
        // There is one from before a restart.
        let _ = fs::remove_file(&socket);
        let backend = UnixListener::bind(&socket).expect("a socket for fcgiwrap");
        let mut fcgiwrap = Command::new(program("fcgiwrap"));
        fcgiwrap.args(["-f", "-c", "4"]).stdin(OwnedFd::from(backend));
        let mut nginx = Command::new(program("nginx"));
        nginx
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .arg("-e")
            .arg(folder.join("error.log"));
        // The listening socket is its standard input: what nginx does for its own upgrades.
        nginx.env("NGINX", "0;").stdin(OwnedFd::from(listener));
        self.programs = vec![Group::start(&mut fcgiwrap), Group::start(&mut nginx)];
    }
}

/// Makes a key, and a certificate for this machine's address that it signs itself.
fn make_certificate(folder: &Path) {
    let mut openssl = Command::new(program("openssl"));
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]);
    openssl.args([
        "-keyout",
        "key.pem",
        "-out",
        "certificate.pem",
        "-config",
        "openssl.conf",
    ]);
    let configuration = "[req]\ndistinguished_name = name\nprompt = no\nx509_extensions = extensions\n\
        [name]\nCN = mirror\n\
        [extensions]\nsubjectAltName = IP:127.0.0.1\nbasicConstraints = critical, CA:FALSE\n";
    fs::write(folder.join("openssl.conf"), configuration).expect("a file for openssl");
    let output = openssl.current_dir(folder).output().expect("openssl runs");
    assert!(
        output.status.success(),
        "openssl: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn configuration(folder: &Path, port: u16, setup: &Setup<'_>) -> String {
    let at = folder.display();
    let exec_path = git::git(folder, &["--exec-path"]);
    let [global, no_system, _] = git::ISOLATED.map(|(name, value)| format!("fastcgi_param {name} {value};"));
    let authentication = match setup.token.is_some() {
        true => format!("auth_basic mirror; auth_basic_user_file {at}/htpasswd;"),
        false => String::new(),
    };
    let protocol = match setup.protocol_0_only {
        true => "fastcgi_param HTTP_GIT_PROTOCOL '';",
        false => "fastcgi_param GIT_PROTOCOL $http_git_protocol;",
    };
    let tls = match setup.tls {
        true => format!("ssl_certificate {at}/certificate.pem; ssl_certificate_key {at}/key.pem;"),
        false => String::new(),
    };
    let ssl = if setup.tls { " ssl" } else { "" };
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let temporary = ["client_body", "fastcgi", "proxy", "scgi", "uwsgi"];
    let temporary = temporary
        .map(|what| format!("{what}_temp_path {at}/{what};"))
        .join("\n");
    format!(
        "daemon off;
worker_processes 1;
{user}
pid {at}/nginx.pid;
error_log {at}/error.log;
events {{ worker_connections 64; }}
http {{
    {temporary}
    log_format requests '$request_method $request_uri $status $body_bytes_sent';
    access_log {at}/access.log requests;
    client_max_body_size 0;
    server {{
        listen 127.0.0.1:{port}{ssl};
        {tls}
        location = /-/probe {{ access_log off; return 204; }}
        location / {{
            {authentication}
            fastcgi_pass unix:{at}/fcgiwrap.socket;
            fastcgi_param SCRIPT_FILENAME {exec_path}/git-http-backend;
            fastcgi_param GIT_PROJECT_ROOT {at}/repositories;
            fastcgi_param GIT_HTTP_EXPORT_ALL 1;
            {protocol}
            {global}
            {no_system}
            fastcgi_param PATH_INFO $uri;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
            fastcgi_param REMOTE_USER $remote_user;
            fastcgi_param REMOTE_ADDR $remote_addr;
        }}
    }}
}}
"
    )
}
