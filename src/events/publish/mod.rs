//! Publishing commits to the remote: [`publication`] fetches, rebases ([`rebase`], [`unpushable`]), pushes and reads back.
//! [`pusher`] is the thread that does it, when [`push_schedule`] (pure) says so, to the [`target`].
pub mod push_schedule;
pub mod pusher;
pub mod target;

pub(super) mod publication;
pub(super) mod tracking;

mod rebase;
mod unpushable;

pub use publication::{Published, Upstream};
