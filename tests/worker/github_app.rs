//! A GitHub App: real pushes behind a scripted API, with the answers that GitHub documents.
mod renewal;

use std::path::PathBuf;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use support::{
    forge::{Forge, is_signed_by, json, rsa_key},
    mirror::{Format, Mirror},
    scripted::Received,
    stargate::{Stargate, clean_command, feed, git},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
const NAME: &str = "o/r.git";
const TOKEN: &str = "ghs_canary4b1d";
const INSTALLATION: &str = "GET /api/v3/repos/o/r/installation";
const OF_OWNER: &str = "GET /api/v3/users/o/installation";
const ACCESS_TOKENS: &str = "POST /api/v3/app/installations/42/access_tokens";

/// A Stargate whose branches go to a forge, and the files of an App's key.
struct World {
    stargate: Stargate,
    private: PathBuf,
    public: PathBuf,
}

impl World {
    fn new(is_pkcs1: bool) -> Self {
        let stargate = Stargate::with_hook();
        for (key, value) in [
            ("stargate.ref", "refs/heads/*"),
            ("stargate.forge", "github"),
            ("stargate.attempts", "1"),
            ("stargate.defaultBranch", "leave"),
        ] {
            stargate.configure(key, value);
        }
        let client = stargate.client("first");
        git(&client, ["push", "-q", "origin", "HEAD:refs/heads/main"]);
        let [private, public] = rsa_key(stargate.folder(), is_pkcs1);
        World {
            stargate,
            private,
            public,
        }
    }

    fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("STARGATE_GITHUB_APP", "7".to_owned()),
            ("STARGATE_GITHUB_APP_KEY_FILE", self.private.display().to_string()),
        ]
    }

    /// Returns the exit code, and the output of `run`.
    fn run(&self, forge: &Forge, environment: &[(&str, String)]) -> (i32, String) {
        self.program("run", &["--remote", &forge.url(NAME)], environment)
    }

    fn program(&self, name: &str, arguments: &[&str], environment: &[(&str, String)]) -> (i32, String) {
        let mut command = clean_command(PROGRAM);
        command
            .arg(name)
            .arg("--repo")
            .arg(&self.stargate.git_dir)
            .args(arguments);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let output = feed(command, "");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).expect("UTF-8");
        assert!(!said.contains("canary") && !said.contains("eyJ"), "{said}");
        (output.status.code().expect("an exit code"), said)
    }

    fn main(&self) -> String {
        git(&self.stargate.git_dir, ["rev-parse", "refs/heads/main"])
    }

    /// Pushes a commit with this file.
    fn push(&self, file: &str, text: &str) {
        let client = self.stargate.folder().join("client");
        let path = client.join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
        git(&client, ["add", "."]);
        git(&client, ["commit", "-q", "-m", "more"]);
        git(&client, ["push", "-q", "origin", "HEAD:refs/heads/main"]);
    }

    /// Checks a token that was sent to the API, and returns its claims.
    fn claims(&self, request: &Received) -> Value {
        let value = request.field("Authorization").expect("a token");
        let token = value.strip_prefix("Bearer ").expect("a bearer token");
        let (message, signature) = token.rsplit_once('.').expect("a signature");
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64");
        assert!(is_signed_by(&self.public, message.as_bytes(), &decode(signature)));
        let (header, claims) = message.split_once('.').expect("claims");
        let header: Value = serde_json::from_slice(&decode(header)).expect("JSON");
        assert_eq!(header, serde_json::json!({"alg": "RS256", "typ": "JWT"}));
        serde_json::from_slice(&decode(claims)).expect("JSON")
    }
}

fn mirror(token: &str) -> Mirror {
    let mirror = Mirror::with_token(token);
    mirror.create(NAME, Format::Sha1);
    mirror
}

fn line(request: &Received) -> &str {
    request.line.trim_end_matches(" HTTP/1.1")
}

/// The answer with a token that ends after this time.
fn made(token: &str, seconds: i64) -> Vec<u8> {
    let end = Timestamp::now() + SignedDuration::from_secs(seconds);
    let end = Timestamp::from_second(end.as_second()).expect("a time");
    let body = format!("{{\"token\":\"{token}\",\"expires_at\":\"{end}\",\"permissions\":{{\"contents\":\"write\"}}}}");
    json("201 Created", &[], &body)
}

fn not_found() -> Vec<u8> {
    json("404 Not Found", &[], "{\"message\":\"Not Found\"}")
}

/// GitHub, where the App has the installation 42.
fn github(request: &Received) -> Vec<u8> {
    match line(request) {
        INSTALLATION => json("200 OK", &[], "{\"id\":42,\"suspended_at\":null}"),
        ACCESS_TOKENS => made(TOKEN, 3600),
        _ => not_found(),
    }
}

fn body(request: &Received) -> Value {
    serde_json::from_slice(&request.body).expect("JSON")
}

#[test]
fn an_app_pushes_with_a_token_for_the_repository_and_its_contents_only() {
    for is_pkcs1 in [true, false] {
        let mirror = mirror(TOKEN);
        let forge = Forge::start(Some(mirror.port()), None, github);
        let world = World::new(is_pkcs1);
        let environment = if is_pkcs1 {
            world.environment()
        } else {
            let pem = std::fs::read_to_string(&world.private).expect("a key");
            [
                ("STARGATE_GITHUB_APP", "Iv1.c0".to_owned()),
                ("STARGATE_GITHUB_APP_KEY", pem),
            ]
        };
        let before = Timestamp::now().as_second();
        let (exit, said) = world.run(&forge, &environment);
        assert_eq!(exit, 0, "{said}");
        assert_eq!(mirror.git(NAME, &["rev-parse", "refs/heads/main"]).trim(), world.main());
        assert_eq!(forge.lines(), [INSTALLATION, ACCESS_TOKENS]);
        let received = forge.received();
        let expected = serde_json::json!({"repositories": ["r"], "permissions": {"contents": "write"}});
        assert_eq!(body(&received[1]), expected);
        for request in &received {
            let claims = world.claims(request);
            let issuer = if is_pkcs1 { Value::from(7) } else { "Iv1.c0".into() };
            assert_eq!(claims["iss"], issuer);
            let time = |name: &str| claims[name].as_i64().expect("a number");
            assert!(time("iat") <= before && time("exp") > before, "{claims}");
            assert!(time("exp") - time("iat") <= 600, "GitHub takes ten minutes: {claims}");
        }
    }
}

#[test]
fn an_app_in_git_configuration_is_the_same() {
    let mirror = mirror(TOKEN);
    let forge = Forge::start(Some(mirror.port()), None, github);
    let world = World::new(true);
    let section = format!("stargate.{}", forge.url("o"));
    world.stargate.configure(&format!("{section}.githubApp"), "7");
    world
        .stargate
        .configure(&format!("{section}.githubAppKey"), &world.private.display().to_string());
    let (exit, said) = world.run(&forge, &[]);
    assert_eq!(
        (exit, mirror.git(NAME, &["rev-parse", "refs/heads/main"]).trim()),
        (0, &*world.main()),
        "{said}"
    );
    let (exit, said) = world.program("doctor", &["--remote", &forge.url(NAME)], &[]);
    assert!(said.contains("the GitHub App creates tokens"), "{exit}: {said}");
    assert!(!said.contains("settings:"), "{said}");
}

#[test]
fn a_push_of_workflow_files_asks_for_that_permission_and_another_one_does_not() {
    let mirror = mirror(TOKEN);
    let forge = Forge::start(Some(mirror.port()), None, github);
    let world = World::new(true);
    let permissions = |request: &Received| body(request)["permissions"].clone();
    for (file, expected) in [
        ("a.txt", vec![serde_json::json!({"contents": "write"})]),
        (
            ".github/workflows/ci.yml",
            vec![
                serde_json::json!({"contents": "write"}),
                serde_json::json!({"contents": "write", "workflows": "write"}),
            ],
        ),
        ("b.txt", vec![serde_json::json!({"contents": "write"})]),
    ] {
        world.push(file, "text\n");
        let before = forge.received().len();
        // So that the mirror is asked first.
        let _ = std::fs::remove_file(world.stargate.git_dir.join(".stargate/worker.json"));
        let (exit, said) = world.run(&forge, &world.environment());
        assert_eq!(exit, 0, "{said}");
        let received = forge.received().split_off(before);
        let asked: Vec<_> = received
            .iter()
            .filter(|request| line(request) == ACCESS_TOKENS)
            .map(permissions)
            .collect();
        assert_eq!(asked, expected, "{file}");
        assert_eq!(mirror.git(NAME, &["rev-parse", "refs/heads/main"]).trim(), world.main());
    }
}

#[test]
fn an_app_without_the_permission_for_workflows_is_warned_of_and_the_server_decides() {
    let mirror = mirror(TOKEN);
    let forge = Forge::start(Some(mirror.port()), None, |request| {
        if line(request) == ACCESS_TOKENS && !body(request)["permissions"]["workflows"].is_null() {
            let message = "{\"message\":\"The permissions requested are not granted to this installation.\"}";
            return json("422 Unprocessable Entity", &[], message);
        }
        github(request)
    });
    let world = World::new(true);
    world.push(".github/workflows/ci.yml", "on: push\n");
    let (exit, said) = world.run(&forge, &world.environment());
    assert!(
        exit == 0 && said.contains("has no permission to change workflows"),
        "{exit}: {said}"
    );
    assert_eq!(mirror.git(NAME, &["rev-parse", "refs/heads/main"]).trim(), world.main());
}

/// Answers of the API, by the first line of the request.
type Answers = &'static [(&'static str, &'static str, &'static [&'static str], &'static str)];

#[test]
fn every_refusal_says_what_to_do_and_a_failure_is_retried() {
    const INSTALLED: (&str, &str, &[&str], &str) = (INSTALLATION, "200 OK", &[], "{\"id\":42}");
    let cases: &[(Answers, i32, &[&str])] = &[
        (
            &[],
            4,
            &[
                "the GitHub App 7 is not installed for o (HTTP 404)",
                "install the App on its page",
            ],
        ),
        (
            &[(OF_OWNER, "200 OK", &[], "{\"id\":42}")],
            4,
            &[
                "is installed for o, but not for its repository r (HTTP 404)",
                "give the installation access",
            ],
        ),
        (
            &[(
                INSTALLATION,
                "401 Unauthorized",
                &[],
                "{\"message\":\"A JSON web token could not be decoded\"}",
            )],
            4,
            &[
                "GitHub refuses the signature of the GitHub App 7 (HTTP 401)",
                "private key belongs to this App",
            ],
        ),
        (
            &[
                INSTALLED,
                (
                    ACCESS_TOKENS,
                    "403 Forbidden",
                    &[],
                    "{\"message\":\"This installation has been suspended\"}",
                ),
            ],
            4,
            &[
                "the installation of the GitHub App 7 for o is suspended (HTTP 403)",
                "unsuspend it",
            ],
        ),
        (
            &[
                INSTALLED,
                (
                    ACCESS_TOKENS,
                    "422 Unprocessable Entity",
                    &[],
                    "{\"message\":\"The permissions requested…\"}",
                ),
            ],
            4,
            &[
                "does not grant the GitHub App 7 the permissions that it needs for o (HTTP 422)",
                "Contents (write)",
            ],
        ),
        (
            &[(
                INSTALLATION,
                "301 Moved Permanently",
                &["Location: /api/v3/repositories/1"],
                "{}",
            )],
            4,
            &["redirects, and redirects are not followed (HTTP 301)"],
        ),
        (
            &[(
                INSTALLATION,
                "403 Forbidden",
                &["X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 99"],
                "{}",
            )],
            1,
            &["accepts no more requests for now (HTTP 403)"],
        ),
        (
            &[(INSTALLATION, "429 Too Many Requests", &["Retry-After: 9"], "{}")],
            1,
            &["no more requests for now (HTTP 429)"],
        ),
        (
            &[(INSTALLATION, "502 Bad Gateway", &[], "<html>")],
            1,
            &["failed, or asks to retry later (HTTP 502)"],
        ),
        (
            &[INSTALLED, (ACCESS_TOKENS, "201 Created", &[], "no JSON")],
            1,
            &["an unexpected answer (HTTP 201)"],
        ),
        (
            &[(INSTALLATION, "200 OK", &[], "{\"id\":\"x\"}")],
            1,
            &["an unexpected answer (HTTP 200)"],
        ),
    ];
    let world = World::new(true);
    for (answers, expected_exit, expected) in cases {
        let forge = Forge::start(None, None, |request| {
            let found = answers.iter().find(|(asked, ..)| *asked == line(request));
            found.map_or_else(not_found, |(_, status, headers, body)| json(status, headers, body))
        });
        let (exit, said) = world.run(&forge, &world.environment());
        assert_eq!(exit, *expected_exit, "{said}");
        let (_, diagnosis) = world.program("doctor", &["--remote", &forge.url(NAME)], &world.environment());
        for words in *expected {
            assert!(diagnosis.contains(words), "{words:?} is not in {diagnosis}");
        }
        assert!(said.contains(expected[0]), "{said}");
    }
}
