//! One object as it goes into the pack: copied, as a delta, or whole, whichever is smallest of what was chosen to be
//! tried.
use std::collections::VecDeque;
use std::io::{self, Read, Write};

use gix::zlib::{Compression, Status, stream::deflate, stream::deflate::FlushCompress};
use gix::{ObjectId, objs::Kind};

use super::super::{Error, base::Base, base::Choice, delta, monitor::check, objects::Objects};
use super::{Plan, header, loose::Loose, spool_failed};

/// The largest object that is compressed in memory, beside others, in bytes.
const SMALL: u64 = 1 << 20;
/// The largest object that is made a delta, or that a delta is made of, in bytes.
const MAX_DELTA: u64 = 64 << 20;
/// A delta that has, before it is compressed, less than one byte for so many of the object is taken without compressing
/// the object itself.
const CERTAIN: usize = 8;
/// A base that is so many times as large as the object is not worth looking at.
const MAX_RATIO: u64 = 32;
/// How many objects that were encoded last are kept as bases of those to come, and how many bytes of them.
const RECENT: usize = 128;
const RECENT_BYTES: usize = 2 << 20;
/// How many bytes of objects, and of bases of deltas, are kept beside them.
const OBJECT_CACHE: usize = 1 << 20;
const BASE_CACHE: usize = 1 << 20;
/// What an offset to a base in the pack takes, in bytes, as far as the comparison goes: those of the largest packs have 5.
const OFFSET: usize = 5;

/// An object, encoded.
pub(super) enum Encoded {
    /// Whole: kind, size in bytes, and the object, compressed.
    Whole(Kind, u64, Vec<u8>),
    /// As a delta of the base that was chosen to be tried: size in bytes, and the delta, compressed.
    Delta(u64, Vec<u8>),
    /// As it is stored.
    Stored,
    /// Not yet: it is too large to be in memory beside others.
    Large,
}

/// Encodes objects, one after the other.
pub(super) struct Encoder<'a> {
    plan: &'a Plan<'a>,
    objects: Objects,
    loose: Loose,
    deflate: deflate::Compress,
    recent: Recent,
}

impl<'a> Encoder<'a> {
    /// An encoder with a handle of its own on the repository.
    pub(super) fn new(plan: &'a Plan<'a>, repository: &gix::Repository) -> Self {
        Encoder {
            plan,
            objects: Objects::cached(repository, OBJECT_CACHE, BASE_CACHE),
            loose: Loose::new(repository),
            deflate: deflate::Compress::new(Compression::DEFAULT),
            recent: Recent::default(),
        }
    }

    /// The object at this place of the list, unless it is large.
    pub(super) fn small(&mut self, place: usize) -> Result<Encoded, Error> {
        match self.plan.choices[place] {
            Choice::Whole if self.plan.is_stored_whole(place) => Ok(Encoded::Stored),
            Choice::Copy(_) => Ok(Encoded::Stored),
            choice => self.read_and_encode(place, choice, SMALL),
        }
    }

    /// The object at this place of the list, which is large: as a delta, or as it is stored; [`Encoded::Large`] when it is
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

    /// Writes the object at this place of the list whole, in pieces when it is loose.
    pub(super) fn stream(&mut self, place: usize, out: &mut impl Write) -> Result<(), Error> {
        let id = self.plan.list.objects[place].id;
        let unusable = |error: io::Error| self.objects.unusable(id, &error.to_string());
        self.deflate.reset();
        let Some(mut object) = self.loose.open(id).map_err(unusable)? else {
            let object = self.objects.find(id, &"what is to be pushed")?;
            let size = object.data.len() as u64;
            header(object.kind)
                .write_to(size, out)
                .and_then(|_| compress(&mut self.deflate, &object.data, FlushCompress::Finish, out))
                .map_err(|error| spool_failed(&error))?;
            return Ok(());
        };
        let written = header(object.kind).write_to(object.size, out);
        written.map_err(|error| spool_failed(&error))?;
        let mut piece = vec![0; 64 * 1024];
        loop {
            check(self.plan.interrupt)?;
            let read = object.read(&mut piece).map_err(unusable)?;
            let flush = match read {
                0 => FlushCompress::Finish,
                _ => FlushCompress::None,
            };
            compress(&mut self.deflate, &piece[..read], flush, out).map_err(|error| spool_failed(&error))?;
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
        // It ends as soon as the object is known to be larger than its delta.
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

    /// The object, unless it has more than `limit` bytes.
    fn read(&mut self, place: usize, limit: u64) -> Result<Option<(Kind, Vec<u8>)>, Error> {
        let id = self.plan.list.objects[place].id;
        if self.plan.locations[place].is_none() {
            let unusable = |error: io::Error| self.objects.unusable(id, &error.to_string());
            if let Some(object) = self.loose.open(id).map_err(unusable)? {
                let kind = object.kind;
                return match object.size <= limit {
                    true => Ok(Some((kind, object.into_data().map_err(unusable)?))),
                    false => Ok(None),
                };
            }
        }
        if self.objects.size(id)?.is_some_and(|size| size > limit) {
            return Ok(None);
        }
        let mut object = self.objects.find(id, &"what is to be pushed")?;
        Ok(Some((object.kind, std::mem::take(&mut object.data))))
    }

    /// A delta, compressed: its size before that, its bytes, what it costs. A base that cannot be read is none.
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

    /// `data`, compressed to at most `limit` bytes, if that is enough.
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

/// Objects that were encoded last.
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

/// Bytes in memory, of which there may not be more than `limit`.
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
