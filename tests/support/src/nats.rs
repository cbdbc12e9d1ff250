//! Servers of NATS with JetStream, each with a folder of its own below a temporary one: one server, or a cluster of three.
use std::{
    fmt::Write,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tempfile::TempDir;

use super::processes::{Group, program};

/// The longest time that servers may take until they are ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// An event of the greatest size, and what is around it.
const MAX_PAYLOAD: &str = "max_payload: 2MB\n";

/// Servers of one cluster. They are killed on drop.
pub struct Servers {
    folder: TempDir,
    nodes: Vec<Node>,
}

struct Node {
    process: Option<Group>,
    configuration: PathBuf,
    /// The lines of the configuration that do not change.
    fixed: String,
    port: u16,
    monitor: u16,
}

impl Servers {
    /// Starts one server.
    pub fn one() -> Self {
        Servers::start(1, MAX_PAYLOAD)
    }

    /// Starts one server with these lines in its configuration.
    pub fn one_with(lines: &str) -> Self {
        Servers::start(1, lines)
    }

    /// Starts a cluster of three.
    pub fn three() -> Self {
        Servers::start(3, MAX_PAYLOAD)
    }

    fn start(count: usize, lines: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports: Vec<_> = (0..count).map(|_| free_ports()).collect();
        let routes: Vec<_> = ports
            .iter()
            .map(|[_, _, cluster]| format!("nats://127.0.0.1:{cluster}"))
            .collect();
        let node = |(number, [port, monitor, cluster]): (usize, &[u16; 3])| {
            let store = folder.path().join(format!("store-{number}"));
            let mut text = format!(
                "listen: 127.0.0.1:{port}\nhttp: 127.0.0.1:{monitor}\nserver_name: s{number}\n\
                jetstream {{ store_dir: {store:?}, max_memory_store: 64MB, max_file_store: 4GB }}\n"
            );
            if count > 1 {
                let routes = routes.join(", ");
                writeln!(
                    text,
                    "cluster {{ name: c, listen: 127.0.0.1:{cluster}, routes: [{routes}] }}"
                )
                .expect("a string takes all");
            }
            Node {
                process: None,
                configuration: folder.path().join(format!("server-{number}.conf")),
                fixed: text,
                port: *port,
                monitor: *monitor,
            }
        };
        let nodes = ports.iter().enumerate().map(node).collect();
        let mut servers = Servers { folder, nodes };
        for number in 0..count {
            servers.configure(number, lines);
            servers.run(number);
        }
        servers.wait_until_ready();
        servers
    }

    /// Sets further lines of a server's configuration, which it reads at its next start.
    pub fn configure(&self, number: usize, lines: &str) {
        let node = &self.nodes[number];
        fs::write(&node.configuration, format!("{}{lines}", node.fixed)).expect("a file");
    }

    fn run(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let mut command = Command::new(program("nats-server"));
        command.arg("-c").arg(&node.configuration);
        node.process = Some(Group::start(&mut command));
    }

    /// URL of a stream of the servers.
    pub fn url(&self, stream: &str) -> String {
        let hosts: Vec<_> = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port))
            .collect();
        format!("nats://{}/{stream}", hosts.join(","))
    }

    /// Ports of the servers.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// Folder of the servers.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills a server with SIGKILL.
    pub fn kill(&mut self, number: usize) {
        self.nodes[number].process = None;
    }

    /// Stops a server, whose connections stay open.
    pub fn pause(&self, number: usize) {
        self.signal(number, Signal::STOP);
    }

    /// Lets a server go on that was paused.
    pub fn resume(&self, number: usize) {
        self.signal(number, Signal::CONT);
    }

    fn signal(&self, number: usize, signal: Signal) {
        self.nodes[number].process.as_ref().expect("it runs").signal(signal);
    }

    /// Removes all that a server has stored, which was killed.
    pub fn wipe(&self, number: usize) {
        fs::remove_dir_all(self.folder.path().join(format!("store-{number}"))).expect("a folder");
    }

    /// Starts a server again that was killed, and waits until all are ready.
    pub fn restart(&mut self, number: usize) {
        self.run(number);
        self.wait_until_ready();
    }

    /// Waits until all servers that run have all streams.
    ///
    /// # Panics
    /// This takes too long.
    fn wait_until_ready(&self) {
        let start = Instant::now();
        for node in self.nodes.iter().filter(|node| node.process.is_some()) {
            let url = format!("http://127.0.0.1:{}/healthz", node.monitor);
            while !ureq::get(&url).call().is_ok_and(|answer| answer.status() == 200) {
                assert!(start.elapsed() < PATIENCE, "{url} reports no health");
                thread::yield_now();
            }
        }
    }
}

/// Ports that nothing uses now.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}
