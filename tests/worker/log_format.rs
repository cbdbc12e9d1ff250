//! Logs of `run` as JSON.
use serde_json::Value;
use support::stargate::{Stargate, clean_command, git, stderr};

/// Runs a cycle, and returns its log.
fn log_of(stargate: &Stargate, level: &str, arguments: &[&str]) -> String {
    let mut command = clean_command(env!("CARGO_BIN_EXE_stargate-mirror"));
    command.arg("run").args(arguments).arg("--repo").arg(&stargate.git_dir);
    let output = command.env("STARGATE_LOG", level).output().expect("it starts");
    assert!(output.status.success(), "{}", stderr(&output));
    stderr(&output)
}

#[test]
fn lines_of_a_cycle_name_the_repository_the_mirror_and_the_entries() {
    let stargate = Stargate::with_hook();
    let mirror = stargate.folder().join("mirror.git");
    git(stargate.folder(), ["init", "-q", "--bare", "mirror.git"]);
    stargate.configure("stargate.remote", mirror.to_str().expect("UTF-8"));
    let client = stargate.client("first");
    let push = |names: [&str; 2]| {
        let [ledger, index] = names.map(|name| format!("HEAD:{name}"));
        git(&client, ["push", "-q", "origin", ledger.as_str(), index.as_str()]);
    };
    push(["refs/kv/main", "refs/kv-index/main"]);
    let log = log_of(&stargate, "debug", &["--log-format", "json"]);
    let parse = |line: &str| -> Value { serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")) };
    let lines: Vec<Value> = log.lines().map(parse).collect();
    let settled: Vec<_> = lines.iter().filter(|line| line["message"] == "settled").collect();
    let entries = stargate.lines();
    assert_eq!((settled.len(), entries.len()), (2, 2), "{log}");
    for (line, entry) in settled.iter().zip(&entries) {
        for (name, value) in [
            ("entry_id", entry["entry_id"].clone()),
            ("ref", entry["ref"].clone()),
            ("namespace", "main".into()),
            ("attempt", 1.into()),
            ("outcome", "done".into()),
        ] {
            assert_eq!(line[name], value, "{line}");
        }
    }
    let mirrored = lines.iter().find(|line| line["message"] == "mirrored").expect("a line");
    assert_eq!(mirrored["group"], "main");
    for line in settled.into_iter().chain([mirrored]) {
        let cycle = &line["span"];
        assert_eq!(cycle["repository"], stargate.git_dir.to_str().expect("UTF-8"));
        assert!(
            cycle["remote"].as_str().expect("a mirror").ends_with("mirror.git"),
            "{cycle}"
        );
        assert_eq!(cycle["cycle"], mirrored["span"]["cycle"]);
    }

    push(["refs/kv/other", "refs/kv-index/other"]);
    let log = log_of(&stargate, "debug", &[]);
    assert!(
        log.contains("mirrored group=other attempt=1 outcome=\"mirrored\"\n") && !log.contains("cycle"),
        "{log}"
    );
    push(["refs/kv/third", "refs/kv-index/third"]);
    let log = log_of(&stargate, "warn", &["--log-format=json"]);
    assert_eq!(log, "", "a healthy run is quiet");
}
