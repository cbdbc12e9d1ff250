//! A context repository: batches compared with a model, git's view of it, and crashes at each step.

use std::{cell::Cell, collections::BTreeMap, fs, io, path::Path};

use crate::context::{context, event, events, has, is_sound, now, options, simple};
use durable::{clock::SystemClock, storage::Disk};
use stargate_mirror::{
    event::{Event, Layout},
    events::{Context, Kind, Options, lock_file::Lock, refused},
};
use support::{
    faulty::{Fault, Faulty},
    git::git,
};

fn clock() -> SystemClock {
    SystemClock::default()
}

fn packs(folder: &Path) -> usize {
    let files = fs::read_dir(folder.join("objects/pack")).expect("packs").flatten();
    files
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "pack"))
        .count()
}

#[test]
fn a_new_repository_is_whole_and_explains_itself() {
    for bare in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("context");
        context(&path, bare);
        is_sound(&path);
        let files = git(&path, &["ls-tree", "-r", "--name-only", "main"]);
        let expected = [
            ".crp/manifest.json",
            "README.md",
            "events/.gitkeep",
            "policy/policy.json",
            "snapshots/.gitkeep",
        ];
        assert_eq!(files.lines().collect::<Vec<_>>(), expected);
        assert_eq!(git(&path, &["rev-list", "--count", "main"]), "1");
        let manifest = git(&path, &["show", "main:.crp/manifest.json"]);
        assert!(
            manifest.contains("\"version\": \"0.1\"") && manifest.contains("2026-01-10T12:00:00.000Z"),
            "{manifest}"
        );
        let policy = git(&path, &["show", "main:policy/policy.json"]);
        let policy: serde_json::Value = serde_json::from_str(&policy).expect("JSON");
        assert_eq!(policy, serde_json::json!({"members": [], "permissions": {}}));
        assert_eq!(git(&path, &["rev-parse", "--is-bare-repository"]), bare.to_string());
        // The second call opens it.
        let tip = git(&path, &["rev-parse", "main"]);
        context(&path, bare);
        assert_eq!(git(&path, &["rev-parse", "main"]), tip);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}

#[test]
fn what_is_no_context_repository_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |path: &Path, options: &Options| {
        let error = Context::init(path, options, now()).expect_err("refused");
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        error.to_string()
    };
    let full = folder.path().join("full");
    fs::create_dir(&full).expect("a folder");
    fs::write(full.join("mine"), "mine").expect("a file");
    assert!(refused(&full, &options(true)).contains("neither empty nor a context repository"));
    assert!(refused(&full.join("mine"), &options(true)).contains("is a file"));
    let other = folder.path().join("other");
    fs::create_dir(&other).expect("a folder");
    git(&other, &["init", "--quiet", "-b", "main", "."]);
    assert!(refused(&other, &options(true)).contains("has no branch main"));
    git(&other, &["commit", "--quiet", "--allow-empty", "-m", "mine"]);
    assert!(refused(&other, &options(true)).contains("not a context repository"));
    let missing = Context::open(&folder.path().join("missing"), &options(true), now()).expect_err("nothing there");
    assert_eq!(missing.kind(), Kind::Refused);
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    context(&empty, true);
    let elsewhere = Options {
        branch: "elsewhere".into(),
        ..options(true)
    };
    assert!(refused(&empty, &elsewhere).contains("has no branch elsewhere"));
    assert_eq!(fs::read(full.join("mine")).expect("still there"), b"mine");
}

#[test]
fn events_are_committed_once() {
    for bare in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("context");
        let context = context(&path, bare);
        let batch = [
            event("general", "e-1", "2026-01-10T12:00:00Z", "one"),
            event("general", "e-2", "2026-01-11T12:00:00Z", "two"),
            event("random", "e-1", "2026-01-10T12:00:00Z", "other feed"),
            event("general", "e-1", "2026-01-10T12:00:00Z", "one"),
        ];
        let committed = context.commit(&batch, &clock()).expect("committed");
        assert_eq!((committed.added, committed.known, committed.refused.len()), (3, 1, 0));
        is_sound(&path);
        assert_eq!(
            git(&path, &["rev-parse", "main"]),
            committed.commit.expect("a commit").to_string()
        );
        let told = git(&path, &["log", "-1", "--format=%s|%an <%ae>"]);
        assert_eq!(told, "Mirror: add 3 event(s)|A U Thor <author@example.com>");
        let changed = git(&path, &["diff", "--name-status", "main~1", "main"]);
        let expected = [
            "A\t.crp/lock.json",
            "A\tevents/general/2026-01-10/e-1.json",
            "A\tevents/general/2026-01-11/e-2.json",
            "A\tevents/random/2026-01-10/e-1.json",
        ];
        assert_eq!(changed.lines().collect::<Vec<_>>(), expected);
        let lock: Lock = serde_json::from_str(&git(&path, &["show", "main:.crp/lock.json"])).expect("a lock");
        assert!(lock.last_heartbeat >= lock.started_at && lock.instance_id.len() == 36);
        let again = context.commit(&batch, &clock()).expect("known");
        assert_eq!((again.commit, again.added, again.known), (None, 0, 4));
        if !bare {
            let file = fs::read(path.join("events/general/2026-01-10/e-1.json")).expect("a file");
            assert_eq!(file, batch[0].to_file());
        }
        assert!(has(&path, &batch[0]));
        assert!(!has(&path, &event("general", "e-1", "2026-01-10T12:00:00Z", "other")));
        assert_eq!(
            git(&path, &["count-objects"]).split(' ').next(),
            Some("0"),
            "everything is packed"
        );
    }
}

fn snapshot(id: &str, text: &str) -> Event {
    let file = event("f", id, "2026-01-10T12:00:00Z", text).to_json();
    let json = String::from_utf8(file).expect("text");
    Event::parse(json.replace("\"message\"", "\"snapshot\"").as_bytes()).expect("an event")
}

#[test]
fn snapshots_are_markdown_too_if_asked_for_and_nothing_is_overwritten() {
    for bare in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("context");
        let plain = context(&path, bare);
        plain.commit(&[snapshot("before", "one")], &clock()).expect("committed");
        plain.end().expect("ended");
        let options = Options {
            snapshots: true,
            ..options(bare)
        };
        let context = Context::open(&path, &options, now()).expect("opened");
        let batch = [
            snapshot("before", "one"),
            snapshot("e-1", "# One"),
            simple("f", "e-2"),
            snapshot("e-1", "# One"),
            snapshot("e-1", "# Another"),
        ];
        let committed = context.commit(&batch, &clock()).expect("committed");
        assert_eq!((committed.added, committed.known, committed.refused.len()), (2, 2, 1));
        is_sound(&path);
        let files = git(&path, &["ls-tree", "-r", "--name-only", "main", "snapshots"]);
        assert_eq!(
            files.lines().collect::<Vec<_>>(),
            ["snapshots/.gitkeep", "snapshots/f/2026-01-10/e-1.md"]
        );
        let file = git(&path, &["show", "main:snapshots/f/2026-01-10/e-1.md"]);
        assert!(
            file.starts_with("---\nevent_id: \"e-1\"\n") && file.ends_with("---\n\n# One"),
            "{file}"
        );
        if !bare {
            fs::create_dir_all(path.join("snapshots/f/2026-01-10")).expect("a folder");
            fs::write(path.join("snapshots/f/2026-01-10/e-3.md"), "mine").expect("a file");
            git(&path, &["add", "snapshots"]);
            git(&path, &["commit", "--quiet", "-m", "by hand"]);
            let committed = context
                .commit(&[snapshot("e-3", "three")], &clock())
                .expect("committed");
            assert_eq!(committed.added, 1);
            is_sound(&path);
            assert_eq!(git(&path, &["show", "main:snapshots/f/2026-01-10/e-3.md"]), "mine");
        }
    }
}

#[test]
fn another_content_under_an_id_is_refused_and_kept_once() {
    for bare in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("context");
        let context = context(&path, bare);
        let batch = [
            event("f", "e-1", "2026-01-10T12:00:00Z", "one"),
            event("f", "e-1", "2026-01-10T12:00:00Z", "another in the batch"),
            event("f", "e-2", "2026-01-10T12:00:00Z", "two"),
        ];
        let committed = context.commit(&batch, &clock()).expect("committed");
        assert_eq!((committed.added, committed.refused.len()), (2, 1));
        assert_eq!(committed.refused[0].path, "events/f/2026-01-10/e-1.json");
        // Opened again, so that known ids come from the repository.
        let context = Context::open(&path, &options(bare), now()).expect("opened");
        let batch = [
            event("f", "e-1", "2026-01-10T12:00:00Z", "another"),
            event("f", "e-1", "2026-03-01T12:00:00Z", "one, on another day"),
            event("f", "e-3", "2026-01-10T12:00:00Z", "a good one"),
        ];
        for _ in 0..2 {
            let committed = context.commit(&batch, &clock()).expect("committed");
            assert_eq!(committed.refused.len(), 2);
        }
        is_sound(&path);
        assert_eq!(events(&path).len(), 3);
        let kept = fs::read_to_string(path.join(refused::FILE)).expect("what was refused");
        let kept: Vec<serde_json::Value> = kept
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let texts: Vec<_> = kept
            .iter()
            .map(|line| line["event"]["payload"]["text"].as_str().expect("text"))
            .collect();
        assert_eq!(texts, ["another in the batch", "another", "one, on another day"]);
    }
}

#[test]
fn layouts_may_change_and_events_stay_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("context");
    context(&path, true)
        .commit(&[simple("f", "e-1")], &clock())
        .expect("committed");
    let hourly = Options {
        layout: Layout::Hour,
        ..options(true)
    };
    let context = Context::open(&path, &hourly, now()).expect("opened");
    let committed = context
        .commit(&[simple("f", "e-1"), simple("f", "e-2")], &clock())
        .expect("committed");
    assert_eq!((committed.added, committed.known), (1, 1));
    let daily = Context::open(&path, &options(true), now()).expect("opened");
    let again = daily.commit(
        &[simple("f", "e-2"), event("f", "e-2", "2026-01-10T13:00:00Z", "x")],
        &clock(),
    );
    let again = again.expect("nothing to do");
    assert_eq!((again.commit, again.known, again.refused.len()), (None, 1, 1));
    assert_eq!(
        events(&path),
        ["events/f/2026-01-10/12/e-2.json", "events/f/2026-01-10/e-1.json"]
    );
    is_sound(&path);
}

#[test]
fn a_feed_is_resumed_at_its_newest_event() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("context");
    let context = context(&path, true);
    assert_eq!(context.resume_point("f", now()).expect("readable"), None);
    let batch = [
        event("f", "late", "2026-01-09T23:59:59Z", ""),
        event("f", "b", "2026-01-10T11:00:00Z", ""),
        event("f", "a", "2026-01-10T11:00:00Z", ""),
        event("f", "c", "2026-01-10T10:00:00Z", ""),
        event("f", "future", "2099-01-01T00:00:00Z", ""),
        event("g", "other", "2026-01-10T11:30:00Z", ""),
    ];
    context.commit(&batch, &clock()).expect("committed");
    let point = context.resume_point("f", now()).expect("readable").expect("events");
    assert_eq!(
        (point.ts.to_string().as_str(), point.event_id.as_str()),
        ("2026-01-10T11:00:00Z", "b")
    );
    let hourly = Options {
        layout: Layout::Hour,
        ..options(true)
    };
    let context = Context::open(&path, &hourly, now()).expect("opened");
    context
        .commit(&[event("f", "d", "2026-01-10T11:30:00Z", "")], &clock())
        .expect("committed");
    let point = context.resume_point("f", now()).expect("readable").expect("events");
    assert_eq!(point.event_id, "d");
}

#[test]
fn random_batches_are_what_a_model_says() {
    for (seed, bare) in [(1, true), (2, false), (3, true)] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("context");
        let mut repository = context(&path, bare);
        let mut random = Random(seed);
        let mut model: BTreeMap<(String, String), Event> = BTreeMap::new();
        for round in 0..60 {
            let batches: Vec<Vec<Event>> = (0..1 + random.below(4))
                .map(|_| (0..random.below(12)).map(|_| any(&mut random)).collect())
                .collect();
            let before = packs(&repository.git_dir());
            let together: Vec<_> = batches.iter().map(Vec::as_slice).collect();
            let landed = repository.commit_each(&together, &clock()).expect("committed");
            assert!(packs(&repository.git_dir()) <= before + 1, "they share a pack");
            assert_eq!(landed.len(), batches.len());
            for (batch, committed) in batches.iter().zip(landed) {
                let (mut added, mut known, mut refused) = (0, 0, 0);
                for event in batch {
                    let key = (event.feed_id().to_owned(), event.event_id().to_owned());
                    match model.get(&key) {
                        None => {
                            model.insert(key, event.clone());
                            added += 1;
                        }
                        Some(there) if there == event => known += 1,
                        Some(_) => refused += 1,
                    }
                }
                assert_eq!(
                    (committed.added, committed.known, committed.refused.len()),
                    (added, known, refused),
                    "{round}"
                );
                let message = committed
                    .commit
                    .map(|commit| git(&path, &["log", "-1", "--format=%s", &commit.to_string()]));
                assert_eq!(message, (added > 0).then(|| format!("Mirror: add {added} event(s)")));
            }
            if random.below(7) == 0 {
                repository = Context::open(&path, &options(bare), now()).expect("opened");
            }
        }
        is_sound(&path);
        let mut expected: Vec<_> = model.values().map(|event| event.path(Layout::Day)).collect();
        expected.sort();
        let mut found = events(&path);
        found.sort();
        assert_eq!(found, expected);
        for event in model.values() {
            let file = git(&path, &["show", &format!("main:{}", event.path(Layout::Day))]);
            assert_eq!(format!("{file}\n").into_bytes(), event.to_file());
        }
        let removed = git(&path, &["log", "--diff-filter=MDRT", "--format=%h", "--", "events"]);
        assert_eq!(removed, "", "events are only ever added");
    }
}

#[test]
fn packs_stay_few_and_large_folders_small() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("context");
    let context = context(&path, true);
    let many: Vec<Event> = (0..2000)
        .map(|number| simple("f", &format!("{:08x}", number * 2_654_435_761_u64)))
        .collect();
    context.commit(&many, &clock()).expect("committed");
    for batch in 0..200 {
        let batch = [
            simple("f", &format!("x-{batch}")),
            simple("f", &format!("{:08x}-y", batch * 40_503)),
        ];
        context.commit(&batch, &clock()).expect("committed");
        assert!(packs(&path) <= 40, "{} packs", packs(&path));
    }
    is_sound(&path);
    assert_eq!(events(&path).len(), 2400);
    // 200 trees of more than 100 KB, which git would compress to 50 KB each.
    let size: u64 = fs::read_dir(path.join("objects/pack"))
        .expect("packs")
        .flatten()
        .map(|file| file.metadata().expect("a file").len())
        .sum();
    assert!(size < 2_500_000, "{size}");
    let context = Context::open(&path, &options(true), now()).expect("opened");
    assert_eq!(context.commit(&many, &clock()).expect("known").known, 2000);
}

#[test]
fn what_somebody_has_put_into_the_work_tree_is_not_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("context");
    let context = context(&path, false);
    let batch = [simple("f", "e-1"), simple("f", "e-2")];
    let mine = path.join("events/f/2026-01-10/e-2.json");
    fs::create_dir_all(mine.parent().expect("a folder")).expect("a folder");
    fs::write(&mine, "mine").expect("a file");
    let tip = git(&path, &["rev-parse", "main"]);
    let error = context.commit(&batch, &clock()).expect_err("occupied");
    assert_eq!(error.kind(), Kind::Refused);
    assert!(
        error.to_string().contains("events/f/2026-01-10/e-2.json") && error.hint().is_some(),
        "{error}"
    );
    assert_eq!(fs::read(&mine).expect("still there"), b"mine");
    assert!(
        !path.join("events/f/2026-01-10/e-1.json").exists(),
        "nothing is half done"
    );
    assert_eq!(git(&path, &["rev-parse", "main"]), tip);
    // Other changes are unaffected and stay.
    fs::remove_file(&mine).expect("removed");
    fs::write(path.join("README.md"), "mine").expect("a file");
    fs::write(path.join("staged"), "mine").expect("a file");
    git(&path, &["add", "staged"]);
    assert_eq!(context.commit(&batch, &clock()).expect("committed").added, 2);
    assert_eq!(git(&path, &["status", "--porcelain"]), " M README.md\nA  staged");
    // The same file, added by hand, is unaffected, too.
    fs::create_dir_all(path.join("events/f/2026-01-11")).expect("a folder");
    let third = event("f", "e-3", "2026-01-11T00:00:00Z", "");
    fs::write(path.join(third.path(Layout::Day)), third.to_file()).expect("a file");
    assert_eq!(context.commit(&[third], &clock()).expect("committed").added, 1);
    git(&path, &["switch", "--quiet", "-c", "elsewhere"]);
    let error = context
        .commit(&[simple("f", "e-4")], &clock())
        .expect_err("another branch");
    assert!(error.to_string().contains("is on elsewhere"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_link_in_the_work_tree_does_not_lead_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("context");
    let context = context(&path, false);
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).expect("a folder");
    std::os::unix::fs::symlink(&outside, path.join("events/f")).expect("a link");
    let error = context
        .commit(&[simple("f", "e-1")], &clock())
        .expect_err("a link in the way");
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert_eq!(fs::read_dir(&outside).expect("a folder").count(), 0);
}

#[test]
fn a_crash_at_any_point_leaves_the_old_or_the_new_commit() {
    for bare in [true, false] {
        let mut crashes = 0;
        for kill_at in 0.. {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("context");
            context(&path, bare)
                .commit(&[simple("f", "e-0")], &clock())
                .expect("committed");
            let old = git(&path, &["rev-parse", "main"]);
            let (armed, base) = (Cell::new(false), Cell::new(0));
            let fault = |_: &str, call: usize| {
                if !armed.get() {
                    base.set(call + 1);
                    return None;
                }
                // A dead process does nothing more.
                (call >= base.get() + kill_at).then_some(Fault::Error(io::ErrorKind::Other))
            };
            let disk = Faulty::new(&fault);
            let repository = Context::open_on(&disk, &path, &options(bare), now()).expect("opened");
            armed.set(true);
            let batch = [simple("f", "e-1"), simple("g", "e-2")];
            let result = repository.commit_each(&[&batch[..1], &batch[1..]], &clock());
            drop(repository);
            let done = result.is_ok() && disk.calls.borrow().len() < base.get() + kill_at;
            // Another process continues.
            let repository = Context::open_on(Disk, &path, &options(bare), now()).expect("opened");
            let tip = git(&path, &["rev-parse", "main"]);
            let files = events(&path).len();
            assert_eq!(files, if tip == old { 1 } else { 3 }, "at {kill_at}");
            git(&path, &["fsck", "--strict"]);
            let next = [batch[0].clone(), batch[1].clone(), simple("f", "e-3")];
            let committed = repository
                .commit(&next, &clock())
                .unwrap_or_else(|error| panic!("at {kill_at}: {error}"));
            assert_eq!(committed.added + committed.known, 3, "at {kill_at}");
            assert_eq!(events(&path).len(), 4, "at {kill_at}");
            is_sound(&path);
            if done {
                break;
            }
            crashes += 1;
        }
        assert!(crashes >= if bare { 12 } else { 25 }, "{crashes} points");
    }
}

#[test]
fn a_lock_of_git_is_waited_for_with_the_next_batch() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("context");
    let context = context(&path, true);
    let lock = path.join("refs/heads/main.lock");
    fs::write(&lock, "").expect("a lock");
    let error = context.commit(&[simple("f", "e-1")], &clock()).expect_err("locked");
    assert_eq!(error.kind(), Kind::Busy, "{error}");
    fs::remove_file(&lock).expect("removed");
    assert_eq!(
        context
            .commit(&[simple("f", "e-1")], &clock())
            .expect("committed")
            .added,
        1
    );
    is_sound(&path);
}

#[test]
fn threads_and_processes_share_a_repository() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("context");
    let first = context(&path, true);
    let second = Context::open(&path, &options(true), now()).expect("opened");
    assert!(second.other_instance().is_some(), "the first one is alive");
    std::thread::scope(|scope| {
        for (number, context) in [first.clone(), first, second.clone(), second].into_iter().enumerate() {
            scope.spawn(move || {
                for event in 0..25 {
                    let batch = [
                        simple("f", &format!("{number}-{event}")),
                        simple("f", &format!("common-{event}")),
                    ];
                    context.commit(&batch, &clock()).expect("committed");
                }
            });
        }
    });
    assert_eq!(events(&path).len(), 125);
    is_sound(&path);
}

#[test]
fn a_remote_is_configured_without_its_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("context");
    let context = context(&path, true);
    for (url, kept) in [
        ("https://me:canary@example.com/o/r.git", "https://example.com/o/r.git"),
        (
            "https://canary@example.com/o/other.git",
            "https://example.com/o/other.git",
        ),
        (
            "https://example.com/o/%C3%BC.git?access_token=canary",
            "https://example.com/o/%C3%BC.git",
        ),
        ("http://example.com/o/r.git#canary", "http://example.com/o/r.git"),
        ("ssh://git:canary@example.com/o/r.git", "ssh://git@example.com/o/r.git"),
        (
            "ssh://git@example.com:2222/~/r.git",
            "ssh://git@example.com:2222/~/r.git",
        ),
        ("git@example.com:o/r.git", "git@example.com:o/r.git"),
        ("git://me:canary@example.com/o/r.git", "git://example.com/o/r.git"),
        ("git://canary@example.com/r.git", "git://example.com/r.git"),
    ] {
        context.set_origin(url, &clock()).expect("set");
        assert_eq!(git(&path, &["remote", "get-url", "origin"]), kept);
        let config = fs::read_to_string(path.join("config")).expect("configuration");
        assert!(!config.contains("canary"), "{config}");
    }
    assert_eq!(
        git(&path, &["config", "--get-all", "remote.origin.fetch"]),
        "+refs/heads/*:refs/remotes/origin/*"
    );
}

fn any(random: &mut Random) -> Event {
    let feed = ["general", "random"][random.below(2)];
    let day = 1 + random.below(3);
    let text = ["one", "two"][usize::from(random.below(8) == 0)];
    // The day usually follows from the id.
    let id = random.below(120);
    let day = if random.below(10) == 0 { day } else { 1 + id % 3 };
    event(feed, &format!("e-{id}"), &format!("2026-01-{day:02}T10:00:00Z"), text)
}

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}
