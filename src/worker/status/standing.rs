//! Status from what was read. PURE.
use std::collections::BTreeMap;

use bstr::ByteSlice;
use jiff::Timestamp;

use super::{ComparisonStatus, GroupStatus, RepositoryStatus, TokenStatus, WatermarkStatus};
use crate::{
    journal::Backlog,
    mirror::Grouping,
    worker::{
        backoff::Backoff, false_watermark::JudgedWatermark, lock::WorkerStatus, memory::Memory, rejection::Rejection,
    },
};

/// Returns the status without the name of the mirror, and without broken and dangling refs.
pub(super) fn standing(
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

impl GroupStatus {
    /// Creates the status of a group whose oldest pending entry is of this time.
    fn new(label: String, oldest_pending: Timestamp, memory: &Memory) -> Self {
        let backoff = memory.backoffs.get(&label);
        let is_its = |rejection: &&Rejection| rejection.group == label && !rejection.alone;
        let rejection = memory.rejections.iter().find(is_its);
        // The words belong to an earlier attempt if the last one had no answer.
        let rejection = rejection.filter(|_| !backoff.is_some_and(Backoff::is_uncertain));
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
            held: backoff.and_then(|backoff| match backoff.definite() {
                Some(definite) => Some(definite.outcome),
                None => backoff.outcome,
            }),
        }
    }
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

fn without_lfs_objects(memory: &Memory) -> Vec<String> {
    let alone = memory.rejections.iter().filter(|rejection| rejection.alone);
    alone.flat_map(|rejection| rejection.refs.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::journal::{Item, Reader};

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
        let worker = WorkerStatus::read(Path::new("/nowhere/worker.lock"), now);
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
                held: None,
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
