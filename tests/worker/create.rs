//! `create` and `install --create`: an empty private repository through the API of each forge.

use serde_json::{Value, json};
use support::{
    forge::{self, Forge, rsa_key},
    mirror::{Format, Mirror},
    scripted::Received,
    stargate::{Stargate, clean_command, feed, git},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
const TOKEN: &str = "canary-3c7a";
const SOURCE: &str = "git@stargate.example:o/r.git";
const DESCRIPTION: &str = "mirror of o/r; push to git@stargate.example:o/r.git";

/// Returns the exit code, and the output.
fn program(arguments: &[&str]) -> (i32, String) {
    let mut command = clean_command(PROGRAM);
    let output = feed(
        {
            command.args(arguments).env("GITHUB_PAT", TOKEN);
            command
        },
        "",
    );
    let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
    assert!(!said.contains(TOKEN), "{said}");
    (output.status.code().expect("an exit code"), said)
}

fn create(stargate: &Stargate, url: &str, host: &str) -> (i32, String) {
    let repo = stargate.git_dir.display().to_string();
    program(&[
        "create", "--repo", &repo, "--remote", url, "--host", host, "--source", SOURCE,
    ])
}

fn line(request: &Received) -> &str {
    request.line.trim_end_matches(" HTTP/1.1")
}

/// A forge that answers these requests with these statuses and bodies, and others with 404.
fn forge(answers: Answers) -> Forge {
    Forge::start(None, None, |request| {
        let found = answers.iter().find(|(asked, ..)| *asked == line(request));
        let (_, status, body) = found.copied().unwrap_or(("", "404 Not Found", "{}"));
        forge::json(status, &[], body)
    })
}

fn body(request: &Received) -> Value {
    serde_json::from_slice(&request.body).expect("JSON")
}

/// First lines of requests, with the status and the body of each answer.
type Answers = &'static [(&'static str, &'static str, &'static str)];

#[test]
fn each_forge_makes_an_empty_private_repository_for_a_user_or_a_group() {
    let stargate = Stargate::bare();
    type Requests = Vec<(&'static str, Option<Value>)>;
    let cases: [(&str, &str, Answers, Requests); 5] = [
        (
            "github",
            "o/r.git",
            &[
                ("GET /api/v3/user", "200 OK", "{\"login\":\"O\"}"),
                ("POST /api/v3/user/repos", "201 Created", "{}"),
            ],
            vec![
                ("GET /api/v3/repos/o/r", None),
                ("GET /api/v3/user", None),
                (
                    "POST /api/v3/user/repos",
                    Some(
                        json!({"name": "r", "description": DESCRIPTION, "private": true, "has_issues": false, "has_wiki": false}),
                    ),
                ),
            ],
        ),
        (
            "github",
            "org/r.git",
            &[
                ("GET /api/v3/user", "200 OK", "{\"login\":\"o\"}"),
                ("POST /api/v3/orgs/org/repos", "201 Created", "{}"),
            ],
            vec![
                ("GET /api/v3/repos/org/r", None),
                ("GET /api/v3/user", None),
                (
                    "POST /api/v3/orgs/org/repos",
                    Some(
                        json!({"name": "r", "description": DESCRIPTION, "private": true, "has_issues": false, "has_wiki": false}),
                    ),
                ),
            ],
        ),
        (
            "gitlab",
            "g/sub/r.git",
            &[
                ("GET /api/v4/namespaces/g%2Fsub", "200 OK", "{\"id\":17}"),
                ("POST /api/v4/projects", "201 Created", "{}"),
            ],
            vec![
                ("GET /api/v4/projects/g%2Fsub%2Fr", None),
                ("GET /api/v4/namespaces/g%2Fsub", None),
                (
                    "POST /api/v4/projects",
                    Some(json!({
                        "name": "r", "path": "r", "namespace_id": 17, "description": DESCRIPTION, "visibility": "private",
                        "issues_access_level": "disabled", "wiki_access_level": "disabled",
                    })),
                ),
            ],
        ),
        (
            "gitea",
            "o/r.git",
            &[
                ("GET /api/v1/user", "200 OK", "{\"login\":\"o\"}"),
                ("POST /api/v1/user/repos", "201 Created", "{}"),
                ("PATCH /api/v1/repos/o/r", "200 OK", "{}"),
            ],
            vec![
                ("GET /api/v1/repos/o/r", None),
                ("GET /api/v1/user", None),
                (
                    "POST /api/v1/user/repos",
                    Some(json!({"name": "r", "description": DESCRIPTION, "private": true, "auto_init": false})),
                ),
                (
                    "PATCH /api/v1/repos/o/r",
                    Some(json!({"has_issues": false, "has_wiki": false})),
                ),
            ],
        ),
        (
            "gitea",
            "org/r.git",
            &[
                ("GET /api/v1/user", "200 OK", "{\"login\":\"o\"}"),
                ("POST /api/v1/orgs/org/repos", "201 Created", "{}"),
            ],
            vec![
                ("GET /api/v1/repos/org/r", None),
                ("GET /api/v1/user", None),
                (
                    "POST /api/v1/orgs/org/repos",
                    Some(json!({"name": "r", "description": DESCRIPTION, "private": true, "auto_init": false})),
                ),
                (
                    "PATCH /api/v1/repos/org/r",
                    Some(json!({"has_issues": false, "has_wiki": false})),
                ),
            ],
        ),
    ];
    for (host, name, answers, expected) in cases {
        let forge = forge(answers);
        let (exit, said) = create(&stargate, &forge.url(name), host);
        assert_eq!(exit, 0, "{host}: {said}");
        let received = forge.received();
        let asked: Vec<_> = received
            .iter()
            .map(|request| (line(request), (!request.body.is_empty()).then(|| body(request))))
            .collect();
        assert_eq!(asked, expected, "{host}");
        assert!(
            said.contains(&format!("Created {}", forge.url(name))) && said.contains(DESCRIPTION),
            "{said}"
        );
        let could_switch = !(host == "gitea" && name == "org/r.git");
        assert_eq!(said.contains("without issues and wiki"), could_switch, "{said}");
        assert_eq!(said.contains("could not be switched off"), !could_switch, "{said}");
    }
}

/// A forge with the repository `o/r` of this mirror.
fn with_repository(mirror: &Mirror) -> Forge {
    Forge::start(Some(mirror.port()), None, |request| match line(request) {
        "GET /api/v1/repos/o/r" => forge::json("200 OK", &[], "{\"id\":1}"),
        _ => forge::json("404 Not Found", &[], "{}"),
    })
}

#[test]
fn an_empty_repository_is_taken_and_another_one_refused() {
    let mirror = Mirror::with_token(TOKEN);
    mirror.create("o/r.git", Format::Sha1);
    let forge = with_repository(&mirror);
    let stargate = Stargate::with_hook();
    let client = stargate.client("first");
    let (exit, said) = create(&stargate, &forge.url("o/r.git"), "gitea");
    assert!(
        exit == 0 && said.contains("already exists and is empty, so it is used as it is"),
        "{exit}: {said}"
    );

    let url = mirror
        .url("o/r.git")
        .replace("http://", &format!("http://x-access-token:{TOKEN}@"));
    git(&client, ["push", "-q", &url, "HEAD:refs/heads/main"]);
    let (exit, said) = create(&stargate, &forge.url("o/r.git"), "gitea");
    assert!(
        exit == 3 && said.contains("already exists and is not empty: it has refs/heads/main"),
        "{exit}: {said}"
    );
    // Then nothing is installed, either.
    let bare = Stargate::bare();
    let (repo, url) = (bare.git_dir.display().to_string(), forge.url("o/r.git"));
    let (exit, said) = program(&[
        "install", "--repo", &repo, "--remote", &url, "--create", "--host", "gitea",
    ]);
    assert_eq!(exit, 3, "{said}");
    assert!(!bare.git_dir.join("hooks/post-receive").exists());
    let config = std::fs::read_to_string(bare.git_dir.join("config")).expect("a file");
    assert!(!config.contains("stargate"), "{config}");
    assert!(
        forge.lines().iter().all(|line| line == "GET /api/v1/repos/o/r"),
        "nothing was changed"
    );
}

#[test]
fn install_makes_the_mirror_first() {
    let mirror = Mirror::with_token(TOKEN);
    mirror.create("o/r.git", Format::Sha1);
    let forge = Forge::start(Some(mirror.port()), None, |request| match line(request) {
        "GET /api/v3/user" => forge::json("200 OK", &[], "{\"login\":\"o\"}"),
        "POST /api/v3/user/repos" => forge::json("201 Created", &[], "{}"),
        _ => forge::json("404 Not Found", &[], "{}"),
    });
    let stargate = Stargate::bare();
    let (repo, url) = (stargate.git_dir.display().to_string(), forge.url("o/r.git"));
    let arguments = [
        "install", "--repo", &repo, "--remote", &url, "--mirror", "branches", "--create",
    ];
    let (exit, said) = program(&arguments);
    assert!(
        exit == 2 && said.contains("is not known to be GitHub, GitLab or Gitea"),
        "{exit}: {said}"
    );
    let (exit, said) = program(&[&arguments[..], &["--host", "github"]].concat());
    assert!(exit == 0 && said.starts_with("Created "), "{exit}: {said}");
    let description = body(&forge.received()[2])["description"].clone();
    assert_eq!(description, "mirror of o/r; push to the repository that it mirrors");
    let client = stargate.client("first");
    git(&client, ["push", "-q", "origin", "HEAD:refs/heads/main"]);
    let (exit, said) = program(&["run", "--repo", &repo]);
    assert_eq!(exit, 0, "{said}");
    let expected = git(&client, ["rev-parse", "HEAD"]);
    assert_eq!(
        mirror.git("o/r.git", &["rev-parse", "refs/heads/main"]).trim(),
        expected
    );
}

#[test]
fn a_host_is_never_guessed_and_a_url_without_an_api_is_refused() {
    let stargate = Stargate::bare();
    let repo = stargate.git_dir.display().to_string();
    let forge = forge(&[]);
    for (arguments, exit, says) in [
        (
            vec!["--remote", &forge.url("o/r.git")],
            2,
            "is not known to be GitHub, GitLab or Gitea",
        ),
        (
            vec!["--remote", "ssh://git@host/o/r.git", "--host", "gitea"],
            2,
            "is not an https URL",
        ),
        (vec![], 2, "there is no remote"),
        (
            vec!["--remote", &forge.url("r.git"), "--host", "github"],
            4,
            "is not the URL of a repository on GitHub",
        ),
        (
            vec![
                "--remote",
                &forge.url("o/r.git"),
                "--host",
                "gitea",
                "--source",
                "https://me:canary@host/r",
            ],
            2,
            "the URL of --source contains a password",
        ),
        (
            vec!["--remote", "http://host.example/o/r.git", "--host", "gitea"],
            4,
            "not sent over plain http",
        ),
    ] {
        let (code, said) = program(&[&["create", "--repo", &repo][..], &arguments].concat());
        assert!(code == exit && said.contains(says), "{code}: {said}");
    }
    assert_eq!(forge.lines(), [""; 0], "nothing was asked");
    // The setting counts as the flag.
    stargate.configure("stargate.forge", "gitea");
    stargate.configure("stargate.remote", &forge.url("o/r.git"));
    let (code, said) = program(&["create", "--repo", &repo]);
    assert!(
        code == 4 && said.contains("refused to show the token's user (HTTP 404)"),
        "{code}: {said}"
    );
    assert_eq!(forge.lines(), ["GET /api/v1/repos/o/r", "GET /api/v1/user"]);
}

#[test]
fn a_github_app_makes_it_in_an_organization() {
    let forge = forge(&[
        ("GET /api/v3/orgs/o/installation", "200 OK", "{\"id\":42}"),
        (
            "POST /api/v3/app/installations/42/access_tokens",
            "201 Created",
            "{\"token\":\"ghs_canary-3c7a\",\"expires_at\":\"2099-01-01T00:00:00Z\"}",
        ),
        ("POST /api/v3/orgs/o/repos", "201 Created", "{}"),
    ]);
    let stargate = Stargate::bare();
    let [private, _] = rsa_key(stargate.folder(), false);
    let section = format!("stargate.{}", forge.url(""));
    stargate.configure(&format!("{section}.githubApp"), "7");
    stargate.configure(&format!("{section}.githubAppKey"), &private.display().to_string());
    let (exit, said) = create(&stargate, &forge.url("o/r.git"), "github");
    assert_eq!(exit, 0, "{said}");
    let received = forge.received();
    let expected = [
        "GET /api/v3/orgs/o/installation",
        "POST /api/v3/app/installations/42/access_tokens",
        "GET /api/v3/repos/o/r",
        "POST /api/v3/orgs/o/repos",
    ];
    assert_eq!(forge.lines(), expected);
    assert_eq!(
        body(&received[1]),
        json!({"permissions": {"administration": "write", "contents": "read"}})
    );
    assert_eq!(received[3].field("Authorization"), Some("Bearer ghs_canary-3c7a"));
}

#[test]
fn every_refusal_says_what_to_do() {
    let stargate = Stargate::bare();
    const USER: (&str, &str, &str) = ("GET /api/v3/user", "200 OK", "{\"login\":\"o\"}");
    const POST: &str = "POST /api/v3/user/repos";
    let cases: [(Answers, i32, &str); 6] = [
        (
            &[("GET /api/v3/repos/o/r", "401 Unauthorized", "{}")],
            4,
            "check that the token is valid",
        ),
        (
            &[("GET /api/v3/repos/o/r", "503 Service Unavailable", "{}")],
            1,
            "failed, or asks to retry later (HTTP 503)",
        ),
        (
            &[USER, (POST, "403 Forbidden", "{}")],
            4,
            "give the token the permission Administration (write)",
        ),
        (
            &[USER, (POST, "422 Unprocessable Entity", "{}")],
            3,
            "a repository that the token may not see may already have this one",
        ),
        (
            &[USER, (POST, "429 Too Many Requests", "{}")],
            1,
            "accepts no more requests for now (HTTP 429)",
        ),
        (
            &[USER, (POST, "418 I'm a teapot", "{}")],
            3,
            "create the repository on the website",
        ),
    ];
    for (answers, exit, says) in cases {
        let (code, said) = create(&stargate, &forge(answers).url("o/r.git"), "github");
        assert!(code == exit && said.contains(says), "{code}: {said}");
    }
}
