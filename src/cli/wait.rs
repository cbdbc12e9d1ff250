//! `stargate-mirror wait`: waits until a commit is visible, for CI and readers.
use std::{path::PathBuf, time::Duration};

use bstr::{BStr, ByteSlice};
use durable::clock::{Clock, SystemClock};
use git_push::{Connection, repository};
use git_push_transport::{Remote, Settings, resolve};
use gix::ObjectId;
use serde::Serialize;

use super::{
    environment,
    report::{Exit, Failure},
};
use crate::{
    config::{Config, USER_AGENT, parse_duration},
    mirror::watermark::{ledger_ref, watermark_ref},
    worker::{self, RemoteFence, Seen, WaitOutcome},
};

const EXAMPLES: &str = "\
Examples:
  stargate-mirror wait --oid \"$(git rev-parse refs/kv/main)\" --remote https://github.com/o/r.git
  stargate-mirror wait --oid 9f8e… --ns team/a --timeout 5m --json

Exit codes: 0 the commit is visible, 4 no such remote or credentials refused, 10 timed out, or the
mirror was rewound";

/// Least time for a server to answer a single poll, even if the timeout is shorter.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(1);

/// Wait until a commit is visible on the mirror.
///
/// Polls refs/kv-mirror/NS and refs/kv/NS in one request. The commit is visible when the watermark is that commit or
/// descends from it, and the ledger is at the watermark or after it. Works outside a clone, too; inside one, ancestry is
/// looked up there first.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The commit: 40 or 64 hexadecimal digits
    #[arg(long, value_name = "OID", value_parser = parse_oid)]
    oid: ObjectId,
    /// The namespace
    #[arg(long = "ns", value_name = "NS", default_value = "main", value_parser = parse_namespace)]
    namespace: String,
    /// The mirror: a URL, a path, or the name of a remote [default: stargate.remote, else GITHUB_REPO_URL]
    #[arg(long, value_name = "R")]
    remote: Option<String>,
    /// A repository whose configuration and commits are used
    #[arg(long = "repo", value_name = "DIR")]
    repository: Option<PathBuf>,
    /// How long to wait, such as 500ms, 60s, 5m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
    /// Print one JSON object to stdout
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct WaitReport<'a> {
    outcome: &'static str,
    oid: String,
    namespace: &'a str,
    watermark: Option<String>,
    ledger: Option<String>,
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
    let local = local_repository(args)?;
    let configured = configured_remote(args, local.as_ref())?;
    let name = worker::remote_name(args.remote.clone(), configured, &environment).ok_or_else(|| {
        Failure::new(Exit::Misconfigured, "there is no remote to wait for")
            .hint("give --remote URL, or set stargate.remote in the repository, or GITHUB_REPO_URL")
    })?;
    let location = resolve(BStr::new(&name), local.as_ref())?;
    let mut remote = Remote::open(location, &settings(args, local.as_ref())?)?;
    let mut fence = RemoteFence::new(&mut remote, args.namespace.as_bytes().as_bstr(), local.as_ref());
    let waited = worker::wait(&mut fence, args.oid, args.timeout, &clock)?;
    print(args, &waited, &remote, clock.elapsed());
    Ok(match waited {
        WaitOutcome::Visible(_) => Exit::Done,
        WaitOutcome::TimedOut { .. } | WaitOutcome::Rewound(_) => Exit::TimedOut,
    })
}

/// Returns `stargate.remote`. A configuration that cannot be read is an error only if it would be used.
fn configured_remote(args: &Args, local: Option<&gix::Repository>) -> Result<Option<String>, Failure> {
    let Some(local) = local.filter(|_| args.remote.is_none()) else {
        return Ok(None);
    };
    let config = Config::load(local.git_dir()).map_err(|error| {
        let what = format!(
            "cannot read git's configuration of {}: {error}",
            local.git_dir().display()
        );
        Failure::new(Exit::Failed, what).hint("correct it, or give --remote URL")
    })?;
    Ok(config.remote.map(|remote| remote.to_string()))
}

/// Returns the transport settings, with timeouts no longer than the wait, so that a silent server cannot prolong it.
fn settings(args: &Args, local: Option<&gix::Repository>) -> Result<Settings, Failure> {
    let settings = Settings::from_environment(environment)?.with_user_agent(USER_AGENT);
    let mut settings = match local {
        Some(local) => settings.with_git_config(local)?,
        None => settings.with_user_config()?,
    };
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

fn print(args: &Args, waited: &WaitOutcome, remote: &Remote, elapsed: Duration) {
    let (outcome, seen, error) = match waited {
        WaitOutcome::Visible(seen) => ("visible", seen, None),
        WaitOutcome::TimedOut { last_seen, error } => ("timed-out", last_seen, error.clone()),
        WaitOutcome::Rewound(seen) => ("rewound", seen, None),
    };
    if args.json {
        let report = WaitReport {
            outcome,
            oid: args.oid.to_string(),
            namespace: &args.namespace,
            watermark: seen.watermark.map(|id| id.to_string()),
            ledger: seen.ledger.map(|id| id.to_string()),
            error,
            http_requests: remote.traffic().http_requests,
            elapsed_ms: elapsed.as_millis() as u64,
        };
        println!("{}", serde_json::to_string(&report).expect("a report is always JSON"));
        return;
    }
    print_human(args, waited, remote);
}

fn print_human(args: &Args, waited: &WaitOutcome, remote: &Remote) {
    let (oid, timeout, place) = (args.oid, args.timeout, remote.location());
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
        _ => Err("expected a commit id of 40 or 64 hexadecimal digits".into()),
    }
}

fn parse_namespace(text: &str) -> Result<String, String> {
    let name = watermark_ref(BStr::new(text));
    match gix::validate::reference::name(name.as_bstr()) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("{name} is not a valid ref name")),
    }
}
