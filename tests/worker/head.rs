//! HEAD of the mirror: reported, set on a local path, and set through the REST API of a forge.

use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use git_push::pkt_line;
use serde_json::Value;
use support::{
    mirror::{Format, Mirror},
    scripted::{Scripted, Step, answer},
    stargate::{Stargate, clean_command, feed, git},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
const TOKEN: &str = "canary-9d2f";

/// A Stargate with the branch `main`, which HEAD names, whose branches go to this mirror.
struct World {
    stargate: Stargate,
}

impl World {
    fn new(storage: &str, remote: &str) -> Self {
        let stargate = Stargate::of_formats("sha1", storage);
        git(&stargate.git_dir, ["symbolic-ref", "HEAD", "refs/heads/main"]);
        let client = stargate.client("one");
        git(&client, ["push", "-q", "origin", "HEAD:refs/heads/main"]);
        stargate.configure("stargate.remote", remote);
        stargate.configure("stargate.ref", "refs/heads/*");
        stargate.configure("stargate.attempts", "1");
        World { stargate }
    }

    /// The exit code, stdout and stderr.
    fn program(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = clean_command(PROGRAM);
        command
            .args(&arguments[..1])
            .arg("--repo")
            .arg(&self.stargate.git_dir)
            .args(&arguments[1..]);
        let output = feed(
            {
                command.env("GITHUB_PAT", TOKEN);
                command
            },
            "",
        );
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        assert!(!stdout.contains(TOKEN) && !stderr.contains(TOKEN), "{stdout}{stderr}");
        (output.status.code().expect("an exit code"), stdout, stderr)
    }

    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let (exit, stdout, stderr) = self.program(arguments);
        let value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
        (exit, value)
    }

    /// Returns the findings of `doctor` about HEAD.
    fn doctor(&self) -> (String, String) {
        let (_, found) = self.json(&["doctor", "--json"]);
        let checks = found["checks"].as_array().expect("checks");
        let check = checks
            .iter()
            .find(|check| check["check"] == "HEAD")
            .unwrap_or_else(|| panic!("{found}"));
        let text = |key: &str| check[key].as_str().expect("text").to_owned();
        (text("verdict"), text("found"))
    }

    /// Makes the next cycle compare both sides again.
    fn forget(&self) {
        std::fs::remove_file(self.stargate.git_dir.join(".stargate/worker.json")).expect("a memory");
    }

    fn main(&self) -> String {
        git(&self.stargate.git_dir, ["rev-parse", "refs/heads/main"])
    }
}

fn head_of(repository: &Path) -> String {
    git(repository, ["symbolic-ref", "HEAD"])
}

/// A bare repository with refs in this storage format, whose HEAD names `branch`.
fn mirror_at(folder: &Path, storage: &str, branch: &str) -> PathBuf {
    git(folder, ["init", "-q", "--bare", "--ref-format", storage, "mirror.git"]);
    let mirror = folder.join("mirror.git");
    git(&mirror, ["symbolic-ref", "HEAD", branch]);
    mirror
}

#[test]
fn a_local_mirror_whose_head_dangles_gets_the_stargates() {
    for storage in ["files", "reftable"] {
        let folder = tempfile::tempdir().expect("a folder");
        let mirror = mirror_at(folder.path(), storage, "refs/heads/other");
        let world = World::new(storage, &mirror.display().to_string());
        let expected = "the mirror's HEAD names refs/heads/other, which does not exist there; \
                        the Stargate's HEAD names refs/heads/main";
        assert_eq!(world.doctor(), ("warning".to_owned(), expected.to_owned()));
        let (exit, report) = world.json(&["run", "--json"]);
        assert_eq!(exit, 0, "{report}");
        let head = &report["head"];
        assert_eq!(
            (
                head["set"].as_bool(),
                head["dangling"].as_bool(),
                head["mirror"].as_str()
            ),
            (Some(true), Some(true), Some("refs/heads/other"))
        );
        assert_eq!(head_of(&mirror), "refs/heads/main");
        assert_eq!(
            world.doctor(),
            ("ok".to_owned(), "both sides name refs/heads/main".to_owned())
        );
        let clone = folder.path().join("clone");
        git(folder.path(), ["clone", "-q", "mirror.git", "clone"]);
        assert_eq!(git(&clone, ["rev-parse", "HEAD"]), world.main());
        world.forget();
        let (_, report) = world.json(&["run", "--json"]);
        assert!(report.get("head").is_none(), "nothing is left to set: {report}");
    }
}

#[test]
fn another_branch_is_replaced_by_the_stargates_and_follows_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mirror = mirror_at(folder.path(), "files", "refs/heads/main");
    let world = World::new("files", &mirror.display().to_string());
    world.program(&["run"]);
    git(
        &world.stargate.git_dir,
        ["update-ref", "refs/heads/trunk", "refs/heads/main"],
    );
    git(&world.stargate.git_dir, ["symbolic-ref", "HEAD", "refs/heads/trunk"]);
    // The branch is new on the mirror.
    let (exit, stdout, stderr) = world.program(&["run"]);
    assert_eq!(exit, 0, "{stderr}");
    assert!(stdout.contains("it was set to refs/heads/trunk"), "{stdout}");
    assert_eq!(head_of(&mirror), "refs/heads/trunk");
}

#[test]
fn a_head_that_is_left_alone_is_reported_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let mirror = mirror_at(folder.path(), "files", "refs/heads/other");
    let world = World::new("files", &mirror.display().to_string());
    world.stargate.configure("stargate.defaultBranch", "leave");
    let (exit, stdout, _) = world.program(&["run"]);
    assert!(
        exit == 0 && stdout.contains("it stays, because stargate.defaultBranch is leave"),
        "{stdout}"
    );
    assert_eq!(head_of(&mirror), "refs/heads/other");
    let (exit, status, _) = world.program(&["status"]);
    assert!(
        exit == 0 && status.contains("the mirror's HEAD names refs/heads/other, which does not exist there"),
        "{status}"
    );
    assert_eq!(world.doctor().0, "warning");
    git(&mirror, ["update-ref", "refs/heads/other", "refs/heads/main"]);
    assert_eq!(world.doctor().0, "ok", "another branch is what was asked for");
    assert_eq!(
        world.json(&["status", "--json"]).1["head"]["stargate"],
        "refs/heads/main"
    );
}

#[test]
fn without_mirrored_branches_and_without_a_branch_to_name_head_is_nobodys_business() {
    let folder = tempfile::tempdir().expect("a folder");
    let mirror = mirror_at(folder.path(), "files", "refs/heads/other");
    let world = World::new("files", &mirror.display().to_string());
    git(
        &world.stargate.git_dir,
        ["update-ref", "refs/kv/main", "refs/heads/main"],
    );
    git(&world.stargate.git_dir, ["config", "stargate.ref", "refs/kv/*"]);
    let (_, report) = world.json(&["run", "--json"]);
    assert!(
        report.get("head").is_none() && report["outcome"] == "mirrored",
        "{report}"
    );
    assert_eq!(head_of(&mirror), "refs/heads/other");
    git(&world.stargate.git_dir, ["config", "stargate.ref", "refs/heads/*"]);
    git(&world.stargate.git_dir, ["symbolic-ref", "HEAD", "refs/heads/none"]);
    world.forget();
    let (_, report) = world.json(&["run", "--json"]);
    assert!(report.get("head").is_none(), "{report}");
    assert_eq!(
        world.doctor(),
        (
            "warning".to_owned(),
            "the Stargate's HEAD names refs/heads/none, which does not exist".to_owned()
        )
    );
}

#[test]
fn a_repository_with_a_work_tree_keeps_its_head() {
    let folder = tempfile::tempdir().expect("a folder");
    git(folder.path(), ["init", "-q", "mirror"]);
    let mirror = folder.path().join("mirror");
    git(&mirror, ["symbolic-ref", "HEAD", "refs/heads/other"]);
    let world = World::new("files", &mirror.display().to_string());
    let (exit, stdout, stderr) = world.program(&["run"]);
    assert!(exit == 0 && stdout.contains("has a work tree"), "{stdout}{stderr}");
    assert_eq!(head_of(&mirror), "refs/heads/other");
}

fn lines(lines: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    lines
        .iter()
        .for_each(|line| pkt_line::data(&mut bytes, line.as_bytes()));
    pkt_line::flush(&mut bytes);
    bytes
}

fn reply(what: &str, body: &[u8]) -> Step {
    let content_type = format!("Content-Type: application/x-git-{what}");
    Step::Answer(answer("200 OK", &[&content_type], body))
}

/// A server whose only branch, `main`, is at `id`, whose HEAD names `master`, and whose API gives these answers.
fn forge(id: &str, api: Vec<Step>) -> Scripted {
    let refs = lines(&[format!(
        "{id} refs/heads/main\0report-status delete-refs ofs-delta atomic object-format=sha1\n"
    )]);
    let offered = ["version 2\n", "ls-refs=unborn\n", "fetch\n", "object-format=sha1\n"].map(str::to_owned);
    let head = lines(&["unborn HEAD symref-target:refs/heads/master\n".to_owned()]);
    let git = [
        reply("receive-pack-advertisement", &refs),
        reply("upload-pack-advertisement", &lines(&offered)),
        reply("upload-pack-result", &head),
    ];
    Scripted::serve(git.into_iter().chain(api))
}

#[test]
fn each_forge_gets_one_request_with_its_path_body_and_authorization() {
    let bearer = format!("Bearer {TOKEN}");
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("x-access-token:{TOKEN}")));
    for (name, repository, line, authorization) in [
        ("github", "o/r.git", "PATCH /api/v3/repos/o/r HTTP/1.1", &bearer),
        (
            "gitlab",
            "g/sub/r.git",
            "PUT /api/v4/projects/g%2Fsub%2Fr HTTP/1.1",
            &bearer,
        ),
        ("gitea", "o/r.git", "PATCH /api/v1/repos/o/r HTTP/1.1", &basic),
    ] {
        let world = World::new("files", "");
        // GitHub and GitLab are asked for the end of the token, too.
        let server = forge(&world.main(), vec![Step::Answer(answer("200 OK", &[], b"{}")); 2]);
        git(
            &world.stargate.git_dir,
            ["config", "stargate.remote", &server.url(repository)],
        );
        world.stargate.configure("stargate.forge", name);
        let (exit, report) = world.json(&["run", "--json"]);
        assert_eq!(
            (exit, report["head"]["set"].as_bool()),
            (0, Some(true)),
            "{name}: {report}"
        );
        let received = server.received();
        let requests = if name == "gitea" { 4 } else { 5 };
        assert_eq!(received.len(), requests, "{name}: {received:?}");
        let request = &received[3];
        assert_eq!(request.line, line);
        assert_eq!(request.body, b"{\"default_branch\":\"main\"}");
        assert_eq!(request.field("Authorization"), Some(authorization.as_str()), "{name}");
        assert_eq!(request.field("Content-Type"), Some("application/json"));
        assert_eq!(report["http_requests"], requests, "{report}");
    }
}

#[test]
fn an_api_that_refuses_fails_no_cycle_and_is_reported_once() {
    let mirror = Mirror::with_token(TOKEN);
    mirror.create("o/r.git", Format::Sha1);
    mirror.git("o/r.git", &["symbolic-ref", "HEAD", "refs/heads/master"]);
    let world = World::new("files", &mirror.url("o/r.git"));
    // Nothing answers below /api here.
    world.stargate.configure("stargate.forge", "github");
    let (exit, stdout, stderr) = world.program(&["run"]);
    assert_eq!(exit, 0, "{stderr}");
    assert!(
        stdout.contains("it could not be set: ") && stdout.contains("does not let this token change"),
        "{stdout}"
    );
    assert!(
        stderr.contains("the mirror's HEAD names refs/heads/master, which does not exist there"),
        "{stderr}"
    );
    let asked = || {
        mirror
            .requests()
            .iter()
            .filter(|request| request.contains("/api/v3/repos/o/r"))
            .count()
    };
    assert_eq!(asked(), 1);
    let (exit, status, _) = world.program(&["status"]);
    assert!(exit == 0 && status.contains("it could not be set: "), "{status}");
    // Without a comparison it is not tried again.
    let (exit, _, stderr) = world.program(&["run"]);
    assert_eq!((exit, asked(), stderr.as_str()), (0, 1, ""));
    // After one, the same failure is not logged again.
    let memory = world.stargate.git_dir.join(".stargate/worker.json");
    let mut text: Value = serde_json::from_slice(&std::fs::read(&memory).unwrap()).unwrap();
    text["mirror"]["reconciled_at"] = 0.into();
    std::fs::write(&memory, text.to_string()).unwrap();
    let (exit, _, stderr) = world.program(&["run"]);
    assert_eq!((exit, asked(), stderr.as_str()), (0, 2, ""));
}

#[test]
fn an_unknown_server_is_asked_for_nothing() {
    for setting in [None, Some("none")] {
        let world = World::new("files", "");
        let server = forge(&world.main(), Vec::new());
        git(
            &world.stargate.git_dir,
            ["config", "stargate.remote", &server.url("o/r.git")],
        );
        setting
            .into_iter()
            .for_each(|setting| world.stargate.configure("stargate.forge", setting));
        let (exit, report) = world.json(&["run", "--json"]);
        let error = report["head"]["error"].as_str().unwrap_or_default();
        assert!(
            exit == 0 && error.contains("not known to be GitHub, GitLab or Gitea"),
            "{report}"
        );
        assert_eq!(server.received().len(), 3);
    }
}

#[test]
fn every_refusal_of_an_api_has_its_words_and_none_repeats_the_answer() {
    let world = World::new("files", "");
    world.stargate.configure("stargate.forge", "gitlab");
    for (status, words) in [
        (
            "301 Moved Permanently",
            "redirects, and redirects are not followed (HTTP 301)",
        ),
        (
            "401 Unauthorized",
            "does not let this token change the repository (HTTP 401)",
        ),
        ("403 Forbidden", "give the token the scope api and the role Maintainer"),
        ("422 Unprocessable Content", "refuses the change (HTTP 422)"),
        ("503 Service Unavailable", "failed, or asks to retry later (HTTP 503)"),
    ] {
        let refusal = answer(
            status,
            &["Location: http://127.0.0.1:9/", "Content-Type: text/plain"],
            TOKEN.as_bytes(),
        );
        let server = forge(&world.main(), vec![Step::Answer(refusal)]);
        git(
            &world.stargate.git_dir,
            ["config", "stargate.remote", &server.url("o/r.git")],
        );
        let (exit, report) = world.json(&["run", "--json"]);
        let error = report["head"]["error"].as_str().unwrap_or_default();
        assert!(exit == 0 && error.contains(words), "{status}: {report}");
        assert_eq!(server.received().len(), 4, "one request to the API");
        world.forget();
    }
}
