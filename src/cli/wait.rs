//! `stargate-mirror wait`: waits until a commit is visible, for CI and readers.
mod refs;

use std::{path::PathBuf, time::Duration};

use bstr::{BStr, ByteSlice};
use durable::clock::{Clock, SystemClock};
use git_push::{Connection, repository};
use git_push_transport::{Remote, Settings, resolve};
use gix::ObjectId;
use serde::Serialize;

use self::refs::RefLine;
use super::{
    environment,
    report::{Exit, Failure},
};
use crate::{
    config::{Mirrors, USER_AGENT, parse_duration},
    mirror::watermark::{ledger_ref, watermark_ref},
    worker::{self, Expected, RefsOutcome, RemoteFence, RemoteRefFence, RemoteToRead, Seen, WaitOutcome},
};

const EXAMPLES: &str = "\
Examples:
  stargate-mirror wait --ref refs/heads/main --oid 9f8e… \\
    --remote https://github.com/o/r.git
  stargate-mirror wait --oid 9f8e… --ns team/a --timeout 5m --json
  stargate-mirror wait --oid \"$(git rev-parse refs/kv/main)\" --remote origin
  stargate-mirror wait --ref refs/heads/main --ref refs/tags/v1.0 --repo .

Exit codes: 0 the commit is visible, 4 no such remote or credentials refused, 10
timed out, or the mirror was rewound";

/// Minimum time for a server to answer a single poll, even if the timeout is shorter.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(1);

/// Wait until a commit is visible on the mirror.
///
/// Polls refs/kv-mirror/NS and refs/kv/NS in one request. The commit is visible when the watermark is that commit or
/// descends from it, and the ledger is at the watermark or after it. Works outside a clone, too; inside one, ancestry is
/// looked up there first.
///
/// With --ref, polls the refs themselves, and needs no watermark. Each ref must be at its commit or at a descendant of
/// it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The commit: 40 or 64 hexadecimal digits; with --ref, one for each of them, in the same order
    #[arg(long = "oid", value_name = "OID", value_parser = parse_oid, required_unless_present = "refs")]
    oids: Vec<ObjectId>,
    /// A ref by its full name, instead of a namespace; repeatable. Without --oid, the commit is that of the ref in the
    /// repository of --repo
    #[arg(long = "ref", value_name = "REF", value_parser = refs::parse_name, conflicts_with = "namespace")]
    refs: Vec<String>,
    /// Where the commit must be visible; the mirror is the only place
    #[arg(long, value_name = "PLACE", value_parser = ["github", "mirror"], default_value = "mirror", hide_default_value = true)]
    visible_on: String,
    /// The namespace
    #[arg(long = "ns", value_name = "NS", default_value = "main", value_parser = parse_namespace)]
    namespace: String,
    /// The mirror: a URL, a path, or the name of a remote or mirror [default: stargate.remote, else GITHUB_REPO_URL; all of
    /// several mirrors]
    #[arg(long, value_name = "R")]
    remote: Option<String>,
    /// A repository whose configuration and commits are used
    #[arg(long = "repo", value_name = "DIR")]
    repository: Option<PathBuf>,
    /// How long to wait, such as 500ms, 60s, 5m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
    /// Print one JSON object for each mirror to stdout
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct WaitReport<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    mirror: Option<&'a str>,
    outcome: &'static str,
    oid: Option<String>,
    namespace: Option<&'a str>,
    watermark: Option<String>,
    ledger: Option<String>,
    refs: Vec<RefLine>,
    error: Option<String>,
    http_requests: u64,
    elapsed_ms: u64,
}

/// Runs the command.
///
/// # Errors
/// Permanent errors. A timeout is not an error, but [`Exit::TimedOut`].
pub fn main(args: &Args) -> Result<Exit, Failure> {
    let clock = SystemClock::default();
    let wanted = Wanted::new(args)?;
    let local = local_repository(args)?;
    let mirrors = configured_mirrors(args, local.as_ref())?;
    let remotes = worker::remotes_to_read(mirrors.as_ref(), args.remote.as_deref(), local.as_ref(), &environment);
    if remotes.is_empty() {
        return Err(Failure::new(Exit::Misconfigured, "no mirror is configured")
            .hint("give --remote URL, or set stargate.remote in the repository, or GITHUB_REPO_URL"));
    }
    // The timeout is one for all mirrors. Each of them is polled at least once.
    let mut worst = Exit::Done;
    for to_read in &remotes {
        let mirror = to_read.mirror.as_deref();
        let waiting = Waiting {
            args,
            wanted: &wanted,
            local: local.as_ref(),
            mirror,
            left: args.timeout.saturating_sub(clock.elapsed()),
        };
        let failed = |failure: Failure| match mirror {
            Some(mirror) => failure.of_mirror(mirror),
            None => failure,
        };
        worst = worst.max(waiting.until_visible(to_read).map_err(failed)?);
    }
    Ok(worst)
}

/// Wait for one mirror.
struct Waiting<'a> {
    args: &'a Args,
    wanted: &'a Wanted,
    local: Option<&'a gix::Repository>,
    /// Name of the mirror among several.
    mirror: Option<&'a str>,
    /// Time until the timeout.
    left: Duration,
}

impl Waiting<'_> {
    fn until_visible(&self, to_read: &RemoteToRead) -> Result<Exit, Failure> {
        let (args, clock) = (self.args, SystemClock::default());
        let location = resolve(BStr::new(&to_read.remote), self.local)?;
        let section = to_read.section.as_ref().map(|section| section.as_bstr());
        let mut remote = Remote::open(location, &settings(args, self.local, section)?)?;
        match self.wanted {
            Wanted::Commit(oid) => {
                let mut fence = RemoteFence::new(&mut remote, args.namespace.as_bytes().as_bstr(), self.local);
                let waited = worker::wait(&mut fence, *oid, self.left, &clock)?;
                self.print(*oid, &waited, &remote, clock.elapsed());
                Ok(match waited {
                    WaitOutcome::Visible(_) => Exit::Done,
                    WaitOutcome::TimedOut { .. } | WaitOutcome::Rewound(_) => Exit::TimedOut,
                })
            }
            Wanted::Refs(expected) => {
                let mut fence = RemoteRefFence::new(&mut remote, expected, self.local);
                let waited = worker::wait_for_refs(&mut fence, expected, self.left, &clock)?;
                self.print_refs(expected, &waited, &remote, clock.elapsed());
                Ok(match waited {
                    RefsOutcome::Visible(_) => Exit::Done,
                    RefsOutcome::TimedOut { .. } => Exit::TimedOut,
                })
            }
        }
    }

    fn print_refs(&self, expected: &[Expected], waited: &RefsOutcome, remote: &Remote, elapsed: Duration) {
        let args = self.args;
        let (outcome, seen, error) = match waited {
            RefsOutcome::Visible(seen) => ("visible", seen, None),
            RefsOutcome::TimedOut { last_seen, error } => ("timed-out", last_seen, error.clone()),
        };
        if !args.json {
            return refs::print(expected, waited, remote, args.timeout);
        }
        print_json(&WaitReport {
            mirror: self.mirror,
            outcome,
            oid: None,
            namespace: None,
            watermark: None,
            ledger: None,
            refs: refs::lines(expected, seen),
            error,
            http_requests: remote.traffic().http_requests,
            elapsed_ms: elapsed.as_millis() as u64,
        });
    }

    fn print(&self, oid: ObjectId, waited: &WaitOutcome, remote: &Remote, elapsed: Duration) {
        let args = self.args;
        let (outcome, seen, error) = match waited {
            WaitOutcome::Visible(seen) => ("visible", seen, None),
            WaitOutcome::TimedOut { last_seen, error } => ("timed-out", last_seen, error.clone()),
            WaitOutcome::Rewound(seen) => ("rewound", seen, None),
        };
        if args.json {
            let report = WaitReport {
                mirror: self.mirror,
                outcome,
                oid: Some(oid.to_string()),
                namespace: Some(&args.namespace),
                watermark: seen.watermark.map(|id| id.to_string()),
                ledger: seen.ledger.map(|id| id.to_string()),
                refs: Vec::new(),
                error,
                http_requests: remote.traffic().http_requests,
                elapsed_ms: elapsed.as_millis() as u64,
            };
            return print_json(&report);
        }
        print_human(args, oid, waited, remote);
    }
}

/// The condition to wait for.
enum Wanted {
    /// A commit of a namespace.
    Commit(ObjectId),
    /// Refs.
    Refs(Vec<Expected>),
}

impl Wanted {
    fn new(args: &Args) -> Result<Self, Failure> {
        match (&args.oids[..], args.refs.is_empty()) {
            (_, false) => refs::expected(args).map(Wanted::Refs),
            ([oid], true) => Ok(Wanted::Commit(*oid)),
            (_, true) => {
                let failure = Failure::new(Exit::Usage, "--oid was given more than once without --ref");
                Err(failure.hint("give one --ref for each --oid, or a single --oid"))
            }
        }
    }
}

/// Returns the configured mirrors. A configuration that cannot be read is an error only if it would be used.
fn configured_mirrors(args: &Args, local: Option<&gix::Repository>) -> Result<Option<Mirrors>, Failure> {
    let Some(local) = local else {
        return Ok(None);
    };
    match Mirrors::load(local.git_dir()) {
        Ok(mirrors) => Ok(Some(mirrors)),
        Err(_) if args.remote.is_some() => Ok(None),
        Err(error) => Err(unreadable(local, &error)),
    }
}

fn unreadable(local: &gix::Repository, error: &gix::Error) -> Failure {
    let what = format!(
        "cannot read git's configuration of {}: {error}",
        local.git_dir().display()
    );
    Failure::new(Exit::Failed, what).hint("correct it, or give --remote URL")
}

/// Returns the transport settings of the mirror with this section, with timeouts no longer than the wait, so that a silent
/// server cannot prolong it.
fn settings(args: &Args, local: Option<&gix::Repository>, section: Option<&BStr>) -> Result<Settings, Failure> {
    let settings = Settings::from_environment(environment)?.with_user_agent(USER_AGENT);
    let mut settings = match local {
        Some(local) => settings.with_git_config(local)?,
        None => settings.with_user_config()?,
    };
    if let (Some(local), Some(section)) = (local, section) {
        settings = settings.with_section(local, section)?;
    }
    let longest = args.timeout.max(SHORTEST_PATIENCE);
    settings.idle_timeout = settings.idle_timeout.min(longest);
    settings.connect_timeout = settings.connect_timeout.min(longest);
    Ok(settings)
}

fn local_repository(args: &Args) -> Result<Option<gix::Repository>, Failure> {
    let Some(given) = &args.repository else {
        return Ok(surrounding_repository());
    };
    let git_dir = super::located(Some(given))?;
    Ok(Some(repository::open_any_refs(&git_dir)?.0))
}

/// Returns the repository around the current directory. It is optional: without a readable one, everything is read from
/// the mirror.
fn surrounding_repository() -> Option<gix::Repository> {
    let located = repository::locate(None)
        .inspect_err(|error| tracing::debug!(%error, "no repository around the current directory"));
    let git_dir = located.ok()?;
    match repository::open_any_refs(&git_dir) {
        Ok((repository, _)) => Some(repository),
        Err(error) => {
            tracing::warn!(%error, "the repository around the current directory is not used");
            None
        }
    }
}

fn print_json(report: &WaitReport<'_>) {
    println!("{}", serde_json::to_string(report).expect("a report is always JSON"));
}

fn print_human(args: &Args, oid: ObjectId, waited: &WaitOutcome, remote: &Remote) {
    let (timeout, place) = (args.timeout, remote.location());
    let namespace = BStr::new(&args.namespace);
    let stands = |id: Option<ObjectId>| id.map_or("does not exist".into(), |id| format!("is at {id}"));
    let watermark = |seen: &Seen| format!("{} {}", watermark_ref(namespace), stands(seen.watermark));
    match waited {
        WaitOutcome::Visible(seen) => println!("{oid} is visible: {}", watermark(seen)),
        WaitOutcome::TimedOut { last_seen, error } => {
            let seen = watermark(last_seen);
            eprintln!("timed out after {timeout:?} waiting for {oid}: {seen} on {place}");
            error
                .iter()
                .for_each(|error| eprintln!("the last poll failed: {error}"));
        }
        WaitOutcome::Rewound(seen) => {
            let ledger = format!("{} {}", ledger_ref(namespace), stands(seen.ledger));
            eprintln!(
                "timed out after {timeout:?} waiting for {oid}: {place} was rewound: {}, but {ledger}, which does not contain that commit",
                watermark(seen)
            );
            eprintln!("run `stargate-mirror sync --dry-run` in the Stargate to compare the refs");
        }
    }
}

fn parse_oid(text: &str) -> Result<ObjectId, String> {
    match ObjectId::from_hex(text.as_bytes()) {
        Ok(id) if !id.is_null() => Ok(id),
        _ => Err("expected a commit id of 40 or 64 hexadecimal digits, as `git rev-parse` prints it".into()),
    }
}

fn parse_namespace(text: &str) -> Result<String, String> {
    let name = watermark_ref(BStr::new(text));
    match gix::validate::reference::name(name.as_bstr()) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("{name} is not a valid ref name")),
    }
}
