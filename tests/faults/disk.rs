//! Disks that fail at any call, and full disks: the worker reports the reason, nothing is lost, and the next start
//! completes the work.
use std::{fs, process::Command};

use crate::{
    killed::{RUN, with_a_stale_intent},
    world::{
        Before, PROGRAM, REMOTE, a_minute_later, assert_journal, assert_mirrored, assert_recovers, complete, for_each,
        mirror, push, worker, world,
    },
};
use support::{
    stargate::{Stargate, feed, git, stderr},
    strace::{Call, changes, injected},
};

/// System call, error, and extent of a disk fault: empty for one call, `+` for this call and all later ones.
const FAULTS: [(&str, &str, &str); 11] = [
    ("openat", "ENOSPC", "+"),
    ("fsync", "EIO", ""),
    ("fsync", "EIO", "+"),
    ("write", "EIO", ""),
    ("write", "ENOSPC", "+"),
    ("pwrite64", "EIO", ""),
    ("pwrite64", "ENOSPC", "+"),
    ("rename", "EIO", ""),
    ("renameat", "EIO", ""),
    ("unlink", "EIO", ""),
    ("ftruncate", "EIO", ""),
];

/// The system's message for it.
fn words(error: &str) -> &'static str {
    match error {
        "EIO" => "Input/output error",
        _ => "No space left on device",
    }
}

/// Each of these calls of a cycle fails, except for those that are passed over. After each, everything recovers.
fn fail_everywhere(scene: &Stargate, needs: &[&str], passed_over: fn(&str) -> bool) {
    let before = Before::of(scene);
    let counted = scene.copy();
    let calls = changes(&worker(&counted, &RUN), &counted.folder().join("trace"), passed_over);
    for name in needs {
        assert!(calls.iter().any(|call| call.name == *name), "no {name}: {calls:?}");
    }
    let faults_of = |call: &Call| {
        let faults = FAULTS.iter().filter(|(name, ..)| *name == call.name);
        let faults = faults.map(|(_, error, on)| (call.clone(), *error, *on));
        faults.collect::<Vec<_>>()
    };
    let faults: Vec<_> = calls.iter().flat_map(faults_of).collect();
    println!("{} faults", faults.len());
    for_each(&faults, |(call, error, on)| {
        let world = scene.copy();
        let fault = format!("error={error}:when={}{on}", call.number);
        let output = injected(&worker(&world, &RUN), &call.name, &fault);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        let after = format!("{} {fault}: {}: {said}", call.name, output.status);
        assert!(matches!(output.status.code(), Some(0 | 1 | 5)), "{after}");
        // If every write fails, the error message cannot be written either.
        let mute = call.name == "write" && *on == "+";
        assert!(
            output.status.success() || mute || said.contains(words(error)),
            "{after}"
        );
        a_minute_later(&world);
        assert_recovers(&world, &before, &after);
    });
}

/// Returns true for a write to standard output or standard error, which no disk fault affects.
fn is_told(call: &str) -> bool {
    call.contains("write(1<") || call.contains("write(2<")
}

#[test]
fn one_pending_entry() {
    let scene = world();
    push(&scene, &["refs/kv/main"]);
    fail_everywhere(&scene, &["fsync", "write", "pwrite64", "rename", "renameat"], is_told);
}

#[test]
fn a_stale_intent_and_a_torn_tail() {
    let scene = with_a_stale_intent("sha1", "files");
    let mut journal = fs::read(scene.journal()).expect("a journal");
    journal.extend_from_slice(b"{\"entry_id\":\"01JB");
    fs::write(scene.journal(), journal).expect("a torn tail");
    // Calls in the mirror's folder belong to the other scene.
    let passed_over = |call: &str| is_told(call) || call.contains("/mirror.git/");
    fail_everywhere(&scene, &["fsync", "write", "ftruncate"], passed_over);
}

/// Runs a cycle while a folder, as only that cycle sees it, is on a full disk of this size, and another one with free
/// space. Returns the output of the first one, after its exit code.
fn on_a_full_disk(world: &Stargate, folder: &str, size: &str) -> String {
    let script = format!(
        r#"
cp -a {folder} ../../aside
mount -t tmpfs -o size={size} none {folder}
cp -a ../../aside/. {folder}
cat /dev/zero > {folder}/filler 2>/dev/null || true
"$WORKER" run --json --repo . --remote {REMOTE} 2>&1 && echo "exit 0" || echo "exit $?"
rm {folder}/filler
"$WORKER" run --json --repo . --remote {REMOTE} > ../../second
rm -r ../../aside
cp -a {folder} ../../aside"#
    );
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-ec", &script])
        .current_dir(&world.git_dir)
        .env("WORKER", PROGRAM)
        .env("TMPDIR", world.folder().join("tmp"));
    let output = feed(command, "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "this test mounts a tmpfs in a namespace of its own; {said}{}",
        stderr(&output)
    );
    // Move the files of the faulty disk to their usual place, where the checks look for them.
    let place = world.git_dir.join(folder);
    fs::remove_dir_all(&place).expect("a folder");
    fs::rename(world.folder().join("aside"), &place).expect("a folder");
    said
}

#[test]
fn a_full_disk_under_the_journal_keeps_the_intent() {
    let scene = with_a_stale_intent("sha1", "files");
    let before = Before::of(&scene);
    let unfinished = ".stargate/intents/.01JBAXF5Z8J8M7R2TK7G9QW3EN.tmp";
    fs::remove_file(scene.git_dir.join(unfinished)).expect("what would leave its place to others");
    // The journal already occupies a page; this line needs another one.
    let mut journal = fs::read(scene.journal()).expect("a journal");
    journal.extend_from_slice(" ".repeat(4095 - journal.len() % 4096).as_bytes());
    journal.push(b'\n');
    fs::write(scene.journal(), journal).expect("a journal");
    let said = on_a_full_disk(&scene, ".stargate", "128k");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(!said.contains("exit 0"), "{said}");
    assert_mirrored(&scene, &mirror(&scene), &said);
    assert_journal(&scene, &before, &said);
}

#[test]
fn a_full_disk_under_the_mirror_leaves_the_entry_pending() {
    let scene = world();
    push(&scene, &["refs/kv/main"]);
    let before = Before::of(&scene);
    let said = on_a_full_disk(&scene, REMOTE, "512k");
    assert!(
        said.contains("No space left on device") && said.contains("exit 1"),
        "{said}"
    );
    assert_mirrored(&scene, &mirror(&scene), &said);
    assert_journal(&scene, &before, &said);
    assert_eq!(complete(&scene, REMOTE, &said), "idle");
    git(&mirror(&scene), ["gc", "-q"]);
}
