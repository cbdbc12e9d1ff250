//! The check of `--force-if-includes` (git-push): the local branch had the remote's commit at some time, so its work is
//! known to be replaced on purpose.
use bstr::BStr;
use gix::{ObjectId, Repository, refs::file::ReferenceExt};

use super::error::PushError;
use crate::local_repository::LocalRepository;

/// Returns true if the remote's commit `there` is in the reflog of the local ref `name`, or reachable from an entry of it
/// that is not older than the last fetch of the remote-tracking ref. Without a local ref there is nothing to check.
///
/// # Errors
/// A reflog cannot be read. Those in reftables are not supported.
pub(super) fn includes(
    local: &LocalRepository,
    name: &BStr,
    tracking: Option<&BStr>,
    there: ObjectId,
) -> Result<bool, PushError> {
    if local.find(name)?.is_none() {
        return Ok(true);
    }
    if local.has_tables() {
        let what = "--force-if-includes needs reflogs, which are not read from reftables";
        return Err(PushError::Fatal(what.into()));
    }
    let repository = local.repository();
    let fetched = match tracking {
        Some(tracking) => entries(repository, tracking)?.last().map(|(_, seconds)| *seconds),
        None => None,
    };
    let mut tips = Vec::new();
    for (id, seconds) in entries(repository, name)?.into_iter().rev() {
        if id == there {
            return Ok(true);
        }
        tips.push(id);
        if fetched.is_some_and(|fetched| seconds < fetched) {
            break;
        }
    }
    for tip in tips.into_iter().filter(|tip| repository.has_object(*tip)) {
        if git_push::fast_forward(repository, there, tip)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the new ids of a ref's reflog with their times, oldest first.
fn entries(repository: &Repository, name: &BStr) -> Result<Vec<(ObjectId, i64)>, PushError> {
    let unreadable = |why: String| PushError::Fatal(format!("cannot read the reflog of {name}: {why}"));
    let found = repository
        .try_find_reference(name)
        .map_err(|error| unreadable(git_push::causes(&error)))?;
    let Some(reference) = found else {
        return Ok(Vec::new());
    };
    let mut platform = reference.inner.log_iter(&repository.refs);
    let Some(lines) = platform.all().map_err(|error| unreadable(error.to_string()))? else {
        return Ok(Vec::new());
    };
    let mut entries = Vec::new();
    for line in lines {
        let line = line.map_err(|error| unreadable(error.to_string()))?;
        let seconds = line.signature.time().map_or(i64::MIN, |time| time.seconds);
        entries.push((line.new_oid(), seconds));
    }
    Ok(entries)
}
