//! One push of the context repository, made by the pushing thread. Each push reads the target again, and logs the
//! result.
use std::path::Path;

use durable::{clock::Clock, retry::RetryPolicy};
use git_push::{Error, ErrorKind};

use super::{
    Context, Published,
    confirmer::Confirmer,
    health::Health,
    pusher::Attempt,
    refused,
    target::{LocalOnly, SharedEnvironment, Target},
};

/// Pushes the commits of `context`, which is at `path`, logs the result, and confirms the events to their relay.
pub fn push(
    context: &Context,
    path: &Path,
    environment: &SharedEnvironment,
    health: &Health,
    clock: &dyn Clock,
    confirmer: Option<&mut Confirmer>,
) -> Attempt {
    let committed = confirmer.as_ref().map(|confirmer| confirmer.committed());
    // Read for each push, so that a token can be renewed while running.
    let target = Target::read(path, &**environment).and_then(|target| target.map_err(not_pushable));
    let published = target.and_then(|target| context.publish(&mut target.open()?, clock, RetryPolicy::default()));
    match published {
        Ok(published) => {
            if health.pushed(published.commit) {
                tracing::info!(recovered = true, "pushes succeed again");
            }
            log(&published);
            if let (Some(confirmer), Some(committed)) = (confirmer, committed) {
                confirmer.confirm(committed);
            }
            Attempt::Done
        }
        Err(error) => {
            health.push_failed();
            tracing::error!("not pushed, will be retried: {error}{}", hint(error.hint()));
            Attempt::Failed(error.retry_after())
        }
    }
}

/// Formats the hint of an error, to follow its message.
pub fn hint(hint: Option<&str>) -> String {
    hint.map(|hint| format!("; {hint}")).unwrap_or_default()
}

fn log(published: &Published) {
    for refusal in &published.refused {
        tracing::warn!(
            "the remote has {} with other content; it stays there, the local event is stored in {}",
            refusal.path,
            refused::FILE
        );
    }
    for event in &published.left_out {
        tracing::warn!(
            "{} is not pushed: git reserves the name of its folder, and servers refuse it; the commits were rewritten \
            without it, and it is stored in {}",
            event.path,
            refused::FILE
        );
    }
    if published.events > 0 {
        tracing::info!(commit = %published.commit, "Pushed {} event(s) to GitHub", published.events);
    }
}

fn not_pushable(why: LocalOnly) -> Error {
    Error::new(ErrorKind::Misconfigured, why.to_string())
}
