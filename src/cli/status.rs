//! `stargate-mirror status`: shows pending entries, their age, and the reason.
mod table;

use std::{
    io::stdout,
    path::Path,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use durable::clock::{Clock, SystemClock};

use self::table::Table;
use super::{
    output::{say_json, verbosity},
    report::{Exit, Failure},
    signals,
    targets::Targets,
    text::{self, Paint},
};
use crate::worker::{self, RepositoryStatus};

/// Interval at which `--watch` reads the status again.
const INTERVAL: Duration = Duration::from_secs(2);
/// Moves to the first column of the first line, and erases everything below.
const ERASE: &str = "\x1b[H\x1b[2J";

const EXAMPLES: &str = "\
Examples:
  stargate-mirror status --repo /srv/git/o/r.git
  stargate-mirror status --root /srv/git --watch
  stargate-mirror status --json | jq .oldest_pending_age_s

Exit codes: 0 everything is mirrored, 1 something is pending or has failed, or
the refs could not be compared, 4 the repository's format is not understood, 5
the journal, a ref or an object cannot be read. With --watch: 0";

/// Show what is pending, since when, and why.
///
/// Reads local files only: the journal, and the worker's memory. May run at the same time as the worker. The words of a
/// mirror that rejects a group are printed as `remote:` lines.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    targets: Targets,
    /// Repeat the status every 2 seconds, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Print one JSON object for each mirror to stdout
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// There is no repository, or its journal cannot be read. Among several repositories, the error is printed and the others
/// continue.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    if !args.watch {
        return show(args, "");
    }
    let (sender, stop) = channel();
    signals::listen(move |_| {
        // Fails only after the command has ended.
        let _ = sender.send(());
    })?;
    let erase = if text::understands_escapes(&stdout()) && !args.json {
        ERASE
    } else {
        ""
    };
    loop {
        show(args, erase)?;
        match stop.recv_timeout(INTERVAL) {
            Ok(()) => return Ok(Exit::Done),
            Err(RecvTimeoutError::Timeout) => {}
            // Without signals, Ctrl-C ends the process.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(INTERVAL),
        }
    }
}

/// Prints the status of every repository after `erase`, at once, so that a terminal does not flicker.
fn show(args: &Args, erase: &str) -> Result<Exit, Failure> {
    let now = SystemClock::default().now();
    let mut table = Table {
        now,
        width: text::width(),
        paint: Paint::of_stdout(),
        verbose: verbosity().is_verbose(),
        text: erase.to_owned(),
    };
    let exit = args.targets.each(None, |git_dir, name| {
        let mut worst = Exit::Done;
        for (place, status) in worker::status(git_dir, now)?.iter().enumerate() {
            if args.json {
                say_json(status, name);
            } else {
                add(&mut table, status, name.filter(|_| place == 0));
            }
            worst = worst.max(exit(status));
        }
        Ok(worst)
    });
    print!("{}", table.text);
    exit
}

/// Adds the status of a mirror, below the name of its repository if that comes first.
fn add(table: &mut Table, status: &RepositoryStatus, name: Option<&Path>) {
    if !matches!(table.text.as_str(), "" | ERASE) {
        table.text += "\n";
    }
    if let Some(path) = name {
        table.text += &format!("{}:\n", path.display());
    }
    table.add(status);
}

fn exit(status: &RepositoryStatus) -> Exit {
    if !status.broken.is_empty() {
        Exit::Failed
    } else if status.is_settled() {
        Exit::Done
    } else {
        Exit::Incomplete
    }
}
