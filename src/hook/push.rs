//! Configuration and journal drafts of a push, shared by both hooks.
use std::{fs, path::Path, sync::Arc};

use bstr::{BString, ByteSlice};
use durable::clock::Clock;
use gix::ObjectId;

use super::{
    Environment,
    hook_output::HookOutput,
    identity,
    meta::{self, TxnIds},
    object_folders,
};
use crate::{
    config::{APPEND_ONLY, Config, Mirrors, Problem},
    journal::{Draft, Origin, Source},
    ref_update::RefUpdate,
};

/// Loads the configuration of the repository. Reports its problems to the log and the pusher, and uses defaults instead.
pub(super) fn configuration(git_dir: &Path, output: &mut HookOutput<impl Clock>) -> Mirrors {
    let mirrors = Mirrors::load(git_dir).unwrap_or_else(|error| {
        let text = format!("cannot read git's configuration, so defaults are used: {error:#}");
        output.log(&text);
        output.tell_pusher(&text);
        defaults_for_unreadable(git_dir, &error)
    });
    for problem in mirrors.problems() {
        let text = format!("configuration: {problem}; the default is used");
        output.log(&text);
        output.tell_pusher(&text);
    }
    mirrors
}

/// Returns the defaults for a configuration that cannot be read. If it may set `stargate.appendOnly`, adds a problem, so
/// that the guard rejects every push to a guarded ref.
fn defaults_for_unreadable(git_dir: &Path, error: &gix::Error) -> Mirrors {
    let mut config = Config::default();
    let mentions = |text: Vec<u8>| text.to_ascii_lowercase().contains_str("appendonly");
    if fs::read(git_dir.join("config")).map_or(true, mentions) {
        config.problems.push(Problem {
            key: APPEND_ONLY.to_owned(),
            value: "?".into(),
            why: format!("git's configuration cannot be read: {error:#}"),
        });
    }
    Mirrors::of(config)
}

/// Turns the updates of a push into drafts of journal entries.
pub(super) struct Drafting<'a> {
    environment: Environment<'a>,
    config: &'a Config,
    git_dir: &'a Path,
    /// Looked up for the first draft.
    origin: Option<Arc<Origin>>,
    txn_ids: Option<TxnIds>,
}

impl<'a> Drafting<'a> {
    /// Prepares for a push to the repository at `git_dir`.
    pub(super) fn new(environment: Environment<'a>, config: &'a Config, git_dir: &'a Path) -> Self {
        Drafting {
            environment,
            config,
            git_dir,
            origin: None,
            txn_ids: None,
        }
    }

    /// Returns the draft of the entry for `update`.
    pub(super) fn draft(&mut self, update: RefUpdate) -> Draft {
        let txn_id = if update.is_delete() {
            None
        } else {
            self.txn_id(update.new)
        };
        let origin = match &self.origin {
            Some(origin) => origin,
            None => self
                .origin
                .insert(Arc::new(origin(self.environment, self.config, self.git_dir))),
        };
        Draft {
            update,
            txn_id,
            origin: origin.clone(),
        }
    }

    fn txn_id(&mut self, id: ObjectId) -> Option<BString> {
        let open = || {
            let objects = object_folders::folders(self.environment, self.git_dir);
            TxnIds::open(&objects, id.kind())
        };
        self.txn_ids.get_or_insert_with(open).of(id)
    }
}

fn origin(environment: Environment<'_>, config: &Config, git_dir: &Path) -> Origin {
    let absolute = git_dir.canonicalize().unwrap_or_else(|_| git_dir.into());
    Origin {
        source: Source::PostReceive,
        pusher: identity::pusher(environment, config),
        repo: identity::repo(environment, config, &absolute),
        push_options: meta::push_options(environment),
    }
}
