//! Files that a test writes and then runs.
//!
//! A program that is open for writing cannot be run (ETXTBSY). Tests run as threads of one process: while one of them
//! writes a program, another starts a process, which holds the open file until it runs its own program. So programs are
//! written by a separate process.
use std::{path::Path, process::Command};

/// Writes a shell script that can be run at once, and the folders above it.
pub fn script(path: &Path, text: &str) {
    const WRITE: &str = r##"mkdir -p "${1%/*}" && printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""##;
    shell(WRITE, path, text);
}

/// Replaces a program that this process has written by its copy, which can be run at once.
pub fn rewritten(path: &Path) {
    shell(r#"cp -p "$1" "$1.copy" && mv "$1.copy" "$1""#, path, "");
}

fn shell(command: &str, path: &Path, text: &str) {
    let status = Command::new("sh")
        .args(["-c", command, "sh"])
        .arg(path)
        .arg(text)
        .status();
    assert!(status.expect("sh").success(), "{} cannot be written", path.display());
}
