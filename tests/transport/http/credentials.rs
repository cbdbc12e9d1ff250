//! Credentials: their sources, and the servers that do or do not receive them.
use std::path::PathBuf;

use super::*;
use support::scripted::Received;

/// An environment and git configuration, in a separate folder.
struct Home {
    folder: TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Home {
    fn new() -> Self {
        let (folder, _) = source("sha1");
        Home {
            folder,
            environment: Vec::new(),
        }
    }

    fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.environment.push((variable, value.to_owned()));
        self
    }

    fn configured(self, key: &str, value: &str) -> Self {
        git(self.folder.path(), &["config", "--add", key, value]);
        self
    }

    fn netrc(self, text: &str) -> Self {
        std::fs::write(self.folder.path().join(".netrc"), text).expect("a file");
        let home = self.folder.path().display().to_string();
        self.with("HOME", &home)
    }

    /// A helper that records its operations, and has a password.
    fn helper(self, user: &str, password: &str) -> Self {
        let script = format!(
            "!f() {{ echo \"$1 $GIT_TERMINAL_PROMPT\" >>{at}; cat >>{at}; \
             [ $1 != get ] || printf 'username={user}\\npassword={password}\\n'; }}; f",
            at = self.noted().display()
        );
        self.configured("credential.helper", &script)
    }

    fn noted(&self) -> PathBuf {
        self.folder.path().join("noted")
    }

    /// Returns the operations that were asked of helpers, in order.
    fn told(&self) -> Vec<String> {
        let noted = std::fs::read_to_string(self.noted()).unwrap_or_default();
        let words = noted.lines().filter_map(|line| line.strip_suffix(" 0"));
        words.map(str::to_owned).collect()
    }

    fn settings(&self) -> Settings {
        let variable = |name: &str| {
            let (_, value) = self.environment.iter().find(|(key, _)| *key == name)?;
            Some(value.into())
        };
        let settings = Settings::from_environment(variable).expect("settings");
        settings
            .with_git_config(&repository(self.folder.path()))
            .expect("git configuration")
    }

    fn open(&self, url: &str) -> Remote {
        open(url, &self.settings())
    }
}

/// The `Authorization` that a server receives, decoded.
fn authorization(request: &Received) -> Option<String> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let value = request.field("Authorization")?;
    match value.strip_prefix("Basic ") {
        Some(encoded) => {
            let bytes = BASE64_STANDARD.decode(encoded).expect("base64");
            Some(String::from_utf8(bytes).expect("UTF-8"))
        }
        None => Some(value.to_owned()),
    }
}

/// Returns the credentials that a server receives from a push to this URL.
fn seen(home: &Home, user_info: &str) -> Option<String> {
    let server = Scripted::serve([Step::Answer(advertised(&nothing_yet()))]);
    let url = server.url(NAME).replace("http://", &format!("http://{user_info}"));
    home.open(&url).advertisement().expect("an advertisement");
    authorization(&server.received()[0])
}

#[test]
fn the_first_of_all_sources_counts() {
    let netrc = "machine 127.0.0.1 login of-netrc password secret\n";
    let all = || {
        Home::new()
            .netrc(netrc)
            .configured("http.extraHeader", "Authorization: Bearer of-git")
            .helper("of-helper", "secret")
    };
    let without_header = || Home::new().netrc(netrc).helper("of-helper", "secret");
    let helper = || Home::new().helper("of-helper", "secret");
    let cases = [
        (all().with("GITHUB_PAT", "pat"), "me:word@", Some("me:word")),
        (all().with("GITHUB_PAT", "pat"), "me@", Some("me:pat")),
        (all().with("GITHUB_PAT", "pat"), "", Some("x-access-token:pat")),
        (all(), "", Some("Bearer of-git")),
        (without_header(), "", Some("of-netrc:secret")),
        (without_header(), "of-netrc@", Some("of-netrc:secret")),
        (helper(), "", Some("of-helper:secret")),
        (Home::new(), "a-token@", Some("a-token:")),
        (Home::new(), "", None),
    ];
    for (home, user_info, expected) in cases {
        assert_eq!(seen(&home, user_info).as_deref(), expected, "{user_info}");
        let asked = expected.is_some_and(|sent| sent.starts_with("of-helper"));
        assert_eq!(home.told().contains(&"get".to_owned()), asked, "{expected:?}");
    }
}

#[test]
fn a_helper_is_told_what_became_of_what_it_gave() {
    let mirror = Mirror::with_token("right");
    mirror.create(NAME, Format::Sha1);
    let home = Home::new().helper("x-access-token", "right");
    let location = Location::parse(mirror.url(NAME).as_str().into()).expect("a URL");
    assert!(Remote::has_credentials(&location, &home.settings()));
    let mut remote = home.open(&mirror.url(NAME));
    remote.advertisement().expect("the helper knows");
    remote.advertisement().expect("still");
    assert_eq!(home.told(), ["get", "store"], "asked once, told once");
    let noted = std::fs::read_to_string(home.noted()).expect("notes");
    assert!(
        noted.contains(&format!("host=127.0.0.1:{}\n", mirror.port())) && noted.contains("protocol=http\n"),
        "{noted}"
    );
    assert!(noted.contains("password=right\n"), "it is told which one: {noted}");

    let home = Home::new().helper("x-access-token", "ghp_c4n4ry");
    let error = home.open(&mirror.url(NAME)).advertisement().expect_err("wrong");
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("refuses the credentials"), "{error}");
    assert_no_canary(&error);
    assert_eq!(home.told(), ["get", "erase"]);
}

#[test]
fn a_reader_asks_a_helper_only_when_the_server_asks() {
    let reading = |status: &str, what: &str, body: &[u8]| {
        let content_type = format!("Content-Type: application/x-git-upload-pack-{what}");
        Step::Answer(answer(status, &[&content_type], body))
    };
    let capabilities = b"000eversion 2\n000cls-refs\n000afetch\n0000";
    let everybody = Scripted::serve([
        reading("200 OK", "advertisement", capabilities),
        reading("200 OK", "result", b"0000"),
        reading("401 Unauthorized", "result", b""),
        reading("200 OK", "result", b"0000"),
    ]);
    let home = Home::new().helper("me", "secret");
    let mut remote = home.open(&everybody.url(NAME));
    remote.read_refs(&prefixes(&["refs/kv/"])).expect("no refs");
    assert_eq!(home.told(), [""; 0]);
    // The whole question is asked again.
    remote.read_refs(&prefixes(&["refs/kv/"])).expect("no refs");
    assert_eq!(home.told(), ["get", "store"]);
    let received = everybody.received();
    assert_eq!(authorization(&received[2]), None);
    assert_eq!(authorization(&received[3]).as_deref(), Some("me:secret"));
    assert_eq!(received[2].body, received[3].body);
}

#[test]
fn helpers_that_fail_hang_or_know_nothing_are_passed_over() {
    let home = Home::new()
        .configured("credential.helper", "/nowhere/helper")
        .configured("credential.helper", "!f() { exit 3; }; f")
        .configured("credential.helper", "!f() { echo quite wrong; }; f")
        .configured("credential.helper", "!f() { exec sleep 600; }; f")
        .helper("me", "secret");
    let server = Scripted::serve([Step::Answer(advertised(&nothing_yet()))]);
    let mut settings = home.settings();
    settings.idle_timeout = Duration::from_secs(1);
    open(&server.url(NAME), &settings)
        .advertisement()
        .expect("the last one knows");
    assert_eq!(authorization(&server.received()[0]).as_deref(), Some("me:secret"));
}

#[test]
fn a_password_that_has_expired_is_passed_over() {
    let home = Home::new()
        .configured(
            "credential.helper",
            "!f() { printf 'username=me\npassword=old\npassword_expiry_utc=1000000000\n'; }; f",
        )
        .helper("me", "secret");
    let server = Scripted::serve([Step::Answer(advertised(&nothing_yet()))]);
    open(&server.url(NAME), &home.settings())
        .advertisement()
        .expect("the other one knows");
    assert_eq!(authorization(&server.received()[0]).as_deref(), Some("me:secret"));
}

#[test]
fn extra_headers_go_to_their_url_and_to_no_other_origin() {
    let other = Scripted::serve([Step::Answer(advertised(&nothing_yet()))]);
    let location = other.url("o/r.git/info/refs?service=git-receive-pack");
    let redirect = answer("302 Found", &[&format!("Location: {location}")], b"");
    let server = Scripted::serve([Step::Answer(redirect)]);
    let home = Home::new()
        .configured(&format!("http.{}.extraHeader", server.url("o")), "X-Secret: canary")
        .configured("http.https://elsewhere.extraHeader", "X-Elsewhere: canary")
        .configured("http.userAgent", "git/9.9");
    home.open(&server.url(NAME)).advertisement().expect("an advertisement");
    let received = &server.received()[0];
    assert_eq!(received.field("X-Secret"), Some("canary"));
    assert_eq!(received.field("X-Elsewhere"), None);
    assert_eq!(received.field("User-Agent"), Some("git/9.9"));
    assert_eq!(other.received()[0].field("X-Secret"), None);
}

#[test]
fn a_client_shows_the_certificate_that_is_configured() {
    let mirror = Mirror::with_client_certificates();
    mirror.create(NAME, Format::Sha1);
    let url = mirror.url(NAME);
    let key = |name: &str| format!("http.{}.{name}", url.trim_end_matches(NAME));
    let home = || Home::new().configured(&key("sslCAInfo"), &mirror.certificate().display().to_string());
    let error = home().open(&url).advertisement().expect_err("who is it");
    assert!(error.to_string().contains("HTTP 400"), "{error}");

    let [certificate, secret] = mirror.client_certificate().map(|path| path.display().to_string());
    let shown = || {
        home()
            .configured(&key("sslCert"), &certificate)
            .configured(&key("sslKey"), &secret)
    };
    let settings = shown().settings();
    let location = Location::parse(url.as_str().into()).expect("a URL");
    assert!(Remote::has_credentials(&location, &settings));
    shown().open(&url).advertisement().expect("it is known");

    for (bad, words) in [
        ("/nowhere/key", "No such file"),
        (&certificate[..], "it contains no key"),
    ] {
        let home = shown().configured(&key("sslKey"), bad);
        let location = Location::parse(url.as_str().into()).expect("a URL");
        let error = Remote::open(location, &home.settings()).err().expect(bad);
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(
            error.to_string().contains(bad) && error.to_string().contains(words),
            "{error}"
        );
    }
}

#[test]
fn a_proxy_gets_the_credentials_of_its_url() {
    let connected = Step::Answer(b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec());
    let proxy = Scripted::serve([connected, Step::Answer(advertised(&nothing_yet()))]);
    let url = proxy.url("").replace("http://", "http://me:c4n4ry%2F@");
    let home = Home::new().with("http_proxy", &url);
    home.open("http://mirror.invalid/o/r.git")
        .advertisement()
        .expect("through the proxy");
    let received = proxy.received();
    assert_eq!(received[0].line, "CONNECT mirror.invalid:80 HTTP/1.1");
    assert_eq!(received[0].field("Proxy-Authorization"), Some("Basic bWU6YzRuNHJ5Lw=="));
    assert_eq!(received[1].field("Proxy-Authorization"), None);

    let echo = "HTTP/1.1 407 Proxy says c4n4ry/\r\nContent-Length: 0\r\n\r\n";
    let proxy = Scripted::serve([Step::Answer(echo.into())]);
    let url = proxy.url("").replace("http://", "http://me:c4n4ry%2F@");
    let home = Home::new().configured("http.http://mirror.invalid.proxy", &url);
    let error = home.open("http://mirror.invalid/r").advertisement().expect_err("407");
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("407"), "{error}");
    assert_no_canary(&error);
}

#[test]
fn a_proxy_is_passed_by_where_no_proxy_says_so_and_by_an_empty_setting() {
    let dead = "http://127.0.0.1:1";
    let direct = [
        Home::new().with("http_proxy", dead).with("NO_PROXY", "mirror.invalid"),
        Home::new().with("http_proxy", dead).configured("http.proxy", ""),
    ];
    for home in direct {
        let error = home
            .open("http://mirror.invalid/r")
            .advertisement()
            .expect_err("no such host");
        assert!(!error.to_string().contains("refused"), "it went to the proxy: {error}");
    }
    let home = Home::new().with("http_proxy", dead);
    let error = home
        .open("http://mirror.invalid/r")
        .advertisement()
        .expect_err("no such proxy");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn plain_http_carries_credentials_to_another_machine_only_where_it_is_said() {
    let sources = [
        Home::new().with("GITHUB_PAT", CANARY),
        Home::new().netrc(&format!("machine mirror.invalid login me password {CANARY}\n")),
        Home::new().configured("http.extraHeader", &format!("X-Token: {CANARY}")),
        Home::new().configured("http.extraHeader", &format!("Authorization: Bearer {CANARY}")),
    ];
    for home in sources {
        let location = || Location::parse("http://mirror.invalid/r".into()).expect("a URL");
        let error = Remote::open(location(), &home.settings()).err().expect("in the clear");
        assert!(error.to_string().contains("plain http"), "{error}");
        assert_no_canary(&error);
        let connected = Step::Answer(b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec());
        let proxy = Scripted::serve([connected, Step::Answer(advertised(&nothing_yet()))]);
        let home = home
            .configured("stargate.insecureHttp", "true")
            .configured("http.proxy", &proxy.url(""));
        Remote::open(location(), &home.settings())
            .expect("trusted")
            .advertisement()
            .expect("an answer");
        let request = proxy.received().pop().expect("a request");
        assert!(request.field("Authorization").or(request.field("X-Token")).is_some());
    }
    // No helper is asked, and a public mirror can be read.
    let home = Home::new().helper("me", CANARY);
    Remote::open(
        Location::parse("http://mirror.invalid/r".into()).expect("a URL"),
        &home.settings(),
    )
    .expect("nothing to send");
    assert_eq!(home.told(), [""; 0]);
}

#[test]
fn reasons_in_a_report_are_scrubbed() {
    let reason = format!("ng refs/kv/main hook saw {CANARY} and ghp_c4n4ry%2f%2Bc4n4ry\n");
    let mut report = Vec::new();
    git_push::pkt_line::data(&mut report, b"unpack ok\n");
    git_push::pkt_line::data(&mut report, reason.as_bytes());
    git_push::pkt_line::flush(&mut report);
    let (result, _) = pushed_to(Step::Answer(reported(&report)));
    let report = result.expect("a report");
    assert!(!format!("{report:?}").contains("c4n4ry"), "{report:?}");
    assert!(
        super::reason(&report, "refs/kv/main").starts_with("hook saw ***"),
        "{report:?}"
    );
}
