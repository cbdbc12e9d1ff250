//! Events from a relay to the remote, with real parts: `events run` as a process, git http-backend as the remote.
#![cfg(unix)]
mod context;
mod crashes;
mod faults;
mod git_names;
mod guard_workflow;
mod health;
mod journey;
mod other_bytes;
mod our_relay;
mod publish;
mod repository;
mod signed;
mod source;
mod sse_servers;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use gix::{
    ObjectId,
    hash::Kind,
    objs::{Kind::Blob, compute_hash},
};
use serde_json::Value;
use stargate_mirror::event::{Event, Layout};
use support::{
    feeds::{Feeds, Manners},
    mirror::{Format, Mirror},
    running::{LINES, Running},
};
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-the-m1rror";
const REPOSITORY: &str = "o/context.git";

/// A remote that asks for a token, and a folder for local files.
struct World {
    mirror: Mirror,
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let mirror = Mirror::with_token(TOKEN);
        mirror.create(REPOSITORY, Format::Sha1);
        World {
            mirror,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// Path of the context repository with this name.
    fn context(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts `events run` into the context repository `name`, following `feeds` of a relay, with short batches and no budget.
    /// `variables` override these settings.
    fn run(&self, name: &str, relay: &str, feeds: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Running {
        let context = self.context(name).display().to_string();
        let remote = self.mirror.url(REPOSITORY);
        let mut environment = vec![
            ("CONTEXT_REPO_PATH", context.as_str()),
            ("RELAY_URL", relay),
            ("FEED_IDS", feeds),
            ("GITHUB_PAT", TOKEN),
            ("GITHUB_REPO_URL", &remote),
            ("COMMIT_BATCH_TIMEOUT_MS", "50"),
            ("PUSHES_PER_MINUTE", "0"),
        ];
        environment.extend(variables);
        Running::start(&[&["events", "run"], arguments].concat(), &environment)
    }

    /// Paths of all events on the remote, with the ids of their contents; empty without a branch.
    fn event_files(&self) -> BTreeMap<String, ObjectId> {
        let git = |arguments: &[&str]| self.mirror.git(REPOSITORY, arguments);
        if git(&["for-each-ref", "refs/heads/main"]).is_empty() {
            return BTreeMap::new();
        }
        let listed = git(&["ls-tree", "-r", "-z", "main", "events/"]);
        let files = listed.split_terminator('\0').map(|file| {
            let (about, path) = file.split_once('\t').expect("a path");
            let id = about.strip_prefix("100644 blob ").expect("a plain file");
            (path.to_owned(), id.parse().expect("an id"))
        });
        files.filter(|(path, _)| !path.ends_with(".gitkeep")).collect()
    }

    /// Content of a file on the remote.
    fn file(&self, path: &str) -> String {
        self.mirror
            .git(REPOSITORY, &["cat-file", "-p", &format!("main:{path}")])
    }

    /// Returns true if all these events are on the remote, each as it was posted. There may be others.
    fn holds(&self, events: &[Value]) -> bool {
        let found = self.event_files();
        files_of(events).iter().all(|(path, id)| found.get(path) == Some(id))
    }

    /// Checks that exactly these events are on the remote, each once and byte for byte as it was posted, and that the history
    /// is linear and only adds.
    fn assert_has_exactly(&self, events: &[Value]) {
        assert_eq!(self.event_files(), files_of(events));
        self.assert_history_only_adds();
    }

    fn assert_history_only_adds(&self) {
        let git = |arguments: &[&str]| self.mirror.git(REPOSITORY, arguments);
        assert_eq!(
            git(&["rev-list", "--merges", "--count", "main"]),
            "0",
            "the history is linear"
        );
        let changes = [
            "log",
            "--no-renames",
            "--diff-filter=a",
            "--name-status",
            "--format=%H",
            "main",
            "--",
            "events/",
        ];
        assert_eq!(git(&changes), "", "nothing under events/ is ever changed");
        let log = git(&[
            "log",
            "--no-renames",
            "--name-only",
            "--format=commit %s",
            "main",
            "--",
            "events/",
        ]);
        for commit in log.split("commit ").filter(|commit| commit.starts_with("Mirror: ")) {
            let (subject, files) = commit.split_once('\n').expect("a subject");
            let count = files.lines().filter(|line| line.starts_with("events/")).count();
            assert_eq!(subject, format!("Mirror: add {count} event(s)"));
        }
        git(&["fsck", "--strict"]);
    }

    /// Waits until all these events are on the remote.
    fn wait_for(&self, events: &[Value], running: &[&Running]) {
        self.wait_for_told(events, running, &String::new)
    }

    /// The same; a failure shows the output of others, too. Checks after each output line of a running command, and
    /// every second, because a server may complete the push of a killed command.
    fn wait_for_told(&self, events: &[Value], running: &[&Running], others: &dyn Fn() -> String) {
        let start = Instant::now();
        loop {
            let seen = LINES.get();
            if self.holds(events) {
                return;
            }
            let said = || {
                running
                    .iter()
                    .map(|running| running.said())
                    .collect::<Vec<_>>()
                    .join("\n---\n")
            };
            assert!(
                start.elapsed().as_secs() < 180,
                "events are missing:\n{}\n{}",
                said(),
                others()
            );
            LINES.wait_beyond_for(seen, Duration::from_secs(1));
        }
    }
}

/// Paths and ids of the contents of these events in a context repository.
///
/// # Panics
/// Two events have the same path.
fn files_of(events: &[Value]) -> BTreeMap<String, ObjectId> {
    let files = events.iter().map(|event| {
        let event = Event::from_value(event.clone()).expect("an event");
        let id = compute_hash(Kind::Sha1, Blob, &event.to_file()).expect("a hash");
        (event.path(Layout::Day), id)
    });
    let files: BTreeMap<_, _> = files.collect();
    assert_eq!(files.len(), events.len(), "each event has a path of its own");
    files
}

/// A relay with numbers.
fn feeds() -> Feeds {
    Feeds::start(Manners {
        numbers: true,
        ..Manners::default()
    })
}

/// All files below a folder with their bytes.
fn all_bytes(folder: &std::path::Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(all_bytes(&path));
        } else {
            found.push((path.clone(), std::fs::read(&path).unwrap_or_default()));
        }
    }
    found
}
