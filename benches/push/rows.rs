//! Repositories of one kind of push each, as streams for `git fast-import`.
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Stdio;

use crate::measure::{git, git_command};

/// The branch of all streams.
pub const REF: &str = "refs/heads/main";
/// The parent of a stream's first commit when the branch exists already.
const ON_TOP: &str = "refs/heads/main^0";

/// A push to measure.
pub struct Row {
    pub name: &'static str,
    /// Writes the repository that the remote starts with, as a stream for `git fast-import`; nothing for an empty one.
    pub before: Stream,
    /// Writes the commits to push, as a stream for `git fast-import`.
    pub after: Stream,
    /// True if the commits to push are packed by `git repack`, false if they are loose.
    pub packed: bool,
    /// The number of additional tags on the remote.
    pub tags: usize,
}

pub type Stream = Box<dyn Fn(&mut dyn Write) -> std::io::Result<()>>;

pub fn rows(quick: bool) -> Vec<Row> {
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
pub fn mixed(number: u32) -> u64 {
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

/// Feeds a stream to `git fast-import`; its objects are packed or loose after that.
pub fn import(repository: &Path, stream: &Stream, packed: bool) {
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

/// Adds additional tags to the remote.
pub fn add_tags(repository: &Path, tags: usize) {
    if tags == 0 {
        return;
    }
    let lines: String = (0..tags)
        .map(|tag| format!("create refs/tags/v{tag} {REF}\n"))
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
