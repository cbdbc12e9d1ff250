//! Status of a repository, from its files alone. The mirror is not asked, and nothing is written.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use bstr::{BString, ByteSlice};
use durable::storage::Disk;
use gix::ObjectId;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    alike::without_names,
    broken::broken,
    choice::Chosen,
    entries::mirror_view,
    error::RunError,
    false_watermark::JudgedWatermark,
    head::HeadDifference,
    lock::WorkerStatus,
    memory::{DifferingRef, Memory},
    missing::Missing,
    rejection::Rejection,
    repository::Stargate,
    session::opened,
    share::read_tally,
};
use crate::{
    journal::{self, Backlog, intent},
    mirror::Grouping,
    refs::LocalRefs,
};

/// Status of a repository with regard to one mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepositoryStatus {
    /// Name of the mirror among several. Omitted if there is a single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
    /// Number of entries to be mirrored.
    pub pending: u64,
    /// Number of entries that can never be mirrored.
    pub failed: u64,
    /// Number of entries that the configuration excludes, or that concern another mirror.
    pub skipped: u64,
    /// Time of the oldest pending entry.
    pub oldest_pending: Option<Timestamp>,
    /// Age of the oldest pending entry, in seconds.
    pub oldest_pending_age_s: Option<i64>,
    /// Number of pushes that began and may or may not have been accepted.
    pub intents: usize,
    /// Number of journal lines that are not entries.
    pub problems: u64,
    /// Location of the mirror of the last push, without secrets; none after an error.
    pub remote: Option<String>,
    /// Time of the last comparison of both sides.
    pub compared_at: Option<Timestamp>,
    /// Reason why the last cycle was `local-only`, or why the first one will be.
    pub missing: Option<String>,
    /// Last comparison of both sides, if it failed.
    pub comparison: Option<ComparisonStatus>,
    /// False watermarks on the mirror, until their namespaces are mirrored again.
    pub watermarks: Vec<WatermarkStatus>,
    /// HEAD of the mirror at the last comparison, if it differs from the Stargate's. Omitted otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadDifference>,
    /// The token for the mirror, if its end is known. Omitted otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenStatus>,
    /// Reason why refs were pushed without their LFS objects. Omitted if they were carried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lfs: Option<String>,
    /// Refs whose last update is on the mirror without some of its LFS objects. Omitted if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_lfs_objects: Vec<String>,
    /// Reason why the worker's memory cannot be read.
    pub forgotten: Option<String>,
    /// Signs of life of the worker.
    pub worker: WorkerStatus,
    /// Last time at which the mirror had everything that was sent to it.
    pub last_success: Option<Timestamp>,
    /// Refs that the last comparison left to the operator, the first 50 of them.
    pub differing: Vec<DifferingRef>,
    /// Groups with pending entries, by name.
    pub groups: Vec<GroupStatus>,
    /// Refs that cannot be read, or whose object is missing or damaged.
    pub broken: Vec<BrokenRef>,
    /// Symbolic refs whose target does not exist. The mirror's refs of that name stay unchanged.
    pub dangling: Vec<BrokenRef>,
}

/// A token whose end is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenStatus {
    /// Its end.
    pub expires_at: Timestamp,
    /// Last time at which the mirror accepted it, up to an hour early.
    pub accepted_at: Option<Timestamp>,
}

/// A ref that cannot be mirrored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BrokenRef {
    /// Name of the ref; none for an unreadable file that may contain any ref.
    #[serde(rename = "ref")]
    pub name: Option<String>,
    /// Reason why it cannot be mirrored.
    pub reason: String,
}

/// Status of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupStatus {
    /// The namespace, else the ref.
    pub group: String,
    /// Number of its pending entries.
    pub pending: usize,
    /// Time of the oldest of them.
    pub oldest_pending: Timestamp,
    /// Number of failed cycles since the newest of them.
    pub attempts: u32,
    /// Reason of the last failure.
    pub reason: Option<String>,
    /// Latest time of the next retry.
    pub next_try: Option<Timestamp>,
    /// Human-readable lines of the mirror's server about the rejection. Empty if there were none.
    pub server_words: Vec<String>,
    /// Instruction, if the cause of the rejection is recognised.
    pub advice: Option<String>,
}

/// Status of a failed comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComparisonStatus {
    /// Number of failed comparisons in a row.
    pub attempts: u32,
    /// Reason of the last failure.
    pub reason: String,
    /// Latest time of the next retry.
    pub next_try: Option<Timestamp>,
}

/// A false watermark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WatermarkStatus {
    /// The namespace.
    pub namespace: String,
    /// Position at which the watermark was found.
    pub found_at: String,
    /// Current position; none if the watermark was deleted.
    pub stands_at: Option<String>,
    /// Position of the ledger on the mirror; none if there is no ledger.
    pub ledger: Option<String>,
    /// True if it was reset to a commit that the ledger contains.
    pub set_back: bool,
}

/// Returns the token with the nearest end. A mirror that the worker has left may still be remembered, so that only that of the
/// last push counts, if it is known.
fn token(memory: &Memory) -> Option<TokenStatus> {
    let current = memory.mirror.as_ref().map(|mirror| mirror.remote());
    let tokens = memory.tokens.iter();
    let tokens = tokens.filter(|(location, _)| current.is_none_or(|current| current == location.as_str()));
    let nearest = tokens
        .map(|(_, token)| token)
        .filter(|token| token.expires_at.is_some())
        .min_by_key(|token| token.expires_at)?;
    let time = |seconds| Timestamp::from_second(seconds).ok();
    Some(TokenStatus {
        expires_at: time(nearest.expires_at?)?,
        accepted_at: nearest.accepted_at.and_then(time),
    })
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
    /// Returns true if everything is mirrored, according to the local files.
    pub fn is_settled(&self) -> bool {
        self.pending + self.failed == 0
            && self.comparison.is_none()
            && self.watermarks.iter().all(|watermark| watermark.set_back)
    }
}

/// Reads the status of the repository at `git_dir`, for each mirror.
///
/// # Errors
/// The repository cannot be opened, or its configuration, the journal or the intents cannot be read.
pub fn status(git_dir: &Path, now: Timestamp) -> Result<Vec<RepositoryStatus>, RunError> {
    let (stargate, mirrors) = opened(git_dir)?;
    Chosen::each(&mirrors)
        .map(|chosen| status_of_mirror(git_dir, &stargate, &chosen, now))
        .collect()
}

/// Reads the status with regard to the mirror with this name among several, or the only one.
pub(super) fn status_of(git_dir: &Path, mirror: Option<&str>, now: Timestamp) -> Result<RepositoryStatus, RunError> {
    let (stargate, mirrors) = opened(git_dir)?;
    let mut each = Chosen::each(&mirrors);
    let chosen = each.find(|chosen| mirror.is_none_or(|mirror| chosen.name_among_several() == Some(mirror)));
    match chosen {
        Some(chosen) => status_of_mirror(git_dir, &stargate, &chosen, now),
        None => Err(RunError::NoSuchMirror(
            mirror.unwrap_or_default().to_owned(),
            mirrors.names().collect::<Vec<_>>().join(", "),
        )),
    }
}

fn status_of_mirror(
    git_dir: &Path,
    stargate: &Stargate,
    chosen: &Chosen,
    now: Timestamp,
) -> Result<RepositoryStatus, RunError> {
    let unreadable = |error| RunError::Read(git_dir.to_owned(), error);
    let config = chosen.config();
    let local = stargate.mirrored_refs(&config.refs);
    let backlog = Backlog::load(&Disk, git_dir).map_err(unreadable)?;
    let intents = intent::list(&Disk, git_dir).map_err(unreadable)?;
    let read = Memory::read(&chosen.memory_path(git_dir));
    let tally = read_tally(&git_dir.join(journal::FOLDER));
    let errors = [read.as_ref().err(), tally.as_ref().err()].into_iter().flatten();
    let forgotten = errors
        .map(ToString::to_string)
        .reduce(|one, other| format!("{one}; {other}"));
    let (memory, tally) = (read.unwrap_or_default(), tally.unwrap_or_default());
    let backlog = mirror_view(backlog, &tally, &config.name);
    let lock = chosen.lock_path(git_dir);
    let worker = WorkerStatus::read(&lock, now).map_err(|error| RunError::Lock(lock, error))?;
    let grouping = Grouping::new(local.aliases(), &config.refs);
    let settled = memory.mirror.as_ref().map(|mirror| mirror.advertisement().refs);
    let refs = RefsStanding::new(&local, &settled.unwrap_or_default(), stargate);
    let never_ran = memory.missing.is_none() && memory.location.is_none() && memory.mirror.is_none();
    let missing = (never_ran && config.remote.is_none()).then(|| Missing::Remote.to_string());
    Ok(RepositoryStatus {
        missing: memory.missing.clone().or(missing),
        mirror: chosen.name_among_several().map(str::to_owned),
        broken: refs.broken,
        dangling: refs.dangling,
        forgotten,
        ..standing(&backlog, &memory, &grouping, intents.len(), worker, now)
    })
}

/// State of a repository's mirrored refs, independent of the mirror.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefsStanding {
    /// Number of refs that can be read.
    pub known: usize,
    /// Refs that cannot be read, or whose object is missing or damaged.
    pub broken: Vec<BrokenRef>,
    /// Symbolic refs whose target does not exist.
    pub dangling: Vec<BrokenRef>,
}

/// Reads every ref that a mirror of the repository at `git_dir`, and checks that its object exists.
///
/// # Errors
/// The repository cannot be opened, or its configuration cannot be read.
pub fn refs_standing(git_dir: &Path) -> Result<RefsStanding, RunError> {
    let (stargate, mirrors) = opened(git_dir)?;
    let mut all = RefsStanding::default();
    let mut names = BTreeSet::new();
    for mirror in &mirrors.each {
        let local = stargate.mirrored_refs(&mirror.refs);
        names.extend(local.known().keys().cloned());
        all.add(RefsStanding::new(&local, &BTreeMap::new(), &stargate));
    }
    all.known = names.len();
    Ok(all)
}

impl RefsStanding {
    /// Adds the refs of another mirror, each once.
    fn add(&mut self, other: RefsStanding) {
        for (refs, others) in [(&mut self.broken, other.broken), (&mut self.dangling, other.dangling)] {
            for one in others {
                if !refs.contains(&one) {
                    refs.push(one);
                }
            }
        }
    }

    /// Skips the objects of refs that have the same id in `settled`.
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

impl GroupStatus {
    /// Returns the reason without the group's name and without object ids, which is equal for groups that failed alike.
    pub fn reason_without_names(&self) -> Option<String> {
        let reason = self.reason.as_ref()?;
        Some(without_names(reason, [self.group.as_str()]))
    }

    /// Creates the status of a group whose oldest pending entry is of this time.
    fn new(label: String, oldest_pending: Timestamp, memory: &Memory) -> Self {
        let backoff = memory.backoffs.get(&label);
        let is_its = |rejection: &&Rejection| rejection.group == label && !rejection.alone;
        let rejection = memory.rejections.iter().find(is_its);
        GroupStatus {
            group: label,
            pending: 0,
            oldest_pending,
            attempts: backoff.map_or(0, |backoff| backoff.attempts),
            reason: backoff.map(|backoff| backoff.reason.clone()),
            next_try: backoff.and_then(|backoff| Timestamp::from_second(backoff.next_try).ok()),
            server_words: rejection
                .map(|rejection| rejection.server_words.clone())
                .unwrap_or_default(),
            advice: rejection.and_then(|rejection| rejection.advice.clone()),
        }
    }
}

fn standing(
    backlog: &Backlog,
    memory: &Memory,
    grouping: &Grouping,
    intents: usize,
    worker: WorkerStatus,
    now: Timestamp,
) -> RepositoryStatus {
    let mut groups: BTreeMap<String, GroupStatus> = BTreeMap::new();
    for located in &backlog.pending {
        let entry = &located.entry;
        let label = grouping.label(entry.update.name.as_bstr()).to_string();
        let group = groups
            .entry(label.clone())
            .or_insert_with(|| GroupStatus::new(label, entry.timestamp, memory));
        group.pending += 1;
        group.oldest_pending = group.oldest_pending.min(entry.timestamp);
    }
    let oldest = groups.values().map(|group| group.oldest_pending).min();
    let mirror = memory.mirror.as_ref();
    RepositoryStatus {
        mirror: None,
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
        head: memory.head.clone(),
        token: token(memory),
        lfs: memory.lfs.clone(),
        without_lfs_objects: without_lfs_objects(memory),
        forgotten: None,
        worker,
        last_success: memory.succeeded_at.and_then(|at| Timestamp::from_second(at).ok()),
        differing: memory.differing.clone(),
        groups: groups.into_values().collect(),
        broken: Vec::new(),
        dangling: Vec::new(),
    }
}

fn without_lfs_objects(memory: &Memory) -> Vec<String> {
    let alone = memory.rejections.iter().filter(|rejection| rejection.alone);
    alone.flat_map(|rejection| rejection.refs.iter().cloned()).collect()
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
    fn groups_have_their_refs_their_ages_and_their_backoffs() {
        let journal = [
            line(10, "refs/kv/main", "\"done\"   "),
            line(20, "refs/kv/main", "\"pending\""),
            line(30, "refs/kv-chunks/main@2", "\"pending\""),
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
            rejections: vec![
                Rejection {
                    group: "refs/heads/x".into(),
                    refs: vec!["refs/heads/x".into()],
                    server_words: vec!["LFS object a is missing".into()],
                    advice: None,
                    alone: true,
                },
                Rejection {
                    group: "main".into(),
                    refs: vec!["refs/kv/main".into()],
                    server_words: vec!["no: ask".into()],
                    advice: None,
                    alone: false,
                },
            ],
            ..Default::default()
        };
        let worker = WorkerStatus::read(Path::new("/nowhere/worker.lock"), now).unwrap();
        let status = standing(&backlog, &memory, &Grouping::default(), 1, worker, now);
        assert_eq!(status.without_lfs_objects, ["refs/heads/x"]);
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
                server_words: reason.map(|_| "no: ask".to_owned()).into_iter().collect(),
                advice: None,
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
