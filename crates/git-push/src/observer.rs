//! What a push is doing, for whoever shows it.
use super::Pack;

/// Is told what a push is doing. Does nothing by itself: `()` is one, too.
///
/// What the server says to a person meanwhile comes as events of [`tracing`], like all logs.
pub trait Observer {
    /// This begins now.
    fn stage(&self, stage: Stage<'_>) {
        let _ = stage;
    }

    /// So many objects are counted, or compressed, since this stage began. Comes often.
    fn objects(&self, so_far: usize) {
        let _ = so_far;
    }
}

/// What a push spends its time on, in this order.
#[derive(Debug, Clone, Copy)]
pub enum Stage<'a> {
    /// Asking the remote what it has.
    Asking,
    /// Finding the objects that the remote lacks.
    Counting,
    /// Writing that many objects into a pack.
    Compressing {
        /// How many objects.
        objects: usize,
    },
    /// Sending commands, and the pack if there is one, and waiting for the report.
    Sending {
        /// The pack, whose file is read from its start to its end. A handle that `try_clone()` gives has the same
        /// position, so that it tells how much is sent.
        pack: Option<&'a Pack>,
    },
    /// Reading back the refs.
    ReadingBack,
}

impl Observer for () {}
