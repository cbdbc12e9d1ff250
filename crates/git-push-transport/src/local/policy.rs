//! The rules of `git-receive-pack`, with its messages (git-config, *receive.\**).
use std::{collections::BTreeSet, fs, io, path::Path};

use bstr::{BStr, BString, ByteSlice};
use git_push::Command;
use git_reftable::{Stack, Value};
use gix::{objs::Kind, refs::TargetRef};

use super::hidden::Hidden;
use super::tables::{self, with_causes};

/// Decides on commands, one after the other, before any of them is carried out.
pub(super) struct Policy<'a> {
    repository: &'a gix::Repository,
    /// The refs, if they are in reftables.
    stack: Option<Stack>,
    hidden: Hidden,
    /// Names of existing refs, and of those that earlier commands create.
    names: BTreeSet<BString>,
    /// Branches that the `HEAD` of the repository and of its worktrees name, or that these rebase or bisect. An error has
    /// the reason why they are unknown.
    heads: Result<Vec<Head>, String>,
    /// Lines for the person who pushes.
    words: Vec<String>,
}

/// A branch that a worktree has checked out.
struct Head {
    name: BString,
    worktree: gix::Repository,
    /// True if the worktree rebases or bisects it, with a detached `HEAD`.
    is_under_way: bool,
}

/// Values of `receive.denyCurrentBranch` and `receive.denyDeleteCurrent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deny {
    Ignore,
    Warn,
    Refuse,
    UpdateInstead,
}

impl<'a> Policy<'a> {
    /// Creates the policy of a repository with refs of these names.
    pub(super) fn new(repository: &'a gix::Repository, stack: Option<Stack>, names: BTreeSet<BString>) -> Self {
        Policy {
            repository,
            names,
            hidden: Hidden::of(repository),
            heads: heads(repository, stack.is_some()),
            stack,
            words: Vec::new(),
        }
    }

    /// Returns the lines for the person who pushes, since the last call.
    pub(super) fn take_words(&mut self) -> Vec<String> {
        std::mem::take(&mut self.words)
    }

    /// Returns the worktree whose files are to be those of the updated branch (`updateInstead`).
    pub(super) fn worktree_to_update(&self, command: &Command) -> Option<&gix::Repository> {
        let is_wanted = !command.is_delete() && self.denial("receive.denyCurrentBranch") == Some(Deny::UpdateInstead);
        let heads = self.heads.as_ref().ok().filter(|_| is_wanted)?;
        let found = heads
            .iter()
            .find(|head| head.name == command.name && !head.worktree.is_bare());
        found.map(|head| &head.worktree)
    }

    /// Returns the reason why the command is refused, if it is.
    pub(super) fn refusal(&mut self, command: &Command) -> Option<String> {
        let refusal = self
            .refused_hidden(command)
            .or_else(|| self.refused_name(command.name.as_bstr()))
            .or_else(|| self.refused_program(command.name.as_bstr()))
            .or_else(|| self.refused_checked_out(command))
            .or_else(|| {
                if command.is_delete() {
                    self.refused_delete(command)
                } else {
                    self.refused_update(command)
                }
            });
        if refusal.is_none() && !command.is_delete() {
            self.names.insert(command.name.clone());
        }
        refusal
    }

    /// Removes the name of a deleted ref, which no longer conflicts with others.
    pub(super) fn deleted(&mut self, name: &BStr) {
        self.names.remove(name);
    }

    fn refused_hidden(&self, command: &Command) -> Option<String> {
        let doing = if command.is_delete() { "deleting" } else { "updating" };
        let is_hidden = self.hidden.hides(command.name.as_bstr());
        is_hidden.then(|| format!("deny {doing} a hidden ref"))
    }

    fn refused_name(&self, name: &BStr) -> Option<String> {
        if !name.starts_with(b"refs/") || gix::validate::reference::name(name).is_err() {
            return Some("funny refname".into());
        }
        match self.is_symbolic(name) {
            Ok(true) => Some("symbolic refs cannot be pushed to".into()),
            Ok(false) => None,
            Err(why) => Some(format!("cannot be read: {why}")),
        }
    }

    /// Refuses refs that the hook `proc-receive` would move (git-config, *receive.procReceiveRefs*). Whether it takes only some
    /// kinds of commands, or all other refs, is not looked at.
    fn refused_program(&self, name: &BStr) -> Option<String> {
        let config = self.repository.config_snapshot();
        let values = config.plumbing().strings("receive.procReceiveRefs").unwrap_or_default();
        let is_its = |value: &BString| {
            let prefix = value
                .rsplit_once_str(":")
                .map_or(value.as_slice(), |(_, prefix)| prefix);
            let below = name.strip_prefix(prefix.trim_end_with(|char| char == '/'));
            value.contains(&b'!') || below.is_some_and(|below| below.is_empty() || below.starts_with(b"/"))
        };
        values
            .iter()
            .any(is_its)
            .then(|| "the hook proc-receive is not supported here; use git-receive-pack".into())
    }

    fn is_symbolic(&self, name: &BStr) -> Result<bool, String> {
        if let Some(stack) = &self.stack {
            let found = stack.find(name).map_err(|error| with_causes(&error))?;
            return Ok(found.is_some_and(|record| matches!(record.value, Value::Symbolic(_))));
        }
        let found = self.repository.try_find_reference(name);
        let found = found.map_err(|error| git_push::causes(&error))?;
        Ok(found.is_some_and(|reference| matches!(reference.target(), TargetRef::Symbolic(_))))
    }

    fn refused_checked_out(&mut self, command: &Command) -> Option<String> {
        let denied = self.denial("receive.denyCurrentBranch").unwrap_or(Deny::Refuse);
        if !command.name.starts_with(b"refs/heads/") || denied == Deny::Ignore {
            return None;
        }
        let heads = match &self.heads {
            Ok(heads) => heads,
            Err(_) if denied == Deny::Warn => return None,
            Err(why) => return Some(unknown_head(why)),
        };
        let is_checked_out = |head: &&Head| head.name == command.name && !head.worktree.is_bare();
        let head = heads.iter().find(is_checked_out)?;
        match denied {
            Deny::UpdateInstead if head.is_under_way && !command.is_delete() => {
                return Some("updateInstead is not supported here: a work tree rebases or bisects the branch".into());
            }
            Deny::Warn => self.warn("updating the current branch"),
            Deny::Refuse => {
                self.error(&format!("refusing to update checked out branch: {}", command.name));
                return Some("branch is currently checked out".into());
            }
            Deny::Ignore | Deny::UpdateInstead => {}
        }
        None
    }

    fn refused_delete(&mut self, command: &Command) -> Option<String> {
        if command.old.is_null() && self.names.contains(&command.name) {
            return Some("it already exists".into());
        }
        let is_branch = command.name.starts_with(b"refs/heads/");
        if is_branch && self.is_set("receive.denyDeletes") {
            self.error(&format!("denying ref deletion for {}", command.name));
            return Some("deletion prohibited".into());
        }
        let denied = self.denial("receive.denyDeleteCurrent").unwrap_or(Deny::Refuse);
        if denied == Deny::Ignore {
            return None;
        }
        let is_current = match &self.heads {
            Ok(heads) => heads.iter().any(|head| head.name == command.name),
            Err(why) => return is_branch.then(|| unknown_head(why)),
        };
        if !is_current {
            return None;
        }
        if denied == Deny::Warn {
            self.warn("deleting the current branch");
            return None;
        }
        self.error(&format!("refusing to delete the current branch: {}", command.name));
        Some("deletion of the current branch prohibited".into())
    }

    fn refused_update(&mut self, command: &Command) -> Option<String> {
        let Command { name, old, new } = command;
        let kind = match self.repository.try_find_header(*new) {
            Ok(Some(header)) => header.kind(),
            Ok(None) => return Some(format!("missing necessary objects: {new}")),
            Err(error) => return Some(format!("{new} cannot be read: {}", git_push::causes(&error))),
        };
        if let Some(other) = self.conflict(name.as_bstr()) {
            return Some(format!("{other} exists, and no ref can be below another"));
        }
        if !name.starts_with(b"refs/heads/") {
            return None;
        }
        if kind != Kind::Commit {
            return Some(format!("a branch must be a commit, {new} is a {kind}"));
        }
        let rewinds = || !git_push::fast_forward(self.repository, *old, *new).unwrap_or(false);
        if !old.is_null() && self.is_set("receive.denyNonFastForwards") && rewinds() {
            self.error(&format!("denying non-fast-forward {name} (you should pull first)"));
            return Some("non-fast-forward".into());
        }
        None
    }

    /// Returns a ref that is above or below `name`, such as `refs/heads/a` and `refs/heads/a/b`.
    fn conflict(&self, name: &BStr) -> Option<&BString> {
        let mut above = name
            .find_iter("/")
            .filter_map(|at| self.names.get(name[..at].as_bstr()));
        let folder = BString::from([name.as_bytes(), b"/"].concat());
        let mut below = self
            .names
            .range(folder.clone()..)
            .take_while(|other| other.starts_with(&folder));
        above.next().or_else(|| below.next())
    }

    /// Returns true if a key that forbids something is set. An invalid value forbids, too.
    fn is_set(&self, key: &str) -> bool {
        let value = self.repository.config_snapshot().try_boolean(key);
        value.map_or(true, |value| value.unwrap_or(false))
    }

    /// Returns what a key says about the current branch. Invalid values refuse. `None` if it is not set.
    fn denial(&self, key: &str) -> Option<Deny> {
        let config = self.repository.config_snapshot();
        let value = config.string(key)?;
        Some(match value.to_ascii_lowercase().as_slice() {
            b"ignore" => Deny::Ignore,
            b"warn" => Deny::Warn,
            b"updateinstead" => Deny::UpdateInstead,
            _ if config.boolean(key) == Some(false) => Deny::Ignore,
            _ => Deny::Refuse,
        })
    }

    fn warn(&mut self, what: &str) {
        self.words.push(format!("warning: {what}"));
    }

    fn error(&mut self, what: &str) {
        self.words.push(format!("error: {what}"));
    }
}

/// Returns the branches that the repository and its worktrees have checked out. A detached `HEAD` counts for the branch that
/// is rebased or bisected.
fn heads(repository: &gix::Repository, in_tables: bool) -> Result<Vec<Head>, String> {
    let causes = |error: gix::Error| git_push::causes(&error);
    let mut heads = Vec::new();
    for worktree in repository.worktrees_including_main().map_err(causes)? {
        let worktree = worktree.map_err(causes)?;
        let name = if in_tables {
            tables::head_name(&worktree).map_err(|error| with_causes(&error))?
        } else {
            let name = worktree.head_name().map_err(causes)?;
            name.map(|name| name.as_bstr().to_owned())
        };
        let is_under_way = name.is_none();
        let names = match name {
            Some(name) => vec![name],
            None if worktree.is_bare() => Vec::new(),
            None => under_way(worktree.git_dir())?,
        };
        heads.extend(names.into_iter().map(|name| Head {
            name,
            worktree: worktree.clone(),
            is_under_way,
        }));
    }
    Ok(heads)
}

/// Returns the branches that a worktree with this folder rebases or bisects.
fn under_way(git_dir: &Path) -> Result<Vec<BString>, String> {
    let read = |name: &str| {
        let path = git_dir.join(name);
        match fs::read(&path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            read => read.map(Some).map_err(|error| format!("{}: {error}", path.display())),
        }
    };
    let rebased = ["rebase-apply/head-name", "rebase-merge/head-name"].map(read);
    let mut names = Vec::new();
    for found in rebased.into_iter().chain([read("BISECT_START")]) {
        let Some(found) = found? else { continue };
        let name = found.trim_end();
        names.push(match name.strip_prefix(b"refs/heads/") {
            Some(_) => name.into(),
            None => [b"refs/heads/", name].concat().into(),
        });
    }
    Ok(names)
}

fn unknown_head(why: &str) -> String {
    format!("cannot find out which branches are checked out: {why}")
}
