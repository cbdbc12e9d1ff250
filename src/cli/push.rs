//! `stargate-mirror push`: one push by refspecs, like `git push`.
mod advice;
mod lines;
mod progress;
mod upstream;

use std::{
    cell::OnceCell,
    ffi::OsString,
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bstr::BString;
use durable::clock::SystemClock;
pub use progress::Terminal;

use super::{
    logs,
    report::{Exit, Failure, git_exit},
    signals,
};
use crate::porcelain::{self, Extent, Options, Outside, PushError, PushOutcome, PushReport, Recurse, Signed};

const EXAMPLES: &str = "\
Examples:
  stargate-mirror push                                as push.default says
  stargate-mirror push origin main                    if it is a fast-forward
  stargate-mirror push origin HEAD~1:refs/heads/next  any commit, to any ref
  stargate-mirror push origin 'refs/heads/*' '^refs/heads/wip'
  stargate-mirror push origin +main                   or --force-with-lease main
  stargate-mirror push origin :old                    or --delete old
  stargate-mirror push -u origin topic                and make it the upstream
  stargate-mirror push --follow-tags origin main      and its annotated tags
  GITHUB_PAT=… stargate-mirror push https://github.com/o/r.git main tag v1.0

--json prints one object. A verdict is up-to-date, accepted, refused (here),
rejected (by the remote) or unknown; null in a dry run. The outcome is pushed,
idle, planned, rejected or uncertain. For a deletion, new is zeros.
  {\"outcome\":\"pushed\",\"remote\":\"https://github.com/o/r.git\",
   \"refs\":[{\"ref\":\"refs/heads/main\",\"old\":\"1a2b…\",\"new\":\"9f8e…\",
   \"verdict\":\"accepted\",\"reason\":null}],\"http_requests\":3,
   \"bytes_sent\":3514,\"elapsed_ms\":84}

Exit codes:
  0  done, or nothing to do           3  refused here, or rejected by the remote
  1  the answer was lost, or the      4  misconfigured: remote, credentials,
     refs do not agree with it           atomic not offered
  2  usage, or an invalid refspec     5  input/output or repository error
With --porcelain they are git's: 0, 1 (not all refs were pushed), 128 (no push),
129 (usage).

Unlike git, push reads the refs back afterwards, unless stargate.verify is
false. With --porcelain it does so only if stargate.verify is true, or the
server's report is missing.

Without REFSPEC, remote.<name>.push and push.default decide what is pushed;
without REMOTE, branch.<name>.pushRemote, remote.pushDefault and
branch.<name>.remote decide where.

Not supported:
  - git's --repo beside REMOTE: --repo names the local repository then
  - dumb HTTP (WebDAV)";

/// Push refs to a remote, as git push does, without git.
///
/// A push that would overwrite something is refused, unless it is forced or has a lease that still matches. After the
/// push the refs are read back, and the remote-tracking refs of a configured remote are updated.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_override_self = true)]
pub struct Args {
    /// The name of a remote or of a group, a URL (https, http, ssh, git, file), or a path
    #[arg(value_name = "REMOTE")]
    remote: Option<OsString>,
    /// Refs to push: [+]SRC[:DST], :DST, patterns with *, ^EXCLUDED, `:`, tag NAME
    #[arg(value_name = "REFSPEC")]
    refspecs: Vec<OsString>,
    /// The repository [default: GIT_DIR, else found from the current directory]; without REMOTE, the remote, as in git
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// Push all branches
    #[arg(long, visible_alias = "branches", conflicts_with_all = ["mirror", "tags", "delete"])]
    all: bool,
    /// Push all refs by force, and delete refs of the remote that do not exist here
    #[arg(long, conflicts_with_all = ["tags", "delete"])]
    mirror: bool,
    /// Push all tags, too
    #[arg(long, conflicts_with = "delete")]
    tags: bool,
    /// Push annotated tags that the remote lacks and that point into the pushed history, too
    #[arg(long, overrides_with = "no_follow_tags")]
    follow_tags: bool,
    #[arg(long, hide = true, overrides_with = "follow_tags")]
    no_follow_tags: bool,
    /// Delete refs of the remote that match a pattern and do not exist here
    #[arg(long)]
    prune: bool,
    /// Make the pushed branches the upstream branches of the local ones
    #[arg(short = 'u', long)]
    set_upstream: bool,
    /// Push all refs or none
    #[arg(long, overrides_with = "no_atomic")]
    atomic: bool,
    #[arg(long, hide = true, overrides_with = "atomic")]
    no_atomic: bool,
    /// Overwrite whatever the remote has, as + before each refspec does
    #[arg(short, long, overrides_with = "no_force")]
    force: bool,
    #[arg(long, hide = true, overrides_with = "force")]
    no_force: bool,
    /// Overwrite only if the remote has OID (empty: no such ref), by default the remote-tracking ref; repeatable
    #[arg(long, value_name = "REF[:OID]", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    force_with_lease: Vec<OsString>,
    /// Ignore all --force-with-lease
    #[arg(long, hide = true)]
    no_force_with_lease: bool,
    /// With a lease on a remote-tracking ref, overwrite only what the local branch has contained
    #[arg(long, overrides_with = "no_force_if_includes")]
    force_if_includes: bool,
    #[arg(long, hide = true, overrides_with = "force_if_includes")]
    no_force_if_includes: bool,
    /// Delete the refs that the refspecs name
    #[arg(short, long)]
    delete: bool,
    /// Pass an option of one line to the remote's hooks; repeatable
    #[arg(short = 'o', long, value_name = "O")]
    push_option: Vec<OsString>,
    /// Ask the remote for its refs, show what would be pushed, and send nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Do not run the hook pre-push
    #[arg(long)]
    no_verify: bool,
    /// Commits of submodules: no, check, on-demand (push them first) or only (push nothing else)
    #[arg(long, value_name = "RULE", value_parser = recurse, overrides_with = "no_recurse_submodules")]
    recurse_submodules: Option<Recurse>,
    #[arg(long, hide = true, overrides_with = "recurse_submodules")]
    no_recurse_submodules: bool,
    /// Send a signed push certificate: yes, no or if-asked
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "yes",
          value_parser = signed, overrides_with = "no_signed")]
    signed: Option<Signed>,
    #[arg(long, hide = true, overrides_with = "signed")]
    no_signed: bool,
    /// The program that receives the push, as a command line; a path is then served by it
    #[arg(long, alias = "exec", value_name = "PROGRAM")]
    receive_pack: Option<OsString>,
    /// Send deltas against objects that the remote has; this is the default
    #[arg(long, overrides_with = "no_thin")]
    thin: bool,
    /// Do not send such deltas
    #[arg(long, overrides_with = "thin")]
    no_thin: bool,
    /// A setting of git configuration for this push; repeatable
    #[arg(short = 'c', value_name = "KEY=VALUE")]
    config: Vec<OsString>,
    /// Print git's lines for scripts to stdout, and use git's exit codes
    #[arg(long)]
    porcelain: bool,
    /// Print one JSON object to stdout
    #[arg(long, conflicts_with = "porcelain")]
    json: bool,
    /// Report progress even if stderr is not a terminal
    #[arg(long, overrides_with = "no_progress")]
    progress: bool,
    /// Report no progress
    #[arg(long, overrides_with = "progress")]
    no_progress: bool,
    /// Print errors and messages of the remote's hooks only
    #[arg(short, long)]
    quiet: bool,
    /// Print the URL, refs that are up to date, and remote-tracking refs, too
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Instruction for `--repo` without a remote, outside a repository.
const REPO_IS_REMOTE: &str = "also name the remote: without it, --repo is the remote, as in git";

/// Runs the command. Progress goes to `terminal`.
///
/// # Errors
/// There was no push, or not all refs were pushed.
pub fn main(args: &Args, terminal: &Terminal) -> Result<Exit, Failure> {
    let options = options(args)?;
    // As in git, it is the remote if no other is given.
    let repository = args.repo.as_deref().filter(|_| args.remote.is_some());
    let git_dir = super::repository(repository).map_err(|failure| {
        let failure = match (&args.repo, &args.remote) {
            (Some(_), None) => failure.hint(REPO_IS_REMOTE),
            _ => failure,
        };
        if args.porcelain {
            failure.exits(Exit::GitFatal)
        } else {
            failure
        }
    })?;
    let mut failures = Vec::new();
    let result = push(args, &git_dir, &options, terminal, &mut |url, result| {
        terminal.clear();
        let ended = match result {
            Ok(report) => ended(args, &git_dir, &report),
            Err(error) => Err(failure(args, error, Some(url))),
        };
        failures.extend(ended.err());
    });
    failures.extend(result.err().map(|error| failure(args, error, None)));
    let last = failures.pop();
    for failure in failures {
        logs::print_failure(&failure, None);
    }
    last.map_or(Ok(Exit::Done), Err)
}

fn push(
    args: &Args,
    git_dir: &Path,
    options: &Options,
    terminal: &Terminal,
    ends: &mut dyn FnMut(&str, Result<PushReport, PushError>),
) -> Result<(), PushError> {
    let shows_progress = !args.quiet && !args.no_progress;
    let observer: &dyn git_push::Observer = if !shows_progress {
        &()
    } else if args.progress && !std::io::stderr().is_terminal() {
        &progress::Lines
    } else {
        terminal
    };
    let interrupt = OnceCell::new();
    let mut outside = Outside {
        environment: &super::environment,
        clock: &SystemClock::default(),
        observer,
        interruptible: &|| interrupt.get_or_init(interruptible).clone(),
        starts: &|url| {
            if args.verbose > 0 {
                eprintln!("Pushing to {url}");
            }
        },
        before_hidden: super::signals::keep_echo,
        says: &|line| eprintln!("{line}"),
        ends,
    };
    porcelain::run(git_dir, options, &mut outside)
}

/// Returns a flag that the first signal to stop sets. The second one ends the process.
fn interruptible() -> Arc<AtomicBool> {
    let interrupt = Arc::<AtomicBool>::default();
    let flag = interrupt.clone();
    if signals::listen(move |_| flag.store(true, Ordering::Relaxed)).is_err() {
        tracing::warn!("cannot receive signals; the first one ends the process, and a hook may run on");
    }
    interrupt
}

/// Prints the report of a push. Returns the failure if not all refs were pushed.
fn ended(args: &Args, git_dir: &Path, report: &PushReport) -> Result<(), Failure> {
    let failed = failed(args, report);
    if args.json {
        println!("{}", serde_json::to_string(report).expect("a report is always JSON"));
    } else {
        table(args, report, failed.is_some());
    }
    for upstream in &report.context.upstreams {
        upstream::set(args, git_dir, upstream)?;
    }
    if args.verbose > 0 && !args.dry_run {
        for name in &report.context.tracked {
            eprintln!("updating local tracking ref '{name}'");
        }
    }
    if args.porcelain {
        println!("Done");
    } else if failed.is_none() && report.outcome == PushOutcome::Idle && !args.quiet && !args.json {
        eprintln!("Everything up-to-date");
    }
    failed.map_or(Ok(()), Err)
}

/// Prints the lines about the refs.
fn table(args: &Args, report: &PushReport, has_failed: bool) {
    let quiet = args.quiet && !has_failed;
    if report.context.is_nothing_in_common {
        eprintln!("No refs in common and none specified; doing nothing.\nPerhaps you should specify a branch.");
    }
    eprint!("{}", lines::atomic_failure(report));
    if args.porcelain {
        super::output::say_bytes(&lines::porcelain(report, quiet));
    } else if !quiet {
        super::output::complain_bytes(&lines::human(report, args.verbose > 0));
    }
}

/// Returns the failure of a push that did not happen.
fn failure(args: &Args, error: PushError, url: Option<&str>) -> Failure {
    let git = git_exit(&error);
    let text = advice::of_error(&error, url);
    let mut failure = Failure::from(error);
    if let Some(text) = text {
        failure = failure.printed_as(text);
    }
    if args.porcelain { failure.exits(git) } else { failure }
}

/// Returns the failure to report if not all refs were pushed.
fn failed(args: &Args, report: &PushReport) -> Option<Failure> {
    let exit = match report.outcome {
        PushOutcome::Idle if report.context.is_nothing_in_common => Exit::Incomplete,
        PushOutcome::Pushed | PushOutcome::Idle | PushOutcome::Planned => return None,
        PushOutcome::Rejected => Exit::Refused,
        PushOutcome::Uncertain => Exit::Incomplete,
    };
    let exit = if args.porcelain { Exit::Incomplete } else { exit };
    let failure = Failure::new(exit, format!("failed to push some refs to '{}'", report.remote));
    Some(failure.printed_as(advice::failed(report)))
}

fn options(args: &Args) -> Result<Options, Failure> {
    let choice = |yes: bool, no: bool| (yes || no).then_some(yes);
    let leases = if args.no_force_with_lease {
        &[][..]
    } else {
        &args.force_with_lease
    };
    let is_shown = args.progress || (std::io::stderr().is_terminal() && !args.no_progress);
    Ok(Options {
        remote: match (&args.remote, &args.repo) {
            (Some(remote), _) => Some(bytes(remote)?),
            (None, Some(remote)) => Some(bytes(&remote.clone().into_os_string())?),
            (None, None) => None,
        },
        refspecs: all_bytes(&args.refspecs)?,
        extent: if args.mirror {
            Extent::Mirror
        } else if args.all {
            Extent::AllBranches
        } else {
            Extent::Refspecs
        },
        tags: args.tags,
        follow_tags: choice(args.follow_tags, args.no_follow_tags),
        delete: args.delete,
        prune: args.prune,
        force: args.force,
        leases: all_bytes(leases)?,
        force_if_includes: choice(args.force_if_includes, args.no_force_if_includes),
        atomic: args.atomic,
        set_upstream: args.set_upstream,
        push_options: all_bytes(&args.push_option)?,
        quiet: args.quiet || !is_shown,
        verbosity: if args.quiet { 0 } else { 1 + args.verbose },
        dry_run: args.dry_run,
        no_hook: args.no_verify,
        no_thin: args.no_thin,
        receive_pack: args.receive_pack.clone(),
        signed: if args.no_signed {
            Some(Signed::Never)
        } else {
            args.signed
        },
        recurse_submodules: if args.no_recurse_submodules {
            Some(Recurse::No)
        } else {
            args.recurse_submodules
        },
        config: all_bytes(&args.config)?,
        prompts: true,
        trust_report: args.porcelain,
    })
}

fn signed(text: &str) -> Result<Signed, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Ok(Signed::Always),
        "no" | "false" | "off" | "0" => Ok(Signed::Never),
        "if-asked" => Ok(Signed::IfAsked),
        _ => Err("give yes, no or if-asked".into()),
    }
}

fn recurse(text: &str) -> Result<Recurse, String> {
    match text.to_ascii_lowercase().as_str() {
        "no" | "false" | "off" | "0" => Ok(Recurse::No),
        "check" => Ok(Recurse::Check),
        "on-demand" => Ok(Recurse::OnDemand),
        "only" => Ok(Recurse::Only),
        // Passed on to submodules.
        "only-is-on-demand" => Ok(Recurse::OnlyIsOnDemand),
        _ => Err("give no, check, on-demand or only".into()),
    }
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
