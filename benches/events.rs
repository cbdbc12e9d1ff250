//! Events per second, committed into a day folder that has 10,000 of them already, ten at a time:
//! `cargo bench --bench events [-- --quick]`.
//!
//! Each row starts from the same repository, which `git fast-import` creates, and is the best of three runs. *git add*
//! writes the files of a batch into a work tree and runs `git add . && git commit`. *git fast-import* reads the same
//! commits as a stream, and syncs once, at its end. *commit* is this library, which syncs each batch. *commit, 32 together*
//! is the library when events arrive faster than it commits: still one commit for each batch, but written together. Ids are
//! random (each lands somewhere in the folder) or ULIDs (each lands at its end). CPU time is that of the process and its
//! children, if `/proc` is available. Bytes are those of the object database per event, after the same number of batches.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use durable::clock::SystemClock;
use serde_json::json;
use stargate_mirror::{
    event::{Event, Layout},
    events::{Context, Options, batch},
};
use support::git::{self, git};

/// The number of runs of each measurement; the fastest counts.
const RUNS: usize = 3;
/// The number of events in the folder at the start.
const BEFORE: u64 = 10_000;
/// The number of events in a batch.
const BATCH: u64 = 10;

// Nothing is removed between measurements, because ext4 checks recently deleted inodes when it creates a file.

/// The kernel reports CPU times in hundredths of a second.
const MS_PER_TICK: f64 = 10.0;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ids {
    Random,
    Ulids,
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (ours, gits) = if quick { (50, 5) } else { (1000, 20) };
    let folder = tempfile::tempdir().expect("a folder");
    println!("| ids | way | batches | events/s | ms per batch | CPU ms per batch | bytes per event |");
    println!("|---|---|---|---|---|---|---|");
    for ids in [Ids::Random, Ids::Ulids] {
        let start = folder.path().join(format!("start-{}", name(ids)));
        prepare(&start, ids);
        let row = |way: &str, batches: u64, measure: &dyn Fn(&Path, u64) -> Duration| {
            let runs = (0..RUNS).map(|run| {
                let path = folder
                    .path()
                    .join(format!("{}-{}-{run}", name(ids), way.replace(' ', "-")));
                copy(&start, &path);
                let before = size(&path);
                let cpu = cpu_ticks();
                let took = measure(&path, batches);
                let cpu = cpu_ticks().saturating_sub(cpu);
                let bytes = size(&path).saturating_sub(before);
                git(&path, &["fsck", "--strict"]);
                let count = git(&path, &["ls-tree", "-r", "--name-only", "main", "events"]);
                assert_eq!(count.lines().count() as u64, BEFORE + 1 + batches * BATCH, "{way}");
                (took, cpu, bytes)
            });
            let (took, cpu, bytes) = runs.min().expect("a run");
            let events = batches * BATCH;
            println!(
                "| {} | {way} | {batches} | {:.0} | {:.2} | {:.2} | {} |",
                name(ids),
                events as f64 / took.as_secs_f64(),
                took.as_secs_f64() * 1000.0 / batches as f64,
                cpu as f64 * MS_PER_TICK / batches as f64,
                bytes / events
            );
        };
        row("git add && git commit", gits, &|path, batches| {
            git_add(path, ids, batches)
        });
        row("git fast-import", ours, &|path, batches| {
            fast_import(path, ids, batches)
        });
        row("commit", ours, &|path, batches| commit(path, ids, batches, 1));
        row("commit, 32 together", ours, &|path, batches| {
            commit(path, ids, batches, batch::MOST)
        });
    }
}

fn name(ids: Ids) -> &'static str {
    match ids {
        Ids::Random => "random",
        Ids::Ulids => "ULIDs",
    }
}

fn event(ids: Ids, number: u64) -> Event {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5bd1_e995;
    let id = match ids {
        Ids::Random => format!("{mixed:016X}{:010X}", number),
        Ids::Ulids => format!("01JH{number:06}{mixed:016X}"),
    };
    Event::from_value(json!({
        "event_id": id, "feed_id": "general", "type": "message", "author_identity_id": format!("id-{:x}", mixed >> 40),
        "source": {"platform": "discord", "adapter_id": "a-1", "source_msg_id": format!("m-{mixed:x}")},
        "ts": "2026-01-10T12:00:00.000Z",
        "payload": {"text": format!("event {number} of this day, with some text: {mixed:x}"), "channel": "general"},
        "refs": []
    }))
    .expect("an event")
}

fn prepare(path: &Path, ids: Ids) {
    let now = "2026-01-10T12:00:00Z".parse().expect("a time");
    drop(Context::init(path, &Options::default(), now).expect("made"));
    let mut stream = String::new();
    one_commit(&mut stream, ids, 0..BEFORE);
    import(path, &stream);
}

fn one_commit(stream: &mut String, ids: Ids, numbers: std::ops::Range<u64>) {
    let added = numbers.end - numbers.start;
    let message = format!("Mirror: add {added} event(s)\n");
    let who = "committer A U Thor <author@example.com> 1768046400 +0000";
    let from = "from refs/heads/main^0\n";
    let _ = write!(
        stream,
        "commit refs/heads/main\n{who}\ndata {}\n{message}",
        message.len()
    );
    stream.push_str(if stream.matches("\nfrom ").next().is_none() {
        from
    } else {
        ""
    });
    for number in numbers {
        let event = event(ids, number);
        let file = String::from_utf8(event.to_file()).expect("text");
        let _ = write!(
            stream,
            "M 100644 inline {}\ndata {}\n{file}\n",
            event.path(Layout::Day),
            file.len()
        );
    }
    stream.push('\n');
}

fn import(path: &Path, stream: &str) {
    let mut child = git::command(path)
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program git is needed");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(stream.as_bytes()).expect("git reads");
    drop(input);
    assert!(child.wait().expect("git ends").success());
}

fn batches(count: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    (0..count).map(|batch| BEFORE + batch * BATCH..BEFORE + (batch + 1) * BATCH)
}

fn git_add(path: &Path, ids: Ids, count: u64) -> Duration {
    let tree = path.with_extension("tree");
    git(
        path,
        &[
            "worktree",
            "add",
            "--quiet",
            "--force",
            tree.to_str().expect("UTF-8"),
            "main",
        ],
    );
    let batches: Vec<Vec<Event>> = batches(count)
        .map(|numbers| numbers.map(|number| event(ids, number)).collect())
        .collect();
    let start = Instant::now();
    for batch in &batches {
        for event in batch {
            fs::write(tree.join(event.path(Layout::Day)), event.to_file()).expect("written");
        }
        git(&tree, &["add", "."]);
        git(&tree, &["commit", "--quiet", "-m", "Mirror: add 10 event(s)"]);
    }
    start.elapsed()
}

fn fast_import(path: &Path, ids: Ids, count: u64) -> Duration {
    let mut stream = String::new();
    batches(count).for_each(|numbers| one_commit(&mut stream, ids, numbers));
    let start = Instant::now();
    import(path, &stream);
    start.elapsed()
}

fn commit(path: &Path, ids: Ids, count: u64, together: usize) -> Duration {
    let now = "2026-01-10T12:00:00Z".parse().expect("a time");
    let batches: Vec<Vec<Event>> = batches(count)
        .map(|numbers| numbers.map(|number| event(ids, number)).collect())
        .collect();
    let clock = SystemClock::default();
    let start = Instant::now();
    let context = Context::open(path, &Options::default(), now).expect("opened");
    for batches in batches.chunks(together) {
        let batches: Vec<_> = batches.iter().map(Vec::as_slice).collect();
        let landed = context.commit_each(&batches, &clock).expect("committed");
        assert!(landed.iter().all(|committed| committed.added as u64 == BATCH));
    }
    start.elapsed()
}

/// CPU time of this process and its finished children (proc(5), *stat*). 0 on systems other than Linux.
fn cpu_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split(' ');
    fields
        .skip(12)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        match entry.file_type().expect("known").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

fn size(path: &Path) -> u64 {
    let objects = fs::read_dir(path).expect("a folder").flatten();
    objects
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
