//! Command line: one file per subcommand, and [`report`], which maps library errors to a message, a hint and an exit
//! code. All output of `stargate-mirror` is printed here.
#[macro_use]
mod output;
pub mod check;
pub mod complete_values;
pub mod completions;
pub mod create;
pub mod demo;
mod doctor;
#[cfg(feature = "events")]
pub mod events;
mod git_version;
pub mod install;
pub mod journal;
mod logs;
pub mod man;
#[cfg(feature = "relay")]
mod monitoring;
pub mod push;
#[cfg(feature = "relay")]
pub mod relay;
pub mod remote_helper;
pub mod report;
pub mod run;
#[cfg(any(feature = "events", feature = "relay"))]
mod stream;
pub mod sync;
pub mod uninstall;
pub mod wait;
pub mod watch;

mod shell;
mod signals;
mod status;
mod summary;
mod targets;
mod text;
mod verbosity;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use git_push::repository::{self, OpenError};
use logs::LogFormat;
use report::{Exit, Failure};
use verbosity::Verbosity;

use crate::advice;

/// Name of the program.
const NAME: &str = "stargate-mirror";

const EXAMPLES: &str = "\
Examples:
  stargate-mirror install --repo r.git --mirror branches \\
    --remote https://github.com/o/r.git
  GITHUB_PAT=… stargate-mirror run --repo r.git
  stargate-mirror status --root /srv/git
  stargate-mirror wait --ref refs/heads/main --oid 9f8e… \\
    --remote https://github.com/o/r.git
  stargate-mirror push https://github.com/o/r.git main tag v1.0
  stargate-mirror check append-only --base origin/main

Environment:
  GITHUB_PAT       token for the mirror; kept in memory only
  GITHUB_PAT_FILE  file with the token, used if GITHUB_PAT is not set; an empty
                   or unreadable file is an error (exit 4)
  STARGATE_GITHUB_APP, STARGATE_GITHUB_APP_KEY, STARGATE_GITHUB_APP_KEY_FILE
                   id and private key of a GitHub App, used instead of a token
  GITHUB_REPO_URL  the mirror of a single repository, used if stargate.remote is
                   not set; ignored with --root or more than one --repo
  STARGATE_LOG     log level on stderr: error, warn, info, debug or trace; the
                   default is warn, and info for watch, events and relay; -q and
                   -v change the default; another value is an error
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
    /// Format of log lines and errors on stderr: text or json
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        hide_possible_values = true
    )]
    log_format: LogFormat,
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Install(install::Args),
    Uninstall(uninstall::Args),
    Create(create::Args),
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
    #[command(hide = true)]
    CompleteValues(complete_values::Args),
}

impl Command {
    fn kind(&self) -> logs::Command {
        match self {
            Command::Watch(_) => logs::Command::Long,
            #[cfg(feature = "events")]
            Command::Events(_) => logs::Command::Long,
            #[cfg(feature = "relay")]
            Command::Relay(_) => logs::Command::Long,
            _ => logs::Command::Short,
        }
    }

    /// Returns true if the command may work on several repositories.
    fn names_several(&self) -> bool {
        match self {
            Command::Run(args) => args.names_several(),
            Command::Watch(args) => args.names_several(),
            _ => false,
        }
    }

    /// Returns true if stdout is data for a program or a file, or the finding of a check, which `-q` does not suppress.
    fn prints_data(&self) -> bool {
        !matches!(
            self,
            Command::Install(_)
                | Command::Uninstall(_)
                | Command::Create(_)
                | Command::Run(_)
                | Command::Wait(_)
                | Command::Status(_)
                | Command::Sync(_)
                | Command::Doctor(_)
                | Command::Demo(_)
        )
    }
}

/// Returns true if the command line asks for JSON.
fn asks_for_json(mut matches: &ArgMatches) -> bool {
    while let Some((_, of_command)) = matches.subcommand() {
        matches = of_command;
    }
    matches!(matches.try_get_one::<bool>("json"), Ok(Some(true)))
}

/// Prints help, the version, or a usage error. With `--porcelain`, a usage error has git's exit code.
fn print_clap_message(message: &clap::Error) -> ExitCode {
    // A failure to print cannot be reported anywhere.
    let _ = message.print();
    match message.exit_code() {
        2 if std::env::args_os().any(|argument| argument == "--porcelain") => Exit::GitUsage.into(),
        code => ExitCode::from(u8::try_from(code).unwrap_or(1)),
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let parsed = Cli::command().try_get_matches();
    let parsed = parsed.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, asks_for_json(&matches))));
    let (cli, asks_for_json) = match parsed {
        Ok(parsed) => parsed,
        Err(message) => return print_clap_message(&message),
    };
    let terminal = push::Terminal::default();
    let is_push = matches!(cli.command, Command::Push(_));
    // The options of push have git's meaning, which is not about logs.
    let verbosity = if is_push { Verbosity::default() } else { cli.verbosity };
    output::set_verbosity(verbosity, asks_for_json || cli.command.prints_data());
    let kind = cli.command.kind();
    let lines = logs::Lines {
        command: kind,
        level: verbosity.log_level(kind.level()),
        with_repository: cli.command.names_several(),
    };
    let beside = is_push.then(|| terminal.remote_lines());
    let done = logs::start(cli.log_format, lines, beside).and_then(|()| run_command(cli.command, &terminal));
    match done.and_then(output::check_stdout) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            logs::print_failure(&failure, None);
            failure.exit().into()
        }
    }
}

fn run_command(command: Command, terminal: &push::Terminal) -> Result<Exit, Failure> {
    match command {
        Command::Install(args) => install::main(&args),
        Command::Uninstall(args) => uninstall::main(&args),
        Command::Create(args) => create::main(&args),
        Command::Run(args) => run::main(&args),
        Command::Watch(args) => watch::main(&args),
        Command::Push(args) => push::main(&args, terminal),
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
        Command::CompleteValues(args) => complete_values::main(&args),
    }
}

/// Returns true if stderr is a terminal that knows colours, and `NO_COLOR` is not set.
fn colours() -> bool {
    text::may_have_colours(&std::io::stderr())
}

/// Reads a variable of the environment.
fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Returns true if `--repo` and `--root` may name more than one repository.
fn are_several(repositories: &[PathBuf], root: Option<&Path>, remote: Option<&str>) -> Result<bool, Failure> {
    let several = root.is_some() || repositories.len() > 1;
    match remote {
        Some(remote) if several => {
            let what = format!("--remote {remote} cannot be the mirror of several repositories");
            Err(Failure::new(Exit::Usage, what).hint("set stargate.remote in each of them, or give a single --repo"))
        }
        _ => Ok(several),
    }
}

/// Returns the git directory of `--repo`, else of `GIT_DIR`, else of the current directory, and checks its format. Its refs
/// may be in reftables, which gix does not read.
fn repository(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let git_dir = located(given)?;
    repository::open_any_refs(&git_dir)?;
    Ok(git_dir)
}

/// Returns the same git directory without checking its format, for commands that only read the journal or report each
/// repository separately.
fn located(given: Option<&Path>) -> Result<PathBuf, Failure> {
    repository::locate(given).map_err(|error| {
        let place = given.map_or_else(|| ".".into(), |path| path.display().to_string());
        match error {
            OpenError::Unreadable { cause, .. } if advice::is_denied(&cause) => Failure::new(
                Exit::Failed,
                format!("the repository at {place} cannot be read: permission denied"),
            )
            .hint("run as the user that owns it, or correct its permissions"),
            OpenError::Unreadable { cause, .. } => {
                Failure::new(Exit::Failed, format!("there is no Git repository at {place}: {cause}"))
                    .hint("give --repo DIR, the path of the bare repository")
            }
            error => error.into(),
        }
    })
}
