//! `stargate-mirror journal` and `check journal`.
#![cfg(unix)]
mod support;

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
        // The repository may be named behind the action as well as before it.
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
    assert_eq!(run(&["retry", &id(a)]), (0, "1 pending again\n".into()));
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
        told.contains("6 bytes of an incomplete entry went to .stargate/quarantine/"),
        "{told}"
    );
    assert!(
        told.contains("2 bytes that were no entry went to .stargate/quarantine/"),
        "{told}"
    );
    assert!(run(&["rotate"]).1.starts_with("the journal became the segment "));
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
