//! What both hooks of a push know of it.
use std::{fs, path::Path, sync::Arc};

use bstr::{BString, ByteSlice};
use durable::clock::Clock;
use gix::ObjectId;

use super::{
    Environment,
    account::Account,
    identity,
    meta::{self, TxnIds},
    objects,
};
use crate::{
    config::{APPEND_ONLY, Config, Problem},
    journal::{Draft, Origin, Source},
    ref_update::RefUpdate,
};

/// The configuration of the repository; what is wrong with it is logged and told, and stops nothing.
pub(super) fn configuration(git_dir: &Path, account: &mut Account<impl Clock>) -> Config {
    let config = Config::load(git_dir).unwrap_or_else(|error| {
        let text = format!("cannot read git's configuration, so defaults are used: {error:#}");
        account.log(&text);
        account.tell(&text);
        unread(git_dir, &error)
    });
    for problem in &config.problems {
        let text = format!("configuration: {problem}; the default is used");
        account.log(&text);
        account.tell(&text);
    }
    config
}

/// The defaults in the place of a configuration that cannot be read. If that may guard something, it is not known what:
/// then no push is accepted that may change it.
fn unread(git_dir: &Path, error: &gix::Error) -> Config {
    let mut config = Config::default();
    let mentions = |text: Vec<u8>| text.to_ascii_lowercase().contains_str("appendonly");
    if fs::read(git_dir.join("config")).map_or(true, mentions) {
        config.problems.push(Problem {
            key: APPEND_ONLY,
            value: "?".into(),
            why: format!("git's configuration cannot be read: {error:#}"),
        });
    }
    config
}

/// Makes an entry to be of each update of a push.
pub(super) struct Drafting<'a> {
    environment: Environment<'a>,
    config: &'a Config,
    git_dir: &'a Path,
    /// Looked up when there is something to draft.
    origin: Option<Arc<Origin>>,
    txn_ids: Option<TxnIds>,
}

impl<'a> Drafting<'a> {
    /// For a push to the repository at `git_dir`.
    pub(super) fn new(environment: Environment<'a>, config: &'a Config, git_dir: &'a Path) -> Self {
        Drafting {
            environment,
            config,
            git_dir,
            origin: None,
            txn_ids: None,
        }
    }

    /// The entry that this update is to be.
    pub(super) fn draft(&mut self, update: RefUpdate) -> Draft {
        let txn_id = match update.is_delete() {
            true => None,
            false => self.txn_id(update.new),
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
            let objects = objects::folders(self.environment, self.git_dir);
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
