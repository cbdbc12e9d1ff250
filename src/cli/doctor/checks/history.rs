//! The whole history: `run` fetches nothing, and stops at the first object that is missing.
use super::{
    check::{Check, Name, Verdict},
    commands::Commands,
};
use crate::cli::output::counted;

/// A commit without one of its parents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingParent {
    /// Ref that reaches it.
    pub name: String,
    /// The parent.
    pub parent: String,
}

/// Facts about the commits before the refs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFacts {
    /// Number of commits at which the repository is said to be shallow.
    pub shallow: u64,
    /// False if no mirrored ref reaches one of these commits.
    pub reaches_shallow: bool,
    /// A parent that is missing although the repository is not said to be shallow there.
    pub missing: Option<MissingParent>,
    /// Remote from which a partial clone fetches missing objects.
    pub promisor: Option<String>,
}

/// Checks the history. Returns none if it is whole.
pub fn checks(facts: &HistoryFacts, commands: &Commands) -> Vec<Check> {
    let found = [
        (facts.shallow > 0).then(|| shallow(facts, commands)),
        facts.missing.as_ref().map(|missing| unreachable(missing, commands)),
        facts.promisor.as_ref().map(|remote| partial(remote)),
    ];
    found.into_iter().flatten().collect()
}

fn shallow(facts: &HistoryFacts, commands: &Commands) -> Check {
    let commits = counted(facts.shallow, "commit");
    if !facts.reaches_shallow {
        let found = format!("the repository is shallow at {commits}, which no mirrored ref reaches");
        let hint = format!(
            "if no other ref needs them, run {}, which forgets them",
            commands.git("prune")
        );
        return Check::new(Name::History, Verdict::Warning, found).hint(hint);
    }
    let found = format!(
        "the repository is shallow: the parents of {commits} are missing; if the mirror lacks them, too, `run` reports the ref \
         as misconfigured and exits with 4; if the mirror is behind them, the ref is diverged and stays unchanged"
    );
    Check::new(Name::History, Verdict::Problem, found)
        .hint("run `git fetch --unshallow <remote>` with a remote that has the whole history")
}

fn unreachable(missing: &MissingParent, commands: &Commands) -> Check {
    let MissingParent { name, parent } = missing;
    let found = format!(
        "the history of {name} ends early: the commit {parent} is missing, and the repository is not said to be shallow there; \
         `run` reports the ref as broken and exits with 5"
    );
    let hint = format!(
        "run {} with a remote that has the whole history",
        commands.git("fetch --refetch <remote>")
    );
    Check::new(Name::History, Verdict::Problem, found).hint(hint)
}

fn partial(remote: &str) -> Check {
    let found = format!(
        "the repository is a partial clone of {remote}: `run` fetches no missing object; it reports a ref that needs one as \
         misconfigured and exits with 4"
    );
    let hint = format!(
        "run `git fetch --refetch --no-filter {remote}`, then `git config --unset remote.{remote}.promisor`, and \
         `git config --unset extensions.partialClone` if it is set"
    );
    Check::new(Name::History, Verdict::Problem, found).hint(hint)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_boundary_that_no_ref_reaches_is_only_a_warning() {
        let commands = Commands::new("", Path::new("/r.git"));
        assert_eq!(checks(&HistoryFacts::default(), &commands), []);
        for (reaches_shallow, expected) in [(true, Verdict::Problem), (false, Verdict::Warning)] {
            let facts = HistoryFacts {
                shallow: 2,
                reaches_shallow,
                ..HistoryFacts::default()
            };
            let checks = checks(&facts, &commands);
            assert_eq!(checks.iter().map(|check| check.verdict).collect::<Vec<_>>(), [expected]);
        }
    }
}
