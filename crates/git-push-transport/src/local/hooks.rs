//! Hooks of a repository in a folder, as `git-receive-pack` runs them (githooks): `pre-receive`, `update`,
//! `push-to-checkout`, `reference-transaction`, `post-receive` and `post-update`. First those of the configuration
//! (`configured`), then the file. All of them run, and one that fails is enough.
//!
//! A hook runs in the folder of the repository, with `GIT_DIR=.`, without the variables that name another repository and
//! without secrets. Its output is shown line by line, as that of a server (`program`).
mod configured;
mod program;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    env::consts,
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    process::Command as Program,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bstr::{BString, ByteSlice, ByteVec};
use durable::ownership::is_executable;
use git_push::{Command, Error, ErrorKind, MAX_LINES, Request};

use self::program::{Ended, Stop};
use crate::child_environment::of_another_repository;

/// Shell that runs hooks of the configuration, and those without `#!`.
const SHELL: &str = if cfg!(windows) { "sh" } else { "/bin/sh" };

/// Time that hooks have after an interrupt if the refs have moved, so that the push can still be recorded.
const GRACE: Duration = Duration::from_secs(5);

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
    found: BTreeMap<&'static str, Vec<Hook>>,
    git_dir: PathBuf,
    objects: PathBuf,
    push_options: Vec<BString>,
    words: RefCell<Vec<String>>,
    interrupt: Arc<AtomicBool>,
    is_killed: Cell<bool>,
    /// True if the refs have to move, because a work tree was updated.
    must_finish: Cell<bool>,
}

/// A hook that can be run.
#[derive(Debug, Clone)]
enum Hook {
    File(PathBuf),
    /// A line of the shell, from the configuration.
    Line(BString),
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
    /// Finds the hooks of a repository. If they are not to be run, there are none. `interrupt` kills them.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the repository belongs to another user and has hooks, or their settings are invalid.
    pub fn of(
        repository: &gix::Repository,
        request: &Request,
        are_run: bool,
        interrupt: Arc<AtomicBool>,
    ) -> Result<Self, Error> {
        let found = if are_run {
            find_all(repository)?
        } else {
            BTreeMap::new()
        };
        let other = found.values().flatten().next();
        if let Some(hook) = other.filter(|_| repository.git_dir_trust() != gix::sec::Trust::Full) {
            let hook = hook.name();
            let what = format!("the hook {hook} was not run, because the repository belongs to another user");
            return Err(Error::new(ErrorKind::Misconfigured, what)
                .with_hint("push as the owner of the repository, or set stargate.localHooks to false"));
        }
        let is_negotiated = request.negotiated("push-options");
        let push_options = request.push_options.iter().filter(|_| is_negotiated);
        Ok(Hooks {
            found,
            git_dir: absolute(repository.git_dir())?,
            objects: absolute(repository.objects.store_ref().path())?,
            push_options: push_options.cloned().collect(),
            words: RefCell::default(),
            interrupt,
            is_killed: Cell::new(false),
            must_finish: Cell::new(false),
        })
    }

    /// Returns true if the caller asked to stop before the refs have moved.
    pub fn is_interrupted(&self) -> bool {
        self.is_killed.get() || self.interrupt.load(Ordering::Relaxed)
    }

    /// Returns the flag that the caller sets to stop the push.
    pub fn interrupt(&self) -> &AtomicBool {
        &self.interrupt
    }

    /// Gives the next hooks of transactions some time after an interrupt: a work tree was updated, and its branch has to
    /// follow.
    pub fn must_finish(&self) {
        self.must_finish.set(true);
    }

    /// Returns true if a hook is run for each ref.
    pub fn are_run_for_each(&self) -> bool {
        ["update", "reference-transaction"]
            .iter()
            .any(|name| self.found.contains_key(name))
    }

    /// Runs `pre-receive`. Returns true if the push may continue. `quarantine` is the folder with the new objects.
    ///
    /// # Errors
    /// The path of the folder cannot be found.
    pub fn pre_receive(&self, commands: &[Command], quarantine: Option<&Path>) -> Result<bool, Error> {
        let mut variables = self.push_options();
        if let Some(quarantine) = quarantine {
            let quarantine = absolute(quarantine)?;
            variables.extend([
                ("GIT_QUARANTINE_PATH".into(), quarantine.clone().into()),
                ("GIT_OBJECT_DIRECTORY".into(), quarantine.into()),
                ("GIT_ALTERNATE_OBJECT_DIRECTORIES".into(), alternate(&self.objects)),
            ]);
        }
        Ok(self.run("pre-receive", &[], Some(lines(commands.iter())), variables))
    }

    /// Runs `update` for one command. Returns true if it may be carried out.
    pub fn update(&self, command: &Command) -> bool {
        let ids = [command.old, command.new].map(|id| OsString::from(id.to_string()));
        let name = command.name.to_os_str_lossy();
        let arguments = [name.as_ref(), ids[0].as_os_str(), ids[1].as_os_str()];
        self.run("update", &arguments, None, Vec::new())
    }

    /// Runs `push-to-checkout` in a work tree. Returns `None` if there is no such hook.
    ///
    /// # Errors
    /// The path of the work tree cannot be found.
    pub fn push_to_checkout(&self, worktree: &gix::Repository, command: &Command) -> Result<Option<bool>, Error> {
        if !self.found.contains_key("push-to-checkout") {
            return Ok(None);
        }
        let folder = absolute(worktree.workdir().unwrap_or(worktree.git_dir()))?;
        let variables = vec![
            ("GIT_DIR".into(), absolute(worktree.git_dir())?.into()),
            ("GIT_WORK_TREE".into(), folder.into()),
        ];
        let id = command.new.to_string();
        Ok(Some(self.run("push-to-checkout", &[OsStr::new(&id)], None, variables)))
    }

    /// Runs `reference-transaction`. Returns true if the transaction may continue. The end of a transaction is reported after
    /// an interrupt, too.
    pub fn reference_transaction(&self, phase: Phase, commands: &[&Command]) -> bool {
        let (phase, grace) = match phase {
            Phase::Prepared if self.must_finish.get() => ("prepared", GRACE),
            Phase::Prepared => ("prepared", Duration::ZERO),
            Phase::Committed => ("committed", GRACE),
            Phase::Aborted => ("aborted", GRACE),
        };
        let input = lines(commands.iter().copied());
        self.run_all("reference-transaction", &[OsStr::new(phase)], Some(input), &[], grace)
    }

    /// Runs `post-receive` and `post-update` for the commands that were carried out.
    pub fn received(&self, commands: &[&Command]) {
        if commands.is_empty() {
            return;
        }
        // Their failure changes nothing.
        let input = lines(commands.iter().copied());
        self.run_all("post-receive", &[], Some(input), &self.push_options(), GRACE);
        let names: Vec<_> = commands
            .iter()
            .map(|command| command.name.to_os_str_lossy().into_owned())
            .collect();
        let names: Vec<_> = names.iter().map(OsString::as_os_str).collect();
        self.run_all("post-update", &names, None, &[], GRACE);
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

    /// Runs the hooks of this name with these arguments, this standard input, and more variables. Returns true if all of them
    /// succeed, or there is none.
    fn run(
        &self,
        name: &'static str,
        arguments: &[&OsStr],
        input: Option<Vec<u8>>,
        variables: Vec<(OsString, OsString)>,
    ) -> bool {
        self.run_all(name, arguments, input, &variables, Duration::ZERO)
    }

    /// The same. After an interrupt, each hook has the time `grace`.
    fn run_all(
        &self,
        name: &'static str,
        arguments: &[&OsStr],
        input: Option<Vec<u8>>,
        variables: &[(OsString, OsString)],
        grace: Duration,
    ) -> bool {
        let stop = Stop {
            flag: &self.interrupt,
            grace,
        };
        let mut is_success = true;
        for hook in self.found.get(name).into_iter().flatten() {
            let mut program = hook.program(arguments);
            of_another_repository(&mut program);
            for name in OF_A_PUSH {
                program.env_remove(name);
            }
            program.env("GIT_DIR", ".").envs(variables.iter().cloned());
            program.current_dir(&self.git_dir);
            let ended = program::run(program, input.clone(), stop, |line| self.say(line));
            let ended = ended.unwrap_or_else(|error| {
                self.say(&format!("error: cannot run {}: {error}", hook.name()));
                Ended::Failure
            });
            is_success &= ended == Ended::Success;
            if ended == Ended::Killed {
                self.say(&format!(
                    "error: the hook {name} was killed, because the push was interrupted"
                ));
                self.is_killed.set(self.is_killed.get() || grace.is_zero());
                return false;
            }
        }
        is_success
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

impl Hook {
    fn program(&self, arguments: &[&OsStr]) -> Program {
        match self {
            Hook::File(path) => {
                let mut program = Program::new(path);
                program.args(arguments);
                program
            }
            Hook::Line(line) => program::of_line(&line.to_os_str_lossy(), arguments),
        }
    }

    fn name(&self) -> String {
        match self {
            Hook::File(path) => path.display().to_string(),
            Hook::Line(line) => format!("`{line}`"),
        }
    }
}

/// Returns the hooks that exist and can be run, in the order in which they are run.
fn find_all(repository: &gix::Repository) -> Result<BTreeMap<&'static str, Vec<Hook>>, Error> {
    let folder = folder(repository)?;
    let config = repository.config_snapshot();
    let mut lines = configured::commands(config.plumbing()).map_err(|why| {
        let what = format!(
            "the hooks of {} are misconfigured: {why}",
            repository.git_dir().display()
        );
        Error::new(ErrorKind::Misconfigured, what).with_hint("set the command, or remove the event, with `git config`")
    })?;
    let mut found = BTreeMap::new();
    for name in NAMES {
        let lines = lines.remove(name.as_bytes().as_bstr()).unwrap_or_default();
        let mut hooks: Vec<_> = lines.into_iter().map(Hook::Line).collect();
        hooks.extend(file(&folder, name).map(Hook::File));
        if !hooks.is_empty() {
            found.insert(name, hooks);
        }
    }
    Ok(found)
}

/// Returns the file of a hook, if it exists and can be run.
fn file(folder: &Path, name: &str) -> Option<PathBuf> {
    let hook = folder.join(name).with_extension(consts::EXE_EXTENSION);
    match hook.metadata() {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
        Ok(metadata) if !is_executable(&metadata) => {
            tracing::warn!("the hook {} was ignored because it is not executable", hook.display());
            None
        }
        // If it cannot be read, running it reports the cause.
        _ => Some(hook),
    }
}

/// Returns a folder of objects for a list of them. As in git, it is quoted if it has the character between two of them.
fn alternate(folder: &Path) -> OsString {
    let path = Vec::from_path_lossy(folder);
    let separator = if cfg!(windows) { b';' } else { b':' };
    if !path.starts_with(b"\"") && !path.contains(&separator) {
        return folder.into();
    }
    let mut quoted = String::from("\"");
    for byte in path.iter() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => quoted.push(char::from(*byte)),
            _ => quoted.push_str(&format!("\\{byte:03o}")),
        }
    }
    quoted.push('"');
    quoted.into()
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
