//! A context repository and its remote: others change it, and no event is lost or changed.

use std::{fs, path::Path, thread, time::Duration};

use crate::context::{context, event, events, has, is_sound, now, options, simple};
use bstr::BString;
use durable::{
    clock::{Clock, ManualClock, SystemClock},
    retry::RetryPolicy,
};
use git_push::{Advertisement, Connection, ErrorKind, Pack, RemoteRef, Report, Request, Traffic};
use git_push_transport::{Location, Remote, Settings};
use gix::ObjectId;
use stargate_mirror::{
    event::{Event, Layout},
    events::{Context, Options, Published, Upstream, refused},
};
use support::{
    git::{self, git},
    mirror::{Format, Mirror},
};

const NAME: &str = "o/context.git";
/// Longest delay between two looks at a lock.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// A clock that moves only by the delays between attempts. Locks of files are waited for in real time, because a program
/// that another test starts has a copy of each open file, with its lock, until it runs.
#[derive(Default)]
struct AttemptClock(ManualClock);

impl AttemptClock {
    /// Returns the delays between attempts so far.
    fn slept(&self) -> Vec<Duration> {
        self.0.slept()
    }
}

impl Clock for AttemptClock {
    fn now(&self) -> jiff::Timestamp {
        self.0.now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        if duration <= LOCK_POLL {
            thread::sleep(duration);
        } else {
            self.0.sleep(duration);
        }
    }

    fn random(&self) -> f64 {
        self.0.random()
    }
}

fn remote(url: &str) -> Remote {
    support::pushing::open(url, &Settings::from_environment(|_| None).expect("settings"))
}

pub fn publish(context: &Context, url: &str) -> Result<Published, git_push::Error> {
    context.publish(&mut remote(url), &AttemptClock::default(), RetryPolicy::default())
}

pub fn commit(context: &Context, feed: &str, ids: &[&str]) {
    let batch: Vec<_> = ids.iter().map(|id| simple(feed, id)).collect();
    let committed = context.commit(&batch, &SystemClock::default()).expect("committed");
    assert_eq!(committed.added, ids.len());
}

/// A remote in a folder, empty.
pub fn bare(folder: &Path) -> String {
    let path = folder.join("remote.git");
    fs::create_dir(&path).expect("a folder");
    git(&path, &["init", "--quiet", "--bare", "-b", "main", "."]);
    path.to_str().expect("UTF-8").to_owned()
}

/// Commits as another user on the remote's branch: files are written, or removed.
pub fn someone_commits(remote: &str, changes: &[(&str, Option<&str>)]) {
    let folder = tempfile::tempdir().expect("a folder");
    let clone = folder.path().join("clone");
    git(folder.path(), &["clone", "--quiet", "-b", "main", remote, "clone"]);
    for (path, content) in changes {
        let file = clone.join(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        match content {
            Some(content) => fs::write(file, content).expect("a file"),
            None => fs::remove_file(file).expect("removed"),
        }
    }
    git(&clone, &["add", "--all", "."]);
    git(&clone, &["commit", "--quiet", "-m", "by hand"]);
    git(&clone, &["push", "--quiet", "origin", "HEAD:main"]);
}

fn tip(folder: &str) -> String {
    git(Path::new(folder), &["rev-parse", "refs/heads/main"])
}

#[test]
fn a_branch_is_made_and_followed_over_http() {
    a_branch_is_made_and_followed(&Mirror::start());
}

#[test]
fn a_branch_is_made_and_followed_over_http_in_protocol_0() {
    a_branch_is_made_and_followed(&Mirror::with_protocol_0());
}

fn a_branch_is_made_and_followed(mirror: &Mirror) {
    let there = mirror.create(NAME, Format::Sha1);
    let url = mirror.url(NAME);
    for bare in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let here = folder.path().join("context");
        let context = context(&here, bare);
        commit(&context, "f", &["e-1", "e-2", "e-3"]);
        assert!(context.has_unpublished().expect("readable"));
        let published = publish(&context, &url).expect("published");
        assert_eq!((published.events, published.attempts, published.rebased), (3, 1, 0));
        assert_eq!(published.commit.to_string(), git(&there, &["rev-parse", "main"]));
        assert!(!context.has_unpublished().expect("readable"));
        assert_eq!(publish(&context, &url).expect("nothing to do").events, 0);
        commit(&context, "f", &["e-4"]);
        assert_eq!(publish(&context, &url).expect("published").events, 1);
        assert_eq!(events(&there).len(), 4);
        someone_commits(there.to_str().expect("UTF-8"), &[("notes.md", Some("mine"))]);
        assert_eq!(publish(&context, &url).expect("fetched").events, 0);
        assert_eq!(git(&here, &["show", "main:notes.md"]), "mine");
        is_sound(&there);
        is_sound(&here);
        git(&there, &["update-ref", "-d", "refs/heads/main"]);
        // A deleted branch is created again, with all events.
        commit(&context, "f", &["e-5"]);
        assert_eq!(publish(&context, &url).expect("published").events, 5);
        git(&there, &["update-ref", "-d", "refs/heads/main"]);
    }
}

#[test]
fn two_instances_on_one_remote_lose_nothing() {
    let mirror = Mirror::start();
    let there = mirror.create(NAME, Format::Sha1);
    let url = mirror.url(NAME);
    let folder = tempfile::tempdir().expect("a folder");
    let paths = [folder.path().join("one"), folder.path().join("two")];
    let contexts = [context(&paths[0], true), context(&paths[1], false)];
    let mut rebased = 0;
    for round in 0..10 {
        for (feed, context) in ["f", "g"].into_iter().zip(&contexts) {
            let ids: Vec<_> = (0..5).map(|event| format!("{round}-{event}")).collect();
            commit(context, feed, &ids.iter().map(String::as_str).collect::<Vec<_>>());
            // One instance publishes more often than the other.
            if feed == "f" || round % 3 == 0 {
                let published = publish(context, &url).expect("published");
                rebased += published.rebased;
                assert!(round == 0 || published.other_instance.is_some() || feed == "f");
            }
        }
    }
    for context in contexts.iter().rev() {
        publish(context, &url).expect("published");
    }
    publish(&contexts[1], &url).expect("published");
    assert_eq!(events(&there).len(), 100);
    assert!(rebased >= 10, "{rebased}");
    assert_eq!(
        git(&there, &["rev-list", "--merges", "--count", "main"]),
        "0",
        "the history is a line"
    );
    assert_eq!(
        git(
            &there,
            &["log", "--diff-filter=MDRT", "--format=%h", "main", "--", "events"]
        ),
        ""
    );
    for path in paths.iter().chain([&there]) {
        is_sound(path);
        assert_eq!(git(path, &["rev-parse", "main"]), tip(there.to_str().expect("UTF-8")));
    }
}

/// A remote with an interruption just before the first push arrives.
struct Interrupted<F: FnMut()> {
    remote: Remote,
    before: Option<F>,
    /// The number of pushes whose answers are lost.
    lost: usize,
}

impl<F: FnMut()> Connection for Interrupted<F> {
    fn advertisement(&mut self) -> Result<Advertisement, git_push::Error> {
        self.remote.advertisement()
    }
    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, git_push::Error> {
        if let Some(mut before) = self.before.take() {
            before();
        }
        let report = self.remote.send(request, pack);
        if self.lost > 0 {
            self.lost -= 1;
            return Err(git_push::Error::new(ErrorKind::Uncertain, "the answer was lost"));
        }
        report
    }
    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, git_push::Error> {
        self.remote.read_refs(prefixes)
    }
    fn traffic(&self) -> Traffic {
        self.remote.traffic()
    }
}

impl<F: FnMut()> Upstream for Interrupted<F> {
    fn fetch(&mut self, want: ObjectId, into: &gix::Repository, haves: &[ObjectId]) -> Result<(), git_push::Error> {
        self.remote.fetch(want, into, haves)
    }
}

#[test]
fn a_lost_race_is_replayed() {
    let mirror = Mirror::start();
    let there = mirror.create(NAME, Format::Sha1);
    let folder = tempfile::tempdir().expect("a folder");
    for (round, url) in [mirror.url(NAME), bare(folder.path())].into_iter().enumerate() {
        let there = if round == 0 {
            there.to_str().expect("UTF-8").to_owned()
        } else {
            url.clone()
        };
        let here = folder.path().join(format!("context-{round}"));
        let context = context(&here, round == 1);
        commit(&context, "f", &["e-1"]);
        publish(&context, &url).expect("published");
        commit(&context, "f", &["e-2"]);
        let clock = AttemptClock::default();
        let mut raced = Interrupted {
            remote: remote(&url),
            before: Some(|| someone_commits(&there, &[("notes.md", Some("mine")), ("README.md", Some("new"))])),
            lost: 0,
        };
        let published = context
            .publish(&mut raced, &clock, RetryPolicy::default())
            .expect("published");
        assert_eq!((published.events, published.attempts, published.rebased), (1, 2, 1));
        assert_eq!(clock.slept().len(), 1);
        assert_eq!(
            git(Path::new(&there), &["log", "--format=%s", "main"])
                .lines()
                .collect::<Vec<_>>(),
            [
                "Mirror: add 1 event(s)",
                "by hand",
                "Mirror: add 1 event(s)",
                "Context repository"
            ]
        );
        assert_eq!(events(Path::new(&there)).len(), 2);
        is_sound(&here);
        is_sound(Path::new(&there));
        if round == 0 {
            assert_eq!(fs::read_to_string(here.join("notes.md")).expect("checked out"), "mine");
            assert_eq!(fs::read_to_string(here.join("README.md")).expect("checked out"), "new");
        }
    }
}

#[test]
fn a_lost_answer_is_looked_for_and_counted_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = bare(folder.path());
    let context = context(&folder.path().join("context"), true);
    commit(&context, "f", &["e-1", "e-2"]);
    let mut lossy = Interrupted {
        remote: remote(&url),
        before: None::<fn()>,
        lost: 1,
    };
    let published = context
        .publish(&mut lossy, &AttemptClock::default(), RetryPolicy::default())
        .expect("published");
    assert_eq!(
        (published.events, published.attempts),
        (2, 1),
        "it was seen to be there"
    );
}

#[test]
fn events_can_be_committed_while_a_push_is_under_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = bare(folder.path());
    let context = context(&folder.path().join("context"), true);
    commit(&context, "f", &["e-1"]);
    let mut slow = Interrupted {
        remote: remote(&url),
        before: Some(|| commit(&context, "f", &["e-2"])),
        lost: 0,
    };
    let published = context
        .publish(&mut slow, &AttemptClock::default(), RetryPolicy::default())
        .expect("published");
    assert_eq!((published.events, published.attempts), (1, 1));
    assert!(context.has_unpublished().expect("readable"));
    assert_eq!(publish(&context, &url).expect("published").events, 1);
    assert_eq!(events(Path::new(&url)).len(), 2);
}

#[test]
fn the_same_event_drops_out_and_another_content_is_kept_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = bare(folder.path());
    let here = folder.path().join("context");
    let context = context(&here, false);
    commit(&context, "f", &["e-0"]);
    publish(&context, &url).expect("published");
    let theirs = event("f", "e-2", "2026-01-10T12:00:00Z", "theirs");
    let other_day = event("f", "e-3", "2026-02-10T12:00:00Z", "theirs, on another day");
    let file = |event: &stargate_mirror::event::Event| String::from_utf8(event.to_file()).expect("text");
    someone_commits(
        &url,
        &[
            (&simple("f", "e-1").path(Layout::Day), Some(&file(&simple("f", "e-1")))),
            (&theirs.path(Layout::Day), Some(&file(&theirs))),
            (&other_day.path(Layout::Day), Some(&file(&other_day))),
        ],
    );
    commit(&context, "f", &["e-1"]);
    commit(&context, "f", &["e-2", "e-3", "e-4"]);
    let published = publish(&context, &url).expect("published");
    assert_eq!((published.events, published.rebased), (1, 1));
    let refused: Vec<_> = published
        .refused
        .iter()
        .map(|refusal| refusal.event_id.as_str())
        .collect();
    assert_eq!(refused, ["e-2", "e-3"]);
    let kept = fs::read_to_string(here.join(refused::FILE)).expect("what was refused");
    assert_eq!(kept.lines().count(), 2);
    assert!(
        kept.contains("\"text\":\"hello\"") && !kept.contains("theirs"),
        "{kept}"
    );
    let subjects = git(Path::new(&url), &["log", "-2", "--format=%s", "main"]);
    assert_eq!(subjects, "Mirror: add 1 event(s)\nby hand");
    assert_eq!(events(Path::new(&url)).len(), 5);
    let there = git(
        Path::new(&url),
        &["show", &format!("main:{}", theirs.path(Layout::Day))],
    );
    assert_eq!(format!("{there}\n"), file(&theirs));
    is_sound(&here);
    // The refused event stays refused.
    let again = context
        .commit(&[simple("f", "e-2")], &SystemClock::default())
        .expect("nothing to do");
    assert_eq!((again.commit, again.refused.len()), (None, 1));
}

#[test]
fn snapshots_of_two_mirrors_are_no_conflict() {
    let snapshot = |id: &str, order: &str| {
        let event = format!(
            r#"{{"event_id":"{id}","feed_id":"f","type":"snapshot","author_identity_id":"i-1","source":{{"platform":"p","adapter_id":"a","source_msg_id":null}},"ts":"2026-01-10T12:00:00Z","payload":{order}}}"#
        );
        Event::parse(event.as_bytes()).expect("an event")
    };
    let folder = tempfile::tempdir().expect("a folder");
    let url = bare(folder.path());
    let options = Options {
        snapshots: true,
        ..options(false)
    };
    let [one, other] = ["one", "other"].map(|name| {
        let path = folder.path().join(name);
        let opened = Context::init(&path, &options, now()).expect("a context repository");
        (opened, path)
    });
    let commit = |context: &Context, batch: &[Event]| {
        context.commit(batch, &SystemClock::default()).expect("committed");
    };
    // The same event in another order of members, so that the files differ; and another event of the same id.
    commit(&one.0, &[snapshot("e-1", r#"{"a":1,"b":2}"#), snapshot("e-2", "1")]);
    publish(&one.0, &url).expect("published");
    commit(
        &other.0,
        &[
            snapshot("e-1", r#"{"b":2,"a":1}"#),
            snapshot("e-2", "2"),
            snapshot("e-3", "3"),
        ],
    );
    let published = publish(&other.0, &url).expect("published");
    assert_eq!((published.events, published.refused.len()), (1, 1));
    for path in [&other.1, Path::new(&url)] {
        is_sound(path);
        let show = |id: &str| git(path, &["show", &format!("main:snapshots/f/2026-01-10/{id}.md")]);
        assert!(
            show("e-1").ends_with("{\n  \"a\": 1,\n  \"b\": 2\n}\n```"),
            "{}",
            show("e-1")
        );
        assert!(show("e-2").ends_with("1\n```") && show("e-3").ends_with("3\n```"));
    }
    // Files that somebody wrote by hand still are a conflict.
    someone_commits(&url, &[("snapshots/f/2026-01-10/note.md", Some("theirs"))]);
    fs::write(other.1.join("snapshots/f/2026-01-10/note.md"), "ours").expect("a file");
    git(&other.1, &["add", "snapshots"]);
    git(&other.1, &["commit", "--quiet", "-m", "by hand"]);
    let error = publish(&other.0, &url).expect_err("a conflict");
    assert!(error.to_string().contains("snapshots/f/2026-01-10/note.md"), "{error}");
}

#[test]
fn mirrors_of_different_layouts_share_a_branch() {
    for first in [Layout::Day, Layout::Hour] {
        let folder = tempfile::tempdir().expect("a folder");
        let url = bare(folder.path());
        let open = |name: &str, layout| {
            let options = Options {
                layout,
                ..options(false)
            };
            Context::init(&folder.path().join(name), &options, now()).expect("a context repository")
        };
        let [one, other] = [open("day", Layout::Day), open("hour", Layout::Hour)];
        let [one, other] = match first {
            Layout::Day => [one, other],
            Layout::Hour => [other, one],
        };
        commit(&one, "f", &["e-1", "e-2"]);
        publish(&one, &url).expect("published");
        commit(&other, "f", &["e-2", "e-3"]);
        let published = publish(&other, &url).expect("published");
        assert_eq!((published.events, published.refused.len()), (1, 0), "{first:?}");
        publish(&one, &url).expect("followed");
        for name in ["day", "hour"] {
            is_sound(&folder.path().join(name));
            assert_eq!(events(&folder.path().join(name)).len(), 3, "{first:?}");
        }
    }
}

#[test]
fn what_others_have_added_is_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = bare(folder.path());
    let here = folder.path().join("context");
    let context = context(&here, true);
    commit(&context, "f", &["e-0"]);
    publish(&context, &url).expect("published");
    for (id, ours) in [("e-1", None), ("e-2", Some("e-3"))] {
        let theirs = event("f", id, "2026-02-10T12:00:00Z", "theirs");
        let file = String::from_utf8(theirs.to_file()).expect("text");
        someone_commits(&url, &[(&theirs.path(Layout::Day), Some(&file))]);
        if let Some(ours) = ours {
            commit(&context, "f", &[ours]);
        }
        publish(&context, &url).expect("published");
        let again = context.commit(&[simple("f", id)], &SystemClock::default());
        let again = again.expect("nothing to do");
        assert_eq!((again.commit, again.refused.len()), (None, 1), "{id}");
    }
    assert_eq!(events(&here).len(), 4);
}

#[test]
fn an_event_that_was_changed_by_force_stops_everything_until_it_is_put_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = bare(folder.path());
    for change in [Some("changed"), None] {
        let here = tempfile::tempdir().expect("a folder");
        let here = here.path().join("context");
        let context = context(&here, false);
        let _ = fs::remove_file(Path::new(&url).join("refs/heads/main"));
        commit(&context, "f", &["e-1", "e-2"]);
        publish(&context, &url).expect("published");
        let path = simple("f", "e-1").path(Layout::Day);
        someone_commits(&url, &[(&path, change)]);
        for with_commits in [false, true] {
            if with_commits {
                commit(&context, "f", &["e-3"]);
            }
            let before = (tip(&url), git(&here, &["rev-parse", "main"]));
            let error = publish(&context, &url).expect_err("a violation");
            assert_eq!(error.kind(), ErrorKind::NotSent);
            assert!(error.to_string().contains(&path) && error.hint().is_some(), "{error}");
            assert_eq!(
                (tip(&url), git(&here, &["rev-parse", "main"])),
                before,
                "nothing is half done"
            );
            is_sound(&here);
        }
        let original = String::from_utf8(simple("f", "e-1").to_file()).expect("text");
        someone_commits(&url, &[(&path, Some(&original))]);
        assert_eq!(publish(&context, &url).expect("published").events, 1);
        assert_eq!(events(Path::new(&url)).len(), 3);
    }
}

#[test]
fn a_history_that_was_rewritten_is_not_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = bare(folder.path());
    let context = context(&folder.path().join("context"), true);
    commit(&context, "f", &["e-1"]);
    publish(&context, &url).expect("published");
    commit(&context, "f", &["e-2"]);
    publish(&context, &url).expect("published");
    // The last commit is removed from the remote by force: its events are pushed again.
    git(Path::new(&url), &["update-ref", "refs/heads/main", "main~1"]);
    assert_eq!(publish(&context, &url).expect("published").events, 1);
    assert_eq!(events(Path::new(&url)).len(), 2);
}

#[test]
fn changes_by_hand_that_break_the_rule_are_not_pushed() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = bare(folder.path());
    let here = folder.path().join("context");
    let context = context(&here, false);
    commit(&context, "f", &["e-1"]);
    publish(&context, &url).expect("published");
    let path = simple("f", "e-1").path(Layout::Day);
    git(&here, &["rm", "--quiet", &path]);
    git(&here, &["commit", "--quiet", "-m", "gone"]);
    let before = tip(&url);
    let error = publish(&context, &url).expect_err("a violation");
    assert!(
        error.kind() == ErrorKind::NotSent && error.to_string().contains(&path),
        "{error}"
    );
    someone_commits(&url, &[("notes.md", Some("mine"))]);
    assert_ne!(tip(&url), before);
    let error = publish(&context, &url).expect_err("a violation, when it is rebased");
    assert!(
        error.kind() == ErrorKind::NotSent && error.to_string().contains(&path),
        "{error}"
    );
}

#[test]
fn conflicts_elsewhere_are_told_and_the_lock_file_is_ours() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = bare(folder.path());
    let here = folder.path().join("context");
    let context = context(&here, false);
    commit(&context, "f", &["e-1"]);
    publish(&context, &url).expect("published");
    someone_commits(
        &url,
        &[
            (".crp/lock.json", Some("theirs")),
            ("policy/policy.json", Some("{\"members\": [1]}")),
        ],
    );
    commit(&context, "f", &["e-2"]);
    assert_eq!(publish(&context, &url).expect("published").events, 1);
    let lock = git(Path::new(&url), &["show", "main:.crp/lock.json"]);
    assert!(lock.contains("instance_id"), "{lock}");
    assert_eq!(
        fs::read_to_string(here.join("policy/policy.json")).expect("checked out"),
        "{\"members\": [1]}"
    );
    // Now both sides change the policy.
    fs::write(here.join("policy/policy.json"), "{\"members\": [2]}").expect("a file");
    git(&here, &["commit", "--quiet", "-am", "ours"]);
    someone_commits(&url, &[("policy/policy.json", Some("{\"members\": [3]}"))]);
    let before = (tip(&url), git(&here, &["rev-parse", "main"]));
    let error = publish(&context, &url).expect_err("a conflict");
    assert!(
        error.kind() == ErrorKind::NotSent && error.to_string().contains("policy/policy.json"),
        "{error}"
    );
    assert_eq!((tip(&url), git(&here, &["rev-parse", "main"])), before);
    is_sound(&here);
    // Events are still committed, and are pushed once the conflict is resolved.
    commit(&context, "f", &["e-3"]);
    someone_commits(&url, &[("policy/policy.json", Some("{\"members\": [2]}"))]);
    assert_eq!(publish(&context, &url).expect("published").events, 1);
    is_sound(&here);
}

#[test]
fn an_unrelated_history_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = bare(folder.path());
    let readme = git::commit(Path::new(&url), None, "a README");
    git(Path::new(&url), &["update-ref", "refs/heads/main", &readme]);
    let context = context(&folder.path().join("context"), true);
    commit(&context, "f", &["e-1"]);
    let error = publish(&context, &url).expect_err("unrelated");
    assert_eq!(error.kind(), ErrorKind::NotSent);
    assert!(error.to_string().contains("no commit in common"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("GITHUB_BRANCH")));
    assert_eq!(tip(&url), readme);
}

#[test]
fn what_the_remote_refuses_is_told_and_not_tried_again() {
    let mirror = Mirror::start();
    mirror.create(NAME, Format::Sha1);
    mirror.hook(NAME, "update", "echo 'protected'; exit 1");
    let folder = tempfile::tempdir().expect("a folder");
    let context = context(&folder.path().join("context"), true);
    commit(&context, "f", &["e-1"]);
    let clock = AttemptClock::default();
    let error = context
        .publish(&mut remote(&mirror.url(NAME)), &clock, RetryPolicy::default())
        .expect_err("refused");
    assert_eq!((error.kind(), clock.slept().len()), (ErrorKind::Rejected, 0), "{error}");
    assert!(error.to_string().contains("hook declined"), "{error}");
}

#[test]
fn a_remote_that_is_down_is_tried_three_times_and_gets_everything_later() {
    let mut mirror = Mirror::start();
    let there = mirror.create(NAME, Format::Sha1);
    let url = mirror.url(NAME);
    let folder = tempfile::tempdir().expect("a folder");
    let context = context(&folder.path().join("context"), true);
    commit(&context, "f", &["e-1"]);
    publish(&context, &url).expect("published");
    mirror.stop();
    for round in 0..2 {
        commit(&context, "f", &[&format!("down-{round}")]);
        let clock = AttemptClock::default();
        let error = context
            .publish(&mut remote(&url), &clock, RetryPolicy::default())
            .expect_err("down");
        assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
        assert_eq!(
            clock.slept().iter().map(Duration::as_millis).collect::<Vec<_>>(),
            [500, 1000]
        );
    }
    mirror.start_again();
    assert_eq!(publish(&context, &url).expect("published").events, 2);
    assert_eq!(events(&there).len(), 3);
}

#[test]
fn a_lost_repository_begins_anew_on_what_the_remote_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = bare(folder.path());
    let first = context(&folder.path().join("first"), true);
    commit(&first, "f", &["e-1", "e-2"]);
    publish(&first, &url).expect("published");
    let root = git(Path::new(&url), &["rev-list", "--max-parents=0", "main"]);
    let path = folder.path().join("second");
    let second = Context::init(
        &path,
        &Options {
            bare: false,
            ..options(false)
        },
        "2026-05-01T00:00:00Z".parse().expect("a time"),
    );
    let second = second.expect("made");
    commit(&second, "f", &["e-2", "e-3"]);
    let published = publish(&second, &url).expect("published");
    assert_eq!((published.events, published.rebased), (1, 1));
    assert_eq!(git(Path::new(&url), &["rev-list", "--max-parents=0", "main"]), root);
    assert_eq!(events(Path::new(&url)).len(), 3);
    is_sound(&path);
    assert!(has(&path, &simple("f", "e-1")), "what the remote had is here");
    assert!(second.resume_point("f", now()).expect("readable").is_some());
    let location = Location::parse(url.as_str().into()).expect("a location");
    assert_eq!(location.to_string(), url);
}

/// Commits an event of a feed whose name is refused today, as an earlier version could. Returns its path.
fn commit_as_before(here: &Path, feed: &str, id: &str, removed: &[&str]) -> String {
    let path = format!("events/{feed}/2026-01-10/{id}.json");
    let file = String::from_utf8(simple("f", id).to_file()).expect("text");
    let file = file.replace("\"feed_id\": \"f\"", &format!("\"feed_id\": \"{feed}\""));
    let blob = git::git_with_input(here, &["hash-object", "-w", "--stdin"], file.as_bytes());
    git(here, &["read-tree", "main"]);
    git(
        here,
        &["update-index", "--add", "--cacheinfo", &format!("100644,{blob},{path}")],
    );
    for path in removed {
        let gone = format!("0 {}\t{path}\n", "0".repeat(40));
        git::git_with_input(here, &["update-index", "--index-info"], gone.as_bytes());
    }
    let tree = git(here, &["write-tree"]);
    let message = "Mirror: add 1 event(s)";
    let commit = git(here, &["commit-tree", "-p", "main", "-m", message, &tree]);
    git(here, &["update-ref", "refs/heads/main", &commit]);
    path
}

/// A mirror that checks received objects.
fn strict_mirror() -> Mirror {
    let mirror = Mirror::start();
    mirror.create(NAME, Format::Sha1);
    git(&mirror.path(NAME), &["config", "receive.fsckObjects", "true"]);
    mirror
}

#[test]
fn a_feed_with_a_name_of_git_does_not_stop_the_repository() {
    let mirror = strict_mirror();
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path().join("context");
    let url = mirror.url(NAME);
    // With a remote that is still empty, and with one that has commits.
    for round in ["1", "2"] {
        {
            let context = context(&here, true);
            commit(&context, "f", &[&format!("first-{round}")]);
        }
        let forbidden = commit_as_before(&here, ".gitmodules", &format!("e-{round}"), &[]);
        // It is removed by hand. That does not help, because its commit is still sent.
        let shadowed = commit_as_before(&here, ".GITattributes", &format!("x-{round}"), &[&forbidden]);
        let context = context(&here, true);
        commit(&context, "f", &[&format!("last-{round}")]);
        let sent = git::command(&here)
            .args(["push", "--quiet", &url, "main"])
            .output()
            .expect("git");
        let said = String::from_utf8_lossy(&sent.stderr).into_owned();
        assert!(!sent.status.success() && said.contains("gitmodules"), "{said}");

        let published = publish(&context, &url).expect("published");
        let left_out: Vec<_> = published.left_out.iter().map(|event| event.path.as_str()).collect();
        assert_eq!(left_out, [forbidden.as_str(), shadowed.as_str()]);
        assert_eq!((published.events, published.refused), (2, Vec::new()));
        let kept = fs::read_to_string(here.join(refused::FILE)).expect("what was left out");
        assert!(kept.contains(&forbidden) && kept.contains(&shadowed), "{kept}");
        is_sound(&mirror.path(NAME));
        assert_eq!(
            tip(mirror.path(NAME).to_str().expect("a path")),
            tip(here.to_str().expect("a path"))
        );
    }
    let expected = ["first-1", "first-2", "last-1", "last-2"].map(|id| format!("events/f/2026-01-10/{id}.json"));
    assert_eq!(events(&mirror.path(NAME)), expected);
    // Nothing of them is left, and nothing is rewritten again.
    let context = context(&here, true);
    commit(&context, "f", &["e-9"]);
    let published = publish(&context, &url).expect("published");
    assert_eq!((published.events, published.left_out), (1, Vec::new()));
}

#[test]
fn commits_of_others_and_a_feed_with_a_name_of_git_go_together() {
    let mirror = strict_mirror();
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path().join("context");
    let url = mirror.url(NAME);
    {
        let context = context(&here, true);
        commit(&context, "f", &["e-0"]);
        publish(&context, &url).expect("published");
    }
    let theirs = mirror.path(NAME);
    let theirs = theirs.to_str().expect("a path");
    someone_commits(theirs, &[("README.md", Some("by hand"))]);
    commit_as_before(&here, "gitmod~1", "e-1", &[]);
    let context = context(&here, true);
    commit(&context, "f", &["e-2"]);
    let published = publish(&context, &url).expect("published");
    assert_eq!(
        (published.events, published.left_out.len(), published.rebased),
        (1, 1, 1)
    );
    assert_eq!(events(&here).len(), 2);
    assert_eq!(tip(theirs), tip(here.to_str().expect("a path")));
    is_sound(&mirror.path(NAME));
}
