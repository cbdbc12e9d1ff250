//! Shared by the tests of context repositories.
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;
use stargate_mirror::{
    event::{Event, Layout},
    events::{Author, Context, Options},
};

use support::git::{command, git};

/// A fixed time.
pub fn now() -> Timestamp {
    "2026-01-10T12:00:00Z".parse().expect("a time")
}

/// An event with this text.
pub fn event(feed: &str, id: &str, ts: &str, text: &str) -> Event {
    Event::from_value(json!({
        "event_id": id, "feed_id": feed, "type": "message", "author_identity_id": "i-1",
        "source": {"platform": "discord", "adapter_id": "a-1", "source_msg_id": format!("m-{id}")},
        "ts": ts, "payload": {"text": text}
    }))
    .expect("an event")
}

/// An event of one day.
pub fn simple(feed: &str, id: &str) -> Event {
    event(feed, id, "2026-01-10T12:00:00Z", "hello")
}

/// Options with a fixed author.
pub fn options(bare: bool) -> Options {
    Options {
        bare,
        author: Some(Author {
            name: "A U Thor".into(),
            email: "author@example.com".into(),
        }),
        ..Options::default()
    }
}

/// A new context repository.
pub fn context(path: &Path, bare: bool) -> Context {
    Context::init(path, &options(bare), now()).expect("a context repository")
}

/// Checks that git accepts the objects, and that a work tree agrees with them.
pub fn is_sound(folder: &Path) {
    git(folder, &["fsck", "--strict", "--full"]);
    if git(folder, &["rev-parse", "--is-bare-repository"]) == "false" {
        assert_eq!(git(folder, &["status", "--porcelain"]), "");
    }
}

/// Returns true if exactly this event is committed.
pub fn has(folder: &Path, event: &Event) -> bool {
    let file = format!("main:{}", event.path(Layout::Day));
    let shown = command(folder).args(["cat-file", "blob", &file]).output().expect("git");
    shown.status.success() && shown.stdout == event.to_file()
}

/// The paths of all events, as git lists them.
pub fn events(folder: &Path) -> Vec<String> {
    let files = git(folder, &["ls-tree", "-r", "--name-only", "main", "events"]);
    let files = files.lines().filter(|file| file.ends_with(".json"));
    files.map(str::to_owned).collect()
}
