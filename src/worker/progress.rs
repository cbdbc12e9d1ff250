//! Progress of the pushes of a cycle.
use std::{fmt, sync::Arc};

use git_push::Observer;

/// Receiver of the progress of pushes. By default there is none.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Observer + Send + Sync>>);

impl Progress {
    /// Sends the progress to `observer`.
    pub fn to(observer: Arc<dyn Observer + Send + Sync>) -> Self {
        Progress(Some(observer))
    }

    /// Returns the receiver.
    pub fn observer(&self) -> &dyn Observer {
        match &self.0 {
            Some(observer) => &**observer,
            None => &(),
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}
