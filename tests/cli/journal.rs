//! `stargate-mirror journal` and `check journal`.
#![cfg(unix)]

use std::{fs, time::Duration};

use durable::{clock::SystemClock, storage::Disk};
use stargate_mirror::journal::{Backlog, Located, Status, Writer};
use support::stargate::{Stargate, clean_command, creation, feed, stderr};

#[test]
fn the_commands_do_by_hand_what_the_worker_does() {
    let stargate = Stargate::bare();
    let input = creation("refs/kv/a") + &creation("refs/kv/b");
    assert!(stargate.run_hook(input).status.success());
    let run = |words: &[&str]| {
        let mut command = clean_command(env!("CARGO_BIN_EXE_stargate-mirror"));
        // The repository may be named before or after the action.
        command.arg("journal").args(words).arg("--repo").arg(&stargate.git_dir);
        let output = feed(command, "");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        (output.status.code().unwrap(), text)
    };
    let listed = run(&["list"]).1;
    assert_eq!(listed.lines().count(), 2);
    assert!(listed.contains("  pending  - -> a1a1a1a1a1  refs/kv/a\n"), "{listed}");
    assert_eq!(
        run(&["verify"]),
        (0, "2 pending, 0 done, 0 failed, 0 skipped; 0 problems\n".into())
    );

    let writer = Writer::new(Disk, SystemClock::default(), &stargate.git_dir, Duration::from_secs(1));
    let entries = Backlog::load(&Disk, &stargate.git_dir).unwrap().pending;
    let (a, b) = (&entries[0], &entries[1]);
    let settlements = [(a.clone(), Status::Failed), (b.clone(), Status::Done)];
    writer.settle(&settlements).unwrap();
    assert_eq!(run(&["list", "--status", "failed"]).1.lines().count(), 1);
    let id = |located: &Located| located.entry.entry_id.to_string();
    assert_eq!(run(&["retry", &id(a)]), (0, "1 entry made pending again\n".into()));
    assert_eq!(run(&["retry", &id(b)]).0, 3);
    assert!(
        run(&["retry", "01JBAXF5Z8J8M7R2TK7G9QW3EN"])
            .1
            .contains("no such entry")
    );
    assert_eq!(run(&["list", "--status", "pending"]).1.lines().count(), 1);

    fs::write(
        stargate.journal(),
        [&fs::read(stargate.journal()).unwrap()[..], b"no\n{\"torn"].concat(),
    )
    .unwrap();
    let (code, told) = run(&["verify"]);
    assert_eq!(code, 1);
    assert!(
        told.contains("corrupt entry of 2 bytes") && told.contains("torn tail of 6 bytes"),
        "{told}"
    );
    let (code, told) = run(&["repair"]);
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("moved 6 bytes of an incomplete entry to .stargate/quarantine/"),
        "{told}"
    );
    assert!(
        told.contains("moved 2 corrupt bytes to .stargate/quarantine/"),
        "{told}"
    );
    assert!(run(&["rotate"]).1.starts_with("the journal was moved to the segment "));
    assert!(run(&["rotate"]).1.contains("nothing was changed"));
    assert_eq!(
        run(&["verify"]).1,
        "1 pending, 1 done, 0 failed, 0 skipped; 0 problems\n"
    );
}

#[test]
fn a_file_is_checked_wherever_it_is() {
    let stargate = Stargate::bare();
    assert!(stargate.run_hook(creation("refs/kv/a")).status.success());
    let copy = stargate.folder().join("copy");
    let check = || {
        let mut command = clean_command(env!("CARGO_BIN_EXE_stargate-mirror"));
        command.args(["check", "journal"]).arg(&copy);
        feed(command, "")
    };
    let missing = check();
    assert_eq!(missing.status.code(), Some(5));
    assert!(stderr(&missing).contains("cannot read"), "{}", stderr(&missing));
    fs::copy(stargate.journal(), &copy).unwrap();
    assert_eq!(check().status.code(), Some(0));
    fs::write(&copy, "{}\n").unwrap();
    let bad = check();
    assert_eq!(bad.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&bad.stdout).contains("missing field `entry_id`"));
    assert_eq!(fs::read(&copy).unwrap(), b"{}\n", "reading changes nothing");
}

/// Adds an entry with this id and status to a journal, as no writer of ours does.
fn forge(stargate: &Stargate, id: &str, status: &str) {
    let journal = fs::read_to_string(stargate.journal()).unwrap();
    let line = journal.lines().last().unwrap();
    let start = line.find("\"entry_id\":\"").unwrap() + 12;
    let forged = format!("{}{id}{}\n", &line[..start], &line[start + 26..]);
    let forged = forged
        .replace("\"pending\"", status)
        .replace("refs/kv/a", "refs/kv/forged");
    fs::write(stargate.journal(), journal + &forged).unwrap();
}

#[test]
fn an_entry_with_the_greatest_id_stops_no_push_and_is_repaired() {
    for (forged, status) in [
        ("7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "\"pending\""),
        ("7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "\"done\"   "),
        // Damaged: one bit of its first digit.
        ("41JBAXF5Z8J8M7R2TK7G9QW3EN", "\"pending\""),
    ] {
        let stargate = Stargate::bare();
        assert!(stargate.run_hook(creation("refs/kv/a")).status.success());
        forge(&stargate, forged, status);
        for name in ["refs/kv/b", "refs/kv/c"] {
            let pushed = stargate.run_pre_receive(creation(name));
            assert!(pushed.status.success(), "{}", stderr(&pushed));
            let pushed = stargate.run_hook(creation(name));
            assert!(pushed.status.success(), "{}", stderr(&pushed));
        }
        let run = |action: &str| {
            let mut command = clean_command(env!("CARGO_BIN_EXE_stargate-mirror"));
            command.arg("journal").arg("--repo").arg(&stargate.git_dir).arg(action);
            let output = feed(command, "");
            (
                output.status.code().unwrap(),
                String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output),
            )
        };
        let (code, told) = run("verify");
        assert_eq!(code, 1, "{told}");
        assert!(
            told.contains(&format!("with the entry_id {forged}, which is far ahead")),
            "{told}"
        );
        let text = fs::read_to_string(stargate.journal()).unwrap();
        let line = text.lines().find(|line| line.contains(forged)).unwrap();

        let (code, told) = run("repair");
        assert_eq!(code, 0, "{told}");
        assert!(
            told.contains(&format!("moved the entry {forged}, whose id is not credible, to")),
            "{told}"
        );
        let quarantine: Vec<_> = fs::read_dir(stargate.git_dir.join(".stargate/quarantine"))
            .unwrap()
            .collect();
        let [kept] = &quarantine[..] else {
            panic!("one file: {quarantine:?}")
        };
        assert_eq!(fs::read_to_string(kept.as_ref().unwrap().path()).unwrap(), line);
        assert_eq!(run("verify").0, 0);

        assert!(stargate.run_hook(creation("refs/kv/d")).status.success());
        let pending = Backlog::load_whole(&Disk, &stargate.git_dir).unwrap().pending;
        let names: Vec<_> = pending
            .iter()
            .map(|located| located.entry.update.name.to_string())
            .collect();
        let mut expected = vec!["refs/kv/a", "refs/kv/b", "refs/kv/c", "refs/kv/forged", "refs/kv/d"];
        expected.retain(|name| status == "\"pending\"" || *name != "refs/kv/forged");
        assert_eq!(names, expected);
        assert!(pending.is_sorted_by(|one, two| one.entry.entry_id < two.entry.entry_id));
    }
}

#[test]
fn the_worker_repairs_an_id_that_cannot_have_been_given() {
    let stargate = Stargate::bare();
    assert!(stargate.run_hook(creation("refs/kv/a")).status.success());
    forge(&stargate, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "\"pending\"");
    let mut command = clean_command(env!("CARGO_BIN_EXE_stargate-mirror"));
    command.arg("run").arg("--repo").arg(&stargate.git_dir);
    let ran = feed(command, "");
    assert!(stderr(&ran).contains("whose id is not credible"), "{}", stderr(&ran));
    let backlog = Backlog::load_whole(&Disk, &stargate.git_dir).unwrap();
    assert_eq!((backlog.problem_count, backlog.pending.len()), (0, 2));
}

#[test]
fn more_forged_entries_than_a_backlog_tells_are_repaired_at_once() {
    let stargate = Stargate::bare();
    assert!(stargate.run_hook(creation("refs/kv/a")).status.success());
    for number in 0..150 {
        forge(&stargate, &format!("7ZZZZZZZZZZZZZZZZZZZZZZ{number:03}"), "\"done\"   ");
    }
    let mut command = clean_command(env!("CARGO_BIN_EXE_stargate-mirror"));
    command
        .arg("journal")
        .arg("--repo")
        .arg(&stargate.git_dir)
        .arg("repair");
    let repaired = feed(command, "");
    let told = String::from_utf8_lossy(&repaired.stdout).into_owned();
    assert!(repaired.status.success(), "{told}");
    assert!(
        told.ends_with("1 pending, 0 done, 0 failed, 0 skipped; 0 problems\n"),
        "{told}"
    );
}
