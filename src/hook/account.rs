//! What the hook did and what went wrong: for the log, and for the pusher.
//!
//! Both are collected, and given out when the journal is durable: talk comes last, and nothing depends on it.
use std::{
    borrow::Cow,
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use bstr::BStr;
use durable::{clock::Clock, storage::Storage};

use crate::journal::{FOLDER, create_folder};

/// The log's name in [`FOLDER`].
pub(super) const LOG: &str = "stargate-post-receive.log";
/// A log of this size is put aside, in bytes.
const MAX_LOG: u64 = 10 << 20;
/// How many logs are kept beside the current one.
const KEPT_LOGS: u32 = 3;

/// Collects what is logged and what is told.
pub(super) struct Account<C> {
    clock: C,
    log: String,
    told: String,
    /// Whether all went well; the exit code.
    pub(super) complete: bool,
}

impl<C: Clock> Account<C> {
    pub(super) fn new(clock: C) -> Self {
        Account {
            clock,
            log: String::new(),
            told: String::new(),
            complete: true,
        }
    }

    /// For the log: one line, with the time.
    pub(super) fn log(&mut self, text: &str) {
        self.log_all([text]);
    }

    /// For the log: many lines, with one time.
    pub(super) fn log_all(&mut self, texts: impl IntoIterator<Item = impl AsRef<str>>) {
        let head = format!("{:.3} [{}] ", self.clock.now(), std::process::id());
        for text in texts {
            self.log.push_str(&head);
            self.log.push_str(&escaped(text.as_ref()));
            self.log.push('\n');
        }
    }

    /// For the pusher: one line.
    pub(super) fn tell(&mut self, text: &str) {
        // Formatting into a string cannot fail.
        let _ = writeln!(self.told, "stargate: {}", escaped(text));
    }

    /// Writes the log, if there is anything to log; a failure is told. Rotates it.
    pub(super) fn write_log<S: Storage>(&mut self, storage: &S, git_dir: &Path) {
        if self.log.is_empty() {
            return;
        }
        let path = git_dir.join(FOLDER).join(LOG);
        if let Err(error) = append_to_log(storage, git_dir, &path, self.log.as_bytes()) {
            self.tell(&format!("cannot write the log {}: {error}", path.display()));
        }
    }

    /// What to tell the pusher.
    pub(super) fn into_told(self) -> String {
        self.told
    }
}

/// A name for people: without control characters, which could forge a line or drive a terminal.
pub(super) fn readable(name: &BStr) -> String {
    escaped(&name.to_string()).into_owned()
}

fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line.into()
}

fn append_to_log<S: Storage>(storage: &S, git_dir: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    create_folder(storage, git_dir)?;
    let mut file = storage.open_append(path)?;
    // The lock keeps a second process from putting aside the log that the first has just begun.
    if storage.length(&file)? >= MAX_LOG && storage.try_lock(&file)? && storage.still_names(path, &file)? {
        rotate(storage, path)?;
        file = storage.open_append(path)?;
    }
    match storage.append(&file, text)? {
        written if written == text.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

fn rotate<S: Storage>(storage: &S, path: &Path) -> io::Result<()> {
    let numbered = |number: u32| match number {
        0 => path.to_owned(),
        number => PathBuf::from(format!("{}.{number}", path.display())),
    };
    for number in (0..KEPT_LOGS).rev() {
        match storage.rename(&numbered(number), &numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use durable::{clock::SystemClock, storage::Disk};

    use super::*;

    #[test]
    fn control_characters_forge_no_line() {
        let mut account = Account::new(SystemClock::default());
        account.log("one\n2020-01-01 two\u{1b}[2J");
        assert_eq!(account.log.lines().count(), 1);
        assert!(
            account.log.ends_with("] one\\n2020-01-01 two\\u{1b}[2J\n"),
            "{}",
            account.log
        );
    }

    #[test]
    fn a_full_log_is_put_aside_and_three_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join(FOLDER).join(LOG);
        for number in 1..=5 {
            let mut account = Account::new(SystemClock::default());
            account.log(&format!("entry {number}"));
            account.write_log(&Disk, folder.path());
            assert_eq!(account.into_told(), "");
            fs::OpenOptions::new()
                .write(true)
                .open(&log)
                .unwrap()
                .set_len(MAX_LOG)
                .unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(log.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        let kept: Vec<_> = ["", ".1", ".2", ".3"]
            .iter()
            .map(|end| format!("{LOG}{end}").into())
            .collect::<Vec<std::ffi::OsString>>();
        assert_eq!(names, kept);
        assert!(fs::read_to_string(&log).unwrap().contains("entry 5"));
        assert!(
            fs::read_to_string(log.with_extension("log.3"))
                .unwrap()
                .contains("entry 2")
        );
    }
}
