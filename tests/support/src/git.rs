//! The git program, isolated from the configuration of the current user.
use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use super::executable;

/// Configuration that git has instead of the user's.
pub const GLOBAL_CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/gitconfig");

/// Environment that hides the configuration of the machine and the user from git.
pub const ISOLATED: [(&str, &str); 3] = [
    ("GIT_CONFIG_GLOBAL", GLOBAL_CONFIG),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
];

/// A command `git -C folder …`, isolated, with a fixed author.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new("git");
    let path = std::env::var_os("PATH").unwrap_or_default();
    command
        .env_clear()
        .env("PATH", path)
        .envs(ISOLATED)
        .arg("-C")
        .arg(folder);
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "A U Thor");
        command.env(format!("GIT_{who}_EMAIL"), "author@example.com");
        command.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
    }
    command
}

/// Runs git in `folder`, and returns its output without the last line feed.
///
/// # Panics
/// When git is missing or fails.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    git_with_input(folder, arguments, b"")
}

/// The same, with this standard input.
///
/// # Panics
/// When git is missing or fails.
pub fn git_with_input(folder: &Path, arguments: &[&str], input: &[u8]) -> String {
    let mut command = command(folder);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program git is needed");
    child
        .stdin
        .take()
        .expect("it is piped")
        .write_all(input)
        .expect("git reads its input");
    let Output { status, stdout, stderr } = child.wait_with_output().expect("git ends");
    assert!(
        status.success(),
        "git {arguments:?} in {}: {}",
        folder.display(),
        String::from_utf8_lossy(&stderr)
    );
    let stdout = String::from_utf8(stdout).expect("git prints UTF-8");
    stdout.trim_end_matches('\n').to_owned()
}

/// Writes a commit of one file into the repository at `folder`, and returns its id. No ref is moved.
pub fn commit(folder: &Path, parent: Option<&str>, content: &str) -> String {
    let blob = git_with_input(folder, &["hash-object", "-w", "--stdin"], content.as_bytes());
    let tree = git_with_input(folder, &["mktree"], format!("100644 blob {blob}\tfile\n").as_bytes());
    let mut arguments = vec!["commit-tree", &tree, "-m", content];
    arguments.extend(parent.iter().flat_map(|parent| ["-p", parent]));
    git(folder, &arguments)
}

/// Puts an executable hook into the repository at `folder`.
pub fn hook(folder: &Path, hook: &str, script: &str) {
    executable::script(&folder.join("hooks").join(hook), script);
}
