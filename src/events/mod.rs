//! Driver of the context repository: events from a relay or from standard input become files in commits, and commits are
//! pushed to a remote. Existing files are never changed.
//!
//! [`settings`], [`batch`], [`push_schedule`], [`lock_file`], [`source::sse`] and [`source::page`] are pure. [`source`] reads
//! events, [`inbox`] slows fast sources down, [`Context`] commits and publishes, [`pusher`] is the thread that publishes, and
//! [`run`](mod@run) connects them.
pub mod batch;
pub mod inbox;
pub mod lock_file;
pub mod push_schedule;
pub mod pusher;
pub mod refused;
pub mod run;
pub mod settings;
pub mod source;
pub mod target;

mod branch;
mod context;
mod difference;
mod error;
mod event_ids;
mod init;
mod new_pack;
mod objects;
mod packs;
mod publish;
mod rebase;
mod replace;
mod tree_buffer;
mod trees;
mod unpushable;
mod work_tree;

pub use context::{Author, Committed, Context, LOCK_TIMEOUT, Options, Refusal, ResumePoint};
pub use error::{Error, Kind};
pub use publish::{Published, Upstream};
pub use run::{RunError, Summary, run};
