//! Pushes in parts: `stargate-mirror push` and the engine against real servers with limits, connections that are lost, and
//! `kill -9` between parts.
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bstr::BString;
use git_push::{
    Advertisement, Connection, Error, ErrorKind, Observer, Pack, Push, Remedy, RemoteRef, Report, Request, Stage,
    Traffic, parts::Parts,
};
use git_push_transport::{Settings, local::Local};
use support::{
    front::{Front, Treatment},
    git::{self, git},
    history::{self, Shape, assert_same},
    mirror::{Format, Mirror},
    pushing::{open, repository},
    sshd::Server,
};
use tempfile::TempDir;

const NAME: &str = "o/r.git";
const REFS: [&str; 2] = ["refs/heads/*", "refs/tags/*"];
/// 40 commits of 4 KB, some of them merged.
const MANY: Shape = Shape {
    commits: 40,
    files: 2,
    bytes: 2000,
    merges: 5,
};
/// One commit of 160 KB.
const ONE: Shape = Shape {
    commits: 1,
    files: 80,
    bytes: 2000,
    merges: 0,
};
const LIMIT: u64 = 16 << 10;
/// Kills the program whose number is in `victim` after three temporary refs.
const KILLER: &str = "cat >> pushes
if [ -e victim ] && [ $(grep -c stargate-parts pushes) -ge 3 ]; then victim=$(cat victim); rm victim; kill -9 $victim; fi";

/// A history with tags, also of a tree and of a blob, whose pushes go in parts.
fn source(shape: Shape) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source.git");
    history::make(&source, shape, 1);
    git(&source, &["tag", "-m", "annotated", "annotated", "main"]);
    git(&source, &["tag", "tree", "main^{tree}"]);
    // Trees that no commit has, one of them in the other: for the last push, and too large for it.
    for (name, files) in [("few", 3), ("many", 30)] {
        let shape = Shape {
            commits: 1,
            files,
            bytes: 600,
            merges: 0,
        };
        history::extend(&source, "refs/heads/passing", shape, files as u64);
        git(&source, &["tag", &format!("{name}-a"), "passing^{tree}"]);
        git(&source, &["tag", &format!("{name}-b"), "passing:0"]);
        git(&source, &["update-ref", "-d", "refs/heads/passing"]);
    }
    git(&source, &["tag", "-m", "a blob", "blob", "main:0/0/1-0"]);
    git(&source, &["config", "stargate.maxPackSize", &LIMIT.to_string()]);
    (folder, source)
}

/// A repository that takes packs a little above the limit, and writes down what is pushed.
fn receiver(mirror: &Mirror) -> PathBuf {
    let receiver = mirror.create(NAME, Format::Sha1);
    git(&receiver, &["config", "receive.maxInputSize", "20k"]);
    mirror.hook(NAME, "post-receive", KILLER);
    receiver
}

fn program(source: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stargate-mirror"));
    command.arg("push").args(arguments).current_dir(source).env_clear();
    command.envs(git::ISOLATED).env("HOME", source);
    command
}

fn push(source: &Path, url: &str) -> Output {
    program(source, &[&[url][..], &REFS].concat())
        .output()
        .expect("it runs")
}

#[track_caller]
fn assert_pushed(output: &Output) {
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// Temporary refs that were created, in order.
fn parts(receiver: &Path) -> Vec<String> {
    let pushes = fs::read_to_string(receiver.join("pushes")).expect("what was pushed");
    let created = pushes.lines().filter(|line| line.starts_with("000000"));
    let names = created.filter_map(|line| line.split(' ').nth(2));
    let temporary = names.filter(|name| name.starts_with("refs/stargate-parts/"));
    temporary.map(str::to_owned).collect()
}

#[track_caller]
fn assert_once(parts: &[String]) {
    let different: BTreeSet<_> = parts.iter().collect();
    assert_eq!(different.len(), parts.len(), "a part was sent twice: {parts:?}");
}

#[test]
fn a_history_goes_in_parts_that_the_server_takes() {
    let (_folder, source) = source(MANY);
    let mirror = Mirror::start();
    let receiver = receiver(&mirror);
    assert_pushed(&push(&source, &mirror.url(NAME)));
    assert_same(&source, &receiver);
    let parts = parts(&receiver);
    assert_once(&parts);
    assert!(parts.len() >= 8, "160 KB in parts of 16 KB: {parts:?}");
    let sent = mirror.received();
    assert!(sent < 260_000, "{sent} bytes: nothing is sent twice");
    assert_pushed(&push(&source, &mirror.url(NAME)));
    assert!(mirror.received() < sent + 5_000, "there is nothing left");
    // The tree of a commit that is there is sent once more, and too large for one part.
    git(&source, &["tag", "old", "main~3^{tree}"]);
    assert_pushed(&push(&source, &mirror.url(NAME)));
    assert_same(&source, &receiver);
}

#[test]
fn a_commit_that_is_too_large_goes_in_parts() {
    let (_folder, source) = source(ONE);
    let mirror = Mirror::start();
    let receiver = receiver(&mirror);
    assert_pushed(&push(&source, &mirror.url(NAME)));
    assert_same(&source, &receiver);
    assert!(parts(&receiver).len() >= 8, "160 KB in parts of 16 KB");
    assert!(mirror.received() < 260_000, "nothing is sent twice");
    // On top of commits, and of a tree that alone is too large.
    history::extend(
        &source,
        "refs/heads/main",
        Shape {
            files: 3000,
            bytes: 1,
            ..ONE
        },
        2,
    );
    git(&source, &["config", "stargate.maxPackSize", "8k"]);
    git(&receiver, &["config", "receive.maxInputSize", "10k"]);
    assert_pushed(&push(&source, &mirror.url(NAME)));
    assert_same(&source, &receiver);
}

#[test]
fn a_killed_push_continues_after_the_parts_that_arrived() {
    for shape in [MANY, ONE] {
        let (_folder, source) = source(shape);
        let mirror = Mirror::start();
        let receiver = receiver(&mirror);
        let url = mirror.url(NAME);
        let killed = program(&source, &[&[url.as_str()][..], &REFS].concat());
        let mut shell = Command::new("sh");
        shell
            .env_clear()
            .envs(killed.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell
            .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
            .arg(receiver.join("victim"));
        shell
            .arg(killed.get_program())
            .args(killed.get_args())
            .current_dir(&source);
        let output = shell.output().expect("a shell");
        assert_eq!(
            output.status.code(),
            None,
            "killed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(parts(&receiver).len() >= 3 && !receiver.join("victim").exists());
        assert_eq!(git(&receiver, &["for-each-ref", "refs/heads", "refs/tags"]), "");
        let sent = mirror.received();
        assert_pushed(&push(&source, &url));
        assert_same(&source, &receiver);
        assert_once(&parts(&receiver));
        assert!(sent > 30_000, "parts arrived before: {sent}");
        assert!(mirror.received() < 260_000, "what arrived is not sent again");
    }
}

#[test]
fn a_lost_connection_is_continued_after_the_parts_that_arrived() {
    let (_folder, source) = source(MANY);
    let mirror = Mirror::start();
    let receiver = receiver(&mirror);
    let lose = |number, _| {
        if number == 5 {
            Treatment::Lost
        } else {
            Treatment::Forwarded
        }
    };
    let front = Front::of(mirror.port(), lose);
    let output = push(&source, &front.url(NAME));
    assert!(!output.status.success() && front.pushes() == 5);
    assert!(parts(&receiver).len() >= 4);
    assert_pushed(&push(&source, &front.url(NAME)));
    assert_same(&source, &receiver);
    assert_once(&parts(&receiver));
}

#[test]
fn parts_are_halved_until_the_server_takes_them() {
    let (_folder, source) = source(MANY);
    git(&source, &["config", "--unset", "stargate.maxPackSize"]);
    let mirror = Mirror::with_max_body("40k");
    let receiver = receiver(&mirror);
    git(&receiver, &["config", "--unset", "receive.maxInputSize"]);
    assert_pushed(&push(&source, &mirror.url(NAME)));
    assert_same(&source, &receiver);
    let requests = mirror.requests();
    let refused = requests.iter().filter(|line| line.contains(" 413 ")).count();
    assert!((1..=4).contains(&refused), "{requests:?}");
}

#[test]
fn large_pushes_that_take_too_long_are_halved() {
    let large = Shape {
        commits: 8,
        files: 1,
        bytes: 256 << 10,
        merges: 0,
    };
    let (_folder, source) = source(large);
    git(&source, &["config", "--unset", "stargate.maxPackSize"]);
    let mirror = Mirror::start();
    let receiver = receiver(&mirror);
    git(&receiver, &["config", "--unset", "receive.maxInputSize"]);
    let treat = |_, bytes| {
        if bytes > 3 << 19 {
            Treatment::TooLate
        } else {
            Treatment::Forwarded
        }
    };
    let front = Front::of(mirror.port(), treat);
    assert_pushed(&push(&source, &front.url(NAME)));
    assert_same(&source, &receiver);
    let parts = parts(&receiver).len();
    assert!((2..=3).contains(&parts), "{parts} halves of 2 MB");
}

/// A connection that is lost by packs over a size.
struct Fragile {
    remote: Local,
    most: u64,
    /// Bytes of the packs that were lost.
    lost: u64,
}

impl Connection for Fragile {
    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        self.remote.advertisement()
    }

    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        let bytes = pack.as_ref().and_then(Pack::length).unwrap_or_default();
        if bytes > self.most {
            self.lost += bytes;
            return Err(Error::new(ErrorKind::Transient, "lost").with_remedy(Remedy::SmallerPack));
        }
        self.remote.send(request, pack)
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        self.remote.read_refs(prefixes)
    }

    fn traffic(&self) -> Traffic {
        let mut traffic = self.remote.traffic();
        traffic.bytes_sent += self.lost;
        traffic
    }
}

#[test]
fn a_connection_that_is_lost_by_large_packs_halves_them_a_few_times() {
    // What is not compressed is fast to make.
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source.git");
    git(folder.path(), &["init", "-q", "--bare", "-b", "main", "source.git"]);
    git(&source, &["config", "core.compression", "0"]);
    let mut parent: Option<String> = None;
    for number in 0..9 {
        let content = format!("{number}").repeat(1 << 20);
        let blob = git::git_with_input(&source, &["hash-object", "-w", "--stdin"], content.as_bytes());
        let tree = git::git_with_input(&source, &["mktree"], format!("100644 blob {blob}\tfile\n").as_bytes());
        let mut arguments = vec!["commit-tree", &tree, "-m", "one"];
        arguments.extend(parent.iter().flat_map(|parent| ["-p", parent]));
        parent = Some(git(&source, &arguments));
    }
    let tip = parent.expect("a commit");
    git(&source, &["update-ref", "refs/heads/main", &tip]);
    git(
        &source,
        &["-c", "pack.compression=0", "-c", "pack.window=0", "repack", "-adq"],
    );
    for (most, is_pushed) in [(4 << 20, true), (0, false)] {
        git(folder.path(), &["init", "-q", "--bare", "local.git"]);
        let local = folder.path().join("local.git");
        let mut remote = Fragile {
            remote: Local::open(&local).expect("a remote"),
            most,
            lost: 0,
        };
        let advertisement = remote.advertisement().expect("an advertisement");
        let repository = repository(&source);
        let create = git_push::Command::create("refs/heads/main", support::pushing::id(&tip));
        let push = Push::new(&repository, &advertisement).command(create);
        let sent = push.send_in_parts(&Parts::new("refs/parts/", 1 << 30), &mut remote);
        assert_eq!(sent.is_ok(), is_pushed, "{sent:?}");
        if is_pushed {
            assert_same(&source, &local);
        }
        fs::remove_dir_all(local).expect("a folder");
    }
}

/// A remote that carries out the push of one ref, or does not, and whose answer is lost. Then its refs can be read, or not.
struct Silent {
    remote: Local,
    name: &'static str,
    is_carried_out: bool,
    is_readable: bool,
    /// Bytes of packs whose answers were lost, or requests that were.
    lost: u64,
}

impl Connection for Silent {
    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        if self.lost > 0 && !self.is_readable {
            return Err(Error::new(ErrorKind::Transient, "unreachable"));
        }
        self.remote.advertisement()
    }

    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        let is_named = request.commands.iter().any(|command| command.name == self.name);
        if self.lost > 0 || !is_named {
            return self.remote.send(request, pack);
        }
        // As many as make parts worth it.
        self.lost = 1 << 20;
        if self.is_carried_out {
            assert!(self.remote.send(request, pack)?.all_accepted());
        }
        Err(Error::new(ErrorKind::Uncertain, "no answer").with_remedy(Remedy::SmallerPack))
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        self.remote.read_refs(prefixes)
    }

    fn traffic(&self) -> Traffic {
        let mut traffic = self.remote.traffic();
        traffic.bytes_sent += self.lost;
        traffic
    }
}

#[test]
fn a_push_whose_answer_was_lost_stays_uncertain_unless_it_was_not_carried_out() {
    let large = Shape {
        commits: 2,
        files: 1,
        bytes: 640 << 10,
        merges: 0,
    };
    let (folder, source) = source(large);
    // Up to 1 GiB, the push goes whole first. Up to 1 MiB, the answer to the last of several pushes is lost.
    for max_bytes in [1 << 30, 1 << 20] {
        for (is_carried_out, is_readable) in [(true, true), (false, true), (true, false)] {
            git(folder.path(), &["init", "-q", "--bare", "local.git"]);
            let local = folder.path().join("local.git");
            let mut remote = Silent {
                remote: Local::open(&local).expect("a remote"),
                name: "refs/tags/few-a",
                is_carried_out,
                is_readable,
                lost: 0,
            };
            let advertisement = remote.advertisement().expect("an advertisement");
            let repository = repository(&source);
            let create = |name: &str| {
                let id = git(&source, &["rev-parse", name]);
                git_push::Command::create(name, support::pushing::id(&id))
            };
            let push =
                Push::new(&repository, &advertisement).commands(["refs/heads/main", "refs/tags/few-a"].map(create));
            let sent = push.send_in_parts(&Parts::new("refs/parts/", max_bytes), &mut remote);
            let is_sent_again = is_readable && !is_carried_out;
            let context = format!("{max_bytes} {is_carried_out} {is_readable}: {sent:?}");
            match &sent {
                Ok(report) => assert!(is_sent_again && report.all_accepted(), "{context}"),
                Err(error) => {
                    assert!(!is_sent_again && error.kind() == ErrorKind::Uncertain, "{context}");
                }
            }
            fs::remove_dir_all(local).expect("a folder");
        }
    }
}

#[test]
fn a_connection_that_is_lost_in_a_pack_asks_for_a_smaller_one() {
    let front = Front::of(0, |_, _| Treatment::Lost);
    let mut remote = open(&front.url(NAME), &Settings::default());
    let file = tempfile::tempfile().expect("a file");
    // More than what the buffers of a connection take.
    file.set_len(32 << 20).expect("a large file");
    let id = support::pushing::id(&"a1".repeat(20));
    let commands = vec![git_push::Command::create("refs/heads/main", id)];
    let request = Request::new(commands, id.kind(), vec!["report-status".into()]);
    let error = remote
        .send(&request, Some(Pack::new(file, 32 << 20, 1)))
        .expect_err("it is lost");
    assert_eq!(
        (error.kind(), error.remedy()),
        (ErrorKind::Transient, Some(Remedy::SmallerPack))
    );
}

/// Counts the parts that are announced.
#[derive(Default)]
struct Announced(std::cell::RefCell<Vec<(usize, u64, u64)>>);

impl Observer for Announced {
    fn stage(&self, stage: Stage<'_>) {
        if let Stage::Part { number, sent, bytes } = stage {
            self.0.borrow_mut().push((number, sent, bytes));
        }
    }
}

/// Interrupts a push before its second part.
#[derive(Default)]
struct Interrupting(Arc<AtomicBool>);

impl Observer for Interrupting {
    fn stage(&self, stage: Stage<'_>) {
        if let Stage::Part { number: 2, .. } = stage {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn an_interrupted_push_says_that_parts_have_arrived() {
    let (folder, source) = source(MANY);
    let local = folder.path().join("local.git");
    git(folder.path(), &["init", "-q", "--bare", "local.git"]);
    let mut remote = Local::open(&local).expect("a remote");
    let advertisement = remote.advertisement().expect("an advertisement");
    let repository = repository(&source);
    let tip = git(&source, &["rev-parse", "main"]);
    let create = git_push::Command::create("refs/heads/main", support::pushing::id(&tip));
    let interrupting = Interrupting::default();
    let push = Push::new(&repository, &advertisement).command(create);
    let push = push.progress(&interrupting).interrupt(&interrupting.0);
    let sent = push.send_in_parts(&Parts::new("refs/parts/", 4 * LIMIT), &mut remote);
    let error = sent.expect_err("an interruption");
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(error.to_string().contains("after the parts that arrived"), "{error}");
    let arrived = git(&local, &["for-each-ref", "--format=%(refname)"]);
    assert!(
        !arrived.is_empty() && arrived.lines().all(|name| name.starts_with("refs/parts/")),
        "{arrived}"
    );
}

#[test]
fn the_engine_sends_parts_over_ssh_and_into_folders() {
    let (folder, source) = source(MANY);
    let server = Server::ssh(true);
    let command = server.ssh_command();
    let variable = |name: &str| (name == "GIT_SSH_COMMAND").then(|| command.clone().into());
    let settings = Settings::from_environment(variable).expect("settings");
    let local = folder.path().join("local.git");
    git(folder.path(), &["init", "-q", "--bare", "local.git"]);
    let places = [
        (server.url(NAME), server.create(NAME, "sha1")),
        (local.display().to_string(), local.clone()),
    ];
    let refs = git(&source, &["for-each-ref", "--format=%(objectname) %(refname)"]);
    let refs = refs.lines().filter_map(|line| line.split_once(' '));
    let create = |(id, name): (&str, &str)| git_push::Command::create(name, support::pushing::id(id));
    let commands: Vec<_> = refs.map(create).collect();
    for (url, receiver) in places {
        let announced = Announced::default();
        let mut remote = open(&url, &settings);
        let advertisement = remote.advertisement().expect("an advertisement");
        let repository = repository(&source);
        let push = Push::new(&repository, &advertisement)
            .commands(commands.clone())
            .atomic(true);
        // Few: each is a connection of its own over ssh.
        let parts = Parts::new("refs/parts/", 4 * LIMIT);
        let report = push
            .progress(&announced)
            .send_in_parts(&parts, &mut remote)
            .expect("a report");
        assert!(report.all_accepted(), "{report:?}");
        assert_same(&source, &receiver);
        let announced = announced.0.into_inner();
        assert!(announced.len() >= 4, "{announced:?}");
        for (place, (number, sent, bytes)) in announced.iter().enumerate() {
            assert!(*number == place + 1 && sent <= bytes, "{announced:?}");
        }
    }
}

#[test]
fn a_server_may_refuse_temporary_refs() {
    let (_folder, source) = source(MANY);
    let mirror = Mirror::start();
    let receiver = receiver(&mirror);
    mirror.hook(NAME, "update", "case $1 in refs/stargate-parts/*) exit 1;; esac");
    let output = push(&source, &mirror.url(NAME));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains("a temporary ref of a push in parts: hook declined"),
        "{said}"
    );
    assert!(
        said.contains("configure the server to accept refs below refs/stargate-parts/"),
        "{said}"
    );
    assert_eq!(git(&receiver, &["for-each-ref"]), "");
}

#[test]
fn temporary_refs_that_cannot_be_deleted_go_later() {
    let (_folder, source) = source(MANY);
    let mirror = Mirror::start();
    let receiver = receiver(&mirror);
    mirror.hook(
        NAME,
        "update",
        "case $1,$3 in refs/stargate-parts/*,000000*) exit 1;; esac",
    );
    assert_pushed(&push(&source, &mirror.url(NAME)));
    let left = || git(&receiver, &["for-each-ref", "refs/stargate-parts"]).lines().count();
    assert!(left() >= 8);
    // Those of others stay.
    let other = git::commit(&receiver, None, "of another repository");
    git(
        &receiver,
        &["update-ref", &format!("refs/stargate-parts/{other}"), &other],
    );
    mirror.hook(NAME, "update", "exit 0");
    history::extend(&source, "refs/heads/main", Shape { commits: 1, ..MANY }, 3);
    assert_pushed(&push(&source, &mirror.url(NAME)));
    assert_eq!(left(), 1);
    git(
        &receiver,
        &["update-ref", "-d", &format!("refs/stargate-parts/{other}")],
    );
    assert_same(&source, &receiver);
}
