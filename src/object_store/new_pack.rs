//! PURE: a pack and its index, built in memory (gitformat-pack, version 2 of both). The base of every delta is in the pack,
//! as git requires for a pack on disk.
use std::collections::HashSet;

use gix::{
    ObjectId, hash,
    objs::Kind,
    zlib::{Compression, stream::deflate, stream::deflate::FlushCompress},
};
use gix_pack::data::{self, entry::Header};

/// Maximum size of a pack in bytes: offsets of 31 bits reach its end.
pub const MAX_PACK: usize = 1 << 30;

/// Compression level for large objects, which hardly compress.
const FAST: Compression = Compression::BEST_SPEED;
/// Minimum size of a large object, in bytes.
const LARGE: usize = 64 * 1024;
/// Magic number and version of an index.
const INDEX_MAGIC: [u8; 8] = [0xff, b't', b'O', b'c', 0, 0, 0, 2];

/// A pack under construction.
pub struct NewPack {
    hash: hash::Kind,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    ids: HashSet<ObjectId>,
    deflate: [deflate::Compress; 2],
}

/// A pack and its index, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Checksum of the pack, used as its name.
    pub name: ObjectId,
    /// Bytes of the pack.
    pub pack: Vec<u8>,
    /// Bytes of the index.
    pub index: Vec<u8>,
}

struct Entry {
    id: ObjectId,
    crc32: u32,
    offset: u32,
}

/// Error of building an object or a pack.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// gix refuses to compute the id: a collision attack.
    #[error("the id of an object cannot be computed: {0}")]
    Id(String),
    /// The pack would be too large.
    #[error("a pack would be larger than {MAX_PACK} bytes")]
    TooLarge,
    /// The compressor failed.
    #[error("an object cannot be compressed: {0}")]
    Compression(String),
}

impl NewPack {
    /// Creates an empty pack for objects of this format.
    pub fn new(hash: hash::Kind) -> Self {
        NewPack {
            hash,
            // `finish()` fills in the number of objects.
            bytes: data::header::encode(data::Version::V2, 0).to_vec(),
            entries: Vec::new(),
            ids: HashSet::new(),
            deflate: [Compression::DEFAULT, FAST].map(deflate::Compress::new),
        }
    }

    /// The object format.
    pub fn hash(&self) -> hash::Kind {
        self.hash
    }

    /// Returns true if the pack has no objects.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns true if the pack has this object.
    pub fn has(&self, id: &ObjectId) -> bool {
        self.ids.contains(id)
    }

    /// Size so far, in bytes.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Adds an object and returns its id.
    pub fn add(&mut self, kind: Kind, object: &[u8]) -> Result<ObjectId, PackError> {
        let id = object_id(self.hash, kind, object)?;
        if !self.has(&id) {
            let compressed = self.compressed(object)?;
            self.add_compressed(id, kind, object.len(), &compressed)?;
        }
        Ok(id)
    }

    /// Adds an object with this id and size that was [`compressed()`](NewPack::compressed()) before.
    pub fn add_compressed(
        &mut self,
        id: ObjectId,
        kind: Kind,
        size: usize,
        compressed: &[u8],
    ) -> Result<(), PackError> {
        let header = match kind {
            Kind::Commit => Header::Commit,
            Kind::Tree => Header::Tree,
            Kind::Blob => Header::Blob,
            Kind::Tag => Header::Tag,
        };
        self.entry(id, header, size as u64, compressed)
    }

    /// Adds an object with this id as a delta against an object in the pack.
    pub fn add_delta(&mut self, id: ObjectId, base_id: ObjectId, delta: &[u8]) -> Result<(), PackError> {
        let compressed = self.compressed(delta)?;
        self.entry(id, Header::RefDelta { base_id }, delta.len() as u64, &compressed)
    }

    /// Adds an entry with this header.
    pub fn entry(&mut self, id: ObjectId, header: Header, size: u64, compressed: &[u8]) -> Result<(), PackError> {
        if !self.ids.insert(id) {
            return Ok(());
        }
        let offset = self.bytes.len();
        if offset + compressed.len() > MAX_PACK - 64 {
            return Err(PackError::TooLarge);
        }
        // Writing to memory does not fail.
        let _ = header.write_to(size, &mut self.bytes);
        self.bytes.extend_from_slice(compressed);
        self.entries.push(Entry {
            id,
            crc32: crc32fast::hash(&self.bytes[offset..]),
            offset: offset as u32,
        });
        Ok(())
    }

    /// Compresses an object or delta as packs store it.
    pub fn compressed(&mut self, object: &[u8]) -> Result<Vec<u8>, PackError> {
        let state = &mut self.deflate[usize::from(object.len() >= LARGE)];
        state.reset();
        let mut out = vec![0; object.len() + object.len() / 1000 + 64];
        let status = state
            .compress(object, &mut out, FlushCompress::Finish)
            .map_err(|error| PackError::Compression(error.to_string()))?;
        if status != gix::zlib::Status::StreamEnd {
            return Err(PackError::Compression("the output buffer is too small".into()));
        }
        out.truncate(state.total_out() as usize);
        Ok(out)
    }

    /// Completes the pack and builds its index.
    pub fn finish(mut self) -> Result<Finished, PackError> {
        self.bytes[8..12].copy_from_slice(&(self.entries.len() as u32).to_be_bytes());
        let name = checksum(self.hash, &self.bytes)?;
        self.bytes.extend_from_slice(name.as_slice());
        self.entries.sort_unstable_by_key(|entry| entry.id);
        let mut index = INDEX_MAGIC.to_vec();
        for first in 0..=u8::MAX {
            let up_to = self.entries.partition_point(|entry| entry.id.first_byte() <= first);
            index.extend_from_slice(&(up_to as u32).to_be_bytes());
        }
        for entry in &self.entries {
            index.extend_from_slice(entry.id.as_slice());
        }
        for entry in &self.entries {
            index.extend_from_slice(&entry.crc32.to_be_bytes());
        }
        for entry in &self.entries {
            index.extend_from_slice(&entry.offset.to_be_bytes());
        }
        index.extend_from_slice(name.as_slice());
        let own = checksum(self.hash, &index)?;
        index.extend_from_slice(own.as_slice());
        Ok(Finished {
            name,
            pack: self.bytes,
            index,
        })
    }
}

/// Computes the id of an object.
pub fn object_id(hash: hash::Kind, kind: Kind, object: &[u8]) -> Result<ObjectId, PackError> {
    gix::objs::compute_hash(hash, kind, object).map_err(|error| PackError::Id(error.to_string()))
}

fn checksum(hash: hash::Kind, bytes: &[u8]) -> Result<ObjectId, PackError> {
    let mut hasher = hash::hasher(hash);
    hasher.update(bytes);
    hasher.try_finalize().map_err(|error| PackError::Id(error.to_string()))
}
