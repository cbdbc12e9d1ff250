//! Options for monitors: the address where a watch answers them, and the file with the metrics of a run.
use std::{
    env, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use durable::clock::{Clock, SystemClock};
use secrecy::SecretString;

use super::{
    logs,
    relay::announce,
    report::{Exit, Failure},
};
use crate::{
    monitor::{Gate, GateError, Monitor, serve, write_textfile},
    worker::Observers,
};

/// Variable with the token.
const VARIABLE: &str = "STARGATE_LISTEN_TOKEN";

/// Address where a watch answers monitors.
#[derive(Debug, clap::Args)]
pub(super) struct Listen {
    /// Answer monitors at this address: /metrics, /healthz, /readyz and /status, and a page at /; port 0 selects a free
    /// port
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// File with the token that monitors must send, instead of STARGATE_LISTEN_TOKEN; a token is required if other
    /// machines can reach ADDR
    #[arg(long, value_name = "FILE", requires = "listen")]
    listen_token_file: Option<PathBuf>,
}

/// File with the metrics of a run.
#[derive(Debug, clap::Args)]
pub(super) struct Textfile {
    /// Write metrics to this file afterwards, for the textfile collector of node_exporter; counters continue from the file
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    metrics_textfile: Option<PathBuf>,
}

impl Listen {
    /// Starts to answer, if there is an address. Adds the monitor to the observers of the watch, and to its steps.
    pub(super) fn start(
        &self,
        observers: Observers,
        mut alive: impl FnMut(),
    ) -> Result<(Observers, impl FnMut()), Failure> {
        let clock = SystemClock::default();
        let monitor = self.monitor(clock)?;
        let observers = match &monitor {
            Some(monitor) => observers.with(monitor.clone()),
            None => observers,
        };
        let alive = move || {
            alive();
            monitor.iter().for_each(|monitor| monitor.step(clock.elapsed()));
        };
        Ok((observers, alive))
    }

    fn monitor(&self, clock: SystemClock) -> Result<Option<Arc<Monitor>>, Failure> {
        let Some(address) = self.listen else {
            return Ok(None);
        };
        let gate = Gate::new(address.ip(), self.token()?.as_ref()).map_err(refused)?;
        let monitor = Arc::new(Monitor::default());
        let bound = serve(address, monitor.clone(), clock, gate).map_err(|error| {
            let failure = Failure::new(Exit::Failed, format!("cannot listen on {address}: {error}"));
            failure.hint("choose another address with --listen; port 0 selects a free port")
        })?;
        announce(bound);
        Ok(Some(monitor))
    }

    fn token(&self) -> Result<Option<SecretString>, Failure> {
        let Some(file) = &self.listen_token_file else {
            let token = env::var_os(VARIABLE).map(|token| token.into_string().map(SecretString::from));
            return token.transpose().map_err(|_| refused(GateError::BadToken));
        };
        let unusable = |why: &dyn std::fmt::Display| {
            let failure = Failure::new(Exit::Misconfigured, format!("no token in {}: {why}", file.display()));
            failure.hint("write the token to the file, and make it readable only by this user")
        };
        let text = fs::read_to_string(file).map_err(|error| unusable(&error))?;
        match text.trim() {
            "" => Err(unusable(&"it is empty")),
            token => Ok(Some(token.into())),
        }
    }
}

impl Textfile {
    /// Runs cycles with observers, and writes the metrics. A failure is printed, and is the exit code of successful cycles.
    pub(super) fn around(&self, cycles: impl FnOnce(Observers) -> Result<Exit, Failure>) -> Result<Exit, Failure> {
        let Some(path) = &self.metrics_textfile else {
            return cycles(Observers::default());
        };
        let monitor = Arc::new(Monitor::default());
        let done = cycles(Observers::default().with(monitor.clone()));
        let written = write_textfile(path, &monitor, SystemClock::default().now());
        if let Err(error) = written {
            let failure = unwritten(path, &error);
            logs::print_failure(&failure, None);
            return done.map(|exit| exit.max(failure.exit()));
        }
        done
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new(
        Exit::Failed,
        format!("cannot write metrics to {}: {error}", path.display()),
    );
    failure.hint("name a file in an existing folder that this user can write")
}

fn refused(error: GateError) -> Failure {
    let hint = match error {
        GateError::TokenNeeded => "set STARGATE_LISTEN_TOKEN, use --listen-token-file, or listen on 127.0.0.1 or [::1]",
        GateError::BadToken => "set the token to visible ASCII characters",
    };
    Failure::new(Exit::Misconfigured, error).hint(hint)
}
