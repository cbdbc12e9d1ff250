//! Bitmaps of packs: their results contain only objects of the pack.
use git_push::bitmap::Bitmap;
use gix::{ObjectId, hash};

use super::control;

/// The first byte is the number of objects, the rest a bitmap of such a pack without pack checksum and checksum.
pub fn check(bytes: &[u8]) {
    let (objects, bytes) = control(bytes, u8::MAX);
    let objects = u32::from(objects);
    assert!(Bitmap::read(bytes, &pack(), objects).is_none(), "no checksum");
    let file = sealed(bytes);
    let Some(bitmap) = Bitmap::read(&file, &pack(), objects) else {
        return;
    };
    for place in 0..objects {
        assert!(bitmap.kind(place).is_some());
        if let Some(reachable) = bitmap.reachable(place) {
            assert!(bitmap.has_entry(place));
            assert!(
                reachable
                    .iter()
                    .all(|place| place < objects && reachable.contains(place))
            );
            assert_eq!(reachable.iter().count(), reachable.count() as usize);
        }
    }
    assert!(bitmap.kind(objects).is_none() && !bitmap.has_entry(objects) && bitmap.name_hash(objects).is_none());
}

/// The pack to which all of them belong.
fn pack() -> ObjectId {
    ObjectId::Sha1([7; 20])
}

/// Signature, version, flags and number of entries, the checksum of the pack, the rest, and the checksum of it all.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let (start, rest) = bytes.split_at(bytes.len().min(12));
    let mut file = [start, pack().as_bytes(), rest].concat();
    let mut hasher = hash::hasher(hash::Kind::Sha1);
    hasher.update(&file);
    file.extend(hasher.try_finalize().expect("a checksum").as_bytes());
    file
}
