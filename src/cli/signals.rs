//! Signals that a long-running command receives, and its notifications to systemd.
#[cfg(unix)]
pub(super) use unix::{alive, keep_echo, listen, stopping};

#[cfg(not(unix))]
pub(super) use elsewhere::{alive, keep_echo, listen, stopping};

/// Request made by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(unix), allow(dead_code, reason = "there are no signals elsewhere"))]
pub(super) enum Request {
    /// Settings may have changed (SIGHUP).
    Reload,
    /// The command must stop (SIGTERM, SIGINT).
    Stop,
}

#[cfg(unix)]
mod unix {
    use std::{fs::File, sync::Once, thread};

    use rustix::termios::{self, OptionalActions};
    use sd_notify::NotifyState;
    use signal_hook::{
        consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
        iterator::Signals,
    };

    use super::Request;
    use crate::cli::report::{Exit, Failure};

    /// Passes requests by signals to `take`, on a separate thread. A second request to stop ends the process at once.
    pub(in crate::cli) fn listen(mut take: impl FnMut(Request) + Send + 'static) -> Result<(), Failure> {
        let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]);
        let mut signals =
            signals.map_err(|error| Failure::new(Exit::Failed, format!("cannot receive signals: {error}")))?;
        thread::spawn(move || {
            let mut stopping = false;
            for signal in signals.forever() {
                let request = match signal {
                    SIGHUP => Request::Reload,
                    _ if stopping => std::process::exit(Exit::Incomplete as i32),
                    _ => Request::Stop,
                };
                stopping |= request == Request::Stop;
                take(request);
            }
        });
        Ok(())
    }

    /// From now on, restores the present state of the terminal when a signal ends the process: a question for a password turns
    /// the echo off. Does nothing without a terminal.
    pub(in crate::cli) fn keep_echo() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let terminal = File::options().read(true).write(true).open("/dev/tty");
            let state = terminal.and_then(|terminal| Ok((termios::tcgetattr(&terminal)?, terminal)));
            let signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]);
            let (Ok((state, terminal)), Ok(mut signals)) = (state, signals) else {
                return;
            };
            thread::spawn(move || {
                for signal in signals.forever() {
                    // The process ends in any case.
                    let _ = termios::tcsetattr(&terminal, OptionalActions::Now, &state);
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
            });
        });
    }

    /// Notifies systemd at the first call that the command is ready, and later for the watchdog, if systemd asks for it.
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
            // Fails without systemd, which is fine.
            let _ = sd_notify::notify(&[state]);
        }
    }

    pub(in crate::cli) fn stopping() {
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use super::Request;
    use crate::cli::report::Failure;

    pub(in crate::cli) fn keep_echo() {}

    /// Ctrl-C ends the process, which is safe at any moment.
    pub(in crate::cli) fn listen(_: impl FnMut(Request) + Send + 'static) -> Result<(), Failure> {
        Ok(())
    }

    pub(in crate::cli) fn alive() -> impl FnMut() {
        || {}
    }

    pub(in crate::cli) fn stopping() {}
}
