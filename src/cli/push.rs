//! `stargate-mirror push`: one push by refspecs, as `git push` makes it.
mod lines;
mod progress;

use std::{ffi::OsString, path::PathBuf};

use bstr::BString;

use super::report::{Exit, Failure, git_exit};
use crate::{
    by_refspec::{self, Fate, Options, PushOutcome, PushReport},
    clock::SystemClock,
    push::{self, ruling::Refusal},
};

pub use progress::Terminal;

const EXAMPLES: &str = "\
Examples:
  stargate-mirror push origin main                     refs/heads/main, if it only adds
  stargate-mirror push origin HEAD~1:refs/heads/next   any commit, under any name
  stargate-mirror push origin 'refs/heads/*' '^refs/heads/wip'
  stargate-mirror push origin +main                    by force; or --force-with-lease main
  stargate-mirror push origin :old                     delete; or --delete old
  GITHUB_PAT=… stargate-mirror push https://github.com/o/r.git --atomic main tag v1.0

--json prints one object. verdict: up-to-date, accepted, refused (here), rejected (there), unknown,
null in a dry run. outcome: pushed, idle, planned, rejected, ambiguous. new is zeros for a deletion.
  {\"outcome\":\"pushed\",\"remote\":\"https://github.com/o/r.git\",\"refs\":[{\"ref\":\"refs/heads/main\",
   \"old\":\"1a2b…\",\"new\":\"9f8e…\",\"verdict\":\"accepted\",\"reason\":null}],\"http_requests\":4,
   \"bytes_sent\":3514,\"elapsed_ms\":84}

Exit codes:
  0  done, or nothing to do            3  refused here, or rejected by the remote
  1  the remote's word and its refs    4  misconfigured: remote, credentials, atomic not offered
     do not agree, or it was lost      5  input/output or repository error
  2  usage, refspecs among it
With --porcelain they are git's: 0, 1 (not all refs were pushed), 128 (no push at all), 129.

After a push the refs are read back (unless stargate.verify is false), which git does not do.

What git push can do and this cannot:
  - push without REMOTE and REFSPEC: push.default, remote.<name>.push, more than one URL
  - --all, --branches, --mirror, --tags, --follow-tags, --prune (name refspecs: 'refs/tags/*')
  - --set-upstream, --force-if-includes, --signed, --recurse-submodules, --receive-pack
  - run a pre-push hook here, or the hooks of a remote that is a path";

/// Push refs to a remote, as git push does, without git.
///
/// What would overwrite something is refused here, unless it is forced or a lease holds. Then what the remote lacks is
/// sent, the refs are read back, and the remote-tracking refs of a configured remote are moved.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A configured remote's name, a URL (https, http, ssh, git, file) or a path
    #[arg(value_name = "REMOTE")]
    remote: OsString,
    /// What to push where: [+]SRC[:DST], :DST, patterns with *, ^EXCLUDED, `:`, tag NAME
    #[arg(value_name = "REFSPEC", required = true)]
    refspecs: Vec<OsString>,
    /// The repository [default: GIT_DIR, else the one around the current directory]
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// All refs or none
    #[arg(long)]
    atomic: bool,
    /// Overwrite whatever the remote has, as with + before each refspec
    #[arg(short, long)]
    force: bool,
    /// Overwrite only what is expected: OID (nothing: no such ref), else the remote-tracking ref; repeatable
    #[arg(long, value_name = "REF[:OID]", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    force_with_lease: Vec<OsString>,
    /// The refspecs are names of refs to delete
    #[arg(short, long)]
    delete: bool,
    /// An option for the remote's hooks, one line; repeatable
    #[arg(short = 'o', long, value_name = "O")]
    push_option: Vec<OsString>,
    /// Ask the remote for its refs and show what would be done; send nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Git's lines for scripts on stdout, and git's exit codes
    #[arg(long)]
    porcelain: bool,
    /// One JSON object on stdout
    #[arg(long, conflicts_with = "porcelain")]
    json: bool,
    /// Show nothing but errors and what the remote's hooks say
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
    let git_dir = super::repository(args.repo.as_deref()).map_err(|failure| match args.porcelain {
        true => failure.exits(Exit::GitFatal),
        false => failure,
    })?;
    let observer: &dyn push::Observer = if args.quiet { &() } else { terminal };
    let clock = SystemClock::default();
    by_refspec::run(&git_dir, &options(args)?, &super::environment, &clock, observer).map_err(|error| {
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

/// What is to be said when not all refs are pushed.
fn failed(report: &PushReport) -> Option<Failure> {
    let exit = match report.outcome {
        PushOutcome::Pushed | PushOutcome::Idle | PushOutcome::Planned => return None,
        PushOutcome::Rejected => Exit::Refused,
        PushOutcome::Ambiguous => Exit::Incomplete,
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
        Fate::Refused(Refusal::FetchFirst) => "the remote has something that is not here: fetch and integrate it first",
        Fate::Refused(Refusal::NeedsForce) => "this is not a commit on top of another: overwrite it with --force",
        Fate::Refused(Refusal::AlreadyExists) => "the remote has this tag already: overwrite it with --force",
        Fate::Refused(Refusal::StaleInfo) => "the remote has something else than is expected: fetch, and look again",
        Fate::Refused(Refusal::CannotDelete) => "have the server's receive-pack updated",
        Fate::Rejected(_) => "the server's rules or hooks refuse it; look at the lines that start with `remote:`",
        Fate::Unknown(_) => {
            "look at the remote's refs; where refs are hidden from readers, set stargate.verify to false"
        }
    })
}
