//! Printing that never aborts a command. The print macros of std panic if the disk is full or the reader has gone.
use std::{
    fmt::Arguments,
    io::{self, ErrorKind, Write},
    path::Path,
    sync::OnceLock,
};

use serde::Serialize;

use super::{
    report::{Exit, Failure},
    verbosity::Verbosity,
};

/// The first error of standard output.
static LOST: OnceLock<String> = OnceLock::new();
/// Amount of output, once the command line was read.
static VERBOSITY: OnceLock<Verbosity> = OnceLock::new();
/// True if stdout is for people, and `-q` suppresses it.
static SILENT: OnceLock<bool> = OnceLock::new();

/// Sets the amount of output of this process. With `is_data`, stdout was asked for by name, such as JSON or a script, so that
/// `-q` does not suppress it.
pub(super) fn set_verbosity(verbosity: Verbosity, is_data: bool) {
    VERBOSITY.get_or_init(|| verbosity);
    SILENT.get_or_init(|| verbosity.is_quiet() && !is_data);
}

/// Returns the amount of output of this process.
pub(super) fn verbosity() -> Verbosity {
    VERBOSITY.get().copied().unwrap_or_default()
}

/// Replaces the macro of std in all of `cli`.
macro_rules! print {
    ($($words:tt)*) => { $crate::cli::output::say(format_args!($($words)*)) };
}

/// Replaces the macro of std in all of `cli`.
macro_rules! println {
    () => { $crate::cli::output::say(format_args!("\n")) };
    ($($words:tt)*) => { $crate::cli::output::say(format_args!("{}\n", format_args!($($words)*))) };
}

/// Replaces the macro of std in all of `cli`.
macro_rules! eprint {
    ($($words:tt)*) => { $crate::cli::output::complain(format_args!($($words)*)) };
}

/// Replaces the macro of std in all of `cli`.
macro_rules! eprintln {
    ($($words:tt)*) => { $crate::cli::output::complain(format_args!("{}\n", format_args!($($words)*))) };
}

/// Writes to stdout, and remembers an error. A closed pipe is not an error.
pub(crate) fn say(words: Arguments<'_>) {
    said(|stdout| stdout.write_fmt(words));
}

/// Writes a warning to stderr, unless `-q` is given.
pub(super) fn warn(text: &str) {
    if !verbosity().is_quiet() {
        complain(format_args!("{text}\n"));
    }
}

/// Writes a report to stdout as a line of JSON. Among several repositories, its first key is `repository`.
pub(super) fn say_json(report: &impl Serialize, repository: Option<&Path>) {
    let report = serde_json::to_string(report).expect("a report is always JSON");
    say(format_args!("{}\n", of_repository(&report, repository)));
}

/// Adds the key `repository` to a JSON object with at least one other key.
fn of_repository(object: &str, repository: Option<&Path>) -> String {
    match repository {
        None => object.to_owned(),
        Some(path) => {
            let path = serde_json::Value::from(path.display().to_string());
            format!("{{\"repository\":{path},{}", &object[1..])
        }
    }
}

/// Writes bytes that need not be UTF-8.
pub(super) fn say_bytes(bytes: &[u8]) {
    said(|stdout| stdout.write_all(bytes));
}

fn said(write: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>) {
    if SILENT.get() == Some(&true) {
        return;
    }
    let mut stdout = io::stdout().lock();
    if let Err(error) = write(&mut stdout).and_then(|()| stdout.flush())
        && error.kind() != ErrorKind::BrokenPipe
    {
        LOST.get_or_init(|| error.to_string());
    }
}

/// Writes to stderr. A failure cannot be reported anywhere.
pub(crate) fn complain(words: Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(words);
}

/// Writes bytes that need not be UTF-8 to stderr.
pub(super) fn complain_bytes(bytes: &[u8]) {
    let _ = io::stderr().lock().write_all(bytes);
}

/// Returns the exit code of a command, or an error if its output was lost.
pub(super) fn check_stdout(exit: Exit) -> Result<Exit, Failure> {
    match LOST.get() {
        Some(error) if exit == Exit::Done => Err(Failure::new(
            Exit::Failed,
            format!("cannot write to the standard output: {error}"),
        )
        .hint("the command succeeded; only its output is lost")),
        _ => Ok(exit),
    }
}

/// Returns a count with its noun, which is in the plural unless the count is 1.
pub(super) fn counted(count: u64, noun: &str) -> String {
    match noun.strip_suffix('y') {
        _ if count == 1 => format!("{count} {noun}"),
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{count} {stem}ies"),
        _ if noun.ends_with("sh") || noun.ends_with("ch") => format!("{count} {noun}es"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noun_is_in_the_plural_unless_the_count_is_one() {
        let nouns = [
            (0, "line"),
            (1, "entry"),
            (2, "entry"),
            (3, "push"),
            (2, "branch"),
            (2, "day"),
            (2, "key"),
        ];
        let shown = nouns.map(|(count, noun)| counted(count, noun));
        let plurals = [
            "0 lines",
            "1 entry",
            "2 entries",
            "3 pushes",
            "2 branches",
            "2 days",
            "2 keys",
        ];
        assert_eq!(shown, plurals);
    }

    #[test]
    fn a_report_among_several_repositories_names_its_own_first() {
        let report = r#"{"pending":0}"#;
        assert_eq!(of_repository(report, None), report);
        let named = of_repository(report, Some(Path::new("/srv/a \"b\".git")));
        assert_eq!(named, r#"{"repository":"/srv/a \"b\".git","pending":0}"#);
    }
}
