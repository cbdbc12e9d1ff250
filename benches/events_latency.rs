//! Measures the time from an event's POST to the relay until the event is visible on the remote:
//! `cargo bench --bench events_latency [-- --quick]`.
//!
//! Real parts: `stargate-mirror relay`, `stargate-mirror events run`, and git http-backend behind nginx, which requires
//! a token; all on this machine. An event is *visible* when the remote's branch contains it, which is checked every
//! millisecond. Events are posted one at a time, each when the one before is visible; in the rows *steady*, ten a
//! second. Times are in milliseconds.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use support::{
    feeds::event,
    mirror::{Format, Mirror},
    relay::Relay,
    running::Running,
};

const TOKEN: &str = "measured";
const REPOSITORY: &str = "o/context.git";
const PATIENCE: Duration = Duration::from_secs(120);

struct Row {
    name: &'static str,
    variables: &'static [(&'static str, &'static str)],
    events: u32,
    /// The time between events. Without it, each event waits until the one before is visible.
    every: Option<Duration>,
}

const ROWS: &[Row] = &[
    Row {
        name: "default, one at a time",
        variables: &[],
        events: 20,
        every: None,
    },
    Row {
        name: "default, steady",
        variables: &[],
        events: 300,
        every: Some(Duration::from_millis(100)),
    },
    Row {
        name: "COMMIT_BATCH_TIMEOUT_MS=50 PUSHES_PER_MINUTE=0, one at a time",
        variables: &[("COMMIT_BATCH_TIMEOUT_MS", "50"), ("PUSHES_PER_MINUTE", "0")],
        events: 100,
        every: None,
    },
    Row {
        name: "COMMIT_BATCH_TIMEOUT_MS=50 PUSHES_PER_MINUTE=0, steady",
        variables: &[("COMMIT_BATCH_TIMEOUT_MS", "50"), ("PUSHES_PER_MINUTE", "0")],
        events: 300,
        every: Some(Duration::from_millis(100)),
    },
];

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    println!("| | events | p50 ms | p95 ms | max ms |\n|---|---|---|---|---|");
    for row in ROWS {
        let events = if quick { row.events.min(5) } else { row.events };
        let mut times = measure(row, events);
        times.sort();
        let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_millis();
        println!("| {} | {events} | {} | {} | {} |", row.name, at(50), at(95), at(100));
    }
}

fn measure(row: &Row, events: u32) -> Vec<Duration> {
    let mirror = Mirror::with_token(TOKEN);
    mirror.create(REPOSITORY, Format::Sha1);
    let folder = tempfile::tempdir().expect("a folder");
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let context = folder.path().join("context.git").display().to_string();
    let (url, remote) = (format!("http://{}", relay.address), mirror.url(REPOSITORY));
    let mut variables = vec![
        ("CONTEXT_REPO_PATH", context.as_str()),
        ("RELAY_URL", &url),
        ("FEED_IDS", "f"),
        ("GITHUB_PAT", TOKEN),
        ("GITHUB_REPO_URL", &remote),
    ];
    variables.extend(row.variables);
    let run = Running::start(&["events", "run", "--bare"], &variables);
    run.until("following");
    let mut visible = Visible::new(&mirror);
    let mut posted = Vec::new();
    let start = Instant::now();
    for number in 0..events {
        if let Some(every) = row.every {
            thread::sleep((every * number).saturating_sub(start.elapsed()));
            visible.look();
        }
        posted.push(Instant::now());
        client.post_event(&event("f", number));
        if row.every.is_none() {
            visible.wait_for(number as usize + 1);
        }
    }
    visible.wait_for(events as usize);
    posted
        .iter()
        .zip(&visible.at)
        .map(|(posted, visible)| visible.duration_since(*posted))
        .collect()
}

/// Times at which the events became visible, in the order of posting.
struct Visible<'a> {
    mirror: &'a Mirror,
    branch: String,
    at: Vec<Instant>,
}

impl<'a> Visible<'a> {
    fn new(mirror: &'a Mirror) -> Self {
        Visible {
            mirror,
            branch: String::new(),
            at: Vec::new(),
        }
    }

    fn look(&mut self) {
        let branch = fs::read_to_string(self.mirror.path(REPOSITORY).join("refs/heads/main")).unwrap_or_default();
        if branch != self.branch {
            let now = Instant::now();
            let listed = self
                .mirror
                .git(REPOSITORY, &["ls-tree", "-r", "--name-only", branch.trim(), "events/f"]);
            let count = listed.lines().filter(|line| line.ends_with(".json")).count();
            self.at.resize(count.max(self.at.len()), now);
            self.branch = branch;
        }
    }

    fn wait_for(&mut self, count: usize) {
        let start = Instant::now();
        while self.at.len() < count {
            assert!(start.elapsed() < PATIENCE, "only {} events are visible", self.at.len());
            thread::sleep(Duration::from_millis(1));
            self.look();
        }
    }
}
