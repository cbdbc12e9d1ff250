//! A push without a journal is rejected, and no accepted push lacks an entry, wherever the hooks or git are killed.
//! Real processes.
#![cfg(unix)]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Command, Output},
    time::{Duration, SystemTime},
};

use bstr::BStr;
use durable::{
    clock::{Clock, SystemClock},
    storage::{Disk, LockFiles, WriteFiles},
};
use gix::ObjectId;
use jiff::Timestamp;
use serde_json::json;
use stargate_mirror::{
    journal::{Backlog, Entry, Recovered, Source, Writer},
    mirror::LocalView,
    refs::{LocalRef, Refs},
    worker,
};
use support::{
    executable,
    stargate::{EACH_FORMAT_ONCE, SOME_ID, Stargate, creation, feed, git, git_command, stderr, try_git},
};

use crate::HOOK;

/// System calls that access the disk.
const DISK: &str = "mkdir,open,openat,read,pread64,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,\
                    flock,ftruncate,fallocate,chmod,fchmod,fchmodat,statfs,fstatfs,getdents64,statx,fstat,newfstatat,close";

/// The machine's clock, two minutes ahead.
struct Ahead(SystemClock);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        self.0.now() + Duration::from_secs(120)
    }
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
    fn sleep(&self, duration: Duration) {
        self.0.sleep(duration);
    }
    fn random(&self) -> f64 {
        self.0.random()
    }
}

/// Processes intents as the worker would two minutes from now.
fn recover(stargate: &Stargate, ref_now: &dyn Fn(&BStr) -> LocalRef) -> Recovered {
    let clock = Ahead(SystemClock::default());
    let writer = Writer::new(Disk, &clock, &stargate.git_dir, Duration::from_secs(10));
    writer.repair().unwrap();
    writer.recover_intents(ref_now).unwrap()
}

fn some_id() -> ObjectId {
    SOME_ID.parse().unwrap()
}

/// Processes intents as the worker would if every ref had the id that the pushes set.
fn recover_moved(stargate: &Stargate) {
    let id = stargate.some_id().parse().unwrap();
    recover(stargate, &|_| LocalRef::Id(id));
}

fn entries(stargate: &Stargate) -> Vec<Entry> {
    let backlog = Backlog::load(&Disk, &stargate.git_dir).unwrap();
    assert_eq!(backlog.problem_count, 0, "{:?}", backlog.problems);
    backlog.pending.into_iter().map(|located| located.entry).collect()
}

/// A hook that is killed when it makes the `number`th call of this name.
fn killed_at(stargate: &Stargate, hook: &str, call: &str, number: usize) -> Output {
    let inject = format!("inject={call}:signal=KILL:when={number}");
    let trace = format!("trace={call}");
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    feed(stargate.named_behind(hook, &strace), stargate.creation("refs/kv/a"))
}

/// Every call of a hook that accesses the disk: its name, and its number among the calls of this name, as strace
/// counts.
fn disk_calls(stargate: &Stargate, hook: &str) -> Vec<(String, usize)> {
    let trace = stargate.folder().join("trace");
    let what = format!("trace={DISK}");
    let strace = ["strace", "-f", "-qq", "-e", &what, "-o", trace.to_str().unwrap()];
    let output = feed(stargate.named_behind(hook, &strace), stargate.creation("refs/kv/a"));
    assert!(output.status.success(), "{}", stderr(&output));
    let mut counts = BTreeMap::new();
    let trace = fs::read_to_string(trace).unwrap();
    let calls = trace
        .lines()
        .filter_map(|line| line.split_once('(')?.0.split(' ').next_back());
    let calls: Vec<_> = calls
        .map(|name| {
            let count = counts.entry(name.to_owned()).or_insert(0);
            *count += 1;
            (name.to_owned(), *count)
        })
        .collect();
    for name in ["fsync", "flock", "openat", "write"] {
        assert!(counts.contains_key(name), "{hook}: {counts:?}");
    }
    calls
}

/// Writes the temporary file of an intent whose writer stopped this long ago.
fn unfinished(stargate: &Stargate, id: &str, age: Duration) -> PathBuf {
    let path = stargate.git_dir.join(format!(".stargate/intents/.{id}.tmp"));
    let file = fs::File::create(&path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
    path
}

fn was_killed(output: &Output) -> bool {
    output.status.signal() == Some(9) || output.status.code() == Some(128 + 9)
}

#[test]
fn an_intent_is_there_before_the_refs_move_and_gone_after_they_are_journaled() {
    let stargate = Stargate::bare();
    let input = creation("refs/kv/a") + &creation("refs/heads/b") + &creation("refs/kv/c");
    let output = stargate.run_pre_receive(&input);
    assert!(output.status.success());
    assert_eq!(stderr(&output), "");
    let [name] = &stargate.intents()[..] else {
        panic!("one intent")
    };
    let text = fs::read_to_string(stargate.git_dir.join(".stargate/intents").join(name)).unwrap();
    let intent: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(name, &format!("{}.json", intent["intent_id"].as_str().unwrap()));
    let refs: Vec<_> = intent["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["ref"])
        .collect();
    assert_eq!(refs, [&json!("refs/kv/a"), &json!("refs/kv/c")]);
    assert_eq!(stargate.recorded(), [""; 0]);

    assert!(stargate.run_hook(&input).status.success());
    assert_eq!(stargate.intents(), [""; 0]);
    assert_eq!(stargate.recorded(), ["refs/kv/a", "refs/kv/c"]);
}

#[test]
fn refs_outside_the_patterns_leave_no_trace() {
    let stargate = Stargate::bare();
    assert!(stargate.run_pre_receive(creation("refs/heads/a")).status.success());
    assert!(!stargate.git_dir.join(".stargate").exists());
}

#[test]
fn a_ref_that_an_update_hook_declines_keeps_the_intent_of_the_others_not() {
    let stargate = Stargate::with_hook();
    executable::script(&stargate.git_dir.join("hooks/update"), "test $1 != refs/kv/b");
    let client = stargate.client("one");
    let output = try_git(
        &client,
        ["push", "origin", "HEAD:refs/kv/a", "HEAD:refs/kv/b", "HEAD:refs/kv/c"],
    );
    assert!(!output.status.success());
    assert_eq!(stargate.recorded(), ["refs/kv/a", "refs/kv/c"]);
    assert_eq!(stargate.intents(), [""; 0]);

    assert!(!try_git(&client, ["push", "origin", "HEAD:refs/kv/b"]).status.success());
    assert_eq!(stargate.intents().len(), 1, "post-receive did not run");
    let recovered = recover(&stargate, &|_| LocalRef::Absent);
    assert_eq!((recovered.dropped.len(), recovered.appended.len()), (1, 0));
    assert_eq!(stargate.intents(), [""; 0]);
}

#[test]
fn without_a_journal_a_push_is_rejected_and_the_pusher_told_why() {
    let stargate = Stargate::with_hook();
    let client = stargate.client("one");
    fs::create_dir_all(stargate.journal()).unwrap();
    let output = try_git(&client, ["push", "origin", "HEAD:refs/kv/a", "HEAD:refs/heads/b"]);
    let told = stderr(&output);
    assert!(!output.status.success());
    for line in [
        "stargate: push rejected, and no ref was updated, because it could not be queued for the mirror:",
        "mirror-journal.ndjson: it is a directory, not a regular file",
        "(pre-receive hook declined)",
    ] {
        assert!(told.contains(line), "{told}");
    }
    assert_eq!(git(&stargate.git_dir, ["for-each-ref"]), "");
    assert!(
        stargate.log().contains("rejected a push: cannot open"),
        "{}",
        stargate.log()
    );
    assert!(
        try_git(&client, ["push", "origin", "HEAD:refs/heads/b"])
            .status
            .success()
    );

    fs::remove_dir(stargate.journal()).unwrap();
    stargate.configure("stargate.lockTimeout", "20ms");
    let held = Disk.open_append(&stargate.journal()).unwrap();
    assert!(Disk.try_lock(&held).unwrap());
    let told = stderr(&try_git(&client, ["push", "origin", "HEAD:refs/kv/a"]));
    assert!(told.contains("was locked by another process for 20ms"), "{told}");
    drop(held);
    assert!(try_git(&client, ["push", "origin", "HEAD:refs/kv/a"]).status.success());
    assert_eq!(stargate.recorded(), ["refs/kv/a"]);
}

#[test]
fn what_cannot_be_written_is_told_by_its_cause() {
    for (calls, error, told) in [
        ("fallocate", "ENOSPC", "No space left on device"),
        ("openat", "EROFS", "Read-only file system"),
        ("openat", "EACCES", "Permission denied"),
        ("openat", "EDQUOT", "uota exceeded"),
    ] {
        let stargate = Stargate::bare();
        fs::create_dir(stargate.git_dir.join(".stargate")).unwrap();
        fs::write(stargate.journal(), "").unwrap();
        let inject = format!("inject={calls}:error={error}");
        let journal = "./.stargate/mirror-journal.ndjson";
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", journal, "-e", &inject];
        let output = feed(stargate.named_behind("pre-receive", &strace), creation("refs/kv/a"));
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
        assert_eq!(stargate.intents(), [""; 0]);
    }
    let stargate = Stargate::bare();
    let output = feed(
        stargate.named_behind("pre-receive", &["prlimit", "--fsize=60000"]),
        creation("refs/kv/a"),
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("File too large"), "{}", stderr(&output));
}

#[test]
fn a_chained_hook_runs_first_and_its_rejection_rejects_and_leaves_no_intent() {
    let stargate = Stargate::with_hook();
    let chained = stargate.git_dir.join("hooks/pre-receive.chained");
    executable::script(&chained, "cat > seen; echo nothing goes >&2; test ! -e no");
    let client = stargate.client("one");
    git(&client, ["push", "-q", "origin", "HEAD:refs/heads/main"]);
    let seen = || fs::read_to_string(stargate.git_dir.join("seen")).unwrap();
    assert!(seen().ends_with(" refs/heads/main\n"), "it is run for every push");

    fs::write(stargate.git_dir.join("no"), "").unwrap();
    let output = try_git(&client, ["push", "origin", "HEAD:refs/kv/a"]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("remote: nothing goes"), "{}", stderr(&output));
    assert!(seen().ends_with(" refs/kv/a\n"));
    assert!(!stargate.git_dir.join(".stargate").exists());

    fs::remove_file(stargate.git_dir.join("no")).unwrap();
    assert!(try_git(&client, ["push", "origin", "HEAD:refs/kv/a"]).status.success());
    assert_eq!(stargate.recorded(), ["refs/kv/a"]);
}

#[test]
fn what_cannot_be_appended_is_kept_as_an_intent() {
    // Once with an intent, once without.
    for pre_receive in [true, false] {
        let stargate = Stargate::bare();
        let input = creation("refs/kv/a") + &creation("refs/kv/b");
        if pre_receive {
            assert!(stargate.run_pre_receive(&input).status.success());
        }
        // strace resolves the path of a file only if it exists.
        fs::create_dir_all(stargate.git_dir.join(".stargate")).unwrap();
        drop(Disk.open_append(&stargate.journal()).unwrap());
        let journal = "./.stargate/mirror-journal.ndjson";
        let full = "inject=write:error=ENOSPC";
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", journal, "-e", full];
        let output = feed(stargate.hook_behind(&strace), &input);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(1));
        assert!(told.contains("No space left on device"), "{told}");
        assert!(
            told.contains("they are saved, and the mirror's worker will queue them"),
            "{told}"
        );
        assert_eq!((stargate.intents().len(), entries(&stargate).len()), (1, 0));

        let recovered = recover(&stargate, &|_| LocalRef::Id(some_id()));
        assert_eq!(recovered.appended.len(), 2);
        assert_eq!(stargate.recorded(), ["refs/kv/a", "refs/kv/b"]);
        assert!(entries(&stargate).iter().all(|entry| entry.source == Source::Recovered));
        assert_eq!(stargate.intents(), [""; 0]);
        let again = recover(&stargate, &|_| LocalRef::Id(some_id()));
        assert!(again.appended.is_empty() && again.dropped.is_empty());
    }
}

#[test]
fn the_intent_of_a_ref_that_cannot_be_read_waits_until_it_can() {
    let stargate = Stargate::bare();
    let input = [creation("refs/kv/a"), creation("refs/kv/b")].concat();
    assert!(stargate.run_pre_receive(input).status.success());
    let refs = Refs::new(&stargate.git_dir, gix::hash::Kind::Sha1);
    for name in ["a", "b"] {
        let path = stargate.git_dir.join("refs/kv").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, if name == "a" { "" } else { SOME_ID }).unwrap();
    }
    let recovered = recover(&stargate, &|name| refs.read(name));
    assert_eq!((recovered.unknown.len(), recovered.dropped.len()), (1, 0));
    assert_eq!(stargate.recorded(), ["refs/kv/b"]);
    assert_eq!(stargate.intents().len(), 1);

    fs::write(stargate.git_dir.join("refs/kv/a"), SOME_ID).unwrap();
    recover(&stargate, &|name| refs.read(name));
    assert_eq!(stargate.recorded(), ["refs/kv/b", "refs/kv/a"]);
    assert_eq!(stargate.intents(), [""; 0]);
}

#[test]
fn young_intents_are_left_alone_and_what_is_none_goes_to_quarantine() {
    let stargate = Stargate::bare();
    assert!(stargate.run_pre_receive(creation("refs/kv/a")).status.success());
    let intents = stargate.git_dir.join(".stargate/intents");
    fs::write(intents.join("01JBAXF5Z8J8M7R2TK7G9QW3EN.json"), "\0\0\0").unwrap();
    unfinished(&stargate, "01JBAXF5Z8J8M7R2TK7G9QW3EN", Duration::from_secs(61));
    let writer = Writer::new(Disk, SystemClock::default(), &stargate.git_dir, Duration::from_secs(10));
    let recovered = writer.recover_intents(&|_| LocalRef::Id(some_id())).unwrap();
    assert_eq!(
        (recovered.kept, recovered.unreadable.len(), recovered.appended.len()),
        (1, 1, 0)
    );
    assert_eq!(
        stargate.intents().len(),
        1,
        "what a writer left unfinished is gone, too"
    );
    let kept = stargate.git_dir.join(".stargate/quarantine/01JBAXF5Z8J8M7R2TK7G9QW3EN");
    assert_eq!(fs::read(kept).unwrap(), b"\0\0\0");
}

#[test]
fn an_unfinished_intent_is_as_old_as_its_file_whatever_its_id_says() {
    let stargate = Stargate::bare();
    assert!(stargate.run_pre_receive(creation("refs/kv/a")).status.success());
    let young = unfinished(&stargate, "01JBAXF5Z8J8M7R2TK7G9QW3EN", Duration::ZERO);
    let old = unfinished(&stargate, "03ZZZZZZZZZZZZZZZZZZZZZZZZ", Duration::from_secs(61));
    let writer = Writer::new(Disk, SystemClock::default(), &stargate.git_dir, Duration::from_secs(10));
    writer.recover_intents(&|_| LocalRef::Absent).unwrap();
    assert!(young.exists(), "its writer may be at work");
    assert!(!old.exists(), "its writer has died");
}

#[test]
fn the_same_update_a_second_time_is_not_taken_for_the_first() {
    let stargate = Stargate::bare();
    assert!(stargate.run_hook(creation("refs/kv/a")).status.success());
    assert!(stargate.run_pre_receive(creation("refs/kv/a")).status.success());
    let recovered = recover(&stargate, &|_| LocalRef::Id(some_id()));
    assert_eq!(recovered.appended.len(), 1, "the entry is older than the intent");
    assert_eq!(stargate.recorded(), ["refs/kv/a", "refs/kv/a"]);
}

#[test]
fn pre_receive_killed_anywhere_harms_no_later_push() {
    for (ids, refs) in EACH_FORMAT_ONCE {
        let new = || Stargate::of_formats(ids, refs);
        for (name, number) in disk_calls(&new(), "pre-receive") {
            assert_pre_receive_killed_is_harmless(&new(), &name, number);
        }
    }
}

fn assert_pre_receive_killed_is_harmless(stargate: &Stargate, name: &str, number: usize) {
    let output = killed_at(stargate, "pre-receive", name, number);
    assert!(was_killed(&output), "{name} {number}: {:?}", output.status);
    // git rejects the push: the ref does not move.
    let recovered = recover(stargate, &|_| LocalRef::Absent);
    assert!(recovered.appended.is_empty() && recovered.unreadable.is_empty());
    assert_eq!(stargate.intents(), [""; 0], "{name} {number}");
    let next = stargate.creation("refs/kv/b");
    assert!(stargate.run_pre_receive(&next).status.success(), "{name} {number}");
    assert!(stargate.run_hook(&next).status.success(), "{name} {number}");
    assert_eq!(entries(stargate).len(), 1, "{name} {number}");
    assert_eq!(stargate.intents(), [""; 0], "{name} {number}");
}

#[test]
fn post_receive_killed_anywhere_loses_nothing() {
    for (ids, refs) in EACH_FORMAT_ONCE {
        let with_an_intent = || {
            let stargate = Stargate::of_formats(ids, refs);
            let output = stargate.run_pre_receive(stargate.creation("refs/kv/a"));
            assert!(output.status.success(), "{}", stderr(&output));
            stargate
        };
        for (name, number) in disk_calls(&with_an_intent(), "post-receive") {
            assert_post_receive_killed_loses_nothing(&with_an_intent(), &name, number);
        }
    }
}

fn assert_post_receive_killed_loses_nothing(stargate: &Stargate, name: &str, number: usize) {
    let output = killed_at(stargate, "post-receive", name, number);
    assert!(was_killed(&output), "{name} {number}: {:?}", output.status);
    let next = stargate.creation("refs/kv/b");
    assert!(stargate.run_hook(next).status.success(), "{name} {number}");
    recover_moved(stargate);
    let entries = entries(stargate);
    let mut names: Vec<_> = entries.iter().map(|entry| entry.update.name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["refs/kv/a", "refs/kv/b"], "{name} {number}");
    assert_eq!(stargate.intents(), [""; 0], "{name} {number}");
}

#[test]
fn a_disk_that_fails_at_any_write_or_sync_loses_nothing_that_was_accepted() {
    for (calls, what) in [
        ("fsync", "error=EIO"),
        ("write", "error=EIO"),
        ("write", "error=ENOSPC"),
        ("rename", "error=EIO"),
        ("unlink", "error=EIO"),
        ("fsync", "error=EIO+"),
    ] {
        // `N+` fails this call and all that follow.
        let (what, on) = what.strip_suffix('+').map_or((what, ""), |what| (what, "+"));
        let when = |number: usize| format!("{calls}:{what}:when={number}{on}");
        for number in 1..=4 {
            let stargate = Stargate::bare();
            let inject = format!("inject={}", when(number));
            let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
            let input = creation("refs/kv/a");
            let accepted = feed(stargate.named_behind("pre-receive", &strace), &input)
                .status
                .success();
            if !accepted {
                assert_eq!(
                    stargate.intents(),
                    [""; 0],
                    "{inject}: a rejected push leaves no intent"
                );
                assert!(stargate.run_pre_receive(&input).status.success(), "{inject}");
            }
            let output = feed(stargate.hook_behind(&strace), &input);
            let complete = output.status.success();
            assert!(output.status.code().is_some(), "{inject}: it ends by itself");
            if complete {
                assert_eq!(entries(&stargate).len(), 1, "{inject}");
            }
            recover(&stargate, &|_| LocalRef::Id(some_id()));
            assert_eq!(entries(&stargate).len(), 1, "{inject}");
        }
    }
}

#[test]
fn receive_pack_killed_between_the_refs_and_post_receive_loses_nothing() {
    for (ids, refs) in EACH_FORMAT_ONCE {
        assert_receive_pack_killed_loses_nothing(ids, refs);
    }
}

fn assert_receive_pack_killed_loses_nothing(ids: &str, refs: &str) {
    let stargate = Stargate::of_formats(ids, refs);
    stargate.install();
    let client = stargate.client("one");
    // git runs this when the refs have moved, and before it runs post-receive.
    let transaction = "test \"$1\" != committed || kill -9 $PPID";
    executable::script(&stargate.git_dir.join("hooks/reference-transaction"), transaction);
    let mut pushed = Vec::new();
    for number in 0..8 {
        git(&client, ["commit", "-q", "--allow-empty", "-m", &number.to_string()]);
        let mut push = git_command(&client);
        push.args(["push", "-q", "origin", &format!("HEAD:refs/kv/{number}")])
            .env("GL_USERNAME", "me");
        assert!(!feed(push, "").status.success(), "the connection broke");
        pushed.push((format!("refs/kv/{number}"), git(&client, ["rev-parse", "HEAD"])));
    }
    assert_eq!((stargate.intents().len(), stargate.recorded().len()), (8, 0));

    let worker = worker::Stargate::open(&stargate.git_dir).unwrap();
    if refs == "reftable" {
        let list = stargate.git_dir.join("reftable/tables.list");
        let aside = stargate.folder().join("tables.list");
        fs::rename(&list, &aside).unwrap();
        let recovered = recover(&stargate, &|name| worker.local(name));
        assert_eq!((recovered.unknown.len(), recovered.appended.len()), (8, 0));
        assert_eq!((stargate.intents().len(), stargate.recorded().len()), (8, 0));
        fs::rename(&aside, &list).unwrap();
    }
    let recovered = recover(&stargate, &|name| worker.local(name));
    assert_eq!(recovered.appended.len(), 8);
    let found: Vec<_> = stargate
        .lines()
        .iter()
        .map(|line| {
            assert_eq!((&line["source"], &line["pusher"]), (&json!("recovered"), &json!("me")));
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            (text("ref"), text("new_oid"))
        })
        .collect();
    assert_eq!(found, pushed);
    assert_eq!(stargate.intents(), [""; 0]);
}

/// Runs a script with a small file system in memory in place of `.stargate`, visible only to that script.
fn on_a_small_disk(stargate: &Stargate, script: &str) -> Output {
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-ec"])
        .arg(format!("mount -t tmpfs -o size=256k none .stargate\n{script}"))
        .current_dir(&stargate.git_dir)
        .envs([("GIT_DIR", "."), ("HOOK", HOOK)]);
    let output = feed(command, "");
    let told = stderr(&output);
    assert!(
        !told.contains("unshare:") && !told.contains("mount:"),
        "this test mounts a tmpfs, which is not allowed here: {told}"
    );
    output
}

#[test]
fn a_full_disk_rejects_the_push_and_what_was_accepted_before_has_its_place() {
    let stargate = Stargate::bare();
    fs::create_dir(stargate.git_dir.join(".stargate")).unwrap();
    let script = format!(
        r#"
one='{one}' two='{two}'
echo "$one" | "$HOOK" pre-receive
dd if=/dev/zero of=.stargate/filler bs=4096 2>/dev/null || true
echo "$one" | "$HOOK" post-receive 2>/dev/null; echo "post $?"
head -c 65536 /dev/zero | tr '\0' ' ' >> .stargate/mirror-journal.ndjson 2>/dev/null || true
echo "$two" | "$HOOK" pre-receive 2>&1 | grep -o 'No space left on device' | head -n 1
rm .stargate/filler
echo "$two" | "$HOOK" pre-receive; echo "pre $?"
cp -r .stargate ../kept"#,
        one = creation("refs/kv/a").trim_end(),
        two = creation("refs/kv/b").trim_end(),
    );
    let output = on_a_small_disk(&stargate, &script);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "post 0\nNo space left on device\npre 0\n",
        "{}",
        stderr(&output)
    );
    let kept: PathBuf = stargate.git_dir.join("../kept/mirror-journal.ndjson");
    let names: Vec<_> = Backlog::read(&kept).unwrap().pending;
    assert_eq!(names[0].entry.update.name, "refs/kv/a");
}
