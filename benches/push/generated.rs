//! A small repository of the shape of a real one: a long history with merges, files that grow, move and go away, vendored
//! folders that are replaced as a whole, and tags. The same each time.
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::measure::{git, init};
use crate::rows::{REF, Stream, import, mixed};

/// Commits on the branch, and with `--quick`.
const COMMITS: u32 = 2500;
const QUICK: u32 = 300;
/// Files of a vendored folder.
const VENDORED: u32 = 60;

/// Lines of each file by path.
type Files = BTreeMap<String, Vec<u32>>;

/// Writes the repository, and returns its path.
pub fn repository(path: &Path, quick: bool) -> PathBuf {
    init(path);
    let commits = if quick { QUICK } else { COMMITS };
    let stream: Stream = Box::new(move |out| history(out, commits));
    import(path, &stream, true);
    git(path, &["symbolic-ref", "HEAD", REF]);
    git(path, &["repack", "-adfq"]);
    path.to_owned()
}

fn history(out: &mut dyn Write, commits: u32) -> io::Result<()> {
    let mut files = Files::new();
    for number in 0..commits {
        let is_merge = number % 5 == 4;
        if is_merge {
            // A side branch from the last commit, with files of its own.
            writeln!(out, "reset refs/heads/side\nfrom {REF}\n")?;
            start(out, "refs/heads/side", number)?;
            edit(out, &mut files, number, "side")?;
            writeln!(out)?;
        }
        start(out, REF, number)?;
        if is_merge {
            writeln!(out, "merge refs/heads/side")?;
            repeat(out, &files, number)?;
        }
        change(out, &mut files, number)?;
        writeln!(out)?;
        if number % 25 == 24 {
            tag(out, number)?;
        }
    }
    writeln!(
        out,
        "reset refs/heads/side\nfrom 0000000000000000000000000000000000000000\n"
    )
}

/// Starts a commit.
fn start(out: &mut dyn Write, branch: &str, number: u32) -> io::Result<()> {
    let (author, date) = (mixed(number) % 40, 1_500_000_000 + u64::from(number) * 7_000);
    let message = format!(
        "Change {number}\n\nIt is {:x}, because of {:x}.\n",
        mixed(number),
        mixed(number + 1)
    );
    let who = format!("Author {author} <author-{author}@example.com> {date} +0000");
    writeln!(
        out,
        "commit {branch}\nauthor {who}\ncommitter {who}\ndata {}\n{message}",
        message.len()
    )
}

fn tag(out: &mut dyn Write, number: u32) -> io::Result<()> {
    let date = 1_500_000_000 + u64::from(number) * 7_000;
    writeln!(
        out,
        "tag v{number}\nfrom {REF}\ntagger A Tagger <tagger@example.com> {date} +0000\ndata 8\nrelease\n"
    )
}

/// The changes of a commit: a few edits, now and then a move, a deletion, or a vendored folder.
fn change(out: &mut dyn Write, files: &mut Files, number: u32) -> io::Result<()> {
    edit(out, files, number, "src")?;
    if number % 17 == 16 {
        let place = mixed(number) as usize % files.len();
        let (path, lines) = files
            .iter()
            .nth(place)
            .map(|(path, lines)| (path.clone(), lines.clone()))
            .expect("a file");
        let moved = format!("src/moved-{}/{number}.c", number % 3);
        writeln!(out, "R {path} {moved}")?;
        files.remove(&path);
        files.insert(moved, lines);
    }
    if number % 31 == 30 {
        let path = files.keys().next().cloned().expect("a file");
        writeln!(out, "D {path}")?;
        files.remove(&path);
    }
    if number % 100 == 60 {
        let folder = format!("vendor/library-{}", number / 100 % 3);
        writeln!(out, "D {folder}")?;
        for file in 0..VENDORED {
            let lines: Vec<_> = (0..40)
                .map(|line| file * 1000 + line + number / 300 * (line % 10))
                .collect();
            put(out, &format!("{folder}/include/{}/{file}.h", file % 7), &lines)?;
        }
    }
    Ok(())
}

/// Changes lines of a few files, or adds the files.
fn edit(out: &mut dyn Write, files: &mut Files, number: u32, folder: &str) -> io::Result<()> {
    for nth in 0..1 + mixed(number) as u32 % 4 {
        let random = mixed(number.wrapping_mul(31).wrapping_add(nth));
        let path = format!(
            "{folder}/part-{}/sub-{}/{}.c",
            random % 9,
            random / 9 % 5,
            random / 45 % 6
        );
        let lines = files
            .entry(path.clone())
            .or_insert_with(|| (0..80).map(|line| random as u32 % 1000 + line).collect());
        let place = random as usize / 7 % lines.len();
        lines[place] = number;
        lines.insert(place / 2, number.wrapping_mul(3));
        put(out, &path, lines)?;
    }
    Ok(())
}

/// Puts the files of a merged side branch, which were edited last.
fn repeat(out: &mut dyn Write, files: &Files, number: u32) -> io::Result<()> {
    let edited = files
        .iter()
        .filter(|(path, lines)| path.starts_with("side/") && lines.contains(&number));
    for (path, lines) in edited {
        put(out, path, lines)?;
    }
    Ok(())
}

fn put(out: &mut dyn Write, path: &str, lines: &[u32]) -> io::Result<()> {
    let line = |line: &u32| format!("    value_{} = compute({:x}, {line});\n", line % 97, mixed(*line));
    let content: String = lines.iter().map(line).collect();
    writeln!(out, "M 100644 inline {path}\ndata {}\n{content}", content.len())
}
