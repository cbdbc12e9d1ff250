//! 64 simultaneous pushes by real git clients, while `watch` mirrors them.
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::world::{
    Before, REMOTE, assert_journal_parses, assert_mirrored, complete, journals, mirror, worker, world_of,
};
use support::stargate::{Stargate, git, start, try_git};

const PUSHERS: usize = 64;
/// The number of namespaces. Each has several pushers, which compete with each other.
const NAMESPACES: usize = 8;
/// The maximum number of tries of one pusher. In each round at least one push succeeds.
const TRIES: usize = PUSHERS * 4;

/// A `watch` that is killed on drop.
struct Watch(Child);

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watch(stargate: &Stargate) -> Watch {
    let mut command = worker(stargate, &["watch", "--repo", ".", "--remote", REMOTE]);
    Watch(start(command.stdout(Stdio::null()).stderr(Stdio::null())))
}

/// Commits on top of the current ref and pushes, until a push is in time.
fn push_until_accepted(clients: &Path, ids: &str, stargate: &Stargate, number: usize) -> String {
    let client = clients.join(number.to_string());
    let server = stargate.git_dir.display().to_string();
    git(clients, ["init", "-q", "--object-format", ids, &number.to_string()]);
    let name = format!("refs/kv/{}", number % NAMESPACES);
    for _ in 0..TRIES {
        let fetched = try_git(&client, ["fetch", "-q", &server, &format!("+{name}:refs/base")]);
        if fetched.status.success() {
            git(&client, ["reset", "-q", "--soft", "refs/base"]);
        }
        git(&client, ["commit", "-q", "--allow-empty", "-m", &number.to_string()]);
        let refspecs = [
            format!("HEAD:{name}"),
            format!("HEAD:refs/kv-index/{}", number % NAMESPACES),
        ];
        let mut arguments = vec!["push", "-q", "--atomic", &server];
        arguments.extend(refspecs.iter().map(String::as_str));
        if try_git(&client, arguments).status.success() {
            return git(&client, ["rev-parse", "HEAD"]);
        }
    }
    panic!("{number} was never in time");
}

#[test]
fn sixty_four_pushes_at_once_with_watch_running_all_arrive() {
    assert_all_arrive("sha1", "files");
}

/// git 2.47 does not wait for the lock of the tables, so any push can fail because of another one.
#[test]
fn sixty_four_pushes_at_once_into_reftables_all_arrive() {
    assert_all_arrive("sha256", "reftable");
}

fn assert_all_arrive(ids: &str, refs: &str) {
    let world = world_of(ids, refs);
    // A busy machine may be slow; speed is not tested here.
    world.configure("stargate.lockTimeout", "5m");
    world.configure("stargate.pushesPerMinute", "0");
    let running = watch(&world);
    let clients = world.folder().join("clients");
    fs::create_dir(&clients).expect("a folder");
    let commits: Vec<String> = thread::scope(|scope| {
        let pusher = |number| {
            scope.spawn({
                let (clients, world) = (&clients, &world);
                move || push_until_accepted(clients, ids, world, number)
            })
        };
        let pushers: Vec<_> = (0..PUSHERS).map(pusher).collect();
        pushers
            .into_iter()
            .map(|pusher| pusher.join().expect("a commit"))
            .collect()
    });
    kill_process(Pid::from_child(&running.0), Signal::TERM).expect("it runs");
    let mut running = running;
    assert!(running.0.wait().expect("it ends").success(), "watch ended by itself");
    let before = Before::of(&world);
    complete(&world, REMOTE, "64 pushes");
    assert_mirrored(&world, &mirror(&world), "64 pushes");
    assert_journal_parses(&world, &before, "64 pushes");
    assert_eq!(journals(&world).len(), 1);
    for (number, commit) in commits.iter().enumerate() {
        let name = format!("refs/kv/{}", number % NAMESPACES);
        git(&mirror(&world), ["merge-base", "--is-ancestor", commit, &name]);
    }
    assert_linear(&world);
}

/// Every accepted push has an entry for each of its refs, and the entries of a ref form a chain from nothing to its
/// value. An update that the worker found before its hook recorded it has a second entry.
fn assert_linear(world: &Stargate) {
    let lines = world.lines();
    assert!(lines.iter().all(|line| line["status"] == "done"), "{lines:?}");
    let of_hooks: Vec<_> = lines.iter().filter(|line| line["source"] == "post-receive").collect();
    assert_eq!(of_hooks.len(), 2 * PUSHERS);
    let mut next = BTreeMap::<String, BTreeMap<String, String>>::new();
    for line in of_hooks {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let earlier = next
            .entry(text("ref"))
            .or_default()
            .insert(text("old_oid"), text("new_oid"));
        assert_eq!(earlier, None, "two entries from the same: {line}");
    }
    for (name, mut steps) in next {
        let mut at = String::new();
        while let Some(new) = steps.remove(&at) {
            at = new;
        }
        assert!(steps.is_empty(), "{name}: {steps:?}");
        assert_eq!(at, git(&mirror(world), ["rev-parse", &name]), "{name}");
    }
}
