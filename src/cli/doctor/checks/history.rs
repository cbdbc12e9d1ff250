//! The whole history: `run` fetches nothing, and stops at the first object that is missing.
//!
//! The commands in the hints change no ref: `--refmap=` switches off `remote.<name>.fetch`, which in a repository that was
//! made by `git clone --mirror` would reset every ref, accepted pushes included. `git prune` keeps unreachable objects,
//! because a pending entry can name one.
use super::{
    check::{Check, Name, Verdict},
    commands::{Commands, quoted},
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
        facts.promisor.as_ref().map(|remote| partial(remote, commands)),
    ];
    found.into_iter().flatten().collect()
}

fn shallow(facts: &HistoryFacts, commands: &Commands) -> Check {
    let commits = counted(facts.shallow, "commit");
    if !facts.reaches_shallow {
        let found = format!("the list of shallow commits has {commits} that no mirrored ref reaches");
        let hint = format!(
            "if no other ref needs them, run {} to remove them from the list; it deletes no objects",
            commands.git("prune --expire=never")
        );
        return Check::new(Name::History, Verdict::Warning, found).hint(hint);
    }
    let found = format!(
        "the repository is shallow: the parents of {commits} are missing; if the mirror also lacks them, `run` \
         reports the ref as misconfigured and exits with 4; if the mirror is behind them, the ref is diverged and stays unchanged"
    );
    let hint = format!(
        "run {} with a remote that has the whole history",
        commands.git("fetch --unshallow --refmap= REMOTE HEAD")
    );
    Check::new(Name::History, Verdict::Problem, found).hint(hint)
}

fn unreachable(missing: &MissingParent, commands: &Commands) -> Check {
    let MissingParent { name, parent } = missing;
    let found = format!(
        "the history of {name} is incomplete: commit {parent} is missing, and the repository is not shallow there; `run` \
         reports the ref as broken and exits with 5"
    );
    let fetch = format!("fetch --refetch --no-tags --refmap= REMOTE {parent}");
    let hint = format!("run {} with a remote that has this commit", commands.git(&fetch));
    Check::new(Name::History, Verdict::Problem, found).hint(hint)
}

fn partial(remote: &str, commands: &Commands) -> Check {
    let found = format!(
        "the repository is a partial clone of {remote}: `run` fetches no missing objects; it reports a ref that needs one as \
         misconfigured and exits with 4"
    );
    let missing = commands.git("rev-list --objects --all --missing=print");
    let fetch = commands.git(&format!(
        "fetch --no-filter --no-tags --refmap= --stdin {}",
        quoted(remote)
    ));
    let hint = format!(
        "fetch the missing objects with `{} | sed -n 's/^?//p' | {}`, then run {}, and {} if it is set",
        missing.trim_matches('`'),
        fetch.trim_matches('`'),
        commands.git(&format!(
            "config --unset {}",
            quoted(&format!("remote.{remote}.promisor"))
        )),
        commands.git("config --unset extensions.partialClone")
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
