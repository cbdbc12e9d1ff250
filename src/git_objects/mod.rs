//! PURE: commits, trees and blobs of any object database. Trees are checked: of a tree that two readers may read in two ways,
//! nothing is returned.
//!
//! ```text
//!   reader (one object) ---> lookup (an entry by its path)
//!                       ---> difference (of two trees)
//! ```
mod difference;
mod error;
mod lookup;
mod reader;

pub(crate) use difference::{Additions, FileChange, differences};
pub use error::Error;
pub(crate) use lookup::item_at;
pub(crate) use reader::{Commit, Leaf, Reader};
