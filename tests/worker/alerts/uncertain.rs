//! Alerts and metrics after cycles that cannot find out what holds, and after deliveries whose end is unknown.
use super::*;

#[test]
fn a_network_that_is_down_does_not_end_a_rejection() {
    let mut mirror = Mirror::with_token(TOKEN);
    mirror.create(NAME, Format::Sha1);
    mirror.hook(NAME, "pre-receive", "echo 'not today' >&2; exit 1");
    let world = World::new(&mirror.url(NAME)).with_command();
    world.stargate.configure("stargate.staleAfter", "1d");
    assert_eq!(world.run(), 1);
    assert_eq!(world.words(), [pair("refused", "firing")]);
    mirror.stop();
    for _ in 0..2 {
        assert_eq!(world.run(), 1);
    }
    assert_eq!(held(&world), [("rejected".to_owned(), 1)]);
    mirror.start_again();
    assert_eq!(world.run(), 1);
    assert_eq!(
        world.words(),
        [pair("refused", "firing")],
        "it was refused all the time"
    );
    mirror.hook(NAME, "pre-receive", "exit 0");
    assert_eq!(world.run(), 0);
    assert_eq!(world.words()[1..], [pair("refused", "resolved")]);
}

/// Runs a cycle in a process of its own, and returns the outcomes with held groups that it writes into the metrics.
fn held(world: &World) -> Vec<(String, u64)> {
    let path = world.stargate.folder().join("metrics.prom");
    let mut command = clean_command(PROGRAM);
    command.args(["run", "--metrics-textfile"]).arg(&path);
    command
        .arg("--repo")
        .arg(&world.stargate.git_dir)
        .env("GITHUB_PAT", TOKEN);
    assert_eq!(feed(command, "").status.code(), Some(1));
    let text = fs::read_to_string(path).expect("metrics");
    let series = text.lines().filter_map(|line| {
        let (_, rest) = line
            .strip_prefix("stargate_mirror_held_groups{")?
            .split_once("outcome=\"")?;
        let (outcome, value) = rest.split_once("\"} ")?;
        Some((outcome.to_owned(), value.parse().expect("a number")))
    });
    let series: Vec<_> = series.collect();
    assert!(series.len() > 3, "each outcome has a series: {text}");
    series.into_iter().filter(|(_, held)| *held > 0).collect()
}

/// A Stargate whose mirror rejects every push, and that mirror.
fn rejected() -> (Mirror, World) {
    let mirror = Mirror::with_token(TOKEN);
    mirror.create(NAME, Format::Sha1);
    mirror.hook(NAME, "pre-receive", "exit 1");
    let world = World::new(&mirror.url(NAME)).with_command();
    (mirror, world)
}

#[test]
fn the_end_of_trouble_is_reported_to_whoever_may_have_heard_of_it() {
    for (end, is_killed) in [("exit 1", false), ("kill -9 $PPID", true)] {
        let (mirror, world) = rejected();
        world.stargate.configure("stargate.staleAfter", "1d");
        let notify = world.stargate.folder().join("notify");
        executable::script(&notify, &format!("cd \"$1\" && cat >> alerts; {end}"));
        let output = world.output();
        assert_eq!(output.status.code().is_none(), is_killed, "{output:?}");
        assert_eq!(world.words(), [pair("refused", "firing")]);
        let mut memory = world.json("alerts.json");
        assert!(memory["maybe_told"]["command"]["refused"].is_i64(), "{memory}");
        assert_eq!(memory.get("told"), None);
        // The claim of a killed process ends after two minutes.
        let claim = memory.as_object_mut().expect("an object").remove("claim");
        assert_eq!(claim.is_some(), is_killed);
        fs::write(world.file("alerts.json"), memory.to_string()).expect("writable");
        executable::script(&notify, NOTIFY);
        mirror.hook(NAME, "pre-receive", "exit 0");
        for _ in 0..2 {
            assert_eq!(world.run(), 0);
        }
        assert_eq!(world.words(), [pair("refused", "firing"), pair("refused", "resolved")]);
        assert_eq!(world.json("alerts.json"), json!({}));
    }
}

#[test]
fn a_program_that_cannot_start_has_heard_nothing() {
    let mirror = Mirror::with_token(TOKEN);
    mirror.create(NAME, Format::Sha1);
    mirror.hook(NAME, "pre-receive", "exit 1");
    let world = World::new(&mirror.url(NAME));
    world.stargate.configure("stargate.alertCommand", "/nowhere/notify");
    let said = stderr(&world.output());
    assert!(said.contains("/nowhere/notify: "), "{said}");
    assert_eq!(world.json("alerts.json").get("maybe_told"), None);
    mirror.hook(NAME, "pre-receive", "exit 0");
    git(&world.stargate.git_dir, ["config", "--unset", "stargate.alertCommand"]);
    let world = world.with_command();
    assert_eq!(world.run(), 0);
    assert_eq!(world.words(), []);
}

#[test]
fn an_alert_that_cannot_be_delivered_does_not_hold_up_the_next_one() {
    let (_mirror, world) = rejected();
    let script = "cd \"$1\" || exit 2; line=$(cat)\n\
        case \"$line\" in *'\"alert\":\"stale\"'*) exit 1;; esac; printf '%s\\n' \"$line\" >> alerts";
    executable::script(&world.stargate.folder().join("notify"), script);
    let receiver = Scripted::serve([status("400 Bad Request"), status("200 OK")]);
    world.stargate.configure("stargate.alertUrl", &receiver.url("hook"));
    assert_eq!(world.run(), 1);
    assert_eq!(world.words(), [pair("refused", "firing")]);
    let received = receiver.received();
    let alerts = received.iter().map(|request| {
        let alert: Value = serde_json::from_slice(&request.body).expect("JSON");
        alert["alert"].as_str().expect("a word").to_owned()
    });
    assert_eq!(alerts.collect::<Vec<_>>(), ["stale", "refused"]);
    assert!(world.json("alerts.json")["told"]["url"]["refused"].is_i64());
}

#[test]
fn a_mirror_that_is_removed_from_the_settings_has_no_trouble() {
    let (_mirror, world) = rejected();
    assert_eq!(world.run(), 1);
    let begun = [pair("stale", "firing"), pair("refused", "firing")];
    assert_eq!(world.words(), begun);
    git(&world.stargate.git_dir, ["config", "--unset", "stargate.remote"]);
    for _ in 0..2 {
        assert_eq!(world.run(), 0);
    }
    assert_eq!(
        world.words()[2..],
        [pair("stale", "resolved"), pair("refused", "resolved")]
    );
}

#[test]
fn one_of_several_mirrors_that_is_removed_is_reported_as_resolved_once() {
    let other = Mirror::with_token(TOKEN);
    other.create(NAME, Format::Sha1);
    other.hook(NAME, "pre-receive", "exit 1");
    let mirror = tempfile::tempdir().expect("a folder");
    git(mirror.path(), ["init", "-q", "--bare", "."]);
    let world = World::new(&mirror.path().display().to_string()).with_command();
    world.stargate.configure("stargate.staleAfter", "1d");
    world.stargate.configure("stargate.back-up.remote", &other.url(NAME));
    assert_eq!(world.run(), 1);
    assert_eq!(world.words(), [pair("refused", "firing")]);
    assert!(world.file("alerts.back-up.json").exists());
    git(
        &world.stargate.git_dir,
        ["config", "--remove-section", "stargate.back-up"],
    );
    for _ in 0..3 {
        assert_eq!(world.run(), 0);
    }
    assert_eq!(world.words()[1..], [pair("refused", "resolved")]);
    assert_eq!(world.alerts()[1]["mirror"], "back-up");
    for file in ["alerts.back-up.json", "alerts.back-up.lock"] {
        assert!(!world.file(file).exists(), "{file}");
    }
}

#[test]
fn a_repository_that_vanishes_from_a_watch_is_an_error_until_it_is_back() {
    let mirror = tempfile::tempdir().expect("a folder");
    git(mirror.path(), ["init", "-q", "--bare", "."]);
    let world = World::new(&mirror.path().display().to_string());
    let folder = world.stargate.folder();
    let notify = folder.join("notify");
    executable::script(&notify, NOTIFY);
    let user = folder.join("user-config");
    let user = user.to_str().expect("UTF-8");
    let command = format!("'{}' '{}'", notify.display(), folder.display());
    git(folder, ["config", "-f", user, "stargate.alertCommand", &command]);
    let volume = world.stargate.git_dir.parent().expect("a folder").display().to_string();
    let watch = Running::start(&["watch", "--root", &volume], &[("GIT_CONFIG_GLOBAL", user)]);
    watch.until("outcome=mirrored");
    // A cycle that is still running could fail in another way.
    watch.until("cycle ended");
    let away = folder.join("away.git");
    fs::rename(&world.stargate.git_dir, &away).expect("it moves");
    watch.until("the repository is missing");
    watch.until_times("alert sent", 1);
    let alert = &world.alerts()[0];
    assert_eq!(
        (&alert["alert"], &alert["state"]),
        (&json!("misconfigured"), &json!("firing"))
    );
    assert!(
        alert["reason"].as_str().expect("a reason").ends_with("is missing"),
        "{alert}"
    );
    fs::rename(&away, &world.stargate.git_dir).expect("it moves");
    watch.until_times("alert sent", 2);
    watch.terminate();
    assert_eq!(
        world.words(),
        [pair("misconfigured", "firing"), pair("misconfigured", "resolved")]
    );
}
