//! Reading and pushing over HTTP: against `git http-backend` behind nginx, and against servers that misbehave.
#![cfg(unix)]
mod support;

use std::{path::Path, time::Duration};

use bstr::{BString, ByteSlice};
use gix::ObjectId;
use secrecy::SecretString;
use stargate_mirror::push::{self, Command, Connection, Error, Options, Outcome, Report, Verdict};
use stargate_mirror::transport::{Location, Remote, Settings, resolve};
use support::git::{self, git};
use support::mirror::{Format, Mirror};
use support::scripted::{Scripted, Step, answer};
use tempfile::TempDir;

/// A token that must not be seen anywhere.
const CANARY: &str = "ghp_c4n4ry/+c4n4ry";

const NAME: &str = "o/r.git";

fn settings(token: Option<&str>) -> Settings {
    let mut settings = Settings::from_environment(|_| None).expect("an empty environment");
    settings.token = token.map(SecretString::from);
    settings
}

fn open(url: &str, settings: &Settings) -> Remote {
    let location = Location::parse(url.into()).expect("a location");
    Remote::open(location, settings).expect("a remote")
}

fn anonymous(url: &str) -> Remote {
    open(url, &settings(None))
}

fn id(hex: &str) -> ObjectId {
    ObjectId::from_hex(hex.as_bytes()).expect("an id")
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

/// A repository that was opened as nobody's, so that nothing but its own configuration counts.
fn repository(path: &Path) -> gix::Repository {
    gix::open_opts(path, gix::open::Options::isolated()).expect("a repository")
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

/// A repository with three commits in a row.
fn source(format: &str) -> (TempDir, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    git(
        folder.path(),
        &["init", "--quiet", "--bare", &format!("--object-format={format}"), "."],
    );
    let mut commits: Vec<String> = Vec::new();
    for content in ["one", "two", "three"] {
        commits.push(git::commit(folder.path(), commits.last().map(String::as_str), content));
    }
    (folder, commits)
}

fn command(name: &str, old: Option<&str>, new: Option<&str>, like: &str) -> Command {
    let null = id(like).kind().null();
    Command {
        name: name.into(),
        old: old.map_or(null, id),
        new: new.map_or(null, id),
    }
}

/// Pushes, and gives what became of each command.
fn pushed(remote: &mut Remote, from: &Path, commands: Vec<Command>, atomic: bool) -> Result<Report, Error> {
    let advertisement = remote.advertisement()?;
    let options = Options {
        atomic,
        ..Options::default()
    };
    push::push(remote, &advertisement, &repository(from), commands, &options)
}

fn verdict<'a>(report: &'a Report, name: &str) -> &'a Verdict {
    report.verdict(name.into()).expect("a verdict")
}

fn reason(report: &Report, name: &str) -> String {
    match verdict(report, name) {
        Verdict::Rejected(reason) => reason.to_string(),
        other => panic!("{name}: {other:?}"),
    }
}

/// Fails when the token, in whatever form, is in the error.
#[track_caller]
fn assert_no_canary(error: &Error) {
    let text = format!("{error} {error:?} {:?}", error.hint());
    assert!(!text.to_lowercase().contains("c4n4ry"), "{text}");
    // `x-access-token:ghp_c4n4` and `ghp_c4n4ry`, each from the first whole group of three on.
    for encoded in ["eC1hY2Nlc3MtdG9rZW46Z2hwX2M0bjRy", "Z2hwX2M0bjRy"] {
        assert!(!text.contains(encoded), "{text}");
    }
}

/// What asking the scripted server for its refs comes to; the token was given.
fn asked(script: impl IntoIterator<Item = Step>) -> (Error, Scripted) {
    let server = Scripted::serve(script);
    let mut remote = open(&server.url(NAME), &brief(Some(CANARY)));
    let error = remote.advertisement().expect_err("an error");
    assert_no_canary(&error);
    assert!(
        error.to_string().starts_with(&server.url(NAME)),
        "an error says where: {error}"
    );
    (error, server)
}

/// Settings with an idle timeout that a test can wait for.
fn brief(token: Option<&str>) -> Settings {
    let mut settings = settings(token);
    settings.idle_timeout = Duration::from_millis(200);
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
    push::pkt_line::data(&mut body, capabilities.as_bytes());
    push::pkt_line::flush(&mut body);
    body
}

/// What pushing a commit to the scripted server comes to, after a good advertisement.
fn pushed_to(step: Step) -> (Result<Report, Error>, Scripted) {
    let (folder, commits) = source("sha1");
    let server = Scripted::serve([Step::Answer(advertised(&nothing_yet())), step]);
    let mut remote = open(&server.url(NAME), &brief(Some(CANARY)));
    let create = command("refs/kv/main", None, Some(&commits[0]), &commits[0]);
    let result = pushed(&mut remote, folder.path(), vec![create], true);
    if let Err(error) = &result {
        assert_no_canary(error);
    }
    (result, server)
}

mod real {
    use super::*;

    #[test]
    fn an_advertisement_is_that_of_the_repository() {
        let mirror = Mirror::start();
        for (name, format) in [("o/one.git", Format::Sha1), ("o/two.git", Format::Sha256)] {
            let path = mirror.create(name, format);
            let mut remote = anonymous(&mirror.url(name));
            let empty = remote.advertisement().expect("an advertisement");
            assert!(
                empty.refs.is_empty() && empty.capabilities.offers("atomic"),
                "{empty:?}"
            );

            let commit = git::commit(&path, None, "one");
            mirror.git(name, &["update-ref", "refs/kv/main", &commit]);
            let full = remote.advertisement().expect("an advertisement");
            assert_eq!(full.id("refs/kv/main".into()), Some(id(&commit)));
            let expected = if format == Format::Sha1 { "sha1" } else { "sha256" };
            assert_eq!(full.capabilities.value("object-format"), Some(expected.into()));
            assert_eq!(remote.traffic().http_requests, 2);
        }
    }

    #[test]
    fn credentials_go_with_the_first_request() {
        let mirror = Mirror::with_token(CANARY);
        mirror.create(NAME, Format::Sha1);
        let mut remote = open(&mirror.url(NAME), &settings(Some(CANARY)));
        remote.advertisement().expect("an advertisement");
        let log = mirror.requests();
        assert_eq!(log.len(), 1, "no 401 before: {log:?}");

        let url = mirror
            .url(NAME)
            .replace("http://", "http://x-access-token:ghp_c4n4ry%2F+c4n4ry@");
        let mut remote = open(&url, &settings(Some("another")));
        remote.advertisement().expect("user info of the URL is what counts");
        assert_eq!(remote.location().to_string(), mirror.url(NAME));
    }

    #[test]
    fn refused_and_missing_credentials_are_told_apart() {
        let mirror = Mirror::with_token("the right one");
        mirror.create(NAME, Format::Sha1);
        for (token, expected) in [(Some(CANARY), "refuses the credentials"), (None, "there are none")] {
            let error = open(&mirror.url(NAME), &settings(token))
                .advertisement()
                .expect_err("401");
            assert_eq!(error.outcome(), Outcome::Misconfigured);
            assert!(
                error.to_string().contains(expected) && error.to_string().contains("401"),
                "{error}"
            );
            assert_no_canary(&error);
        }
    }

    #[test]
    fn a_repository_that_is_not_there_is_misconfigured() {
        let mirror = Mirror::start();
        let error = anonymous(&mirror.url("o/nothing.git"))
            .advertisement()
            .expect_err("404");
        assert_eq!(error.outcome(), Outcome::Misconfigured);
        assert!(error.to_string().contains("no such repository"), "{error}");
    }

    #[test]
    fn a_mirror_that_is_down_is_transient_and_the_same_remote_goes_on_when_it_is_up_again() {
        let mut mirror = Mirror::start();
        mirror.create(NAME, Format::Sha1);
        let mut remote = anonymous(&mirror.url(NAME));
        remote.advertisement().expect("up");
        mirror.stop();
        let error = remote.advertisement().expect_err("down");
        assert_eq!(error.outcome(), Outcome::Transient);
        assert!(error.to_string().contains("refused"), "{error}");
        mirror.start_again();
        remote.advertisement().expect("up again");
    }

    #[test]
    fn a_poll_is_one_request_that_does_not_grow_with_the_remote() {
        let mirror = Mirror::start();
        let path = mirror.create(NAME, Format::Sha1);
        let commit = git::commit(&path, None, "one");
        mirror.git(NAME, &["update-ref", "refs/kv-mirror/main", &commit]);
        let mut remote = anonymous(&mirror.url(NAME));
        let watermark = vec![("refs/kv-mirror/main".to_owned(), commit.clone())];
        assert_eq!(refs(&mut remote, "refs/kv-mirror/main"), watermark);
        assert_eq!(remote.traffic().http_requests, 2, "capabilities are asked for once");
        assert_eq!(refs(&mut remote, "refs/kv-mirror/main"), watermark);
        assert_eq!(remote.traffic().http_requests, 3);
        let before = mirror.requests().pop().expect("a request");

        let more: String = (0..2000).map(|n| format!("create refs/tags/t{n} {commit}\n")).collect();
        git::git_with_input(&path, &["update-ref", "--stdin"], more.as_bytes());
        assert_eq!(refs(&mut remote, "refs/kv-mirror/main"), watermark);
        let log = mirror.requests();
        assert_eq!(log.last(), Some(&before), "as many bytes as without 2,000 refs");
        assert_eq!(log.len(), 4);
    }

    #[test]
    fn refs_are_read_by_prefix_and_a_prefix_is_no_name() {
        let mirror = Mirror::start();
        let path = mirror.create(NAME, Format::Sha256);
        let commit = git::commit(&path, None, "one");
        for name in [
            "refs/kv/main",
            "refs/kv-mirror/main",
            "refs/kv-mirror/main2",
            "refs/kv-mirror/other",
        ] {
            mirror.git(NAME, &["update-ref", name, &commit]);
        }
        let mut remote = anonymous(&mirror.url(NAME));
        let names = |remote: &mut Remote, asked: &[&str]| -> Vec<String> {
            let refs = remote.read_refs(&prefixes(asked)).expect("refs");
            refs.into_iter().map(|found| found.name.to_string()).collect()
        };
        assert_eq!(
            names(&mut remote, &["refs/kv-mirror/main"]),
            ["refs/kv-mirror/main", "refs/kv-mirror/main2"]
        );
        assert_eq!(
            names(&mut remote, &["refs/kv/", "refs/kv-mirror/o"]),
            ["refs/kv-mirror/other", "refs/kv/main"]
        );
        assert_eq!(names(&mut remote, &["refs/nothing/"]), [""; 0]);
        assert_eq!(names(&mut remote, &[]), [""; 0]);
        assert_eq!(names(&mut remote, &["", "refs/kv/"]).len(), 4);
    }

    #[test]
    fn a_server_without_protocol_2_is_read_too() {
        let mirror = Mirror::start();
        let path = mirror.create(NAME, Format::Sha1);
        mirror.git(NAME, &["config", "protocol.version", "0"]);
        mirror.git(NAME, &["config", "uploadpack.advertiseBundleURIs", "false"]);
        let commit = git::commit(&path, None, "one");
        mirror.git(NAME, &["update-ref", "refs/kv-mirror/main", &commit]);
        mirror.git(NAME, &["update-ref", "refs/heads/main", &commit]);
        let mut remote = anonymous(&mirror.url(NAME));
        assert_eq!(
            refs(&mut remote, "refs/kv-mirror/"),
            [("refs/kv-mirror/main".to_owned(), commit)]
        );
    }

    #[test]
    fn commits_are_fetched_without_what_they_hold() {
        for format in [gix::hash::Kind::Sha1, gix::hash::Kind::Sha256] {
            let mirror = Mirror::start();
            let kind = if format == gix::hash::Kind::Sha1 {
                Format::Sha1
            } else {
                Format::Sha256
            };
            let path = mirror.create(NAME, kind);
            let mut commits = vec![git::commit(&path, None, "one")];
            for content in ["two", "three", "four"] {
                commits.push(git::commit(&path, commits.last().map(String::as_str), content));
            }
            mirror.git(NAME, &["update-ref", "refs/kv/main", &commits[3]]);
            let tree = id(&mirror.git(NAME, &["rev-parse", "refs/kv/main^{tree}"]));
            for filter in [false, true] {
                mirror.git(
                    NAME,
                    &[
                        "config",
                        "uploadpack.allowFilter",
                        if filter { "true" } else { "false" },
                    ],
                );
                let folder = tempfile::tempdir().expect("a folder");
                let into = init(folder.path(), format);
                let mut remote = anonymous(&mirror.url(NAME));
                remote.fetch_commits(id(&commits[3]), &into, &[]).expect("commits");
                let walked = into.rev_walk([id(&commits[3])]).all().expect("a walk");
                let walked: Vec<_> = walked.map(|commit| commit.expect("a commit").id.to_string()).collect();
                assert_eq!(walked, commits.iter().rev().cloned().collect::<Vec<_>>());
                assert_eq!(
                    into.has_object(tree),
                    !filter,
                    "trees come only where there is no filter"
                );
            }
        }
    }

    #[test]
    fn only_commits_that_are_not_there_yet_are_fetched() {
        let mirror = Mirror::start();
        let path = mirror.create(NAME, Format::Sha1);
        mirror.git(NAME, &["config", "uploadpack.allowFilter", "true"]);
        let one = git::commit(&path, None, "one");
        mirror.git(NAME, &["update-ref", "refs/kv/main", &one]);
        let folder = tempfile::tempdir().expect("a folder");
        let into = init(folder.path(), gix::hash::Kind::Sha1);
        let mut remote = anonymous(&mirror.url(NAME));
        remote.fetch_commits(id(&one), &into, &[]).expect("the first");
        let two = git::commit(&path, Some(&one), "two");
        mirror.git(NAME, &["update-ref", "refs/kv/main", &two]);
        remote.fetch_commits(id(&two), &into, &[id(&one)]).expect("the second");
        assert_eq!(into.rev_walk([id(&two)]).all().expect("a walk").count(), 2);
        let packs = into.objects.store_ref().path().join("pack");
        let packs = std::fs::read_dir(packs).expect("packs").flatten();
        let packs: Vec<_> = packs
            .filter(|file| file.path().extension().is_some_and(|name| name == "idx"))
            .collect();
        let objects = |pack: &std::fs::DirEntry| {
            gix_pack::index::File::at(pack.path(), gix::hash::Kind::Sha1)
                .expect("an index")
                .num_objects()
        };
        assert_eq!(packs.iter().map(objects).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn a_commit_that_the_remote_does_not_have_is_refused() {
        let mirror = Mirror::start();
        mirror.create(NAME, Format::Sha1);
        let folder = tempfile::tempdir().expect("a folder");
        let into = init(folder.path(), gix::hash::Kind::Sha1);
        let error = anonymous(&mirror.url(NAME))
            .fetch_commits(id(&"ab".repeat(20)), &into, &[])
            .expect_err("not ours");
        assert_eq!(error.outcome(), Outcome::Rejected, "{error}");
        assert!(error.to_string().contains("not our ref"), "{error}");
    }

    #[test]
    fn a_push_arrives() {
        for format in ["sha1", "sha256"] {
            let mirror = Mirror::with_token(CANARY);
            let (folder, commits) = source(format);
            mirror.create(NAME, if format == "sha1" { Format::Sha1 } else { Format::Sha256 });
            let mut remote = open(&mirror.url(NAME), &settings(Some(CANARY)));
            let create = |name| command(name, None, Some(&commits[2]), &commits[2]);
            let commands = vec![create("refs/kv/main"), create("refs/kv-mirror/main")];
            let report = pushed(&mut remote, folder.path(), commands, true).expect("a report");
            assert!(report.all_accepted(), "{report:?}");
            let expected = ["refs/kv-mirror/main", "refs/kv/main"].map(|name| (name.to_owned(), commits[2].clone()));
            assert_eq!(refs(&mut remote, "refs/"), expected);
            mirror.git(NAME, &["fsck", "--full", "--strict"]);
            assert_eq!(mirror.requests().len(), 4, "GET and POST to push, GET and POST to read");
            assert_eq!(remote.traffic().http_requests, 4);
            assert!(remote.traffic().bytes_sent > 500, "{:?}", remote.traffic());
        }
    }

    #[test]
    fn a_remembered_remote_takes_a_push_in_one_request() {
        let mirror = Mirror::start();
        let (folder, commits) = source("sha1");
        mirror.create(NAME, Format::Sha1);
        let mut remote = anonymous(&mirror.url(NAME));
        let mut remembered = remote.advertisement().expect("an advertisement");
        let before = remote.traffic().http_requests;
        let steps = [(None, &commits[0]), (Some(commits[0].as_str()), &commits[1])];
        for (old, new) in steps {
            let update = command("refs/kv/main", old, Some(new), new);
            let options = Options::default();
            let source = repository(folder.path());
            let report = push::push(&mut remote, &remembered, &source, vec![update], &options).expect("a report");
            assert!(report.all_accepted(), "{report:?}");
            remembered.refs.insert("refs/kv/main".into(), id(new));
        }
        assert_eq!(remote.traffic().http_requests - before, 2);
    }

    #[test]
    fn one_declined_ref_of_an_atomic_push_moves_none() {
        let mirror = Mirror::start();
        let (folder, commits) = source("sha1");
        mirror.create(NAME, Format::Sha1);
        mirror.hook(
            NAME,
            "update",
            "case $1 in refs/kv-mirror/*) echo not today >&2; exit 1;; esac",
        );
        let mut remote = anonymous(&mirror.url(NAME));
        let create = |name| command(name, None, Some(&commits[2]), &commits[2]);
        let commands = vec![create("refs/kv/main"), create("refs/kv-mirror/main")];
        let report = pushed(&mut remote, folder.path(), commands, true).expect("a report");
        assert_eq!(reason(&report, "refs/kv-mirror/main"), "hook declined");
        assert_eq!(reason(&report, "refs/kv/main"), "atomic push failure");
        assert_eq!(mirror.git(NAME, &["for-each-ref"]), "");
    }

    #[test]
    fn a_stale_old_id_is_rejected() {
        let mirror = Mirror::start();
        let (folder, commits) = source("sha1");
        mirror.create(NAME, Format::Sha1);
        let mut remote = anonymous(&mirror.url(NAME));
        let create = command("refs/kv/main", None, Some(&commits[0]), &commits[0]);
        pushed(&mut remote, folder.path(), vec![create], true).expect("a report");
        let stale = command("refs/kv/main", Some(&commits[1]), Some(&commits[2]), &commits[2]);
        let report = pushed(&mut remote, folder.path(), vec![stale], true).expect("a report");
        assert!(!reason(&report, "refs/kv/main").is_empty());
        assert_eq!(mirror.git(NAME, &["rev-parse", "refs/kv/main"]), commits[0]);
    }

    #[test]
    fn a_ref_is_deleted() {
        let mirror = Mirror::start();
        let (folder, commits) = source("sha1");
        let path = mirror.create(NAME, Format::Sha1);
        let commit = git::commit(&path, None, "theirs");
        mirror.git(NAME, &["update-ref", "refs/kv/old", &commit]);
        let mut remote = anonymous(&mirror.url(NAME));
        let delete = command("refs/kv/old", Some(&commit), None, &commits[0]);
        let report = pushed(&mut remote, folder.path(), vec![delete], true).expect("a report");
        assert_eq!(verdict(&report, "refs/kv/old"), &Verdict::Accepted);
        assert_eq!(mirror.git(NAME, &["for-each-ref"]), "");
    }

    #[test]
    fn a_configured_remote_is_found_by_its_name() {
        let mirror = Mirror::start();
        mirror.create(NAME, Format::Sha1);
        let (folder, _) = source("sha1");
        git(folder.path(), &["remote", "add", "github", &mirror.url(NAME)]);
        let location = resolve(b"github".as_bstr(), Some(&repository(folder.path()))).expect("a location");
        let mut remote = Remote::open(location, &settings(None)).expect("a remote");
        assert!(remote.advertisement().expect("an advertisement").refs.is_empty());
    }
}

mod folder {
    use super::*;

    #[test]
    fn commits_of_a_folder_are_borrowed() {
        let (lender, commits) = source("sha256");
        let folder = tempfile::tempdir().expect("a folder");
        let into = init(folder.path(), gix::hash::Kind::Sha256);
        let mut remote = anonymous(&format!("file://{}", lender.path().display()));
        assert!(!into.has_object(id(&commits[2])));
        for _ in 0..2 {
            remote.fetch_commits(id(&commits[2]), &into, &[]).expect("commits");
        }
        assert_eq!(into.rev_walk([id(&commits[2])]).all().expect("a walk").count(), 3);
        let alternates = std::fs::read_to_string(into.git_dir().join("objects/info/alternates")).expect("a file");
        assert_eq!(alternates.lines().count(), 1, "{alternates}");
        let missing = remote
            .fetch_commits(id(&"ab".repeat(32)), &into, &[])
            .expect_err("not there");
        assert_eq!(missing.outcome(), Outcome::Transient);
    }
}

mod scripted {
    use super::*;

    fn redirect(location: &str) -> Step {
        Step::Answer(answer("302 Found", &[&format!("Location: {location}")], b""))
    }

    #[test]
    fn a_redirect_on_the_same_host_is_followed_with_credentials() {
        let (folder, commits) = source("sha1");
        let mut report = Vec::new();
        push::pkt_line::data(&mut report, b"unpack ok\n");
        push::pkt_line::data(&mut report, b"ok refs/kv/main\n");
        push::pkt_line::flush(&mut report);
        let server = Scripted::serve([
            redirect("/new/r.git/info/refs?service=git-receive-pack"),
            Step::Answer(advertised(&nothing_yet())),
            Step::Answer(reported(&report)),
        ]);
        let mut remote = open(&server.url(NAME), &brief(Some(CANARY)));
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
        let post = &received[2];
        assert_eq!(post.field("Content-Length"), Some(post.body.len().to_string().as_str()));
        assert_eq!(post.field("Transfer-Encoding"), None);
        assert_eq!(
            post.field("Content-Type"),
            Some("application/x-git-receive-pack-request")
        );
        assert!(
            post.field("User-Agent")
                .is_some_and(|agent| agent.starts_with("git/stargate-mirror-"))
        );
        assert_eq!(remote.traffic().bytes_sent, post.body.len() as u64);
    }

    #[test]
    fn credentials_do_not_follow_to_another_origin() {
        let other = Scripted::serve([Step::Answer(answer("401 Unauthorized", &[], b""))]);
        let location = other.url("o/r.git/info/refs?service=git-receive-pack");
        let (error, server) = asked([redirect(&location)]);
        assert_eq!(error.outcome(), Outcome::Misconfigured);
        assert!(error.to_string().contains("not sent there"), "{error}");
        assert!(server.received()[0].field("Authorization").is_some());
        assert_eq!(other.received()[0].field("Authorization"), None);
    }

    #[test]
    fn redirects_in_a_circle_and_without_end_are_refused() {
        let here = "/o/r.git/info/refs?service=git-receive-pack";
        let there = "/o/s.git/info/refs?service=git-receive-pack";
        let (error, server) = asked([redirect(there), redirect(here)]);
        assert_eq!(error.outcome(), Outcome::Misconfigured);
        assert!(error.to_string().contains("without end"), "{error}");
        assert_eq!(server.received().len(), 2);

        let (error, server) = asked((0..9).map(|n| redirect(&format!("/o/{n}.git/info/refs"))));
        assert!(error.to_string().contains("without end"), "{error}");
        assert_eq!(server.received().len(), 6, "five are followed");
    }

    #[test]
    fn a_redirected_push_is_refused() {
        let (result, server) = pushed_to(redirect("/new/r.git/git-receive-pack"));
        let error = result.expect_err("a redirect");
        assert_eq!(error.outcome(), Outcome::Misconfigured);
        assert!(error.to_string().contains("redirects the push itself"), "{error}");
        assert_eq!(server.received().len(), 2);
    }

    #[test]
    fn a_status_says_what_to_do() {
        use Outcome::{Misconfigured, Rejected, Transient};
        let cases: [(&str, &[&str], Outcome, Option<u64>, &str); 9] = [
            ("401 Unauthorized", &[], Misconfigured, None, "refuses the credentials"),
            ("403 Forbidden", &[], Misconfigured, None, "forbids it"),
            (
                "403 Forbidden",
                &["Retry-After: 9"],
                Transient,
                Some(9),
                "come again later",
            ),
            ("404 Not Found", &[], Misconfigured, None, "no such repository"),
            (
                "413 Content Too Large",
                &[],
                Rejected,
                None,
                "larger than the server takes",
            ),
            (
                "429 Too Many Requests",
                &["Retry-After: 7"],
                Transient,
                Some(7),
                "come again later",
            ),
            (
                "503 Unavailable",
                &["Retry-After: 999999"],
                Transient,
                Some(3600),
                "come again later",
            ),
            ("500 Internal Server Error", &[], Transient, None, "the server failed"),
            ("418 I'm a teapot", &[], Rejected, None, "refuses the request"),
        ];
        for (status, header, outcome, retry_after, words) in cases {
            let (error, _) = asked([Step::Answer(answer(status, header, b""))]);
            assert_eq!(error.outcome(), outcome, "{error}");
            assert_eq!(error.retry_after(), retry_after.map(Duration::from_secs), "{error}");
            assert!(
                error.to_string().contains(words) && error.to_string().contains(&status[..3]),
                "{error}"
            );
        }
    }

    #[test]
    fn a_server_that_fails_on_a_push_may_have_carried_it_out() {
        let (result, _) = pushed_to(Step::Answer(answer("502 Bad Gateway", &[], b"")));
        assert_eq!(result.expect_err("502").outcome(), Outcome::Ambiguous);
        let (result, _) = pushed_to(Step::Answer(answer("413 Content Too Large", &[], b"")));
        assert_eq!(result.expect_err("413").outcome(), Outcome::Rejected);
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
        push::pkt_line::data(&mut body, format!("ERR no access with {CANARY}").as_bytes());
        let (error, _) = asked([Step::Answer(advertised(&body))]);
        assert_eq!(error.outcome(), Outcome::Rejected);
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
            ("X-Nothing: at all", "does not say"),
        ];
        for (header, words) in cases {
            let (error, _) = asked([Step::Answer(answer("200 OK", &[header], b"<html>"))]);
            assert_eq!(error.outcome(), Outcome::Misconfigured, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
        let (error, _) = asked([redirect("/login?next=/o/r.git")]);
        assert!(error.to_string().contains("login page"), "{error}");
        let (result, _) = pushed_to(Step::Answer(answer("200 OK", &["Content-Type: text/html"], b"<html>")));
        assert_eq!(result.expect_err("a page").outcome(), Outcome::Ambiguous);
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
            assert_eq!(error.outcome(), Outcome::Transient, "{script:?}: {error}");
        }
    }

    #[test]
    fn an_answer_that_breaks_off_is_ambiguous_after_a_push() {
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
            assert_eq!(error.outcome(), Outcome::Ambiguous, "{step:?}: {error}");
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
            (Step::SilenceBeforeBody, "silent for 200ms"),
        ] {
            let server = Scripted::serve([step]);
            let mut remote = open(&server.url(NAME), &brief(Some(CANARY)));
            let file = tempfile::tempfile().expect("a spool");
            // More than the buffers of a connection hold.
            let bytes = 64 << 20;
            file.set_len(bytes).expect("a sparse file");
            let some = "ab".repeat(20);
            let request = push::Request {
                commands: vec![command("refs/kv/main", None, Some(&some), &some)],
                object_format: gix::hash::Kind::Sha1,
                atomic: false,
                capabilities: vec!["report-status".into()],
                push_options: Vec::new(),
            };
            let pack = push::Pack {
                file,
                bytes,
                objects: 1,
            };
            let error = remote.send(&request, Some(pack)).expect_err("nobody reads");
            assert_eq!(error.outcome(), Outcome::Transient, "{error}");
            assert!(error.to_string().contains(words), "{error}");
            assert_no_canary(&error);
        }
    }

    #[test]
    fn a_server_that_never_answers_is_given_up_after_the_idle_timeout() {
        let (error, _) = asked([Step::Silence]);
        assert_eq!(error.outcome(), Outcome::Transient);
        assert!(error.to_string().contains("silent for 200ms"), "{error}");
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
        let mut remote = open(&server.url(NAME), &brief(None));
        let mut read = || remote.read_refs(&prefixes(&["refs/kv/"]));
        assert_eq!(read().expect("no refs"), []);
        assert_eq!(read().expect_err("it breaks off").outcome(), Outcome::Transient);
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
        let advertisement = open(&server.url(NAME), &brief(None))
            .advertisement()
            .expect("an advertisement");
        assert!(advertisement.capabilities.offers("atomic"));
        assert_eq!(server.received()[0].field("Accept-Encoding"), Some("gzip"));
    }
}

#[test]
fn credentials_never_start_on_plain_http_to_another_machine() {
    let user_info = "http://me:ghp_c4n4ry%2F+c4n4ry@example.com/o/r.git";
    for url in ["http://example.com/o/r.git", user_info] {
        let location = Location::parse(url.into()).expect("a location");
        let Err(error) = Remote::open(location, &settings(Some(CANARY))) else {
            panic!("credentials in the clear");
        };
        assert_eq!(error.outcome(), Outcome::Misconfigured);
        assert!(error.to_string().contains("plain http"), "{error}");
        assert_no_canary(&error);
    }
}
