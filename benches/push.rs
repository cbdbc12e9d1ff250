//! Pushes side by side with git's, in one run: `cargo bench --bench push [-- --quick] [-- NAME…]`.
//!
//! Each row is measured from the same repository in two ways: with this library, in a separate process (this program,
//! started again), and with git. *pack* is the pack alone: here enumeration and pack, there `git pack-objects` with the
//! arguments of `git push`. *http* is the whole push to `git http-backend` behind nginx, which requires a token: there
//! `git push --atomic` with the token in the URL, here a push to a mirror that is remembered from the last push, as the
//! worker does in steady state. *http50* adds 50 ms to each request. nginx counts requests and bytes until the change
//! is visible; the worker then reads the refs back, which is one more request.
//!
//! Wall time is the best of three runs. CPU time is that of the same run with all children. Memory is the peak of the
//! largest single process. GNU time (`/usr/bin/time`) measures. The table's ratios are ours to git's: below 1 is
//! better.

use std::ffi::OsString;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bstr::BString;
use git_push::{Connection, Push};
use git_push_transport::{Location, Remote, Settings, local::Local};
use gix::ObjectId;
use stargate_mirror::worker::RememberedMirror;
use support::mirror::Mirror;

/// The number of runs of each measurement; the fastest counts.
const RUNS: usize = 3;
const REF: &str = "refs/heads/main";
const TOKEN: &str = "measured";
/// The parent of a stream's first commit when the branch exists already.
const ON_TOP: &str = "refs/heads/main^0";

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["our-pack", source, remote] => our_pack(Path::new(source), Path::new(remote)),
        ["our-push", source, url, memory] => our_push(Path::new(source), url, Path::new(memory)),
        _ => table(&words),
    }
}

/// A push to measure.
struct Row {
    name: &'static str,
    /// Writes the repository that the remote starts with, as a stream for `git fast-import`; nothing for an empty one.
    before: Stream,
    /// Writes the commits to push, as a stream for `git fast-import`.
    after: Stream,
    /// True if the commits to push are packed by `git repack`, false if they are loose.
    packed: bool,
    /// The number of additional tags on the remote.
    tags: usize,
}

type Stream = Box<dyn Fn(&mut dyn Write) -> std::io::Result<()>>;

fn rows(quick: bool) -> Vec<Row> {
    let scale = if quick { 10 } else { 1 };
    let events = |commits| Row {
        name: if commits == 1 { "events-1" } else { "events-100" },
        before: Box::new(|out| commit(out, 0, "", (0..10_000).map(event))),
        after: Box::new(move |out| {
            (0..commits).try_for_each(|number| {
                let files = (0..10).map(move |file| event(1_000_000 + number * 10 + file));
                commit(out, number + 1, if number == 0 { ON_TOP } else { "" }, files)
            })
        }),
        packed: false,
        tags: 0,
    };
    let keys = |commits| Row {
        name: if commits == 1 { "keys-1" } else { "keys-100" },
        before: Box::new(move |out| commit(out, 0, "", (0..100_000 / scale).map(|number| key(number, 0)))),
        after: Box::new(move |out| {
            (0..commits).try_for_each(|number| {
                let changed =
                    (0..10).map(move |file| key(mixed(number * 10 + file) as u32 % (100_000 / scale), number + 1));
                commit(out, number + 1, if number == 0 { ON_TOP } else { "" }, changed)
            })
        }),
        packed: false,
        tags: 0,
    };
    let history = move |name, commits: u32, files: u32, size: usize, packed| Row {
        name,
        before: Box::new(|_: &mut dyn Write| Ok(())),
        after: Box::new(move |out| {
            (0..commits).try_for_each(|number| {
                let files = (0..files).map(move |file| {
                    let place = mixed(number * files + file);
                    let path = format!("src/{:02x}/{:02x}/{}", place % 32, place / 32 % 32, place / 1024 % 16);
                    (path, text(number * files + file, size))
                });
                commit(out, number, "", files)
            })
        }),
        packed,
        tags: 0,
    };
    vec![
        events(1),
        events(100),
        keys(1),
        keys(100),
        Row {
            name: "refs-20000",
            tags: 20_000 / scale as usize,
            ..events(1)
        },
        history("first-packed", 3_000 / scale, 20, 10_500, true),
        history("first-loose", 2_600 / scale, 20, 700, false),
        Row {
            name: "blob-200M",
            before: Box::new(|out| commit(out, 0, "", std::iter::once(event(0)))),
            after: Box::new(move |out| {
                let blob = std::iter::once(("large".into(), noise(7, (200 << 20) / scale as usize)));
                commit(out, 1, ON_TOP, blob)
            }),
            packed: false,
            tags: 0,
        },
    ]
}

/// One commit of a stream for `git fast-import`.
fn commit(
    out: &mut dyn Write,
    number: u32,
    from: &str,
    files: impl Iterator<Item = (String, Vec<u8>)>,
) -> std::io::Result<()> {
    let date = 1_700_000_000 + u64::from(number);
    writeln!(
        out,
        "commit {REF}\ncommitter A Writer <writer@example.com> {date} +0000\ndata 7\nchange\n"
    )?;
    if !from.is_empty() {
        writeln!(out, "from {from}")?;
    }
    for (path, content) in files {
        writeln!(out, "M 100644 inline {path}\ndata {}", content.len())?;
        out.write_all(&content)?;
        writeln!(out)?;
    }
    writeln!(out)
}

/// A pseudo-random number.
fn mixed(number: u32) -> u64 {
    let mut state = u64::from(number).wrapping_add(0x9E37_79B9_7F4A_7C15);
    state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

fn event(number: u32) -> (String, Vec<u8>) {
    let id = format!("{:016x}{:08x}", mixed(number), number);
    let content = format!(
        "{{\"event_id\":\"{id}\",\"feed_id\":\"main\",\"kind\":\"reading\",\"value\":{},\"unit\":\"mV\",\"source\":\"sensor-{}\"}}\n",
        mixed(number + 1) % 100_000,
        mixed(number + 2) % 50
    );
    (format!("events/{id}.json"), content.into_bytes())
}

fn key(number: u32, version: u32) -> (String, Vec<u8>) {
    let hash = format!("{:016x}", mixed(number));
    let value = format!("{:016x}{:016x}", mixed(number ^ version << 20), mixed(version));
    (
        format!("data/{}/{}/{hash}", &hash[..2], &hash[2..4]),
        format!("key-{number} = {value}\n").into_bytes(),
    )
}

/// Lines of words and numbers that compress to about half.
fn text(seed: u32, size: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(size + 64);
    let mut line = 0;
    while text.len() < size {
        line += 1;
        let random = mixed(seed.wrapping_mul(1000).wrapping_add(line));
        text.extend_from_slice(format!("let value_{} = compute({random:x}, {});\n", random % 97, line).as_bytes());
    }
    text
}

fn noise(seed: u32, size: usize) -> Vec<u8> {
    let words = (0..size as u32 / 8).flat_map(|number| mixed(seed.wrapping_add(number)).to_le_bytes());
    words.collect()
}

/// Cost of a measured process.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Over HTTP.
    requests: u64,
    bytes: u64,
    wall: Duration,
    cpu: f64,
    /// KiB.
    memory: u64,
}

fn table(words: &[&str]) {
    let quick = words.contains(&"--quick");
    let names: Vec<_> = words.iter().filter(|word| !word.starts_with("--")).collect();
    let servers = [
        ("http", Mirror::measured(TOKEN, None)),
        ("http50", Mirror::measured(TOKEN, Some("0.05"))),
    ];
    let mut lines = Vec::new();
    for row in rows(quick) {
        if !names.is_empty() && !names.iter().any(|name| row.name.contains(*name)) {
            continue;
        }
        eprintln!("{} …", row.name);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let measured = measure_row(&row, folder.path(), &servers);
        // Printed at once, in case the rest is interrupted.
        measured.iter().for_each(|line| eprintln!("{line}"));
        lines.extend(measured);
    }
    println!(
        "{:<14} {:<6} {:>9} {:>26} {:>19} {:>19} {:>19}",
        "", "", "requests", "bytes", "wall ms", "CPU ms", "memory MiB"
    );
    lines.iter().for_each(|line| println!("{line}"));
}

/// A line for the pack, and one for each server.
fn measure_row(row: &Row, folder: &Path, servers: &[(&str, Mirror)]) -> Vec<String> {
    let (source, before) = (folder.join("source.git"), folder.join("before.git"));
    init(&before);
    import(&before, &row.before, true);
    copy(&before, &source);
    add_tags(&before, row.tags);
    import(&source, &row.after, row.packed);
    if row.packed {
        git(&source, &["repack", "-adq"]);
    }
    let ours = |what: &'static str| {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args([what.as_ref(), source.as_os_str()]);
        command
    };
    let packs = [
        best(|| measure(ours("our-pack").arg(&before), None)),
        best(|| measure(&mut pack_objects(&source), Some(&revisions(&source, &before, folder)))),
    ];
    let mut lines = vec![line(row.name, "pack", packs)];
    for (what, server) in servers {
        let memory = folder.join("memory");
        remember(&fresh(server, &before), &memory);
        let pushes = [
            best(|| {
                measure_http(server, &before, |url| {
                    let mut command = ours("our-push");
                    command.arg(url).arg(&memory).env("GITHUB_PAT", TOKEN);
                    command
                })
            }),
            best(|| {
                measure_http(server, &before, |url| {
                    let mut command = git_command(&source);
                    let url = url.replace("://", &format!("://x-access-token:{TOKEN}@"));
                    command.args(["push", "--atomic", "-q", &url, &format!("{REF}:{REF}")]);
                    command
                })
            }),
        ];
        lines.push(line(row.name, what, pushes));
    }
    lines
}

/// Measures a push to a server that has the objects of `before`.
fn measure_http(server: &Mirror, before: &Path, push: impl Fn(&str) -> Command) -> Cost {
    let url = fresh(server, before);
    let (requests, received) = (server.requests().len(), server.received());
    let cost = measure(&mut push(&url), None);
    Cost {
        requests: (server.requests().len() - requests) as u64,
        bytes: server.received() - received,
        ..cost
    }
}

/// Puts a fresh copy of `before` on the server; its URL.
fn fresh(server: &Mirror, before: &Path) -> String {
    let path = server.path("r.git");
    if path.exists() {
        std::fs::remove_dir_all(&path).expect("the last remote goes away");
    }
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    copy(before, &path);
    git(&path, &["config", "http.receivepack", "true"]);
    server.url("r.git")
}

/// Remembers the remote as the worker does after a push.
fn remember(url: &str, memory: &Path) {
    let mut remote = open(url, |name| (name == "GITHUB_PAT").then(|| TOKEN.into()));
    let advertisement = remote.advertisement().expect("an advertisement");
    let remembered = RememberedMirror::new(url, gix::hash::Kind::Sha1, &advertisement, |name| name == REF);
    let bytes = serde_json::to_vec(&remembered).expect("JSON");
    std::fs::write(memory, bytes).expect("a file");
}

fn open(url: &str, environment: impl Fn(&str) -> Option<OsString>) -> Remote {
    let location = Location::parse(url.into()).expect("a URL");
    Remote::open(location, &Settings::from_environment(environment).expect("a token")).expect("a remote")
}

/// Adds additional tags to the remote.
fn add_tags(repository: &Path, tags: usize) {
    if tags == 0 {
        return;
    }
    let tip = tip(repository).expect("a commit");
    let lines: String = (0..tags)
        .map(|tag| format!("create refs/tags/v{tag} {tip}\n"))
        .collect();
    let mut child = git_command(repository)
        .args(["update-ref", "--stdin"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this needs git: {error}"));
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(lines.as_bytes())
        .expect("git reads");
    assert!(child.wait().expect("its end").success());
    git(repository, &["pack-refs", "--all"]);
}

fn line(name: &str, what: &str, [ours, theirs]: [Cost; 2]) -> String {
    let column = |ours: f64, theirs: f64, digits: usize| {
        let ratio = ours / theirs.max(f64::MIN_POSITIVE);
        format!("{ours:.digits$}/{theirs:.digits$} {ratio:>5.2}")
    };
    let requests = column(ours.requests as f64, theirs.requests as f64, 0);
    let bytes = column(ours.bytes as f64, theirs.bytes as f64, 0);
    let wall = column(ours.wall.as_secs_f64() * 1e3, theirs.wall.as_secs_f64() * 1e3, 0);
    let cpu = column(ours.cpu * 1e3, theirs.cpu * 1e3, 0);
    let memory = column(ours.memory as f64 / 1024.0, theirs.memory as f64 / 1024.0, 1);
    format!("{name:<14} {what:<6} {requests:>9} {bytes:>26} {wall:>19} {cpu:>19} {memory:>19}")
}

fn best(measure: impl Fn() -> Cost) -> Cost {
    let runs = (0..RUNS).map(|_| measure());
    runs.min_by_key(|cost| cost.wall).expect("a run")
}

/// Runs a command to its end. Its bytes are those of standard output, or the number that it prints.
fn measure(command: &mut Command, stdin: Option<&Path>) -> Cost {
    let (report, output) = (temporary(), temporary());
    let mut timed = Command::new("/usr/bin/time");
    timed
        .args(["-f", "%U %S %M", "-o"])
        .arg(report.path())
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        timed.env(name, value.unwrap_or_default());
    }
    if let Some(folder) = command.get_current_dir() {
        timed.current_dir(folder);
    }
    let input = stdin.map_or(Stdio::null(), |path| {
        std::fs::File::open(path).expect("its input").into()
    });
    timed.stdin(input).stdout(output.reopen().expect("an output"));
    let start = Instant::now();
    let status = timed
        .status()
        .unwrap_or_else(|error| panic!("this needs GNU time, /usr/bin/time: {error}"));
    let wall = start.elapsed();
    assert!(status.success(), "{command:?}");
    let report = std::fs::read_to_string(report.path()).expect("the report of time");
    let numbers: Vec<f64> = report
        .split_whitespace()
        .map(|word| word.parse().expect("a number"))
        .collect();
    let output = std::fs::read(output.path()).expect("the output");
    let number = std::str::from_utf8(&output)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    Cost {
        requests: 0,
        bytes: number.unwrap_or(output.len() as u64),
        wall,
        cpu: numbers[0] + numbers[1],
        memory: numbers[2] as u64,
    }
}

fn temporary() -> tempfile::NamedTempFile {
    tempfile::NamedTempFile::new().expect("a temporary file")
}

/// Returns the command that `git push` runs to make its pack. The pack goes to standard output.
fn pack_objects(source: &Path) -> Command {
    let mut command = git_command(source);
    command.args([
        "pack-objects",
        "--all-progress-implied",
        "--revs",
        "--stdout",
        "--thin",
        "--delta-base-offset",
        "-q",
    ]);
    command
}

/// Writes the revisions that `git push` sends to that command, and returns the path of the file.
fn revisions(source: &Path, before: &Path, folder: &Path) -> PathBuf {
    let mut lines = format!("{}\n", tip(source).expect("something to push"));
    if let Some(old) = tip(before) {
        lines = format!("^{old}\n{lines}");
    }
    let path = folder.join("revisions");
    std::fs::write(&path, lines).expect("a list of revisions");
    path
}

fn tip(repository: &Path) -> Option<ObjectId> {
    let repository = gix::open(repository).expect("a repository");
    let reference = repository.try_find_reference(REF).expect("a readable ref")?;
    Some(reference.id().detach())
}

fn our_pack(source: &Path, remote: &Path) {
    let repository = gix::open(source).expect("a repository");
    let advertisement = Local::open(remote)
        .and_then(|mut remote| remote.advertisement())
        .expect("a remote");
    let pack = Push::new(&repository, &advertisement)
        .command(command(source, &advertisement))
        .pack()
        .expect("a pack");
    println!("{}", pack.bytes);
}

fn our_push(source: &Path, url: &str, memory: &Path) {
    let repository = gix::open(source).expect("a repository");
    let memory = std::fs::read(memory).expect("what is remembered");
    let memory: RememberedMirror = serde_json::from_slice(&memory).expect("JSON");
    let advertisement = memory.advertisement();
    let commands = vec![command(source, &advertisement)];
    let mut remote = open(url, |name| std::env::var_os(name));
    let report = Push::new(&repository, &advertisement)
        .commands(commands)
        .atomic(true)
        .send(&mut remote)
        .expect("a report");
    assert!(report.all_accepted(), "{report:?}");
}

fn command(source: &Path, advertisement: &git_push::Advertisement) -> git_push::Command {
    let new = tip(source).expect("something to push");
    let name = BString::from(REF);
    let old = advertisement.id(name.as_ref()).unwrap_or(new.kind().null());
    git_push::Command { name, old, new }
}

fn init(folder: &Path) {
    let parent = folder.parent().expect("a parent");
    git(
        parent,
        &["init", "-q", "--bare", "-b", "main", &folder.display().to_string()],
    );
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(
        status
            .unwrap_or_else(|error| panic!("this needs cp: {error}"))
            .success()
    );
}

/// Feeds a stream to `git fast-import`; its objects are packed or loose after that.
fn import(repository: &Path, stream: &Stream, packed: bool) {
    let limit = format!("fastimport.unpackLimit={}", if packed { 0 } else { 100_000_000 });
    let mut child = git_command(repository)
        .args(["-c", &limit, "fast-import", "--quiet", "--force"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this needs git: {error}"));
    let mut input = BufWriter::new(child.stdin.take().expect("a pipe"));
    stream(&mut input).and_then(|()| input.flush()).expect("git reads");
    drop(input);
    assert!(child.wait().expect("its end").success());
}

fn git(folder: &Path, arguments: &[&str]) {
    let status = git_command(folder).args(arguments).status();
    assert!(
        status
            .unwrap_or_else(|error| panic!("this needs git: {error}"))
            .success()
    );
}

/// git, without the configuration of the current user, and without work in the background.
fn git_command(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"])
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    command
}
