//! PURE: the configuration of a stream. A stream that may lose or change messages is refused.
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

/// Time for which the stream recognises a message that is sent again by its `Nats-Msg-Id`.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// No limit.
const UNLIMITED: i64 = -1;

/// Returns the configuration of a new stream.
pub fn new(stream: &str, replicas: usize) -> Config {
    Config {
        name: stream.to_owned(),
        description: Some("feeds and events of a relay (stargate-mirror)".into()),
        subjects: subjects(stream),
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        max_bytes: UNLIMITED,
        max_messages: UNLIMITED,
        max_messages_per_subject: UNLIMITED,
        max_consumers: UNLIMITED as i32,
        storage: StorageType::File,
        num_replicas: replicas,
        duplicate_window: DUPLICATE_WINDOW,
        deny_delete: true,
        deny_purge: true,
        ..Config::default()
    }
}

fn subjects(stream: &str) -> Vec<String> {
    ["event", "feed"].map(|kind| format!("{stream}.{kind}.*")).into()
}

/// Checks that a stream keeps all messages, in their order.
///
/// # Errors
/// The first setting that does not allow this, and its right value.
pub fn check(config: &Config, replicas: Option<usize>) -> Result<(), String> {
    let is_unlimited = |limit: i64| limit <= 0;
    let mut found = config.subjects.clone();
    found.sort();
    let expected = subjects(&config.name);
    let rules = [
        (
            found == expected,
            format!("subjects must be {}", expected.join(" and ")),
        ),
        (
            config.retention == RetentionPolicy::Limits,
            "retention must be limits".into(),
        ),
        (config.storage == StorageType::File, "storage must be file".into()),
        (config.max_age.is_zero(), "max_age must be 0".into()),
        (
            config.discard == DiscardPolicy::New
                || (is_unlimited(config.max_bytes) && is_unlimited(config.max_messages)),
            "discard must be new, because max_bytes or max_msgs is set".into(),
        ),
        (
            is_unlimited(config.max_messages_per_subject),
            "max_msgs_per_subject must be unlimited".into(),
        ),
        (
            config.deny_delete && config.deny_purge,
            "deny_delete and deny_purge must be true".into(),
        ),
        (!config.no_ack, "no_ack must be false".into()),
        (
            config.mirror.is_none() && config.sources.as_ref().is_none_or(Vec::is_empty),
            "it must be neither a mirror nor have sources".into(),
        ),
        (
            replicas.is_none_or(|replicas| replicas == config.num_replicas),
            format!(
                "it has {} replicas; leave out --replicas, or change the stream",
                config.num_replicas
            ),
        ),
    ];
    let wrong = rules.into_iter().find(|(is_right, _)| !is_right);
    wrong.map_or(Ok(()), |(_, rule)| Err(rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_may_lose_messages_is_refused() {
        let good = new("s", 3);
        assert_eq!(check(&good, None), Ok(()));
        assert_eq!(check(&good, Some(3)), Ok(()));
        type Change = fn(&mut Config);
        let changes: [(&str, Change); 9] = [
            ("subjects", |config| config.subjects.push("s.x".into())),
            ("retention", |config| config.retention = RetentionPolicy::WorkQueue),
            ("storage", |config| config.storage = StorageType::Memory),
            ("max_age", |config| config.max_age = Duration::from_secs(1)),
            ("discard", |config| {
                config.discard = DiscardPolicy::Old;
                config.max_bytes = 1 << 30;
            }),
            ("max_msgs_per_subject", |config| config.max_messages_per_subject = 1),
            ("deny_delete", |config| config.deny_purge = false),
            ("no_ack", |config| config.no_ack = true),
            ("sources", |config| config.sources = Some(vec![Default::default()])),
        ];
        for (setting, change) in changes {
            let mut config = good.clone();
            change(&mut config);
            let problem = check(&config, None).expect_err(setting);
            assert!(problem.contains(setting), "{problem}");
        }
        assert!(check(&good, Some(1)).is_err());
    }
}
