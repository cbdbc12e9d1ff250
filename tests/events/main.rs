//! Events from a relay to the remote, with real parts: `events run` as a process, git http-backend as the remote.
#![cfg(unix)]
mod context;
mod crashes;
mod faults;
mod git_names;
mod journey;
mod publish;
mod repository;
mod source;
mod sse_servers;

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;
use stargate_mirror::event::{Event, Layout};
use support::{
    feeds::{Feeds, Manners},
    mirror::{Format, Mirror},
    running::Running,
};
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-the-m1rror";
const REPOSITORY: &str = "o/context.git";

/// A remote that asks for a token, and a folder for what is on this side.
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

    /// Where the context repository of this name is.
    fn context(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `events run` into the context repository `name`, following `feeds` of a relay, with small batches and no budget, and
    /// these variables over all that.
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

    /// The paths of all events on the remote.
    fn event_files(&self) -> Vec<String> {
        let listed = self
            .mirror
            .git(REPOSITORY, &["ls-tree", "-r", "-z", "--name-only", "main", "events/"]);
        let names = listed
            .split('\0')
            .filter(|name| !name.is_empty() && !name.ends_with(".gitkeep"));
        names.map(str::to_owned).collect()
    }

    /// What is in a file on the remote.
    fn file(&self, path: &str) -> String {
        self.mirror
            .git(REPOSITORY, &["cat-file", "-p", &format!("main:{path}")])
    }

    /// Whether these events, all of them and no other ones, are on the remote.
    fn holds(&self, events: &[Value]) -> bool {
        let branch = self.mirror.git(REPOSITORY, &["for-each-ref", "refs/heads/main"]);
        !branch.is_empty() && self.event_files().len() >= events.len()
    }

    /// Waits until as many events are on the remote, then looks whether it is these ones, each once and as it was posted, in
    /// a history that is linear and only adds.
    fn assert_has_exactly(&self, events: &[Value]) {
        let expected: BTreeMap<_, _> = events
            .iter()
            .map(|event| {
                let event = Event::from_value(event.clone()).expect("an event");
                let file = String::from_utf8(event.to_file()).expect("UTF-8");
                (event.path(Layout::Day), file.trim_end().to_owned())
            })
            .collect();
        let paths = self.event_files();
        assert_eq!(paths, expected.keys().cloned().collect::<Vec<_>>());
        for (path, file) in expected.iter().step_by(1 + expected.len() / 50) {
            assert_eq!(self.file(path), *file, "{path}");
        }
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

    /// Polls until all these events are on the remote.
    fn wait_for(&self, events: &[Value], running: &[&Running]) {
        self.wait_for_told(events, running, &String::new)
    }

    /// The same, where others have something to say, too.
    fn wait_for_told(&self, events: &[Value], running: &[&Running], others: &dyn Fn() -> String) {
        let start = std::time::Instant::now();
        while !self.holds(events) {
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
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

/// A relay with numbers.
fn feeds() -> Feeds {
    Feeds::start(Manners {
        numbers: true,
        ..Manners::default()
    })
}

/// Everything in files below a folder, for a search.
fn all_bytes(folder: &std::path::Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(all_bytes(&path)),
            false => found.push((path.clone(), std::fs::read(&path).unwrap_or_default())),
        }
    }
    found
}
