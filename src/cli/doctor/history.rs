//! Checks whether the Stargate has its whole history: `run` fetches nothing, and stops at the first object that is missing.
use git_push::repository::promisor;

use super::{Check, Verdict};
use crate::cli::output::counted;

/// Hint for a shallow repository.
const UNSHALLOW: &str = "run `git fetch --unshallow <remote>` with a remote that has the whole history";

/// Checks for a history that ends early, and for objects that were left out. Returns none if it finds neither.
pub(super) fn checks(repository: &gix::Repository) -> Vec<Check> {
    shallow(repository).into_iter().chain(partial(repository)).collect()
}

fn shallow(repository: &gix::Repository) -> Option<Check> {
    let ends = match repository.shallow_commits() {
        Ok(None) => return None,
        Ok(Some(ends)) => ends.iter().count() as u64,
        Err(error) => {
            let found = format!("cannot read the list of shallow commits: {}", git_push::causes(&error));
            return Some(Check::new("history", Verdict::Problem, found));
        }
    };
    let found = format!(
        "the repository is shallow: the parents of {} are missing; if the mirror lacks them, too, `run` reports the ref as \
         misconfigured and exits with 4; if the mirror is behind them, the ref is diverged and stays unchanged",
        counted(ends, "commit")
    );
    Some(Check::new("history", Verdict::Problem, found).hint(UNSHALLOW))
}

fn partial(repository: &gix::Repository) -> Option<Check> {
    let remote = promisor(repository)?;
    let found = format!(
        "the repository is a partial clone of {remote}: `run` fetches no missing object; it reports a ref that needs one as \
         misconfigured and exits with 4"
    );
    let hint = format!(
        "run `git fetch --refetch --no-filter {remote}`, then `git config --unset remote.{remote}.promisor`, and \
         `git config --unset extensions.partialClone` if it is set"
    );
    Some(Check::new("history", Verdict::Problem, found).hint(hint))
}
