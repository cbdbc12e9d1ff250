//! `stargate-mirror watch`: the worker that stays.
use std::{path::PathBuf, sync::Arc};

use super::{
    environment,
    report::{Exit, Failure},
};
use crate::worker::{self, Watched};

const EXAMPLES: &str = "\
Examples:
  GITHUB_PAT=… stargate-mirror watch --repo /srv/git/o/r.git
  GITHUB_PAT_FILE=/etc/stargate.token stargate-mirror watch --root /srv/git

SIGTERM and Ctrl-C end it within 10 seconds, SIGHUP makes it look at repositories, settings and GITHUB_PAT_FILE anew. As a
systemd service of Type=notify it says when it is ready, and feeds the watchdog when WatchdogSec= is set.";

/// Mirror what is pushed, as it is pushed.
///
/// Wakes when something is appended to a journal, keeps to stargate.pushesPerMinute, tries again what has failed with
/// growing distance, and compares the refs of both sides every 15 minutes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A repository; repeatable. Without it: GIT_DIR, else found from the current directory
    #[arg(long = "repo", value_name = "DIR")]
    repositories: Vec<PathBuf>,
    /// Every repository below this folder that has a journal; new ones are noticed
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The mirror: a URL, a path or a configured remote's name, instead of stargate.remote
    #[arg(long, value_name = "R")]
    remote: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// There is nothing to watch.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    let mut repositories = Vec::new();
    for given in &args.repositories {
        repositories.push(super::repository(Some(given))?);
    }
    match &args.root {
        None if repositories.is_empty() => repositories.push(super::repository(None)?),
        Some(root) if !root.is_dir() => {
            return Err(Failure::new(Exit::Failed, format!("{} is no folder", root.display())));
        }
        _ => {}
    }
    let watched = Watched {
        repositories,
        root: args.root.clone(),
        remote: args.remote.clone(),
    };
    let (sender, events) = worker::watch_channel();
    platform::listen(sender.clone())?;
    worker::watch(watched, Arc::new(environment), (sender, events), platform::alive());
    platform::stopping();
    Ok(Exit::Done)
}

#[cfg(unix)]
mod platform {
    use std::{sync::mpsc::Sender, thread};

    use sd_notify::NotifyState;
    use signal_hook::{
        consts::{SIGHUP, SIGINT, SIGTERM},
        iterator::Signals,
    };

    use crate::cli::report::{Exit, Failure};
    use crate::worker::WatchEvent;

    /// Signals become events. A second one to stop ends the process at once.
    pub(super) fn listen(sender: Sender<WatchEvent>) -> Result<(), Failure> {
        let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]);
        let mut signals =
            signals.map_err(|error| Failure::new(Exit::Failed, format!("cannot take signals: {error}")))?;
        thread::spawn(move || {
            let mut stopping = false;
            for signal in signals.forever() {
                let event = match signal {
                    SIGHUP => WatchEvent::Reload,
                    _ if stopping => std::process::exit(Exit::Incomplete as i32),
                    _ => WatchEvent::Stop,
                };
                stopping |= matches!(event, WatchEvent::Stop);
                // Nobody listens any more when it has stopped.
                let _ = sender.send(event);
            }
        });
        Ok(())
    }

    /// Tells systemd, where it asked to be told, that this is ready, then that it is alive.
    pub(super) fn alive() -> impl FnMut() {
        let watchdog = sd_notify::watchdog_enabled().is_some();
        let mut ready = false;
        move || {
            let state = match (ready, watchdog) {
                (false, _) => NotifyState::Ready,
                (true, true) => NotifyState::Watchdog,
                (true, false) => return,
            };
            ready = true;
            // Without systemd there is nobody to tell.
            let _ = sd_notify::notify(&[state]);
        }
    }

    pub(super) fn stopping() {
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
    }
}

#[cfg(not(unix))]
mod platform {
    use std::sync::mpsc::Sender;

    use crate::cli::report::Failure;
    use crate::worker::WatchEvent;

    /// Ctrl-C ends the process, which is safe at any moment.
    pub(super) fn listen(_: Sender<WatchEvent>) -> Result<(), Failure> {
        Ok(())
    }

    pub(super) fn alive() -> impl FnMut() {
        || {}
    }

    pub(super) fn stopping() {}
}
