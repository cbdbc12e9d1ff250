//! Words of a server that rejects a push: kept with the group, and shown in the reports, in the log and to the next pusher.
//! Real git rejects by a `pre-receive` hook, behind nginx and behind sshd.

use std::{fs, path::PathBuf, process::Output};

use serde_json::Value;
use support::{
    git::hook,
    mirror::{Format, Mirror},
    sshd::Server,
    stargate::{Stargate, clean_command, feed, git, stderr, try_git},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
const TOKEN: &str = "canary-4f6e9b";

/// GitHub's words about a secret, with colours, and with secrets that no server should print.
const SECRET: &str = "\
if grep -q refs/heads/main; then
  printf '\\033[1;31merror: GH013: Repository rule violations found for refs/heads/main.\\033[0m        \\n' >&2
  printf '\\n- GITHUB PUSH PROTECTION\\n    - Push cannot contain secrets\\n        \\n' >&2
  printf '       - commit: b6ba2be62ff7d6c34065648997f6f53b44ab2092\\n         path: .env:6\\n' >&2
  printf '       https://me:hunter2@example.com/o/r/unblock-secret/2gakJ\\a\\n' >&2
  exit 1
fi
";

/// The same lines after cleaning.
const KEPT: [&str; 6] = [
    "error: GH013: Repository rule violations found for refs/heads/main.",
    "- GITHUB PUSH PROTECTION",
    "    - Push cannot contain secrets",
    "       - commit: b6ba2be62ff7d6c34065648997f6f53b44ab2092",
    "         path: .env:6",
    "       https://example.com/o/r/unblock-secret/2gakJ",
];

/// Server of the mirror.
enum Place {
    Http(Mirror),
    Ssh(Server),
}

impl Place {
    fn url(&self) -> String {
        match self {
            Place::Http(mirror) => mirror.url("o/r.git"),
            Place::Ssh(server) => server.url("o/r.git"),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Place::Http(mirror) => mirror.path("o/r.git"),
            Place::Ssh(server) => server.path("o/r.git"),
        }
    }

    fn ssh_command(&self) -> String {
        match self {
            Place::Http(_) => "no-ssh-here".to_owned(),
            Place::Ssh(server) => server.ssh_command(),
        }
    }
}

struct World {
    stargate: Stargate,
    client: PathBuf,
    place: Place,
}

impl World {
    /// A Stargate with refs in `storage`, whose mirror rejects pushes by this script.
    fn new(storage: &str, place: Place, script: &str) -> Self {
        match &place {
            Place::Http(mirror) => mirror.create("o/r.git", Format::Sha1),
            Place::Ssh(server) => server.create("o/r.git", "sha1"),
        };
        hook(&place.path(), "pre-receive", script);
        let stargate = Stargate::of_formats("sha1", storage);
        stargate.install();
        stargate.configure("stargate.remote", &place.url());
        stargate.configure("stargate.attempts", "1");
        for pattern in ["refs/kv/*", "refs/heads/*"] {
            stargate.configure("stargate.ref", pattern);
        }
        let client = stargate.client("first");
        World {
            stargate,
            client,
            place,
        }
    }

    fn over_http(script: &str) -> Self {
        World::new("files", Place::Http(Mirror::with_token(TOKEN)), script)
    }

    /// Pushes another commit, and returns what the pusher sees.
    fn push(&self, name: &str) -> String {
        git(&self.client, ["commit", "-q", "--allow-empty", "-m", "more"]);
        let output = try_git(&self.client, ["push", "origin", &format!("HEAD:{name}")]);
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    }

    fn program(&self, arguments: &[&str]) -> Output {
        let mut command = clean_command(PROGRAM);
        command.args(arguments).arg("--repo").arg(&self.stargate.git_dir);
        command.env("GITHUB_PAT", TOKEN);
        command.env("GIT_SSH_COMMAND", self.place.ssh_command());
        feed(command, "")
    }

    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.program(&[arguments, &["--json"]].concat());
        let report = serde_json::from_slice(&output.stdout);
        let report = report.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
        (output.status.code().expect("an exit code"), report)
    }

    fn memory(&self) -> String {
        fs::read_to_string(self.stargate.git_dir.join(".stargate/worker.json")).expect("the worker's memory")
    }
}

/// The group of this label.
fn group<'a>(report: &'a Value, label: &str) -> &'a Value {
    let groups = report["groups"].as_array().expect("groups");
    let found = groups.iter().find(|group| group["group"] == label);
    found.unwrap_or_else(|| panic!("no {label} in {report}"))
}

fn words(group: &Value) -> Vec<&str> {
    let words = group["server_words"].as_array().expect("words");
    words.iter().map(|line| line.as_str().expect("text")).collect()
}

fn assert_has_words(text: &str, before: &str) {
    for line in KEPT {
        let line = format!("{before}{line}\n");
        assert!(text.contains(&line), "{line:?} is not in {text}");
    }
    assert!(text.contains("revoke the secret"), "{text}");
    assert_is_clean(text);
}

/// Without terminal escapes and secrets.
fn assert_is_clean(text: &str) {
    for wrong in ["\u{1b}", "\u{7}", "hunter2", TOKEN] {
        assert!(!text.contains(wrong), "{wrong:?} in {text}");
    }
}

fn journey(storage: &str, place: Place) {
    let world = World::new(storage, place, SECRET);
    world.push("refs/heads/main");
    world.push("refs/kv/main");
    let (exit, report) = world.json(&["run"]);
    assert_eq!(exit, 1, "{report}");
    let rejected = group(&report, "refs/heads/main");
    assert_eq!(
        (&rejected["outcome"], words(rejected)),
        (&"rejected".into(), KEPT.to_vec())
    );
    let advice = rejected["advice"].as_str().expect("advice");
    assert!(advice.starts_with("revoke the secret"), "{advice}");
    let mirrored = group(&report, "main");
    assert_eq!((&mirrored["outcome"], words(mirrored)), (&"mirrored".into(), vec![]));
    assert_eq!(mirrored["advice"], Value::Null);

    let output = world.program(&["run"]);
    assert_has_words(&String::from_utf8_lossy(&output.stdout), "  remote: ");
    let log = stderr(&output);
    let line = log
        .lines()
        .find(|line| line.contains("not mirrored; the entries stay pending"));
    assert!(
        line.is_some_and(|line| KEPT.iter().all(|kept| line.contains(kept))),
        "{log}"
    );
    assert_is_clean(&log);

    let (exit, status) = world.json(&["status"]);
    let pending = group(&status, "refs/heads/main");
    assert_eq!(
        (exit, words(pending), pending["advice"].as_str()),
        (1, KEPT.to_vec(), Some(advice))
    );
    let output = world.program(&["status"]);
    assert_has_words(&String::from_utf8_lossy(&output.stdout), "    remote: ");
    assert!(world.memory().contains("GH013"), "{}", world.memory());
    assert_is_clean(&world.memory());

    let told = world.push("refs/heads/main").replace("        \n", "\n");
    assert!(
        told.contains("remote: stargate: the mirror rejected an earlier update of refs/heads/main:\n"),
        "{told}"
    );
    for line in KEPT.iter().chain([&advice]) {
        assert!(
            told.contains(&format!("remote: stargate:   {line}")),
            "{line:?} is not in {told}"
        );
    }
    assert_is_clean(&told);
    assert!(!world.push("refs/heads/other").contains("rejected"));

    fs::remove_file(world.place.path().join("hooks/pre-receive")).expect("the hook goes");
    let (exit, report) = world.json(&["run"]);
    assert_eq!(
        (exit, words(group(&report, "refs/heads/main"))),
        (0, vec![]),
        "{report}"
    );
    assert!(!world.memory().contains("GH013"), "{}", world.memory());
    assert!(!world.push("refs/heads/main").contains("rejected"));
}

#[test]
fn words_over_http_reach_the_operator_and_the_next_pusher() {
    journey("files", Place::Http(Mirror::with_token(TOKEN)));
}

#[test]
fn words_over_http_reach_them_from_a_stargate_with_reftables() {
    journey("reftable", Place::Http(Mirror::with_token(TOKEN)));
}

#[test]
fn words_over_ssh_reach_the_operator_and_the_next_pusher() {
    journey("files", Place::Ssh(Server::ssh(true)));
}

#[test]
fn words_over_ssh_reach_them_from_a_stargate_with_reftables() {
    journey("reftable", Place::Ssh(Server::ssh(true)));
}

#[test]
fn unknown_words_are_shown_as_they_are_and_the_token_is_not() {
    let world = World::over_http(&format!("echo 'ask Ann, token {TOKEN} is not hers' >&2\nexit 1\n"));
    world.push("refs/kv/main");
    let (exit, report) = world.json(&["run"]);
    let rejected = group(&report, "main");
    assert_eq!((exit, &rejected["advice"]), (1, &Value::Null), "{report}");
    let said = words(rejected);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with("ask Ann, token ") && said[0].ends_with(" is not hers"),
        "{said:?}"
    );
    assert_is_clean(&report.to_string());
    assert!(world.push("refs/kv/main").contains("stargate:   ask Ann"));
}

#[test]
fn of_many_words_the_first_and_the_last_are_kept() {
    let world = World::over_http("seq 1 500 | sed 's/$/ is a line that says little/' >&2\nexit 1\n");
    world.push("refs/kv/main");
    let (_, report) = world.json(&["run"]);
    let said = words(group(&report, "main"));
    assert_eq!(said.len(), git_push::MAX_WORDS, "{said:?}");
    assert!(said.concat().len() <= git_push::MAX_WORDS_BYTES);
    assert_eq!(said[0], "1 is a line that says little");
    assert!(said.contains(&"[481 lines left out]"), "{said:?}");
    assert_eq!(said[said.len() - 1], "500 is a line that says little");
}

#[test]
fn each_of_several_rejected_groups_has_its_own_words() {
    let script = "while read -r _ _ name; do case $name in refs/heads/*) echo \"never $name\" >&2; no=1;; esac; done\n\
                  [ -z \"$no\" ]\n";
    let world = World::over_http(script);
    for name in ["refs/heads/a", "refs/heads/b", "refs/kv/main"] {
        world.push(name);
    }
    let (exit, report) = world.json(&["run"]);
    assert_eq!(exit, 1, "{report}");
    for name in ["refs/heads/a", "refs/heads/b"] {
        assert_eq!(words(group(&report, name)), [format!("never {name}")], "{report}");
    }
    assert_eq!(group(&report, "main")["outcome"], "mirrored");
}
