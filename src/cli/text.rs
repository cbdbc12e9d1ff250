//! Text for a terminal: its width, wrapped lines, colours, times and names.
use std::{
    env,
    io::{IsTerminal, stdout},
};

use jiff::{SignedDuration, Timestamp};

use super::output::counted;

/// Width of a terminal that does not report one.
const DEFAULT_WIDTH: usize = 80;
/// Narrowest width to wrap for.
const NARROWEST: usize = 40;
/// Number of names that are listed without `-v`.
const MOST_NAMES: usize = 3;

/// Returns the width at which texts on stdout are wrapped: `COLUMNS`, else that of the terminal, else 80. None if stdout is
/// not a terminal, so that each text stays on one line for `grep`.
pub(super) fn width() -> Option<usize> {
    let of_environment = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let of_terminal = || {
        let size = terminal_size::terminal_size_of(stdout());
        size.map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0))
    };
    let width = of_environment.or_else(|| stdout().is_terminal().then(of_terminal));
    width.map(|width: usize| width.max(NARROWEST))
}

/// Returns the text in lines of at most `width` columns. Lines after the first are indented by `indent` spaces, which the
/// caller has printed before the first. A word that is longer than a line stays whole.
pub(super) fn wrapped(text: &str, indent: usize, width: Option<usize>) -> String {
    let Some(room) = width.map(|width| width.saturating_sub(indent).max(1)) else {
        return text.to_owned();
    };
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > room {
            lines += "\n";
            lines += &" ".repeat(indent);
            column = 0;
        } else if column > 0 {
            lines += " ";
            column += 1;
        }
        lines += word;
        column += length;
    }
    lines
}

/// Colour of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// Everything is mirrored.
    Green,
    /// Something waits.
    Yellow,
    /// Something is wrong.
    Red,
}

/// Colours on stdout, or none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint(pub(super) bool);

impl Paint {
    /// Returns colours if stdout is a terminal that knows them, and `NO_COLOR` is not set.
    pub(super) fn of_stdout() -> Self {
        Paint(may_have_colours(&stdout()))
    }

    /// Returns the text in this colour.
    pub(super) fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Red => 31,
        };
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Returns true if the stream is a terminal that understands escape sequences, as all do but those of `TERM=dumb`.
pub(super) fn understands_escapes(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Returns true if the stream is a terminal that knows colours, and `NO_COLOR` is not set.
pub(super) fn may_have_colours(stream: &impl IsTerminal) -> bool {
    understands_escapes(stream) && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Returns the time between the two in its two largest units, such as `2h 5m`, and `0s` if the clock went back.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).max(SignedDuration::ZERO).as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// Names groups: a single one by its label, several by their number and kind.
pub(super) fn named(labels: &[&str]) -> String {
    if let [only] = labels {
        return (*only).to_owned();
    }
    let all = |prefix: &str| labels.iter().all(|label| label.starts_with(prefix));
    let noun = if all("refs/tags/") {
        "tag"
    } else if all("refs/heads/") {
        "branch"
    } else if all("refs/") {
        "ref"
    } else if !labels.iter().any(|label| label.starts_with("refs/")) {
        "namespace"
    } else {
        "group"
    };
    counted(labels.len() as u64, noun)
}

/// Lists names: all of them if `all` is set, else the first few and the number of the others.
pub(super) fn listed(names: &[&str], all: bool) -> String {
    if all || names.len() <= MOST_NAMES + 1 {
        return names.join(", ");
    }
    let others = names.len() - MOST_NAMES;
    format!("{} and {others} more", names[..MOST_NAMES].join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_between_words_and_long_words_stay_whole() {
        let url = "https://git.example.com/owner/name.git";
        let text = format!("the mirror {url} does not exist");
        assert_eq!(
            wrapped(&text, 2, Some(20)),
            format!("the mirror\n  {url}\n  does not exist")
        );
        assert_eq!(wrapped(&text, 2, None), text);
        let wrapped = wrapped(&"word ".repeat(40), 4, Some(40));
        assert!(
            wrapped
                .lines()
                .skip(1)
                .all(|line| line.len() <= 40 && line.starts_with("    "))
        );
    }

    #[test]
    fn an_age_has_at_most_two_units() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let shown = [-5, 0, 59, 61, 3_600, 7_500, 90_000].map(|age_s| {
            let then = Timestamp::from_second(1_000_000 - age_s).unwrap();
            age(then, now)
        });
        assert_eq!(shown, ["0s", "0s", "59s", "1m 1s", "1h 0m", "2h 5m", "1d 1h"]);
    }

    #[test]
    fn groups_are_named_by_their_kind() {
        let shown = [
            &["refs/tags/v1"][..],
            &["refs/tags/v1", "refs/tags/v2"],
            &["refs/heads/a", "refs/heads/b"],
            &["refs/heads/a", "refs/tags/b"],
            &["main", "team/a"],
            &["main", "refs/tags/b"],
        ]
        .map(named);
        assert_eq!(
            shown,
            [
                "refs/tags/v1",
                "2 tags",
                "2 branches",
                "2 refs",
                "2 namespaces",
                "2 groups"
            ]
        );
    }

    #[test]
    fn a_long_list_is_cut() {
        let names = ["a", "b", "c", "d", "e"];
        assert_eq!(listed(&names[..4], false), "a, b, c, d");
        assert_eq!(listed(&names, false), "a, b, c and 2 more");
        assert_eq!(listed(&names, true), "a, b, c, d, e");
    }

    #[test]
    fn colours_are_left_out_unless_wanted() {
        assert_eq!(Paint(false).paint(Colour::Red, "no"), "no");
        assert_eq!(Paint(true).paint(Colour::Red, "no"), "\x1b[31mno\x1b[0m");
    }
}
