//! Tokens: one for each server and owner, their files, their ends, and what is said about one that is refused.

use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use support::{
    forge::{Forge, json},
    mirror::{Format, Mirror},
    running::Running,
    stargate::{Stargate, clean_command, feed, git},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
const NAME: &str = "o/r.git";
const TOKEN: &str = "canary-6e1f";

/// A Stargate with the branch `main`, whose branches go to `remote`.
fn stargate(remote: &str) -> Stargate {
    let stargate = Stargate::with_hook();
    for (key, value) in [
        ("stargate.remote", remote),
        ("stargate.ref", "refs/heads/*"),
        ("stargate.attempts", "1"),
        ("stargate.defaultBranch", "leave"),
    ] {
        stargate.configure(key, value);
    }
    let client = stargate.client("first");
    git(&client, ["push", "-q", "origin", "HEAD:refs/heads/main"]);
    stargate
}

fn mirror(token: &str) -> Mirror {
    let mirror = Mirror::with_token(token);
    mirror.create(NAME, Format::Sha1);
    mirror
}

/// Writes a file that only its owner can read.
fn secret(stargate: &Stargate, name: &str, text: &str) -> PathBuf {
    let path = stargate.folder().join(name);
    std::fs::write(&path, text).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    path
}

/// Returns the exit code, and the output.
fn program(stargate: &Stargate, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let mut command = clean_command(PROGRAM);
    command.args(arguments).arg("--repo").arg(&stargate.git_dir);
    command.envs(environment.iter().copied());
    let output = feed(command, "");
    let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
    assert!(!said.contains("canary"), "{said}");
    (output.status.code().expect("an exit code"), said)
}

/// The verdicts and findings of `doctor` about the token.
fn doctor(stargate: &Stargate, environment: &[(&str, &str)]) -> Vec<(String, String)> {
    let (_, said) = program(stargate, &["doctor", "--json"], environment);
    let diagnosis: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let checks = diagnosis["checks"].as_array().expect("checks").iter();
    let text = |check: &Value, key: &str| check[key].as_str().expect("text").to_owned();
    checks
        .filter(|check| check["check"] == "token")
        .map(|check| (text(check, "verdict"), text(check, "found")))
        .collect()
}

fn memory(stargate: &Stargate) -> (PathBuf, Value) {
    let path = stargate.git_dir.join(".stargate/worker.json");
    let text = std::fs::read_to_string(&path).expect("a memory");
    assert!(!text.contains("canary"), "{text}");
    (path, serde_json::from_str(&text).expect("JSON"))
}

/// Changes the only remembered token.
fn remember(stargate: &Stargate, change: impl FnOnce(&mut Value)) {
    let (path, mut memory) = memory(stargate);
    let tokens = memory["tokens"].as_object_mut().expect("tokens");
    change(tokens.values_mut().next().expect("a token"));
    std::fs::write(path, memory.to_string()).expect("writable");
}

#[test]
fn one_worker_serves_several_owners_with_a_token_each() {
    let mirrors = ["canary-one", "canary-two"].map(mirror);
    let stargates = mirrors.each_ref().map(|mirror| stargate(&mirror.url(NAME)));
    let mut global = String::new();
    for (mirror, token) in mirrors.iter().zip(["canary-one\n", "canary-two\n"]) {
        let path = secret(&stargates[0], &format!("token-{}", mirror.port()), token);
        global += &format!("[stargate \"{}\"]\ntokenFile = {}\n", mirror.url("o"), path.display());
    }
    // The token of another server is not used in place of them.
    let file = secret(&stargates[0], "gitconfig", &global).display().to_string();
    let environment = [("GIT_CONFIG_GLOBAL", file.as_str()), ("GITHUB_PAT", "canary-other")];
    let second = stargates[1].git_dir.display().to_string();
    let (exit, said) = program(&stargates[0], &["run", "--repo", &second], &environment);
    assert_eq!(exit, 0, "{said}");
    for (mirror, stargate) in mirrors.iter().zip(&stargates) {
        let expected = git(&stargate.git_dir, ["rev-parse", "refs/heads/main"]);
        assert_eq!(mirror.git(NAME, &["rev-parse", "refs/heads/main"]).trim(), expected);
    }
    // Without the sections nothing is accepted.
    let (exit, said) = program(&stargates[0], &["doctor"], &[("GITHUB_PAT", "canary-other")]);
    assert!(
        exit == 4 && said.contains("the server refuses the credentials"),
        "{exit}: {said}"
    );
}

#[test]
fn a_token_file_can_be_a_systemd_credential() {
    let mirror = mirror(TOKEN);
    let stargate = stargate(&mirror.url(NAME));
    secret(&stargate, "mirror-token", &format!("{TOKEN}\n"));
    stargate.configure("stargate.tokenFile", "mirror-token");
    let (exit, said) = program(&stargate, &["run"], &[]);
    assert!(
        exit == 4 && said.contains("CREDENTIALS_DIRECTORY is not set"),
        "{exit}: {said}"
    );
    let folder = stargate.folder().display().to_string();
    let (exit, said) = program(&stargate, &["run"], &[("CREDENTIALS_DIRECTORY", &folder)]);
    assert_eq!(exit, 0, "{said}");
    // The environment overrides the setting of all URLs.
    mirror.set_token("canary-env");
    let environment = [("CREDENTIALS_DIRECTORY", folder.as_str()), ("GITHUB_PAT", "canary-env")];
    let (exit, said) = program(&stargate, &["doctor"], &environment);
    assert!(said.contains("answers and has 1 ref"), "{exit}: {said}");
}

#[test]
fn doctor_warns_of_a_token_file_that_others_can_read() {
    let mirror = mirror(TOKEN);
    let stargate = stargate(&mirror.url(NAME));
    let path = secret(&stargate, "token", TOKEN);
    let file = path.display().to_string();
    let by_variable = [("GITHUB_PAT_FILE", file.as_str())];
    let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    for environment in [&by_variable[..], &[]] {
        for mode in [0o600, 0o640] {
            set_mode(mode);
            assert_eq!(doctor(&stargate, environment), [], "{mode:o}");
        }
        set_mode(0o644);
        let expected = format!("{file} is open to every user of this machine (mode 0644)");
        assert_eq!(doctor(&stargate, environment), [("warning".to_owned(), expected)]);
        stargate.configure("stargate.tokenFile", &file);
    }
}

/// A server that says that each token ends after this time, and its end.
fn ending(mirror: &Mirror, after: SignedDuration) -> (Forge, Timestamp) {
    let end = Timestamp::from_second((Timestamp::now() + after).as_second()).expect("a time");
    let header = format!(
        "GitHub-Authentication-Token-Expiration: {}",
        end.strftime("%Y-%m-%d %H:%M:%S UTC")
    );
    let forge = Forge::start(Some(mirror.port()), Some(header), |_| json("404 Not Found", &[], "{}"));
    (forge, end)
}

#[test]
fn the_end_of_a_token_is_shown_and_warned_of_once_a_day() {
    let mirror = mirror(TOKEN);
    let environment = [("GITHUB_PAT", TOKEN)];
    let (forge, end) = ending(&mirror, SignedDuration::from_hours(24 * 3 + 1));
    let stargate = stargate(&forge.url(NAME));
    let expected = format!("the token ends at {end}, in 3 days");
    let (exit, said) = program(&stargate, &["run"], &environment);
    assert!(exit == 0 && said.contains(&expected), "{exit}: {said}");
    let (_, found) = memory(&stargate);
    let token = &found["tokens"][forge.url(NAME)];
    assert_eq!(token["expires_at"], end.as_second(), "{found}");
    assert!(token["accepted_at"].is_i64(), "{found}");
    assert_eq!(
        doctor(&stargate, &environment),
        [("warning".to_owned(), expected.clone())]
    );
    let (exit, said) = program(&stargate, &["status"], &[]);
    assert!(exit == 0 && said.contains(&expected), "{said}");
    let (_, said) = program(&stargate, &["status", "--json"], &[]);
    let status: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(status["token"]["expires_at"], end.to_string());

    // Not again on the same day, and then again.
    let (exit, said) = program(&stargate, &["run"], &environment);
    assert_eq!((exit, said.contains("the token ends")), (0, false), "{said}");
    remember(&stargate, |token| {
        token["warned_at"] = (Timestamp::now().as_second() - 25 * 60 * 60).into()
    });
    let repo = stargate.git_dir.display().to_string();
    let watch = Running::start(&["watch", "--repo", &repo], &environment);
    watch.until(&expected);
    let (_, said) = watch.terminate();
    assert_eq!(said.matches("the token ends").count(), 1, "{said}");
}

#[test]
fn a_token_that_lasts_is_shown_without_a_warning() {
    let mirror = mirror(TOKEN);
    let environment = [("GITHUB_PAT", TOKEN)];
    let (forge, end) = ending(&mirror, SignedDuration::from_hours(24 * 15 + 1));
    let stargate = stargate(&forge.url(NAME));
    let (exit, said) = program(&stargate, &["run"], &environment);
    assert!(exit == 0 && !said.contains("the token ends"), "{exit}: {said}");
    let expected = format!("the token ends at {end}, in 15 days");
    assert_eq!(doctor(&stargate, &environment), [("ok".to_owned(), expected)]);
}

#[test]
fn github_and_gitlab_are_asked_once_a_day_for_the_end() {
    let cases = [
        (
            "github",
            "GET /api/v3/rate_limit",
            "2026-12-24 10:00:00 +0100",
            "{}",
            "2026-12-24T09:00:00Z",
        ),
        (
            "gitlab",
            "GET /api/v4/personal_access_tokens/self",
            "",
            "{\"expires_at\":\"2030-12-24\"}",
            "2030-12-24T00:00:00Z",
        ),
    ];
    for (name, asked, header, body, expected) in cases {
        let mirror = mirror(TOKEN);
        let environment = [("GITHUB_PAT", TOKEN)];
        let forge = Forge::start(Some(mirror.port()), None, move |request| {
            assert_eq!(request.field("Authorization"), Some(format!("Bearer {TOKEN}").as_str()));
            let header = format!("github-authentication-token-expiration: {header}");
            json(
                "200 OK",
                if name == "github" {
                    vec![header.as_str()]
                } else {
                    Vec::new()
                }
                .as_slice(),
                body,
            )
        });
        let stargate = stargate(&forge.url(NAME));
        stargate.configure("stargate.forge", name);
        for _ in 0..2 {
            let (exit, said) = program(&stargate, &["run"], &environment);
            assert_eq!(exit, 0, "{said}");
            assert_eq!(forge.lines(), [asked], "once");
        }
        let (_, found) = memory(&stargate);
        let end: Timestamp = expected.parse().expect("a time");
        assert_eq!(found["tokens"][forge.url(NAME)]["expires_at"], end.as_second());
        assert!(doctor(&stargate, &environment)[0].1.contains(expected));
        // A day later.
        remember(&stargate, |token| {
            token["asked_at"] = (Timestamp::now().as_second() - 25 * 60 * 60).into()
        });
        let (path, mut memory) = memory(&stargate);
        memory["mirror"]["reconciled_at"] = 0.into();
        std::fs::write(path, memory.to_string()).expect("writable");
        program(&stargate, &["run"], &environment);
        assert_eq!(forge.lines(), [asked, asked, asked], "doctor asks, too");
    }
}

#[test]
fn a_token_without_an_end_and_one_that_may_not_read_about_itself_are_no_trouble() {
    for (status, body, expected) in [
        (
            "200 OK",
            "{\"expires_at\":null}",
            Some(("ok", "the token does not expire")),
        ),
        ("403 Forbidden", "{\"error\":\"insufficient_scope\"}", None),
        ("401 Unauthorized", "{}", None),
    ] {
        let mirror = mirror(TOKEN);
        let forge = Forge::start(Some(mirror.port()), None, move |_| json(status, &[], body));
        let stargate = stargate(&forge.url(NAME));
        stargate.configure("stargate.forge", "gitlab");
        let environment = [("GITHUB_PAT", TOKEN)];
        let (exit, said) = program(&stargate, &["run"], &environment);
        assert_eq!(exit, 0, "{said}");
        let expected = expected.map(|(verdict, found)| (verdict.to_owned(), found.to_owned()));
        assert_eq!(doctor(&stargate, &environment), Vec::from_iter(expected), "{status}");
    }
}

#[test]
fn a_token_that_worked_and_is_refused_now_says_until_when() {
    let mirror = mirror(TOKEN);
    let stargate = stargate(&mirror.url(NAME));
    let environment = [("GITHUB_PAT", TOKEN)];
    let (exit, said) = program(&stargate, &["run"], &environment);
    assert_eq!(exit, 0, "{said}");
    let accepted: Timestamp = "2026-08-01T10:00:00Z".parse().expect("a time");
    remember(&stargate, |token| token["accepted_at"] = accepted.as_second().into());
    mirror.set_token("another");
    let client = stargate.folder().join("client");
    git(&client, ["commit", "-q", "--allow-empty", "-m", "more"]);
    git(&client, ["push", "-q", "origin", "HEAD:refs/heads/main"]);
    let expected = "the token was accepted until 2026-08-01T10:00:00Z";
    let (exit, said) = program(&stargate, &["run"], &environment);
    assert!(exit == 4 && said.contains(expected), "{exit}: {said}");
    for command in ["status", "doctor"] {
        let (_, said) = program(&stargate, &[command], &environment);
        assert!(said.contains(expected), "{command}: {said}");
    }
    // It is accepted again, and that is remembered.
    mirror.set_token(TOKEN);
    let (exit, said) = program(&stargate, &["run"], &environment);
    assert_eq!(exit, 0, "{said}");
    let (_, found) = memory(&stargate);
    let seconds = found["tokens"][mirror.url(NAME)]["accepted_at"]
        .as_i64()
        .expect("a time");
    assert!(seconds > accepted.as_second(), "{found}");
}
