//! `stargate-mirror watch`: the long-running worker.
use std::{path::PathBuf, sync::Arc};

#[cfg(feature = "relay")]
use super::monitoring::Listen;
use super::{
    environment,
    report::{Exit, Failure},
    signals::{self, Request},
};
use crate::worker::{self, Alerts, Observers, WatchEvent, Watched};

const EXAMPLES: &str = "\
Examples:
  GITHUB_PAT=… stargate-mirror watch --repo /srv/git/o/r.git
  GITHUB_PAT_FILE=/etc/stargate.token stargate-mirror watch --root /srv/git
  GITHUB_PAT_FILE=/etc/stargate.token stargate-mirror watch --root /srv/git \\
    --listen 127.0.0.1:9418

SIGTERM and Ctrl-C end it within 13 seconds. After SIGHUP it reads repositories,
settings and GITHUB_PAT_FILE again. As a systemd service of Type=notify it
reports when it is ready, and feeds the watchdog if WatchdogSec= is set.";

/// Push to the mirror whenever something is pushed here.
///
/// Wakes when a journal grows or a ref moves, stays within stargate.pushesPerMinute, retries failed pushes after
/// growing delays, and compares the refs of both sides every 15 minutes.
#[cfg_attr(not(feature = "relay"), doc = "")]
#[cfg_attr(
    not(feature = "relay"),
    doc = "This program was built without the feature relay, so there is no --listen for monitors."
)]
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A repository; repeatable [default: GIT_DIR, else found from the current directory]
    #[arg(long = "repo", value_name = "DIR")]
    repositories: Vec<PathBuf>,
    /// Every repository below this folder that has stargate.remote, a [stargate] section or a journal; new ones are noticed
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The mirror of a single repository, instead of stargate.remote: a URL, a path, or the name of a remote; of several
    /// mirrors, only this one
    #[arg(long, value_name = "R")]
    remote: Option<String>,
    #[cfg(feature = "relay")]
    #[command(flatten)]
    listen: Listen,
}

impl Args {
    /// Returns true if there may be more than one repository.
    pub(super) fn names_several(&self) -> bool {
        self.root.is_some() || self.repositories.len() > 1
    }
}

/// Runs the command.
///
/// # Errors
/// There is nothing to watch.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    let several = super::are_several(&args.repositories, args.root.as_deref(), args.remote.as_deref())?;
    let mut repositories = Vec::new();
    for given in &args.repositories {
        // Among several, a repository of an unknown format must not stop the others: its cycle reports it.
        repositories.push(if several {
            super::located(Some(given))?
        } else {
            super::repository(Some(given))?
        });
    }
    match &args.root {
        None if repositories.is_empty() => repositories.push(super::repository(None)?),
        Some(root) if !root.is_dir() => {
            return Err(Failure::new(
                Exit::Failed,
                format!("{} is not a folder", root.display()),
            ));
        }
        _ => {}
    }
    let alerts = Arc::new(Alerts::new(Arc::new(environment)).of_process_that_stays());
    let (observers, alive) = (Observers::default().with(alerts.clone()), signals::alive());
    #[cfg(feature = "relay")]
    let (observers, alive) = args.listen.start(observers, alive)?;
    let watched = Watched {
        repositories,
        root: args.root.clone(),
        remote: args.remote.clone(),
        observers,
    };
    let (sender, events) = worker::watch_channel();
    let requests = sender.clone();
    signals::listen(move |signal| {
        // Fails only after the watch has stopped.
        let _ = requests.send(match signal {
            Request::Reload => WatchEvent::Reload,
            Request::Stop => WatchEvent::Stop,
        });
    })?;
    worker::watch(watched, Arc::new(environment), (sender, events), alive);
    alerts.finish(worker::LAST_WAIT_OF_WATCH);
    signals::stopping();
    Ok(Exit::Done)
}
