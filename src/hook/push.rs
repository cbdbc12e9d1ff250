//! What both hooks of a push know of it.
use std::path::{Path, PathBuf};

use super::{
    Environment,
    account::Account,
    identity,
    meta::{self, TxnIds},
};
use crate::{
    clock::Clock,
    config::Config,
    journal::{Draft, Meta, Source},
    ref_update::RefUpdate,
};

/// The configuration of the repository; what is wrong with it is logged and told, and stops nothing.
pub(super) fn configuration(git_dir: &Path, account: &mut Account<impl Clock>) -> Config {
    let config = Config::load(git_dir).unwrap_or_else(|error| {
        let text = format!("cannot read git's configuration, so defaults are used: {error:#}");
        account.log(&text);
        account.tell(&text);
        Config::default()
    });
    for problem in &config.problems {
        let text = format!("configuration: {problem}; the default is used");
        account.log(&text);
        account.tell(&text);
    }
    config
}

/// An entry to be for each update.
pub(super) fn drafts(
    updates: Vec<RefUpdate>,
    environment: Environment<'_>,
    config: &Config,
    git_dir: &Path,
) -> Vec<Draft> {
    let pusher = identity::pusher(environment, config);
    let absolute = git_dir.canonicalize().unwrap_or_else(|_| git_dir.into());
    let repo = identity::repo(environment, config, &absolute);
    let push_options = meta::push_options(environment);
    // In `pre-receive`, what is new is apart from what was there.
    let apart = environment("GIT_OBJECT_DIRECTORY").map(PathBuf::from);
    let objects: Vec<_> = apart.into_iter().chain([git_dir.join("objects")]).collect();
    let mut txn_ids = None;
    let mut draft = |update: RefUpdate| {
        let txn_id = if update.is_delete() {
            None
        } else {
            let ids = txn_ids.get_or_insert_with(|| TxnIds::open(&objects, update.new.kind()));
            ids.of(update.new)
        };
        let meta = Meta {
            txn_id,
            push_options: push_options.clone(),
        };
        Draft {
            update,
            pusher: pusher.clone(),
            repo: repo.clone(),
            source: Source::PostReceive,
            meta: (meta != Meta::default()).then_some(meta),
        }
    };
    updates.into_iter().map(&mut draft).collect()
}
