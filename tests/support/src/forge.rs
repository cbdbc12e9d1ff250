//! A forge: a scripted REST API in front of a real mirror, on one port.
use std::{
    io::{BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
};

use super::{
    processes::program,
    scripted::{Received, answer, header, with_body},
};

/// A running forge.
pub struct Forge {
    port: u16,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Forge {
    /// Serves requests below `/api/` with `api`, and others with the mirror at the port `behind`. Answers of the mirror get the
    /// line `added` in their header.
    pub fn start(
        behind: Option<u16>,
        added: Option<String>,
        api: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let shared = received.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut client = BufReader::new(client);
                let Some(request) = header(&mut client) else { continue };
                let request = with_body(&mut client, request);
                let bytes = if request
                    .line
                    .split(' ')
                    .nth(1)
                    .is_some_and(|path| path.starts_with("/api/"))
                {
                    shared
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(request.clone());
                    api(&request)
                } else {
                    forwarded(&request, behind, added.as_deref())
                };
                // A client that has gone has been tested by then.
                let _ = client.get_mut().write_all(&bytes);
            }
        });
        Forge { port, received }
    }

    /// The URL of a repository.
    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }

    /// The requests to the API so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first lines of the requests to the API so far, without the version.
    pub fn lines(&self) -> Vec<String> {
        let received = self.received();
        let lines = received
            .iter()
            .map(|request| request.line.trim_end_matches(" HTTP/1.1").to_owned());
        lines.collect()
    }
}

/// An answer in JSON, after which the connection is closed.
pub fn json(status: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let all = [&["Content-Type: application/json", "Connection: close"], headers].concat();
    answer(status, &all, body.as_bytes())
}

/// The mirror's answer to a request, after which it closes the connection.
fn forwarded(request: &Received, behind: Option<u16>, added: Option<&str>) -> Vec<u8> {
    let Some(port) = behind else {
        return answer("404 Not Found", &["Connection: close"], b"");
    };
    let framing = ["connection:", "transfer-encoding:", "content-length:"];
    let is_framing = |line: &&String| framing.iter().any(|name| line.to_ascii_lowercase().starts_with(name));
    let mut lines = vec![request.line.clone()];
    lines.extend(request.header.iter().filter(|line| !is_framing(line)).cloned());
    lines.push(format!(
        "Content-Length: {}\r\nConnection: close\r\n\r\n",
        request.body.len()
    ));
    let mut server = TcpStream::connect(("127.0.0.1", port)).expect("the mirror listens");
    server.write_all(lines.join("\r\n").as_bytes()).expect("it reads");
    server.write_all(&request.body).expect("it reads");
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).expect("it answers");
    if let Some(added) = added {
        let end = answer
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .expect("a status line")
            + 2;
        answer.splice(end..end, format!("{added}\r\n").into_bytes());
    }
    answer
}

/// Puts an RSA key into `folder`, the same one for all tests of a program. Returns the file of the private key, in PKCS#1 or
/// PKCS#8, and that of the public one.
pub fn rsa_key(folder: &Path, is_pkcs1: bool) -> [PathBuf; 2] {
    static KEYS: [OnceLock<[String; 2]>; 2] = [OnceLock::new(), OnceLock::new()];
    let texts = KEYS[usize::from(is_pkcs1)].get_or_init(|| new_rsa_key(is_pkcs1));
    let paths = ["app.pem", "app.pub"].map(|name| folder.join(name));
    for (path, text) in paths.iter().zip(texts) {
        std::fs::write(path, text).expect("a file");
    }
    paths
}

fn new_rsa_key(is_pkcs1: bool) -> [String; 2] {
    let folder = tempfile::tempdir().expect("a folder");
    let paths = ["private", "public"].map(|name| folder.path().join(name));
    let mut make = Command::new(program("openssl"));
    make.args(["genrsa", "-out"]).arg(&paths[0]);
    if is_pkcs1 {
        make.arg("-traditional");
    }
    run(make.arg("2048"));
    let mut public = Command::new(program("openssl"));
    public
        .args(["rsa", "-pubout", "-in"])
        .arg(&paths[0])
        .arg("-out")
        .arg(&paths[1]);
    run(&mut public);
    paths.map(|path| std::fs::read_to_string(path).expect("a key"))
}

/// Returns true if the RS256 signature of `message` was made with the key that belongs to this public one.
pub fn is_signed_by(public: &Path, message: &[u8], signature: &[u8]) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let [message_file, signature_file] = ["message", "signature"].map(|name| folder.path().join(name));
    std::fs::write(&message_file, message).expect("a file");
    std::fs::write(&signature_file, signature).expect("a file");
    let mut command = Command::new(program("openssl"));
    command
        .args(["dgst", "-sha256", "-verify"])
        .arg(public)
        .arg("-signature")
        .arg(&signature_file)
        .arg(&message_file);
    command.output().expect("openssl runs").status.success()
}

fn run(command: &mut Command) {
    let output = command.output().expect("openssl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
