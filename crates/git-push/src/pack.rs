//! The pack writer (gitformat-pack, *pack-\*.pack files have the following format*), version 2.
//!
//! What is packed already is copied, other objects are deltas where that makes them smaller (`base` says of what), and
//! small objects are compressed on all cores. When one local pack holds the objects of the list and no others, its file
//! is the pack: nothing is copied at all. Its checksum is not computed again; whoever receives a pack does that. When the
//! remote has nothing, git's bitmaps tell this without a walk, for commits that have one.
//!
//! Otherwise the pack is spooled to a file without a name in the folder for temporary files (`TMPDIR`), which goes away
//! with its last handle, however the process ends.
//!
//! Memory: about 130 bytes for each object of the list; for each of at most `MAX_THREADS` threads `QUEUE` encoded
//! objects of at most 1 MiB, one that is being encoded, its base, and 4 MiB of caches; and one large object: up to 64 MiB
//! with its base and delta, beyond that a stream when it is loose, and as it is when it has to be put together out of
//! deltas.
mod encode;
mod loose;

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use gix::{ObjectId, hash, objs::Kind};
use gix_pack::data::{self, entry::Header};

use self::encode::{Encoded, Encoder};
use self::loose::Loose;
use super::base::{self, Base, Choice, Stored};
use super::enumerate::{self, List, Listed};
use super::monitor::Monitor;
use super::reuse::{Location, Packs, StoredBase};
use super::{Advertisement, Capabilities, Command, Error, ErrorKind, Pack, Stage, objects::Objects};

/// The most threads that encode.
const MAX_THREADS: usize = 8;
/// How many encoded objects wait for the writer, per thread.
const QUEUE: usize = 16;
/// How many objects in a row a thread encodes: they are likely to be bases of each other.
const TURN: usize = 8;
/// From how many objects on a thread is worth its start.
const WORTH_A_THREAD: usize = 32;

/// Features of packs that the receiver supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// A delta may name its base by its place in the pack.
    pub ofs_delta: bool,
    /// A delta may be of an object that is not in the pack.
    pub thin: bool,
}

impl Format {
    /// The format for a server that offers this (gitprotocol-capabilities, *ofs-delta*, *no-thin*).
    pub fn offered(capabilities: &Capabilities) -> Self {
        Format {
            ofs_delta: capabilities.offers("ofs-delta"),
            thin: !capabilities.offers("no-thin"),
        }
    }
}

/// Makes the pack for `commands` to a remote that advertised this.
pub(super) fn make(
    repository: &gix::Repository,
    advertisement: &Advertisement,
    commands: &[Command],
    monitor: Monitor<'_>,
) -> Result<Pack, Error> {
    let format = Format::offered(&advertisement.capabilities);
    monitor.observer.stage(Stage::Counting);
    if let Some(pack) = reached_pack(repository, advertisement, commands).filter(|_| format.ofs_delta) {
        return Ok(pack);
    }
    let list = enumerate::list(repository, advertisement, commands, monitor)?;
    monitor.observer.stage(Stage::Compressing {
        objects: list.objects.len(),
    });
    write_watched(repository, &list, format, monitor)
}

/// For a remote that has nothing: the local pack that holds what is to be pushed and nothing else, if a bitmap says so.
fn reached_pack(repository: &gix::Repository, advertisement: &Advertisement, commands: &[Command]) -> Option<Pack> {
    let has_nothing = advertisement.refs.is_empty() && advertisement.haves.is_empty();
    if !has_nothing || repository.is_shallow().unwrap_or(true) {
        return None;
    }
    let tips = commands.iter().filter(|command| !command.is_delete());
    let tips: Vec<_> = tips.map(|command| command.new).collect();
    let (file, bytes, objects) = Packs::open(&Objects::new(repository)).reached(&tips)?;
    Some(Pack::new(file, bytes, objects))
}

/// Makes a pack of these objects, each to be named once, for a remote that has what [`List::remote`] names.
///
/// # Errors
/// [`ErrorKind::Transient`] when the spool cannot be written, [`ErrorKind::Broken`] when an object cannot be read.
pub fn write(repository: &gix::Repository, list: &List, format: Format) -> Result<Pack, Error> {
    write_watched(repository, list, format, Monitor::none())
}

fn write_watched(
    repository: &gix::Repository,
    list: &List,
    format: Format,
    monitor: Monitor<'_>,
) -> Result<Pack, Error> {
    let objects = list.objects.len() as u32;
    let packs = packs_of(repository, list);
    let locations: Vec<_> = list.objects.iter().map(|listed| packs.locate(listed.id)).collect();
    let finished = match format.ofs_delta {
        true => finished_pack(&list.objects, &packs, &locations),
        false => None,
    };
    let (file, bytes) = match finished {
        Some(pack) => pack,
        None => spool(
            repository,
            &Plan::new(list, &packs, locations, format, monitor.interrupt),
            objects,
            monitor,
        )?,
    };
    Ok(Pack::new(file, bytes, objects))
}

/// The packs that some of these objects may be in. After a small push all are loose; then no index needs to be mapped.
fn packs_of(repository: &gix::Repository, list: &List) -> Packs {
    let loose = Loose::new(repository);
    match list.objects.iter().all(|listed| loose.has(listed.id)) {
        true => Packs::none(),
        false => Packs::open(&Objects::new(repository)),
    }
}

/// The local pack that holds these objects and no others, unless deltas of what the remote has may be smaller.
fn finished_pack(list: &[Listed], packs: &Packs, locations: &[Option<Location>]) -> Option<(File, u64)> {
    let pack = locations.first().copied().flatten()?.pack;
    let inside = |location: &Option<Location>| location.is_some_and(|location| location.pack == pack);
    let of_remote = |listed: &Listed| matches!(listed.base, Some(Base::Remote(_)));
    let is_finished = locations.iter().all(inside) && !list.iter().any(of_remote);
    is_finished.then(|| packs.whole(pack, list.len())).flatten()
}

/// How each object of a list is stored, and is to be sent. All by place in the list.
struct Plan<'a> {
    list: &'a List,
    packs: &'a Packs,
    format: Format,
    interrupt: &'a AtomicBool,
    locations: Vec<Option<Location>>,
    stored: Vec<Option<Stored>>,
    choices: Vec<Choice>,
    /// Places as they are written: what is packed in the order of the packs, so that bases stay before their deltas; then
    /// the others, in the order of the list.
    order: Vec<u32>,
}

impl<'a> Plan<'a> {
    fn new(
        list: &'a List,
        packs: &'a Packs,
        locations: Vec<Option<Location>>,
        format: Format,
        interrupt: &'a AtomicBool,
    ) -> Self {
        let mut order: Vec<u32> = (0..list.objects.len() as u32).collect();
        let at = |place: &u32| locations[*place as usize];
        order.sort_by_key(|place| (at(place).is_none(), at(place)));
        let known = KnownBases::new(list, packs, &locations, &order);
        let stored: Vec<_> = locations
            .iter()
            .map(|location| {
                let location = (*location)?;
                let base = packs.base(location).ok()?;
                let base = base.map(|base| known.find(location.pack, base).ok_or(())).transpose();
                base.ok().map(|base| Stored {
                    pack: location.pack,
                    base,
                })
            })
            .collect();
        Plan {
            choices: base::choose(&list.objects, &stored, &order, format.thin),
            list,
            packs,
            format,
            interrupt,
            locations,
            stored,
            order,
        }
    }

    fn is_stored_whole(&self, place: usize) -> bool {
        self.stored[place].is_some_and(|stored| stored.base.is_none())
    }

    /// What the object takes when it is copied whole, in bytes.
    fn stored_size(&self, place: usize) -> Option<usize> {
        match self.is_stored_whole(place) {
            true => self.packs.compressed_size(self.locations[place]?),
            false => None,
        }
    }

    /// Whether the object has to be read.
    fn is_encoded(&self, place: usize) -> bool {
        match self.choices[place] {
            Choice::Whole => !self.is_stored_whole(place),
            Choice::Try(_) => true,
            Choice::Copy(_) => false,
        }
    }
}

/// Finds out what a stored delta is a delta of.
struct KnownBases<'a> {
    packs: &'a Packs,
    /// Locations in order.
    listed: Vec<(Location, u32)>,
    /// What the remote has, in order, and where.
    remote: Vec<(ObjectId, u32)>,
    remote_locations: Vec<(Location, u32)>,
}

impl<'a> KnownBases<'a> {
    fn new(list: &List, packs: &'a Packs, locations: &[Option<Location>], order: &[u32]) -> Self {
        let listed = order
            .iter()
            .filter_map(|place| Some((locations[*place as usize]?, *place)));
        let mut remote: Vec<_> = list.remote.iter().copied().zip(0..).collect();
        remote.sort_unstable();
        let mut remote_locations: Vec<_> = remote
            .iter()
            .filter_map(|(id, place)| Some((packs.locate(*id)?, *place)))
            .collect();
        remote_locations.sort_unstable();
        KnownBases {
            packs,
            listed: listed.collect(),
            remote,
            remote_locations,
        }
    }

    fn find(&self, pack: u32, base: StoredBase) -> Option<Base> {
        match base {
            StoredBase::Offset(offset) => {
                let at = |location: &Location| (location.pack, location.offset);
                let listed = self
                    .listed
                    .binary_search_by_key(&(pack, offset), |(location, _)| at(location));
                let remote = || {
                    self.remote_locations
                        .binary_search_by_key(&(pack, offset), |(location, _)| at(location))
                };
                match listed {
                    Ok(index) => Some(Base::Listed(self.listed[index].1)),
                    Err(_) => Some(Base::Remote(self.remote_locations[remote().ok()?].1)),
                }
            }
            StoredBase::Id(id) => {
                let listed = self.packs.locate(id).and_then(|location| {
                    let index = self
                        .listed
                        .binary_search_by_key(&location, |(location, _)| *location)
                        .ok()?;
                    Some(Base::Listed(self.listed[index].1))
                });
                let remote = || {
                    let found = self.remote.binary_search_by_key(&id, |(id, _)| *id);
                    found.ok().map(|index| Base::Remote(self.remote[index].1))
                };
                listed.or_else(remote)
            }
        }
    }
}

fn spool(
    repository: &gix::Repository,
    plan: &Plan<'_>,
    objects: u32,
    monitor: Monitor<'_>,
) -> Result<(File, u64), Error> {
    let file = tempfile::tempfile().map_err(|error| spool_failed(&error))?;
    let tasks: Vec<_> = plan
        .order
        .iter()
        .copied()
        .filter(|place| plan.is_encoded(*place as usize))
        .collect();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(MAX_THREADS).min(tasks.len() / WORTH_A_THREAD);
    let mut writer = Writer {
        plan,
        out: hash::io::Write::new(BufWriter::new(file), repository.object_hash()),
        written: 0,
        offsets: vec![0; plan.list.objects.len()],
        encoder: Encoder::new(plan, repository),
    };
    thread::scope(|scope| {
        let encoders = (0..threads).map(|thread| {
            let (sender, receiver) = sync_channel(QUEUE);
            let mut encoder = Encoder::new(plan, repository);
            let tasks = tasks.chunks(TURN).skip(thread).step_by(threads).flatten();
            scope.spawn(move || {
                for place in tasks {
                    // Nobody receives any more when writing failed.
                    if sender.send(encoder.small(*place as usize)).is_err() {
                        return;
                    }
                }
            });
            receiver
        });
        let encoders: Vec<_> = encoders.collect();
        writer.all(objects, &encoders, monitor)
    })?;
    writer.finish().map_err(|error| spool_failed(&error))
}

fn spool_failed(error: &io::Error) -> Error {
    let folder = std::env::temp_dir();
    let what = format!(
        "cannot write the pack to a temporary file in {}: {error}",
        folder.display()
    );
    Error::new(ErrorKind::Transient, what).with_hint("set TMPDIR to a folder with more space")
}

/// A pack being written.
struct Writer<'a> {
    plan: &'a Plan<'a>,
    out: hash::io::Write<BufWriter<File>>,
    written: u64,
    /// By place in the list: where the entry begins.
    offsets: Vec<u64>,
    encoder: Encoder<'a>,
}

impl Writer<'_> {
    /// Writes header and entries. The encoders take turns.
    fn all(
        &mut self,
        objects: u32,
        encoders: &[Receiver<Result<Encoded, Error>>],
        monitor: Monitor<'_>,
    ) -> Result<(), Error> {
        let plan = self.plan;
        let header = data::header::encode(data::Version::V2, objects);
        self.write_all(&header).map_err(|error| spool_failed(&error))?;
        let turn = |encoder| std::iter::repeat_n(encoder, TURN);
        let mut turns = encoders.iter().flat_map(turn).cycle();
        for (number, place) in plan.order.iter().map(|place| *place as usize).enumerate() {
            monitor.check()?;
            self.offsets[place] = self.written;
            let turn = if plan.is_encoded(place) { turns.next() } else { None };
            let encoded = match turn {
                Some(encoder) => encoder.recv().unwrap_or(Ok(Encoded::Large))?,
                None => self.encoder.small(place)?,
            };
            self.encoded(place, encoded)?;
            monitor.observer.objects(number + 1);
        }
        Ok(())
    }

    fn encoded(&mut self, place: usize, encoded: Encoded) -> Result<(), Error> {
        let failed = |error: io::Error| spool_failed(&error);
        match encoded {
            Encoded::Whole(kind, size, compressed) => self.entry(header(kind), size, &compressed).map_err(failed),
            Encoded::Delta(size, compressed) => match self.plan.choices[place] {
                Choice::Try(base) | Choice::Copy(base) => {
                    let header = self.delta_header(place, base);
                    self.entry(header, size, &compressed).map_err(failed)
                }
                Choice::Whole => self.stream(place),
            },
            Encoded::Stored => self.copy(place),
            Encoded::Large => match self.encoder.large(place)? {
                Encoded::Large => self.stream(place),
                encoded => self.encoded(place, encoded),
            },
        }
    }

    /// Copies the entry as it is stored; if it is damaged, there may be another copy of the object.
    fn copy(&mut self, place: usize) -> Result<(), Error> {
        let plan = self.plan;
        let entry = plan.locations[place].and_then(|location| plan.packs.entry(location).ok());
        let Some(entry) = entry else {
            return self.stream(place);
        };
        let header = match plan.stored[place].and_then(|stored| stored.base) {
            Some(base) => self.delta_header(place, base),
            None => entry.header,
        };
        self.entry(header, entry.size, entry.compressed)
            .map_err(|error| spool_failed(&error))
    }

    /// Writes the object whole, in pieces.
    fn stream(&mut self, place: usize) -> Result<(), Error> {
        let mut out = Counted {
            out: &mut self.out,
            written: &mut self.written,
        };
        self.encoder.stream(place, &mut out)
    }

    fn delta_header(&self, place: usize, base: Base) -> Header {
        match base {
            Base::Listed(base) if self.plan.format.ofs_delta => Header::OfsDelta {
                base_distance: self.offsets[place] - self.offsets[base as usize],
            },
            base => Header::RefDelta {
                base_id: self.plan.list.id(base),
            },
        }
    }

    fn entry(&mut self, header: Header, size: u64, compressed: &[u8]) -> io::Result<()> {
        let mut out = Counted {
            out: &mut self.out,
            written: &mut self.written,
        };
        header.write_to(size, &mut out)?;
        out.write_all(compressed)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Adds the checksum; gives the file, at its start, and its size.
    fn finish(self) -> io::Result<(File, u64)> {
        let checksum = self.out.hash.try_finalize().map_err(io::Error::other)?;
        let mut out = self.out.inner;
        out.write_all(checksum.as_slice())?;
        let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let bytes = file.stream_position()?;
        file.rewind()?;
        Ok((file, bytes))
    }
}

/// Counts what is written.
struct Counted<'a, W> {
    out: &'a mut W,
    written: &'a mut u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        *self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn header(kind: Kind) -> Header {
    match kind {
        Kind::Commit => Header::Commit,
        Kind::Tree => Header::Tree,
        Kind::Blob => Header::Blob,
        Kind::Tag => Header::Tag,
    }
}
