//! Large pushes, which are sent while they are made: to real servers, to servers that refuse them early or need a length, and
//! with a pack that cannot be made to its end.
use std::{
    cell::RefCell,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use bstr::BString;
use git_push::{
    Advertisement, Connection, Error, ErrorKind, Observer, Pack, Push, Remedy, RemoteRef, Report, Request, Stage,
    Traffic, Verdict, parts::Parts,
};
use git_push_transport::{Remote, Settings};
use support::{
    front::{Front, Treatment},
    git::{self, git},
    history::{self, Shape, assert_same},
    mirror::{Format, Mirror},
    pushing::{id, open, repository},
    random::Random,
    scripted::{Scripted, Step, answer},
    sshd::Server,
    web::Web,
};
use tempfile::TempDir;

const NAME: &str = "o/r.git";
const MAIN: &str = "refs/heads/main";
/// More than connections buffer. Each file is loose, is too large to be compressed beside others, and is in a folder of its own:
/// no delta is tried, which takes long without optimisation.
const LARGE: Shape = Shape {
    commits: 1,
    files: 4,
    bytes: 1_800_000,
    merges: 0,
};
/// The least bytes of a pack of that.
const LARGE_BYTES: u64 = 7_200_000;

fn source() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source.git");
    history::make(&source, LARGE, 7);
    let packs = fs::read_dir(source.join("objects/pack")).expect("a folder");
    assert_eq!(packs.count(), 0, "all is loose");
    (folder, source)
}

/// Records the lengths of the packs that are sent.
#[derive(Default)]
struct Lengths(RefCell<Vec<Option<u64>>>);

impl Observer for Lengths {
    fn stage(&self, stage: Stage<'_>) {
        if let Stage::Sending { pack: Some(pack) } = stage {
            self.0.borrow_mut().push(pack.length());
        }
    }
}

/// Pushes `main`.
fn push(source: &Path, remote: &mut dyn Connection, observer: &dyn Observer) -> Result<Report, Error> {
    let advertisement = remote.advertisement()?;
    let tip = id(&git(source, &["rev-parse", "main"]));
    let repository = repository(source);
    Push::new(&repository, &advertisement)
        .command(git_push::Command::set(MAIN, &advertisement, tip))
        .progress(observer)
        .send(remote)
}

/// Adds a commit of 1.8 MB.
fn add_commit(source: &Path) {
    let shape = Shape { files: 1, ..LARGE };
    history::extend(source, MAIN, shape, 8);
}

fn ssh_settings(server: &Server) -> Settings {
    let command = server.ssh_command();
    Settings::from_environment(|name| (name == "GIT_SSH_COMMAND").then(|| command.clone().into())).expect("settings")
}

fn with_token(token: &str) -> Settings {
    Settings::from_environment(|name| (name == "GITHUB_PAT").then(|| token.into())).expect("settings")
}

#[test]
fn a_large_push_arrives_while_it_is_made_over_every_transport() {
    let (folder, source) = source();
    let mirror = Mirror::measured("token", None);
    let (ssh, daemon) = (Server::ssh(true), Server::daemon());
    git(folder.path(), &["init", "-q", "--bare", "local.git"]);
    let local = folder.path().join("local.git");
    let places = [
        (mirror.url(NAME), mirror.create(NAME, Format::Sha1)),
        (ssh.url(NAME), ssh.create(NAME, "sha1")),
        (daemon.url(NAME), daemon.create(NAME, "sha1")),
        (local.display().to_string(), local.clone()),
    ];
    for (url, receiver) in places {
        let mut settings = ssh_settings(&ssh);
        settings.token = with_token("token").token.filter(|_| url.starts_with("http"));
        let mut remote = open(&url, &settings);
        let lengths = Lengths::default();
        let report = push(&source, &mut remote, &lengths).expect("a report");
        assert!(
            report.all_accepted() && !report.has_refused_stream(),
            "{url}: {report:?}"
        );
        assert_same(&source, &receiver);
        assert_eq!(lengths.0.into_inner(), [None], "{url}");
        let sent = remote.traffic().bytes_sent;
        assert!((LARGE_BYTES..LARGE_BYTES + 100_000).contains(&sent), "{url}: {sent}");
    }
    let requests = mirror.requests();
    assert_eq!(requests.len(), 2, "a GET and a POST: {requests:?}");
}

#[test]
fn a_large_push_arrives_behind_other_servers_and_over_tls() {
    let (_folder, source) = source();
    // nginx refuses chunks here, before the end of the body.
    for (web, is_refused) in [(Web::Nginx, true), (Web::Lighttpd, false), (Web::Apache, false)] {
        let mirror = Mirror::behind(web, "token");
        let receiver = mirror.create(NAME, Format::Sha1);
        let mut settings = with_token("token");
        settings.ca_file = Some(mirror.certificate());
        let mut remote = open(&mirror.url(NAME), &settings);
        let report = push(&source, &mut remote, &()).expect("a report");
        assert!(report.all_accepted(), "{web:?}: {report:?}");
        assert_eq!(report.has_refused_stream(), is_refused, "{web:?}");
        assert_same(&source, &receiver);
    }
}

#[test]
fn a_small_push_has_a_length_and_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source.git");
    let shape = Shape {
        commits: 2,
        files: 2,
        bytes: 200_000,
        merges: 0,
    };
    history::make(&source, shape, 1);
    let mirror = Mirror::start();
    let receiver = mirror.create(NAME, Format::Sha1);
    let output = program(&source, &[&mirror.url(NAME), "main"])
        .env("TMPDIR", "/nonexistent")
        .output()
        .expect("it runs");
    assert_pushed(&output);
    assert_same(&source, &receiver);
    assert!(mirror.bodies()[1] > 800_000, "{:?}", mirror.bodies());
}

#[test]
fn a_server_that_needs_a_length_gets_one_and_does_so_at_once_the_next_time() {
    let (_folder, source) = source();
    let mirror = Mirror::start();
    let receiver = mirror.create(NAME, Format::Sha1);
    let mut remote = open(&mirror.url(NAME), &Settings::default());
    let lengths = Lengths::default();
    let report = push(&source, &mut remote, &lengths).expect("a report");
    assert!(report.all_accepted() && report.has_refused_stream());
    assert_same(&source, &receiver);
    assert!(matches!(lengths.0.into_inner()[..], [None, Some(_)]));
    let statuses = |mirror: &Mirror| {
        let requests = mirror.requests().into_iter();
        let posts = requests.filter(|line| line.starts_with("POST ") && line.contains("git-receive-pack"));
        posts
            .filter_map(|line| line.split(' ').nth(2).map(str::to_owned))
            .collect::<Vec<_>>()
    };
    assert_eq!(statuses(&mirror), ["411", "200"]);

    add_commit(&source);
    let report = push(&source, &mut remote, &()).expect("a report");
    assert!(report.all_accepted() && !report.has_refused_stream());
    assert_eq!(statuses(&mirror), ["411", "200", "200"], "the connection knows");

    // A setting says so in advance.
    add_commit(&source);
    git(&source, &["config", "http.postBuffer", "500m"]);
    assert_pushed(
        &program(&source, &[&mirror.url(NAME), "main"])
            .output()
            .expect("it runs"),
    );
    assert_eq!(statuses(&mirror), ["411", "200", "200", "200"]);
    assert_same(&source, &receiver);
}

#[test]
fn a_server_that_answers_400_to_chunks_gets_a_length() {
    let (_folder, source) = source();
    let report = b"000eunpack ok\n0017ok refs/heads/main\n0000";
    let reported = answer(
        "200 OK",
        &["Content-Type: application/x-git-receive-pack-result"],
        report,
    );
    let server = Scripted::serve([
        Step::Answer(advertised()),
        Step::Answer(answer("400 Bad Request", &[], b"")),
        Step::Answer(reported),
    ]);
    let mut remote = open(&server.url(NAME), &Settings::default());
    let report = push(&source, &mut remote, &()).expect("a report");
    assert!(report.all_accepted() && report.has_refused_stream() && !report.has_refused_thin());
    let received = server.received();
    assert!(received[1].has_ended && received[1].body.len() as u64 > LARGE_BYTES);
    assert!(received[1].body == received[2].body, "the same, with its length");
    assert_eq!(received[2].field("Transfer-Encoding"), None);
}

/// The advertisement of an empty repository.
fn advertised() -> Vec<u8> {
    let refs = format!("{} capabilities^{{}}\0report-status ofs-delta", "0".repeat(40));
    let mut body = b"001f# service=git-receive-pack\n0000".to_vec();
    git_push::pkt_line::data(&mut body, refs.as_bytes());
    git_push::pkt_line::flush(&mut body);
    let header = "Content-Type: application/x-git-receive-pack-advertisement";
    answer("200 OK", &[header], &body)
}

#[test]
fn an_answer_before_the_end_of_the_body_is_read() {
    let (_folder, source) = source();
    let cases = [
        ("401 Unauthorized", ErrorKind::Misconfigured, None),
        ("403 Forbidden", ErrorKind::Misconfigured, None),
        ("408 Request Timeout", ErrorKind::Uncertain, Some(Remedy::SmallerPack)),
        ("413 Content Too Large", ErrorKind::Rejected, Some(Remedy::SmallerPack)),
    ];
    for (status, kind, remedy) in cases {
        let early = answer(status, &["Content-Type: text/plain"], b"the reason");
        let closed = Step::AnswerBeforeBody(early.clone());
        let silent = Step::AnswerBeforeBodyAndSilence(early);
        let mut steps = vec![(closed.clone(), true)];
        if status.starts_with("413") {
            steps.extend([(closed, false), (silent, true)]);
        }
        for (step, stream) in steps {
            let server = Scripted::serve([Step::Answer(advertised()), step.clone()]);
            let mut settings = with_token("token");
            settings.idle_timeout = Duration::from_secs(1);
            let mut remote = open(&server.url(NAME), &settings);
            let advertisement = remote.advertisement().expect("an advertisement");
            let tip = id(&git(&source, &["rev-parse", "main"]));
            let sent = Push::new(&repository(&source), &advertisement)
                .command(git_push::Command::create(MAIN, tip))
                .stream(stream)
                .send(&mut remote);
            let error = sent.expect_err("it is refused");
            let number = format!("(HTTP {}): the reason", &status[..3]);
            assert!(error.to_string().contains(&number), "{step:?} {stream}: {error}");
            assert_eq!((error.kind(), error.remedy()), (kind, remedy), "{error}");
        }
    }
}

#[test]
fn nginx_refuses_in_the_middle_of_the_body_and_the_push_goes_in_parts() {
    let (_folder, source) = source();
    let mirror = Mirror::with_max_body("4m");
    let receiver = mirror.create(NAME, Format::Sha1);
    let mut remote = open(&mirror.url(NAME), &Settings::default());
    let error = push(&source, &mut remote, &()).expect_err("413");
    assert_eq!(
        (error.kind(), error.remedy()),
        (ErrorKind::Rejected, Some(Remedy::SmallerPack))
    );
    assert_eq!(git(&receiver, &["for-each-ref"]), "");

    let advertisement = remote.advertisement().expect("an advertisement");
    let tip = id(&git(&source, &["rev-parse", "main"]));
    let report = Push::new(&repository(&source), &advertisement)
        .command(git_push::Command::create(MAIN, tip))
        .send_in_parts(&Parts::new("refs/parts/", 1 << 30), &mut remote);
    assert!(report.expect("a report").all_accepted());
    assert_same(&source, &receiver);
}

#[test]
fn a_connection_that_is_cut_in_the_body_changes_nothing_and_the_next_attempt_lands() {
    let (_folder, source) = source();
    let mirror = Mirror::measured("token", None);
    let receiver = mirror.create(NAME, Format::Sha1);
    let lose = |number, _| {
        if number == 1 {
            Treatment::Lost
        } else {
            Treatment::Forwarded
        }
    };
    let front = Front::of(mirror.port(), lose);
    let mut remote = open(&front.url(NAME), &with_token("token"));
    let error = push(&source, &mut remote, &()).expect_err("it is cut");
    assert_eq!(error.remedy(), Some(Remedy::SmallerPack), "{error}");
    assert!(error.is_retryable(), "{error}");
    assert_eq!(git(&receiver, &["for-each-ref"]), "");
    assert!(push(&source, &mut remote, &()).expect("a report").all_accepted());
    assert_same(&source, &receiver);
}

/// Cuts off all blobs of a repository when sending begins. Some were read before, and some were not.
struct Damaging<'a>(&'a Path, RefCell<Vec<String>>);

impl<'a> Damaging<'a> {
    fn new(source: &'a Path) -> Self {
        let objects = git(source, &["cat-file", "--batch-all-objects", "--batch-check"]);
        let blobs = objects.lines().filter(|line| line.contains(" blob "));
        let ids = blobs.filter_map(|line| line.split(' ').next().map(str::to_owned));
        Damaging(source, RefCell::new(ids.collect()))
    }

    fn do_it(&self) {
        for id in self.1.take() {
            let path = self.0.join("objects").join(&id[..2]).join(&id[2..]);
            let short = fs::read(&path).expect("an object")[..100].to_vec();
            fs::remove_file(&path).expect("a file");
            fs::write(&path, short).expect("a file");
        }
    }
}

impl Observer for Damaging<'_> {
    fn stage(&self, stage: Stage<'_>) {
        if let Stage::Sending { pack: Some(pack) } = stage {
            assert_eq!(pack.length(), None);
            self.do_it();
        }
    }
}

#[test]
fn an_object_that_is_damaged_while_the_pack_is_sent_leaves_the_remote_as_it_was() {
    let mirror = Mirror::measured("token", None);
    let (ssh, folder) = (Server::ssh(true), tempfile::tempdir().expect("a folder"));
    git(folder.path(), &["init", "-q", "--bare", "local.git"]);
    let local = folder.path().join("local.git");
    let places = [
        (mirror.url(NAME), mirror.create(NAME, Format::Sha1)),
        (ssh.url(NAME), ssh.create(NAME, "sha1")),
        (local.display().to_string(), local.clone()),
    ];
    for (url, receiver) in places {
        let (_folder, source) = source();
        let mut settings = ssh_settings(&ssh);
        settings.token = with_token("token").token.filter(|_| url.starts_with("http"));
        let mut remote = open(&url, &settings);
        let error = push(&source, &mut remote, &Damaging::new(&source)).expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Broken, "{url}: {error}");
        assert!(error.to_string().contains("cannot be read"), "{url}: {error}");
        assert!(
            remote.traffic().bytes_sent > 0 || url == local.display().to_string(),
            "{url}"
        );
        assert_eq!(git(&receiver, &["for-each-ref"]), "", "{url}");
        assert_eq!(git(&receiver, &["count-objects"]), "0 objects, 0 kilobytes", "{url}");
        git(&receiver, &["fsck", "--strict"]);
    }
}

#[test]
fn the_program_ends_with_5_when_the_last_object_is_damaged() {
    let (folder, source) = source();
    // The order of the pack shows what is sent last.
    let tip = id(&git(&source, &["rev-parse", "main"]));
    let mut advertisement = Advertisement::default();
    advertisement.capabilities.list = vec![("ofs-delta".into(), None)];
    let pack = Push::new(&repository(&source), &advertisement)
        .command(git_push::Command::create(MAIN, tip))
        .pack()
        .expect("a pack");
    let mut bytes = Vec::new();
    let mut file = pack.file;
    file.read_to_end(&mut bytes).expect("a pack");
    fs::write(folder.path().join("ours.pack"), bytes).expect("a file");
    git(folder.path(), &["index-pack", "ours.pack"]);
    let shown = git(folder.path(), &["verify-pack", "-v", "ours.pack"]);
    let objects = shown.lines().filter(|line| line.contains(" blob "));
    let offset = |line: &&str| {
        line.split_whitespace()
            .nth(4)
            .and_then(|offset| offset.parse::<u64>().ok())
    };
    let last = objects.max_by_key(offset).and_then(|line| line.split(' ').next());
    let last = last.expect("an object").to_owned();
    Damaging(&source, RefCell::new(vec![last.clone()])).do_it();

    let mirror = Mirror::measured("token", None);
    let receiver = mirror.create(NAME, Format::Sha1);
    let output = program(&source, &[&mirror.url(NAME), "main"])
        .env("GITHUB_PAT", "token")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains(&last), "{said}");
    assert_eq!(git(&receiver, &["for-each-ref"]), "");
}

/// A remote of another program that takes streams.
struct Streaming<'a> {
    /// What happens when the first bytes were read.
    then: &'a dyn Fn(),
    /// Bytes before and after that.
    read: (u64, u64),
    length: Option<u64>,
}

impl Connection for Streaming<'_> {
    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        Ok(Advertisement::default())
    }

    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        let mut pack = pack.expect("a pack");
        self.length = pack.length();
        let mut first = [0; 12];
        pack.read_exact(&mut first).expect("the header");
        self.read.0 = 12;
        (self.then)();
        let mut rest = Vec::new();
        let read = pack.read_to_end(&mut rest);
        self.read.1 = rest.len() as u64;
        if let (Err(_), Some(error)) = (read, pack.failure()) {
            return Err(error);
        }
        assert!(pack.sent().is_complete());
        assert_eq!(pack.sent().bytes(), self.read.0 + self.read.1);
        let verdict = |command: &git_push::Command| (command.clone(), Verdict::Accepted);
        Ok(Report::new(request.commands.iter().map(verdict).collect()))
    }

    fn takes_streams(&self) -> bool {
        true
    }

    fn read_refs(&mut self, _: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        Ok(Vec::new())
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

#[test]
fn sending_begins_before_the_last_object_is_read() {
    let (_folder, source) = source();
    let damaging = Damaging::new(&source);
    let streamed = |then: &dyn Fn()| {
        let mut remote = Streaming {
            then,
            read: (0, 0),
            length: Some(0),
        };
        let sent = push(&source, &mut remote, &());
        assert_eq!(remote.length, None);
        (sent, remote.read)
    };
    let (sent, (_, rest)) = streamed(&|| ());
    assert!(sent.expect("a report").all_accepted());
    assert!(rest > LARGE_BYTES, "{rest}");
    // After the first bytes were sent, the rest is damaged, and that is noticed: it was not read before.
    let (sent, (_, rest)) = streamed(&|| damaging.do_it());
    assert_eq!(sent.expect_err("damaged").kind(), ErrorKind::Broken);
    assert!(rest < LARGE_BYTES, "{rest}");
}

#[test]
fn an_interrupted_stream_is_broken_off() {
    let (_folder, source) = source();
    let flag = Arc::<AtomicBool>::default();
    let server = Scripted::serve([
        Step::Answer(advertised()),
        Step::SetInBody(Arc::clone(&flag)),
        Step::Answer(advertised()),
    ]);
    let mut remote = open(&server.url(NAME), &Settings::default());
    let advertisement = remote.advertisement().expect("an advertisement");
    let tip = id(&git(&source, &["rev-parse", "main"]));
    let sent = Push::new(&repository(&source), &advertisement)
        .command(git_push::Command::create(MAIN, tip))
        .interrupt(&flag)
        .send(&mut remote);
    let error = sent.expect_err("interrupted");
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
    let sent = remote.traffic().bytes_sent;
    assert!((1..LARGE_BYTES).contains(&sent), "{sent}");
    // The server serves one request after the other.
    remote.advertisement().expect("an advertisement");
    assert!(!server.received()[1].has_ended, "without the last chunk");
}

#[test]
fn a_limit_that_may_be_exceeded_has_the_pack_made_before() {
    let (_folder, source) = source();
    let mirror = Mirror::measured("token", None);
    let receiver = mirror.create(NAME, Format::Sha1);
    let mut remote = open(&mirror.url(NAME), &with_token("token"));
    let (advertisement, lengths) = (remote.advertisement().expect("an advertisement"), Lengths::default());
    let tip = id(&git(&source, &["rev-parse", "main"]));
    let repository = repository(&source);
    let sent = |remote: &mut Remote, limit| {
        Push::new(&repository, &advertisement)
            .command(git_push::Command::create(MAIN, tip))
            .progress(&lengths)
            .send_in_parts(&Parts::new("refs/parts/", limit), remote)
    };
    assert!(sent(&mut remote, 12_000_000).expect("a report").all_accepted());
    assert!(matches!(lengths.0.take()[..], [Some(_)]), "12 MB are near");
    assert_same(&source, &receiver);
    git(&receiver, &["update-ref", "-d", MAIN]);
    assert!(sent(&mut remote, 16_000_000).expect("a report").all_accepted());
    assert!(matches!(lengths.0.take()[..], [None]), "16 MB are far");
    assert_same(&source, &receiver);
}

/// A commit of files that do not compress, and one of the same files, a little shorter: stored as deltas of the first.
fn versions(source: &Path) -> [String; 2] {
    git(source, &["init", "-q", "--bare", "."]);
    let mut random = Random::new(3);
    let files: Vec<Vec<u8>> = (0..3)
        .map(|_| (0..1_500_000).map(|_| random.below(256) as u8).collect())
        .collect();
    let commit = |shorter: usize, parent: &[&str]| {
        let blob = |file: &Vec<u8>| {
            let content = &file[..file.len() - shorter];
            git::git_with_input(source, &["hash-object", "-w", "--stdin"], content)
        };
        let entries = files.iter().enumerate();
        let lines: String = entries
            .map(|(number, file)| format!("100644 blob {}\tfile{number}\n", blob(file)))
            .collect();
        let tree = git::git_with_input(source, &["mktree"], lines.as_bytes());
        git(source, &[&["commit-tree", &tree, "-m", "one"], parent].concat())
    };
    let first = commit(0, &[]);
    let second = commit(100, &["-p", &first]);
    git(source, &["update-ref", MAIN, &second]);
    git(source, &["repack", "-adq"]);
    [first, second]
}

#[test]
fn a_pack_that_grows_over_the_limit_while_it_is_sent_is_broken_off() {
    let source = tempfile::tempdir().expect("a folder");
    let [first, second] = versions(source.path());
    let mirror = Mirror::measured("token", None);
    let receiver = mirror.create(NAME, Format::Sha1);
    git(
        source.path(),
        &[
            "push",
            "-q",
            &receiver.display().to_string(),
            &format!("{first}:{MAIN}"),
        ],
    );
    let mut remote = open(&mirror.url(NAME), &with_token("token"));
    let (advertisement, lengths) = (remote.advertisement().expect("an advertisement"), Lengths::default());
    let repository = repository(source.path());
    // Without thin bases, the objects are much larger than they are stored. Their sizes are estimated from the latter.
    let sent = |limit, remote: &mut Remote| {
        Push::new(&repository, &advertisement)
            .command(git_push::Command::update(MAIN, id(&first), id(&second)))
            .thin(false)
            .progress(&lengths)
            .send_in_parts(&Parts::new("refs/parts/", limit), remote)
    };
    let error = sent(2_000_000, &mut remote).expect_err("it is too large");
    assert_eq!(
        (error.kind(), error.remedy()),
        (ErrorKind::NotSent, Some(Remedy::SmallerPack))
    );
    assert!(error.to_string().contains("over the limit of 2000000 bytes"), "{error}");
    assert!(lengths.0.take()[0].is_none(), "it was being sent");
    let refs = |id: &str| format!("{id} {MAIN}");
    let there = || git(&receiver, &["for-each-ref", "--format=%(objectname) %(refname)"]);
    assert_eq!(there(), refs(&first));
    assert!(sent(20_000_000, &mut remote).expect("a report").all_accepted());
    assert_eq!(there(), refs(&second));
    git(&receiver, &["fsck", "--strict", "--no-dangling"]);
}

fn program(source: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stargate-mirror"));
    command.arg("push").args(arguments).current_dir(source).env_clear();
    command.envs(git::ISOLATED).env("HOME", source);
    command
}

#[track_caller]
fn assert_pushed(output: &Output) {
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}
