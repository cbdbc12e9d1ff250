//! What monitors see of `watch` and `run`: metrics, health and status; and the rules and the dashboard for them.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};
use support::{
    running::Running,
    scripted::{Scripted, Step},
    stargate::{Stargate, clean_command, feed, git, stderr},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");

/// A Stargate with a mirror in a folder, and a client.
struct World {
    stargate: Stargate,
    mirror: PathBuf,
    client: PathBuf,
}

impl World {
    fn new() -> Self {
        World::of(Stargate::with_hook())
    }

    fn of(stargate: Stargate) -> Self {
        let mirror = stargate.folder().join("mirror.git");
        git(stargate.folder(), ["init", "-q", "--bare", "mirror.git"]);
        stargate.configure("stargate.remote", mirror.to_str().expect("UTF-8"));
        stargate.configure("stargate.attempts", "1");
        let client = stargate.client("first");
        World {
            stargate,
            mirror,
            client,
        }
    }

    fn repository(&self) -> &str {
        self.stargate.git_dir.to_str().expect("UTF-8")
    }

    fn push(&self) {
        git(&self.client, ["commit", "-q", "--allow-empty", "-m", "more"]);
        git(&self.client, ["push", "-q", "origin", "HEAD:refs/kv/main"]);
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = clean_command(PROGRAM);
        command.args(["run", "--repo", self.repository()]).args(arguments);
        command.output().expect("it starts")
    }
}

/// A watch that answers monitors.
struct Watch {
    running: Running,
    url: String,
}

impl Watch {
    fn start(arguments: &[&str]) -> Self {
        let arguments = [&["watch", "--listen", "127.0.0.1:0"], arguments].concat();
        let running = Running::start(&arguments, &[]);
        running.until("listening on http://");
        let said = running.said();
        let (_, rest) = said.split_once("listening on ").expect("an address");
        let url = rest.split_whitespace().next().expect("a URL").to_owned();
        Watch { running, url }
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        let agent: ureq::Agent = config.build().into();
        let mut request = agent.get(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = request.call().expect("an answer");
        let body = answer.body_mut().read_to_string().expect("text");
        (answer.status().as_u16(), body)
    }

    fn json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.get(path, &[]);
        (status, serde_json::from_str(&body).expect("JSON"))
    }
}

/// The value of a series whose name and labels contain all of `words`.
fn value(metrics: &str, words: &[&str]) -> f64 {
    let line = metrics
        .lines()
        .find(|line| words.iter().all(|word| line.contains(word)));
    let line = line.unwrap_or_else(|| panic!("{words:?} is missing in\n{metrics}"));
    line.rsplit_once(' ').expect("a value").1.parse().expect("a number")
}

#[test]
fn a_watch_answers_monitors_and_logs_the_beginning_and_the_end_of_a_trouble() {
    let world = World::new();
    let watch = Watch::start(&["--repo", world.repository()]);
    world.push();
    watch.running.until("outcome=mirrored");
    let (_, metrics) = watch.get("/metrics", &[]);
    // A comparison may find the ref before the hook has written its entry, which is then mirrored once more.
    for words in [
        &[
            "stargate_mirror_attempts_total{",
            world.repository(),
            "outcome=\"mirrored\"",
        ][..],
        &["stargate_mirror_lag_seconds_count{", world.repository()],
        &["stargate_mirror_reachable{", world.repository()],
    ] {
        assert!(value(&metrics, words) >= 1.0, "{words:?}: {metrics}");
    }
    assert_eq!(value(&metrics, &["attempts_total{", "outcome=\"rejected\""]), 0.0);
    assert_eq!(watch.json("/readyz"), (200, json!({"ready": true, "problems": []})));
    assert_eq!(watch.get("/healthz", &[("Host", "example.com")]).0, 200);
    assert_eq!(watch.get("/status", &[("Host", "example.com")]).0, 421);
    assert_eq!(watch.get("/nowhere", &[]).0, 404);

    let away = world.stargate.folder().join("away.git");
    fs::rename(&world.mirror, &away).expect("the mirror goes");
    world.push();
    watch.running.until("no cycle could run");
    let (status, body) = watch.json("/readyz");
    let problem = &body["problems"][0];
    assert_eq!((status, &problem["problem"]), (503, &json!("unreachable")), "{body}");
    assert_eq!(problem["repository"], world.repository());
    let (_, body) = watch.json("/status");
    assert!(body["repositories"][0]["mirrors"][0]["error"].is_string(), "{body}");

    fs::rename(&away, &world.mirror).expect("the mirror is back");
    world.push();
    watch.running.until("mirrored again");
    assert_eq!(watch.json("/readyz").0, 200);
    let (_, body) = watch.json("/status");
    let mirror = &body["repositories"][0]["mirrors"][0];
    assert_eq!(body["repositories"][0]["repository"], world.repository());
    assert!(mirror["pending"].is_number() && mirror["error"].is_null(), "{body}");
    assert!(mirror["last_success_at"].is_string() && mirror["lag_samples"][0][1].is_number());
    let pushes = mirror["last_pushes"].as_array().expect("a list");
    assert!(pushes.len() >= 2, "{pushes:?}");
    for push in pushes {
        assert_eq!(
            [&push["outcome"], &push["refs"], &push["error"]],
            [&json!("mirrored"), &json!(1), &json!(null)]
        );
    }
    assert_eq!(watch.running.terminate().0, 0);
}

#[test]
fn other_machines_need_the_token_of_the_listener() {
    let world = World::new();
    let mut command = clean_command(PROGRAM);
    command.args(["watch", "--repo", world.repository(), "--listen", "0.0.0.0:0"]);
    let refused = command.output().expect("it starts");
    assert_eq!(refused.status.code(), Some(4), "{}", stderr(&refused));
    assert!(
        stderr(&refused).contains("STARGATE_LISTEN_TOKEN"),
        "{}",
        stderr(&refused)
    );

    let file = world.stargate.folder().join("listen-token");
    fs::write(&file, "canary-listen\n").expect("a token");
    let file = file.to_str().expect("UTF-8");
    let watch = Watch::start(&["--repo", world.repository(), "--listen-token-file", file]);
    for path in ["/metrics", "/readyz", "/status"] {
        assert_eq!(watch.get(path, &[]).0, 401, "{path}");
        let (status, body) = watch.get(path, &[("Authorization", "Bearer canary-listen")]);
        assert!(status == 200 && !body.contains("canary"), "{path}: {body}");
    }
    assert_eq!(watch.get("/healthz", &[]).0, 200);
    let (_, said) = watch.running.terminate();
    assert!(!said.contains("canary"), "{said}");
}

/// Runs promtool with this input.
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(folder());
    let output = feed(command, input);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "promtool {arguments:?}: {said}{}",
        stderr(&output)
    );
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring")
}

/// The words in a text that begin with `stargate_mirror_`.
fn names(text: &str) -> Vec<&str> {
    let mut names: Vec<_> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("stargate_mirror_"))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn metrics_of_runs_continue_in_a_file_that_the_rules_and_the_dashboard_understand() {
    let world = World::new();
    let file = world.stargate.folder().join("stargate.prom");
    let textfile = ["--metrics-textfile", file.to_str().expect("UTF-8")];
    let read = || fs::read_to_string(&file).expect("metrics");
    world.push();
    assert_eq!(world.run(&textfile).status.code(), Some(0));
    let sent = value(&read(), &["stargate_mirror_attempts_total{", "mirrored"]);
    assert_eq!(sent, 1.0);
    world.push();
    world.run(&textfile);
    let metrics = read();
    assert_eq!(value(&metrics, &["stargate_mirror_attempts_total{", "mirrored"]), 2.0);
    assert_eq!(
        value(&metrics, &["stargate_mirror_cycle_seconds_bucket{", "le=\"+Inf\""]),
        2.0
    );
    promtool(&["check", "metrics"], &metrics);

    promtool(&["check", "rules", "rules.yml"], "");
    promtool(&["test", "rules", "rules_test.yml"], "");
    let is_ours = |name: &str| metrics.lines().any(|line| line.starts_with(&format!("{name}{{")));
    for file in ["rules.yml", "rules_test.yml", "dashboard.json"] {
        let text = fs::read_to_string(folder().join(file)).expect("a file");
        let unknown: Vec<_> = names(&text).into_iter().filter(|name| !is_ours(name)).collect();
        // This mirror has no token whose end is known, and no comparison has found anything.
        let absent = [
            "stargate_mirror_reconcile_last_finding_timestamp_seconds",
            "stargate_mirror_token_expiry_timestamp_seconds",
        ];
        let expected = if file == "dashboard.json" {
            &absent[1..]
        } else {
            &absent[..]
        };
        assert_eq!(unknown, expected, "{file}");
    }
    let dashboard = fs::read(folder().join("dashboard.json")).expect("a file");
    let dashboard: Value = serde_json::from_slice(&dashboard).expect("JSON");
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 10));

    let missing = world.stargate.folder().join("missing/stargate.prom");
    let unwritten = world.run(&["--metrics-textfile", missing.to_str().expect("UTF-8")]);
    assert_eq!(unwritten.status.code(), Some(5), "{}", stderr(&unwritten));
}

/// Tests the rules with these metrics, scraped once a minute from the fifth minute on. Times are moved to that clock.
fn rules_with(metrics: &str, folder: &Path, expressions: &[(&str, &str)]) {
    let now = jiff::Timestamp::now().as_second();
    let mut test = format!(
        "rule_files:\n  - {}\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n",
        self::folder().join("rules.yml").display()
    );
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let mut value: f64 = value.parse().expect("a number");
        if series.contains("_timestamp_seconds") {
            value += 300.0 - now as f64;
        }
        let series = series.replace('\'', "''");
        test += &format!("      - series: '{series}'\n        values: '_x5 {value}x20'\n");
    }
    test += "    promql_expr_test:\n";
    for (expression, samples) in expressions {
        test += &format!("      - expr: '{expression}'\n        eval_time: 8m\n        exp_samples: {samples}\n");
    }
    let file = folder.join("own_test.yml");
    fs::write(&file, test).expect("a file");
    promtool(&["test", "rules", file.to_str().expect("UTF-8")], "");
}

#[test]
fn a_finding_before_the_first_scrape_fires() {
    let world = World::new();
    world.push();
    let id = git(&world.stargate.git_dir, ["rev-parse", "refs/kv/main"]);
    git(&world.stargate.git_dir, ["update-ref", "refs/kv/other", id.trim()]);
    let watch = Watch::start(&["--repo", world.repository()]);
    watch.running.until("the journal had missed");
    watch.running.until("outcome=mirrored");
    let (_, metrics) = watch.get("/metrics", &[]);
    let found = ["reconcile_findings_total{", "kind=\"missed-update\""];
    assert_eq!(value(&metrics, &found), 1.0);
    let firing = "count(ALERTS{alertname=\"StargateMirrorMissedUpdates\", alertstate=\"firing\"})";
    let others = "count(ALERTS{alertname!=\"StargateMirrorMissedUpdates\"})";
    let increase = "increase(stargate_mirror_reconcile_findings_total[6h]) > 0";
    rules_with(
        &metrics,
        world.stargate.folder(),
        &[(firing, "[{labels: '{}', value: 1}]"), (others, "[]"), (increase, "[]")],
    );
    assert_eq!(watch.running.terminate().0, 0);
}

#[test]
fn a_cycle_that_does_not_end_is_seen_while_it_runs() {
    let silent = Scripted::serve((0..8).map(|_| Step::Silence));
    let world = World::new();
    world.stargate.configure("stargate.remote", &silent.url("o/r.git"));
    world.push();
    let watch = Watch::start(&["--repo", world.repository()]);
    let running = |watch: &Watch| {
        let (_, body) = watch.json("/status");
        body["repositories"][0]["mirrors"][0]["cycle_running_since"].is_string()
    };
    assert!((0..10_000).any(|_| running(&watch)), "{}", watch.get("/status", &[]).1);
    let (_, metrics) = watch.get("/metrics", &[]);
    let age = value(
        &metrics,
        &["stargate_mirror_cycle_running_seconds{", world.repository()],
    );
    assert!(age > 0.0, "{metrics}");
    assert!(
        !metrics.contains("stargate_mirror_last_cycle_timestamp_seconds{"),
        "{metrics}"
    );
    let hours = metrics.replace(&format!("{age:?}\n"), "3600\n");
    let firing = "count(ALERTS{alertname=\"StargateMirrorCycleHangs\", alertstate=\"firing\"})";
    rules_with(
        &hours,
        world.stargate.folder(),
        &[(firing, "[{labels: '{}', value: 1}]")],
    );
    watch.running.terminate();
}

#[test]
fn runs_that_share_a_file_keep_the_series_of_each_other() {
    let (one, other) = (World::new(), World::new());
    let file = one.stargate.folder().join("stargate.prom");
    let textfile = ["--metrics-textfile", file.to_str().expect("UTF-8")];
    for _ in 0..3 {
        std::thread::scope(|scope| {
            for world in [&one, &other] {
                scope.spawn(|| {
                    world.push();
                    assert_eq!(world.run(&textfile).status.code(), Some(0));
                });
            }
        });
    }
    let read = || fs::read_to_string(&file).expect("metrics");
    let mirrored = |metrics: &str, world: &World| {
        value(
            metrics,
            &["attempts_total{", world.repository(), "outcome=\"mirrored\""],
        )
    };
    assert_eq!([mirrored(&read(), &one), mirrored(&read(), &other)], [3.0, 3.0]);
    promtool(&["check", "metrics"], &read());

    let last = |world: &World| value(&read(), &["last_cycle_timestamp_seconds{", world.repository()]);
    let before = last(&one);
    one.stargate.configure("stargate.retention", "soon");
    assert_eq!(one.run(&textfile).status.code(), Some(4));
    assert_eq!(mirrored(&read(), &one), 3.0, "a cycle that cannot run loses nothing");
    assert_eq!(last(&one), before);
    assert_eq!(value(&read(), &["cycle_failing{", one.repository()]), 1.0);
    assert_eq!(value(&read(), &["cycle_failing{", other.repository()]), 0.0);

    let unmounted = other.repository().to_owned();
    drop(other);
    one.run(&textfile);
    assert!(read().contains(&unmounted), "its volume may be missing: {}", read());
}

#[test]
fn a_cycle_that_neither_pushes_nor_compares_is_no_success() {
    let world = World::new();
    world.push();
    assert_eq!(world.run(&[]).status.code(), Some(0));
    let memory = world.stargate.git_dir.join(".stargate/worker.json");
    let change = |key: &str, to: Value| {
        let mut changed: Value = serde_json::from_slice(&fs::read(&memory).expect("a memory")).expect("JSON");
        *changed.pointer_mut(key).expect("a value") = to;
        fs::write(&memory, changed.to_string()).expect("writable");
    };
    let last_success = || {
        let mut command = clean_command(PROGRAM);
        command.args(["status", "--json", "--repo", world.repository()]);
        let output = command.output().expect("it starts");
        let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        status["last_success"].as_str().expect("a time").to_owned()
    };
    change("/succeeded_at", json!(1000));
    assert_eq!(world.run(&[]).status.code(), Some(0));
    assert_eq!(last_success(), "1970-01-01T00:16:40Z", "the mirror was not asked");
    change("/mirror/reconciled_at", json!(1000));
    assert_eq!(world.run(&[]).status.code(), Some(0));
    assert_ne!(
        last_success(),
        "1970-01-01T00:16:40Z",
        "a comparison found nothing to do"
    );
    change("/succeeded_at", json!(1000));
    world.push();
    assert_eq!(world.run(&[]).status.code(), Some(0));
    assert_ne!(last_success(), "1970-01-01T00:16:40Z", "something was mirrored");

    change("/succeeded_at", json!(1000));
    let tree = git(&world.mirror, ["rev-parse", "refs/kv/main^{tree}"]);
    let other = git(&world.mirror, ["commit-tree", "-m", "other", tree.trim()]);
    git(&world.mirror, ["update-ref", "refs/kv/main", other.trim()]);
    world.push();
    for _ in 0..2 {
        assert_eq!(world.run(&[]).status.code(), Some(3));
    }
    assert_eq!(last_success(), "1970-01-01T00:16:40Z", "the only group is held");
}

#[test]
fn a_lock_that_cannot_be_read_does_not_hide_the_rest_of_the_status() {
    let world = World::new();
    world.push();
    fs::create_dir(world.stargate.git_dir.join(".stargate/worker.lock")).expect("a folder");
    let status = |arguments: &[&str]| {
        let mut command = clean_command(PROGRAM);
        command.args(["status", "--repo", world.repository()]).args(arguments);
        command.output().expect("it starts")
    };
    let output = status(&["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["pending"], 1);
    let worker = &json["worker"];
    assert_eq!(
        [&worker["alive"], &worker["running"], &worker["last_run"]],
        [&Value::Null; 3]
    );
    assert!(
        worker["unreadable"]
            .as_str()
            .expect("a reason")
            .contains("worker.lock: "),
        "{worker}"
    );
    let shown = String::from_utf8(status(&[]).stdout).expect("UTF-8");
    assert!(shown.contains("its lock cannot be read: "), "{shown}");
}
