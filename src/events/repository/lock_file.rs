//! PURE: `.crp/lock.json`, the sign of life of an instance. It is advisory: no instance is blocked.
//!
//! ```json
//! {"instance_id":"0b8a…","started_at":"2026-01-10T12:00:00.000Z","last_heartbeat":"2026-01-10T12:05:00.000Z"}
//! ```
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::uuid;

/// Path in the repository.
pub const PATH: &str = ".crp/lock.json";
/// Age up to which a heartbeat shows an active instance.
pub const FRESH: SignedDuration = SignedDuration::from_secs(60);
/// Interval between heartbeats.
pub const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(30);

/// Content of a lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// A UUID, new for each process.
    pub instance_id: String,
    /// Start of the instance.
    pub started_at: Timestamp,
    /// Time of the last heartbeat.
    pub last_heartbeat: Timestamp,
}

/// State of a lock file, as seen by an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockState {
    /// No other instance is active.
    Free,
    /// Another instance had a heartbeat less than [`FRESH`] ago.
    Other(Lock),
    /// The file cannot be parsed, and will be replaced.
    Unreadable,
}

impl Lock {
    /// Creates the lock of an instance that starts now, from 128 random bits.
    pub fn new(random: u128, now: Timestamp) -> Self {
        Lock {
            instance_id: uuid::version_4(random),
            started_at: now,
            last_heartbeat: now,
        }
    }

    /// Returns this lock with a heartbeat at `now`.
    pub fn alive(&self, now: Timestamp) -> Self {
        Lock {
            last_heartbeat: now,
            ..self.clone()
        }
    }

    /// Bytes of the file.
    pub fn to_file(&self) -> Vec<u8> {
        let text = format!(
            "{{\n  \"instance_id\": \"{}\",\n  \"started_at\": \"{:.3}\",\n  \"last_heartbeat\": \"{:.3}\"\n}}\n",
            self.instance_id, self.started_at, self.last_heartbeat
        );
        text.into_bytes()
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "instance {} (started {:.0}, last alive {:.0})",
            self.instance_id, self.started_at, self.last_heartbeat
        )
    }
}

/// Returns the state of `file` (`None` if absent), as seen by the instance `own` at `now`.
pub fn lock_state(file: Option<&[u8]>, own: &Lock, now: Timestamp) -> LockState {
    let Some(bytes) = file else {
        return LockState::Free;
    };
    match serde_json::from_slice::<Lock>(bytes) {
        Ok(lock) if !is_uuid(&lock.instance_id) => LockState::Unreadable,
        // A heartbeat from a clock ahead of ours counts, too.
        Ok(lock) if lock.instance_id != own.instance_id && now.duration_since(lock.last_heartbeat) < FRESH => {
            LockState::Other(lock)
        }
        Ok(_) => LockState::Free,
        Err(_) => LockState::Unreadable,
    }
}

/// Returns the id of the instance if the heartbeat file records its end.
pub fn ended(file: &[u8]) -> Option<String> {
    let lock = serde_json::from_slice::<Lock>(file).ok()?;
    (lock.last_heartbeat == Timestamp::UNIX_EPOCH).then_some(lock.instance_id)
}

/// Checks the form of a UUID, because the id is shown in warnings.
fn is_uuid(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn the_form_of_an_id_is_checked() {
        let id = uuid::version_4(7);
        assert!(is_uuid(&id) && !is_uuid("x") && !is_uuid(&id.replace('f', "\u{1b}").replace('0', "\n")));
    }

    #[test]
    fn an_instance_that_has_ended_is_known() {
        let lock = Lock::new(1, at(1000));
        assert_eq!(ended(&lock.to_file()), None);
        assert_eq!(
            ended(&lock.alive(Timestamp::UNIX_EPOCH).to_file()),
            Some(lock.instance_id)
        );
        assert_eq!(ended(b"{"), None);
    }

    #[test]
    fn another_instance_is_reported_while_its_heartbeat_is_fresh() {
        let (own, other) = (Lock::new(1, at(1000)), Lock::new(2, at(500)).alive(at(1000)));
        let file = other.to_file();
        assert_eq!(lock_state(None, &own, at(1000)), LockState::Free);
        assert_eq!(lock_state(Some(&file), &own, at(1059)), LockState::Other(other.clone()));
        assert_eq!(lock_state(Some(&file), &own, at(900)), LockState::Other(other.clone()));
        assert_eq!(lock_state(Some(&file), &own, at(1060)), LockState::Free);
        assert_eq!(lock_state(Some(&own.to_file()), &own, at(1000)), LockState::Free);
        for unreadable in [&b""[..], b"{", b"[]", b"{\"instance_id\":\"\\u001b[31m\",\"started_at\":\"2026-01-10T12:00:00Z\",\"last_heartbeat\":\"2026-01-10T12:00:00Z\"}"] {
            assert_eq!(lock_state(Some(unreadable), &own, at(1000)), LockState::Unreadable);
        }
        assert!(
            String::from_utf8(file)
                .expect("text")
                .contains("\"1970-01-01T00:16:40.000Z\"")
        );
    }
}
