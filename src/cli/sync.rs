//! `stargate-mirror sync`: compares the refs of both sides, and makes them equal.
use std::{
    io::{IsTerminal, Write},
    panic,
    path::Path,
    sync::Arc,
    thread,
};

use durable::clock::SystemClock;

use super::{
    environment, logs,
    output::{say_json, verbosity},
    push::Terminal,
    report::{Exit, Failure, REPAIR, cycle_exit},
    summary::about_groups,
    targets::Targets,
};
use crate::{
    mirror::Standing,
    worker::{self, Force, ForceError, Options, SyncRef, SyncReport, alike},
};

/// Number of refs of each standing that are listed without `-v`.
const MOST_REFS: usize = 20;

const EXAMPLES: &str = "\
Examples:
  stargate-mirror sync --dry-run --repo /srv/git/o/r.git
  stargate-mirror sync --dry-run --root /srv/git
  GITHUB_PAT=… stargate-mirror sync --repair
  GITHUB_PAT=… stargate-mirror sync --force refs/kv/main --yes

Exit codes: 0 both sides are equal, 1 something is still to be pushed, 3
something is left for you to decide, 5 a ref or an object of the Stargate cannot
be read";

/// Compare the refs of the Stargate and the mirror, and make them equal.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    targets: Targets,
    /// The mirror of a single repository, instead of stargate.remote: a URL, a path, or the name of a remote; of several mirrors, only this one
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
    /// Show the refs that differ (with -v, every ref), and change nothing
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
    if args.how.force && args.targets.are_several(args.remote.as_deref())? {
        let failure = Failure::new(Exit::Usage, "--force works on one repository");
        return Err(failure.hint("give a single --repo, and no --root"));
    }
    args.targets.each(args.remote.as_deref(), |git_dir, name| {
        let mut listing = Listing::new(name);
        every_mirror(args, git_dir, &mut listing)
    })
}

/// Compares, repairs or forces the mirrors of a repository.
fn every_mirror(args: &Args, git_dir: &Path, listing: &mut Listing<'_>) -> Result<Exit, Failure> {
    let mirrors = worker::mirror_names(git_dir, args.remote.as_deref())?;
    if let [only] = &mirrors[..] {
        let synced = synced(args, git_dir, only.clone(), listing.repository.is_some())?;
        return Ok(print(args, &synced, listing));
    }
    if args.how.force {
        let names: Vec<&str> = mirrors.iter().flatten().map(String::as_str).collect();
        let what = format!(
            "--force works on one mirror, but there are several: {}",
            names.join(", ")
        );
        return Err(Failure::new(Exit::Usage, what).hint("give the name of one of them with --remote"));
    }
    let several = listing.repository.is_some();
    // A mirror that is down holds up no other.
    let ended = thread::scope(|scope| {
        let syncs = mirrors
            .iter()
            .map(|mirror| scope.spawn(move || synced(args, git_dir, mirror.clone(), several)));
        let syncs: Vec<_> = syncs.collect();
        let ended = syncs
            .into_iter()
            .map(|sync| sync.join().unwrap_or_else(|panic| panic::resume_unwind(panic)));
        ended.collect::<Vec<_>>()
    });
    let mut worst = Exit::Done;
    for (mirror, ended) in mirrors.iter().zip(ended) {
        let exit = match ended {
            Ok(synced) => print(args, &synced, listing),
            Err(failure) => {
                let failure = failure.of_mirror(mirror.as_deref().unwrap_or_default());
                logs::print_failure(&failure, Some(git_dir));
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
fn synced(args: &Args, git_dir: &Path, remote: Option<String>, several: bool) -> Result<Synced, Failure> {
    let clock = SystemClock::default();
    let terminal = Arc::new(Terminal::default());
    let options = Options {
        progress: terminal.progress(),
        remote,
        reconcile: args.how.repair,
        several,
        ..Default::default()
    };
    let mut pending = Exit::Done;
    if args.how.repair {
        pending = cycle_exit(&worker::run(git_dir, &options, &environment, &clock)?);
    }
    let report = if args.how.force {
        forced(args, git_dir, &options, &terminal)
    } else {
        worker::compare_refs(git_dir, &options, &environment, &clock).map_err(Failure::from)
    };
    terminal.clear();
    let report = report?;
    Ok(Synced { report, pending })
}

/// Prints the result for one mirror, and returns the exit code.
fn print(args: &Args, Synced { report, pending }: &Synced, listing: &mut Listing<'_>) -> Exit {
    if args.json {
        say_json(report, listing.repository);
    } else {
        print!("{}", listing.text(report, verbosity().is_verbose()));
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

fn forced(args: &Args, git_dir: &Path, options: &Options, terminal: &Terminal) -> Result<SyncReport, Failure> {
    let clock = SystemClock::default();
    let before = worker::compare_refs(git_dir, options, &environment, &clock)?;
    terminal.clear();
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

/// Text of the reports on one repository.
struct Listing<'a> {
    /// The repository, among several.
    repository: Option<&'a Path>,
    is_named: bool,
}

impl<'a> Listing<'a> {
    fn new(repository: Option<&'a Path>) -> Self {
        Listing {
            repository,
            is_named: false,
        }
    }

    /// Returns the text about a report: its exceptions, and a summary. With `verbose`, it lists every ref. Among several
    /// repositories, one without exceptions has no text otherwise.
    fn text(&mut self, report: &SyncReport, verbose: bool) -> String {
        let differing = report.refs.iter().filter(|one| one.standing != Standing::Equal).count();
        let is_quiet = differing == 0 && report.is_equal() && report.groups.is_empty() && !report.is_broken();
        if self.repository.is_some() && is_quiet && report.missing.is_none() && !verbose {
            return String::new();
        }
        let mut text = String::new();
        if let Some(path) = self.repository.filter(|_| !self.is_named) {
            text += &format!("{}:\n", path.display());
            self.is_named = true;
        }
        text.extend(report.mirror.iter().map(|mirror| format!("mirror {mirror}:\n")));
        let Some(remote) = &report.remote else {
            return text
                + &match &report.missing {
                    Some(missing) => format!("local-only: {missing}\n"),
                    None => "there is nothing to compare\n".to_owned(),
                };
        };
        text += &about_groups(&report.groups, remote, verbose);
        text += &refs(&report.refs, verbose);
        text.extend(report.broken.iter().map(|reason| format!("broken    {reason}\n")));
        text.extend(report.watermarks.iter().map(|found| format!("false     {found}\n")));
        text + &format!("{differing} of {} refs differ from {remote}\n", report.refs.len())
    }
}

/// Returns a line for each ref: all of them with `verbose`, else the first that differ, of each standing.
fn refs(refs: &[SyncRef], verbose: bool) -> String {
    let shown = refs.iter().filter(|one| verbose || one.standing != Standing::Equal);
    let mut text = String::new();
    for alike in alike(shown, |one| one.standing.word()) {
        let most = if verbose { alike.len() } else { MOST_REFS };
        for one in alike.iter().take(most) {
            text += &line(one);
        }
        if alike.len() > most {
            let word = alike[0].standing.word();
            text += &format!("{word:<9} and {} more; -v lists them\n", alike.len() - most);
        }
    }
    text
}

fn line(one: &SyncRef) -> String {
    let id = |id: &Option<String>| {
        id.as_deref()
            .map_or("-".to_owned(), |id| id[..10.min(id.len())].to_owned())
    };
    let (standing, local, remote) = (one.standing.word(), id(&one.local), id(&one.remote));
    let mut text = format!("{standing:<9} {local:<10} {remote:<10} {}\n", one.name);
    text.extend(one.reason.iter().map(|reason| format!("          {reason}\n")));
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, standing: Standing) -> SyncRef {
        SyncRef {
            name: name.into(),
            standing,
            local: Some("a1".repeat(20)),
            remote: None,
            reason: None,
        }
    }

    #[test]
    fn equal_refs_are_counted_and_the_first_others_are_listed() {
        let mut all: Vec<SyncRef> = (0..200)
            .map(|number| one(&format!("refs/tags/{number}"), Standing::Equal))
            .collect();
        all.extend((0..25).map(|number| one(&format!("refs/heads/{number}"), Standing::Missing)));
        let text = refs(&all, false);
        assert_eq!(text.lines().count(), 21, "{text}");
        assert!(
            text.starts_with("missing   a1a1a1a1a1 -          refs/heads/0\n"),
            "{text}"
        );
        assert!(text.ends_with("missing   and 5 more; -v lists them\n"), "{text}");
        assert_eq!(refs(&all, true).lines().count(), 225);
    }
}
