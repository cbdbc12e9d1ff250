//! `stargate-mirror sync`: compares the refs of both sides, and makes them equal.
use std::{
    io::{IsTerminal, Write},
    panic,
    path::{Path, PathBuf},
    thread,
};

use durable::clock::SystemClock;

use super::{
    environment, logs,
    report::{Exit, Failure, REPAIR, cycle_exit},
};
use crate::{
    mirror::Standing,
    worker::{self, Force, ForceError, Options, SyncReport},
};

const EXAMPLES: &str = "\
Examples:
  stargate-mirror sync --dry-run --repo /srv/git/o/r.git
  GITHUB_PAT=… stargate-mirror sync --repair
  GITHUB_PAT=… stargate-mirror sync --force refs/kv/main --yes

Exit codes: 0 both sides are equal, 1 something is still to be pushed, 3 something is left for you
to decide, 5 a ref or an object of the Stargate cannot be read";

/// Compare the refs of the Stargate and the mirror, and make them equal.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The repository [default: GIT_DIR, else found from the current directory]
    #[arg(long = "repo", value_name = "DIR")]
    repository: Option<PathBuf>,
    /// The mirror, instead of stargate.remote: a URL, a path, or the name of a remote; of several mirrors, only this one
    #[arg(long, value_name = "R")]
    remote: Option<String>,
    #[command(flatten)]
    how: How,
    /// With --force: only these refs
    #[arg(value_name = "REF", requires = "force")]
    refs: Vec<String>,
    /// With --force: do not ask for confirmation
    #[arg(long, requires = "force")]
    yes: bool,
    /// With --force: allow deleting more than 5 % of the mirror's refs
    #[arg(long, requires = "force")]
    allow_mass_delete: bool,
    /// Print one JSON object for each mirror to stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct How {
    /// Show the state of every ref, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Create and fast-forward refs of the mirror; never rewind or delete
    #[arg(long)]
    repair: bool,
    /// Overwrite refs of the mirror with those of the Stargate; asks for confirmation
    #[arg(long)]
    force: bool,
}

/// Runs the command.
///
/// # Errors
/// The cycle cannot run, or the mirror cannot be read, or forcing is refused. Several mirrors are compared and repaired at the
/// same time: the error of one is printed, and the others continue.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    let git_dir = super::repository(args.repository.as_deref())?;
    let mirrors = worker::mirror_names(&git_dir, args.remote.as_deref())?;
    if let [only] = &mirrors[..] {
        return Ok(print(args, &synced(args, &git_dir, only.clone())?));
    }
    if args.how.force {
        let names: Vec<&str> = mirrors.iter().flatten().map(String::as_str).collect();
        let what = format!(
            "--force works on one mirror, but there are several: {}",
            names.join(", ")
        );
        return Err(Failure::new(Exit::Usage, what).hint("give the name of one of them with --remote"));
    }
    // A mirror that is down holds up no other.
    let ended = thread::scope(|scope| {
        let git_dir = &git_dir;
        let syncs = mirrors
            .iter()
            .map(|mirror| scope.spawn(move || synced(args, git_dir, mirror.clone())));
        let syncs: Vec<_> = syncs.collect();
        let ended = syncs
            .into_iter()
            .map(|sync| sync.join().unwrap_or_else(|panic| panic::resume_unwind(panic)));
        ended.collect::<Vec<_>>()
    });
    let mut worst = Exit::Done;
    for (mirror, ended) in mirrors.iter().zip(ended) {
        let exit = match ended {
            Ok(synced) => print(args, &synced),
            Err(failure) => {
                let failure = failure.of_mirror(mirror.as_deref().unwrap_or_default());
                logs::print_failure(&failure, Some(&git_dir));
                failure.exit()
            }
        };
        worst = worst.max(exit);
    }
    Ok(worst)
}

/// Result for one mirror.
struct Synced {
    report: SyncReport,
    /// Exit code of the cycle of a repair.
    pending: Exit,
}

/// Compares, repairs or forces one mirror.
fn synced(args: &Args, git_dir: &Path, remote: Option<String>) -> Result<Synced, Failure> {
    let clock = SystemClock::default();
    let options = Options {
        remote,
        reconcile: args.how.repair,
        ..Default::default()
    };
    let mut pending = Exit::Done;
    if args.how.repair {
        pending = cycle_exit(&worker::run(git_dir, &options, &environment, &clock)?);
    }
    let report = if args.how.force {
        forced(args, git_dir, &options)?
    } else {
        worker::compare_refs(git_dir, &options, &environment, &clock)?
    };
    Ok(Synced { report, pending })
}

/// Prints the result for one mirror, and returns the exit code.
fn print(args: &Args, Synced { report, pending }: &Synced) -> Exit {
    if args.json {
        println!("{}", serde_json::to_string(report).expect("a report is always JSON"));
    } else {
        print_human(report);
    }
    let standing = if report.is_broken() {
        Exit::Failed
    } else if report.needs_operator() {
        Exit::Refused
    } else if report.is_equal() {
        Exit::Done
    } else {
        Exit::Incomplete
    };
    standing.max(*pending)
}

fn forced(args: &Args, git_dir: &Path, options: &Options) -> Result<SyncReport, Failure> {
    let clock = SystemClock::default();
    let before = worker::compare_refs(git_dir, options, &environment, &clock)?;
    let asks = before.forceable(&args.refs).next().is_some();
    if !args.yes && asks && !confirmed(args, &before)? {
        return Ok(before);
    }
    let force = Force {
        refs: args.refs.clone(),
        mass_delete: args.allow_mass_delete,
    };
    Ok(worker::force(git_dir, options, &force, &environment, &clock)?)
}

fn confirmed(args: &Args, before: &SyncReport) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        let what = "--force asks for confirmation, but standard input is not a terminal";
        return Err(Failure::new(Exit::Usage, what).hint("give --yes"));
    }
    for one in before.forceable(&args.refs) {
        match &one.local {
            Some(id) => eprintln!("  {} becomes {id}", one.name),
            None => eprintln!("  {} is deleted", one.name),
        }
    }
    eprint!(
        "Overwrite these refs of {}? [y/N] ",
        before.remote.as_deref().unwrap_or("the mirror")
    );
    // If the prompt cannot be shown, no answer is read, and nothing is forced.
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn print_human(report: &SyncReport) {
    if let Some(mirror) = &report.mirror {
        println!("mirror {mirror}:");
    }
    let Some(remote) = &report.remote else {
        match &report.missing {
            Some(missing) => println!("local-only: {missing}"),
            None => println!("there is nothing to compare"),
        }
        return;
    };
    for group in &report.groups {
        println!("forced {}: {}", group.group, group.outcome.word());
        group.error.iter().for_each(|error| println!("  {error}"));
        group.server_words.iter().for_each(|line| println!("  remote: {line}"));
        group.advice.iter().for_each(|advice| println!("  {advice}"));
    }
    let id = |id: &Option<String>| {
        id.as_deref()
            .map_or("-".to_owned(), |id| id[..10.min(id.len())].to_owned())
    };
    for one in &report.refs {
        println!(
            "{:<9} {:<10} {:<10} {}",
            one.standing.word(),
            id(&one.local),
            id(&one.remote),
            one.name
        );
        one.reason.iter().for_each(|reason| println!("          {reason}"));
    }
    for reason in &report.broken {
        println!("broken    {reason}");
    }
    report.watermarks.iter().for_each(|found| println!("false     {found}"));
    let differing = report.refs.iter().filter(|one| one.standing != Standing::Equal).count();
    println!("{differing} of {} refs differ from {remote}", report.refs.len());
}

impl From<ForceError> for Failure {
    fn from(error: ForceError) -> Self {
        match error {
            ForceError::Run(error) => error.into(),
            ForceError::MassDelete { .. } => {
                Failure::new(Exit::Refused, error).hint("run sync --dry-run to see them, then give --allow-mass-delete")
            }
            ForceError::Broken { .. } => Failure::new(Exit::Failed, error).hint(REPAIR),
            ForceError::Unknown(_) => Failure::new(Exit::Usage, error)
                .hint("run sync --dry-run to see the refs that differ, and give full names"),
        }
    }
}
