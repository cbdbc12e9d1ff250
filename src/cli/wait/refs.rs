//! `wait --ref`: waits for refs themselves.
use std::{path::Path, time::Duration};

use bstr::{BStr, BString, ByteSlice};
use git_push_transport::Remote;
use gix::ObjectId;
use serde::Serialize;

use super::Args;
use crate::{
    cli::report::{Exit, Failure},
    mirror::LocalView,
    refs::LocalRef,
    worker::{Expected, RefsOutcome, SeenRefs, Stargate},
};

/// A ref in the report.
#[derive(Serialize)]
pub(super) struct RefLine {
    /// The full name.
    #[serde(rename = "ref")]
    name: String,
    /// The id to wait for.
    oid: String,
    /// Id on the mirror; none if it has no such ref.
    remote: Option<String>,
}

/// Returns the refs and their ids. Without ids, they are those of the repository that `--repo` names.
///
/// # Errors
/// The number of ids differs from the number of refs, or a ref of the repository does not exist or cannot be read.
pub(super) fn expected(args: &Args) -> Result<Vec<Expected>, Failure> {
    let (names, ids) = (&args.refs, &args.oids);
    let pairs = names.iter().zip(ids);
    match (ids.len(), &args.repository) {
        (count, _) if count == names.len() => Ok(pairs.map(|(name, id)| pair(name, *id)).collect()),
        (0, Some(repository)) => local(names, repository),
        (count, _) => {
            let what = format!(
                "the number of --ref ({}) and the number of --oid ({count}) differ",
                names.len()
            );
            Err(Failure::new(Exit::Usage, what)
                .hint("give one --oid for each --ref, in the same order, or --repo DIR and no --oid"))
        }
    }
}

fn pair(name: &str, id: ObjectId) -> Expected {
    let name = name.into();
    Expected { name, id }
}

/// Returns the refs with their ids in this repository.
fn local(names: &[String], repository: &Path) -> Result<Vec<Expected>, Failure> {
    let git_dir = super::super::located(Some(repository))?;
    let stargate = Stargate::open(&git_dir)?;
    let read = |name: &String| match stargate.local(BStr::new(name)) {
        LocalRef::Id(id) => Ok(pair(name, id)),
        LocalRef::Absent => {
            let what = format!("{name} does not exist in {}", git_dir.display());
            Err(Failure::new(Exit::Failed, what).hint("give the id with --oid"))
        }
        LocalRef::Unreadable(why) => Err(Failure::new(Exit::Failed, format!("cannot read {name}: {why}"))),
    };
    names.iter().map(read).collect()
}

/// Returns each ref with the id that the mirror has.
pub(super) fn lines(expected: &[Expected], seen: &SeenRefs) -> Vec<RefLine> {
    let line = |Expected { name, id }: &Expected| RefLine {
        name: name.to_string(),
        oid: id.to_string(),
        remote: seen.get(name).map(ToString::to_string),
    };
    expected.iter().map(line).collect()
}

/// Prints the human-readable outcome.
pub(super) fn print(expected: &[Expected], waited: &RefsOutcome, remote: &Remote, timeout: Duration) {
    match waited {
        RefsOutcome::Visible(seen) => {
            for line in lines(expected, seen) {
                println!("{} is visible: {}", line.oid, stands(&line));
            }
        }
        RefsOutcome::TimedOut { last_seen, error } => {
            let place = remote.location();
            for line in lines(expected, last_seen) {
                let stands = stands(&line);
                eprintln!(
                    "timed out after {timeout:?} waiting for {}: {stands} on {place}",
                    line.oid
                );
            }
            error
                .iter()
                .for_each(|error| eprintln!("the last poll failed: {error}"));
        }
    }
}

fn stands(line: &RefLine) -> String {
    let at = line
        .remote
        .as_ref()
        .map_or("does not exist".into(), |id| format!("is at {id}"));
    format!("{} {at}", line.name)
}

/// Parses a full name.
///
/// # Errors
/// The text is not a full ref name.
pub(super) fn parse_name(text: &str) -> Result<String, String> {
    let name = BString::from(text);
    if name.starts_with(b"refs/") && gix::validate::reference::name(name.as_bstr()).is_ok() {
        Ok(text.to_owned())
    } else {
        Err("expected a full name, such as refs/heads/main".into())
    }
}
