//! What monitors see of `watch` and `run`: metrics, health and status; and the rules and the dashboard for them.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};
use support::{
    running::Running,
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
        let stargate = Stargate::with_hook();
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
        // This mirror has no token whose end is known.
        assert_eq!(unknown, ["stargate_mirror_token_expiry_timestamp_seconds"], "{file}");
    }
    let dashboard = fs::read(folder().join("dashboard.json")).expect("a file");
    let dashboard: Value = serde_json::from_slice(&dashboard).expect("JSON");
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 10));

    let missing = world.stargate.folder().join("missing/stargate.prom");
    let unwritten = world.run(&["--metrics-textfile", missing.to_str().expect("UTF-8")]);
    assert_eq!(unwritten.status.code(), Some(5), "{}", stderr(&unwritten));
}
