//! Human-readable text of a server: sideband 2, and the text of errors.
//!
//! It is untrusted. Control characters and terminal escapes are removed, and length and number of lines are bounded.
use std::collections::VecDeque;

/// Maximum length of a line in bytes. The rest of a longer one is dropped.
pub const MAX_LINE: usize = 1000;

/// Maximum number of lines of one answer. Later ones are dropped.
pub const MAX_LINES: usize = 1000;

/// Collects lines of progress out of pieces that may be cut anywhere.
///
/// A line ends with LF. A CR ends a state of it. The text that follows is the next state if it begins the same up to the
/// first digit (`Resolving deltas:  1% (1/99)`), and only the last state is kept. Any other text is another line.
#[derive(Debug, Default)]
pub(super) struct Progress {
    partial: Vec<u8>,
    /// Last state of a line that has not ended.
    state: Option<String>,
    lines: VecDeque<String>,
    /// Number of lines so far.
    count: usize,
}

impl Progress {
    /// Takes the next piece.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.end_line();
            } else if byte == b'\r' {
                self.end_state();
            } else if self.partial.len() < MAX_LINE {
                self.partial.push(byte);
            }
        }
    }

    /// Ends an incomplete line.
    pub(super) fn end_line(&mut self) {
        self.end_state();
        self.state.take().into_iter().for_each(|line| self.add(line));
    }

    fn end_state(&mut self) {
        let state = cleaned(&self.partial);
        self.partial.clear();
        if state.trim().is_empty() {
            return;
        }
        if let Some(before) = self.state.take()
            && !is_next_state(&before, &state)
        {
            self.add(before);
        }
        self.state = Some(state);
    }

    fn add(&mut self, line: String) {
        if self.count < MAX_LINES {
            self.count += 1;
            self.lines.push_back(line);
        }
    }

    /// Returns the lines since the last call.
    pub(super) fn take(&mut self) -> impl Iterator<Item = String> + '_ {
        self.lines.drain(..)
    }
}

/// Returns true if the text after a CR replaces the text before it.
fn is_next_state(before: &str, after: &str) -> bool {
    fn title(text: &str) -> &str {
        text.split(|char: char| char.is_ascii_digit())
            .next()
            .unwrap_or_default()
            .trim()
    }
    after.starts_with(before) || title(before) == title(after)
}

/// Returns `text` without control characters and terminal escapes (ECMA-48 control sequences and strings).
#[must_use]
pub fn cleaned(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_control_sequence(&mut chars),
            '\t' | '\n' | '\r' => out.push(' '),
            _ if char.is_control() => {}
            _ => out.push(char),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Skips the rest of an escape sequence after its ESC.
fn skip_escape(chars: &mut std::str::Chars<'_>) {
    match chars.next() {
        Some('[') => skip_control_sequence(chars),
        // A string (device control, operating system command, …) ends with BEL or ESC \.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(char) = chars.next() {
                if char == '\u{7}' || (char == '\u{1b}' && chars.next() == Some('\\')) {
                    return;
                }
            }
        }
        _ => {}
    }
}

/// Skips up to the final byte of a control sequence.
fn skip_control_sequence(chars: &mut std::str::Chars<'_>) {
    chars.find(|char| matches!(char, '@'..='~'));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_control_characters_are_dropped() {
        let cases = [
            ("plain", "plain"),
            ("a\u{1b}[31mred\u{1b}[0m", "ared"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link", "link"),
            ("bell\u{7} null\0 back\u{8}", "bell null back"),
            ("\u{9b}2Jcleared", "cleared"),
            ("tab\tbed", "tab bed"),
            ("cut \u{1b}[", "cut"),
            ("cut \u{1b}", "cut"),
        ];
        for (given, expected) in cases {
            assert_eq!(cleaned(given.as_bytes()), expected, "{given:?}");
        }
    }

    #[test]
    fn a_line_is_given_once_in_its_last_state_wherever_it_is_cut() {
        let text = b"Resolving:  5%\rResolving:  50%\rResolving: 100%, done.\r\nhook says no\nand why\rwait.\rwait..\r\
                     unfinished";
        for at in 0..text.len() {
            let mut progress = Progress::default();
            progress.feed(&text[..at]);
            progress.feed(&text[at..]);
            progress.end_line();
            let lines: Vec<_> = progress.take().collect();
            assert_eq!(
                lines,
                [
                    "Resolving: 100%, done.",
                    "hook says no",
                    "and why",
                    "wait..",
                    "unfinished"
                ]
            );
        }
    }

    #[test]
    fn length_and_number_of_lines_are_bounded() {
        let mut progress = Progress::default();
        progress.feed(&vec![b'x'; 10 * MAX_LINE]);
        progress.feed("\nline".repeat(2 * MAX_LINES).as_bytes());
        let lines: Vec<_> = progress.take().collect();
        assert_eq!(lines.len(), MAX_LINES);
        assert_eq!(lines[0].len(), MAX_LINE);
    }
}
