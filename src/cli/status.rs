//! `stargate-mirror status`: shows pending entries, their age, and the reason.
use std::path::PathBuf;

use durable::clock::{Clock, SystemClock};
use jiff::{SignedDuration, Timestamp};

use super::{
    output::counted,
    report::{Exit, Failure, REPAIR},
};
use crate::worker::{self, BrokenRef, GroupStatus, RepositoryStatus, TokenExpiry, WatermarkStatus};

const EXAMPLES: &str = "\
Examples:
  stargate-mirror status --repo /srv/git/o/r.git
  stargate-mirror status --json | jq .oldest_pending_age_s

Exit codes: 0 everything is mirrored, 1 something is pending or has failed, or the refs could not be
compared, 4 the repository's format is not understood, 5 the journal, a ref or an object cannot be read";

/// Show what is pending, since when, and why.
///
/// Reads local files only: the journal, and the worker's memory. May run at the same time as the worker. The words of a
/// mirror that rejects a group are printed as `remote:` lines.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The repository [default: GIT_DIR, else found from the current directory]
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// Print one JSON object for each mirror to stdout
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
    let mut worst = Exit::Done;
    for status in worker::status(&git_dir, now)? {
        if args.json {
            println!("{}", serde_json::to_string(&status).expect("a status is always JSON"));
        } else {
            if let Some(mirror) = &status.mirror {
                println!("mirror {mirror}:");
            }
            print_human(&status, now);
        }
        worst = worst.max(exit(&status));
    }
    Ok(worst)
}

fn exit(status: &RepositoryStatus) -> Exit {
    if !status.broken.is_empty() {
        Exit::Failed
    } else if status.is_settled() {
        Exit::Done
    } else {
        Exit::Incomplete
    }
}

fn print_human(status: &RepositoryStatus, now: Timestamp) {
    let compared = |at| format!(", compared {} ago", age(at, now));
    match &status.remote {
        Some(remote) => println!(
            "mirror {remote}{}",
            status.compared_at.map(compared).unwrap_or_default()
        ),
        None => println!("mirror: state unknown until the next push"),
    }
    if let Some(missing) = &status.missing {
        println!("local-only: {missing}");
    }
    if let Some(failed) = &status.comparison {
        println!("the refs of both sides could not be compared");
        print_failure(failed.attempts, failed.next_try, &failed.reason, now);
    }
    status.watermarks.iter().for_each(print_watermark);
    if let Some(head) = &status.head {
        println!("{head}");
        head.error
            .iter()
            .for_each(|error| println!("    it could not be set: {error}"));
    }
    if let Some(token) = &status.token {
        println!("{}", TokenExpiry::new(token.expires_at, now));
    }
    if let Some(why) = &status.lfs {
        println!("LFS: {why}");
    }
    for name in &status.without_lfs_objects {
        println!("LFS: {name} is on the mirror without some of its objects");
    }
    if let Some(forgotten) = &status.forgotten {
        println!("the worker's memory cannot be read: {forgotten}");
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
        println!("{} started, result unknown", counted(status.intents as u64, "push"));
    }
    if status.problems > 0 {
        println!(
            "{} in the journal: see `journal verify`",
            counted(status.problems, "invalid line")
        );
    }
}

fn print_broken(what: &str, broken: &BrokenRef) {
    let name = broken.name.as_ref().map(|name| format!(" {name}:"));
    println!("{what}{} {}", name.unwrap_or_else(|| ":".into()), broken.reason);
}

fn print_watermark(watermark: &WatermarkStatus) {
    let WatermarkStatus {
        namespace, found_at, ..
    } = watermark;
    let ledger = watermark.ledger.as_deref().unwrap_or("nothing");
    println!("the watermark of {namespace} was wrong: it was at {found_at}, but the mirror's ledger is at {ledger}");
    match (&watermark.stands_at, watermark.set_back) {
        (_, false) => println!("    it has not been set back yet"),
        (Some(stands), true) => println!("    it was set back to {stands}"),
        (None, true) => println!("    it was deleted"),
    }
}

fn print_group(group: &GroupStatus, now: Timestamp) {
    println!(
        "  {}: {} pending for {}",
        group.group,
        group.pending,
        age(group.oldest_pending, now)
    );
    if let Some(reason) = &group.reason {
        print_failure(group.attempts, group.next_try, reason, now);
    }
    group
        .server_words
        .iter()
        .for_each(|line| println!("    remote: {line}"));
    group.advice.iter().for_each(|advice| println!("    {advice}"));
}

fn print_failure(attempts: u32, next_try: Option<Timestamp>, reason: &str, now: Timestamp) {
    let next = next_try.filter(|next| *next > now);
    let next = next.map(|next| format!(", next retry in {}", age(now, next)));
    let attempts = counted(u64::from(attempts), "failed attempt");
    println!("    {attempts}{}: {reason}", next.unwrap_or_default());
}

/// Returns the time since `then` in whole seconds, and zero if the clock went back.
fn age(then: Timestamp, now: Timestamp) -> String {
    let age = SignedDuration::from_secs(now.duration_since(then).as_secs().max(0));
    format!("{age:#}")
}
