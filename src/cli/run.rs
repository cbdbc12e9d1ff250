//! `stargate-mirror run`: runs one cycle, for cron.
use std::{collections::BTreeMap, fmt, panic, path::Path, sync::Arc, thread};

use durable::clock::SystemClock;

#[cfg(feature = "relay")]
use super::monitoring::Textfile;
use super::{
    logs,
    output::{self, counted, say_json, verbosity},
    push::Terminal,
    report::{Exit, Failure, cycle_exit},
    summary::about_groups,
    targets::Targets,
};
use crate::lfs::Carried;
use crate::worker::{
    self, Alerts, CycleOutcome, CycleReport, FailedComparison, HeadDifference, NothingMirrored, Observers, Options,
    Progress,
};

const EXAMPLES: &str = "\
Examples:
  GITHUB_PAT=… stargate-mirror run --repo /srv/git/o/r.git
  GITHUB_PAT=… stargate-mirror run --root /srv/git --json
  stargate-mirror run --repo r.git --remote /backup/r.git --dry-run

From cron, once a minute, in the crontab of the owner of the repositories. If
another cycle is still running, this one exits with 9. With -q, cron mails
errors only:
  PATH=/usr/local/bin:/usr/bin:/bin
  GITHUB_PAT_FILE=/etc/stargate.token
  * * * * *  stargate-mirror run -q --root /srv/git";

/// Push pending entries to the mirror, once.
///
/// All refs of a namespace and its watermark move in one atomic push. The refs are then read back, and the journal entries
/// marked as done. A failed push is tried 3 times; then the entries stay pending for the next cycle. If the mirror's server
/// explains a rejection, its words are printed as `remote:` lines. Several mirrors of a repository are pushed to at the same
/// time.
#[cfg_attr(not(feature = "relay"), doc = "")]
#[cfg_attr(
    not(feature = "relay"),
    doc = "This program was built without the feature relay, so there is no --metrics-textfile."
)]
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    targets: Targets,
    /// The mirror of a single repository, instead of stargate.remote: a URL, a path, or the name of a remote; of several
    /// mirrors, only this one
    #[arg(long, value_name = "R")]
    remote: Option<String>,
    /// Show what would be pushed, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object for each repository and mirror to stdout
    #[arg(long)]
    json: bool,
    #[cfg(feature = "relay")]
    #[command(flatten)]
    textfile: Textfile,
}

impl Args {
    /// Returns true if there may be more than one repository.
    pub(super) fn names_several(&self) -> bool {
        self.targets.names_several()
    }
}

/// Runs the command.
///
/// # Errors
/// The only cycle cannot run. With several repositories or mirrors, the error is printed and the others continue.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    let alerts = Arc::new(Alerts::new(Arc::new(super::environment)));
    #[cfg(feature = "relay")]
    let ended = args
        .textfile
        .around(|observers| run(args, observers.with(alerts.clone())));
    #[cfg(not(feature = "relay"))]
    let ended = run(args, Observers::default().with(alerts.clone()));
    alerts.finish(worker::LAST_WAIT_OF_RUN);
    ended
}

fn run(args: &Args, observers: Observers) -> Result<Exit, Failure> {
    let several = args.targets.are_several(args.remote.as_deref())?;
    let terminal = Arc::new(Terminal::default());
    let options = Options {
        progress: terminal.progress(),
        remote: args.remote.clone(),
        several,
        dry_run: args.dry_run,
        observers,
        ..Default::default()
    };
    let mut tally = Tally::default();
    let exit = args.targets.each(args.remote.as_deref(), |git_dir, _| {
        let exit = cycles(git_dir, &options, &terminal, args.json, &mut tally);
        exit.inspect_err(|_| tally.count("not run"))
    });
    if several && !args.json && !tally.0.is_empty() {
        println!("{tally}");
    }
    exit
}

/// Runs a cycle for each mirror of the repository, all at the same time, and prints their reports in the order of the
/// settings.
fn cycles(
    git_dir: &Path,
    options: &Options,
    terminal: &Terminal,
    json: bool,
    tally: &mut Tally,
) -> Result<Exit, Failure> {
    // A configuration that cannot be read is reported by the cycle, so that its observers hear of it.
    let mirrors =
        worker::mirror_names(git_dir, options.remote.as_deref()).unwrap_or_else(|_| vec![options.remote.clone()]);
    let several = mirrors.len() > 1;
    let options = |remote: &Option<String>| Options {
        remote: remote.clone(),
        // One line of progress cannot show several pushes.
        progress: if several {
            Progress::default()
        } else {
            options.progress.clone()
        },
        ..options.clone()
    };
    let run = |options: &Options| worker::run(git_dir, options, &super::environment, &SystemClock::default());
    // The first cycle runs in this thread, so a single mirror needs no other.
    let ended = thread::scope(|scope| {
        let others = mirrors.iter().skip(1).map(options);
        let others: Vec<_> = others.map(|options| scope.spawn(move || run(&options))).collect();
        let first = mirrors.first().map(|mirror| run(&options(mirror)));
        let others = others
            .into_iter()
            .map(|cycle| cycle.join().unwrap_or_else(|panic| panic::resume_unwind(panic)));
        first.into_iter().chain(others).collect::<Vec<_>>()
    });
    terminal.clear();
    let mut worst = Exit::Done;
    for (mirror, ended) in mirrors.iter().zip(ended) {
        let exit = match ended {
            Ok(report) => {
                tally.count(report.outcome.word());
                print(git_dir, &report, &options(mirror), json)
            }
            Err(error) if several => {
                let failure = Failure::from(error).of_mirror(mirror.as_deref().unwrap_or_default());
                logs::print_failure(&failure, Some(git_dir));
                failure.exit()
            }
            Err(error) => return Err(error.into()),
        };
        worst = worst.max(exit);
    }
    Ok(worst)
}

fn print(git_dir: &Path, report: &CycleReport, options: &Options, json: bool) -> Exit {
    if let Some(missing) = &report.missing {
        output::warn(&format!("{}: local-only: {missing}", git_dir.display()));
    }
    if json {
        say_json(report, options.several.then_some(git_dir));
    } else if !options.several || verbosity().is_verbose() || !is_quiet(report) {
        if options.several {
            println!("{}:", git_dir.display());
        }
        if let Some(mirror) = &report.mirror {
            println!("mirror {mirror}:");
        }
        print_human(report);
    }
    cycle_exit(report)
}

/// Returns true if a report among several is left out without `-v`: nothing happened, and nothing is wrong.
fn is_quiet(report: &CycleReport) -> bool {
    report.outcome == CycleOutcome::Idle
        && report.failed + report.unwritten == 0
        && report.watermarks.is_empty()
        && (report.head.is_none() && report.lfs.is_none() && report.unmirrored.is_none())
}

/// Number of cycles with each outcome, over several repositories.
#[derive(Default)]
struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    fn count(&mut self, outcome: &'static str) {
        *self.0.entry(outcome).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&counted(self.0.values().sum(), "cycle"))?;
        for (number, (word, count)) in self.0.iter().enumerate() {
            write!(f, "{} {count} {word}", if number == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

fn print_human(report: &CycleReport) {
    match report.outcome {
        CycleOutcome::Idle if report.failed > 0 => println!("idle: nothing is pending, {} failed", report.failed),
        CycleOutcome::Idle => println!("idle: nothing is pending"),
        CycleOutcome::LocalOnly => println!("local-only: {} pending", report.pending),
        CycleOutcome::Mirrored | CycleOutcome::Incomplete => {
            let remote = report.remote.as_deref().unwrap_or("the mirror");
            print!("{}", about_groups(&report.groups, remote, verbosity().is_verbose()));
            report.comparison.iter().for_each(print_comparison);
            println!("{} pending, {} failed", report.pending, report.failed);
        }
    }
    report.watermarks.iter().for_each(|found| println!("{found}"));
    report.head.iter().for_each(print_head);
    report.lfs.iter().for_each(print_lfs);
    if let Some(unmirrored) = &report.unmirrored {
        println!("{unmirrored}\n  {}", NothingMirrored::HINT);
    }
    if report.failed > 0 {
        println!(
            "run `stargate-mirror journal list --status failed` to see what failed, and `journal retry` to make it \
             pending again"
        );
    }
    if report.unwritten > 0 {
        println!(
            "{} accepted, but not written to the journal: see the log",
            counted(report.unwritten as u64, "ref update")
        );
    }
}

fn print_head(head: &HeadDifference) {
    println!("{head}");
    match &head.error {
        _ if head.set => println!("  it was set to {}", head.stargate),
        Some(error) => println!("  it could not be set: {error}"),
        None => println!("  it stays, because stargate.defaultBranch is leave"),
    }
}

fn print_lfs(carried: &Carried) {
    if carried.uploaded > 0 {
        let objects = counted(carried.uploaded, "LFS object");
        println!("{objects} uploaded, {}", counted(carried.bytes, "byte"));
    }
    if carried.missing > 0 {
        println!("{} missing", counted(carried.missing, "LFS object"));
    }
    if let Some(why) = &carried.not_carried {
        println!("LFS: {why}");
    }
}

fn print_comparison(failed: &FailedComparison) {
    println!("the refs of both sides could not be compared: {}", failed.error);
    failed.hint.iter().for_each(|hint| println!("  {hint}"));
}
