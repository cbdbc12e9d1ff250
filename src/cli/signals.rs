//! What a long-running command is told by signals, and tells systemd.
#[cfg(unix)]
pub(super) use unix::{alive, listen, stopping};

#[cfg(not(unix))]
pub(super) use elsewhere::{alive, listen, stopping};

/// What a signal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(unix), allow(dead_code, reason = "there are no signals elsewhere"))]
pub(super) enum Told {
    /// Settings may have changed (SIGHUP).
    Reload,
    /// It is time to stop (SIGTERM, SIGINT).
    Stop,
}

#[cfg(unix)]
mod unix {
    use std::thread;

    use sd_notify::NotifyState;
    use signal_hook::{
        consts::{SIGHUP, SIGINT, SIGTERM},
        iterator::Signals,
    };

    use super::Told;
    use crate::cli::report::{Exit, Failure};

    /// Gives what signals say to `take`, on a thread of its own. A second one to stop ends the process at once.
    pub(in crate::cli) fn listen(mut take: impl FnMut(Told) + Send + 'static) -> Result<(), Failure> {
        let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]);
        let mut signals =
            signals.map_err(|error| Failure::new(Exit::Failed, format!("cannot take signals: {error}")))?;
        thread::spawn(move || {
            let mut stopping = false;
            for signal in signals.forever() {
                let told = match signal {
                    SIGHUP => Told::Reload,
                    _ if stopping => std::process::exit(Exit::Incomplete as i32),
                    _ => Told::Stop,
                };
                stopping |= told == Told::Stop;
                take(told);
            }
        });
        Ok(())
    }

    /// Tells systemd, where it asked to be told, that this is ready, then that it is alive.
    pub(in crate::cli) fn alive() -> impl FnMut() {
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

    pub(in crate::cli) fn stopping() {
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use super::Told;
    use crate::cli::report::Failure;

    /// Ctrl-C ends the process, which is safe at any moment.
    pub(in crate::cli) fn listen(_: impl FnMut(Told) + Send + 'static) -> Result<(), Failure> {
        Ok(())
    }

    pub(in crate::cli) fn alive() -> impl FnMut() {
        || {}
    }

    pub(in crate::cli) fn stopping() {}
}
