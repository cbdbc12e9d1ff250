//! Words of a server that a caller keeps: the lines of sideband 2 that came with a report or an error.
//!
//! A server explains a rejection there: which file is too large, which rule is violated, which URL unblocks the push. The
//! text is untrusted and may be long. The first lines name the rule and the last ones say what to do, so both are kept.
use super::progress::{MAX_LINE, cleaned};

/// Limit of kept lines.
pub const MAX_WORDS: usize = 20;
/// Limit of the bytes of all kept lines.
pub const MAX_WORDS_BYTES: usize = 4096;
/// Number of lines that are kept from the beginning if there are too many. The rest is kept from the end.
const FIRST: usize = 6;

/// Returns these lines without control characters, terminal escapes, user info in URLs, empty lines and git's progress
/// meters. Of too many lines, the first and the last ones are kept, and a line between them says how many are left out.
pub fn kept_words(lines: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<String> {
    let lines = lines.into_iter().map(|line| {
        let line = line.as_ref();
        without_user_info(&cleaned(&line[..line.len().min(MAX_LINE)]))
    });
    let words: Vec<String> = lines
        .filter(|line| !line.trim().is_empty() && !is_progress_meter(line))
        .collect();
    bounded(words)
}

fn bounded(words: Vec<String>) -> Vec<String> {
    if words.len() <= MAX_WORDS && bytes(&words) <= MAX_WORDS_BYTES {
        return words;
    }
    // One line and some bytes are for the line that says how many are left out.
    let mut room = MAX_WORDS_BYTES - 32;
    let first = taken(words.iter().take(FIRST), &mut room, MAX_WORDS_BYTES / 2);
    let left = words.len() - first;
    let last = taken(words.iter().rev().take(left.min(MAX_WORDS - 1 - first)), &mut room, 0);
    let mut kept = words[..first].to_vec();
    if left > last {
        kept.push(format!("[{} lines left out]", left - last));
    }
    kept.extend_from_slice(&words[words.len() - last..]);
    kept
}

/// Returns the number of these lines that fit into `room` bytes, if `reserved` of them must stay free. Reduces `room`.
fn taken<'a>(lines: impl Iterator<Item = &'a String>, room: &mut usize, reserved: usize) -> usize {
    let fits = |line: &&String| match room.checked_sub(line.len()) {
        Some(rest) if rest >= reserved => {
            *room = rest;
            true
        }
        _ => false,
    };
    lines.take_while(fits).count()
}

fn bytes(words: &[String]) -> usize {
    words.iter().map(String::len).sum()
}

/// Returns true for git's progress meters, such as `Resolving deltas: 100% (5/5), done.`
fn is_progress_meter(line: &str) -> bool {
    let Some((_, rest)) = line.split_once("% (") else {
        return false;
    };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let Some(rest) = rest.strip_prefix('/') else {
        return false;
    };
    let total = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    total.len() < rest.len() && total.starts_with(')')
}

/// Returns a line without the user names and passwords of its URLs.
fn without_user_info(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (scheme, after) = rest.split_at(at + "://".len());
        out.push_str(scheme);
        let end = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>');
        let authority = &after[..after.find(end).unwrap_or(after.len())];
        rest = &after[authority.rfind('@').map_or(0, |at| at + 1)..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_escapes_empty_lines_and_progress_are_dropped() {
        let lines = [
            "Resolving deltas: 100% (5/5), completed with 3 local objects.",
            "\u{1b}[31merror: GH006\u{1b}[0m: no\u{7}        ",
            "  ",
            "",
            "File a is 100% (almost) too large",
        ];
        assert_eq!(
            kept_words(lines),
            ["error: GH006: no", "File a is 100% (almost) too large"]
        );
    }

    #[test]
    fn user_info_is_dropped_from_every_url() {
        for (line, expected) in [
            ("see https://user:secret@h/r?x=1", "see https://h/r?x=1"),
            (
                "'ssh://git@h:22/r' and https://tok@en@h",
                "'ssh://h:22/r' and https://h",
            ),
            ("https://h/a@b", "https://h/a@b"),
            ("mail me@example.com://", "mail me@example.com://"),
        ] {
            assert_eq!(kept_words([line]), [expected]);
        }
    }

    #[test]
    fn of_too_many_lines_the_first_and_the_last_are_kept() {
        let lines: Vec<String> = (1..=50).map(|number| format!("line {number}")).collect();
        let kept = kept_words(&lines);
        assert_eq!(kept.len(), MAX_WORDS);
        assert_eq!(kept[..FIRST], lines[..FIRST]);
        assert_eq!(kept[FIRST], "[31 lines left out]");
        assert_eq!(kept[FIRST + 1..], lines[37..]);
        let exact = &lines[..MAX_WORDS];
        assert_eq!(kept_words(exact), exact);
    }

    #[test]
    fn long_lines_leave_room_for_the_last_one() {
        let long: Vec<String> = (0..20).map(|_| "x".repeat(2 * MAX_LINE)).collect();
        let kept = kept_words(long.iter().map(String::as_str).chain(["https://h/unblock"]));
        assert!(bytes(&kept) <= MAX_WORDS_BYTES, "{}", bytes(&kept));
        assert_eq!(kept.last().unwrap(), "https://h/unblock");
        assert!(kept[0].starts_with("xxx") && kept.iter().any(|line| line.ends_with("lines left out]")));
        assert!(kept.iter().all(|line| line.len() <= MAX_LINE));
    }

    #[test]
    fn kept_words_stay_the_same_if_they_are_kept_again() {
        for count in [3, 20, 21, 200] {
            let lines: Vec<String> = (0..count)
                .map(|number| format!("{number} {}", "y".repeat(300)))
                .collect();
            let once = kept_words(&lines);
            assert_eq!(kept_words(&once), once, "{count}");
        }
    }
}
