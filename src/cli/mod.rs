//! The command line: one file per subcommand, and [`report`], which turns library errors into a message, a hint and an
//! exit code. Nothing else in this package prints for `stargate-mirror`.
#[macro_use]
mod output;
pub mod check;
pub mod completions;
pub mod demo;
mod doctor;
#[cfg(feature = "events")]
pub mod events;
pub mod install;
pub mod journal;
pub mod man;
pub mod push;
#[cfg(feature = "relay")]
pub mod relay;
pub mod report;
pub mod run;
pub mod sync;
pub mod wait;
pub mod watch;

mod signals;
mod status;

use std::{
    ffi::OsString,
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};
use git_push::repository::{self, OpenError};
use report::{Exit, Failure};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// The program's name.
const NAME: &str = "stargate-mirror";

const EXAMPLES: &str = "\
Examples:
  stargate-mirror install --repo /srv/git/o/r.git
  git config -f /srv/git/o/r.git/config stargate.remote https://github.com/o/r.git
  GITHUB_PAT=… stargate-mirror run --repo /srv/git/o/r.git
  stargate-mirror wait --oid 9f8e… --ns main --remote https://github.com/o/r.git
  stargate-mirror push https://github.com/o/r.git main tag v1.0
  stargate-mirror check append-only --base origin/main

Environment:
  GITHUB_PAT       token for the mirror; kept in memory only
  GITHUB_PAT_FILE  file with the token, used if GITHUB_PAT is not set; an empty or
                   unreadable file is an error (exit 4)
  GITHUB_REPO_URL  the mirror of a single repository, used if stargate.remote is not
                   set; ignored with --root or more than one --repo
  STARGATE_LOG     log level on stderr: error, warn, info or debug; default warn, and
                   info for watch, events and relay
  NO_COLOR         if set, output has no colours

Exit codes:
  0  done, or nothing to do          4  misconfigured: remote, credentials, TLS
  1  incomplete; check: violated     5  input/output or repository error
  2  usage                           9  another worker or relay holds the lock
  3  refused: diverged               10 wait timed out";

/// Carries every push from a self-hosted Git server to its mirror, and never loses one.
#[derive(Debug, Parser)]
#[command(name = NAME, version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Install(install::Args),
    Run(run::Args),
    Watch(watch::Args),
    Push(push::Args),
    Wait(wait::Args),
    Status(status::Args),
    Sync(sync::Args),
    Journal(journal::Args),
    Check(check::Args),
    #[cfg(feature = "events")]
    Events(events::Args),
    #[cfg(feature = "relay")]
    Relay(relay::Args),
    Doctor(doctor::Args),
    Demo(demo::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Prints help, the version, or what is wrong with the arguments. A script that asks for git's lines gets git's code.
fn not_run(told: &clap::Error) -> ExitCode {
    // Where that fails there is nobody to tell.
    let _ = told.print();
    match told.exit_code() {
        2 if std::env::args_os().any(|argument| argument == "--porcelain") => Exit::GitUsage.into(),
        code => ExitCode::from(u8::try_from(code).unwrap_or(1)),
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return not_run(&told),
    };
    let terminal = push::Terminal::default();
    let level = match cli.command {
        Command::Watch(_) => "info",
        #[cfg(feature = "events")]
        Command::Events(_) => "info",
        #[cfg(feature = "relay")]
        Command::Relay(_) => "info",
        _ => "warn",
    };
    log_to_stderr(
        level,
        matches!(cli.command, Command::Push(_)).then(|| terminal.remote_lines()),
    );
    let done = match cli.command {
        Command::Install(args) => install::main(&args),
        Command::Run(args) => run::main(&args),
        Command::Watch(args) => watch::main(&args),
        Command::Push(args) => push::main(&args, &terminal),
        Command::Status(args) => status::main(&args),
        Command::Wait(args) => wait::main(&args),
        Command::Sync(args) => sync::main(&args),
        Command::Journal(args) => journal::main(&args),
        Command::Check(args) => check::main(&args),
        #[cfg(feature = "events")]
        Command::Events(args) => events::main(&args),
        #[cfg(feature = "relay")]
        Command::Relay(args) => relay::main(&args),
        Command::Doctor(args) => doctor::main(&args),
        Command::Demo(args) => demo::main(&args),
        Command::Completions(args) => completions::main(&args, Cli::command()),
        Command::Man(args) => man::main(&args, Cli::command()),
    };
    match done.and_then(output::all_told) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprint!("{}", failure.render(colours()));
            failure.exit().into()
        }
    }
}

/// Logs go to stderr, where `STARGATE_LOG` says how much. A person or cron's mail reads them. `beside` sees all events.
fn log_to_stderr(level: &str, beside: Option<impl Layer<Registry> + Send + Sync>) {
    let filter = EnvFilter::try_from_env("STARGATE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let logs = fmt::layer()
        .with_ansi(colours())
        .with_target(false)
        // Who cannot be told on stderr cannot be told there why.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(beside)
        .with(logs.with_filter(filter))
        .init();
}

/// Whether stderr takes colours: it is a terminal and `NO_COLOR` is not set.
fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// This process's environment.
fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Whether `--repo` and `--root` may name more than one repository.
fn are_several(repositories: &[PathBuf], root: Option<&Path>, remote: Option<&str>) -> Result<bool, Failure> {
    let several = root.is_some() || repositories.len() > 1;
    match remote {
        Some(remote) if several => {
            let what = format!("--remote {remote} would be the mirror of more than one repository");
            Err(Failure::new(Exit::Usage, what).hint("set stargate.remote in each of them, or give a single --repo"))
        }
        _ => Ok(several),
    }
}

/// The git directory of `--repo`, else of `GIT_DIR`, else of the current directory, of a format that is understood.
/// Its refs may be in reftables, which gix does not see.
fn repository(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let git_dir = located(given)?;
    repository::open_any_refs(&git_dir)?;
    Ok(git_dir)
}

/// The same, of any format: for who only reads the journal, or says of each repository by itself that it is refused.
fn located(given: Option<&Path>) -> Result<PathBuf, Failure> {
    repository::locate(given).map_err(|error| {
        let place = given.map_or_else(|| ".".into(), |path| path.display().to_string());
        match error {
            OpenError::Unreadable { cause, .. } => {
                Failure::new(Exit::Failed, format!("there is no Git repository at {place}: {cause}"))
                    .hint("give --repo DIR, the path of the bare repository")
            }
            error => error.into(),
        }
    })
}
