//! Ctrl-C and SIGTERM while a push is in flight: `run` ends at once, and the next one completes.
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::process::ExitStatusExt;

use crate::world::{Before, assert_journal, assert_mirrored, complete, cycle, push, world};
use support::{
    mirror::{Format, Mirror},
    scripted::{Scripted, Step},
    stargate::{Stargate, git, start},
};

/// Ends a cycle by this signal.
fn end(mut child: Child, signal: Signal) {
    kill_process(Pid::from_child(&child), signal).expect("it runs");
    let status = child.wait().expect("it ends");
    assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
}

/// Starts a cycle that ends by signals even if this test runs in the background of a shell, which ignores Ctrl-C there.
fn started(stargate: &Stargate, remote: &str) -> Child {
    let cycle = cycle(stargate, remote);
    let mut command = Command::new("env");
    command
        .arg("--default-signal")
        .arg(cycle.get_program())
        .args(cycle.get_args());
    for (name, value) in cycle.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(folder) = cycle.get_current_dir() {
        command.current_dir(folder);
    }
    start(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

#[test]
fn in_a_request_that_is_never_answered() {
    for signal in [Signal::INT, Signal::TERM] {
        let silent = Scripted::serve(vec![Step::Silence]);
        let world = world();
        push(&world, &["refs/kv/main"]);
        let before = Before::of(&world);
        let child = started(&world, &silent.url("o/r.git"));
        while silent.received().is_empty() {
            std::thread::yield_now();
        }
        end(child, signal);
        let server = Mirror::start();
        let repository = server.create("o/r.git", Format::Sha1);
        complete(&world, &server.url("o/r.git"), "a signal");
        assert_mirrored(&world, &repository, "a signal");
        assert_journal(&world, &before, "a signal");
    }
}

#[test]
fn while_the_mirror_takes_in_a_push() {
    for signal in [Signal::INT, Signal::TERM] {
        let server = Mirror::start();
        let repository = server.create("o/r.git", Format::Sha1);
        git(&repository, ["config", "core.logAllRefUpdates", "always"]);
        // The mirror receives everything, and moves its refs when it is allowed to.
        server.hook(
            "o/r.git",
            "pre-receive",
            "touch reached; while test ! -e go; do sleep 0.01; done",
        );
        let world = world();
        push(&world, &["refs/kv/main"]);
        let before = Before::of(&world);
        let child = started(&world, &server.url("o/r.git"));
        while !repository.join("reached").exists() {
            std::thread::yield_now();
        }
        end(child, signal);
        std::fs::write(repository.join("go"), "").expect("a file");
        complete(&world, &server.url("o/r.git"), "a signal");
        assert_mirrored(&world, &repository, "a signal");
        assert_journal(&world, &before, "a signal");
    }
}
