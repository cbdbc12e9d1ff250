//! Printing that never aborts a command. The print macros of std panic if the disk is full or the reader has gone.
use std::{
    fmt::Arguments,
    io::{self, ErrorKind, Write},
    sync::OnceLock,
};

use super::report::{Exit, Failure};

/// The first error of standard output.
static LOST: OnceLock<String> = OnceLock::new();

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

/// Writes bytes that need not be UTF-8.
pub(super) fn say_bytes(bytes: &[u8]) {
    said(|stdout| stdout.write_all(bytes));
}

fn said(write: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>) {
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
        Some(stem) => format!("{count} {stem}ies"),
        None if noun.ends_with("sh") => format!("{count} {noun}es"),
        None => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noun_is_in_the_plural_unless_the_count_is_one() {
        let shown = [(0, "line"), (1, "entry"), (2, "entry"), (3, "push")].map(|(count, noun)| counted(count, noun));
        assert_eq!(shown, ["0 lines", "1 entry", "2 entries", "3 pushes"]);
    }
}
