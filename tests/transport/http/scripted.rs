//! HTTP with servers that misbehave.
use std::sync::{
    Arc, Mutex,
    mpsc::{Sender, channel},
};

use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt};

use super::*;

fn redirect(location: &str) -> Step {
    Step::Answer(answer("302 Found", &[&format!("Location: {location}")], b""))
}

#[test]
fn a_redirect_on_the_same_host_is_followed_with_credentials() {
    let (folder, commits) = source("sha1");
    let mut report = Vec::new();
    git_push::pkt_line::data(&mut report, b"unpack ok\n");
    git_push::pkt_line::data(&mut report, b"ok refs/kv/main\n");
    git_push::pkt_line::flush(&mut report);
    let server = Scripted::serve([
        redirect("/new/r.git/info/refs?service=git-receive-pack"),
        Step::Answer(advertised(&nothing_yet())),
        Step::Answer(reported(&report)),
    ]);
    let mut remote = open(&server.url(NAME), &settings(Some(CANARY)));
    let create = command("refs/kv/main", None, Some(&commits[0]), &commits[0]);
    let report = pushed(&mut remote, folder.path(), vec![create], true).expect("a report");
    assert!(report.all_accepted());
    let received = server.received();
    let lines: Vec<_> = received.iter().map(|request| request.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET /o/r.git/info/refs?service=git-receive-pack HTTP/1.1",
            "GET /new/r.git/info/refs?service=git-receive-pack HTTP/1.1",
            "POST /new/r.git/git-receive-pack HTTP/1.1",
        ]
    );
    assert!(received.iter().all(|request| request.field("Authorization").is_some()));
    assert!(
        received.iter().all(|request| request.from == received[0].from),
        "one connection"
    );
    let post = &received[2];
    assert_eq!(post.field("Content-Length"), Some(post.body.len().to_string().as_str()));
    assert_eq!(post.field("Transfer-Encoding"), None);
    assert_eq!(
        post.field("Content-Type"),
        Some("application/x-git-receive-pack-request")
    );
    assert!(
        post.field("User-Agent")
            .is_some_and(|agent| agent.starts_with("git/git-push-transport-"))
    );
    assert_eq!(remote.traffic().bytes_sent, post.body.len() as u64);
}

#[test]
fn a_server_that_demands_credentials_after_the_pack_gets_both() {
    let (folder, commits) = source("sha1");
    let mut report = Vec::new();
    git_push::pkt_line::data(&mut report, b"unpack ok\n");
    git_push::pkt_line::data(&mut report, b"ok refs/kv/main\n");
    git_push::pkt_line::flush(&mut report);
    let server = Scripted::serve([
        Step::Answer(advertised(&nothing_yet())),
        Step::Answer(answer(
            "401 Unauthorized",
            &["WWW-Authenticate: Basic realm=\"r\""],
            b"",
        )),
        Step::Answer(reported(&report)),
    ]);
    let asks = folder.path().join("asks");
    support::executable::script(&asks, "case $1 in User*) echo me ;; *) echo canary ;; esac");
    let variable = |name: &str| (name == "GIT_ASKPASS").then(|| asks.clone().into_os_string());
    let settings = settings(None).with_prompts(variable).expect("settings");
    let mut remote = open(&server.url(NAME), &settings);
    let create = command("refs/kv/main", None, Some(&commits[0]), &commits[0]);
    let report = pushed(&mut remote, folder.path(), vec![create], true).expect("a report");
    assert!(report.all_accepted());
    let received = server.received();
    let authorized = received.iter().map(|request| request.field("Authorization").is_some());
    assert_eq!(authorized.collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(received[1].body, received[2].body, "the same pack");
}

#[test]
fn credentials_do_not_follow_to_another_origin() {
    let other = Scripted::serve([Step::Answer(answer("401 Unauthorized", &[], b""))]);
    let location = other.url("o/r.git/info/refs?service=git-receive-pack");
    let (error, server) = asked([redirect(&location)]);
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("not sent there"), "{error}");
    assert!(server.received()[0].field("Authorization").is_some());
    assert_eq!(other.received()[0].field("Authorization"), None);
}

#[test]
fn redirects_in_a_circle_and_without_end_are_refused() {
    let here = "/o/r.git/info/refs?service=git-receive-pack";
    let there = "/o/s.git/info/refs?service=git-receive-pack";
    let (error, server) = asked([redirect(there), redirect(here)]);
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("without end"), "{error}");
    assert_eq!(server.received().len(), 2);

    let (error, server) = asked((0..9).map(|n| redirect(&format!("/o/{n}.git/info/refs"))));
    assert!(error.to_string().contains("without end"), "{error}");
    assert_eq!(server.received().len(), 6, "five are followed");
}

/// Sends a signal when a message of the server is logged.
struct Listener(Mutex<Sender<()>>);

impl<S: tracing::Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut text = String::new();
        event.record(&mut |_: &tracing::field::Field, value: &dyn std::fmt::Debug| text += &format!("{value:?}"));
        if text.contains("remote: counting") {
            let _ = self.0.lock().expect("one thread").send(());
        }
    }
}

#[test]
fn what_a_server_says_is_told_while_it_works() {
    let band = |band: u8, text: &[u8]| {
        let mut line = Vec::new();
        git_push::pkt_line::data(&mut line, &[&[band], text].concat());
        line
    };
    let mut report = Vec::new();
    git_push::pkt_line::data(&mut report, b"unpack ok\n");
    git_push::pkt_line::data(&mut report, b"ok refs/kv/main\n");
    git_push::pkt_line::flush(&mut report);
    let whole = reported(&[band(2, b"counting\n"), band(1, &report), b"0000".to_vec()].concat());
    let (first, rest) = whole.split_at(whole.find("counting").expect("its words") + 9);
    let capabilities = format!(
        "{} capabilities^{{}}\0report-status side-band-64k atomic",
        "0".repeat(40)
    );
    let mut body = b"001f# service=git-receive-pack\n0000".to_vec();
    git_push::pkt_line::data(&mut body, capabilities.as_bytes());
    git_push::pkt_line::flush(&mut body);
    let (heard, word) = channel();
    let held = Step::Held(first.to_vec(), Arc::new(Mutex::new(word)), rest.to_vec());

    let (folder, commits) = source("sha1");
    let server = Scripted::serve([Step::Answer(advertised(&body)), held]);
    let mut remote = open(&server.url(NAME), &settings(Some(CANARY)));
    let create = command("refs/kv/main", None, Some(&commits[0]), &commits[0]);
    let listening = tracing_subscriber::registry().with(Listener(Mutex::new(heard)));
    let report =
        tracing::subscriber::with_default(listening, || pushed(&mut remote, folder.path(), vec![create], true));
    assert!(report.expect("a report, since the server was heard").all_accepted());
}

#[test]
fn a_redirected_push_is_refused() {
    let (result, server) = pushed_to(redirect("/new/r.git/git-receive-pack"));
    let error = result.expect_err("a redirect");
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(
        error.to_string().contains("redirects a POST to http://127.0.0.1:"),
        "{error}"
    );
    assert_eq!(server.received().len(), 2);
}

#[test]
fn a_status_says_what_to_do() {
    use ErrorKind::{Misconfigured, Rejected, Transient};
    let cases = [
        ("401 Unauthorized", None, Misconfigured, None, "refuses the credentials"),
        ("403 Forbidden", None, Misconfigured, None, "does not allow this"),
        ("403 Forbidden", Some("9"), Transient, Some(9), "retry later"),
        ("404 Not Found", None, Misconfigured, None, "no such repository"),
        ("408 Request Timeout", None, Transient, None, "retry later"),
        ("411 Length Required", None, Rejected, None, "refuses the request"),
        ("413 Too Large", None, Rejected, None, "larger than the server accepts"),
        ("429 Too Many", Some("7"), Transient, Some(7), "retry later"),
        ("503 Unavailable", Some("99999"), Transient, Some(3600), "retry later"),
        ("500 Internal Server Error", None, Transient, None, "the server failed"),
        ("418 I'm a teapot", None, Rejected, None, "refuses the request"),
    ];
    for (status, retry_after, outcome, delay, words) in cases {
        let header = retry_after.map_or("X-Nothing: at all".into(), |value| format!("Retry-After: {value}"));
        let (error, _) = asked([Step::Answer(answer(status, &[&header], b""))]);
        assert_eq!(error.kind(), outcome, "{error}");
        assert_eq!(error.retry_after(), delay.map(Duration::from_secs), "{error}");
        assert!(
            error.to_string().contains(words) && error.to_string().contains(&status[..3]),
            "{error}"
        );
    }
}

#[test]
fn a_server_that_fails_on_a_push_may_have_carried_it_out() {
    let (result, _) = pushed_to(Step::Answer(answer("502 Bad Gateway", &[], b"")));
    assert_eq!(result.expect_err("502").kind(), ErrorKind::Uncertain);
    let (result, _) = pushed_to(Step::Answer(answer("413 Content Too Large", &[], b"")));
    assert_eq!(result.expect_err("413").kind(), ErrorKind::Rejected);
}

#[test]
fn what_a_server_echoes_is_scrubbed() {
    let echo = format!("remote: \u{1b}[31mtoken {CANARY} is not known\nand more");
    let (error, _) = asked([Step::Answer(answer(
        "403 Forbidden",
        &["Content-Type: text/plain"],
        echo.as_bytes(),
    ))]);
    assert!(
        error.to_string().ends_with("remote: token *** is not known and more"),
        "{error}"
    );
    let mut body = b"001f# service=git-receive-pack\n0000".to_vec();
    git_push::pkt_line::data(&mut body, format!("ERR no access with {CANARY}").as_bytes());
    let (error, _) = asked([Step::Answer(advertised(&body))]);
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(
        error.to_string().ends_with("the server says: no access with ***"),
        "{error}"
    );
}

#[test]
fn what_is_not_git_is_named() {
    let cases = [
        ("Content-Type: text/html; charset=utf-8", "web page"),
        ("Content-Type: text/plain", "dumb protocol"),
        ("Content-Type: application/json", "`application/json`"),
        ("X-Nothing: at all", "without a content type"),
    ];
    for (header, words) in cases {
        let (error, _) = asked([Step::Answer(answer("200 OK", &[header], b"<html>"))]);
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let (error, _) = asked([redirect("/login?next=/o/r.git")]);
    assert!(error.to_string().contains("login page"), "{error}");
    let (result, _) = pushed_to(Step::Answer(answer("200 OK", &["Content-Type: text/html"], b"<html>")));
    assert_eq!(result.expect_err("a page").kind(), ErrorKind::Uncertain);
}

#[test]
fn an_answer_that_breaks_off_is_transient_before_a_push() {
    let whole = advertised(&nothing_yet());
    for script in [
        Step::AnswerAndClose(whole[..whole.len() - 9].to_vec()),
        Step::AnswerAndClose(b"HTTP/1.1 200 OK\r\nContent-Ty".to_vec()),
        Step::AnswerAndClose(b"\x16\x03\x01 this is no HTTP\r\n\r\n".to_vec()),
        Step::Answer(advertised(b"")),
        Step::Answer(advertised(b"001f# service=git-receive-pack\n")),
        Step::CloseAfterBody,
    ] {
        let (error, _) = asked([script.clone()]);
        assert_eq!(error.kind(), ErrorKind::Transient, "{script:?}: {error}");
    }
}

#[test]
fn an_answer_that_breaks_off_is_uncertain_after_a_push() {
    let whole = reported(b"000eunpack ok\n0017ok refs/kv/main\n0000");
    for step in [
        Step::AnswerAndClose(whole[..whole.len() - 9].to_vec()),
        Step::Answer(reported(b"")),
        Step::Answer(reported(b"000eunpack ok\n")),
        Step::CloseAfterBody,
        Step::Silence,
    ] {
        let (result, _) = pushed_to(step.clone());
        let error = result.expect_err("no report");
        assert_eq!(error.kind(), ErrorKind::Uncertain, "{step:?}: {error}");
        assert!(
            error.hint().is_some_and(|hint| hint.contains("read the refs back")),
            "{error}"
        );
    }
}

#[test]
fn a_whole_report_counts_even_if_the_connection_breaks_after_it() {
    let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-receive-pack-result\r\n".to_vec();
    bytes.extend_from_slice(b"Content-Length: 1000\r\n\r\n000eunpack ok\n0014ok refs/kv/main\n0000");
    let (result, _) = pushed_to(Step::AnswerAndClose(bytes));
    assert!(result.expect("a report").all_accepted());
}

#[test]
fn a_push_that_did_not_get_through_whole_changed_nothing() {
    for (step, words) in [
        (Step::CloseBeforeBody, "connection"),
        (Step::SilenceBeforeBody, "silent for 1s"),
    ] {
        let settings = patient_unless_silent(std::slice::from_ref(&step));
        let server = Scripted::serve([step]);
        let mut remote = open(&server.url(NAME), &settings);
        let file = tempfile::tempfile().expect("a spool");
        // More than the buffers of a connection can hold.
        let bytes = 64 << 20;
        file.set_len(bytes).expect("a sparse file");
        let some = "ab".repeat(20);
        let commands = vec![command("refs/kv/main", None, Some(&some), &some)];
        let request = git_push::Request::new(commands, gix::hash::Kind::Sha1, vec!["report-status".into()]);
        let pack = git_push::Pack::new(file, bytes, 1);
        let error = remote.send(&request, Some(pack)).expect_err("nobody reads");
        assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_no_canary(&error);
    }
}

#[test]
fn a_server_that_never_answers_is_given_up_after_the_idle_timeout() {
    let (error, _) = asked([Step::Silence]);
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("silent for 1s"), "{error}");
}

#[test]
fn what_was_remembered_of_a_server_is_forgotten_after_an_error() {
    let reading = |what: &str, body: &[u8]| {
        let content_type = format!("Content-Type: application/x-git-upload-pack-{what}");
        Step::Answer(answer("200 OK", &[&content_type], body))
    };
    let capabilities = b"000eversion 2\n000cls-refs\n000afetch\n0000";
    let server = Scripted::serve([
        reading("advertisement", capabilities),
        reading("result", b"0000"),
        reading("result", b"00"),
        reading("advertisement", capabilities),
        reading("result", b"0000"),
    ]);
    let mut remote = open(&server.url(NAME), &settings(None));
    let mut read = || remote.read_refs(&prefixes(&["refs/kv/"]));
    assert_eq!(read().expect("no refs"), []);
    assert_eq!(read().expect_err("it breaks off").kind(), ErrorKind::Transient);
    assert_eq!(read().expect("no refs"), []);
    let methods: Vec<_> = server
        .received()
        .iter()
        .map(|request| request.line[..4].to_owned())
        .collect();
    assert_eq!(methods, ["GET ", "POST", "POST", "GET ", "POST"]);
    assert!(
        server
            .received()
            .iter()
            .all(|request| request.field("Git-Protocol") == Some("version=2"))
    );
}

#[test]
fn a_compressed_answer_is_read() {
    let (folder, _) = source("sha1");
    let plain = folder.path().join("plain");
    std::fs::write(&plain, nothing_yet()).expect("a file");
    let gzip = std::process::Command::new("gzip")
        .arg("-c")
        .arg(&plain)
        .output()
        .expect("the program gzip is needed");
    let header = [
        "Content-Type: application/x-git-receive-pack-advertisement",
        "Content-Encoding: gzip",
    ];
    let server = Scripted::serve([Step::Answer(answer("200 OK", &header, &gzip.stdout))]);
    let advertisement = open(&server.url(NAME), &settings(None))
        .advertisement()
        .expect("an advertisement");
    assert!(advertisement.capabilities.offers("atomic"));
    assert_eq!(server.received()[0].field("Accept-Encoding"), Some("gzip"));
}

#[test]
fn a_small_answer_that_unpacks_to_a_large_one_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let zeros = folder.path().join("zeros");
    let large = std::fs::File::create(&zeros).expect("a file");
    large.set_len(300 << 20).expect("a sparse file");
    let gzip = std::process::Command::new("gzip")
        .arg("-c")
        .arg(&zeros)
        .output()
        .expect("the program gzip is needed");
    assert!(gzip.stdout.len() < 1 << 20);
    let header = |what: &str| {
        let content_type = format!("Content-Type: application/x-git-upload-pack-{what}");
        answer("200 OK", &[&content_type, "Content-Encoding: gzip"], &gzip.stdout)
    };
    let server = Scripted::serve([Step::Answer(header("advertisement"))]);
    let read = open(&server.url(NAME), &settings(None)).read_refs(&prefixes(&["refs/kv/"]));
    let error = read.expect_err("it is too large");
    assert!(error.to_string().contains("larger than"), "{error}");
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let proxy = Scripted::serve([
        Step::Answer(b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec()),
        Step::Answer(advertised(&nothing_yet())),
    ]);
    let url = proxy.url("");
    let environment = |name: &str| (name == "http_proxy").then(|| url.clone().into());
    let settings = Settings::from_environment(environment).expect("settings");
    open("http://mirror.invalid/o/r.git", &settings)
        .advertisement()
        .expect("through the proxy");
    let received = proxy.received();
    assert_eq!(received[0].line, "CONNECT mirror.invalid:80 HTTP/1.1");
    assert_eq!(
        received[1].line,
        "GET /o/r.git/info/refs?service=git-receive-pack HTTP/1.1"
    );
}

#[test]
fn a_host_that_does_not_exist_is_told() {
    let error = open("https://mirror.invalid/o/r.git", &settings(Some(CANARY)))
        .advertisement()
        .expect_err("no such host");
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert_no_canary(&error);
}

#[test]
fn an_advertisement_that_never_ends_is_given_up_in_bounded_memory() {
    let mut line = b"fff0".to_vec();
    line.resize(0xfff0, b'x');
    let head =
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/x-git-receive-pack-advertisement\r\n\r\n\
                 001f# service=git-receive-pack\n";
    let (error, server) = asked([Step::Endless(head.to_vec(), line)]);
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("larger than 268435456 bytes"), "{error}");
    assert!(server.received().len() == 1);
}

#[test]
fn a_server_that_says_continue_first_is_understood() {
    let mut bytes = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
    bytes.extend_from_slice(&reported(b"000eunpack ok\n0014ok refs/kv/main\n0000"));
    let (result, _) = pushed_to(Step::Answer(bytes));
    assert!(result.expect("a report").all_accepted());
}

#[test]
fn an_answer_in_chunks_is_read() {
    let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
                      Content-Type: application/x-git-receive-pack-result\r\n\r\n"
        .to_vec();
    for piece in ["000eunp", "ack ok\n0014ok refs/kv/main\n0000", ""] {
        bytes.extend_from_slice(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes());
    }
    let (result, _) = pushed_to(Step::Answer(bytes));
    assert!(result.expect("a report").all_accepted());
}

#[test]
fn a_connection_that_is_dropped_at_once_is_transient() {
    let (error, _) = asked([Step::CloseBeforeBody]);
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("closed the connection"), "{error}");
}
