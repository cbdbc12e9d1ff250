//! Driver of the context repository: events from a relay or from standard input become files in commits, and commits are
//! pushed to a remote. Existing files are never changed.
//!
//! ```text
//!   source --> ingest (inbox, batch, committer) --> repository (on the object store) --> publish (rebase, push) --> remote
//! ```
//!
//! [`run`](mod@run) connects the parts; [`settings`] (pure) configures them. [`Context`] is the handle on a context repository
//! that threads share.
pub mod run;
pub mod settings;
pub mod source;

mod confirmer;
mod context;
mod health;
mod ingest;
mod publish;
mod push_attempt;
mod repository;
mod saved_cursors;
mod sources;

pub use context::Context;
pub use ingest::{Committed, batch, inbox};
pub use publish::{Published, Upstream, push_schedule, pusher, target};
pub use repository::{GUARD, Options, lock_file, queries::ResumePoint, refused, refused::Refusal};
pub use run::{RunError, Summary, run};

pub use crate::object_store::{Author, Error, Kind, LOCK_TIMEOUT};
