//! Lookup of an entry by path.
use bstr::{BStr, ByteSlice};
use gix::ObjectId;

use super::{
    Error,
    reader::{Leaf, Reader},
};

/// Returns the file or folder at `path`, or the tree itself if `path` is empty.
///
/// # Errors
/// A tree on the way is missing or damaged.
pub(crate) fn item_at(reader: Reader<'_>, tree: ObjectId, path: &BStr) -> Result<Option<Leaf>, Error> {
    let mut item = Leaf::tree(tree);
    for name in path.split_str("/").filter(|name| !name.is_empty()) {
        if !item.is_tree() {
            return Ok(None);
        }
        match reader.tree(item.id)?.item(name)? {
            Some(found) => item = found,
            None => return Ok(None),
        }
    }
    Ok(Some(item))
}
