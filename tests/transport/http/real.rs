//! HTTP with `git http-backend` behind nginx, and folders.
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
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
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
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
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
    assert_eq!(error.kind(), ErrorKind::Transient);
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
    let mirror = Mirror::with_protocol_0();
    let path = mirror.create(NAME, Format::Sha1);
    let commit = git::commit(&path, None, "one");
    mirror.git(NAME, &["update-ref", "refs/kv-mirror/main", &commit]);
    mirror.git(NAME, &["update-ref", "refs/heads/main", &commit]);
    let mut remote = anonymous(&mirror.url(NAME));
    let watermark = [("refs/kv-mirror/main".to_owned(), commit.clone())];
    assert_eq!(refs(&mut remote, "refs/kv-mirror/"), watermark);
    assert_eq!(remote.traffic().http_requests, 1, "it told everything at once");

    let folder = tempfile::tempdir().expect("a folder");
    let into = init(folder.path(), gix::hash::Kind::Sha1);
    remote.fetch_commits(id(&commit), &into, &[]).expect("commits");
    assert!(into.has_object(id(&commit)));
}

#[test]
fn a_server_is_trusted_by_its_certificate_only() {
    let mirror = Mirror::with_tls();
    let (folder, commits) = source("sha1");
    mirror.create(NAME, Format::Sha1);
    let certificate = mirror.certificate().display().to_string();
    let environment = |name: &str| (name == "SSL_CERT_FILE").then(|| certificate.clone().into());
    let trusting = Settings::from_environment(environment).expect("settings");

    let error = anonymous(&mirror.url(NAME))
        .advertisement()
        .expect_err("nobody knows it");
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("certificate is not trusted"), "{error}");
    assert!(
        error.hint().is_some_and(|hint| hint.contains("SSL_CERT_FILE")),
        "{error:?}"
    );

    let elsewhere = mirror.url(NAME).replace("127.0.0.1", "localhost");
    let error = open(&elsewhere, &trusting).advertisement().expect_err("another name");
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");

    let mut remote = open(&mirror.url(NAME), &trusting);
    let create = command("refs/kv/main", None, Some(&commits[2]), &commits[2]);
    assert!(
        pushed(&mut remote, folder.path(), vec![create], true)
            .expect("a report")
            .all_accepted()
    );
    assert_eq!(
        refs(&mut remote, "refs/kv/"),
        [("refs/kv/main".to_owned(), commits[2].clone())]
    );

    git(folder.path(), &["config", "http.sslCAInfo", &certificate]);
    let configured = settings(None)
        .with_git_config(&repository(folder.path()))
        .expect("settings");
    open(&mirror.url(NAME), &configured)
        .advertisement()
        .expect("git's own setting counts too");
}

#[test]
fn a_self_signed_server_is_trusted_if_its_certificate_is_named_as_git_trusts_it() {
    let mirror = Mirror::with_self_signed_certificate();
    let (folder, commits) = source("sha1");
    mirror.create(NAME, Format::Sha1);
    let trusting = |file: std::path::PathBuf| {
        let environment = |name: &str| (name == "SSL_CERT_FILE").then(|| file.clone().into());
        Settings::from_environment(environment).expect("settings")
    };
    let url = mirror.url(NAME);
    for (settings, url) in [
        (settings(None), url.clone()),
        (trusting(mirror.certificate()), url.clone()),
        (
            trusting(mirror.server_certificate()),
            url.replace("127.0.0.1", "localhost"),
        ),
    ] {
        let error = open(&url, &settings)
            .advertisement()
            .expect_err("not named, or another name");
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
        let said = error.to_string();
        assert!(
            said.contains("certificate is not trusted") && !said.contains("Other"),
            "{said}"
        );
    }
    let certificate = mirror.server_certificate().display().to_string();
    git(folder.path(), &["config", "http.sslCAInfo", &certificate]);
    git(folder.path(), &["ls-remote", &url]);
    let configured = settings(None).with_git_config(&repository(folder.path()));
    for settings in [trusting(mirror.server_certificate()), configured.expect("settings")] {
        let mut remote = open(&url, &settings);
        let create = command("refs/kv/main", None, Some(&commits[2]), &commits[2]);
        let pushed = pushed(&mut remote, folder.path(), vec![create], true);
        assert!(pushed.expect("a report").all_accepted());
        mirror.git(NAME, &["update-ref", "-d", "refs/kv/main"]);
    }
}

#[test]
fn a_redirect_from_http_to_https_is_followed_and_its_server_trusted_by_its_certificate_only() {
    let mirror = Mirror::with_tls();
    mirror.create(NAME, Format::Sha1);
    let there = format!("Location: {}/info/refs?service=git-receive-pack", mirror.url(NAME));
    let redirected = |settings: &Settings| {
        let server = Scripted::serve([Step::Answer(answer("301 Moved Permanently", &[&there], b""))]);
        open(&server.url(NAME), settings).advertisement()
    };
    let certificate = mirror.certificate().display().to_string();
    let environment = |name: &str| (name == "SSL_CERT_FILE").then(|| certificate.clone().into());
    let trusting = Settings::from_environment(environment).expect("settings");
    redirected(&trusting).expect("an advertisement");
    let error = redirected(&settings(None)).expect_err("nobody knows it");
    assert!(error.to_string().contains("certificate is not trusted"), "{error}");
}

#[test]
fn https_to_a_port_of_plain_http_is_misconfigured() {
    let mirror = Mirror::start();
    let url = mirror.url(NAME).replace("http://", "https://");
    let error = anonymous(&url).advertisement().expect_err("no TLS there");
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
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
    assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
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
        assert_eq!(mirror.requests().len(), 3, "GET and POST to push, POST to read");
        assert_eq!(remote.traffic().http_requests, 3);
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
        let source = repository(folder.path());
        let report = git_push::Push::new(&source, &remembered)
            .command(update)
            .send(&mut remote)
            .expect("a report");
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
    let report = pushed(&mut remote, folder.path(), vec![create], true).expect("a report");
    assert!(report.all_accepted(), "{report:?}");
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
    assert_eq!(missing.kind(), ErrorKind::Transient);
}

#[test]
fn a_mirror_lives_behind_every_web_server() {
    for web in [Web::Nginx, Web::Lighttpd, Web::Apache] {
        let mirror = Mirror::behind(web, CANARY);
        let (folder, commits) = source("sha1");
        mirror.create(NAME, Format::Sha1);
        let certificate = mirror.certificate();
        let environment = |name: &str| match name {
            "SSL_CERT_FILE" => Some(certificate.clone().into()),
            "GITHUB_PAT" => Some(CANARY.into()),
            _ => None,
        };
        let mut remote = open(
            &mirror.url(NAME),
            &Settings::from_environment(environment).expect("settings"),
        );
        let names = ["refs/kv/main", "refs/kv-mirror/main"];
        let create = names.map(|name| command(name, None, Some(&commits[1]), &commits[1]));
        let report = pushed(&mut remote, folder.path(), create.to_vec(), true).expect("a report");
        assert!(report.all_accepted(), "{web:?}: {report:?}");
        let update = command(names[0], Some(&commits[1]), Some(&commits[2]), &commits[2]);
        let report = pushed(&mut remote, folder.path(), vec![update], true).expect("a report");
        assert!(report.all_accepted(), "{web:?}: {report:?}");
        let both = [(names[1], &commits[1]), (names[0], &commits[2])];
        assert_eq!(
            refs(&mut remote, "refs/kv"),
            both.map(|(name, id)| (name.to_owned(), id.clone()))
        );
        let into = tempfile::tempdir().expect("a folder");
        let into = init(into.path(), gix::hash::Kind::Sha1);
        remote.fetch_commits(id(&commits[2]), &into, &[]).expect("commits");
        assert_eq!(into.rev_walk([id(&commits[2])]).all().expect("a walk").count(), 3);
        let delete = command(names[0], Some(&commits[2]), None, &commits[2]);
        let report = pushed(&mut remote, folder.path(), vec![delete], true).expect("a report");
        assert!(report.all_accepted(), "{web:?}: {report:?}");
        assert_eq!(refs(&mut remote, "refs/kv/"), []);
    }
}

#[test]
fn a_server_that_takes_no_chunks_takes_our_pushes() {
    use std::io::{Read, Write};
    let mirror = Mirror::start();
    let (folder, commits) = source("sha1");
    mirror.create(NAME, Format::Sha1);
    let mut chunked = std::net::TcpStream::connect(("127.0.0.1", mirror.port())).expect("it listens");
    let head = format!("POST /{NAME}/git-receive-pack HTTP/1.1\r\nHost: h\r\nConnection: close\r\n");
    chunked
        .write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n4\r\n0000\r\n0\r\n\r\n").as_bytes())
        .expect("it reads");
    let mut answer = String::new();
    chunked.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 411 "), "{answer}");

    let create = command("refs/kv/main", None, Some(&commits[2]), &commits[2]);
    let report = pushed(&mut anonymous(&mirror.url(NAME)), folder.path(), vec![create], true).expect("a report");
    assert!(report.all_accepted());
}
