//! Driver of one push by refspecs, as `git push` makes it: ask the remote what it has, match the refspecs, rule on each
//! update, send what may be sent, read the refs back, and move the remote-tracking refs.
//!
//! [`push()`] does this over any [`Connection`](crate::push::Connection); [`run()`] finds the remote first. What is decided on
//! the way is decided in [`push`](crate::push), by pure functions; the effects are here: this room stands beside the
//! worker, which drives pushes of a mirror, and not in the engine, which knows nothing of configured remotes.
mod driver;
mod error;
mod report;
mod run;
mod tracking;

pub use driver::{Order, push};
pub use error::PushError;
pub use report::{Fate, PushOutcome, PushReport, RefReport};
pub use run::{Options, run};
pub use tracking::Tracking;
