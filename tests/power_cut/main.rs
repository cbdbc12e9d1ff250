//! Power cuts under a real ext4: every acknowledged push is there afterwards, and reaches the mirror.
//!
//! The Stargate is on an ext4 on a loop device over an image whose every write and flush is recorded ([`disk`]). Pushes
//! and cycles of the worker run on it. A power cut is an image with everything up to the last flush before some moment,
//! and any part of the sectors written between that flush and the moment. The image is mounted, ext4 replays its
//! journal, and the worker is started. Then every push that was acknowledged before that moment is in the journal and
//! on the mirror.
//!
//! Without any fsync (strace suppresses them) pushes are lost, which proves that the rig can fail. With git's default,
//! which does not sync loose objects, the journal has every entry, and the worker reports the missing objects.
//!
//! `POWER_CUTS=N` makes that many cuts. This needs root, `/dev/fuse` and loop devices; see `docs/power-cut.md`.
//!
//! These tests are a separate program: a namespace that another test creates while a file system is mounted here would
//! keep it mounted.
#![cfg(target_os = "linux")]
mod disk;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    time::Duration,
};

use disk::{Drive, Effect, Mounted, format, run};
use jiff::Timestamp;
use support::random::Random;
use support::stargate::{clean_command, feed, git, git_command, stderr};

const HOOK: &str = env!("CARGO_BIN_EXE_stargate-hook");
const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
const PUSHES: usize = 16;
/// The worker runs a cycle after this many pushes.
const PUSHES_OF_A_CYCLE: usize = 5;
/// The number of power cuts in the short form of the test.
const CUTS: usize = 24;
const REF: &str = "refs/kv/main";
/// One disk at a time: two of them share two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A push that git reported as successful.
struct Acknowledged {
    /// The number of effects that had reached the disk at that time.
    at: usize,
    commit: String,
}

/// Effects on a disk and the acknowledgements given meanwhile.
struct Recording {
    folder: tempfile::TempDir,
    /// The disk before the first push.
    base: Vec<u8>,
    effects: Vec<Effect>,
    acknowledged: Vec<Acknowledged>,
    /// The mirror after each cycle, and the number of effects on the disk before it.
    mirrors: Vec<(usize, PathBuf)>,
}

/// Losses caused by a power cut.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lost {
    /// Acknowledged pushes that are neither in the journal nor in an intent.
    entries: usize,
    /// The mirror lacks the last acknowledged commit after a cycle.
    commit: bool,
    /// The output of that cycle, if it was incomplete.
    said: Option<String>,
}

impl Recording {
    /// Pushes to a Stargate on a new disk.
    fn make(synced: Synced) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let drive = Drive::new(folder.path().join("drive"));
        format(&drive.image());
        let place = Place(folder.path().to_owned());
        let mounted = Mounted::new(&drive.image(), &place.disk());
        place.set_up(synced);
        rustix::fs::syncfs(fs::File::open(place.disk()).expect("a folder")).expect("a disk that flushes");
        let base = {
            let mut disk = drive.disk();
            disk.effects.clear();
            disk.content.clone()
        };
        let mut acknowledged = Vec::new();
        let mut mirrors = vec![(0, place.keep_mirror(0))];
        for number in 1..=PUSHES {
            let commit = place.push(number, synced);
            let at = drive.disk().effects.len();
            acknowledged.push(Acknowledged { at, commit });
            if number % PUSHES_OF_A_CYCLE == 0 {
                place.cycle().unwrap_or_else(|said| panic!("{said}"));
                mirrors.push((at, place.keep_mirror(number)));
            }
        }
        let effects = std::mem::take(&mut drive.disk().effects);
        drop(mounted);
        Recording {
            folder,
            base,
            effects,
            acknowledged,
            mirrors,
        }
    }

    /// Cuts the power after `at` effects. `kept` returns true for effects after the last flush that reached the disk.
    fn cut(&self, at: usize, mut kept: impl FnMut() -> bool) -> Lost {
        let done = &self.effects[..at];
        let flushed = done
            .iter()
            .rposition(|effect| matches!(effect, Effect::Flush))
            .unwrap_or(0);
        let mut content = self.base.clone();
        for (number, effect) in done.iter().enumerate() {
            if let Effect::Write { offset, bytes } = effect
                && (number < flushed || kept())
            {
                content[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
        }
        let place = Place(self.folder.path().to_owned());
        let image = self.folder.path().join("cut");
        fs::write(&image, content).expect("an image");
        let mirror = self
            .mirrors
            .iter()
            .rfind(|(before, _)| *before <= at)
            .expect("the first one");
        place.restore_mirror(&mirror.1);
        let _mounted = Mounted::new(&image, &place.disk());
        let acknowledged: Vec<_> = self.acknowledged.iter().filter(|push| push.at <= at).collect();
        place.look(&acknowledged)
    }
}

/// Syncs that reach the disk before a push is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Synced {
    /// Syncs of git with `core.fsync=committed`, and of the hook.
    Committed,
    /// Syncs of git by default, and of the hook.
    Default,
    /// Nothing.
    Nothing,
}

/// Folder that contains the disk, the mirror and the client.
struct Place(PathBuf);

impl Place {
    fn disk(&self) -> PathBuf {
        self.0.join("disk")
    }

    fn stargate(&self) -> PathBuf {
        self.0.join("disk/r.git")
    }

    fn mirror(&self) -> PathBuf {
        self.0.join("mirror.git")
    }

    fn client(&self) -> PathBuf {
        self.0.join("client")
    }

    fn set_up(&self, synced: Synced) {
        git(&self.0, ["init", "-q", "--bare", "--template=", "disk/r.git"]);
        git(&self.0, ["init", "-q", "--bare", "--template=", "mirror.git"]);
        git(&self.0, ["init", "-q", "client"]);
        for (key, value) in [("gc.auto", "0"), ("receive.autogc", "false")] {
            git(&self.stargate(), ["config", key, value]);
        }
        if synced == Synced::Committed {
            git(&self.stargate(), ["config", "core.fsync", "committed"]);
        }
        // The program itself would fill the disk.
        for hook in ["pre-receive", "post-receive"] {
            support::git::hook(&self.stargate(), hook, &format!("exec '{HOOK}' {hook}"));
        }
    }

    fn push(&self, number: usize, synced: Synced) -> String {
        fs::write(self.client().join("file"), number.to_string()).expect("a file");
        git(&self.client(), ["add", "file"]);
        git(&self.client(), ["commit", "-q", "-m", &number.to_string()]);
        let mut push = match synced {
            Synced::Committed | Synced::Default => git_command(&self.client()),
            Synced::Nothing => {
                let mut strace = clean_command("strace");
                let unsynced = "inject=fsync,fdatasync,sync_file_range,syncfs,sync,msync:retval=0";
                strace
                    .args(["-f", "-qq", "-o", "/dev/null", "-e", unsynced, "git"])
                    .current_dir(self.client());
                strace
            }
        };
        let index = format!("HEAD:refs/kv-index/{number}");
        push.args(["push", "-q", "../disk/r.git", &format!("HEAD:{REF}"), &index]);
        let output = feed(push, "");
        assert!(output.status.success(), "{}", stderr(&output));
        git(&self.client(), ["rev-parse", "HEAD"])
    }

    /// Runs a cycle of the worker, and returns its output if it was incomplete.
    fn cycle(&self) -> Result<(), String> {
        let mut command = clean_command(PROGRAM);
        command
            .args(["run", "--json", "--repo"])
            .arg(self.stargate())
            .arg("--remote")
            .arg(self.mirror());
        let output = feed(command, "");
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output)),
        }
    }

    fn keep_mirror(&self, number: usize) -> PathBuf {
        let kept = self.0.join(format!("mirror-{number}"));
        run(Command::new("cp").arg("-a").arg(self.mirror()).arg(&kept));
        kept
    }

    fn restore_mirror(&self, kept: &Path) {
        fs::remove_dir_all(self.mirror()).expect("a mirror");
        run(Command::new("cp").arg("-a").arg(kept).arg(self.mirror()));
    }

    /// Starts the worker after a power cut, and checks the result.
    fn look(&self, acknowledged: &[&Acknowledged]) -> Lost {
        self.make_intents_older();
        let before = self.known();
        let lost = |push: &&&Acknowledged| !before.contains(&push.commit);
        let entries = acknowledged.iter().filter(lost).count();
        let cycle = self.cycle();
        let has = |commit: &String| {
            let found = ["merge-base", "--is-ancestor", commit, REF];
            support::stargate::try_git(&self.mirror(), found).status.success()
        };
        let commit = acknowledged.last().is_some_and(|push| !has(&push.commit));
        self.check_journal();
        Lost {
            entries,
            commit,
            said: cycle.err(),
        }
    }

    /// The current journal and intents.
    fn known(&self) -> String {
        let folder = self.stargate().join(".stargate");
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        let intents = self.intents().iter().map(|path| read(path)).collect::<String>();
        read(&folder.join("mirror-journal.ndjson")) + &intents
    }

    fn intents(&self) -> Vec<PathBuf> {
        let names = fs::read_dir(self.stargate().join(".stargate/intents"));
        names
            .into_iter()
            .flatten()
            .map(|entry| entry.expect("a name").path())
            .collect()
    }

    /// A machine takes time to start, so the intents are older than the minute for which the worker leaves them alone.
    fn make_intents_older(&self) {
        for path in self.intents() {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let Ok(intent) = serde_json::from_str::<serde_json::Value>(&text) else {
                continue;
            };
            let then = Timestamp::now() - Duration::from_secs(120);
            let written = intent["timestamp"].as_str().expect("a time");
            fs::write(&path, text.replace(written, &format!("{then:.3}"))).expect("an older intent");
        }
    }

    fn check_journal(&self) {
        let journal = self.stargate().join(".stargate/mirror-journal.ndjson");
        if journal.exists() {
            let mut command = clean_command(PROGRAM);
            command.args(["check", "journal"]).arg(&journal);
            let output = feed(command, "");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
    }
}

fn cuts() -> usize {
    let given = env::var("POWER_CUTS").ok();
    given.map_or(CUTS, |given| given.parse().expect("POWER_CUTS is a number"))
}

/// Cuts the power this often: alternately at the moment of an acknowledgement and at any moment. Of the unflushed
/// sectors, none, all or a random part is kept.
fn lost_by_cuts(recording: &Recording, cuts: usize) -> Vec<Lost> {
    let mut random = Random::new(1);
    let cut = |number: usize| {
        let any = random.below(recording.effects.len() + 1);
        let acknowledged = recording.acknowledged[number / 2 % PUSHES].at;
        let at = if number.is_multiple_of(2) { acknowledged } else { any };
        match number / 2 % 3 {
            0 => recording.cut(at, || false),
            1 => recording.cut(at, || true),
            _ => recording.cut(at, || random.chance(2)),
        }
    };
    (0..cuts).map(cut).collect()
}

/// Prints a summary and returns it.
fn told(recording: &Recording, lost: &[Lost]) -> (usize, usize) {
    let flushes = recording
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Flush))
        .count();
    let entries = lost.iter().map(|lost| lost.entries).sum();
    let commits = lost.iter().filter(|lost| lost.commit).count();
    println!(
        "{} effects on the disk, {flushes} of them flushes; {} power cuts: {entries} entries lost, and {commits} times \
         the mirror lacked the last commit",
        recording.effects.len(),
        lost.len()
    );
    (entries, commits)
}

#[test]
fn a_power_cut_takes_back_nothing_that_was_acknowledged() {
    let _alone = ONE_AT_A_TIME.lock();
    let recording = Recording::make(Synced::Committed);
    let lost = lost_by_cuts(&recording, cuts());
    assert_eq!(told(&recording, &lost), (0, 0), "{lost:?}");
    assert!(
        lost.iter().all(|lost| lost.said.is_none()),
        "every cycle completes: {lost:?}"
    );
}

#[test]
fn a_power_cut_takes_back_no_entry_though_git_does_not_sync_its_objects() {
    let _alone = ONE_AT_A_TIME.lock();
    let recording = Recording::make(Synced::Default);
    let lost = lost_by_cuts(&recording, cuts().min(CUTS));
    let (entries, commits) = told(&recording, &lost);
    assert_eq!(entries, 0, "{lost:?}");
    assert!(
        commits > 0,
        "objects are lost, or core.fsync would not be worth recommending"
    );
    let silent = lost.iter().filter(|lost| lost.commit && lost.said.is_none());
    assert_eq!(silent.count(), 0, "what the mirror lacks, the cycle says: {lost:?}");
}

#[test]
fn without_fsync_the_same_cuts_lose_pushes() {
    let _alone = ONE_AT_A_TIME.lock();
    let recording = Recording::make(Synced::Nothing);
    let lost = lost_by_cuts(&recording, cuts().min(CUTS));
    let (entries, commits) = told(&recording, &lost);
    assert!(entries > 0 && commits > 0, "what is not synced is lost: {lost:?}");
}
