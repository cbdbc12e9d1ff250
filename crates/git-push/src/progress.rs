//! Text of a server for a person: sideband 2, and the words of errors.
//!
//! It is untrusted: control characters and terminal escapes are dropped, length and number of lines are bounded.
use std::collections::VecDeque;

/// The longest line that is kept, in bytes; the rest of it is dropped.
pub const MAX_LINE: usize = 1000;

/// The most lines of one answer; later ones are dropped.
pub const MAX_LINES: usize = 1000;

/// Collects lines of progress out of pieces that may be cut anywhere. Lines end with LF or CR.
#[derive(Debug, Default)]
pub(super) struct Progress {
    partial: Vec<u8>,
    lines: VecDeque<String>,
    /// How many lines there were.
    count: usize,
}

impl Progress {
    /// Takes the next piece.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' || byte == b'\r' {
                self.end_line();
            } else if self.partial.len() < MAX_LINE {
                self.partial.push(byte);
            }
        }
    }

    /// Ends a line that was begun.
    pub(super) fn end_line(&mut self) {
        let line = cleaned(&self.partial);
        self.partial.clear();
        if !line.trim().is_empty() && self.count < MAX_LINES {
            self.count += 1;
            self.lines.push_back(line);
        }
    }

    /// The lines that came since the last call.
    pub(super) fn take(&mut self) -> impl Iterator<Item = String> + '_ {
        self.lines.drain(..)
    }
}

/// `text` without control characters and terminal escapes (ECMA-48 control sequences and strings).
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

/// Skips what follows an ESC.
fn skip_escape(chars: &mut std::str::Chars<'_>) {
    match chars.next() {
        Some('[') => skip_control_sequence(chars),
        // A string (device control, operating system command, …) goes up to BEL or ESC \.
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
    fn lines_end_with_carriage_return_or_line_feed_wherever_they_are_cut() {
        let text = b"Resolving: 50%\rResolving: 100%, done.\r\nhook says no\nunfinished";
        for at in 0..text.len() {
            let mut progress = Progress::default();
            progress.feed(&text[..at]);
            progress.feed(&text[at..]);
            progress.end_line();
            let lines: Vec<_> = progress.take().collect();
            assert_eq!(
                lines,
                ["Resolving: 50%", "Resolving: 100%, done.", "hook says no", "unfinished"]
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
