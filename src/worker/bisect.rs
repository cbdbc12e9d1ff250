//! Sends groups of commands to the mirror, in one atomic push if possible.
//!
//! More commands than a server accepts are split into consecutive pushes. If the server rejects a push, or one of its
//! objects is missing or cannot be read, or an LFS object cannot be carried, the groups are bisected until the bad ones are
//! isolated.
use std::rc::Rc;

use git_push::{Advertisement, Command, Error, ErrorKind, Report, Verdict};

use super::requests::Mirror;
use crate::lfs::NotCarried;

/// Limit of commands in one push. A single group may exceed it. GitHub answers 500 to 10,000 commands and accepts 5,000.
pub(super) const MOST_COMMANDS: usize = 2_000;

/// Result of a push, shared by the groups that were in it.
pub(super) type Sent = Rc<Result<Report, Error>>;

/// A push that relied on the remembered state of the mirror and failed.
pub(super) struct FailedPush {
    pub(super) commands: Vec<Command>,
    /// Remembered state of the mirror, on which the pack was based.
    pub(super) remembered: Advertisement,
    pub(super) sent: Sent,
}

/// Sends groups of commands and returns one result for each. A push that fails for a reason outside its groups stops
/// the rest: the remaining groups get the same result.
///
/// The `earlier_push` is not repeated if the mirror's current refs lead to the same commands. It is repeated if the mirror
/// has lost a remembered ref, because deltas in the pack may refer to objects that were lost with it.
pub(super) fn send(
    mirror: &mut dyn Mirror,
    advertisement: &Advertisement,
    groups: &[Vec<Command>],
    mut earlier_push: Option<Box<FailedPush>>,
) -> Vec<Sent> {
    let mut all: Vec<Sent> = Vec::new();
    while all.len() < groups.len() {
        let left = &groups[all.len()..];
        let sent = bisect(mirror, advertisement, &left[..fitting(left)], earlier_push.take());
        let failed = sent
            .last()
            .filter(|sent| sent.is_err() && !has_bad_group(sent))
            .cloned();
        all.extend(sent);
        if let Some(failed) = failed {
            all.resize(groups.len(), failed);
        }
    }
    all
}

/// Returns the number of these groups, counted from the first, that fit into one push.
fn fitting(groups: &[Vec<Command>]) -> usize {
    let mut commands = 0;
    let fits = |group: &&Vec<Command>| {
        commands += group.len();
        commands <= MOST_COMMANDS
    };
    groups.iter().take_while(fits).count().max(1)
}

fn bisect(
    mirror: &mut dyn Mirror,
    advertisement: &Advertisement,
    groups: &[Vec<Command>],
    earlier_push: Option<Box<FailedPush>>,
) -> Vec<Sent> {
    let all: Vec<Command> = groups.concat();
    let together = match earlier_push {
        Some(earlier_push)
            if earlier_push.commands == all
                && earlier_push.still_applies(advertisement)
                && earlier_push.reached_the_mirror() =>
        {
            earlier_push.sent
        }
        _ => Rc::new(mirror.push(advertisement, all)),
    };
    if groups.len() == 1 || !has_bad_group(&together) {
        return vec![together; groups.len()];
    }
    tracing::warn!(
        groups = groups.len(),
        "a push of several groups was rejected; bisecting it"
    );
    let (first, second) = groups.split_at(groups.len() / 2);
    [
        bisect(mirror, advertisement, first, None),
        bisect(mirror, advertisement, second, None),
    ]
    .concat()
}

impl FailedPush {
    /// Returns true if the push reached the repository. False if it went to the wrong place, such as a repository that
    /// has moved.
    fn reached_the_mirror(&self) -> bool {
        let misdirected = |error: &Error| error.kind() == ErrorKind::Misconfigured;
        !self.sent.as_ref().as_ref().is_err_and(misdirected)
    }

    /// Returns true if the mirror still has every ref that was remembered.
    fn still_applies(&self, advertisement: &Advertisement) -> bool {
        let mut refs = self.remembered.refs.iter();
        refs.all(|(name, id)| advertisement.refs.get(name) == Some(id))
    }
}

/// Returns true if the push failed because of one of its groups.
fn has_bad_group(sent: &Result<Report, Error>) -> bool {
    match sent {
        Ok(report) => report
            .verdicts()
            .any(|(_, verdict)| matches!(verdict, Verdict::Rejected(_))),
        Err(error) => {
            let is_of_group = matches!(
                error.kind(),
                ErrorKind::Rejected | ErrorKind::Broken | ErrorKind::NotCloned
            );
            // Only groups with pointers need an LFS server.
            is_of_group || std::error::Error::source(error).is_some_and(|source| source.is::<NotCarried>())
        }
    }
}
