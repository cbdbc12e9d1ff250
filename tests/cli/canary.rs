//! No secret leaks: every failure of a server, with secrets from every source, and servers that echo everything they
//! receive. The output of `run` and `wait`, and every file that they leave, is searched.
#![cfg(unix)]

use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use git_push::pkt_line;
use support::{
    forge::rsa_key,
    scripted::{Received, Scripted, Step, answer},
    stargate::{Stargate, clean_command, feed, git},
};

/// No part of it is the start of another word.
const CANARY: &str = "c4n4ry/+Zq7w~9e!";

/// Everything that a server has received, in every form that it may echo. The secrets come first, because texts are
/// cut.
fn echo(request: &Received) -> String {
    let mut said = Vec::new();
    for value in ["Authorization", "Proxy-Authorization", "X-Secret"]
        .iter()
        .filter_map(|name| request.field(name))
    {
        let encoded = value
            .strip_prefix("Basic ")
            .map(|encoded| BASE64_STANDARD.decode(encoded).expect("base64"));
        let plain = encoded.map_or(value.to_owned(), |bytes| String::from_utf8(bytes).expect("UTF-8"));
        let password = plain.split_once(':').map_or(&plain[..], |(_, password)| password);
        said.push(password.to_owned());
        said.push(format!("\u{1b}[1m{password}\u{1b}[0m"));
        said.push(percent(password));
        said.push(percent(password).to_lowercase());
        said.push(BASE64_STANDARD.encode(password));
        said.push(BASE64_STANDARD.encode(&plain));
        said.push(plain);
    }
    said.push(request.line.clone());
    said.extend(request.header.clone());
    said.join(" ")
}

fn percent(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn text(status: &str, request: &Received) -> Vec<u8> {
    answer(status, &["Content-Type: text/plain"], echo(request).as_bytes())
}

/// The answer that git would give to a question, and another one to a push.
fn unless_pushed_to(request: &Received, pushed: impl FnOnce(&Received) -> Vec<u8>) -> Vec<u8> {
    if request.line.starts_with("POST") {
        return pushed(request);
    }
    let mut body = b"001f# service=git-receive-pack\n0000".to_vec();
    let capabilities = "report-status delete-refs atomic side-band-64k";
    let line = format!("{} capabilities^{{}}\0{capabilities}", "0".repeat(40));
    pkt_line::data(&mut body, line.as_bytes());
    pkt_line::flush(&mut body);
    git_answer("receive-pack-advertisement", &body)
}

fn git_answer(what: &str, body: &[u8]) -> Vec<u8> {
    answer("200 OK", &[&format!("Content-Type: application/x-git-{what}")], body)
}

/// A report in sideband 1 behind an echo in sideband 2.
fn reported(request: &Received, report: &[String]) -> Vec<u8> {
    let mut inner = Vec::new();
    report
        .iter()
        .for_each(|line| pkt_line::data(&mut inner, line.as_bytes()));
    pkt_line::flush(&mut inner);
    let mut body = Vec::new();
    pkt_line::data(&mut body, format!("\x02{}\r{0}\n", echo(request)).as_bytes());
    pkt_line::data(&mut body, &[b"\x01", &inner[..]].concat());
    pkt_line::flush(&mut body);
    git_answer("receive-pack-result", &body)
}

type Reply = fn(&Received) -> Vec<u8>;

/// Every possible defect of a server, by name.
const FAILURES: &[(&str, Reply)] = &[
    ("401", |request| text("401 Unauthorized", request)),
    ("403", |request| text("403 Forbidden", request)),
    ("404", |request| text("404 Not Found", request)),
    ("407", |request| text("407 Proxy Authentication Required", request)),
    ("411", |request| text("411 Length Required", request)),
    ("413", |request| text("413 Content Too Large", request)),
    ("500", |request| text("500 Internal Server Error", request)),
    ("a status line that echoes", |request| {
        format!(
            "HTTP/1.1 403 {}\r\nContent-Length: 0\r\n\r\n",
            echo(request).replace('\u{1b}', "")
        )
        .into()
    }),
    ("a redirect that echoes", |request| {
        let location = format!("Location: http://127.0.0.1:1/{}/login", percent(&echo(request)));
        answer("302 Found", &[&location], b"")
    }),
    ("a content type that echoes", |request| {
        answer(
            "200 OK",
            &[&format!("Content-Type: {}", echo(request).replace('\u{1b}', ""))],
            b"",
        )
    }),
    ("a web page", |request| {
        answer(
            "200 OK",
            &["Content-Type: text/html"],
            format!("<html>{}", echo(request)).as_bytes(),
        )
    }),
    ("what is no HTTP", |request| echo(request).into()),
    ("what is no pkt-line", |request| {
        git_answer("receive-pack-advertisement", echo(request).as_bytes())
    }),
    ("a line of no sense", |request| {
        let mut body = Vec::new();
        // Wherever a long text is cut off, no secret may be left.
        for start in [0, 150, 180, 190, 195] {
            pkt_line::data(&mut body, format!("{}{}", "x".repeat(start), echo(request)).as_bytes());
        }
        git_answer("receive-pack-advertisement", &body)
    }),
    ("ERR", |request| {
        let mut body = b"001f# service=git-receive-pack\n0000".to_vec();
        pkt_line::data(&mut body, format!("ERR {}", echo(request)).as_bytes());
        git_answer("receive-pack-advertisement", &body)
    }),
    ("a push that fails", |request| {
        unless_pushed_to(request, |request| text("502 Bad Gateway", request))
    }),
    ("a push that is refused", |request| {
        unless_pushed_to(request, |request| {
            let names = ["refs/kv/main", "refs/kv-mirror/main"];
            let refused = names.map(|name| format!("ng {name} {}\n", echo(request)));
            reported(request, &[vec!["unpack ok\n".into()], refused.to_vec()].concat())
        })
    }),
    ("a push that is not unpacked", |request| {
        unless_pushed_to(request, |request| {
            reported(request, &[format!("unpack {}\n", echo(request))])
        })
    }),
    ("a report of no sense", |request| {
        unless_pushed_to(request, |request| {
            reported(request, &["unpack ok\n".into(), echo(request)])
        })
    }),
    ("sideband 3", |request| {
        unless_pushed_to(request, |request| {
            let mut body = Vec::new();
            pkt_line::data(&mut body, format!("\x03{}", echo(request)).as_bytes());
            git_answer("receive-pack-result", &body)
        })
    }),
];

/// A way in which secrets come to the program.
struct Source {
    name: &'static str,
    user_info: &'static str,
    environment: &'static [(&'static str, &'static str)],
    /// The user's git configuration and `.netrc`. `CANARY` is replaced by the secret, `PROXY` by the server as a proxy.
    git_config: &'static str,
    netrc: &'static str,
    /// True for a GitHub App, whose installation token is the secret.
    is_app: bool,
}

const NONE: Source = Source {
    name: "",
    user_info: "",
    environment: &[],
    git_config: "",
    netrc: "",
    is_app: false,
};

const SOURCES: &[Source] = &[
    Source {
        name: "the token",
        environment: &[("GITHUB_PAT", "CANARY")],
        ..NONE
    },
    Source {
        name: "the password of the URL",
        user_info: "me:PERCENT@",
        ..NONE
    },
    Source {
        name: "the user of the URL",
        user_info: "PERCENT@",
        ..NONE
    },
    Source {
        name: "netrc",
        netrc: "machine 127.0.0.1 login me password CANARY\n",
        ..NONE
    },
    Source {
        name: "a helper",
        git_config: "[credential]\nhelper = \"!f() { echo username=me; echo 'password=CANARY'; }; f\"\n",
        ..NONE
    },
    Source {
        name: "a header",
        git_config: "[http]\nextraHeader = Authorization: Bearer CANARY\nextraHeader = X-Secret: CANARY\n",
        ..NONE
    },
    Source {
        name: "a token file",
        git_config: "[stargate \"http://127.0.0.1\"]\ntokenFile = /nowhere\n[stargate]\ntokenFile = HOME/token\n",
        ..NONE
    },
    Source {
        name: "a GitHub App",
        git_config: "[stargate]\nforge = github\ngithubApp = 7\ngithubAppKey = HOME/app.pem\n",
        is_app: true,
        ..NONE
    },
    Source {
        name: "a proxy",
        environment: &[("GITHUB_PAT", "CANARY")],
        git_config: "[http]\nproxy = http://me:PERCENT@PROXY\n[stargate]\ninsecureHttp = true\n",
        ..NONE
    },
];

impl Source {
    fn has_proxy(&self) -> bool {
        self.git_config.contains("PROXY")
    }

    /// Runs the program in `folder` against `server`, and returns its output.
    fn run(&self, folder: &Path, server: &Scripted, arguments: &[&str]) -> String {
        let address = server.url("").replace("http://", "").replace('/', "");
        let filled = |text: &str| {
            let filled = text.replace("CANARY", CANARY).replace("PERCENT", &percent(CANARY));
            filled.replace("PROXY", &address)
        };
        // Its input is not searched.
        let home = tempfile::tempdir().expect("a folder");
        let git_config = filled(self.git_config).replace("HOME", &home.path().display().to_string());
        std::fs::write(home.path().join("gitconfig"), git_config).expect("a file");
        std::fs::write(home.path().join("token"), CANARY).expect("a file");
        rsa_key(home.path(), true);
        std::fs::write(home.path().join(".netrc"), filled(self.netrc)).expect("a file");
        let host = if self.has_proxy() { "mirror.invalid" } else { &address };
        let remote = format!("http://{}{host}/o/r.git", filled(self.user_info));
        let mut command = clean_command(env!("CARGO_BIN_EXE_stargate-mirror"));
        command.args(arguments).args(["--remote", &remote]).current_dir(folder);
        command
            .env("HOME", home.path())
            .env("GIT_CONFIG_GLOBAL", home.path().join("gitconfig"))
            .env("TMPDIR", folder)
            .env("STARGATE_LOG", "trace");
        for (name, value) in self.environment {
            command.env(name, filled(value));
        }
        let output = feed(command, "");
        assert!(!output.status.success(), "{}: {arguments:?} succeeded", self.name);
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// The answers of GitHub's API to an App.
fn installation() -> [Step; 2] {
    let json = |status, body: &str| Step::Answer(answer(status, &["Content-Type: application/json"], body.as_bytes()));
    let token = format!("{{\"token\":\"{CANARY}\",\"expires_at\":\"2099-01-01T00:00:00Z\"}}");
    [json("200 OK", "{\"id\":42}"), json("201 Created", &token)]
}

/// Returns true if the text contains more of a secret than can occur by chance.
fn assert_nothing_secret(said: &str, label: &str) {
    let users = ["me", "x-access-token", ""];
    let mut forms = vec![
        CANARY.to_owned(),
        percent(CANARY),
        percent(CANARY).to_lowercase(),
        BASE64_STANDARD.encode(CANARY),
    ];
    forms.extend(users.map(|user| BASE64_STANDARD.encode(format!("{user}:{CANARY}"))));
    forms.push(BASE64_STANDARD.encode(format!("{CANARY}:")));
    forms.push(BASE64_STANDARD.encode(format!("Bearer {CANARY}")));
    // The start of what an App signs, and of its key.
    let signed = BASE64_STANDARD.encode("{\"alg\":\"RS256\",");
    forms.push(BASE64_STANDARD.encode(&signed));
    forms.push(BASE64_STANDARD.encode(format!("Bearer {signed}")));
    forms.push(signed);
    forms.push("RSA PRIVATE KEY".into());
    for form in forms {
        // The start of a base64 form may be that of a user.
        let start = &form[..form.len().min(24)];
        assert!(!said.contains(start), "{label}: {form} was said in\n{said}");
    }
    assert!(!said.contains("c4n4ry/+"), "{label}: a part was said in\n{said}");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let below = entries.map(|entry| entry.path());
    below
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

/// A Stargate with a backlog.
fn stargate() -> Stargate {
    let stargate = Stargate::with_hook();
    stargate.configure("stargate.initialDelay", "1ms");
    stargate.configure("stargate.attempts", "2");
    let client = stargate.client("first");
    git(&client, ["push", "-q", "origin", "HEAD:refs/kv/main"]);
    stargate
}

#[test]
fn no_failure_says_a_secret() {
    std::thread::scope(|scope| {
        for source in SOURCES.iter().filter(|source| !source.is_app) {
            scope.spawn(move || no_failure_says_a_secret_of(source));
        }
    });
}

#[test]
fn no_failure_says_what_a_github_app_signs_or_gets() {
    let apps = SOURCES.iter().filter(|source| source.is_app);
    apps.for_each(no_failure_says_a_secret_of);
}

fn no_failure_says_a_secret_of(source: &Source) {
    let stargate = stargate();
    let repo = stargate.git_dir.display().to_string();
    let oid = "ab".repeat(20);
    for (failure, reply) in FAILURES {
        for arguments in [
            &["run", "--repo", &repo, "--json"][..],
            &["wait", "--oid", &oid, "--timeout", "10ms", "--repo", &repo, "--json"],
        ] {
            let label = format!("{}, {failure}, {}", source.name, arguments[0]);
            let mut scripts = vec![(vec![], Step::Reply(*reply))];
            if source.has_proxy() {
                scripts.push((vec![], Step::Tunnelled(*reply)));
            }
            // A reader authenticates only if it is asked to.
            if source.is_app && arguments[0] != "wait" {
                scripts.push((installation().to_vec(), Step::Reply(*reply)));
            }
            for (first, step) in scripts {
                let server = Scripted::serve(first.into_iter().chain(std::iter::repeat(step)));
                let said = source.run(stargate.folder(), &server, arguments);
                assert!(!server.received().is_empty(), "{label}: nothing was sent: {said}");
                assert_nothing_secret(&said, &label);
            }
        }
    }
    for step in [Step::CloseBeforeBody, Step::CloseAfterBody] {
        let server = Scripted::serve(std::iter::repeat(step));
        assert_nothing_secret(
            &source.run(stargate.folder(), &server, &["run", "--repo", &repo]),
            source.name,
        );
    }
    let silent = Scripted::serve([Step::Silence]);
    let said = source.run(
        stargate.folder(),
        &silent,
        &["wait", "--oid", &oid, "--timeout", "10ms", "--repo", &repo],
    );
    assert_nothing_secret(&said, source.name);
    // The installed hooks are copies of the program.
    let program = std::fs::read(support::programs::hook()).expect("the hook");
    for file in files(stargate.folder()) {
        let bytes = std::fs::read(&file).expect("a file");
        if bytes == program {
            continue;
        }
        assert_nothing_secret(
            &String::from_utf8_lossy(&bytes),
            &format!("{}, {}", source.name, file.display()),
        );
    }
}

#[test]
fn the_search_finds_what_a_server_echoes() {
    let said = |password: &str| {
        let line = format!(
            "Authorization: Basic {}",
            BASE64_STANDARD.encode(format!("me:{password}"))
        );
        echo(&Received {
            header: vec![line],
            ..Received::default()
        })
    };
    for part in said(CANARY).split(' ').filter(|part| part.len() > 20) {
        let found = std::panic::catch_unwind(|| assert_nothing_secret(part, ""));
        assert!(found.is_err(), "{part} is not found");
    }
}
