//! Search for blobs of a push that the mirror may reject.
//!
//! The work is bounded, so that the pusher does not wait for it. Deflate compresses by a factor of at most 1,032, so only
//! an object that takes more than [`MIN_STORED`] bytes can be too large, and only such headers are read.
//!
//! # Limitations
//!
//! A blob stored as a small delta is missed, and so is one in a pack of very many objects. The mirror reports those.
use gix::{
    ObjectId,
    objs::{FindHeader, Kind},
};

use super::new_objects::Stored;

/// Largest blob that GitHub accepts, in bytes.
pub(super) const MAX_BLOB: u64 = 100 << 20;
/// Lower bound of the stored size of a blob larger than [`MAX_BLOB`], in bytes.
const MIN_STORED: u64 = MAX_BLOB / 1032;

/// Returns the blobs among new objects that are larger than [`MAX_BLOB`], with their sizes in bytes. Skips objects that
/// it cannot read, because the result is only a warning.
pub(super) fn large_blobs(new: &[Stored], objects: &gix::odb::Handle) -> Vec<(ObjectId, u64)> {
    let candidates = new.iter().filter(|stored| stored.size > MIN_STORED);
    let large = |stored: &Stored| {
        let header = objects.try_header(&stored.id).ok()??;
        (header.kind == Kind::Blob && header.size > MAX_BLOB).then_some((stored.id, header.size))
    };
    candidates.filter_map(large).collect()
}
