//! Publishing commits to the remote: [`publication`] fetches, rebases ([`rebase`], [`unpushable`]), pushes and reads back.
//! [`pusher`] is the thread that does this, at the times that [`push_schedule`] (pure) sets, to the [`target`].
pub mod push_schedule;
pub mod pusher;
pub mod target;

pub(super) mod publication;
pub(super) mod tracking;

mod rebase;
mod unpushable;

pub use publication::{Published, Upstream};
