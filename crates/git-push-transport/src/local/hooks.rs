//! Hooks of a repository in a folder, as `git-receive-pack` runs them (githooks): `pre-receive`, `update`,
//! `push-to-checkout`, `reference-transaction`, `post-receive` and `post-update`.
//!
//! A hook runs in the folder of the repository, with `GIT_DIR=.`, and without the variables that name another repository.
//! Its output is shown line by line, as that of a server.
use std::{
    cell::RefCell,
    collections::BTreeMap,
    env::consts,
    ffi::{OsStr, OsString},
    fs,
    io::{self, BufRead, BufReader, PipeReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command as Program, Stdio},
    thread,
};

use bstr::{BString, ByteSlice};
use git_push::{Command, Error, ErrorKind, MAX_LINE, MAX_LINES, cleaned};

use crate::child_environment::of_another_repository;

/// Hooks of which one would run for a push.
const NAMES: [&str; 6] = [
    "pre-receive",
    "update",
    "push-to-checkout",
    "reference-transaction",
    "post-receive",
    "post-update",
];

/// Variables of another push.
const OF_A_PUSH: [&str; 2] = ["GIT_PUSH_OPTION_COUNT", "GIT_QUARANTINE_PATH"];

/// Hooks of one repository, for one push.
#[derive(Debug)]
pub(super) struct Hooks {
    /// Names and files.
    found: BTreeMap<&'static str, PathBuf>,
    git_dir: PathBuf,
    objects: PathBuf,
    push_options: Vec<BString>,
    words: RefCell<Vec<String>>,
}

/// A moment of a transaction of refs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The refs are locked. The hook may stop the transaction.
    Prepared,
    Committed,
    Aborted,
}

impl Hooks {
    /// Finds the hooks of a repository. If they are not to be run, there are none.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the repository belongs to another user and has hooks, or their folder is unknown.
    pub fn of(repository: &gix::Repository, push_options: &[BString], are_run: bool) -> Result<Self, Error> {
        let found = if are_run {
            find_all(repository)?
        } else {
            BTreeMap::new()
        };
        let other = found.values().next();
        if let Some(hook) = other.filter(|_| repository.git_dir_trust() != gix::sec::Trust::Full) {
            let what = format!(
                "the hook {} was not run, because the repository belongs to another user",
                hook.display()
            );
            return Err(Error::new(ErrorKind::Misconfigured, what)
                .with_hint("push as the owner of the repository, or set stargate.localHooks to false"));
        }
        Ok(Hooks {
            found,
            git_dir: absolute(repository.git_dir())?,
            objects: absolute(repository.objects.store_ref().path())?,
            push_options: push_options.to_vec(),
            words: RefCell::default(),
        })
    }

    /// Returns true if a hook is run for each ref.
    pub fn are_run_for_each(&self) -> bool {
        ["update", "reference-transaction"]
            .iter()
            .any(|name| self.found.contains_key(name))
    }

    /// Runs `pre-receive`. Returns true if the push may continue. `quarantine` is the folder with the new objects.
    pub fn pre_receive(&self, commands: &[Command], quarantine: Option<&Path>) -> bool {
        let mut variables = self.push_options();
        if let Some(quarantine) = quarantine.and_then(|quarantine| absolute(quarantine).ok()) {
            let named = |name: &str, value: &Path| (name.into(), value.into());
            variables.extend([
                named("GIT_QUARANTINE_PATH", &quarantine),
                named("GIT_OBJECT_DIRECTORY", &quarantine),
                named("GIT_ALTERNATE_OBJECT_DIRECTORIES", &self.objects),
            ]);
        }
        self.run("pre-receive", &[], Some(lines(commands.iter())), variables)
    }

    /// Runs `update` for one command. Returns true if it may be carried out.
    pub fn update(&self, command: &Command) -> bool {
        let ids = [command.old, command.new].map(|id| OsString::from(id.to_string()));
        let name = command.name.to_os_str_lossy();
        let arguments = [name.as_ref(), ids[0].as_os_str(), ids[1].as_os_str()];
        self.run("update", &arguments, None, Vec::new())
    }

    /// Runs `push-to-checkout` in a work tree. Returns `None` if there is no such hook.
    pub fn push_to_checkout(&self, worktree: &gix::Repository, command: &Command) -> Option<bool> {
        self.found.get("push-to-checkout")?;
        let folder = worktree.workdir().and_then(|folder| absolute(folder).ok())?;
        let git_dir = absolute(worktree.git_dir()).ok()?;
        let variables = vec![
            ("GIT_DIR".into(), git_dir.into()),
            ("GIT_WORK_TREE".into(), folder.into()),
        ];
        let id = command.new.to_string();
        Some(self.run("push-to-checkout", &[OsStr::new(&id)], None, variables))
    }

    /// Runs `reference-transaction`. Returns true if the transaction may continue.
    pub fn reference_transaction(&self, phase: Phase, commands: &[&Command]) -> bool {
        let phase = match phase {
            Phase::Prepared => "prepared",
            Phase::Committed => "committed",
            Phase::Aborted => "aborted",
        };
        let input = lines(commands.iter().copied());
        self.run("reference-transaction", &[OsStr::new(phase)], Some(input), Vec::new())
    }

    /// Runs `post-receive` and `post-update` for the commands that were carried out.
    pub fn received(&self, commands: &[&Command]) {
        if commands.is_empty() {
            return;
        }
        // Their failure changes nothing.
        let input = lines(commands.iter().copied());
        self.run("post-receive", &[], Some(input), self.push_options());
        let names: Vec<_> = commands
            .iter()
            .map(|command| command.name.to_os_str_lossy().into_owned())
            .collect();
        let names: Vec<_> = names.iter().map(OsString::as_os_str).collect();
        self.run("post-update", &names, None, Vec::new());
    }

    /// Shows a line to the person who pushes. Of too many lines, the last ones are dropped.
    pub fn say(&self, line: &str) {
        let mut words = self.words.borrow_mut();
        if words.len() < MAX_LINES {
            tracing::info!("remote: {line}");
            words.push(line.to_owned());
        }
    }

    /// Returns all lines so far.
    pub fn words(&self) -> Vec<String> {
        self.words.borrow().clone()
    }

    /// Runs a hook with these arguments, this standard input, and more variables. Returns true if it succeeds, or there is
    /// none.
    fn run(
        &self,
        name: &'static str,
        arguments: &[&OsStr],
        input: Option<Vec<u8>>,
        variables: Vec<(OsString, OsString)>,
    ) -> bool {
        let Some(hook) = self.found.get(name) else {
            return true;
        };
        let mut program = Program::new(hook);
        of_another_repository(&mut program);
        for name in OF_A_PUSH {
            program.env_remove(name);
        }
        program.args(arguments).env("GIT_DIR", ".").envs(variables);
        program.current_dir(&self.git_dir);
        self.run_program(program, input).unwrap_or_else(|error| {
            self.say(&format!("error: cannot run {}: {error}", hook.display()));
            false
        })
    }

    fn run_program(&self, mut program: Program, input: Option<Vec<u8>>) -> io::Result<bool> {
        let (output, written) = io::pipe()?;
        let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
        program.stdin(stdin).stdout(written.try_clone()?).stderr(written);
        let mut child = program.spawn()?;
        // It has the writing end, and this process must not keep it open.
        drop(program);
        self.accompany(&mut child, &input.unwrap_or_default(), output)?;
        Ok(child.wait()?.success())
    }

    /// Gives a hook its input, and shows its output to the end.
    fn accompany(&self, child: &mut Child, input: &[u8], output: PipeReader) -> io::Result<()> {
        let stdin = child.stdin.take();
        thread::scope(|scope| {
            // A hook need not read its input.
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
            let mut output = BufReader::new(output);
            loop {
                let mut line = Vec::new();
                if output.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line)? == 0 {
                    return Ok(());
                }
                let line = cleaned(&line);
                if !line.trim().is_empty() {
                    self.say(&line);
                }
            }
        })
    }

    fn push_options(&self) -> Vec<(OsString, OsString)> {
        let count = (
            "GIT_PUSH_OPTION_COUNT".into(),
            self.push_options.len().to_string().into(),
        );
        let options = self.push_options.iter().enumerate().map(|(number, option)| {
            let name = format!("GIT_PUSH_OPTION_{number}");
            (name.into(), option.to_os_str_lossy().into_owned())
        });
        [count].into_iter().chain(options).collect()
    }
}

/// Returns the hooks that exist and can be run.
fn find_all(repository: &gix::Repository) -> Result<BTreeMap<&'static str, PathBuf>, Error> {
    let folder = folder(repository)?;
    let file = |name: &'static str| {
        let hook = folder.join(name).with_extension(consts::EXE_EXTENSION);
        match hook.metadata() {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
            Ok(metadata) if !is_executable(&metadata) => {
                tracing::warn!("the hook {} was ignored because it is not executable", hook.display());
                None
            }
            // If it cannot be read, running it reports the cause.
            _ => Some((name, hook)),
        }
    };
    Ok(NAMES.into_iter().filter_map(file).collect())
}

/// Returns the folder of the hooks (git-config, *core.hooksPath*).
fn folder(repository: &gix::Repository) -> Result<PathBuf, Error> {
    let config = repository.config_snapshot();
    let path = config.trusted_path("core.hooksPath").map_err(|error| {
        let what = format!(
            "the value of core.hooksPath of {} is invalid: {}",
            repository.git_dir().display(),
            git_push::causes(&error)
        );
        Error::new(ErrorKind::Misconfigured, what).with_hint("correct it with `git config core.hooksPath`")
    })?;
    match path {
        Some(path) => absolute(&repository.git_dir().join(path)),
        None => absolute(&repository.common_dir().join("hooks")),
    }
}

/// Returns the absolute path, without symbolic links if it exists.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .map_err(|error| {
            let what = format!("cannot find the absolute path of {}: {error}", path.display());
            Error::new(ErrorKind::Transient, what)
        })
}

/// Returns a line for each command: `<old id> <new id> <ref>`.
fn lines<'a>(commands: impl Iterator<Item = &'a Command>) -> Vec<u8> {
    let mut lines = Vec::new();
    for command in commands {
        lines.extend_from_slice(format!("{} {} ", command.old, command.new).as_bytes());
        lines.extend_from_slice(&command.name);
        lines.push(b'\n');
    }
    lines
}

#[cfg(unix)]
fn is_executable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(metadata: &std::fs::Metadata) -> bool {
    metadata.is_file()
}
