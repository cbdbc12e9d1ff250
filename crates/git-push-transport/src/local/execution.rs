//! The commands of a push, carried out in git's order: checks, hooks, transactions (`execute_commands` of
//! `git-receive-pack`).
use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use bstr::{BString, ByteSlice};
use durable::replace::lock_path;
use git_push::{Command, Error, ErrorKind, Request, Verdict, repository::RefStorage};
use gix::ObjectId;

use super::{
    Local, deploy::deploy, hooks::Hooks, incoming::Incoming, index_lock::IndexLock, policy::Policy, tables, transaction,
};

/// Reason for a command that reaches an object which does not exist.
pub(super) const MISSING: &str = "missing necessary objects";

/// Commands of one push.
pub(super) struct Execution<'a> {
    local: &'a Local,
    request: &'a Request,
    hooks: &'a Hooks,
    /// New ids that reach an object which does not exist.
    disconnected: &'a BTreeSet<ObjectId>,
    index_lock: IndexLock,
    /// Locks that were reported.
    locks: RefCell<BTreeSet<PathBuf>>,
}

impl<'a> Execution<'a> {
    /// Awaits [`Execution::run()`].
    pub(super) fn new(
        local: &'a Local,
        request: &'a Request,
        hooks: &'a Hooks,
        disconnected: &'a BTreeSet<ObjectId>,
        incoming: &Incoming,
    ) -> Self {
        Execution {
            local,
            request,
            hooks,
            disconnected,
            index_lock: IndexLock::new(incoming.folder(), local.repository.common_dir()),
            locks: RefCell::default(),
        }
    }

    /// Returns the verdicts if all commands are refused for this reason.
    pub(super) fn refused(&self, reason: &str) -> Vec<Verdict> {
        vec![rejected(reason.to_owned()); self.request.commands.len()]
    }

    /// Returns true if no command can be carried out, because each reaches an object that does not exist.
    pub(super) fn has_no_command(&self) -> bool {
        self.request.commands.iter().all(|command| self.lacks_objects(command))
    }

    fn lacks_objects(&self, command: &Command) -> bool {
        self.disconnected.contains(&command.new)
    }

    /// Returns the reason why a rule of the repository refuses the command.
    fn ruled_out(&self, policy: &mut Policy<'_>, command: &Command) -> Option<String> {
        if self.lacks_objects(command) {
            return Some(MISSING.into());
        }
        policy.refusal(command)
    }

    /// Moves the refs. Returns verdicts in the order of the commands.
    ///
    /// # Errors
    /// The refs of the repository cannot be read, or the caller asked to stop. No ref was moved.
    pub(super) fn run(&self) -> Result<Vec<Verdict>, Error> {
        let verdicts = self.moved()?;
        let is_rejection = |verdict: &Verdict| matches!(verdict, Verdict::Rejected(_));
        if self.hooks.is_interrupted() && verdicts.iter().all(is_rejection) {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted; no ref was moved"));
        }
        Ok(verdicts)
    }

    fn moved(&self) -> Result<Vec<Verdict>, Error> {
        let names: BTreeSet<_> = self.local.refs()?.into_keys().collect();
        if self.request.atomic {
            return Ok(self.all_or_none(self.local.policy(names)?));
        }
        // The deletion of a ref can allow a command that is refused before it.
        let mut policy = self.local.policy(names.clone())?;
        let commands = &self.request.commands;
        let are_apart =
            self.hooks.are_run_for_each() || commands.iter().any(|one| policy.worktree_to_update(one).is_some());
        let refusals: Vec<_> = commands
            .iter()
            .map(|command| self.ruled_out(&mut policy, command))
            .collect();
        let is_refused = refusals.iter().any(Option::is_some);
        if are_apart || (is_refused && commands.iter().any(Command::is_delete)) {
            return Ok(self.each(self.local.policy(names)?));
        }
        let allowed = commands.iter().zip(&refusals).filter(|(_, refusal)| refusal.is_none());
        let verdict = self.transaction(&allowed.map(|(command, _)| command).collect::<Vec<_>>());
        if matches!(verdict, Verdict::Rejected(_)) {
            return Ok(self.each(self.local.policy(names)?));
        }
        self.say_all(&mut policy);
        let verdicts = refusals.into_iter();
        Ok(verdicts
            .map(|refusal| refusal.map_or_else(|| verdict.clone(), rejected))
            .collect())
    }

    /// Moves all refs, or none after the first refusal.
    fn all_or_none(&self, mut policy: Policy<'_>) -> Vec<Verdict> {
        let commands = &self.request.commands;
        let refusal = commands
            .iter()
            .enumerate()
            .find_map(|(at, command)| Some((at, self.refusal(&mut policy, command)?)));
        let verdict = if refusal.is_some() {
            rejected("atomic push failure".into())
        } else {
            self.transaction(&commands.iter().collect::<Vec<_>>())
        };
        let mut verdicts = vec![verdict; commands.len()];
        if let Some((at, reason)) = refusal {
            verdicts[at] = rejected(reason);
        }
        verdicts
    }

    /// Moves each ref in a transaction of its own.
    fn each(&self, mut policy: Policy<'_>) -> Vec<Verdict> {
        let mut one = |command: &Command| {
            if let Some(reason) = self.refusal(&mut policy, command) {
                return rejected(reason);
            }
            let verdict = self.transaction(&[command]);
            if command.is_delete() && verdict == Verdict::Accepted {
                policy.deleted(command.name.as_ref());
            }
            verdict
        };
        self.request.commands.iter().map(&mut one).collect()
    }

    /// Returns the reason why the repository or one of its hooks refuses the command.
    fn refusal(&self, policy: &mut Policy<'_>, command: &Command) -> Option<String> {
        if self.hooks.is_interrupted() {
            return Some("interrupted".into());
        }
        let refusal = self.ruled_out(policy, command);
        self.say_all(policy);
        if refusal.is_some() {
            return refusal;
        }
        if !self.hooks.update(command) {
            self.hooks
                .say(&format!("error: hook declined to update {}", command.name));
            return Some("hook declined".into());
        }
        let worktree = policy.worktree_to_update(command)?;
        match self.hooks.push_to_checkout(worktree, command) {
            Ok(Some(true)) => None,
            Ok(Some(false)) => Some("push-to-checkout hook declined".into()),
            Ok(None) => {
                let Err(refusal) = deploy(worktree, command, self.hooks.interrupt(), &self.index_lock) else {
                    self.hooks.must_finish();
                    return None;
                };
                refusal.word.iter().for_each(|word| self.hooks.say(word));
                Some(refusal.reason)
            }
            Err(error) => Some(error.to_string()),
        }
    }

    fn say_all(&self, policy: &mut Policy<'_>) {
        policy.take_words().iter().for_each(|line| self.hooks.say(line));
    }

    /// Moves all of these refs or none. Returns one verdict for all.
    fn transaction(&self, commands: &[&Command]) -> Verdict {
        let Local {
            repository, storage, ..
        } = self.local;
        let verdict = match storage {
            RefStorage::Files => transaction::run(repository, commands, self.hooks),
            RefStorage::Reftable => tables::run(repository, commands, self.hooks),
        };
        let is_rejected = matches!(verdict, Verdict::Rejected(_));
        match self.lock(commands).filter(|_| is_rejected) {
            Some((lock, age)) => {
                let name = lock.strip_prefix(self.local.repository.common_dir());
                let reason = format!("locked by {}", name.unwrap_or(&lock).display());
                self.say_locked(lock, age);
                rejected(reason)
            }
            None => verdict,
        }
    }

    /// Returns a lock that blocks these commands, with its age.
    fn lock(&self, commands: &[&Command]) -> Option<(PathBuf, Duration)> {
        let git_dir = self.local.repository.common_dir();
        let age = |lock: PathBuf| {
            let modified = fs::symlink_metadata(&lock)
                .and_then(|metadata| metadata.modified())
                .ok()?;
            Some((lock, SystemTime::now().duration_since(modified).unwrap_or_default()))
        };
        if self.local.storage == RefStorage::Reftable {
            return age(lock_path(&git_dir.join(git_reftable::LIST)));
        }
        let of_ref = |command: &&Command| age(lock_path(&git_dir.join(command.name.to_path_lossy())));
        let packed = || age(lock_path(&git_dir.join("packed-refs")));
        commands.iter().find_map(of_ref).or_else(packed)
    }

    /// Reports a lock, once.
    fn say_locked(&self, lock: PathBuf, age: Duration) {
        let line = format!(
            "error: {} is the lock of another process, made {} s ago; if no process is writing to this repository, remove \
             the file",
            fs::canonicalize(&lock).as_ref().unwrap_or(&lock).display(),
            age.as_secs()
        );
        if self.locks.borrow_mut().insert(lock) {
            self.hooks.say(&line);
        }
    }
}

fn rejected(reason: String) -> Verdict {
    Verdict::Rejected(BString::from(reason))
}
