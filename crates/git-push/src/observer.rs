//! Progress of a push.
use super::Pack;

/// Receives the progress of a push. `()` ignores it.
///
/// The server's human-readable lines are not reported here. `git-push-transport` logs them with the crate `tracing`.
pub trait Observer {
    /// Reports that a stage begins.
    fn stage(&self, stage: Stage<'_>) {
        let _ = stage;
    }

    /// Reports the number of objects that were counted or compressed since this stage began. Called often.
    fn objects(&self, so_far: usize) {
        let _ = so_far;
    }
}

/// Stages of a push, in this order.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Stage<'a> {
    /// Reading the remote's refs.
    Asking,
    /// A part of a push in parts ([`parts`](super::parts)). Stages from [`Stage::Counting`] on follow. Sizes are
    /// estimates.
    Part {
        /// Number of the part, from 1 on.
        number: usize,
        /// Bytes of the parts before it.
        sent: u64,
        /// Bytes of all parts.
        bytes: u64,
    },
    /// Finding the objects that the remote lacks.
    Counting,
    /// Writing that many objects into a pack. A large pack that is sent while it is made soon changes to the next stage.
    Compressing {
        /// Number of objects.
        objects: usize,
    },
    /// Sending commands, and the pack if there is one, and waiting for the report.
    Sending {
        /// The pack, which may still be in the making. [`Pack::sent()`] counts the bytes.
        pack: Option<&'a Pack>,
    },
    /// Reading back the refs.
    ReadingBack,
}

impl Observer for () {}
