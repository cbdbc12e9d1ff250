//! `kill -9` before every call by which the worker changes the disk: its own, and that of a mirror in a folder.
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    time::Duration,
};

use jiff::Timestamp;

use crate::world::{
    Before, REMOTE, a_minute_later, assert_journal, assert_mirrored, assert_recovers, complete, cycle, for_each,
    mirror, output, push, worker, world, world_of,
};
use support::{
    mirror::{Format, Mirror},
    stargate::{EACH_FORMAT_ONCE, Stargate, git},
    strace::{Call, changes, killed_at},
};

/// Kills this command of a worker before each change that it makes, each time in a copy of the world.
fn kill_everywhere(scene: &Stargate, arguments: &[&str], needs: &[&str]) {
    kill(scene, arguments, needs, |_| false);
}

/// The same, without the changes in the mirror's folder, which other scenes cover.
fn kill_at_home(scene: &Stargate, arguments: &[&str], needs: &[&str]) {
    kill(scene, arguments, needs, |call| call.contains("/mirror.git/"));
}

fn kill(scene: &Stargate, arguments: &[&str], needs: &[&str], passed_over: fn(&str) -> bool) {
    let before = Before::of(scene);
    let counted = scene.copy();
    let trace = counted.folder().join("trace");
    let calls = changes(&worker(&counted, arguments), &trace, passed_over);
    for name in needs {
        assert!(calls.iter().any(|call| call.name == *name), "no {name}: {calls:?}");
    }
    assert_recovers(&counted, &before, "without a fault");
    println!("{} kills of {arguments:?}", calls.len());
    for_each(&calls, |call| {
        let world = scene.copy();
        killed_at(&worker(&world, arguments), call);
        if packed_refs_are_locked(&world) {
            a_minute_later(&world);
        }
        assert_recovers(&world, &before, &format!("{arguments:?} killed before {call:?}"));
    });
}

fn packed_refs_are_locked(stargate: &Stargate) -> bool {
    mirror(stargate).join("packed-refs.lock").exists()
}

pub const RUN: [&str; 6] = ["run", "--json", "--repo", ".", "--remote", REMOTE];

#[test]
fn one_pending_entry() {
    let scene = world();
    push(&scene, &["refs/kv/main"]);
    let needs = [
        "openat", "write", "pwrite64", "fsync", "rename", "renameat", "unlink", "mkdir", "flock",
    ];
    kill_everywhere(&scene, &RUN, &needs);
}

#[test]
fn one_pending_entry_of_reftables_with_sha256() {
    let (ids, refs) = EACH_FORMAT_ONCE[1];
    let scene = world_of(ids, refs);
    push(&scene, &["refs/kv/main"]);
    kill_at_home(&scene, &RUN, &["pwrite64", "fsync", "rename", "flock"]);
}

#[test]
fn several_namespaces_and_a_deletion_after_an_earlier_cycle() {
    let scene = world();
    push(
        &scene,
        &["refs/kv/a", "refs/kv-index/a", "refs/kv/b/c", "refs/kv-index/old"],
    );
    complete(&scene, REMOTE, "before");
    git(&mirror(&scene), ["pack-refs", "--all"]);
    push(&scene, &["refs/kv/a", "refs/kv-index/a"]);
    push(&scene, &["refs/kv/a", "refs/kv/b/c"]);
    push(&scene, &["refs/kv/new"]);
    git(
        &scene.folder().join("client"),
        ["push", "-q", "../o/r.git", ":refs/kv-index/old"],
    );
    // The transfer of a pack is covered by the scene of one entry.
    let passed_over = |call: &str| call.contains("/mirror.git/objects/");
    kill(&scene, &RUN, &["pwrite64", "renameat"], passed_over);
}

#[test]
fn a_torn_tail_and_a_corrupt_line() {
    let scene = world();
    push(&scene, &["refs/kv/a"]);
    let mut journal = OpenOptions::new()
        .append(true)
        .open(scene.journal())
        .expect("a journal");
    journal.write_all(b"{\"entry_id\":\"01\n").expect("a corrupt line");
    drop(journal);
    push(&scene, &["refs/kv/b"]);
    let mut journal = OpenOptions::new()
        .append(true)
        .open(scene.journal())
        .expect("a journal");
    journal.write_all(b"{\"entry_id\":\"01JB").expect("a torn tail");
    drop(journal);
    kill_at_home(&scene, &RUN, &["ftruncate", "pwrite64"]);
    kill_at_home(
        &scene,
        &["journal", "--repo", ".", "repair"],
        &["ftruncate", "pwrite64"],
    );
}

/// A push whose `post-receive` never ran, two minutes ago.
pub fn with_a_stale_intent(ids: &str, refs: &str) -> Stargate {
    let scene = world_of(ids, refs);
    let hook = scene.git_dir.join("hooks/post-receive");
    let aside = scene.git_dir.join("hooks/aside");
    push(&scene, &["refs/kv/a"]);
    fs::rename(&hook, &aside).expect("a hook");
    push(&scene, &["refs/kv/b", "refs/kv-index/b"]);
    fs::rename(&aside, &hook).expect("a hook");
    let [name] = &scene.intents()[..] else {
        panic!("one intent")
    };
    let path = scene.git_dir.join(".stargate/intents").join(name);
    let text = fs::read_to_string(&path).expect("an intent");
    let intent: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let then = Timestamp::now() - Duration::from_secs(120);
    let written = intent["timestamp"].as_str().expect("a time");
    fs::write(&path, text.replace(written, &format!("{then:.3}"))).expect("an older intent");
    // Its writer died long ago, before it was complete.
    let unfinished = scene.git_dir.join(".stargate/intents/.01JBAXF5Z8J8M7R2TK7G9QW3EN.tmp");
    fs::write(&unfinished, "{").expect("half an intent");
    let file = fs::File::open(&unfinished).expect("half an intent");
    file.set_modified(then.into()).expect("a time");
    scene
}

#[test]
fn a_stale_intent() {
    for (ids, refs) in EACH_FORMAT_ONCE {
        let scene = with_a_stale_intent(ids, refs);
        kill_at_home(&scene, &RUN, &["fsync", "unlink"]);
    }
}

#[test]
fn rotation_and_what_a_scan_remembers() {
    let scene = world();
    push(&scene, &["refs/kv/a"]);
    kill_at_home(&scene, &["journal", "--repo", ".", "rotate"], &["rename", "fsync"]);
    let mut journal = OpenOptions::new()
        .append(true)
        .open(scene.journal())
        .expect("a journal");
    let blanks = [" ".repeat(999).as_bytes(), b"\n"].concat();
    journal.write_all(&blanks.repeat(8 << 10)).expect("blank lines");
    journal.write_all(&blanks.repeat(1 << 10)).expect("blank lines");
    drop(journal);
    push(&scene, &["refs/kv/b"]);
    kill_at_home(&scene, &RUN, &["rename", "pwrite64"]);
    let rotated = output(cycle(&scene, REMOTE));
    assert!(rotated.status.success());
    assert_eq!(
        crate::world::journals(&scene).len(),
        2,
        "a cycle puts such a journal aside"
    );
}

#[test]
fn an_entry_that_is_tried_again() {
    let scene = world();
    push(&scene, &["refs/kv/a"]);
    let text = fs::read_to_string(scene.journal()).expect("a journal");
    fs::write(scene.journal(), text.replace("\"pending\"", "\"failed\" ")).expect("a failed entry");
    let id = scene.lines()[0]["entry_id"].as_str().expect("an id").to_owned();
    let before = Before::of(&scene);
    let arguments = ["journal", "--repo", ".", "retry", &id];
    let calls = changes(
        &worker(&scene.copy(), &arguments),
        &scene.folder().join("trace"),
        |_| false,
    );
    assert!(calls.iter().any(|call| call.name == "pwrite64"), "{calls:?}");
    for_each(&calls, |call| {
        let world = scene.copy();
        killed_at(&worker(&world, &arguments), call);
        // The first worker is killed after it marked the entry; the second one finds the entry pending.
        let again = output(worker(&world, &arguments));
        assert!(again.status.success(), "{call:?}");
        assert_recovers(&world, &before, &format!("retry killed before {call:?}"));
    });
}

#[test]
fn a_repair_of_the_mirror_by_sync() {
    for (ids, refs) in EACH_FORMAT_ONCE {
        let scene = world_of(ids, refs);
        push(&scene, &["refs/kv/a", "refs/kv/b"]);
        fs::remove_dir_all(scene.git_dir.join(".stargate")).expect("a folder");
        kill_at_home(
            &scene,
            &["sync", "--repo", ".", "--remote", REMOTE, "--repair"],
            &["mkdir", "fsync"],
        );
    }
}

#[test]
fn one_kill_for_each_kind_of_call_over_http() {
    for (ids, refs) in EACH_FORMAT_ONCE {
        let format = if ids == "sha256" { Format::Sha256 } else { Format::Sha1 };
        kill_once_for_each_kind_of_call(ids, refs, format);
    }
}

fn kill_once_for_each_kind_of_call(ids: &str, refs: &str, format: Format) {
    let server = Mirror::start();
    let scene = world_of(ids, refs);
    push(&scene, &["refs/kv/a", "refs/kv-index/a", "refs/kv/b"]);
    let before = Before::of(&scene);
    server.create("counted.git", format);
    let counted = scene.copy();
    let trace = counted.folder().join("trace");
    let calls = changes(&cycle(&counted, &server.url("counted.git")), &trace, |_| false);
    let mut kinds = BTreeMap::<String, Vec<Call>>::new();
    for call in calls {
        kinds.entry(call.name.clone()).or_default().push(call);
    }
    let chosen: Vec<Call> = kinds
        .into_values()
        .map(|calls| calls[calls.len() / 2].clone())
        .collect();
    assert!(chosen.len() >= 6, "{chosen:?}");
    for_each(&chosen, |call| {
        let name = format!("{}.git", call.name);
        let repository = server.create(&name, format);
        git(&repository, ["config", "core.logAllRefUpdates", "always"]);
        let world = scene.copy();
        let after = format!("killed before {call:?}");
        let remote = server.url(&name);
        killed_at(&cycle(&world, &remote), call);
        complete(&world, &remote, &after);
        assert_mirrored(&world, &repository, &after);
        assert_journal(&world, &before, &after);
        assert_eq!(complete(&world, &remote, &after), "idle", "{after}");
    });
}

/// The object of a pointer is on the mirror, complete, whenever the ref is.
#[test]
fn an_lfs_object_before_its_ref() {
    let contents = "large";
    // sha256sum of the contents.
    let oid = "d35c416a85b807e9b5384915d6ebb4a9f7352713efd89857b45a242f473728a9";
    let scene = world();
    let client = scene.folder().join("client");
    let pointer = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n",
        contents.len()
    );
    fs::write(client.join("pointer"), pointer).expect("a pointer");
    git(&client, ["add", "pointer"]);
    push(&scene, &["refs/kv/main"]);
    let place = |git_dir: &std::path::Path| git_dir.join("lfs/objects").join(&oid[..2]).join(&oid[2..4]).join(oid);
    let own = place(&scene.git_dir);
    fs::create_dir_all(own.parent().expect("a folder")).expect("a folder");
    fs::write(&own, contents).expect("an object");
    let before = Before::of(&scene);
    let counted = scene.copy();
    let trace = counted.folder().join("trace");
    let calls = changes(&worker(&counted, &RUN), &trace, |call| {
        call.contains("/mirror.git/objects/")
    });
    assert!(
        calls.iter().any(|call| format!("{call:?}").contains("rename")),
        "{calls:?}"
    );
    for_each(&calls, |call| {
        let world = scene.copy();
        killed_at(&worker(&world, &RUN), call);
        let names = ["for-each-ref", "--format=%(refname)"];
        if !git(&mirror(&world), names).is_empty() {
            let carried = fs::read_to_string(place(&mirror(&world)));
            assert_eq!(carried.expect("the object precedes the ref"), contents, "{call:?}");
        }
        if packed_refs_are_locked(&world) {
            a_minute_later(&world);
        }
        assert_recovers(&world, &before, &format!("killed before {call:?}"));
        let carried = fs::read_to_string(place(&mirror(&world)));
        assert_eq!(carried.expect("the object"), contents, "{call:?}");
    });
}
