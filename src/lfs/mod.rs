//! Git LFS: objects that the pushed commits point to go to the mirror before the refs do (git-lfs, *docs/spec.md*,
//! *docs/api/batch.md*, *docs/api/basic-transfers.md*).
//!
//! ```text
//!   commands --scan--> pointers --batch--> objects that the mirror lacks --source--> file --upload--> mirror
//! ```
//!
//! `batch`, `endpoint` and `failure` are PURE, as is [`lfs_pointer`](crate::lfs_pointer). `scan` reads git objects; `source` finds
//! and fetches LFS objects; `server` and `folder` are the two kinds of mirrors, `transfer` sends objects to them; `lacked` describes
//! missing objects; `carrier` drives all that. Files are streamed: memory does not depend on the size of an object. The hash of each
//! object is checked while it is read, so that no server gets the end of a wrong one.
mod action;
mod batch;
mod carrier;
mod endpoint;
mod failure;
mod folder;
mod in_use;
mod lacked;
mod scan;
mod server;
mod source;
mod transfer;

pub use crate::lfs_pointer::{MAX_POINTER, Oid, Pointer};
pub use carrier::{Alone, Carried, Carrier, Head};
pub use endpoint::Endpoint;
pub use failure::NotCarried;
pub use in_use::{InUse, in_use};
