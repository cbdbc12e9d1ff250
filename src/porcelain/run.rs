//! Push from a repository to a configured remote or a URL.
use std::{ffi::OsString, path::Path};

use bstr::{BStr, BString, ByteSlice};
use durable::clock::Clock;
use git_push::{self, Connection, Observer, lease::Lease, refspec::Refspecs};
use git_push_transport::{Remote, Settings, Shown, resolve};
use gix::{Repository, remote::Direction};

use super::{
    driver::{self, Order, ReadBack},
    error::PushError,
    report::{PushOutcome, PushReport},
    tracking::Tracking,
};
use crate::{
    config::{Config, USER_AGENT},
    local_repository::{LocalRepository, RevisionError},
};

/// Keys of `stargate.*` that a push uses.
const SETTINGS: [&str; 2] = ["stargate.verify", "stargate.maxPackSize"];

/// Options of a push, as on the command line.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Name of a configured remote, URL or path.
    pub remote: BString,
    /// Refspecs. `tag NAME` takes two elements.
    pub refspecs: Vec<BString>,
    /// Treat the refspecs as names of refs to delete.
    pub delete: bool,
    /// Force every update.
    pub force: bool,
    /// Values of `--force-with-lease=`.
    pub leases: Vec<BString>,
    /// Push all refs or none.
    pub atomic: bool,
    /// Push options for the remote's hooks.
    pub push_options: Vec<BString>,
    /// Ask the remote not to report progress.
    pub quiet: bool,
    /// Send nothing.
    pub dry_run: bool,
    /// Make no more requests than git: trust a complete report, unless `stargate.verify` is set to true.
    pub trust_report: bool,
}

/// Pushes from the repository at `git_dir`, see [`push()`](driver::push()).
///
/// # Errors
/// See [`PushError`].
pub fn run(
    git_dir: &Path,
    options: &Options,
    environment: &dyn Fn(&str) -> Option<OsString>,
    clock: &dyn Clock,
    observer: &dyn Observer,
) -> Result<PushReport, PushError> {
    let started = clock.elapsed();
    let mut local = LocalRepository::open(git_dir)?;
    local.repository_mut().object_cache_size_if_unset(4 * 1024 * 1024);
    let order = order(&local, options)?;
    let repository = local.repository();
    let name = options.remote.as_bstr();
    let location = resolve(name, Some(repository))?;
    let settings = Settings::from_environment(environment)?
        .with_user_agent(USER_AGENT)
        .with_git_config(repository)?;
    let configured = repository.try_find_remote(name).and_then(Result::ok);
    let tracking = Tracking::new(&local, configured.as_ref());
    let shown = shown_url(repository, name, configured.as_ref()).unwrap_or_else(|| location.to_string());
    let mut remote = Remote::open(location, &settings)?;
    let refs = driver::push(&mut remote, &local, &tracking, &order, observer)?;
    let traffic = remote.traffic();
    Ok(PushReport {
        outcome: PushOutcome::of(&refs),
        remote: shown,
        refs,
        http_requests: traffic.http_requests,
        bytes_sent: traffic.bytes_sent,
        elapsed_ms: (clock.elapsed() - started).as_millis() as u64,
    })
}

fn order(local: &LocalRepository, options: &Options) -> Result<Order, PushError> {
    let repository = local.repository();
    let config = configured(repository)?;
    let mut settings = git_push::Options::default();
    settings.atomic = options.atomic;
    settings.push_options.clone_from(&options.push_options);
    settings.quiet = options.quiet;
    Ok(Order {
        refspecs: Refspecs::parse(refspecs(&options.refspecs, options.delete)?)?,
        force: options.force,
        leases: leases(local, &options.leases)?,
        options: settings,
        dry_run: options.dry_run,
        max_pack_size: config.max_pack_size,
        read_back: read_back(repository, config.verify, options.trust_report),
    })
}

/// Reads the settings of `stargate.*`. Only those of a push must be valid.
fn configured(repository: &Repository) -> Result<Config, PushError> {
    let config = Config::from_git_config(&repository.config_snapshot());
    match config
        .problems
        .iter()
        .find(|problem| SETTINGS.contains(&problem.key.as_str()))
    {
        Some(problem) => Err(problem.clone().into()),
        None => Ok(config),
    }
}

fn read_back(repository: &Repository, verify: bool, trust_report: bool) -> ReadBack {
    if !verify {
        ReadBack::Never
    } else if trust_report && repository.config_snapshot().string("stargate.verify").is_none() {
        ReadBack::WithoutReport
    } else {
        ReadBack::Always
    }
}

fn leases(local: &LocalRepository, texts: &[BString]) -> Result<Vec<Lease>, PushError> {
    let null = local.repository().object_hash().null();
    let lease = |text: &BString| {
        let mut found = None;
        let lease = Lease::parse(text.as_ref(), null, |expression| {
            found.insert(local.object(expression)).as_ref().ok().copied()
        });
        match (lease, found) {
            (_, Some(Err(RevisionError::Unreadable(error)))) => Err(error.into()),
            (lease, _) => lease.ok_or_else(|| PushError::Lease(text.clone())),
        }
    };
    texts.iter().map(lease).collect()
}

/// Rewrites names to delete and `tag NAME` as refspecs (git-push). Keeps all others.
fn refspecs(given: &[BString], delete: bool) -> Result<Vec<BString>, PushError> {
    let mut refspecs = Vec::new();
    let mut given = given.iter();
    while let Some(text) = given.next() {
        let name = match (text == "tag").then(|| given.next()).flatten() {
            Some(tag) => BString::from([b"refs/tags/", tag.as_bytes()].concat()),
            None => text.clone(),
        };
        if delete && (name.is_empty() || name.contains(&b':')) {
            return Err(PushError::DeleteTakesNames(name));
        }
        refspecs.push(if delete {
            [b":", name.as_bytes()].concat().into()
        } else {
            name
        });
    }
    Ok(refspecs)
}

/// Returns the URL as git shows it: rewritten (`url.<base>.insteadOf`), without user info and query.
fn shown_url(repository: &Repository, name: &BStr, configured: Option<&gix::Remote<'_>>) -> Option<String> {
    let shown = |remote: &gix::Remote<'_>| remote.url(Direction::Push).map(|url| Shown(url).to_string());
    match configured {
        Some(remote) => shown(remote),
        None => shown(&repository.remote_at(name).ok()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(given: &[&str], delete: bool) -> Result<Vec<BString>, String> {
        let given: Vec<BString> = given.iter().map(|text| (*text).into()).collect();
        refspecs(&given, delete).map_err(|error| error.to_string())
    }

    #[test]
    fn tags_and_deletions_are_refspecs() {
        assert_eq!(
            expanded(&["a", "tag", "v1", "b:c"], false).unwrap(),
            ["a", "refs/tags/v1", "b:c"]
        );
        assert_eq!(expanded(&["a", "tag", "v1"], true).unwrap(), [":a", ":refs/tags/v1"]);
        assert_eq!(expanded(&["tag"], false).unwrap(), ["tag"]);
        assert!(
            expanded(&["a:b"], true)
                .unwrap_err()
                .contains("'a:b' is not a plain name")
        );
        assert!(expanded(&[""], true).is_err());
    }
}
