//! `stargate-mirror push`: one push by refspecs, like `git push`.
mod lines;
mod progress;

use std::{ffi::OsString, path::PathBuf};

use bstr::BString;
use durable::clock::SystemClock;
use git_push::ruling::Refusal;
pub use progress::Terminal;

use super::report::{Exit, Failure, git_exit};
use crate::porcelain::{self, Fate, Options, PushOutcome, PushReport};

const EXAMPLES: &str = "\
Examples:
  stargate-mirror push origin main                     refs/heads/main, if it is a fast-forward
  stargate-mirror push origin HEAD~1:refs/heads/next   any commit, to any ref
  stargate-mirror push origin 'refs/heads/*' '^refs/heads/wip'
  stargate-mirror push origin +main                    force; or use --force-with-lease main
  stargate-mirror push origin :old                     delete; or use --delete old
  GITHUB_PAT=… stargate-mirror push https://github.com/o/r.git --atomic main tag v1.0

--json prints one object. A verdict is up-to-date, accepted, refused (here), rejected (by the
remote) or unknown; null in a dry run. The outcome is pushed, idle, planned, rejected or uncertain.
For a deletion, new is zeros.
  {\"outcome\":\"pushed\",\"remote\":\"https://github.com/o/r.git\",\"refs\":[{\"ref\":\"refs/heads/main\",
   \"old\":\"1a2b…\",\"new\":\"9f8e…\",\"verdict\":\"accepted\",\"reason\":null}],\"http_requests\":4,
   \"bytes_sent\":3514,\"elapsed_ms\":84}

Exit codes:
  0  done, or nothing to do            3  refused here, or rejected by the remote
  1  the answer was lost, or the refs  4  misconfigured: remote, credentials, atomic not offered
     do not agree with it              5  input/output or repository error
  2  usage, or an invalid refspec
With --porcelain they are git's: 0, 1 (not all refs were pushed), 128 (no push), 129 (usage).

Unlike git, push reads the refs back afterwards, unless stargate.verify is false.

Not supported:
  - push without REMOTE and REFSPEC: push.default, remote.<name>.push, more than one URL
  - --all, --branches, --mirror, --tags, --follow-tags, --prune (use refspecs: 'refs/tags/*')
  - --set-upstream, --force-if-includes, --signed, --recurse-submodules, --receive-pack
  - a pre-push hook here, and the hooks of a remote that is a path";

/// Push refs to a remote, as git push does, without git.
///
/// A push that would overwrite something is refused, unless it is forced or has a lease that still matches. After the
/// push the refs are read back, and the remote-tracking refs of a configured remote are updated.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The name of a remote, a URL (https, http, ssh, git, file), or a path
    #[arg(value_name = "REMOTE")]
    remote: OsString,
    /// Refs to push: [+]SRC[:DST], :DST, patterns with *, ^EXCLUDED, `:`, tag NAME
    #[arg(value_name = "REFSPEC", required = true)]
    refspecs: Vec<OsString>,
    /// The repository [default: GIT_DIR, else found from the current directory]
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// Push all refs or none
    #[arg(long)]
    atomic: bool,
    /// Overwrite whatever the remote has, as + before each refspec does
    #[arg(short, long)]
    force: bool,
    /// Overwrite only if the remote has OID (empty: no such ref), by default the remote-tracking ref; repeatable
    #[arg(long, value_name = "REF[:OID]", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    force_with_lease: Vec<OsString>,
    /// Delete the refs that the refspecs name
    #[arg(short, long)]
    delete: bool,
    /// Pass an option of one line to the remote's hooks; repeatable
    #[arg(short = 'o', long, value_name = "O")]
    push_option: Vec<OsString>,
    /// Ask the remote for its refs, show what would be pushed, and send nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print git's lines for scripts to stdout, and use git's exit codes
    #[arg(long)]
    porcelain: bool,
    /// Print one JSON object to stdout
    #[arg(long, conflicts_with = "porcelain")]
    json: bool,
    /// Print errors and messages of the remote's hooks only
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the command. Progress goes to `terminal`.
///
/// # Errors
/// There was no push, or not all refs were pushed.
pub fn main(args: &Args, terminal: &Terminal) -> Result<Exit, Failure> {
    let pushed = pushed(args, terminal);
    terminal.clear();
    let report = pushed?;
    let failed = failed(&report);
    let quiet = args.quiet && failed.is_none();
    if args.json {
        println!("{}", serde_json::to_string(&report).expect("a report is always JSON"));
    } else if args.porcelain {
        super::output::say_bytes(&lines::porcelain(&report, quiet));
    } else if !quiet {
        print!("{}", lines::human(&report));
    }
    match failed {
        Some(failure) if args.porcelain => Err(failure.exits(Exit::Incomplete)),
        Some(failure) => Err(failure),
        None => Ok(Exit::Done),
    }
}

fn pushed(args: &Args, terminal: &Terminal) -> Result<PushReport, Failure> {
    let git_dir = super::repository(args.repo.as_deref()).map_err(|failure| {
        if args.porcelain {
            failure.exits(Exit::GitFatal)
        } else {
            failure
        }
    })?;
    let observer: &dyn git_push::Observer = if args.quiet { &() } else { terminal };
    let clock = SystemClock::default();
    porcelain::run(&git_dir, &options(args)?, &super::environment, &clock, observer).map_err(|error| {
        let git = git_exit(&error);
        let failure = Failure::from(error);
        if args.porcelain { failure.exits(git) } else { failure }
    })
}

fn options(args: &Args) -> Result<Options, Failure> {
    Ok(Options {
        remote: bytes(&args.remote)?,
        refspecs: all_bytes(&args.refspecs)?,
        delete: args.delete,
        force: args.force,
        leases: all_bytes(&args.force_with_lease)?,
        atomic: args.atomic,
        push_options: all_bytes(&args.push_option)?,
        quiet: args.quiet,
        dry_run: args.dry_run,
    })
}

fn all_bytes(texts: &[OsString]) -> Result<Vec<BString>, Failure> {
    texts.iter().map(bytes).collect()
}

fn bytes(text: &OsString) -> Result<BString, Failure> {
    match gix::path::os_str_into_bstr(text) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Failure::new(Exit::Usage, format!("{} is not UTF-8", text.display()))),
    }
}

/// Returns the failure to report if not all refs were pushed.
fn failed(report: &PushReport) -> Option<Failure> {
    let exit = match report.outcome {
        PushOutcome::Pushed | PushOutcome::Idle | PushOutcome::Planned => return None,
        PushOutcome::Rejected => Exit::Refused,
        PushOutcome::Uncertain => Exit::Incomplete,
    };
    let failure = Failure::new(exit, format!("failed to push some refs to '{}'", report.remote));
    Some(failure.hint(report.refs.iter().find_map(|line| hint(&line.fate)).unwrap_or_default()))
}

fn hint(fate: &Fate) -> Option<&'static str> {
    Some(match fate {
        Fate::UpToDate | Fate::Planned | Fate::Accepted | Fate::Refused(Refusal::AtomicPushFailed) => return None,
        Fate::Refused(Refusal::NonFastForward) => {
            "the remote would lose commits: integrate them first, or overwrite them with --force-with-lease"
        }
        Fate::Refused(Refusal::FetchFirst) => {
            "the remote has commits that the local repository lacks: fetch and integrate them first"
        }
        Fate::Refused(Refusal::NeedsForce) => "the old or the new object is not a commit: use --force to overwrite it",
        Fate::Refused(Refusal::AlreadyExists) => "the remote has this tag already: use --force to overwrite it",
        Fate::Refused(Refusal::StaleInfo) => "the remote's ref is not the expected one: fetch, check it, and retry",
        Fate::Refused(Refusal::CannotDelete) => "update the server's git: it does not support deletions",
        Fate::Rejected(_) => "the server's rules or hooks rejected it: read the lines that start with `remote:`",
        Fate::Unknown(_) => {
            "check the remote's refs; if the server hides refs from readers, set stargate.verify to false"
        }
    })
}
