//! Alerts by a program and by a URL: once when trouble begins, once when it has ended, and again if nobody was told.
mod unable;
mod uncertain;

use std::{fs, path::PathBuf, process::Output};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stargate_mirror::worker::WorkerLock;
use support::{
    executable,
    mirror::{Format, Mirror},
    running::Running,
    scripted::{Received, Scripted, Step, answer},
    stargate::{Stargate, clean_command, feed, git, stderr},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
const NAME: &str = "o/r.git";
const TOKEN: &str = "canary-a1e7";

/// Appends its standard input and its environment to files, unless there is a file `broken`.
const NOTIFY: &str = "\
cd \"$1\" && [ ! -e broken ] && cat >> alerts && env >> environment";

struct World {
    stargate: Stargate,
    client: PathBuf,
}

impl World {
    /// A Stargate with a pending entry, whose mirror is at `remote`. Any pending entry is too old.
    fn new(remote: &str) -> Self {
        let stargate = Stargate::with_hook();
        for (key, value) in [
            ("stargate.remote", remote),
            ("stargate.ref", "refs/heads/*"),
            ("stargate.attempts", "1"),
            ("stargate.defaultBranch", "leave"),
            ("stargate.staleAfter", "0s"),
        ] {
            stargate.configure(key, value);
        }
        let client = stargate.client("first");
        let world = World { stargate, client };
        world.push();
        world
    }

    fn with_command(self) -> Self {
        let notify = self.stargate.folder().join("notify");
        executable::script(&notify, NOTIFY);
        let folder = self.stargate.folder().display().to_string();
        let command = format!("'{}' '{folder}'", notify.display());
        self.stargate.configure("stargate.alertCommand", &command);
        self
    }

    fn push(&self) {
        git(&self.client, ["commit", "-q", "--allow-empty", "-m", "more"]);
        git(&self.client, ["push", "-q", "origin", "HEAD:refs/heads/main"]);
    }

    /// Runs a cycle, and returns its exit code.
    fn run(&self) -> i32 {
        let output = self.output();
        output.status.code().expect("an exit code")
    }

    fn output(&self) -> Output {
        let mut command = clean_command(PROGRAM);
        command.args(["run", "--repo"]).arg(&self.stargate.git_dir);
        command.envs([
            ("GITHUB_PAT", TOKEN),
            ("RELAY_TOKEN", "canary-of-a-relay"),
            ("STARGATE_LISTEN_TOKEN", "canary-of-a-listener"),
        ]);
        let output = feed(command, "");
        assert!(!stderr(&output).contains("canary"), "{}", stderr(&output));
        output
    }

    /// Every alert so far.
    fn alerts(&self) -> Vec<Value> {
        let path = self.stargate.folder().join("alerts");
        if !path.exists() {
            return Vec::new();
        }
        let text = fs::read_to_string(path).expect("text");
        assert!(!text.contains("canary"), "{text}");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    fn words(&self) -> Vec<(String, String)> {
        let word = |alert: &Value, key: &str| alert[key].as_str().expect("a word").to_owned();
        let alerts = self.alerts();
        alerts
            .iter()
            .map(|alert| (word(alert, "alert"), word(alert, "state")))
            .collect()
    }

    /// Changes the remembered end of the only token.
    fn let_token_end_in(&self, days: i64) {
        let mut memory = self.memory();
        let tokens = memory["tokens"].as_object_mut().expect("tokens");
        let end = Timestamp::now() + SignedDuration::from_hours(24 * days + 1);
        tokens.values_mut().next().expect("a token")["expires_at"] = json!(end.as_second());
        let path = self.stargate.git_dir.join(".stargate/worker.json");
        fs::write(path, memory.to_string()).expect("writable");
    }

    fn memory(&self) -> Value {
        self.json("worker.json")
    }

    fn json(&self, file: &str) -> Value {
        let text = fs::read_to_string(self.file(file)).expect("a memory");
        assert!(!text.contains("canary"), "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// A file of the worker.
    fn file(&self, name: &str) -> PathBuf {
        self.stargate.git_dir.join(".stargate").join(name)
    }

    /// Runs a cycle that compares both sides, because the worker has forgotten the mirror.
    fn compare(&self) -> i32 {
        fs::remove_file(self.file("worker.json")).expect("a memory");
        self.run()
    }
}

fn pair(alert: &str, state: &str) -> (String, String) {
    (alert.to_owned(), state.to_owned())
}

#[test]
fn a_mirror_that_is_down_and_comes_back_is_reported_once_each() {
    let mut mirror = Mirror::with_token(TOKEN);
    mirror.create(NAME, Format::Sha1);
    let remote = mirror
        .url(NAME)
        .replace("http://", &format!("http://x-access-token:{TOKEN}@"));
    let world = World::new(&remote).with_command();
    mirror.stop();
    // The first attempt to tell somebody fails, and is repeated.
    let broken = world.stargate.folder().join("broken");
    fs::write(&broken, "").expect("a file");
    let said = stderr(&world.output());
    assert!(said.contains("an alert was not delivered"), "{said}");
    assert_eq!(world.alerts(), Vec::<Value>::new());
    fs::remove_file(broken).expect("it was there");
    for _ in 0..3 {
        assert_eq!(world.run(), 1);
    }
    let [alert] = &world.alerts()[..] else {
        panic!("one alert: {:?}", world.alerts());
    };
    let oldest = &world.stargate.lines()[0]["timestamp"];
    let since = alert["since"].as_str().expect("a time");
    assert_eq!(since[..19], oldest.as_str().expect("a time")[..19]);
    assert!(alert["oldest_pending_age_s"].is_i64(), "{alert}");
    let reason = alert["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("refs/heads/main: ") && reason.contains("refused"),
        "{reason}"
    );
    let expected = json!({
        "alert": "stale", "state": "firing", "mirror": null,
        "repository": world.stargate.git_dir.display().to_string(), "remote": mirror.url(NAME), "since": since,
        "pending": 1, "oldest_pending_age_s": alert["oldest_pending_age_s"], "reason": reason,
        "hint": "run `stargate-mirror status` and `stargate-mirror doctor`",
    });
    assert_eq!(*alert, expected);
    assert!(world.json("alerts.json")["told"]["command"]["stale"].is_i64());

    mirror.start_again();
    for _ in 0..2 {
        assert_eq!(world.run(), 0);
    }
    assert_eq!(world.words(), [pair("stale", "firing"), pair("stale", "resolved")]);
    let resolved = &world.alerts()[1];
    assert_eq!(resolved["since"], since);
    assert_eq!(
        (&resolved["pending"], &resolved["reason"], &resolved["hint"]),
        (&json!(0), &Value::Null, &Value::Null)
    );
    assert_eq!(world.json("alerts.json"), json!({}));

    for (days, expected) in [(3, pair("token", "firing")), (30, pair("token", "resolved"))] {
        world.let_token_end_in(days);
        for _ in 0..2 {
            assert_eq!(world.run(), 0);
        }
        assert_eq!(world.words().last(), Some(&expected));
    }
    assert_eq!(world.words().len(), 4);
    let reason = world.alerts()[2]["reason"].as_str().expect("a reason").to_owned();
    assert!(
        reason.starts_with("the token ends at ") && reason.ends_with(", in 3 days"),
        "{reason}"
    );
    let environment = fs::read_to_string(world.stargate.folder().join("environment")).expect("text");
    assert!(
        environment.contains("PATH=") && !environment.contains("canary"),
        "{environment}"
    );
}

#[test]
fn a_rejection_and_a_wrong_token_are_reported_in_the_servers_words() {
    let mirror = Mirror::with_token(TOKEN);
    mirror.create(NAME, Format::Sha1);
    mirror.hook(
        NAME,
        "pre-receive",
        "echo 'Gitea: Branch main is protected from force push' >&2; exit 1",
    );
    let world = World::new(&mirror.url(NAME)).with_command();
    world.stargate.configure("stargate.staleAfter", "1d");
    assert_eq!(world.run(), 1);
    let [refused] = &world.alerts()[..] else {
        panic!("one alert: {:?}", world.alerts());
    };
    assert_eq!(refused["alert"], "refused");
    let reason = refused["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("\nremote: Gitea: Branch main is protected from force push"),
        "{reason}"
    );
    assert!(
        refused["hint"]
            .as_str()
            .expect("a hint")
            .contains("change the protection"),
        "{refused}"
    );

    mirror.hook(NAME, "pre-receive", "exit 0");
    mirror.set_token("canary-of-another");
    assert_eq!(world.run(), 4);
    assert_eq!(
        world.words()[1..],
        [pair("refused", "resolved"), pair("misconfigured", "firing")]
    );
    // No cycle can run with an invalid setting. That is the same trouble.
    world.stargate.configure("stargate.retention", "soon");
    let output = world.output();
    assert_eq!(output.status.code(), Some(4));
    let said = stderr(&output);
    assert!(said.contains("stargate.retention = soon: "), "{said}");
    let until_now = [
        pair("refused", "firing"),
        pair("refused", "resolved"),
        pair("misconfigured", "firing"),
    ];
    assert_eq!(world.words(), until_now);
    let reason = world.alerts()[2]["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.contains("refused") || reason.contains("401"), "{reason}");
    git(&world.stargate.git_dir, ["config", "--unset", "stargate.retention"]);
    mirror.set_token(TOKEN);
    assert_eq!(world.run(), 0);
    assert_eq!(world.words()[3..], [pair("misconfigured", "resolved")]);
}

fn status(status: &str) -> Step {
    Step::Answer(answer(status, &[], b""))
}

#[test]
fn a_url_gets_signed_alerts_in_a_few_attempts() {
    let mirror = tempfile::tempdir().expect("a folder");
    let path = mirror.path().display().to_string();
    git(mirror.path(), ["init", "-q", "--bare", "."]);
    let world = World::new(&path);
    world.stargate.configure("stargate.staleAfter", "1d");
    let other = world.stargate.folder().join("other");
    git(world.stargate.folder(), ["clone", "-q", &path, "other"]);
    git(&other, ["commit", "-q", "--allow-empty", "-m", "elsewhere"]);
    git(&other, ["push", "-q", "origin", "HEAD:refs/heads/main"]);

    let receiver = Scripted::serve([
        status("503 Service Unavailable"),
        status("204 No Content"),
        status("404 Not Found"),
        status("200 OK"),
    ]);
    let key = world.stargate.folder().join("key");
    fs::write(&key, "the canary key\n").expect("a file");
    let url = receiver.url("canary-path?token=canary");
    world.stargate.configure("stargate.alertUrl", &url);
    world
        .stargate
        .configure("stargate.alertSecretFile", &key.display().to_string());
    assert_eq!(world.run(), 3);
    assert_eq!(world.run(), 3);
    let received = receiver.received();
    assert_eq!(
        received.len(),
        2,
        "a 503 is tried again, and then the next cycle has nothing to say"
    );
    assert_eq!(received[0].body, received[1].body);
    for request in &received {
        assert_eq!(request.line, "POST /canary-path?token=canary HTTP/1.1");
        assert_eq!(request.field("Content-Type"), Some("application/json"));
        assert_eq!(request.field("X-Stargate-Signature-256"), Some(&signature(request)[..]));
    }
    let alert: Value = serde_json::from_slice(&received[0].body).expect("JSON");
    assert_eq!(
        (&alert["alert"], &alert["state"]),
        (&json!("diverged"), &json!("firing"))
    );
    assert!(
        alert["hint"].as_str().expect("a hint").contains("sync --dry-run"),
        "{alert}"
    );

    git(mirror.path(), ["update-ref", "-d", "refs/heads/main"]);
    let said = stderr(&world.output());
    assert!(said.contains("the server does not accept it (HTTP 404)"), "{said}");
    assert_eq!(world.run(), 0);
    let received = receiver.received();
    assert_eq!(received.len(), 4, "404 is not tried again in the same cycle");
    let resolved: Value = serde_json::from_slice(&received[3].body).expect("JSON");
    assert_eq!(
        (&resolved["alert"], &resolved["state"]),
        (&json!("diverged"), &json!("resolved"))
    );
    assert_eq!(resolved["since"], alert["since"]);
}

/// The signature by another implementation.
fn signature(request: &Received) -> String {
    let mut openssl = clean_command("openssl");
    openssl.args(["dgst", "-sha256", "-hmac", "the canary key", "-r"]);
    let output = feed(openssl, &request.body);
    let digest = String::from_utf8(output.stdout).expect("text");
    format!("sha256={}", digest.split(' ').next().expect("a digest"))
}

#[test]
fn watch_reports_too() {
    let mut mirror = Mirror::with_token(TOKEN);
    mirror.create(NAME, Format::Sha1);
    let world = World::new(&mirror.url(NAME)).with_command();
    mirror.stop();
    let repo = world.stargate.git_dir.display().to_string();
    let watch = Running::start(&["watch", "--repo", &repo], &[("GITHUB_PAT", TOKEN)]);
    watch.until_times("alert sent", 1);
    mirror.start_again();
    world.push();
    watch.until_times("alert sent", 2);
    let (_, said) = watch.terminate();
    assert!(!said.contains("canary"), "{said}");
    assert_eq!(world.words(), [pair("stale", "firing"), pair("stale", "resolved")]);
}

#[test]
fn alerts_are_no_sign_of_life_and_keep_no_cycle_from_running() {
    let nowhere = tempfile::tempdir().expect("a folder");
    let world = World::new(&nowhere.path().join("none.git").display().to_string()).with_command();
    let lock = world.file("worker.lock");
    let touch = format!("touch -d '1 hour ago' '{}' && {NOTIFY}", lock.display());
    executable::script(&world.stargate.folder().join("notify"), &touch);
    world.run();
    assert!(!world.words().is_empty(), "an alert was sent, and written down");
    let modified = fs::metadata(&lock).and_then(|found| found.modified()).expect("a time");
    let age = modified.elapsed().expect("it is past");
    assert!(age.as_secs() > 1800, "the cycle was the last sign of life: {age:?}");

    let held = WorkerLock::take(&world.file("alerts.lock")).expect("a file");
    assert!(held.is_some(), "nobody sends alerts");
    let output = world.output();
    assert!(!stderr(&output).contains("holds the lock"), "{}", stderr(&output));
    assert_ne!(output.status.code(), Some(9));
}

#[test]
fn what_only_a_comparison_finds_is_reported_once_each() {
    let mirror = tempfile::tempdir().expect("a folder");
    let path = mirror.path().display().to_string();
    git(mirror.path(), ["init", "-q", "--bare", "."]);
    let world = World::new(&path).with_command();
    assert_eq!(world.run(), 0);
    assert_eq!(world.words(), []);
    let pushed = git(mirror.path(), ["rev-parse", "refs/heads/main"]);
    git(world.stargate.folder(), ["clone", "-q", &path, "other"]);
    let other = world.stargate.folder().join("other");
    git(&other, ["commit", "-q", "--allow-empty", "-m", "elsewhere"]);
    git(&other, ["push", "-q", "origin", "HEAD:refs/heads/main"]);
    for _ in 0..2 {
        world.compare();
    }
    assert_eq!(world.words(), [pair("diverged", "firing")]);
    let alert = &world.alerts()[0];
    assert_eq!(alert["pending"], 0, "no entry is pending");
    assert_eq!(
        alert["reason"],
        "refs/heads/main: the mirror has commits that a push would overwrite"
    );
    git(mirror.path(), ["update-ref", "refs/heads/main", pushed.trim()]);
    for _ in 0..2 {
        assert_eq!(world.compare(), 0);
    }
    assert_eq!(world.words()[1..], [pair("diverged", "resolved")]);

    let broken = world.stargate.git_dir.join("refs/heads/broken");
    fs::write(&broken, "no id\n").expect("a file");
    for _ in 0..2 {
        assert_eq!(world.run(), 5);
    }
    assert_eq!(world.words()[2..], [pair("broken", "firing")]);
    let reason = world.alerts()[2]["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.starts_with("refs/heads/broken: "), "{reason}");
    fs::remove_file(broken).expect("a file");
    for _ in 0..2 {
        assert_eq!(world.run(), 0);
    }
    assert_eq!(world.words()[3..], [pair("broken", "resolved")]);
}
