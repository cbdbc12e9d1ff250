//! A Stargate: a bare repository with our hook, real git clients, and the hook run by hand.
use std::{
    ffi::{OsStr, OsString},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::programs;

/// An id that is not null; no object has it.
pub const SOME_ID: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";
/// The null id.
pub const ZERO: &str = "0000000000000000000000000000000000000000";

/// Formats of repositories: of ids, and of the storage of refs.
pub const FORMATS: [(&str, &str); 4] = [
    ("sha1", "files"),
    ("sha256", "reftable"),
    ("sha1", "reftable"),
    ("sha256", "files"),
];
/// Two of [`FORMATS`], with each kind of ids and each kind of storage, for what takes long.
pub const EACH_FORMAT_ONCE: [(&str, &str); 2] = [FORMATS[0], FORMATS[1]];

/// A bare repository in a temporary folder, at `o/r.git`.
pub struct Stargate {
    folder: TempDir,
    /// Number of hex digits of an id.
    digits: usize,
    /// The bare repository.
    pub git_dir: PathBuf,
}

impl Stargate {
    /// Creates one without a hook.
    pub fn bare() -> Self {
        Stargate::of_format("sha1")
    }

    /// Creates one without a hook, with ids of this kind.
    pub fn of_format(format: &str) -> Self {
        Stargate::of_formats(format, "files")
    }

    /// Creates one without a hook, with ids of this kind, and refs in this storage.
    pub fn of_formats(format: &str, refs: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let git_dir = folder.path().join("o/r.git");
        git(
            folder.path(),
            ["init", "-q", "--bare", "--object-format", format, "o/r.git"],
        );
        if refs != "files" {
            git(&git_dir, ["refs", "migrate", &format!("--ref-format={refs}")]);
        }
        let digits = if format == "sha256" { 64 } else { 40 };
        Stargate {
            folder,
            digits,
            git_dir,
        }
    }

    /// Creates one whose pushes are recorded.
    pub fn with_hook() -> Self {
        let stargate = Stargate::bare();
        stargate.install();
        stargate
    }

    /// Copies it with everything else in its folder.
    pub fn copy(&self) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new("cp");
        command.arg("-a").arg(self.folder.path().join(".")).arg(folder.path());
        assert!(start(&mut command).wait().expect("it ends").success());
        let git_dir = folder.path().join("o/r.git");
        Stargate {
            folder,
            digits: self.digits,
            git_dir,
        }
    }

    /// An id that is not null; no object has it.
    pub fn some_id(&self) -> String {
        "a1".repeat(self.digits / 2)
    }

    /// The line of a hook's input that creates a ref.
    pub fn creation(&self, name: &str) -> String {
        format!("{} {} {name}\n", "0".repeat(self.digits), self.some_id())
    }

    /// Installs the hook.
    pub fn install(&self) {
        let mut command = clean_command(programs::mirror());
        let output = feed(
            {
                command.args(["install", "--repo"]).arg(&self.git_dir);
                command
            },
            "",
        );
        assert!(output.status.success(), "install: {}", stderr(&output));
    }

    /// Creates a clone that can push, with one commit with this message.
    pub fn client(&self, message: &str) -> PathBuf {
        let client = self.folder.path().join("client");
        git(
            self.folder.path(),
            [
                OsStr::new("clone"),
                OsStr::new("-q"),
                self.git_dir.as_os_str(),
                client.as_os_str(),
            ],
        );
        git(&client, ["commit", "-q", "--allow-empty", "-m", message]);
        client
    }

    /// Its temporary folder, which is removed on drop.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sets a key of the repository's configuration.
    pub fn configure(&self, key: &str, value: &str) {
        git(&self.git_dir, ["config", "--add", key, value]);
    }

    /// Returns the path of the journal.
    pub fn journal(&self) -> PathBuf {
        self.git_dir.join(".stargate/mirror-journal.ndjson")
    }

    /// The parsed lines of the journal; none if there is no journal.
    pub fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.journal()).unwrap_or_default();
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        text.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
    }

    /// The refs of the journal's entries, in order.
    pub fn recorded(&self) -> Vec<String> {
        self.lines()
            .iter()
            .map(|line| line["ref"].as_str().expect("a ref").to_owned())
            .collect()
    }

    /// The hook's log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.git_dir.join(".stargate/stargate-post-receive.log")).unwrap_or_default()
    }

    /// `post-receive` as git would run it, but by hand, with another program in front of it, unless that is empty.
    pub fn hook_behind<S: AsRef<OsStr>>(&self, wrapper: &[S]) -> Command {
        self.named_behind("post-receive", wrapper)
    }

    /// This hook as git would run it, but by hand, with another program in front of it, unless that is empty.
    pub fn named_behind<S: AsRef<OsStr>>(&self, name: &str, wrapper: &[S]) -> Command {
        let mut words: Vec<OsString> = wrapper.iter().map(|word| word.as_ref().to_owned()).collect();
        words.extend([programs::hook().into(), name.into()]);
        let mut command = clean_command(&words[0]);
        command.args(&words[1..]).current_dir(&self.git_dir).env("GIT_DIR", ".");
        command
    }

    /// The hook as git would run it, but by hand.
    pub fn hook(&self) -> Command {
        self.hook_behind::<&str>(&[])
    }

    /// Runs `pre-receive` by hand with this standard input.
    pub fn run_pre_receive(&self, input: impl AsRef<[u8]>) -> Output {
        feed(self.named_behind::<&str>("pre-receive", &[]), input)
    }

    /// The names of the intents.
    pub fn intents(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.git_dir.join(".stargate/intents"));
        let names = names
            .into_iter()
            .flatten()
            .map(|entry| entry.expect("a name").file_name());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    }

    /// Runs the hook by hand with this standard input.
    pub fn run_hook(&self, input: impl AsRef<[u8]>) -> Output {
        feed(self.hook(), input)
    }
}

/// The line of a hook's input that creates a ref.
pub fn creation(name: &str) -> String {
    format!("{ZERO} {SOME_ID} {name}\n")
}

/// Runs a command with this standard input to its end.
pub fn feed(mut command: Command, input: impl AsRef<[u8]>) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = start(&mut command);
    // A program may end without reading its whole input; that is no error here.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_ref());
    child.wait_with_output().expect("it ends")
}

/// Starts a command; the panic names a missing program.
pub fn start(command: &mut Command) -> std::process::Child {
    command.spawn().unwrap_or_else(|error| {
        panic!(
            "cannot run {}, which this test needs: {error}",
            command.get_program().display()
        )
    })
}

/// Runs git, which must succeed, and returns its output without the last line feed.
pub fn git<S: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = S>) -> String {
    let output = try_git(folder, arguments);
    assert!(output.status.success(), "git: {}", stderr(&output));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Runs git.
pub fn try_git<S: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = S>) -> Output {
    let mut command = git_command(folder);
    feed(
        {
            command.args(arguments);
            command
        },
        "",
    )
}

/// A git command that reads only the repository's configuration.
pub fn git_command(folder: &Path) -> Command {
    let mut command = clean_command("git");
    command
        .current_dir(folder)
        .args(["-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always"]);
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "A Tester")
            .env(format!("GIT_{role}_EMAIL"), "tester@example.com");
    }
    command
}

/// Returns the output of a command on standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Only PATH is kept of the environment, without the names of pushers and the configuration of the current user. Lines are long.
pub fn clean_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", super::git::GLOBAL_CONFIG)
        // Lines for a person are not broken, so that a test finds its words in one of them.
        .env("COLUMNS", "10000");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}
