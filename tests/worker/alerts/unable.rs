//! Alerts about workers that hang, repositories that cannot be opened, and a memory of alerts that cannot be read.
use super::*;

#[test]
fn a_worker_that_hangs_with_its_lock_is_reported_by_the_next_ones() {
    let mirror = tempfile::tempdir().expect("a folder");
    git(mirror.path(), ["init", "-q", "--bare", "."]);
    let world = World::new(&mirror.path().display().to_string()).with_command();
    world.stargate.configure("stargate.staleAfter", "30m");
    let hanging = WorkerLock::take(&world.file("worker.lock")).expect("a file");
    for _ in 0..2 {
        assert_eq!(world.run(), 9);
    }
    assert_eq!(world.words(), [], "the other cycle may still end");
    let lock = world.file("worker.lock").display().to_string();
    let touched = clean_command("touch").args(["-d", "40 minutes ago", &lock]).status();
    assert!(touched.expect("touch").success());
    for _ in 0..2 {
        assert_eq!(world.run(), 9);
    }
    assert_eq!(world.words(), [pair("stale", "firing")]);
    let reason = world.alerts()[0]["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.starts_with("a cycle has been running since "), "{reason}");
    assert!(world.alerts()[0]["hint"].as_str().expect("a hint").contains("restart"));
    drop(hanging);
    assert_eq!(world.run(), 0);
    assert_eq!(world.words()[1..], [pair("stale", "resolved")]);
}

#[test]
fn watch_reports_a_cycle_that_does_not_end() {
    let silent = Scripted::serve((0..8).map(|_| Step::Silence));
    let world = World::new(&silent.url(NAME)).with_command();
    let repo = world.stargate.git_dir.display().to_string();
    let watch = Running::start(&["watch", "--repo", &repo], &[("GITHUB_PAT", TOKEN)]);
    watch.until_times("alert sent", 1);
    let (_, said) = watch.terminate();
    assert!(!said.contains("no cycle could run"), "the cycle has not ended: {said}");
    let reason = world.alerts()[0]["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.starts_with("a cycle has been running since "), "{reason}");
}

#[test]
fn a_repository_that_cannot_be_opened_is_reported() {
    let mirror = tempfile::tempdir().expect("a folder");
    git(mirror.path(), ["init", "-q", "--bare", "."]);
    let world = World::new(&mirror.path().display().to_string()).with_command();
    let config = world.stargate.git_dir.join("config");
    let before = fs::read_to_string(&config).expect("a file");
    let unknown = "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tfuture = true\n";
    fs::write(&config, format!("{before}{unknown}")).expect("writable");
    // Alone, the repository is refused before there is a cycle.
    let root = world.stargate.folder().display().to_string();
    for _ in 0..2 {
        let mut command = clean_command(PROGRAM);
        command.args(["run", "--root", &root]);
        assert_eq!(feed(command, "").status.code(), Some(4));
    }
    assert_eq!(world.words(), [pair("misconfigured", "firing")]);
    let reason = world.alerts()[0]["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.contains("future"), "{reason}");
    fs::write(&config, before).expect("writable");
    assert_eq!(world.run(), 0);
    assert_eq!(world.words()[1..], [pair("misconfigured", "resolved")]);
}

#[test]
fn an_unreadable_memory_is_told_and_no_alert_is_repeated() {
    let nowhere = tempfile::tempdir().expect("a folder");
    let world = World::new(&nowhere.path().join("none.git").display().to_string()).with_command();
    world.run();
    let told = world.words();
    assert!(told.contains(&pair("stale", "firing")), "{told:?}");
    fs::write(world.file("alerts.json"), "{").expect("a file");
    for _ in 0..2 {
        let said = stderr(&world.output());
        assert!(
            said.contains("alerts.json: ") && said.contains("remove the file"),
            "{said}"
        );
    }
    assert_eq!(world.words(), told);
    assert_eq!(fs::read_to_string(world.file("alerts.json")).expect("it stays"), "{");
    fs::remove_file(world.file("alerts.json")).expect("a file");
    world.run();
    assert_eq!(world.words().len(), 2 * told.len(), "nothing is known to be told");
}

#[test]
fn an_alert_names_the_mirror_that_the_cycle_chose_by_its_location() {
    let mirror = tempfile::tempdir().expect("a folder");
    let path = mirror.path().display().to_string();
    let world = World::new("github").with_command();
    world.stargate.configure("remote.github.url", &path);
    git(
        &world.stargate.git_dir,
        ["config", "--add", "stargate.remote", "/nowhere/other.git"],
    );
    world.stargate.configure("stargate.retention", "soon");
    let mut command = clean_command(PROGRAM);
    command.args(["run", "--remote", &path, "--repo"]);
    command.arg(&world.stargate.git_dir);
    let output = feed(command, "");
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let alerts = world.alerts();
    let misconfigured = alerts.iter().find(|alert| alert["alert"] == "misconfigured");
    assert_eq!(misconfigured.expect("an alert")["mirror"], "github", "{alerts:?}");
}

#[test]
fn a_configuration_that_cannot_be_read_is_reported_by_that_of_the_user() {
    let mirror = tempfile::tempdir().expect("a folder");
    git(mirror.path(), ["init", "-q", "--bare", "."]);
    let world = World::new(&mirror.path().display().to_string());
    let folder = world.stargate.folder().display().to_string();
    let notify = world.stargate.folder().join("notify");
    executable::script(&notify, NOTIFY);
    let global = world.stargate.folder().join("user-config");
    let command = format!("'{}' '{folder}'", notify.display());
    let set = [
        "config",
        "-f",
        global.to_str().expect("UTF-8"),
        "stargate.alertCommand",
        &command,
    ];
    git(world.stargate.folder(), set);
    let config = world.stargate.git_dir.join("config");
    let before = fs::read_to_string(&config).expect("a file");
    let run = || {
        let mut command = clean_command(PROGRAM);
        command
            .args(["run", "--root", &folder])
            .env("GIT_CONFIG_GLOBAL", &global);
        feed(command, "")
    };
    fs::write(&config, format!("{before}[broken\n")).expect("writable");
    for _ in 0..2 {
        let output = run();
        assert_ne!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    assert_eq!(world.words(), [pair("misconfigured", "firing")]);
    fs::write(&config, before).expect("writable");
    assert_eq!(run().status.code(), Some(0));
    assert_eq!(world.words()[1..], [pair("misconfigured", "resolved")]);
}
