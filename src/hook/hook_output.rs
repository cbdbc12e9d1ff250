//! Output of the hook: log lines, and messages to the pusher.
//!
//! Both are collected and written once the journal is durable. A failure to write them has no effect on the journal.
use std::{
    borrow::Cow,
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use bstr::BStr;
use durable::{
    clock::Clock,
    storage::{Folders, LockFiles, Names, WriteFiles},
};

use crate::journal::{FOLDER, create_folder};

/// The log's name in [`FOLDER`].
pub(super) const LOG: &str = "stargate-post-receive.log";
/// Size at which the log is rotated, in bytes.
const MAX_LOG: u64 = 10 << 20;
/// Maximum number of rotated logs that are kept.
const KEPT_LOGS: u32 = 3;

/// Collects log lines and messages to the pusher.
pub(super) struct HookOutput<C> {
    clock: C,
    log: String,
    messages: String,
    /// True while nothing has failed. Decides the exit code.
    pub(super) complete: bool,
}

impl<C: Clock> HookOutput<C> {
    pub(super) fn new(clock: C) -> Self {
        HookOutput {
            clock,
            log: String::new(),
            messages: String::new(),
            complete: true,
        }
    }

    /// Adds one line with the time to the log.
    pub(super) fn log(&mut self, text: &str) {
        self.log_all([text]);
    }

    /// Adds several lines with the same time to the log.
    pub(super) fn log_all(&mut self, texts: impl IntoIterator<Item = impl AsRef<str>>) {
        let head = format!("{:.3} [{}] ", self.clock.now(), std::process::id());
        for text in texts {
            self.log.push_str(&head);
            self.log.push_str(&escaped(text.as_ref()));
            self.log.push('\n');
        }
    }

    /// Adds one line to the messages for the pusher.
    pub(super) fn tell_pusher(&mut self, text: &str) {
        // Formatting into a string cannot fail.
        let _ = writeln!(self.messages, "stargate: {}", escaped(text));
    }

    /// Appends the collected lines to the log file, and rotates it when it is full. A failure becomes a message to the
    /// pusher.
    pub(super) fn write_log<S: Folders + Names + WriteFiles + LockFiles>(&mut self, storage: &S, git_dir: &Path) {
        if self.log.is_empty() {
            return;
        }
        let path = git_dir.join(FOLDER).join(LOG);
        if let Err(error) = append_to_log(storage, git_dir, &path, self.log.as_bytes()) {
            self.tell_pusher(&format!("cannot write the log {}: {error}", path.display()));
        }
    }

    /// Returns the messages to the pusher.
    pub(super) fn into_messages(self) -> String {
        self.messages
    }
}

/// Escapes control characters in a name, because they could forge a line or control a terminal.
pub(super) fn readable(name: &BStr) -> String {
    escaped(&name.to_string()).into_owned()
}

fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line.into()
}

fn append_to_log<S: Folders + Names + WriteFiles + LockFiles>(
    storage: &S,
    git_dir: &Path,
    path: &Path,
    text: &[u8],
) -> io::Result<()> {
    create_folder(storage, git_dir)?;
    let mut file = storage.open_append(path)?;
    // The lock keeps a second process from rotating the log that the first one has just started.
    if storage.length(&file)? >= MAX_LOG && storage.try_lock(&file)? && storage.still_names(path, &file)? {
        rotate(storage, path)?;
        file = storage.open_append(path)?;
    }
    match storage.append(&file, text)? {
        written if written == text.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

fn rotate<S: Names>(storage: &S, path: &Path) -> io::Result<()> {
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
    fn control_characters_cannot_forge_a_line() {
        let mut output = HookOutput::new(SystemClock::default());
        output.log("one\n2020-01-01 two\u{1b}[2J");
        assert_eq!(output.log.lines().count(), 1);
        assert!(
            output.log.ends_with("] one\\n2020-01-01 two\\u{1b}[2J\n"),
            "{}",
            output.log
        );
    }

    #[test]
    fn a_full_log_is_rotated_and_three_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join(FOLDER).join(LOG);
        for number in 1..=5 {
            let mut output = HookOutput::new(SystemClock::default());
            output.log(&format!("entry {number}"));
            output.write_log(&Disk, folder.path());
            assert_eq!(output.into_messages(), "");
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
