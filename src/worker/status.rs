//! How a repository stands, as its files tell: the mirror is not asked, and nothing is written.
use std::{collections::BTreeMap, path::Path};

use bstr::{BString, ByteSlice};
use durable::storage::Disk;
use gix::ObjectId;
use jiff::Timestamp;
use serde::Serialize;

use super::{Memory, RunError, Stargate, run::broken::broken, watermarks::JudgedWatermark};
use crate::{
    config::Config,
    journal::{self, Backlog, intent},
    mirror::Grouping,
    refs::LocalRefs,
};

/// How a repository stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepositoryStatus {
    /// Entries that are to be mirrored.
    pub pending: u64,
    /// Entries that can never be mirrored.
    pub failed: u64,
    /// Entries that are not to be mirrored, by configuration.
    pub skipped: u64,
    /// When the oldest pending entry was made.
    pub oldest_pending: Option<Timestamp>,
    /// How many seconds ago that was.
    pub oldest_pending_age_s: Option<i64>,
    /// Pushes that began, and of which it is not known yet whether they were accepted.
    pub intents: usize,
    /// Lines of the journal that are no entries.
    pub problems: u64,
    /// The mirror of the last push, without secrets, if nothing went wrong since.
    pub remote: Option<String>,
    /// When the refs of both sides were compared last.
    pub compared_at: Option<Timestamp>,
    /// What was missing for a push in the last cycle: it was `local-only`.
    pub missing: Option<String>,
    /// The comparison of both sides, where the last one failed.
    pub comparison: Option<ComparisonStatus>,
    /// Watermarks on the mirror that were found to be false, until their namespaces are in order.
    pub watermarks: Vec<WatermarkStatus>,
    /// Why what the worker remembers is not known.
    pub forgotten: Option<String>,
    /// Groups with pending entries, by name.
    pub groups: Vec<GroupStatus>,
    /// What cannot be mirrored as it is: it cannot be read, or its object is missing or damaged.
    pub broken: Vec<BrokenRef>,
    /// Symbolic refs whose target does not exist: what the mirror has of them stays.
    pub dangling: Vec<BrokenRef>,
}

/// A ref that cannot be mirrored as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BrokenRef {
    /// None where a file cannot be read that may hold any ref.
    #[serde(rename = "ref")]
    pub name: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

/// How a group of refs stands that go together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupStatus {
    /// The namespace, or the ref that is a group of its own.
    pub group: String,
    /// Its pending entries.
    pub pending: usize,
    /// When the oldest of them was made.
    pub oldest_pending: Timestamp,
    /// Cycles that failed since the newest of them was made.
    pub attempts: u32,
    /// Why the last one failed.
    pub reason: Option<String>,
    /// When it is tried again at the latest.
    pub next_try: Option<Timestamp>,
}

/// A comparison of the refs of both sides that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComparisonStatus {
    /// Cycles that failed at it, in a row.
    pub attempts: u32,
    /// Why the last one did.
    pub reason: String,
    /// When it is made again at the latest.
    pub next_try: Option<Timestamp>,
}

/// A watermark that was found to be false.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WatermarkStatus {
    /// The namespace.
    pub namespace: String,
    /// Where the watermark was found.
    pub found_at: String,
    /// Where it stands now; none when it was deleted.
    pub stands_at: Option<String>,
    /// Where the ledger stands on the mirror; none when there is none.
    pub ledger: Option<String>,
    /// Whether it was set back to what the ledger covers.
    pub set_back: bool,
}

fn watermarks(memory: &Memory) -> Vec<WatermarkStatus> {
    let was_false = |(namespace, judged): (&String, &JudgedWatermark)| {
        let seen = judged.was_false.as_ref()?;
        Some(WatermarkStatus {
            namespace: namespace.clone(),
            found_at: seen.watermark.clone(),
            stands_at: judged.watermark.clone(),
            ledger: judged.ledger.clone(),
            set_back: seen.set_back,
        })
    };
    memory.watermarks.iter().filter_map(was_false).collect()
}

impl RepositoryStatus {
    /// Whether everything is mirrored, as far as is known.
    pub fn is_settled(&self) -> bool {
        self.pending + self.failed == 0
            && self.comparison.is_none()
            && self.watermarks.iter().all(|watermark| watermark.set_back)
    }
}

/// Reads how the repository at `git_dir` stands.
///
/// # Errors
/// The repository cannot be opened, or its configuration, the journal or the intents cannot be read.
pub fn status(git_dir: &Path, now: Timestamp) -> Result<RepositoryStatus, RunError> {
    let configuration = |error| RunError::Unreadable(git_dir.to_owned(), error);
    let unreadable = |error| RunError::Read(git_dir.to_owned(), error);
    let stargate = Stargate::open(git_dir)?;
    let config = Config::load(git_dir).map_err(configuration)?;
    let local = stargate.mirrored_refs(&config.refs);
    let backlog = Backlog::load(&Disk, git_dir).map_err(unreadable)?;
    let intents = intent::list(&Disk, git_dir).map_err(unreadable)?;
    let read = Memory::read(&git_dir.join(journal::FOLDER));
    let forgotten = read.as_ref().err().map(ToString::to_string);
    let memory = read.unwrap_or_default();
    let grouping = Grouping::new(local.aliases(), &config.refs);
    let settled = memory.mirror.as_ref().map(|mirror| mirror.advertisement().refs);
    let refs = RefsStanding::new(&local, &settled.unwrap_or_default(), &stargate);
    Ok(RepositoryStatus {
        broken: refs.broken,
        dangling: refs.dangling,
        forgotten,
        ..standing(&backlog, &memory, &grouping, intents.len(), now)
    })
}

/// How the mirrored refs of a repository stand, whatever the mirror has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefsStanding {
    /// How many can be read.
    pub known: usize,
    /// What cannot be read, or names an object that is missing or damaged.
    pub broken: Vec<BrokenRef>,
    /// Symbolic refs whose target does not exist.
    pub dangling: Vec<BrokenRef>,
}

/// Reads every mirrored ref of the repository at `git_dir`, and looks for the objects that they name.
///
/// # Errors
/// The repository cannot be opened, or its configuration cannot be read.
pub fn refs_standing(git_dir: &Path) -> Result<RefsStanding, RunError> {
    let configuration = |error| RunError::Unreadable(git_dir.to_owned(), error);
    let stargate = Stargate::open(git_dir)?;
    let config = Config::load(git_dir).map_err(configuration)?;
    let local = stargate.mirrored_refs(&config.refs);
    Ok(RefsStanding::new(&local, &BTreeMap::new(), &stargate))
}

impl RefsStanding {
    /// Objects of refs that are as in `settled` are not looked for.
    fn new(local: &LocalRefs, settled: &BTreeMap<BString, ObjectId>, stargate: &Stargate) -> Self {
        let broken = broken(local, settled, stargate).into_iter().map(|broken| BrokenRef {
            name: broken.name.map(|name| name.to_string()),
            reason: broken.reason,
        });
        let dangling = local.dangling().map(|(name, target)| BrokenRef {
            name: Some(name.to_string()),
            reason: format!("{target} does not exist"),
        });
        RefsStanding {
            known: local.known().len(),
            broken: broken.collect(),
            dangling: dangling.collect(),
        }
    }
}

fn standing(
    backlog: &Backlog,
    memory: &Memory,
    grouping: &Grouping,
    intents: usize,
    now: Timestamp,
) -> RepositoryStatus {
    let mut groups: BTreeMap<String, GroupStatus> = BTreeMap::new();
    for located in &backlog.pending {
        let entry = &located.entry;
        let label = grouping.label(entry.update.name.as_bstr()).to_string();
        let backoff = memory.backoffs.get(&label);
        let group = groups.entry(label.clone()).or_insert_with(|| GroupStatus {
            group: label,
            pending: 0,
            oldest_pending: entry.timestamp,
            attempts: backoff.map_or(0, |backoff| backoff.attempts),
            reason: backoff.map(|backoff| backoff.reason.clone()),
            next_try: backoff.and_then(|backoff| Timestamp::from_second(backoff.next_try).ok()),
        });
        group.pending += 1;
        group.oldest_pending = group.oldest_pending.min(entry.timestamp);
    }
    let oldest = groups.values().map(|group| group.oldest_pending).min();
    let mirror = memory.mirror.as_ref();
    RepositoryStatus {
        pending: backlog.counts.pending,
        failed: backlog.counts.failed,
        skipped: backlog.counts.skipped,
        oldest_pending: oldest,
        oldest_pending_age_s: oldest.map(|oldest| now.duration_since(oldest).as_secs().max(0)),
        intents,
        problems: backlog.problem_count,
        remote: mirror.map(|mirror| mirror.remote().to_owned()),
        compared_at: mirror
            .map(|mirror| mirror.reconciled_at())
            .filter(|at| *at > Timestamp::UNIX_EPOCH),
        missing: memory.missing.clone(),
        comparison: memory.comparison.as_ref().map(|failed| ComparisonStatus {
            attempts: failed.attempts,
            reason: failed.reason.clone(),
            next_try: Timestamp::from_second(failed.next_try).ok(),
        }),
        watermarks: watermarks(memory),
        forgotten: None,
        groups: groups.into_values().collect(),
        broken: Vec::new(),
        dangling: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        journal::{Item, Reader},
        worker::Backoff,
    };

    fn line(number: u8, name: &str, status: &str) -> String {
        let (old, new) = ("0".repeat(40), "a1".repeat(20));
        format!(
            "{{\"entry_id\":\"01JBAXF5Z8J8M7R2TK7G9QW3{number:02}\",\"timestamp\":\"2025-10-26T12:34:{number:02}.000Z\",\
             \"event\":\"ref_update\",\"ref\":\"{name}\",\"old_oid\":\"{old}\",\"new_oid\":\"{new}\",\"pusher\":null,\
             \"repo\":null,\"source\":\"post-receive\",\"status\":{status},\"meta\":null}}\n"
        )
    }

    #[test]
    fn groups_have_their_refs_their_ages_and_their_troubles() {
        let journal = [
            line(10, "refs/kv/main", "\"done\"   "),
            line(20, "refs/kv/main", "\"pending\""),
            line(30, "refs/kv-index/main", "\"pending\""),
            line(40, "refs/heads/x", "\"pending\""),
            line(50, "refs/kv/gone", "\"failed\" "),
            "no entry\n".to_owned(),
        ]
        .concat();
        let items: Vec<std::io::Result<Item>> = Reader::new(journal.as_bytes(), 0).collect();
        let backlog = Backlog::collect(items.into_iter()).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2025-10-26T12:36:00Z");
        let backoff = Backoff::after(None, "hook declined", "newest", now);
        let memory = Memory {
            backoffs: [("main".to_owned(), backoff)].into(),
            ..Default::default()
        };
        let status = standing(&backlog, &memory, &Grouping::default(), 1, now);
        assert_eq!(
            (status.pending, status.failed, status.problems, status.intents),
            (3, 1, 1, 1)
        );
        assert_eq!(status.oldest_pending, Some(at("2025-10-26T12:34:20Z")));
        assert_eq!((status.oldest_pending_age_s, status.remote), (Some(100), None));
        let group =
            |name: &str, pending, oldest: &str, attempts, reason: Option<&str>, next_try: Option<&str>| GroupStatus {
                group: name.into(),
                pending,
                oldest_pending: at(oldest),
                attempts,
                reason: reason.map(Into::into),
                next_try: next_try.map(at),
            };
        let expected = [
            group(
                "main",
                2,
                "2025-10-26T12:34:20Z",
                1,
                Some("hook declined"),
                Some("2025-10-26T12:36:30Z"),
            ),
            group("refs/heads/x", 1, "2025-10-26T12:34:40Z", 0, None, None),
        ];
        assert_eq!(status.groups, expected);
    }
}
