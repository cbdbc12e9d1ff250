//! `stargate-mirror status`: what waits, since when, and why.
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use super::report::{Exit, Failure, REPAIR};
use crate::{
    clock::{Clock, SystemClock},
    worker::{self, BrokenRef, GroupStatus, RepositoryStatus},
};

const EXAMPLES: &str = "\
Examples:
  stargate-mirror status --repo /srv/git/o/r.git
  stargate-mirror status --json | jq .oldest_pending_age_s

Exit codes: 0 everything is mirrored, 1 something is pending or has failed, 5 the journal, a ref or \
an object cannot be read";

/// Show what is pending, since when, and why.
///
/// Reads the journal and what the worker remembers; asks no mirror, and may run beside the worker.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The repository [default: GIT_DIR, else the one around the current directory]
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// There is no repository, or its journal cannot be read.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    let git_dir = super::repository(args.repo.as_deref())?;
    let now = SystemClock::default().now();
    let status = worker::status(&git_dir, now)?;
    if args.json {
        println!("{}", serde_json::to_string(&status).expect("a status is always JSON"));
    } else {
        print_human(&status, now);
    }
    Ok(if !status.broken.is_empty() {
        Exit::Failed
    } else if status.pending + status.failed > 0 {
        Exit::Incomplete
    } else {
        Exit::Done
    })
}

fn print_human(status: &RepositoryStatus, now: Timestamp) {
    let compared = |at| format!(", compared {} ago", age(at, now));
    match &status.remote {
        Some(remote) => println!(
            "mirror {remote}{}",
            status.compared_at.map(compared).unwrap_or_default()
        ),
        None => println!("mirror: nothing is remembered of it"),
    }
    match status.oldest_pending {
        Some(oldest) => println!("{} pending, the oldest for {}", status.pending, age(oldest, now)),
        None => println!("nothing is pending"),
    }
    for group in &status.groups {
        print_group(group, now);
    }
    for broken in &status.broken {
        print_broken("broken", broken);
    }
    if !status.broken.is_empty() {
        println!("  {REPAIR}");
    }
    for dangling in &status.dangling {
        print_broken("dangling", dangling);
    }
    if status.failed > 0 {
        println!(
            "{} failed: see `journal list --status failed`, `journal retry`",
            status.failed
        );
    }
    if status.intents > 0 {
        println!("{} push(es) began and have not ended", status.intents);
    }
    if status.problems > 0 {
        println!(
            "{} line(s) of the journal are no entries: see `journal verify`",
            status.problems
        );
    }
}

fn print_broken(what: &str, broken: &BrokenRef) {
    let name = broken.name.as_ref().map(|name| format!(" {name}:"));
    println!("{what}{} {}", name.unwrap_or_else(|| ":".into()), broken.reason);
}

fn print_group(group: &GroupStatus, now: Timestamp) {
    println!(
        "  {}: {} pending for {}",
        group.group,
        group.pending,
        age(group.oldest_pending, now)
    );
    if let Some(reason) = &group.reason {
        let next = group.next_try.filter(|next| *next > now);
        let next = next.map(|next| format!(", again in {}", age(now, next)));
        println!(
            "    {} attempt(s){}: {reason}",
            group.attempts,
            next.unwrap_or_default()
        );
    }
}

/// How long ago `then` is, in whole seconds; a clock that went back makes it no time.
fn age(then: Timestamp, now: Timestamp) -> String {
    let age = SignedDuration::from_secs(now.duration_since(then).as_secs().max(0));
    format!("{age:#}")
}
