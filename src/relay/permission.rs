//! Permissions of a request for a feed, by its token and by the policy of the feed.
use axum::http::StatusCode;

use super::{access::Grant, answer::ErrorResponse, index::About, policy::Policy, store::Handle, tokens::Right};
use crate::event::{Authenticity, Event, Problem, SIGNATURE};

/// Rules for events that are posted to a feed.
#[derive(Debug)]
pub struct EventRules {
    /// The policy of the feed.
    pub policy: Policy,
    /// Refuse events without a signature, in all feeds.
    pub require_signatures: bool,
}

impl EventRules {
    /// Checks the signature of an event of this many bytes, and the event by these rules.
    ///
    /// # Errors
    /// Returns the response to a refused event.
    pub fn check(&self, event: &Event, bytes: usize) -> Result<(), ErrorResponse> {
        let authenticity = event
            .verify()
            .map_err(|problem| ErrorResponse::invalid(vec![problem]))?;
        if self.require_signatures && authenticity == Authenticity::Unsigned {
            let problem = "is missing; this relay requires one";
            return Err(ErrorResponse::of(StatusCode::FORBIDDEN, SIGNATURE, problem));
        }
        let checked = self.policy.check(event, authenticity, bytes);
        checked.map_err(ErrorResponse::against_policy)
    }
}

/// Returns true if the request may do this with a stored feed.
pub fn allows(grant: &Grant, right: Right, feed: &About) -> bool {
    grant.allows(right, &feed.id) && Policy::read(&feed.policy).admits(right, grant.token())
}

/// Checks the policy of a stored feed, which the token of the request allows; returns it.
///
/// # Errors
/// Returns the response to a request that the policy does not allow.
pub fn check(grant: &Grant, right: Right, feed: &About) -> Result<Policy, ErrorResponse> {
    let policy = Policy::read(&feed.policy);
    if policy.admits(right, grant.token()) {
        return Ok(policy);
    }
    let field = match right {
        Right::Read => "policy_json.enforce.read",
        Right::Write => "policy_json.enforce.write",
        Right::Admin => "policy_json",
    };
    let problem = match grant.token() {
        Some(_) => "does not name the token of the request",
        None => "names tokens, but this relay has none",
    };
    Err(ErrorResponse::against_policy(vec![Problem {
        field: field.into(),
        problem: problem.into(),
    }]))
}

/// Returns a description of each stored feed whose policy is not understood.
pub fn misunderstood(store: &Handle) -> Vec<String> {
    let index = store.index();
    let problems = index.feeds().filter_map(|feed| {
        let About { id, policy, .. } = feed.about();
        let policy = Policy::read(policy);
        let problems: Vec<_> = policy.problems().iter().map(ToString::to_string).collect();
        let problems = (!problems.is_empty()).then(|| problems.join("; "))?;
        Some(format!(
            "the feed {id:?} accepts no events, because its policy is not understood: {problems}"
        ))
    });
    problems.collect()
}
