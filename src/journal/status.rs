//! Bytes of a status in a line.
use std::fmt;

use bstr::ByteSlice;

use super::entry::Status;

/// Width of a status in bytes.
pub(super) const WIDTH: usize = 9;
/// Bytes before a status. No JSON string contains them, because quotes in strings are escaped.
pub(super) const KEY: &[u8] = br#","status":"#;
const ALL: [Status; 4] = [Status::Pending, Status::Done, Status::Failed, Status::Skipped];

impl Status {
    /// Returns the JSON value, padded with spaces to the common width.
    pub(super) fn padded(self) -> &'static [u8; WIDTH] {
        match self {
            Status::Pending => b"\"pending\"",
            Status::Done => b"\"done\"   ",
            Status::Failed => b"\"failed\" ",
            Status::Skipped => b"\"skipped\"",
        }
    }
}

/// The word of the JSON value.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Status::Pending => "pending",
            Status::Done => "done",
            Status::Failed => "failed",
            Status::Skipped => "skipped",
        })
    }
}

/// Returns the line with the status pending, if its status mixes two known ones because an overwrite was interrupted or is
/// in progress.
pub(super) fn unmixed(line: &[u8]) -> Option<Vec<u8>> {
    let start = line.find(KEY)? + KEY.len();
    let status: &[u8; WIDTH] = line.get(start..start + WIDTH)?.try_into().ok()?;
    if !is_mix(status) {
        return None;
    }
    let mut line = line.to_vec();
    line[start..start + WIDTH].copy_from_slice(Status::Pending.padded());
    Some(line)
}

/// Returns true if each byte belongs to one of two statuses, and the whole is not a status.
fn is_mix(status: &[u8; WIDTH]) -> bool {
    let of = |one: Status, two: Status| {
        let pairs = one.padded().iter().zip(two.padded());
        status
            .iter()
            .zip(pairs)
            .all(|(byte, (one, two))| byte == one || byte == two)
    };
    let known = ALL.iter().any(|known| known.padded() == status);
    !known && ALL.iter().any(|one| ALL.iter().any(|two| of(*one, *two)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_that_of_the_line() {
        for status in ALL {
            assert_eq!(format!("{:<9}", format!("\"{status}\"")).as_bytes(), status.padded());
        }
        assert_eq!(format!("{:<7}|", Status::Done), "done   |");
    }

    #[test]
    fn every_interrupted_overwrite_is_a_mix_and_nothing_else_is() {
        for (old, new) in ALL.iter().flat_map(|old| ALL.iter().map(move |new| (old, new))) {
            for cut in 0..=WIDTH {
                let mixed: Vec<u8> = [&new.padded()[..cut], &old.padded()[cut..]].concat();
                let known = ALL.iter().any(|status| status.padded()[..] == mixed);
                assert_eq!(is_mix(&mixed.try_into().unwrap()), !known);
            }
        }
        assert!(!is_mix(b"\"waiting\""));
        assert!(!is_mix(b"\"pendinx\""));
    }

    #[test]
    fn a_status_in_the_name_of_a_ref_is_ignored() {
        let line = br#"{"ref":"refs/kv/a\",\"status\":\"donding\"","status":"donding","meta":null}"#;
        let pending = br#"{"ref":"refs/kv/a\",\"status\":\"donding\"","status":"pending","meta":null}"#;
        assert_eq!(unmixed(line).as_deref(), Some(&pending[..]));
        assert_eq!(unmixed(pending), None);
        assert_eq!(unmixed(br#"{"status""#), None);
    }
}
