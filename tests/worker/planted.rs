//! Planted faults: `doctor` finds each, and the commands in its hint mend it.
mod faults;

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use faults::{FILES, Fault, HOOKS, MIRROR, PENDING, fault, told};
use serde_json::Value;
use support::{
    forge::{Forge, json},
    mirror::{Format, Mirror},
    programs,
    stargate::{Stargate, clean_command, feed, git, stderr},
};

const NAME: &str = "o/r.git";
const TOKEN: &str = "canary-planted-3c8e";

/// Beginnings of the commands in hints that a test can run.
const RUN: [&str; 6] = ["stargate-mirror ", "git ", "chmod ", "rm ", "mv ", "mount "];

/// A repository without findings, and its mirror.
struct World {
    stargate: Stargate,
    remote: String,
    environment: Vec<(&'static str, String)>,
}

impl World {
    fn new(remote: &str) -> Self {
        let stargate = Stargate::with_hook();
        for (key, value) in [
            ("stargate.remote", remote),
            ("stargate.ref", "refs/heads/*"),
            ("stargate.attempts", "1"),
            ("core.fsync", "committed"),
        ] {
            stargate.configure(key, value);
        }
        let client = stargate.client("first");
        git(&client, ["push", "-q", "origin", "HEAD:refs/heads/main"]);
        World {
            stargate,
            remote: remote.to_owned(),
            environment: vec![("REMOTE", remote.to_owned())],
        }
    }

    /// One whose mirror is a folder.
    fn beside_a_folder() -> (tempfile::TempDir, Self) {
        let folder = tempfile::tempdir().expect("a folder");
        git(folder.path(), ["init", "-q", "--bare", "mirror.git"]);
        let world = World::new(&folder.path().join("mirror.git").display().to_string());
        (folder, world)
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Runs a shell script in the repository, which finds the programs under test.
    fn sh(&self, script: &str) -> Output {
        let programs = programs::mirror();
        let folder = programs.parent().expect("a folder").display();
        let mut command = self.in_here(clean_command("sh"));
        let path = std::env::var("PATH").expect("a path");
        command.args(["-ec", script]).env("PATH", format!("{folder}:{path}"));
        feed(command, "")
    }

    fn in_here(&self, mut command: Command) -> Command {
        command.current_dir(&self.stargate.git_dir);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "A Tester");
            command.env(format!("GIT_{role}_EMAIL"), "tester@example.com");
        }
        command
    }

    fn must(&self, script: &str) {
        let output = self.sh(script);
        assert!(output.status.success(), "{script}: {}", stderr(&output));
    }

    fn doctor(&self) -> Vec<Found> {
        let mut command = self.in_here(clean_command(programs::mirror()));
        command.args(["doctor", "--json", "--repo"]).arg(&self.stargate.git_dir);
        let output = feed(command, "");
        let text = String::from_utf8_lossy(&output.stdout);
        let said = stderr(&output);
        assert!(!text.contains("canary") && !said.contains("canary"), "{text}{said}");
        let diagnosis: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{said}"));
        Found::all(&diagnosis)
    }

    /// Plants faults, and mends them. If a hint did that, looks whether they are gone.
    fn assert_found_and_mended(&self, faults: &[Fault]) {
        faults.iter().for_each(|fault| self.must(fault.plant));
        let found = self.doctor();
        for fault in faults {
            let finding = finding_of(fault, &found);
            match fault.mend {
                Some(mend) => self.must(mend),
                None => self.run(&finding.hint),
            }
        }
        if faults.iter().any(|fault| fault.mend.is_none()) {
            self.assert_well();
        }
    }

    fn assert_well(&self) {
        let mut found = self.doctor();
        found.retain(|found| found.verdict != "ok");
        assert!(found.is_empty(), "{found:#?}");
    }

    /// Runs the commands of a hint. A search for the fault may exit with any code.
    fn run(&self, hint: &str) {
        let commands = hint.split('`').skip(1).step_by(2);
        let commands: Vec<_> = commands
            .filter(|command| RUN.iter().any(|begin| command.starts_with(begin)))
            .map(|command| command.replace(" URL", &format!(" {}", self.remote)))
            .collect();
        assert!(!commands.is_empty(), "no command in {hint}");
        for command in commands {
            let output = self.sh(&command);
            println!(
                "{command}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                stderr(&output)
            );
        }
    }
}

/// A check of `doctor`.
#[derive(Debug)]
struct Found {
    check: String,
    verdict: String,
    found: String,
    hint: String,
}

impl Found {
    fn all(diagnosis: &Value) -> Vec<Self> {
        let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
        let checks = diagnosis["checks"].as_array().expect("a list").iter();
        let checks = checks.map(|check| Found {
            check: text(check, "check"),
            verdict: text(check, "verdict"),
            found: text(check, "found"),
            hint: text(check, "hint"),
        });
        checks.collect()
    }
}

#[test]
fn faults_of_hooks_settings_and_files_are_found_and_mended_by_the_hint() {
    let (_folder, world) = World::beside_a_folder();
    world.must("stargate-mirror run --repo .");
    world.assert_well();
    for faults in HOOKS.iter().chain(&FILES) {
        world.assert_found_and_mended(faults);
    }
}

#[test]
fn faults_of_the_mirror_and_the_token_are_found() {
    let mirror = Mirror::with_token(TOKEN);
    let path = mirror.create(NAME, Format::Sha1);
    mirror.git(NAME, &["symbolic-ref", "HEAD", "refs/heads/main"]);
    mirror.create("o/other.git", Format::Sha256);
    let secret = tempfile::tempdir().expect("a folder");
    let file = secret.path().join("token").display().to_string();
    let forge = |added: Option<String>, scopes: &'static str| {
        let headers = format!("X-OAuth-Scopes: {scopes}");
        let api = move |_: &_| json("200 OK", &[headers.as_str()], "{}");
        Forge::start(Some(mirror.port()), added, api)
    };
    let late = forge(Some("Date: Sat, 28 Nov 2020 12:00:00 GMT".into()), "repo");
    let (scoped, github) = (forge(None, "read:org, gist"), forge(None, "repo"));
    let world = World::new(&mirror.url(NAME))
        .with("FILE", &file)
        .with("SECRET", TOKEN)
        .with("MIRROR", path.display().to_string())
        .with("SHA256", mirror.url("o/other.git"))
        .with("LATE", late.url(NAME))
        .with("SCOPED", scoped.url(NAME))
        .with("GITHUB", github.url(NAME));
    world.must("printf %s \"$SECRET\" > \"$FILE\" && chmod 600 \"$FILE\" && git config stargate.tokenFile \"$FILE\"");
    world.must("stargate-mirror run --repo .");
    world.assert_well();
    for fault in MIRROR.iter().chain(&PENDING) {
        world.assert_found_and_mended(std::slice::from_ref(fault));
    }
    world.assert_well();
}

#[test]
fn an_unknown_authority_is_found_and_its_file_mends_it() {
    let mirror = Mirror::with_tls();
    mirror.create(NAME, Format::Sha1);
    mirror.git(NAME, &["symbolic-ref", "HEAD", "refs/heads/main"]);
    let world = World::new(&mirror.url(NAME))
        .with("CERTIFICATE", mirror.certificate().display().to_string())
        .with("GITHUB_PAT", TOKEN);
    world.must("git config http.sslCAInfo \"$CERTIFICATE\" && stargate-mirror run --repo .");
    world.assert_found_and_mended(&[told(
        fault(
            "mirror",
            "problem",
            "git config --unset http.sslCAInfo",
            "the server's certificate is not trusted",
            "http.sslCAInfo",
        ),
        "git config http.sslCAInfo \"$CERTIFICATE\"",
    )]);
    world.assert_well();
}

/// Returns the finding of `doctor` about this fault.
fn finding_of<'a>(fault: &Fault, found: &'a [Found]) -> &'a Found {
    let [words, help] = fault.says;
    let is_it = |found: &&Found| found.check == fault.check && found.found.contains(words);
    let finding = found
        .iter()
        .find(is_it)
        .unwrap_or_else(|| panic!("{}: {words:?} is not among {found:#?}", fault.plant));
    assert_eq!(finding.verdict, fault.verdict, "{finding:?}");
    assert!(finding.hint.contains(help), "{help:?}: {finding:?}");
    finding
}

/// Runs `doctor` while `.stargate`, as only that process sees it, is on another file system.
#[test]
fn a_disk_that_is_full_or_read_only_is_found() {
    let (_folder, world) = World::beside_a_folder();
    let script = r#"
        unshare --map-root-user --mount sh -ec '
            cp -a .stargate ../aside
            mount -t tmpfs -o size=1m,nr_inodes=100 none .stargate
            cp -a ../aside/. .stargate
            stargate-mirror doctor --json --repo . || true
            mount -o remount,ro .stargate
            stargate-mirror doctor --json --repo . || true'"#;
    let output = world.sh(script);
    assert!(
        output.status.success(),
        "this test mounts a tmpfs in a namespace of its own: {}",
        stderr(&output)
    );
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let found: Vec<Vec<Found>> = printed
        .lines()
        .map(|line| Found::all(&serde_json::from_str(line).expect("JSON")))
        .collect();
    let [full, read_only] = &found[..] else {
        panic!("two answers: {printed}")
    };
    let says = |found: &[Found], words: &str| {
        let mut disks = found
            .iter()
            .filter(|found| found.check == "disk" && found.verdict == "problem");
        disks.any(|found| found.found.contains(words) && found.hint.contains('`'))
    };
    assert!(
        says(full, " KiB are free") && says(full, " inodes are free"),
        "{full:#?}"
    );
    assert!(
        !says(full, "read-only") && says(read_only, "read-only"),
        "{read_only:#?}"
    );
}

#[test]
fn root_has_a_summary_and_the_repositories_with_findings_and_fits_80_columns() {
    let (_folder, world) = World::beside_a_folder();
    world.must("stargate-mirror run --repo .");
    let root = tempfile::tempdir().expect("a folder");
    for name in ["good", "bad"] {
        let mut copy = clean_command("cp");
        copy.arg("-a")
            .arg(&world.stargate.git_dir)
            .arg(root.path().join(format!("{name}.git")));
        assert!(feed(copy, "").status.success());
    }
    let bad = root.path().join("bad.git");
    git(&bad, ["config", "--unset", "core.fsync"]);
    git(&bad, ["config", "stargate.remot", "x"]);
    let doctor = |arguments: &[&str]| {
        let mut command = clean_command(programs::mirror());
        command.arg("doctor").args(arguments).env_remove("COLUMNS");
        let output = feed(command, "");
        let printed = String::from_utf8(output.stdout).expect("UTF-8");
        (output.status.code(), printed)
    };
    let shown = root.path().display().to_string();
    let (exit, printed) = doctor(&["--root", &shown]);
    assert_eq!(exit, Some(4), "{printed}");
    assert!(!printed.contains("good.git") && !printed.contains("ok  "), "{printed}");
    assert!(
        printed.starts_with(&format!("{}:\nwarning  core.fsync", bad.display())),
        "{printed}"
    );
    let summary = format!("2 repositories below {shown}: 1 ok, 0 with warnings, 1 with problems\n");
    assert!(printed.ends_with(&summary), "{printed}");
    assert_narrow(&printed);

    let (_, printed) = doctor(&["--repo", &bad.display().to_string()]);
    assert!(
        printed
            .lines()
            .last()
            .is_some_and(|line| line.starts_with("1 problem, 1 warning, ")),
        "{printed}"
    );
    assert_narrow(&printed);
    let (exit, printed) = doctor(&["--root", &shown, "--json"]);
    let lines: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let repositories: Vec<_> = lines
        .iter()
        .map(|line| PathBuf::from(line["repository"].as_str().expect("a path")))
        .collect();
    assert_eq!((exit, repositories), (Some(4), vec![bad, root.path().join("good.git")]));
    assert!(
        lines.iter().all(|line| line["checks"][0]["check"].is_string()),
        "{printed}"
    );
}

/// Only a command or a path, which must be copied whole, is longer than 80 columns.
fn assert_narrow(printed: &str) {
    for line in printed.lines().filter(|line| line.chars().count() > 80) {
        let is_whole = line.contains('`') || line.trim().split(' ').count() <= 2 || line.contains(" below /");
        assert!(is_whole, "{line}");
    }
}
