//! Output of `doctor`: at most 80 columns, or as many as `COLUMNS` says; colours on a terminal only. Problems come last, next
//! to the prompt.
use std::collections::BTreeMap;

use super::{
    Diagnosis,
    checks::check::{Check, Verdict},
};
use crate::cli::{environment, output::counted, text};

/// Width of a line, unless `COLUMNS` sets another one.
const WIDTH: usize = 80;
/// Width of the verdict, with the space behind it.
const INDENT: usize = 9;
/// Beginning of a hint.
const ARROW: &str = "-> ";

/// Prints one line of JSON.
pub(super) fn json(diagnosis: &Diagnosis) {
    println!(
        "{}",
        serde_json::to_string(diagnosis).expect("a diagnosis is always JSON")
    );
}

/// Prints all checks of a repository, and their number by verdict.
pub(super) fn all(checks: &[Check]) {
    let look = Look::of_stdout();
    sorted(checks).for_each(|check| print!("{}", look.check(check)));
    println!("{}", counts(checks));
}

/// Prints the path of a repository, and its warnings and problems.
pub(super) fn findings(diagnosis: &Diagnosis) {
    let look = Look::of_stdout();
    diagnosis
        .repository
        .iter()
        .for_each(|path| println!("{}:", path.display()));
    let found = sorted(&diagnosis.checks).filter(|check| check.verdict != Verdict::Ok);
    found.for_each(|check| print!("{}", look.check(check)));
    println!();
}

fn sorted(checks: &[Check]) -> impl Iterator<Item = &Check> {
    let mut sorted: Vec<&Check> = checks.iter().collect();
    sorted.sort_by_key(|check| check.verdict);
    sorted.into_iter()
}

fn counts(checks: &[Check]) -> String {
    let mut counts = BTreeMap::<Verdict, u64>::new();
    checks
        .iter()
        .for_each(|check| *counts.entry(check.verdict).or_default() += 1);
    let counted = |verdict, noun| counts.get(&verdict).map(|count| counted(*count, noun));
    let found = [
        counted(Verdict::Problem, "problem"),
        counted(Verdict::Warning, "warning"),
    ];
    let ok = counts.get(&Verdict::Ok).map(|count| format!("{count} ok"));
    found.into_iter().flatten().chain(ok).collect::<Vec<_>>().join(", ")
}

/// Look of the output.
#[derive(Debug, Clone, Copy)]
struct Look {
    width: usize,
    has_colours: bool,
}

impl Look {
    fn of_stdout() -> Self {
        let columns = environment("COLUMNS").and_then(|columns| columns.into_string().ok()?.parse().ok());
        Look {
            width: columns.unwrap_or(WIDTH).max(2 * INDENT),
            has_colours: text::may_have_colours(&std::io::stdout()),
        }
    }

    /// Returns the lines of a check.
    fn check(self, check: &Check) -> String {
        let mirror = check.mirror.as_ref().map(|mirror| format!(" {mirror}"));
        let found = format!("{}{}: {}", check.check.word(), mirror.unwrap_or_default(), check.found);
        let mut lines = wrapped(&found, self.width - INDENT).into_iter();
        let first = lines.next().unwrap_or_default();
        let mut text = format!("{} {first}\n", self.mark(check.verdict));
        lines.for_each(|line| text += &format!("{:INDENT$}{line}\n", ""));
        let hint = check
            .hint
            .iter()
            .flat_map(|hint| wrapped(hint, self.width - INDENT - ARROW.len()));
        for (number, line) in hint.enumerate() {
            let arrow = if number == 0 { ARROW } else { "" };
            text += &format!("{:INDENT$}{arrow:width$}{line}\n", "", width = ARROW.len());
        }
        text
    }

    fn mark(self, verdict: Verdict) -> String {
        let (word, colour) = match verdict {
            Verdict::Ok => ("ok      ", 32),
            Verdict::Warning => ("warning ", 33),
            Verdict::Problem => ("problem ", 31),
        };
        if self.has_colours {
            format!("\u{1b}[{colour}m{word}\u{1b}[0m")
        } else {
            word.to_owned()
        }
    }
}

/// Breaks a text into lines of at most `width` characters. A command in backquotes is not broken, so that it can be copied.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut length = usize::MAX;
    for word in words(text) {
        let size = word.chars().count();
        match lines.last_mut() {
            Some(line) if length.saturating_add(size) < width => {
                line.push(' ');
                line.push_str(&word);
                length += size + 1;
            }
            _ => {
                lines.push(word);
                length = size;
            }
        }
    }
    lines
}

/// Returns the words of a text. A command in backquotes is one word.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_open = false;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match words.last_mut().filter(|_| is_open) {
            Some(command) => {
                command.push(' ');
                command.push_str(word);
            }
            None => words.push(word.to_owned()),
        }
        is_open ^= word.matches('`').count() % 2 == 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::checks::check::Name;

    const PLAIN: Look = Look {
        width: 40,
        has_colours: false,
    };

    fn checks() -> [Check; 3] {
        let long = "the clock of this machine is ten minutes ahead";
        [
            Check::new(Name::Clock, Verdict::Warning, long)
                .hint("run `a command that is longer than any line`, then look"),
            Check::new(Name::Journal, Verdict::Problem, "a").hint("b"),
            Check::new(Name::Disk, Verdict::Ok, "c"),
        ]
    }

    #[test]
    fn lines_have_a_width_and_commands_stay_whole() {
        let [clock, ..] = checks();
        assert_eq!(
            PLAIN.check(&clock),
            "warning  clock: the clock of this\n         \
                      machine is ten minutes ahead\n         \
                      -> run\n            \
                      `a command that is longer than any line`,\n            \
                      then look\n"
        );
    }

    #[test]
    fn problems_come_last_and_are_counted_first() {
        let checks = checks();
        let order: Vec<_> = sorted(&checks).map(|check| check.check.word()).collect();
        assert_eq!(order, ["disk", "clock", "journal"]);
        assert_eq!(counts(&checks), "1 problem, 1 warning, 1 ok");
        assert_eq!(counts(&checks[2..]), "1 ok");
    }

    #[test]
    fn only_a_terminal_gets_colours() {
        let look = Look {
            has_colours: true,
            ..PLAIN
        };
        let [_, journal, _] = checks();
        assert_eq!(
            look.check(&journal),
            "\u{1b}[31mproblem \u{1b}[0m journal: a\n         -> b\n"
        );
        assert_eq!(PLAIN.check(&journal), "problem  journal: a\n         -> b\n");
    }
}
