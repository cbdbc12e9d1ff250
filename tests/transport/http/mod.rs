//! Reading and pushing over HTTP: against `git http-backend` behind nginx, and against servers that misbehave.
#![cfg(unix)]
mod credentials;
mod real;
mod scripted;

use std::{path::Path, time::Duration};

use bstr::{BString, ByteSlice};
use git_push::{Connection, Error, ErrorKind, Report, Verdict};
use git_push_transport::{Location, Remote, Settings, resolve};
use secrecy::SecretString;
use support::git::{self, git};
use support::mirror::{Format, Mirror};
use support::pushing::{command, id, open, pushed, reason, repository, source, verdict};
use support::scripted::{Scripted, Step, answer};
use support::web::Web;
use tempfile::TempDir;

/// A token that must not be seen anywhere.
const CANARY: &str = "ghp_c4n4ry/+c4n4ry";

const NAME: &str = "o/r.git";

fn settings(token: Option<&str>) -> Settings {
    let mut settings = Settings::from_environment(|_| None).expect("an empty environment");
    settings.token = token.map(SecretString::from);
    settings
}

fn anonymous(url: &str) -> Remote {
    open(url, &settings(None))
}

fn prefixes(prefixes: &[&str]) -> Vec<BString> {
    prefixes.iter().map(|prefix| BString::from(*prefix)).collect()
}

/// Names and ids of the refs that start with `prefix`.
fn refs(remote: &mut Remote, prefix: &str) -> Vec<(String, String)> {
    let refs = remote.read_refs(&prefixes(&[prefix])).expect("refs");
    refs.into_iter()
        .map(|found| (found.name.to_string(), found.id.to_string()))
        .collect()
}

fn init(path: &Path, format: gix::hash::Kind) -> gix::Repository {
    let options = gix::create::Options {
        object_hash: Some(format),
        ..Default::default()
    };
    let kind = gix::create::Kind::Bare;
    let options = (options, gix::open::Options::isolated());
    let repository = gix::ThreadSafeRepository::init_opts(path, kind, options.0, options.1).expect("a repository");
    repository.to_thread_local()
}

/// Fails if the token, in any form, is in the error.
#[track_caller]
fn assert_no_canary(error: &Error) {
    let text = format!("{error} {error:?} {:?}", error.hint());
    assert!(!text.to_lowercase().contains("c4n4ry"), "{text}");
    // `x-access-token:ghp_c4n4` and `ghp_c4n4ry` in base64, each from the first whole group of three bytes on.
    for encoded in ["eC1hY2Nlc3MtdG9rZW46Z2hwX2M0bjRy", "Z2hwX2M0bjRy"] {
        assert!(!text.contains(encoded), "{text}");
    }
}

/// Asks the scripted server for its refs, with a token. Returns the error.
fn asked(script: impl IntoIterator<Item = Step>) -> (Error, Scripted) {
    let script: Vec<_> = script.into_iter().collect();
    let settings = patient_unless_silent(&script);
    let server = Scripted::serve(script);
    let mut remote = open(&server.url(NAME), &settings);
    let error = remote.advertisement().expect_err("an error");
    assert_no_canary(&error);
    assert!(
        error.to_string().starts_with(&server.url(NAME)),
        "an error says where: {error}"
    );
    (error, server)
}

/// Settings with a token. If silence is scripted, they have an idle timeout for which a test can wait.
fn patient_unless_silent(script: &[Step]) -> Settings {
    let mut settings = settings(Some(CANARY));
    if script
        .iter()
        .any(|step| matches!(step, Step::Silence | Step::SilenceBeforeBody))
    {
        settings.idle_timeout = Duration::from_secs(1);
    }
    settings
}

fn advertised(body: &[u8]) -> Vec<u8> {
    answer(
        "200 OK",
        &["Content-Type: application/x-git-receive-pack-advertisement"],
        body,
    )
}

fn reported(body: &[u8]) -> Vec<u8> {
    answer("200 OK", &["Content-Type: application/x-git-receive-pack-result"], body)
}

/// The advertisement of an empty repository.
fn nothing_yet() -> Vec<u8> {
    let capabilities = format!("{} capabilities^{{}}\0report-status delete-refs atomic", "0".repeat(40));
    let mut body = b"001f# service=git-receive-pack\n0000".to_vec();
    git_push::pkt_line::data(&mut body, capabilities.as_bytes());
    git_push::pkt_line::flush(&mut body);
    body
}

/// Pushes a commit to the scripted server, after a good advertisement.
fn pushed_to(step: Step) -> (Result<Report, Error>, Scripted) {
    let (folder, commits) = source("sha1");
    let script = [Step::Answer(advertised(&nothing_yet())), step];
    let settings = patient_unless_silent(&script);
    let server = Scripted::serve(script);
    let mut remote = open(&server.url(NAME), &settings);
    let create = command("refs/kv/main", None, Some(&commits[0]), &commits[0]);
    let result = pushed(&mut remote, folder.path(), vec![create], true);
    if let Err(error) = &result {
        assert_no_canary(error);
    }
    (result, server)
}

#[test]
fn credentials_never_start_on_plain_http_to_another_machine() {
    let user_info = "http://me:ghp_c4n4ry%2F+c4n4ry@example.com/o/r.git";
    for url in ["http://example.com/o/r.git", user_info] {
        let location = Location::parse(url.into()).expect("a location");
        let Err(error) = Remote::open(location, &settings(Some(CANARY))) else {
            panic!("credentials in the clear");
        };
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("plain http"), "{error}");
        assert_no_canary(&error);
    }
}
