//! The hook as a process, run by real git or by hand, with and without faults.
#![cfg(unix)]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use durable::storage::{Disk, LockFiles, WriteFiles};
use proptest::prelude::*;
use serde_json::{Value, json};
use stargate_mirror::journal::{Backlog, Reader};
use support::stargate::{SOME_ID, Stargate, ZERO, creation, feed, git, git_command, start, stderr, try_git};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it exists").permissions().mode() & 0o7777
}

fn keys(line: &str) -> Vec<&str> {
    line.split(['{', ','])
        .filter_map(|part| part.strip_prefix('"')?.split_once("\":").map(|(key, _)| key))
        .collect()
}

#[test]
fn a_push_becomes_an_entry_of_exactly_this_schema() {
    let stargate = Stargate::with_hook();
    stargate.configure("receive.advertisePushOptions", "true");
    let client = stargate.client("Subject\n\nKV-Txn: 01JBAXF5Z8J8M7R2");
    let head = git(&client, ["rev-parse", "HEAD"]);
    let mut push = git_command(&client);
    push.args(["push", "-q", "-o", "fast", "origin", "HEAD:refs/kv/main"])
        .env("GIT_PUSHER_NAME", "user@example.com");
    let told = stderr(&feed(push, ""));
    assert_eq!(told.trim_end(), "remote: stargate: queued for the mirror: 1 ref update");
    assert_eq!(stargate.intents(), [""; 0], "it is journaled");

    let text = fs::read_to_string(stargate.journal()).unwrap();
    assert_eq!(
        keys(&text),
        [
            "entry_id",
            "timestamp",
            "event",
            "ref",
            "old_oid",
            "new_oid",
            "pusher",
            "repo",
            "source",
            "status",
            "meta",
            "txn_id",
            "push_options"
        ]
    );
    let [line] = &stargate.lines()[..] else {
        panic!("one line: {text}")
    };
    assert_eq!(
        *line,
        json!({
            "entry_id": line["entry_id"], "timestamp": line["timestamp"], "event": "ref_update", "ref": "refs/kv/main",
            "old_oid": null, "new_oid": head, "pusher": "user@example.com", "repo": "o/r", "source": "post-receive",
            "status": "pending", "meta": {"txn_id": "01JBAXF5Z8J8M7R2", "push_options": ["fast"]},
        })
    );
    assert_eq!(line["entry_id"].as_str().unwrap().len(), 26);
    let timestamp = line["timestamp"].as_str().unwrap();
    assert_eq!((timestamp.len(), &timestamp[23..]), (24, "Z"), "{timestamp}");
    assert_eq!(mode(&stargate.git_dir.join(".stargate")), 0o755);
    assert_eq!(mode(&stargate.journal()), 0o644);
    assert!(
        stargate
            .log()
            .contains(&format!("recorded refs/kv/main {ZERO}..{head} as ")),
        "{}",
        stargate.log()
    );
}

#[test]
fn a_sha256_repository_is_recorded_with_its_ids() {
    let stargate = Stargate::of_format("sha256");
    stargate.install();
    let client = stargate.client("Subject\n\nKV-Txn: long");
    git(&client, ["push", "-q", "origin", "HEAD:refs/kv/main"]);
    let line = &stargate.lines()[0];
    assert_eq!(line["new_oid"], git(&client, ["rev-parse", "HEAD"]));
    assert_eq!(
        (line["new_oid"].as_str().unwrap().len(), &line["meta"]["txn_id"]),
        (64, &json!("long"))
    );
}

#[test]
fn of_several_refs_only_the_mirrored_are_recorded() {
    let stargate = Stargate::with_hook();
    let client = stargate.client("one");
    let refs = ["refs/kv/main", "refs/heads/main", "refs/kv-index/main", "refs/tags/t"];
    let refspecs = refs.map(|name| format!("HEAD:{name}"));
    git(
        &client,
        ["push", "-q", "origin"].into_iter().map(str::to_owned).chain(refspecs),
    );
    let recorded: BTreeSet<_> = stargate.recorded().into_iter().collect();
    assert_eq!(
        recorded,
        ["refs/kv/main", "refs/kv-index/main"].map(str::to_owned).into()
    );
}

#[test]
fn refs_outside_the_patterns_leave_no_trace() {
    let stargate = Stargate::with_hook();
    git(
        &stargate.client("one"),
        ["push", "-q", "origin", "HEAD:refs/heads/main"],
    );
    assert!(!stargate.git_dir.join(".stargate").exists());
}

#[test]
fn patterns_and_names_come_from_the_configuration() {
    let stargate = Stargate::with_hook();
    for (key, value) in [
        ("stargate.ref", "refs/heads/*"),
        ("stargate.ref", "!refs/heads/wip"),
        ("stargate.repoId", "owner/name"),
        ("stargate.pusherEnv", "MY_PUSHER"),
    ] {
        stargate.configure(key, value);
    }
    let mut hook = stargate.hook();
    hook.env("MY_PUSHER", "me").env("GIT_PUSHER_NAME", "other");
    let input = ["refs/heads/wip", "refs/heads/main", "refs/kv/main"]
        .map(creation)
        .concat();
    assert!(feed(hook, input).status.success());
    let [line] = &stargate.lines()[..] else {
        panic!("one line")
    };
    assert_eq!(
        (&line["ref"], &line["repo"], &line["pusher"]),
        (&json!("refs/heads/main"), &json!("owner/name"), &json!("me"))
    );
}

#[test]
fn updates_deletions_and_names_that_are_not_utf8_are_recorded() {
    let stargate = Stargate::with_hook();
    let client = stargate.client("one");
    let first = git(&client, ["rev-parse", "HEAD"]);
    git(&client, ["push", "-q", "origin", "HEAD:refs/kv/a"]);
    git(&client, ["commit", "-q", "--allow-empty", "-m", "two"]);
    git(&client, ["push", "-q", "origin", "HEAD:refs/kv/a"]);
    git(&client, ["push", "-q", "origin", ":refs/kv/a"]);
    let name = std::os::unix::ffi::OsStringExt::from_vec(b"HEAD:refs/kv/\xff".to_vec());
    git(
        &client,
        ["push".into(), "-q".into(), "origin".into(), name].map(|word: std::ffi::OsString| word),
    );

    let second = git(&client, ["rev-parse", "HEAD"]);
    let lines = stargate.lines();
    let ids: Vec<_> = lines
        .iter()
        .map(|line| (line["old_oid"].clone(), line["new_oid"].clone()))
        .collect();
    assert_eq!(
        ids,
        [
            (Value::Null, json!(first)),
            (json!(first), json!(second)),
            (json!(second), json!(ZERO)),
            (Value::Null, json!(second)),
        ]
    );
    assert_eq!(lines[2]["meta"], Value::Null);
    assert_eq!(
        (&lines[3]["ref"], &lines[3]["meta"]["ref_b64"]),
        (&json!("refs/kv/\u{fffd}"), &json!("cmVmcy9rdi//"))
    );
    assert_eq!(
        Backlog::read(&stargate.journal()).unwrap().pending[3].entry.update.name,
        b"refs/kv/\xff"[..]
    );
}

#[test]
fn quotes_and_newlines_in_the_pushers_name_break_nothing_and_unset_variables_are_null() {
    let stargate = Stargate::bare();
    let pusher = "a \"b\"\n{\"status\":\"done\"}\\";
    let mut hook = stargate.hook();
    hook.env("GL_USERNAME", pusher);
    assert!(feed(hook, creation("refs/kv/a")).status.success());
    assert!(stargate.run_hook(creation("refs/kv/b")).status.success());
    let lines = stargate.lines();
    assert_eq!(
        (&lines[0]["pusher"], &lines[1]["pusher"]),
        (&json!(pusher), &Value::Null)
    );
}

#[test]
fn malformed_lines_are_told_and_logged_and_the_others_recorded() {
    let stargate = Stargate::bare();
    let long = format!("{ZERO} {SOME_ID} refs/kv/{}\n", "x".repeat(70_000));
    let input = [
        "nonsense\n".to_owned(),
        creation("refs/kv/a"),
        creation("refs/kv/../b"),
        long,
        creation("refs/kv/c"),
        creation("refs/kv/cut").trim_end().to_owned(),
    ];
    let output = stargate.run_hook(input.concat());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stargate.recorded(), ["refs/kv/a", "refs/kv/c"]);
    for (line, why) in [
        (1, "expected `<old>"),
        (3, "not a valid ref name"),
        (4, "longer than 65536"),
        (6, "incomplete"),
    ] {
        let expected = format!("line {line} of the hook's input is not a ref update: {why}");
        assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
        assert!(stargate.log().contains(&expected));
    }
}

#[test]
fn a_bad_value_and_an_unreadable_configuration_are_told_and_stop_nothing() {
    let stargate = Stargate::bare();
    stargate.configure("stargate.lockTimeout", "soon");
    let output = stargate.run_hook(creation("refs/kv/a"));
    assert!(output.status.success());
    assert!(
        stderr(&output).contains("stargate: configuration: stargate.lockTimeout = soon"),
        "{}",
        stderr(&output)
    );
    fs::write(stargate.git_dir.join("config"), "[broken").unwrap();
    let output = stargate.run_hook(creation("refs/kv/b"));
    assert!(output.status.success());
    assert!(
        stderr(&output).contains("cannot read git's configuration"),
        "{}",
        stderr(&output)
    );
    assert_eq!(stargate.recorded(), ["refs/kv/a", "refs/kv/b"]);
}

#[test]
fn modes_are_exact_whatever_the_umask() {
    let stargate = Stargate::bare();
    let hook = stargate.hook_behind(&["sh", "-c", "umask 077; exec \"$@\"", "sh"]);
    assert!(feed(hook, creation("refs/kv/a")).status.success());
    assert_eq!(mode(&stargate.git_dir.join(".stargate")), 0o755);
    assert_eq!(mode(&stargate.journal()), 0o644);
}

#[test]
fn a_write_that_falls_short_is_cut_back_and_the_others_are_recorded() {
    let stargate = Stargate::bare();
    assert!(stargate.run_hook(creation("refs/kv/a")).status.success());
    let line = fs::metadata(stargate.journal()).unwrap().len();
    // Blanks, so that the log stays far below the limit that the journal reaches.
    let blanks = [" ".repeat(20_000).as_bytes(), b"\n"].concat();
    let journal = [fs::read(stargate.journal()).unwrap(), blanks].concat();
    fs::write(stargate.journal(), &journal).unwrap();
    let limit = format!("--fsize={}", journal.len() as u64 + 2 * line + line / 2);
    let long = format!("refs/kv/{}", "x".repeat(line as usize * 2));
    let names = ["refs/kv/b", &long, "refs/kv/c", "refs/kv/d"];
    let output = feed(stargate.hook_behind(&["prlimit", &limit]), names.map(creation).concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(stargate.recorded(), ["refs/kv/a", "refs/kv/b", "refs/kv/c"]);
    let told = stderr(&output);
    assert!(
        told.contains("push accepted by this server, but 2 of its 4 mirrored ref updates"),
        "{told}"
    );
    assert!(
        told.contains("refs/kv/d: only") && told.contains("bytes could be written"),
        "{told}"
    );
    assert!(
        stargate.log().contains("not recorded: refs/kv/d "),
        "{}",
        stargate.log()
    );
    assert_eq!(Backlog::read(&stargate.journal()).unwrap().problem_count, 0);
}

#[test]
fn a_size_limit_of_nothing_kills_nobody() {
    let stargate = Stargate::bare();
    let output = feed(stargate.hook_behind(&["prlimit", "--fsize=0"]), creation("refs/kv/a"));
    assert_eq!(output.status.code(), Some(1), "{:?}", output.status);
    assert!(
        stderr(&output).contains("refs/kv/a: the write failed: File too large"),
        "{}",
        stderr(&output)
    );
    assert_eq!(fs::read(stargate.journal()).unwrap(), b"");
}

#[test]
fn what_is_in_the_journals_place_is_refused_by_name() {
    let place = |put: &dyn Fn(&Path)| {
        let stargate = Stargate::bare();
        fs::create_dir(stargate.git_dir.join(".stargate")).unwrap();
        put(&stargate.journal());
        let output = stargate.run_hook(creation("refs/kv/a"));
        assert_eq!(output.status.code(), Some(1));
        assert!(stargate.log().contains("not recorded: refs/kv/a"), "{}", stargate.log());
        stderr(&output)
    };
    let told = place(&|journal| fs::create_dir(journal).unwrap());
    assert!(
        told.contains("mirror-journal.ndjson: it is a directory, not a regular file"),
        "{told}"
    );
    let told = place(&|journal| std::os::unix::fs::symlink("/dev/null", journal).unwrap());
    assert!(told.contains("it is a symbolic link, not a regular file"), "{told}");
    let told = place(&|journal| {
        rustix::fs::mknodat(rustix::fs::CWD, journal, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap()
    });
    assert!(told.contains("it is a FIFO, not a regular file"), "{told}");
}

#[test]
fn a_file_in_the_folders_place_is_told_and_nothing_hangs_on_the_log() {
    let stargate = Stargate::bare();
    fs::write(stargate.git_dir.join(".stargate"), "").unwrap();
    let output = stargate.run_hook(creation("refs/kv/a"));
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains("refs/kv/a: cannot create ./.stargate: it is a regular file, not a directory"),
        "{told}"
    );
    assert!(told.contains("cannot write the log"), "{told}");
}

#[test]
fn a_log_that_cannot_be_written_keeps_no_entry_out() {
    let stargate = Stargate::bare();
    fs::create_dir_all(stargate.git_dir.join(".stargate/stargate-post-receive.log")).unwrap();
    let output = stargate.run_hook(creation("refs/kv/a"));
    assert!(output.status.success());
    assert!(stderr(&output).contains("cannot write the log"));
    assert_eq!(stargate.recorded(), ["refs/kv/a"]);
}

#[test]
fn a_journal_that_may_not_be_opened_is_told() {
    let stargate = Stargate::bare();
    let journal = "./.stargate/mirror-journal.ndjson";
    let strace = [
        "strace",
        "-f",
        "-o",
        "/dev/null",
        "-P",
        journal,
        "-e",
        "inject=openat:error=EACCES",
    ];
    let output = feed(stargate.hook_behind(&strace), creation("refs/kv/a"));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains(&format!("cannot open {journal}: Permission denied")),
        "{}",
        stderr(&output)
    );
    assert!(stargate.log().contains("Permission denied"));
}

#[test]
fn a_failed_fsync_is_no_success() {
    let stargate = Stargate::bare();
    assert!(stargate.run_hook(creation("refs/kv/a")).status.success());
    let strace = [
        "strace",
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "trace=fsync",
        "-e",
        "inject=fsync:error=EIO",
    ];
    let output = feed(stargate.hook_behind(&strace), creation("refs/kv/b"));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("fsync failed, so the entry may not be on the disk"),
        "{}",
        stderr(&output)
    );
    assert!(!stargate.log().contains("recorded refs/kv/b as"));
}

#[test]
fn ten_thousand_refs_take_one_lock_and_one_fsync() {
    let stargate = Stargate::bare();
    assert!(stargate.run_hook(creation("refs/kv/first")).status.success());
    let trace = stargate.folder().join("trace");
    let strace = [
        "strace",
        "-f",
        "-y",
        "-e",
        "trace=flock,fsync,fdatasync,sync",
        "-o",
        trace.to_str().unwrap(),
    ];
    let input: String = (0..10_000)
        .map(|number| creation(&format!("refs/kv/{number}")))
        .collect();
    let output = feed(stargate.hook_behind(&strace), input);
    assert!(output.status.success(), "{}", stderr(&output));
    let trace = fs::read_to_string(trace).unwrap();
    let calls: Vec<_> = trace.lines().filter(|line| line.contains('(')).collect();
    assert_eq!(calls.len(), 2, "{trace}");
    assert!(calls[0].contains("flock(") && calls[1].contains("fsync("), "{trace}");
    assert!(
        calls.iter().all(|call| call.contains("mirror-journal.ndjson>")),
        "{trace}"
    );
    assert_eq!(Backlog::read(&stargate.journal()).unwrap().counts.pending, 10_001);
}

#[test]
fn a_closed_standard_error_keeps_no_entry_out() {
    let stargate = Stargate::bare();
    let hook = stargate.hook_behind(&["sh", "-c", "exec \"$@\" 2>&-", "sh"]);
    let output = feed(hook, creation("refs/kv/a") + "nonsense\n");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stargate.recorded(), ["refs/kv/a"]);
}

#[test]
fn a_pusher_who_has_gone_keeps_no_entry_out() {
    use std::io::Write;
    let stargate = Stargate::bare();
    let mut hook = start(stargate.hook().stdin(Stdio::piped()).stderr(Stdio::piped()));
    drop(hook.stderr.take());
    let input = "nonsense\n".to_owned() + &creation("refs/kv/a");
    hook.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert_eq!(
        hook.wait().unwrap().code(),
        Some(1),
        "told nobody, and was not killed for it"
    );
    assert_eq!(stargate.recorded(), ["refs/kv/a"]);
}

#[test]
fn a_torn_tail_is_repaired_before_anything_is_appended() {
    let stargate = Stargate::bare();
    assert!(stargate.run_hook(creation("refs/kv/a")).status.success());
    let whole = fs::read(stargate.journal()).unwrap();

    // A complete entry that lacks its line feed is kept.
    fs::write(stargate.journal(), whole.strip_suffix(b"\n").unwrap()).unwrap();
    assert!(stargate.run_hook(creation("refs/kv/b")).status.success());
    assert_eq!(stargate.recorded(), ["refs/kv/a", "refs/kv/b"]);

    // Anything else is moved to quarantine.
    let torn = &whole[..whole.len() / 2];
    fs::write(stargate.journal(), [&whole[..], torn].concat()).unwrap();
    assert!(stargate.run_hook(creation("refs/kv/c")).status.success());
    assert_eq!(stargate.recorded(), ["refs/kv/a", "refs/kv/c"]);
    let mut kept = fs::read_dir(stargate.git_dir.join(".stargate/quarantine")).unwrap();
    assert_eq!(fs::read(kept.next().unwrap().unwrap().path()).unwrap(), torn);
    assert!(
        stargate
            .log()
            .contains(&format!("moved {} bytes of an incomplete entry to", torn.len()))
    );
}

#[test]
fn a_lock_that_is_held_is_waited_for_no_longer_than_configured() {
    let stargate = Stargate::bare();
    stargate.configure("stargate.lockTimeout", "20ms");
    fs::create_dir(stargate.git_dir.join(".stargate")).unwrap();
    let held = Disk.open_append(&stargate.journal()).unwrap();
    assert!(Disk.try_lock(&held).unwrap());
    let output = stargate.run_hook(creation("refs/kv/a"));
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains("was locked by another process for 20ms") && told.contains("stargate.lockTimeout"),
        "{told}"
    );
    drop(held);
    assert!(stargate.run_hook(creation("refs/kv/a")).status.success());
}

#[test]
fn started_as_no_hook_it_tells_its_use() {
    let stargate = Stargate::bare();
    let output = feed(Command::new(support::programs::hook()), "");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("hooks/post-receive"), "{}", stderr(&output));
    assert!(!stargate.git_dir.join(".stargate").exists());
}

#[test]
fn the_pusher_is_told_and_the_push_stands() {
    let stargate = Stargate::with_hook();
    fs::remove_file(stargate.git_dir.join("hooks/pre-receive")).unwrap();
    fs::write(stargate.git_dir.join(".stargate"), "").unwrap();
    let client = stargate.client("one");
    let output = try_git(&client, ["push", "origin", "HEAD:refs/kv/main"]);
    assert!(output.status.success());
    assert!(
        stderr(&output).contains("remote: stargate: push accepted by this server"),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        git(&stargate.git_dir, ["rev-parse", "refs/kv/main"]),
        git(&client, ["rev-parse", "HEAD"])
    );
}

#[test]
fn the_pusher_is_told_of_a_backlog_that_is_old() {
    let stargate = Stargate::bare();
    assert!(stargate.run_hook(creation("refs/kv/a")).status.success());
    let line = fs::read_to_string(stargate.journal()).unwrap();
    let timestamp = serde_json::from_str::<Value>(&line).unwrap()["timestamp"]
        .as_str()
        .unwrap()
        .to_owned();
    let at = |minutes: u64| {
        let then = jiff::Timestamp::now() - std::time::Duration::from_secs(60 * minutes);
        fs::write(stargate.journal(), line.replace(&timestamp, &format!("{then:.3}"))).unwrap();
        stderr(&stargate.run_hook(creation("refs/kv/b") + &creation("refs/kv/c")))
    };
    assert_eq!(at(9), "stargate: queued for the mirror: 2 ref updates\n");
    let old = |for_how_long: &str| {
        format!(
            "stargate: queued for the mirror: 2 ref updates; the oldest pending update has been waiting for {for_how_long}: \
             please tell the administrator of this server\n"
        )
    };
    assert_eq!(at(11), old("11 minutes"));
    assert_eq!(at(60 * 24), old("24 hours"));
}

#[test]
fn the_pusher_is_told_of_blobs_that_github_refuses_packed_or_loose() {
    for unpack_limit in ["1", "100"] {
        let stargate = Stargate::with_hook();
        stargate.configure("receive.unpackLimit", unpack_limit);
        let client = stargate.client("one");
        fs::File::create(client.join("large"))
            .unwrap()
            .set_len(101 << 20)
            .unwrap();
        git(&client, ["add", "large"]);
        git(&client, ["commit", "-q", "-m", "large"]);
        let large = git(&client, ["rev-parse", "HEAD:large"]);
        let told = stderr(&try_git(&client, ["push", "-q", "origin", "HEAD:refs/kv/main"]));
        let expected = format!(
            "stargate: one blob in this push is larger than 100 MiB, and GitHub rejects a push with such a blob: {large} (101 MiB)"
        );
        assert!(told.contains(&expected), "{told}");
        assert_eq!(stargate.recorded(), ["refs/kv/main"], "it is accepted");
    }
}

proptest! {
    // Each case starts 64 processes.
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sixty_four_processes_append_at_once(
        pushes in proptest::collection::vec((1usize..30, 1usize..200, 0usize..4000), 64)
    ) {
        let stargate = Stargate::bare();
        // A busy machine may be slow; speed is not tested here.
        stargate.configure("stargate.lockTimeout", "5m");
        let hooks: Vec<_> = pushes.iter().map(|(_, _, name)| {
            let mut hook = stargate.hook();
            start(hook.env("GL_USERNAME", "n".repeat(*name)).stdin(Stdio::piped()))
        }).collect();
        let input = |process: usize| -> Vec<String> {
            let (count, size, _) = pushes[process];
            (0..count).map(|number| format!("refs/kv/{process}/{number}/{}", "x".repeat(size))).collect()
        };
        for (process, hook) in hooks.iter().enumerate() {
            use std::io::Write;
            let lines: String = input(process).iter().map(|name| creation(name)).collect();
            hook.stdin.as_ref().unwrap().write_all(lines.as_bytes()).unwrap();
        }
        // Only now does any of them reach the end of its input, and all at nearly the same time.
        let ended: Vec<_> = hooks.into_iter().map(|mut hook| { drop(hook.stdin.take()); hook }).collect();
        for mut hook in ended {
            prop_assert!(hook.wait().unwrap().success());
        }

        let journal = fs::read(stargate.journal()).unwrap();
        let backlog = Backlog::collect(Reader::new(&journal[..], 0)).unwrap();
        prop_assert_eq!(backlog.problem_count, 0);
        let mut names: Vec<_> = backlog.pending.iter().map(|located| located.entry.update.name.to_string()).collect();
        for process in 0..pushes.len() {
            let of_process: Vec<_> = names.iter().filter(|name| name.starts_with(&format!("refs/kv/{process}/"))).cloned().collect();
            prop_assert_eq!(of_process, input(process), "in the order of the push");
        }
        names.dedup_by_key(|name| name.split('/').nth(2).map(str::to_owned));
        prop_assert_eq!(names.len(), pushes.len(), "the entries of one push stand together");
        prop_assert!(backlog.pending.is_sorted_by(|one, two| one.entry.entry_id < two.entry.entry_id));
    }
}
