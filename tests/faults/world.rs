//! A Stargate with its mirror in a folder beside it, created once for each scene and copied for each fault; and the
//! checks after a fault.
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, SystemTime},
};

use serde_json::Value;

use support::{
    self,
    stargate::{Stargate, clean_command, git, stderr},
};

pub const HOOK: &str = env!("CARGO_BIN_EXE_stargate-hook");
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
/// The mirror's path, relative to the repository: the same for each copy.
pub const REMOTE: &str = "../../mirror.git";
/// The number of faults that run at once.
const AT_ONCE: usize = 4;

/// Names that may remain in `.stargate` while no program is running.
const KNOWN: [&str; 7] = [
    "intents",
    "journal-scan.ndjson",
    "mirror-journal.ndjson",
    "quarantine",
    "stargate-post-receive.log",
    "worker.json",
    "worker.lock",
];

/// A Stargate with hooks, a client, and an empty mirror that logs every move of a ref.
pub fn world() -> Stargate {
    world_of("sha1", "files")
}

/// The same, with these formats of ids and refs.
pub fn world_of(ids: &str, refs: &str) -> Stargate {
    let stargate = Stargate::of_formats(ids, refs);
    // The program itself is large, and each fault gets a copy of everything.
    for hook in ["pre-receive", "post-receive"] {
        support::git::hook(&stargate.git_dir, hook, &format!("exec '{HOOK}' {hook}"));
    }
    let format = format!("--object-format={ids}");
    git(
        stargate.folder(),
        ["init", "-q", "--bare", "--template=", &format, "mirror.git"],
    );
    git(&mirror(&stargate), ["config", "core.logAllRefUpdates", "always"]);
    // The effects of a fault must show at once, so the pause between attempts is short.
    stargate.configure("stargate.initialDelay", "10ms");
    fs::create_dir(stargate.folder().join("tmp")).expect("a folder for spools");
    stargate.client("first");
    stargate
}

pub fn mirror(stargate: &Stargate) -> PathBuf {
    stargate.folder().join("mirror.git")
}

/// Commits, and pushes the commit to these refs at once. Returns the commit.
pub fn push(stargate: &Stargate, names: &[&str]) -> String {
    let client = stargate.folder().join("client");
    let content = git(&client, ["rev-parse", "HEAD"]) + &names.join(" ");
    fs::write(client.join("file"), &content).expect("a file");
    git(&client, ["add", "file"]);
    git(&client, ["commit", "-q", "-m", &content]);
    let refspecs = names.iter().map(|name| format!("HEAD:{name}"));
    // Not to `origin`, which is elsewhere for a copy.
    let to = ["push", "-q", "../o/r.git"].map(str::to_owned).into_iter();
    git(&client, to.chain(refspecs));
    git(&client, ["rev-parse", "HEAD"])
}

/// A command of the worker, in the repository's folder.
pub fn worker(stargate: &Stargate, arguments: &[&str]) -> Command {
    let mut command = clean_command(PROGRAM);
    command
        .args(arguments)
        .current_dir(&stargate.git_dir)
        .env("TMPDIR", stargate.folder().join("tmp"))
        .env("GITHUB_PAT", "token");
    command
}

/// One cycle to this mirror.
pub fn cycle(stargate: &Stargate, remote: &str) -> Command {
    worker(stargate, &["run", "--json", "--repo", ".", "--remote", remote])
}

/// Runs it to its end.
pub fn output(mut command: Command) -> Output {
    command.output().expect("the program is built")
}

/// Runs a cycle that must leave nothing pending, and returns its outcome.
pub fn complete(stargate: &Stargate, remote: &str, after: &str) -> String {
    let output = output(cycle(stargate, remote));
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{after}: {}: {report}{}",
        output.status,
        stderr(&output)
    );
    let report: Value = serde_json::from_str(&report).expect("a report");
    assert_eq!(
        (&report["pending"], &report["failed"]),
        (&0.into(), &0.into()),
        "{after}"
    );
    report["outcome"].as_str().expect("a word").to_owned()
}

/// Starts the worker again, and checks that nothing is lost, doubled or broken. Then makes one more push, and checks
/// that no temporary file is left.
pub fn assert_recovers(stargate: &Stargate, before: &Before, after: &str) {
    complete(stargate, REMOTE, after);
    assert_mirrored(stargate, &mirror(stargate), after);
    assert_journal(stargate, before, after);
    let moves = moves(&mirror(stargate));
    assert_eq!(complete(stargate, REMOTE, after), "idle", "{after}");
    assert_eq!(
        self::moves(&mirror(stargate)),
        moves,
        "{after}: the next cycle does nothing"
    );
    if !left(stargate).is_empty() {
        a_minute_later(stargate);
        push(stargate, &["refs/kv/later"]);
        assert_eq!(complete(stargate, REMOTE, after), "mirrored", "{after}");
        assert_mirrored(stargate, &mirror(stargate), after);
    }
    assert_eq!(left(stargate), [""; 0], "{after}");
}

/// Checks that the mirror has the Stargate's refs and the watermarks, nothing else, and that it never got anything
/// twice.
pub fn assert_mirrored(stargate: &Stargate, mirror: &Path, after: &str) {
    assert_eq!(refs(mirror), expected(stargate), "{after}");
    assert_eq!(
        git(mirror, ["fsck", "--strict", "--no-dangling", "--no-progress"]),
        "",
        "{after}"
    );
    for (name, mut moves) in moves(mirror) {
        // A move is logged before the ref moves: after a kill between the two, the same move is made and logged again.
        moves.dedup();
        let linear = moves.is_sorted_by(|one, next| one.split(' ').nth(1) == next.split(' ').next());
        assert!(linear, "{after}: {name} did not move from one to the next: {moves:?}");
        let reached: BTreeSet<_> = moves.iter().map(|one| one.split(' ').nth(1)).collect();
        assert_eq!(reached.len(), moves.len(), "{after}: {name} moved twice: {moves:?}");
    }
}

/// Refs that the mirror must have.
fn expected(stargate: &Stargate) -> BTreeSet<String> {
    let mirrored = refs(&stargate.git_dir);
    let watermarks = mirrored.iter().filter_map(|line| {
        let (id, name) = line.split_once(' ').expect("an id and a name");
        Some(format!("{id} refs/kv-mirror/{}", name.strip_prefix("refs/kv/")?))
    });
    mirrored.iter().cloned().chain(watermarks).collect()
}

fn refs(repository: &Path) -> BTreeSet<String> {
    if repository.join("reftable").exists() {
        let listed = git(repository, ["for-each-ref", "--format=%(objectname) %(refname)"]);
        return listed.lines().map(str::to_owned).collect();
    }
    let repository = gix::open(repository).expect("a repository");
    let references = repository.references().expect("refs");
    let all = references
        .all()
        .expect("refs")
        .map(|reference| reference.expect("a ref"));
    all.map(|reference| format!("{} {}", reference.id(), reference.name().as_bstr()))
        .collect()
}

/// Every move of every ref that a repository has logged: old id and new id.
pub fn moves(repository: &Path) -> Vec<(String, Vec<String>)> {
    let of = |line: &String| {
        let name = line.split_once(' ').expect("an id and a name").1;
        let log = fs::read_to_string(repository.join("logs").join(name)).unwrap_or_default();
        (name.to_owned(), log.lines().map(ids).collect())
    };
    refs(repository).iter().map(of).collect()
}

/// The two ids of a line: the last two, because a line that a kill has cut off precedes them.
fn ids(line: &str) -> String {
    let two = [64, 40]
        .into_iter()
        .find_map(|digits| last_two(line.as_bytes(), digits));
    two.unwrap_or_else(|| panic!("two ids: {line}"))
}

fn last_two(line: &[u8], digits: usize) -> Option<String> {
    let is_id = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
    let two = |bytes: &[u8]| {
        let (old, new) = bytes.split_at(digits + 1);
        is_id(&old[..digits]) && old[digits] == b' ' && is_id(&new[..digits]) && new[digits] == b' '
    };
    let start = line.windows(2 * digits + 2).rposition(two)?;
    let ids = &line[start..=start + 2 * digits];
    Some(String::from_utf8_lossy(ids).into_owned())
}

/// Journal entries before the fault.
pub struct Before(BTreeSet<String>);

impl Before {
    pub fn of(stargate: &Stargate) -> Self {
        Before(entries(stargate).into_iter().collect())
    }
}

/// Every entry of every file of the journal, without its status.
pub fn entries(stargate: &Stargate) -> Vec<String> {
    let entry = |line: &str| {
        let mut entry: Value = serde_json::from_str(line).ok()?;
        entry.as_object_mut()?.remove("status");
        Some(entry.to_string())
    };
    let texts = journals(stargate)
        .into_iter()
        .map(|file| fs::read(file).expect("a journal"));
    let texts: Vec<_> = texts.map(|text| String::from_utf8_lossy(&text).into_owned()).collect();
    texts.iter().flat_map(|text| text.lines()).filter_map(entry).collect()
}

/// The files of the journal.
pub fn journals(stargate: &Stargate) -> Vec<PathBuf> {
    let is_journal = |name: &String| name.starts_with("mirror-journal.") && name.ends_with(".ndjson");
    let folder = stargate.git_dir.join(".stargate");
    names(&folder)
        .into_iter()
        .filter(is_journal)
        .map(|name| folder.join(name))
        .collect()
}

/// Checks that each file of the journal parses and has its earlier entries.
pub fn assert_journal_parses(stargate: &Stargate, before: &Before, after: &str) {
    for file in journals(stargate) {
        let output = output(worker(stargate, &["check", "journal", &file.display().to_string()]));
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{after}: {}: {told}", file.display());
    }
    let entries: BTreeSet<_> = entries(stargate).into_iter().collect();
    let lost: Vec<_> = before.0.difference(&entries).collect();
    assert!(lost.is_empty(), "{after}: {lost:?}");
}

/// The same, and checks that no update is in it twice.
pub fn assert_journal(stargate: &Stargate, before: &Before, after: &str) {
    assert_journal_parses(stargate, before, after);
    // After an fsync that failed, the same lines are in two files: they are one entry.
    let entries: BTreeSet<_> = entries(stargate).into_iter().collect();
    let update = |entry: &String| {
        let entry: Value = serde_json::from_str(entry).expect("an entry");
        ["ref", "old_oid", "new_oid"].map(|key| entry[key].to_string())
    };
    let updates: BTreeSet<_> = entries.iter().map(update).collect();
    assert_eq!(updates.len(), entries.len(), "{after}: {entries:#?}");
}

/// Files that should exist only while a worker is running.
fn left(stargate: &Stargate) -> Vec<String> {
    let folder = stargate.git_dir.join(".stargate");
    let segment = |name: &str| name.starts_with("mirror-journal.") && name.ends_with(".ndjson");
    let foreign = names(&folder)
        .into_iter()
        .filter(|name| !KNOWN.contains(&name.as_str()) && !segment(name));
    let intents = names(&folder.join("intents"))
        .into_iter()
        .chain(names(&stargate.folder().join("tmp")));
    foreign.chain(intents).chain(left_on(&mirror(stargate))).collect()
}

/// Locks and incomplete files of packs in a repository.
fn left_on(folder: &Path) -> Vec<String> {
    let mut left = Vec::new();
    for entry in fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("a name"))
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".lock") || name.ends_with(".keep") || name.starts_with(".tmp") || name.starts_with("tmp_") {
            left.push(entry.path().display().to_string());
        } else if entry.file_type().expect("a kind").is_dir() {
            left.extend(left_on(&entry.path()));
        }
    }
    left
}

/// Makes the files that a dead worker left on the mirror a minute old.
pub fn a_minute_later(stargate: &Stargate) {
    let then = SystemTime::now() - Duration::from_secs(61);
    for path in left_on(&mirror(stargate)) {
        let file = fs::File::open(path).expect("it is there");
        file.set_modified(then).expect("a time");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("a name").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Runs this for each item, several at once. The first panic fails the test.
pub fn for_each<T: Sync>(all: &[T], act: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            act(one);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}
