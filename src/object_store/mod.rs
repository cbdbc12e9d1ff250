//! A durable Git repository with one branch. Commits are added to it by one thread of one process at a time, and survive a
//! crash. The repository is an ordinary one: git reads and maintains it, too.
//!
//! ```text
//!   Store::lock --> Locked --> Transaction: edit (trees in memory) --> NewPack --> packs (stored, joined) --> branch, work_tree
//! ```
//!
//! [`tree_buffer`], [`new_pack`] and [`commit_object`] are pure. [`git_files`] replaces files that git writes, too; [`work_tree`]
//! checks out; [`maintenance`] decides when packs are joined.
pub mod branch;
pub mod commit_object;
pub mod difference;
pub mod git_files;
pub mod new_pack;
pub mod objects;
pub mod tree_buffer;
pub mod tree_cache;
pub mod work_tree;

mod error;
mod maintenance;
mod packs;
mod store;

pub use commit_object::Author;
pub use error::{Error, Kind};
pub use packs::store as store_pack;
pub use store::{HeldPacks, LOCK_TIMEOUT, Store, Transaction};
