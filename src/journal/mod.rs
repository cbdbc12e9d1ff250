//! The journal of ref updates.
mod entry;

pub use entry::{Entry, Located, Meta, Source, Status};
