//! Description of LFS objects that the mirror lacks and the Stargate does not have.
use std::collections::BTreeMap;

use gix::ObjectId;

use super::{carrier::Alone, scan::Place};
use crate::lfs_pointer::Pointer;

/// Number of objects that a message names.
const MAX_NAMED: usize = 5;

/// Lines about objects.
pub(super) struct Lacked {
    /// A line for each object, and one for those beyond [`MAX_NAMED`].
    pub(super) lines: Vec<String>,
    /// The refs that need them, each with the lines of its objects.
    pub(super) by_ref: Alone,
}

/// Describes these objects, at most [`MAX_NAMED`] of them. `place` finds the place of a pointer.
pub(super) fn described(objects: &BTreeMap<Pointer, ObjectId>, place: impl Fn(ObjectId) -> Option<Place>) -> Lacked {
    let (mut lines, mut by_ref) = (Vec::new(), Alone::new());
    for (Pointer { oid, size }, blob) in objects.iter().take(MAX_NAMED) {
        let place = place(*blob);
        let shown = match &place {
            Some(Place { path, commit, .. }) => format!("{path} in commit {commit}"),
            None => format!("the blob {blob}"),
        };
        let line = format!("LFS object {oid} ({size} bytes) of {shown} is missing");
        if let Some(place) = place {
            by_ref.entry(place.name).or_default().push(line.clone());
        }
        lines.push(line);
    }
    if objects.len() > MAX_NAMED {
        lines.push(format!("{} more LFS objects are missing", objects.len() - MAX_NAMED));
    }
    Lacked { lines, by_ref }
}
