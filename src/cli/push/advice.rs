//! Messages and hints of a push that failed, in git's words.
use std::collections::BTreeSet;

use git_push::{refspec::RefspecError, ruling::Refusal};

use crate::porcelain::{Fate, PushError, PushReport, RefReport};

const INTEGRATE: &str = "Updates were rejected because the tip of your current branch is behind
its remote counterpart. If you want to integrate the remote changes,
use 'git pull' before pushing again.
See the 'Note about fast-forwards' in 'git push --help' for details.";

const CHECK_OUT: &str = "Updates were rejected because a pushed branch tip is behind its remote
counterpart. If you want to integrate the remote changes, use 'git pull'
before pushing again.
See the 'Note about fast-forwards' in 'git push --help' for details.";

const FETCH_FIRST: &str = "Updates were rejected because the remote contains work that you do not
have locally. This is usually caused by another repository pushing to
the same ref. If you want to integrate the remote changes, use
'git pull' before pushing again.
See the 'Note about fast-forwards' in 'git push --help' for details.";

const ALREADY_EXISTS: &str = "Updates were rejected because the tag already exists in the remote.";

const NEEDS_FORCE: &str = "You cannot update a remote ref that points at a non-commit object,
or update a remote ref to make it point at a non-commit object,
without using the '--force' option.
";

const NEEDS_UPDATE: &str = "Updates were rejected because the tip of the remote-tracking branch has
been updated since the last checkout. If you want to integrate the
remote changes, use 'git pull' before pushing again.
See the 'Note about fast-forwards' in 'git push --help' for details.";

/// Hint about refs whose state is unknown. Git has no such state.
const LOOK: &str = "Check the remote's refs. If the server hides refs from readers, set\nstargate.verify to false.";

/// Returns the last lines about a push of which not all refs were pushed: the error, and a hint.
pub(super) fn failed(report: &PushReport) -> String {
    let mut text = String::new();
    if let Some(error) = &report.context.unpack_error {
        text += &format!("error: remote unpack failed: {error}\n");
    }
    text += &format!("error: failed to push some refs to '{}'\n", report.remote);
    if let Some(words) = advice(report) {
        text += &hint(words);
    }
    text
}

/// Returns the text of an error of the whole push if git has words for it.
pub(super) fn of_error(error: &PushError, remote: Option<&str>) -> Option<String> {
    let failed = remote.map(|remote| format!("error: failed to push some refs to '{remote}'\n"));
    match error {
        PushError::Fatal(what) => Some(format!("fatal: {what}\n")),
        PushError::Unsupported(_) => Some(format!("fatal: {error}\n")),
        PushError::DeleteTakesNames(_) => Some("fatal: --delete only accepts plain target ref names\n".into()),
        PushError::Submodules(what) => Some(format!("{what}\nfatal: Aborting.\n")),
        PushError::Declined => failed,
        PushError::Refspec(RefspecError::NotABranch(_)) => Some(format!("fatal: {error}\n")),
        PushError::Refspec(RefspecError::Invalid(text, _)) => Some(format!("fatal: invalid refspec '{text}'\n")),
        PushError::Refspec(RefspecError::Unqualified {
            destination,
            source_name,
        }) => Some(format!("error: {}\n{}", unqualified(destination, source_name), failed?)),
        PushError::Refspec(_) => Some(format!("error: {error}\n{}", failed?)),
        _ => None,
    }
}

fn unqualified(destination: &bstr::BString, source: &bstr::BString) -> String {
    format!(
        "The destination you provided is not a full refname (i.e.,\n\
         starting with \"refs/\"). We tried to guess what you meant by:\n\n\
         - Looking for a ref that matches '{destination}' on the remote side.\n\
         - Checking if the <src> being pushed ('{source}')\n  \
         is a ref in \"refs/{{heads,tags}}/\". If so we add a corresponding\n  \
         refs/{{heads,tags}}/ prefix on the remote side.\n\n\
         Neither worked, so we gave up. You must fully qualify the ref."
    )
}

/// Returns the hint for the refusals of a push, unless git configuration turns it off.
fn advice(report: &PushReport) -> Option<&'static str> {
    let refused = |refusal: Refusal| {
        report
            .refs
            .iter()
            .filter(move |report| report.fate == Fate::Refused(refusal))
    };
    let any = |refusal| refused(refusal).next().is_some();
    let is_head = |update: &RefReport| report.context.head.as_ref() == Some(&update.name);
    let (key, words) = if refused(Refusal::NonFastForward).any(is_head) {
        ("pushnonffcurrent", INTEGRATE)
    } else if any(Refusal::NonFastForward) {
        ("pushnonffmatching", CHECK_OUT)
    } else if any(Refusal::AlreadyExists) {
        ("pushalreadyexists", ALREADY_EXISTS)
    } else if any(Refusal::FetchFirst) {
        ("pushfetchfirst", FETCH_FIRST)
    } else if any(Refusal::NeedsForce) {
        ("pushneedsforce", NEEDS_FORCE)
    } else if any(Refusal::RemoteUpdated) {
        ("pushrefneedsupdate", NEEDS_UPDATE)
    } else if report.refs.iter().any(|update| matches!(update.fate, Fate::Unknown(_))) {
        ("pushunknown", LOOK)
    } else {
        return None;
    };
    (!is_muted(&report.context.muted, key)).then_some(words)
}

fn is_muted(muted: &BTreeSet<String>, key: &str) -> bool {
    [key, "pushupdaterejected", "pushnonfastforward"]
        .iter()
        .any(|key| muted.contains(*key))
}

/// Returns each line after `hint: `.
pub(super) fn hint(words: &str) -> String {
    let lines = words.strip_suffix('\n').unwrap_or(words).split('\n');
    let line = |line: &str| match line {
        "" => "hint:\n".to_owned(),
        line => format!("hint: {line}\n"),
    };
    lines.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_hint_is_marked() {
        assert_eq!(hint("a\n\nb\n"), "hint: a\nhint:\nhint: b\n");
    }
}
