//! Printing that never ends a command halfway: the macros of std panic where a disk is full or nobody reads.
use std::{
    fmt::Arguments,
    io::{self, ErrorKind, Write},
    sync::OnceLock,
};

use super::report::{Exit, Failure};

/// The first error of the standard output.
static LOST: OnceLock<String> = OnceLock::new();

/// Instead of std's, in all of `cli`.
macro_rules! print {
    ($($words:tt)*) => { $crate::cli::output::say(format_args!($($words)*)) };
}

/// Instead of std's, in all of `cli`.
macro_rules! println {
    () => { $crate::cli::output::say(format_args!("\n")) };
    ($($words:tt)*) => { $crate::cli::output::say(format_args!("{}\n", format_args!($($words)*))) };
}

/// Instead of std's, in all of `cli`.
macro_rules! eprint {
    ($($words:tt)*) => { $crate::cli::output::complain(format_args!($($words)*)) };
}

/// Instead of std's, in all of `cli`.
macro_rules! eprintln {
    ($($words:tt)*) => { $crate::cli::output::complain(format_args!("{}\n", format_args!($($words)*))) };
}

/// Writes to stdout, and remembers what went wrong. That nobody reads any more is fine.
pub(crate) fn say(words: Arguments<'_>) {
    said(|stdout| stdout.write_fmt(words));
}

/// The same for what need not be UTF-8.
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

/// Writes to stderr. Where that fails there is nobody to tell.
pub(crate) fn complain(words: Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(words);
}

/// The exit of a command, unless what it said is lost: then a script must not take it for told.
pub(super) fn all_told(exit: Exit) -> Result<Exit, Failure> {
    match LOST.get() {
        Some(error) if exit == Exit::Done => Err(Failure::new(
            Exit::Failed,
            format!("cannot write to the standard output: {error}"),
        )
        .hint("what was asked for is done; only the words about it are lost")),
        _ => Ok(exit),
    }
}
