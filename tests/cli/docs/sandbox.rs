//! A sandbox in which the commands of a page work. A temporary folder replaces `/`, and mirrors behind nginx replace GitHub.
//! git is real.
use std::{
    fs::{self, File},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use support::{
    git,
    mirror::{Format, Mirror},
    stargate::{clean_command, start},
};

const TOKEN: &str = "canary-docs-7d1a";
/// The longest time that a service may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(90);

/// The sandbox of one page. Blocks run in a clone whose remotes are `stargate` and `origin`.
pub struct Sandbox {
    root: TempDir,
    mirror: Mirror,
    services: Vec<Service>,
    relay: Option<String>,
    /// Address of the first `events run --listen`.
    events: Option<String>,
    served: u32,
}

struct Service {
    child: Child,
    text: String,
    said: PathBuf,
}

impl Sandbox {
    /// Creates a sandbox without installed hooks, with empty mirrors for `o/r.git` and `o/context.git`.
    pub fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let mirror = Mirror::with_token(TOKEN);
        for name in ["o/r.git", "o/context.git", "o/app.git"] {
            mirror.create(name, Format::Sha1);
        }
        let sandbox = Sandbox {
            root,
            mirror,
            services: Vec::new(),
            relay: None,
            events: None,
            served: 0,
        };
        for folder in [
            "home",
            "etc",
            "var/lib",
            "srv/git/o/r.git",
            "srv/git/o/chained.git",
            "work",
        ] {
            fs::create_dir_all(sandbox.path(folder)).expect("a folder");
        }
        for name in ["r", "chained"] {
            git::git(
                &sandbox.path(&format!("srv/git/o/{name}.git")),
                &["init", "-q", "--bare", "."],
            );
        }
        fs::write(sandbox.path("etc/stargate.token"), TOKEN).expect("a file");
        // An answer of 404 is a failure.
        fs::write(sandbox.path("home/.curlrc"), "fail\nsilent\nshow-error\n").expect("a file");
        sandbox.make_clone();
        sandbox
    }

    /// Makes a clone with two commits, an event, a tag, a ledger and its index. `origin` has the first commit.
    fn make_clone(&self) {
        let work = self.path("work");
        let work_git = |arguments: &[&str]| git::git(&work, arguments);
        work_git(&["init", "-q", "-b", "main", "."]);
        fs::create_dir_all(work.join("events/general/2026-01-10")).expect("a folder");
        fs::write(work.join("events/general/2026-01-10/e-0.json"), "{}\n").expect("a file");
        work_git(&["add", "."]);
        work_git(&["commit", "-q", "-m", "first"]);
        let origin = self.mirror.path("o/app.git").display().to_string();
        work_git(&["push", "-q", &origin, "main"]);
        work_git(&["remote", "add", "origin", &self.mirror.url("o/app.git")]);
        work_git(&["update-ref", "refs/remotes/origin/main", "main"]);
        work_git(&["commit", "-q", "--allow-empty", "-m", "second"]);
        let stargate = self.path("srv/git/o/r.git").display().to_string();
        work_git(&["remote", "add", "stargate", &stargate]);
        work_git(&["tag", "v1.0"]);
        work_git(&["update-ref", "refs/kv/main", "main"]);
        work_git(&["update-ref", "refs/kv-index/main", "main"]);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Runs a block to its end.
    pub fn run(&self, text: &str) -> Output {
        let mut command = self.bash(&self.in_here(text));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        start(&mut command).wait_with_output().expect("it ends")
    }

    /// Starts a block of one command, and returns once it reports to systemd that it is ready.
    ///
    /// # Errors
    /// The command is never ready; the error has its output.
    pub fn serve(&mut self, text: &str) -> Result<(), String> {
        self.served += 1;
        let number = self.served;
        let socket_path = self.path(&format!("notify-{number}"));
        let socket = UnixDatagram::bind(&socket_path).expect("a socket");
        let said = self.path(&format!("said-{number}"));
        let out = File::create(&said).expect("a file");
        let mut command = self.bash(&format!("exec env {}", self.in_here(text)));
        command.stderr(out.try_clone().expect("a file")).stdout(out);
        command.env("NOTIFY_SOCKET", &socket_path);
        let mut child = start(&mut command);
        let ready = is_ready(&socket, &mut child);
        let told = fs::read_to_string(&said).expect("a file");
        self.services.push(Service {
            child,
            text: text.to_owned(),
            said,
        });
        if let Some(address) = told.lines().find_map(|line| line.strip_prefix("listening on http://")) {
            self.relay.get_or_insert_with(|| address.to_owned());
        }
        if let Some((_, address)) = told.split_once("health at http://") {
            let address = address.split('/').next().unwrap_or_default();
            self.events.get_or_insert_with(|| address.to_owned());
        }
        if ready {
            Ok(())
        } else {
            Err(format!("it is never ready: {text}{told}"))
        }
    }

    /// Ends the service that was started last. Returns its output if it does not exit with 0.
    pub fn end_last(&mut self) -> Option<String> {
        let mut service = self.services.pop()?;
        // One that has ended by itself shows in its status.
        let _ = kill_process(Pid::from_child(&service.child), Signal::TERM);
        let status = service.child.wait().expect("it ends");
        let said = fs::read_to_string(&service.said).expect("a file");
        (!status.success()).then(|| format!("{status}\n{}{said}", service.text))
    }

    /// Ends all services. Returns the output of those that do not exit with 0.
    pub fn end(mut self) -> Vec<String> {
        let mut failures = Vec::new();
        while !self.services.is_empty() {
            failures.extend(self.end_last());
        }
        failures
    }

    /// Returns the text with the sandbox's paths, URLs and tokens in place of a reader's.
    fn in_here(&self, text: &str) -> String {
        let root = self.root.path().display();
        let github = self.mirror.url("");
        let relay = self.relay.as_deref().unwrap_or("127.0.0.1:9");
        let events = self.events.as_deref().unwrap_or("127.0.0.1:9");
        text.replace("/srv/git", &format!("{root}/srv/git"))
            .replace("/etc/stargate", &format!("{root}/etc/stargate"))
            .replace("https://github.com/", &github)
            .replace("GITHUB_PAT=…", &format!("GITHUB_PAT={TOKEN}"))
            .replace("RELAY_TOKEN=…", &format!("RELAY_TOKEN={TOKEN}"))
            .replace("/var/lib", &format!("{root}/var/lib"))
            .replace("--listen 127.0.0.1:3000", "--listen 127.0.0.1:0")
            .replace("--listen 0.0.0.0:3000", "--listen 0.0.0.0:0")
            .replace("127.0.0.1:3000", relay)
            .replace("--listen 127.0.0.1:3001", "--listen 127.0.0.1:0")
            .replace("127.0.0.1:3001", events)
            .replace("cargo run --release -- ", "stargate-mirror ")
    }

    /// A shell with the programs in its path, which ends at the first command that fails.
    fn bash(&self, text: &str) -> Command {
        let mut command = clean_command("bash");
        command.args(["--norc", "-euo", "pipefail", "-c", text]);
        let programs = Path::new(env!("CARGO_BIN_EXE_stargate-mirror"))
            .parent()
            .expect("a folder");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = [programs.to_owned()].into_iter().chain(std::env::split_paths(&path));
        command
            .env("PATH", std::env::join_paths(folders).expect("folders without a colon"))
            .env("HOME", self.path("home"))
            .env("GIT_CONFIG_SYSTEM", self.path("etc/gitconfig"))
            .current_dir(self.path("work"))
            .stdin(Stdio::null());
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "A U Thor");
            command.env(format!("GIT_{who}_EMAIL"), "author@example.com");
        }
        command
    }
}

/// Waits until the service is ready. Returns false if it ends or is not ready in time.
fn is_ready(socket: &UnixDatagram, child: &mut Child) -> bool {
    let often = Some(Duration::from_millis(50));
    socket.set_read_timeout(often).expect("a timeout");
    let start = Instant::now();
    let mut message = [0; 100];
    while start.elapsed() < PATIENCE {
        match socket.recv(&mut message) {
            Ok(length) => return &message[..length] == b"READY=1\n",
            Err(_) if child.try_wait().expect("a child").is_some() => return false,
            Err(_) => {}
        }
    }
    false
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for service in &mut self.services {
            // Services are left over only when a test failed.
            let _ = service.child.kill();
            let _ = service.child.wait();
        }
    }
}
