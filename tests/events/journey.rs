//! The normal journey: events are committed, pushed and complete.
use std::{fs, io::Write, process::Stdio};

use serde_json::Value;

use crate::{REPOSITORY, TOKEN, World, all_bytes, feeds};
use support::{
    feeds::event,
    git,
    running::Running,
    stargate::{clean_command, feed, start, stderr},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");

#[test]
fn three_events_are_on_the_remote_with_the_message_and_the_lock() {
    let (world, feeds) = (World::new(), feeds());
    let variables = [("COMMIT_BATCH_SIZE", "3"), ("COMMIT_BATCH_TIMEOUT_MS", "60000")];
    let run = world.run("context", &feeds.url(), "general", &[], &variables);
    run.until("following");
    let events: Vec<_> = (0..3).map(|number| event("general", number)).collect();
    events.iter().for_each(|event| feeds.post("general", event.clone()));
    run.until("Pushed 3 event(s) to GitHub");
    world.assert_has_exactly(&events);
    assert_eq!(
        world.mirror.git(REPOSITORY, &["log", "-1", "--format=%s", "main"]),
        "Mirror: add 3 event(s)"
    );
    let lock: Value = serde_json::from_str(&world.file(".crp/lock.json")).expect("JSON");
    for member in ["instance_id", "started_at", "last_heartbeat"] {
        assert!(lock[member].is_string(), "{member} of {lock}");
    }
    let configuration = run
        .said()
        .lines()
        .find(|line| line.contains("configuration"))
        .map(str::to_owned);
    let configuration = configuration.expect("it is told at start");
    for told in ["batch_size=3", "branch=\"main\"", "general", "token=\"***\""] {
        assert!(configuration.contains(told), "{told} is missing in {configuration}");
    }
    let (code, said) = run.terminate();
    assert_eq!(code, 0, "{said}");
    assert_eq!(git::git(&world.context("context"), &["status", "--porcelain"]), "");
}

#[test]
fn a_batch_that_is_not_full_is_committed_after_its_timeout() {
    let (world, feeds) = (World::new(), feeds());
    let run = world.run("context", &feeds.url(), "f", &[], &[("COMMIT_BATCH_TIMEOUT_MS", "500")]);
    run.until("following");
    feeds.post("f", event("f", 1));
    feeds.post("f", event("f", 2));
    run.until("Pushed 2 event(s) to GitHub");
}

#[test]
fn what_has_arrived_is_committed_and_pushed_before_the_end() {
    let (world, feeds) = (World::new(), feeds());
    let run = world.run(
        "context",
        &feeds.url(),
        "f",
        &[],
        &[("COMMIT_BATCH_TIMEOUT_MS", "3600000"), ("STARGATE_LOG", "debug")],
    );
    run.until("following");
    let events: Vec<_> = (0..7).map(|number| event("f", number)).collect();
    events.iter().for_each(|event| feeds.post("f", event.clone()));
    // When the last one has arrived, all of them have.
    feeds.say(b"event: marker\ndata: x\n\n");
    run.until("a message of another type");
    let (code, said) = run.terminate();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("Pushed 7 event(s) to GitHub"), "{said}");
    world.assert_has_exactly(&events);
}

#[test]
fn once_takes_what_there_is_and_ends() {
    let (world, feeds) = (World::new(), feeds());
    let mut events: Vec<_> = (0..100).map(|number| event("a", number)).collect();
    events.extend((0..30).map(|number| event("b", number)));
    events
        .iter()
        .for_each(|event| feeds.post(event["feed_id"].as_str().expect("a feed"), event.clone()));
    let (code, said) = world.run("context", &feeds.url(), "a,b", &["--once"], &[]).wait();
    assert_eq!(code, 0, "{said}");
    world.assert_has_exactly(&events);
    let commits = world.mirror.git(REPOSITORY, &["rev-list", "--count", "main"]);
    let before = feeds.requests().len();
    let (code, said) = world.run("context", &feeds.url(), "a,b", &["--once"], &[]).wait();
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("another instance"), "the one before has ended: {said}");
    assert_eq!(
        world.mirror.git(REPOSITORY, &["rev-list", "--count", "main"]),
        commits,
        "nothing new is no commit"
    );
    // Of the committed events, only one is fetched: the one that identifies the relay.
    let mut again: Vec<_> = feeds
        .requests()
        .split_off(before)
        .into_iter()
        .map(|request| request.line)
        .collect();
    again.sort();
    let expected = [
        "a/events?after_seq=100&limit=64",
        "a/events?after_seq=99&limit=1",
        "b/events?after_seq=29&limit=1",
        "b/events?after_seq=30&limit=64",
    ];
    assert_eq!(again, expected.map(|target| format!("GET /feeds/{target} HTTP/1.1")));
    let (code, said) = world.run("context", &feeds.url(), "a,missing", &["--once"], &[]).wait();
    assert_eq!(code, 0, "a feed without events is no failure here: {said}");
}

#[test]
fn a_source_that_fails_makes_once_exit_1_and_does_not_keep_the_others() {
    let (world, feeds) = (World::new(), feeds());
    feeds.post("f", event("f", 1));
    let nobody = std::net::TcpListener::bind(("127.0.0.1", 0))
        .expect("a port")
        .local_addr()
        .expect("its address");
    let (code, said) = world
        .run("context", &format!("http://{nobody}"), "f", &["--once"], &[])
        .wait();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("not everything was fetched"), "{said}");
}

#[test]
fn standard_input_is_committed_and_pushed_to_its_end() {
    let world = World::new();
    let events: Vec<_> = (0..55).map(|number| event("f", number)).collect();
    let lines: Vec<_> = events.iter().map(Value::to_string).collect();
    let (context, remote) = (world.context("context.git"), world.mirror.url(REPOSITORY));
    let command = || {
        let mut command = clean_command(PROGRAM);
        command
            .args(["events", "run", "--stdin", "--bare", "--repo"])
            .arg(&context);
        command.env("GITHUB_PAT", TOKEN).env("GITHUB_REPO_URL", &remote);
        command
    };
    let output = feed(command(), lines.join("\n"));
    assert!(output.status.success(), "{}", stderr(&output));
    world.assert_has_exactly(&events);
    let commits = world.mirror.git(REPOSITORY, &["rev-list", "--count", "main"]);
    assert_eq!(commits, "7", "six batches of ten at most, and the first commit");
    // Bad lines do not affect good ones. An event with a known id and other content is refused.
    let mut changed = event("f", 3);
    changed["payload"] = "changed".into();
    let more = format!(
        "{{\n{}\n{changed}\n{}\n{}\n",
        event("f", 1),
        event("f", 100),
        r#"{"event_id":"../x"}"#
    );
    let output = feed(command(), more);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("added=1 known=1 refused=3"),
        "{}",
        stderr(&output)
    );
    let all: Vec<_> = events.into_iter().chain([event("f", 100)]).collect();
    world.assert_has_exactly(&all);
}

#[test]
fn without_a_remote_it_is_local_only_and_says_so_once() {
    let (world, feeds) = (World::new(), feeds());
    for (name, variables) in [
        ("one", [("GITHUB_PAT", ""), ("X", "")]),
        ("two", [("GITHUB_REPO_URL", ""), ("X", "")]),
    ] {
        let run = world.run(name, &feeds.url(), "f", &[], &variables);
        run.until("following");
        feeds.post("f", event("f", 1));
        run.until("Mirror: add 1 event(s)");
        let (code, said) = run.terminate();
        assert_eq!((code, said.matches("local-only").count()), (0, 1), "{said}");
        assert!(!said.contains("Pushed"), "{said}");
    }
    assert!(world.mirror.requests().is_empty());
}

#[test]
fn a_token_is_nowhere_but_in_the_header() {
    let (world, feeds) = (World::new(), feeds());
    let with_token = world
        .mirror
        .url(REPOSITORY)
        .replace("http://", &format!("http://{TOKEN}@"));
    let with_both = world
        .mirror
        .url(REPOSITORY)
        .replace("http://", &format!("http://x-access-token:{TOKEN}@"));
    let ways = [
        ("pat", TOKEN, world.mirror.url(REPOSITORY), 0),
        ("password", "", with_both, 1),
    ];
    // nginx accepts one user only. It refuses a token in place of the user, and the token is still not logged.
    for (number, (name, pat, url, warned)) in ways.into_iter().chain([("user", "", with_token, 1)]).enumerate() {
        let relay_token = ("RELAY_TOKEN", "r3lay-t0ken");
        let variables = [
            ("GITHUB_PAT", pat),
            ("GITHUB_REPO_URL", &url),
            relay_token,
            ("STARGATE_LOG", "trace"),
        ];
        let run = world.run(name, &feeds.url(), "f", &[], &variables);
        run.until("following");
        feeds.post("f", event("f", number as u32));
        run.until(if name == "user" { "not pushed" } else { "Pushed" });
        let (_, said) = run.terminate();
        assert_eq!(said.matches("contains a token").count(), warned, "{said}");
        for secret in [TOKEN, relay_token.1] {
            assert!(!said.contains(secret), "{secret} was said: {said}");
            for (path, bytes) in all_bytes(world.folder.path()) {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                assert!(!text.contains(secret), "{secret} is in {}", path.display());
            }
        }
        let config = fs::read_to_string(world.context(name).join(".git/config")).expect("a configuration");
        assert!(
            config.contains("[remote \"origin\"]") && config.contains(&world.mirror.url(REPOSITORY)),
            "{config}"
        );
        assert!(!feeds.requests().is_empty());
        assert!(
            feeds
                .requests()
                .iter()
                .all(|request| request.field("Authorization") == Some("Bearer r3lay-t0ken"))
        );
    }
}

#[test]
fn a_password_that_ssh_does_not_take_is_refused_and_written_nowhere() {
    let (world, feeds) = (World::new(), feeds());
    let url = [("GITHUB_REPO_URL", "ssh://git:canary@127.0.0.1/o/r.git")];
    let (code, said) = world.run("context", &feeds.url(), "f", &["--once"], &url).wait();
    assert_eq!(code, 4, "{said}");
    assert!(
        said.contains("contains a password") && !said.contains("canary"),
        "{said}"
    );
    for (path, bytes) in all_bytes(world.folder.path()) {
        assert!(
            !String::from_utf8_lossy(&bytes).contains("canary"),
            "{}",
            path.display()
        );
    }
}

#[test]
fn the_memory_does_not_grow_with_the_input() {
    let world = World::new();
    let mut command = clean_command(PROGRAM);
    command
        .args(["events", "run", "--stdin", "--bare", "--repo"])
        .arg(world.context("context.git"));
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = start(&mut command);
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut big = event("f", 0);
    big["payload"] = "x".repeat(500_000).into();
    // 100 MB in all.
    for number in 0..200 {
        big["event_id"] = format!("e-{number}").into();
        writeln!(stdin, "{big}").expect("it reads");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("its peak");
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kilobytes < 90_000, "{kilobytes} kB");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn another_mirror_at_work_is_warned_of() {
    let (world, feeds) = (World::new(), feeds());
    let one = world.run("one", &feeds.url(), "a", &[], &[]);
    let warned = "the lock is advisory";
    one.until("following");
    feeds.post("a", event("a", 1));
    one.until("Pushed 1 event(s)");
    let two = world.run("two", &feeds.url(), "b", &[], &[]);
    two.until("following");
    feeds.post("b", event("b", 1));
    two.until(warned);
    let here = Running::start(
        &["events", "run", "--once"],
        &[
            ("CONTEXT_REPO_PATH", &world.context("one").display().to_string()),
            ("RELAY_URL", &feeds.url()),
            ("FEED_IDS", "a"),
        ],
    );
    let (code, said) = here.wait();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(warned), "{said}");
}
