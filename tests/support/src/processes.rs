//! Servers that tests start: found in the folders of Debian, and killed on drop.
use std::{
    net::TcpStream,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The longest time that a server may take until it listens.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process group that is killed on drop.
pub struct Group(Child);

impl Group {
    /// Starts a program in a new process group, without its output.
    pub fn start(command: &mut Command) -> Self {
        let quiet = command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
        let started = quiet.spawn();
        Group(started.unwrap_or_else(|error| panic!("{:?} does not start: {error}", command.get_program())))
    }

    /// Sends a signal to the group.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let group = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process_group(group, signal).expect("a process group");
    }

    /// Returns once something listens on `port` of this machine.
    ///
    /// # Panics
    /// The program ends before.
    pub fn wait_until_it_listens(&mut self, port: u16) {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = self.0.try_wait().expect("a child");
            assert!(ended.is_none(), "the server ended: {ended:?}");
            assert!(start.elapsed() < PATIENCE, "nothing listens on port {port}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        // It may have ended already.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

/// Finds a program in `PATH`, or in the folders where Debian installs servers.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let mut candidates = folders.map(|folder| folder.join(name));
    candidates
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("the program {name} is needed; docs/proof.md names the packages of the tests"))
}
