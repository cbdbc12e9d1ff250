//! `stargate-mirror run`: runs one cycle, for cron.
use std::{
    panic,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use durable::clock::SystemClock;

#[cfg(feature = "relay")]
use super::monitoring::Textfile;
use super::{
    logs,
    output::counted,
    push::Terminal,
    report::{Exit, Failure, REPAIR, cycle_exit},
};
use crate::lfs::Carried;
use crate::mirror::Outcome;
use crate::worker::{
    self, Alerts, CycleOutcome, CycleReport, FailedComparison, GroupOutcome, GroupReport, HeadDifference,
    NothingMirrored, Observers, Options, Progress, RefVerdict,
};

const EXAMPLES: &str = "\
Examples:
  GITHUB_PAT=… stargate-mirror run --repo /srv/git/o/r.git
  GITHUB_PAT=… stargate-mirror run --root /srv/git --json
  stargate-mirror run --repo r.git --remote /backup/r.git --dry-run

From cron, once a minute; if another cycle is still running, this one exits with 9:
  * * * * *  GITHUB_PAT_FILE=/etc/stargate.token stargate-mirror run --root /srv/git";

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
    /// A repository; repeatable [default: GIT_DIR, else found from the current directory]
    #[arg(long = "repo", value_name = "DIR")]
    repositories: Vec<PathBuf>,
    /// Every repository below this folder that has stargate.remote, a [stargate] section or a journal
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
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
    alerts.finish();
    ended
}

fn run(args: &Args, observers: Observers) -> Result<Exit, Failure> {
    let several = super::are_several(&args.repositories, args.root.as_deref(), args.remote.as_deref())?;
    let repositories = repositories(args)?;
    let terminal = Arc::new(Terminal::default());
    let options = Options {
        progress: Progress::to(terminal.clone()),
        remote: args.remote.clone(),
        several,
        dry_run: args.dry_run,
        observers,
        ..Default::default()
    };
    if let [only] = &repositories[..] {
        return cycles(only, &options, &terminal, args.json);
    }
    let mut worst = Exit::Done;
    for git_dir in &repositories {
        let exit = cycles(git_dir, &options, &terminal, args.json).unwrap_or_else(|failure| {
            logs::print_failure(&failure, Some(git_dir));
            failure.exit()
        });
        worst = worst.max(exit);
    }
    Ok(worst)
}

/// Runs a cycle for each mirror of the repository, all at the same time, and prints their reports in the order of the
/// settings.
fn cycles(git_dir: &Path, options: &Options, terminal: &Terminal, json: bool) -> Result<Exit, Failure> {
    let mirrors = worker::mirror_names(git_dir, options.remote.as_deref())?;
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
            Ok(report) => print(git_dir, &report, &options(mirror), json),
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

fn repositories(args: &Args) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for given in &args.repositories {
        // A repository of an unknown format must not stop the others: its cycle reports it.
        found.push(super::located(Some(given))?);
    }
    if let Some(root) = &args.root {
        let below = worker::find_repositories(root)
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot read {}: {error}", root.display())))?;
        for (folder, why) in &below.unsearched {
            tracing::warn!(folder = %folder.display(), why, "the folder was not searched for repositories");
        }
        if below.repositories.is_empty() {
            let root = root.display();
            eprintln!("no repository below {root} has stargate.remote, a [stargate] section or a journal");
        }
        found.extend(below.repositories);
    } else if found.is_empty() {
        found.push(super::repository(None)?);
    }
    Ok(found)
}

fn print(git_dir: &Path, report: &CycleReport, options: &Options, json: bool) -> Exit {
    if let Some(missing) = &report.missing {
        eprintln!("{}: local-only: {missing}", git_dir.display());
    }
    if json {
        println!("{}", serde_json::to_string(report).expect("a report is always JSON"));
    } else {
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

fn print_human(report: &CycleReport) {
    match report.outcome {
        CycleOutcome::Idle if report.failed > 0 => println!("idle: nothing is pending, {} failed", report.failed),
        CycleOutcome::Idle => println!("idle: nothing is pending"),
        CycleOutcome::LocalOnly => println!("local-only: {} pending", report.pending),
        CycleOutcome::Mirrored | CycleOutcome::Incomplete => {
            for group in &report.groups {
                print_group(group, report.remote.as_deref().unwrap_or_default());
            }
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
            "`stargate-mirror journal list --status failed` shows what failed; `journal retry` makes it pending again"
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

fn print_group(group: &GroupReport, remote: &str) {
    let (label, outcome) = (&group.group, group.outcome.word());
    println!(
        "{label}: {outcome} to {remote}, {}",
        counted(group.entries as u64, "entry")
    );
    for line in &group.refs {
        let old = line.old.as_deref().map_or("(none)", short);
        println!(
            "  {}  {old} -> {}  {}",
            line.name,
            short(&line.new),
            line.verdict.map(RefVerdict::word).unwrap_or_default()
        );
    }
    if let (Some(namespace), Some(watermark)) = (&group.namespace, &group.watermark) {
        println!("  watermark refs/kv-mirror/{namespace}  {}", short(watermark));
    }
    if let Some(error) = &group.error {
        println!("  {error}");
        group.server_words.iter().for_each(|line| println!("  remote: {line}"));
        group.advice.iter().for_each(|advice| println!("  {advice}"));
        println!("  {}", advice(group.outcome));
    }
}

/// Returns an instruction, and whether a retry may help.
fn advice(outcome: GroupOutcome) -> &'static str {
    match outcome {
        GroupOutcome::Planned | GroupOutcome::Settled(Outcome::Mirrored) => "nothing to do",
        GroupOutcome::Settled(Outcome::Transient) => "this may be temporary; the next cycle retries",
        GroupOutcome::Settled(Outcome::Uncertain) => "the next cycle checks the mirror before it retries",
        GroupOutcome::Settled(Outcome::Rejected) => {
            "check the hooks and rules of the mirror, which rejected the push; the next cycle retries"
        }
        GroupOutcome::Settled(Outcome::Diverged) => {
            "run `stargate-mirror sync --dry-run`, and decide: nothing on the mirror is overwritten without `sync --force`"
        }
        GroupOutcome::Settled(Outcome::Misconfigured) => {
            "correct the settings (run `stargate-mirror doctor`); a retry does not help"
        }
        GroupOutcome::Settled(Outcome::Broken) => REPAIR,
    }
}

fn short(id: &str) -> &str {
    &id[..id.len().min(10)]
}
