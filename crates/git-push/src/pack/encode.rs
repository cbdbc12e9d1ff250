//! Encoder of objects, one after the other: as stored entries, as deltas, or whole, whichever is smallest.
use std::collections::HashMap;
use std::io::{self, Read, Write};

use gix::zlib::{Compression, Decompress, Status, stream::deflate, stream::deflate::FlushCompress};
use gix::{ObjectId, objs::Kind};
use gix_pack::data::entry::Header;

use super::super::{Error, delta, list::Base, monitor::check, object_files::ObjectFolders, objects::Objects};
use super::window::{Found, Window};
use super::{output, plan::Plan, sequence::Form};

/// Size of the largest object that is compressed in memory, beside others, in bytes.
const SMALL: u64 = 1 << 20;
/// Size of the largest base of such an object, in bytes.
const SMALL_BASE: u64 = 4 << 20;
/// Size of the largest object that becomes a delta or the base of one, in bytes.
const MAX_DELTA: u64 = 64 << 20;
/// If an object is at least this many times as large as its uncompressed delta, the delta is taken without compressing
/// the object itself.
const CERTAIN: usize = 8;
/// Bytes of objects that are kept beside the window.
const OBJECT_CACHE: usize = 1 << 20;
/// Bytes of bases of stored deltas that are kept beside them.
const BASE_CACHE: usize = 4 << 20;

/// An object, encoded.
pub(super) enum Encoded {
    /// Whole: kind, size in bytes, and the object, compressed.
    Whole(Kind, u64, Vec<u8>),
    /// As a delta of this base: size in bytes, and the delta, compressed.
    Delta(Base, u64, Vec<u8>),
    /// To be copied as it is stored.
    Stored,
    /// Not encoded: it is too large to be in memory beside others.
    Large,
}

/// Encodes objects in the order of the plan.
pub(super) struct Encoder<'a> {
    plan: &'a Plan<'a>,
    objects: Objects,
    folders: ObjectFolders,
    inflate: Decompress,
    deflate: deflate::Compress,
    window: Window,
    /// By place: the number of deltas that an object of this batch consists of within the pack.
    depths: HashMap<usize, u8>,
}

impl<'a> Encoder<'a> {
    /// Creates an encoder with a handle of its own on the repository.
    pub(super) fn new(plan: &'a Plan<'a>, repository: &gix::Repository) -> Self {
        Encoder {
            plan,
            objects: Objects::cached(repository, OBJECT_CACHE, BASE_CACHE),
            folders: ObjectFolders::of(repository),
            inflate: Decompress::new(),
            deflate: deflate::Compress::new(Compression::DEFAULT),
            window: Window::default(),
            depths: HashMap::new(),
        }
    }

    /// Starts a batch.
    pub(super) fn start(&mut self) {
        self.window.clear();
        self.depths.clear();
    }

    /// Encodes the object at this position of the order, unless it is large. Returns `None` if the plan copies it.
    pub(super) fn next(&mut self, position: usize) -> Result<Option<Encoded>, Error> {
        check(self.plan.interrupt)?;
        if self.plan.sequence.is_fresh[position] {
            self.window.clear();
        }
        if let Some(base) = self.plan.sequence.remotes.get(&position) {
            self.window.push(*base, 0);
        }
        let place = self.plan.sequence.order[position] as usize;
        match self.plan.form(place) {
            Form::Encode => self.small(place).map(Some),
            Form::Copy(base) => {
                let depth = base.map_or(Some(0), |base| self.depth_on(base));
                if let Some(depth) = depth {
                    self.depths.insert(place, depth);
                    self.window.push(Base::Listed(place as u32), depth);
                    self.window.shrink();
                }
                Ok(None)
            }
        }
    }

    fn small(&mut self, place: usize) -> Result<Encoded, Error> {
        let Some((kind, data)) = self.read(place, SMALL)? else {
            return Ok(Encoded::Large);
        };
        let found = self.search(place, kind, &data);
        let depth = found.as_ref().map_or(0, |found| found.depth);
        let encoded = self.encode(place, kind, &data, found);
        let depth = if let Encoded::Delta(..) = encoded { depth } else { 0 };
        self.depths.insert(place, depth);
        self.window.push_read(Base::Listed(place as u32), depth, kind, data);
        self.window.shrink();
        Ok(encoded)
    }

    /// Encodes the large object at this place of the list as a delta or as it is stored. `depth_on` returns the depth of a
    /// delta of a base that can be used. Returns [`Encoded::Large`] if the object is to be streamed.
    pub(super) fn large(&mut self, place: usize, depth_on: impl Fn(Base) -> Option<u8>) -> Result<Encoded, Error> {
        let max_depth = self.plan.sequence.max_depth(place);
        let is_usable = |base: &Base| {
            let depth = depth_on(*base).filter(|depth| *depth <= max_depth);
            depth.is_some() && !self.plan.was_tried(place, *base)
        };
        let base = self.plan.hint(place).filter(is_usable);
        let read = base.map(|_| self.read(place, MAX_DELTA)).transpose()?.flatten();
        match (base, read) {
            (Some(base), Some((kind, data))) => {
                let found = self.large_delta(base, kind, &data);
                Ok(self.encode(place, kind, &data, found))
            }
            _ if self.plan.is_stored_whole(place) => Ok(Encoded::Stored),
            _ => Ok(Encoded::Large),
        }
    }

    fn large_delta(&mut self, base: Base, kind: Kind, data: &[u8]) -> Option<Found> {
        let (base_kind, base_data) = read_base(&self.objects, self.plan.list.id(base), MAX_DELTA)?;
        let delta = (base_kind == kind).then(|| delta::encode(&base_data, data, data.len()));
        Some(Found {
            base,
            delta: delta??,
            depth: 0,
        })
    }

    /// Writes the object at this place of the list whole, in pieces if it is loose.
    pub(super) fn stream(&mut self, place: usize, out: &mut impl Write) -> Result<(), Error> {
        let id = self.plan.list.objects[place].id;
        let unusable = |error: io::Error| self.objects.unusable(id, &error.to_string());
        self.deflate.reset();
        let Some(mut object) = self.folders.open_loose(id, &mut self.inflate).map_err(unusable)? else {
            let object = self.objects.find(id, &"the list of objects to push")?;
            let size = object.data.len() as u64;
            header(object.kind)
                .write_to(size, out)
                .and_then(|_| compress(&mut self.deflate, &object.data, FlushCompress::Finish, out))
                .map_err(|error| output::failed(&error))?;
            return Ok(());
        };
        let written = header(object.kind).write_to(object.size, out);
        written.map_err(|error| output::failed(&error))?;
        let mut piece = vec![0; 64 * 1024];
        loop {
            check(self.plan.interrupt)?;
            let read = object.read(&mut piece).map_err(unusable)?;
            let flush = match read {
                0 => FlushCompress::Finish,
                _ => FlushCompress::None,
            };
            compress(&mut self.deflate, &piece[..read], flush, out).map_err(|error| output::failed(&error))?;
            if read == 0 {
                return Ok(());
            }
        }
    }

    /// Returns the depth of a delta of this base, if it is in the batch or on the remote.
    fn depth_on(&self, base: Base) -> Option<u8> {
        match base {
            Base::Listed(base) => self.depths.get(&(base as usize)).map(|depth| depth.saturating_add(1)),
            Base::Remote(_) => self.plan.format.thin.then_some(1),
        }
    }

    /// Returns the smallest delta of the object. A base that cannot be read is not used.
    fn search(&mut self, place: usize, kind: Kind, data: &[u8]) -> Option<Found> {
        let hint = self.plan.hint(place);
        let hint = hint.and_then(|base| Some((base, self.depth_on(base)? - 1)));
        if let Some((base, depth)) = hint {
            self.window.push(base, depth);
        }
        let (plan, objects) = (self.plan, &self.objects);
        let read = |base: Base| read_base(objects, plan.list.id(base), SMALL_BASE);
        let is_usable = |base: Base| !plan.was_tried(place, base);
        let max_depth = plan.sequence.max_depth(place);
        self.window
            .smallest((kind, data), hint.is_some(), max_depth, is_usable, read)
    }

    fn encode(&mut self, place: usize, kind: Kind, data: &[u8], found: Option<Found>) -> Encoded {
        let delta = found.and_then(|Found { base, delta, .. }| {
            let compressed = self.compressed(&delta, usize::MAX)?;
            let cost = compressed.len() + self.plan.reference_size(base);
            Some((base, delta.len(), compressed, cost))
        });
        // Compression ends when the object is larger than its delta.
        let limit = delta.as_ref().map_or(usize::MAX, |(.., cost)| *cost);
        let is_certain = |size: usize| size <= data.len() / CERTAIN;
        let whole = match self.plan.stored_size(place) {
            Some(stored) if stored <= limit => return Encoded::Stored,
            Some(_) => None,
            None if delta.as_ref().is_some_and(|(_, size, ..)| is_certain(*size)) => None,
            None => self.compressed(data, limit),
        };
        match (whole, delta) {
            (Some(whole), _) => Encoded::Whole(kind, data.len() as u64, whole),
            (None, Some((base, size, delta, _))) => Encoded::Delta(base, size as u64, delta),
            // It cannot be compressed. Streaming fails on it, too, and reports why.
            (None, None) => Encoded::Large,
        }
    }

    /// Reads the object, unless it has more than `limit` bytes.
    fn read(&mut self, place: usize, limit: u64) -> Result<Option<(Kind, Vec<u8>)>, Error> {
        let id = self.plan.list.objects[place].id;
        if self.plan.locations[place].is_none() {
            let unusable = |error: io::Error| self.objects.unusable(id, &error.to_string());
            if let Some(object) = self.folders.open_loose(id, &mut self.inflate).map_err(unusable)? {
                let kind = object.kind;
                let data = (object.size <= limit).then(|| object.into_data().map_err(unusable));
                return Ok(data.transpose()?.map(|data| (kind, data)));
            }
        }
        if self.objects.size(id)?.is_some_and(|size| size > limit) {
            return Ok(None);
        }
        let mut object = self.objects.find(id, &"the list of objects to push")?;
        Ok(Some((object.kind, std::mem::take(&mut object.data))))
    }

    /// Compresses `data` to at most `limit` bytes, if that is enough.
    fn compressed(&mut self, data: &[u8], limit: usize) -> Option<Vec<u8>> {
        let mut out = Limited {
            bytes: Vec::new(),
            limit,
        };
        self.deflate.reset();
        compress(&mut self.deflate, data, FlushCompress::Finish, &mut out).ok()?;
        Some(out.bytes)
    }
}

/// Reads a base, if it has at most `limit` bytes.
fn read_base(objects: &Objects, id: ObjectId, limit: u64) -> Option<(Kind, Vec<u8>)> {
    if objects.size(id).ok()?? > limit {
        return None;
    }
    let mut object = objects.try_find(id).ok()??;
    Some((object.kind, std::mem::take(&mut object.data)))
}

/// At most `limit` bytes in memory.
struct Limited {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses all of `data` into `out`.
fn compress(
    state: &mut deflate::Compress,
    mut data: &[u8],
    flush: FlushCompress,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let (read, written) = (state.total_in(), state.total_out());
        let status = state.compress(data, &mut buffer, flush).map_err(io::Error::other)?;
        data = &data[(state.total_in() - read) as usize..];
        out.write_all(&buffer[..(state.total_out() - written) as usize])?;
        let done = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            _ => data.is_empty(),
        };
        if done {
            return Ok(());
        }
    }
}

/// Returns the header of an object that is stored whole.
pub(super) fn header(kind: Kind) -> Header {
    match kind {
        Kind::Commit => Header::Commit,
        Kind::Tree => Header::Tree,
        Kind::Blob => Header::Blob,
        Kind::Tag => Header::Tag,
    }
}
