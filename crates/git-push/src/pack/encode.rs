//! Encoder of one object of the pack: as the stored entry, as a delta, or whole, whichever is smallest among the forms that
//! the plan tries.
use std::collections::VecDeque;
use std::io::{self, Read, Write};

use gix::zlib::{Compression, Decompress, Status, stream::deflate, stream::deflate::FlushCompress};
use gix::{ObjectId, objs::Kind};
use gix_pack::data::entry::Header;

use super::super::{
    Error, base::Choice, delta, list::Base, monitor::check, object_files::ObjectFolders, objects::Objects,
};
use super::{output, plan::Plan};

/// Size of the largest object that is compressed in memory, beside others, in bytes.
const SMALL: u64 = 1 << 20;
/// Size of the largest object that becomes a delta or the base of one, in bytes.
const MAX_DELTA: u64 = 64 << 20;
/// Ratio of an object's size to that of its uncompressed delta from which on the delta is taken without compressing the
/// object itself.
const CERTAIN: usize = 8;
/// Ratio of a base's size to the object's above which the base is not read.
const MAX_RATIO: u64 = 32;
/// Number of objects, the last to be encoded, that are kept as bases of the next ones.
const RECENT: usize = 128;
/// Bytes of these objects.
const RECENT_BYTES: usize = 2 << 20;
/// Bytes of objects that are kept beside them.
const OBJECT_CACHE: usize = 1 << 20;
/// Bytes of bases of stored deltas that are kept beside them.
const BASE_CACHE: usize = 1 << 20;
/// Size of the distance to a base in the pack that the comparison assumes, in bytes: 5 in the largest packs.
const OFFSET: usize = 5;

/// An object, encoded.
pub(super) enum Encoded {
    /// Whole: kind, size in bytes, and the object, compressed.
    Whole(Kind, u64, Vec<u8>),
    /// As a delta of the base that the plan chose: size in bytes, and the delta, compressed.
    Delta(u64, Vec<u8>),
    /// To be copied as it is stored.
    Stored,
    /// Not encoded: it is too large to be in memory beside others.
    Large,
}

/// Encodes objects, one after the other.
pub(super) struct Encoder<'a> {
    plan: &'a Plan<'a>,
    objects: Objects,
    folders: ObjectFolders,
    inflate: Decompress,
    deflate: deflate::Compress,
    recent: Recent,
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
            recent: Recent::default(),
        }
    }

    /// Encodes the object at this place of the list, unless it is large.
    pub(super) fn small(&mut self, place: usize) -> Result<Encoded, Error> {
        match self.plan.choices[place] {
            Choice::Whole if self.plan.is_stored_whole(place) => Ok(Encoded::Stored),
            Choice::Copy(_) => Ok(Encoded::Stored),
            choice => self.read_and_encode(place, choice, SMALL),
        }
    }

    /// Encodes the large object at this place of the list as a delta or as it is stored. Returns [`Encoded::Large`] if it is
    /// to be streamed.
    pub(super) fn large(&mut self, place: usize) -> Result<Encoded, Error> {
        match self.plan.choices[place] {
            choice @ Choice::Try(_) => match self.read_and_encode(place, choice, MAX_DELTA)? {
                Encoded::Large if self.plan.is_stored_whole(place) => Ok(Encoded::Stored),
                encoded => Ok(encoded),
            },
            _ => Ok(Encoded::Large),
        }
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

    fn read_and_encode(&mut self, place: usize, choice: Choice, limit: u64) -> Result<Encoded, Error> {
        let Some((kind, data)) = self.read(place, limit)? else {
            return Ok(Encoded::Large);
        };
        let encoded = self.encode(place, choice, kind, &data);
        self.recent.add(self.plan.list.objects[place].id, kind, data);
        Ok(encoded)
    }

    fn encode(&mut self, place: usize, choice: Choice, kind: Kind, data: &[u8]) -> Encoded {
        let delta = match choice {
            Choice::Try(base) => self.delta(base, kind, data),
            Choice::Whole | Choice::Copy(_) => None,
        };
        // Compression ends when the object is larger than its delta.
        let limit = delta.as_ref().map_or(usize::MAX, |(.., cost)| *cost);
        let whole = match self.plan.stored_size(place) {
            Some(stored) if stored <= limit => return Encoded::Stored,
            Some(_) => None,
            None if delta
                .as_ref()
                .is_some_and(|(size, ..)| *size as usize <= data.len() / CERTAIN) =>
            {
                None
            }
            None => self.compressed(data, limit),
        };
        match (whole, delta) {
            (None, Some((size, delta, _))) => Encoded::Delta(size, delta),
            (whole, _) => Encoded::Whole(kind, data.len() as u64, whole.unwrap_or_default()),
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

    /// Makes a delta. Returns its size, its compressed bytes, and its cost with the reference to the base. A base that cannot
    /// be read is not used: the object is sent whole.
    fn delta(&mut self, base: Base, kind: Kind, data: &[u8]) -> Option<(u64, Vec<u8>, usize)> {
        let id = self.plan.list.id(base);
        let reference = match base {
            Base::Listed(_) if self.plan.format.ofs_delta => OFFSET,
            _ => id.as_bytes().len(),
        };
        let delta = match self.recent.find(id) {
            Some((base_kind, base)) if base_kind == kind => delta::encode(base, data, data.len()),
            Some(_) => None,
            None => {
                let size = self.objects.size(id).ok()??;
                if size > MAX_DELTA || size / MAX_RATIO > data.len() as u64 {
                    return None;
                }
                let base = self.objects.try_find(id).ok()??;
                let delta = (base.kind == kind).then(|| delta::encode(&base.data, data, data.len()));
                delta.flatten()
            }
        }?;
        let compressed = self.compressed(&delta, usize::MAX)?;
        let cost = compressed.len() + reference;
        Some((delta.len() as u64, compressed, cost))
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

/// The objects that were encoded last.
#[derive(Default)]
struct Recent {
    objects: VecDeque<(ObjectId, Kind, Vec<u8>)>,
    bytes: usize,
}

impl Recent {
    fn add(&mut self, id: ObjectId, kind: Kind, data: Vec<u8>) {
        self.bytes += data.len();
        self.objects.push_back((id, kind, data));
        while self.objects.len() > RECENT || self.bytes > RECENT_BYTES {
            self.bytes -= self.objects.pop_front().map_or(0, |(.., data)| data.len());
        }
    }

    fn find(&self, id: ObjectId) -> Option<(Kind, &[u8])> {
        let mut latest_first = self.objects.iter().rev();
        let (_, kind, data) = latest_first.find(|(other, ..)| *other == id)?;
        Some((*kind, data))
    }
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
