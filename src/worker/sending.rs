//! Groups on their way to the mirror: in one atomic push, if that can be.
//!
//! More commands than a server takes go in pushes that follow each other. When the server refuses a push, or an object
//! for it cannot be read, it is done by halves, so that the bad groups stand alone.
use std::rc::Rc;

use git_push::{Advertisement, Command, Error, ErrorKind, Report, Verdict};

use super::cycle::Mirror;

/// The most commands of one push, but for a group that has more. GitHub answers 500 to 10,000; 5,000 went through.
pub(super) const MOST_COMMANDS: usize = 2_000;

/// What a push came to, shared by the groups that were in it.
pub(super) type Sent = Rc<Result<Report, Error>>;

/// A push from memory that did not land.
pub(super) struct Tried {
    pub(super) commands: Vec<Command>,
    /// What the mirror was remembered to have: what the pack was made for.
    pub(super) remembered: Advertisement,
    pub(super) sent: Sent,
}

/// Sends groups of commands; one result for each. Behind a push that failed for another reason than its groups, nothing is sent:
/// the result is the same.
///
/// A push that was tried already, and comes out the same now that the mirror was asked, is not tried twice. It does not
/// come out the same when the mirror has lost a ref that was remembered: deltas in the pack may be of what went with it.
pub(super) fn send(
    mirror: &mut dyn Mirror,
    advertisement: &Advertisement,
    groups: &[Vec<Command>],
    mut tried: Option<Box<Tried>>,
) -> Vec<Sent> {
    let mut all: Vec<Sent> = Vec::new();
    while all.len() < groups.len() {
        let left = &groups[all.len()..];
        let sent = by_halves(mirror, advertisement, &left[..fitting(left)], tried.take());
        let failed = sent.last().filter(|sent| sent.is_err() && !refused(sent)).cloned();
        all.extend(sent);
        if let Some(failed) = failed {
            all.resize(groups.len(), failed);
        }
    }
    all
}

/// How many of these groups, from the first, go in one push.
fn fitting(groups: &[Vec<Command>]) -> usize {
    let mut commands = 0;
    let fits = |group: &&Vec<Command>| {
        commands += group.len();
        commands <= MOST_COMMANDS
    };
    groups.iter().take_while(fits).count().max(1)
}

fn by_halves(
    mirror: &mut dyn Mirror,
    advertisement: &Advertisement,
    groups: &[Vec<Command>],
    tried: Option<Box<Tried>>,
) -> Vec<Sent> {
    let all: Vec<Command> = groups.concat();
    let together = match tried {
        Some(tried) if tried.commands == all && tried.saw(advertisement) && tried.is_judged() => tried.sent,
        _ => Rc::new(mirror.push(advertisement, all)),
    };
    if groups.len() == 1 || !refused(&together) {
        return vec![together; groups.len()];
    }
    tracing::warn!(
        groups = groups.len(),
        "a push of several groups was refused; pushing them by halves"
    );
    let (first, second) = groups.split_at(groups.len() / 2);
    [
        by_halves(mirror, advertisement, first, None),
        by_halves(mirror, advertisement, second, None),
    ]
    .concat()
}

impl Tried {
    /// Whether the push came to whoever decides: not when it went to where the repository is not, or is no more.
    fn is_judged(&self) -> bool {
        let lost_its_way = |error: &Error| error.kind() == ErrorKind::Misconfigured;
        !self.sent.as_ref().as_ref().is_err_and(lost_its_way)
    }

    /// Whether the mirror still has all that it was remembered to have.
    fn saw(&self, advertisement: &Advertisement) -> bool {
        let mut refs = self.remembered.refs.iter();
        refs.all(|(name, id)| advertisement.refs.get(name) == Some(id))
    }
}

/// Whether it was for one of the groups that nothing was taken.
fn refused(sent: &Result<Report, Error>) -> bool {
    match sent {
        Ok(report) => report
            .verdicts()
            .any(|(_, verdict)| matches!(verdict, Verdict::Rejected(_))),
        Err(error) => matches!(error.kind(), ErrorKind::Rejected | ErrorKind::Broken),
    }
}
