//! Pushes side by side with git's, in one run: `cargo bench --bench push [-- --quick] [-- NAME…]`.
//!
//! Each row is measured from the same repository in two ways: with this library, in a separate process (this program,
//! started again), and with git. *pack* is the pack alone: here enumeration and pack, there `git pack-objects` with the
//! arguments of `git push`. *http* is the whole push to `git http-backend` behind nginx, which requires a token: there
//! `git push --atomic` with the token in the URL, here a push to a mirror that is remembered from the last push, as the
//! worker does in steady state. *http50* adds 50 ms to each request. nginx counts requests and bytes until the change
//! is visible; the worker then reads the refs back, which is one more request.
//!
//! `-- --repository PATH` measures pushes of a clone of any repository instead, and `--repository generated` those of a
//! small one that is made up, see `repository`.
//!
//! Wall time is the best of three runs. CPU time is that of the same run with all children. Memory is the peak of the
//! largest single process. GNU time (`/usr/bin/time`) measures. The table's ratios are ours to git's: below 1 is
//! better.
mod generated;
mod measure;
mod repository;
mod rows;
mod server;

use std::path::{Path, PathBuf};
use std::process::Command;

use bstr::BString;
use git_push::{Connection, Push};
use git_push_transport::local::Local;
use gix::ObjectId;

use self::measure::{best, copy, git, git_command, init, line, measure, print};
use self::rows::{REF, Row, add_tags, import, rows};
use self::server::Server;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["our-pack", source, remote] => our_pack(Path::new(source), Path::new(remote)),
        ["our-push", source, url, memory, wanted] => {
            server::our_push(Path::new(source), url, Path::new(memory), Path::new(wanted));
        }
        ["--repository", path, ref options @ ..] => repository::table(path, &repository_options(options)),
        _ => table(&words),
    }
}

fn repository_options<'a>(mut words: &[&'a str]) -> repository::Options<'a> {
    let mut options = repository::Options::default();
    loop {
        words = match words {
            ["--quick", rest @ ..] => {
                options.quick = true;
                rest
            }
            ["--against", named, rest @ ..] => {
                options.against.push(named.split_once('=').expect("NAME=PROGRAM"));
                rest
            }
            [option, ..] if option.starts_with('-') => panic!("unknown argument: {option}"),
            [row, rest @ ..] => {
                options.rows.push(row);
                rest
            }
            [] => return options,
        };
    }
}

fn table(words: &[&str]) {
    let quick = words.contains(&"--quick");
    let names: Vec<_> = words.iter().filter(|word| !word.starts_with("--")).collect();
    let servers = [("http", Server::new(None)), ("http50", Server::new(Some("0.05")))];
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
    print(&lines);
}

/// A line for the pack, and one for each server.
fn measure_row(row: &Row, folder: &Path, servers: &[(&str, Server)]) -> Vec<String> {
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
    let new = tip(&source).expect("something to push");
    for (what, server) in servers {
        let ours = || server.push_of_ours(&source, &before, &[(new.to_string(), REF.into())]);
        let theirs = || server.push_of_git(&source, &before, &[], &[format!("{REF}:{REF}")]);
        lines.push(line(row.name, what, [best(ours), best(theirs)]));
    }
    lines
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

fn command(source: &Path, advertisement: &git_push::Advertisement) -> git_push::Command {
    let new = tip(source).expect("something to push");
    let name = BString::from(REF);
    let old = advertisement.id(name.as_ref()).unwrap_or(new.kind().null());
    git_push::Command { name, old, new }
}
