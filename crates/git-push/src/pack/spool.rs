//! Writes the objects of a plan, encoded on all cores.
//!
//! A pack of up to [`SMALL`] bytes is made in memory. A larger one continues in a temporary file, or is sent while it
//! is made: the writer moves to a thread of its own, and the caller's thread reads the pack from a pipe.
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use gix_pack::data::{self, entry::Header};

use super::super::{Error, Pack, list::Base, monitor::Monitor, pipe::PipeWriter};
use super::bounds::Bounds;
use super::encode::{Encoded, Encoder, header};
use super::output::{self, Memory, Output, Spool};
use super::plan::Plan;
use super::sequence::{Batch, Form};

/// Size of the largest pack that is made in memory, in bytes, without its checksum. Git sends such a push with its length,
/// too (git-config, *http.postBuffer*).
const SMALL: u64 = 1 << 20;
/// Maximum number of threads that encode.
const MAX_THREADS: usize = 8;
/// Number of parts that wait for the writer, per thread.
const QUEUE: usize = 8;
/// Bytes of encoded objects after which a part is complete.
const PART: usize = 256 * 1024;
/// Number of objects at which starting another thread saves time.
const WORTH_A_THREAD: usize = 32;

/// Encoded objects, in the order of writing.
type Part = VecDeque<Result<Encoded, Error>>;

/// State of a pack when the threads that encode have ended.
enum Delivery<T, F> {
    /// It is complete, and is to be sent with this.
    Ready(Pack, F),
    /// It was sent.
    Sent(T),
}

/// Writes the pack to a temporary file. Returns the file, at its start, and its size in bytes.
pub(super) fn spool(repository: &gix::Repository, plan: &Plan<'_>, monitor: Monitor<'_>) -> Result<(File, u64), Error> {
    thread::scope(|scope| {
        let mut writer = Writer::start(scope, repository, plan, Bounds::none())?.into_file()?;
        writer.run(u64::MAX, monitor)?;
        writer.out.into_spool()
    })
}

/// Writes the pack, and passes it to `send`: complete, or while it is made if `bounds` allow that.
///
/// # Errors
/// The errors of `send`, and the error that keeps the pack from being completed.
pub(super) fn deliver<T>(
    repository: &gix::Repository,
    plan: &Plan<'_>,
    bounds: Bounds,
    monitor: Monitor<'_>,
    send: impl FnOnce(Pack) -> Result<T, Error>,
) -> Result<T, Error> {
    let objects = plan.list.objects.len() as u32;
    let delivery = thread::scope(|scope| {
        let mut writer = Writer::start(scope, repository, plan, bounds)?;
        if writer.run(SMALL, monitor)? {
            let bytes = writer.out.into_bytes()?;
            return Ok(Delivery::Ready(Pack::in_memory(bytes, objects), send));
        }
        if bounds.stream {
            return writer.stream(scope, send).map(Delivery::Sent);
        }
        let mut writer = writer.into_file()?;
        writer.run(u64::MAX, monitor)?;
        let (file, bytes) = writer.out.into_spool()?;
        Ok(Delivery::Ready(Pack::new(file, bytes, objects), send))
    });
    match delivery? {
        // The memory of the threads is free by now.
        Delivery::Ready(pack, send) => send(pack),
        Delivery::Sent(sent) => Ok(sent),
    }
}

/// Encodes a batch and sends it in parts. Returns false if the receiver is gone: writing failed or was interrupted.
fn send(encoder: &mut Encoder<'_>, batch: &Batch, sender: &SyncSender<Part>) -> bool {
    encoder.start();
    let (mut part, mut bytes) = (Part::new(), 0);
    for position in batch.range.clone() {
        let Some(encoded) = encoder.next(position).transpose() else {
            continue;
        };
        bytes += match &encoded {
            Ok(Encoded::Whole(_, _, data) | Encoded::Delta(_, _, data)) => data.len(),
            Ok(Encoded::Stored | Encoded::Large) | Err(_) => 0,
        };
        part.push_back(encoded);
        if bytes >= PART {
            bytes = 0;
            if sender.send(std::mem::take(&mut part)).is_err() {
                return false;
            }
        }
    }
    sender.send(part).is_ok()
}

/// Threads that take turns batch by batch, each with the rest of a part. The first one has the turn. There may be none.
struct Threads(VecDeque<(Receiver<Part>, Part)>);

impl Threads {
    /// Returns the next object to be encoded.
    fn next(&mut self) -> Result<Encoded, Error> {
        let Some((receiver, part)) = self.0.front_mut() else {
            return Ok(Encoded::Large);
        };
        while part.is_empty() {
            match receiver.recv() {
                Ok(next) => *part = next,
                // The thread has panicked, and so does the scope when the writer returns.
                Err(_) => return Ok(Encoded::Large),
            }
        }
        part.pop_front().unwrap_or(Ok(Encoded::Large))
    }

    fn end_turn(&mut self) {
        if let Some(thread) = self.0.pop_front() {
            self.0.push_back(thread);
        }
    }
}

/// Writer of the entries. It can pause between two of them.
struct Writer<'a, W> {
    plan: &'a Plan<'a>,
    bounds: Bounds,
    out: Output<W>,
    threads: Threads,
    /// Number of batches that were written.
    batch: usize,
    /// Number of objects that were written.
    position: usize,
    /// The next object, if it is encoded already.
    next: Option<Encoded>,
    /// By place in the list: the start of the entry; 0 for an object that is not written yet.
    offsets: Vec<u64>,
    /// By place in the list: the number of deltas that the object consists of within the pack, saturating.
    depths: Vec<u8>,
    encoder: Encoder<'a>,
}

impl<'a> Writer<'a, Memory> {
    /// Starts to encode, and writes the header of the pack to memory.
    fn start<'scope>(
        scope: &'scope thread::Scope<'scope, '_>,
        repository: &gix::Repository,
        plan: &'a Plan<'a>,
        bounds: Bounds,
    ) -> Result<Self, Error>
    where
        'a: 'scope,
    {
        let batches = || plan.sequence.batches.iter().filter(|batch| batch.encoded > 0);
        let objects: usize = batches().map(|batch| batch.encoded).sum();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = cores
            .min(MAX_THREADS)
            .min(objects / WORTH_A_THREAD)
            .min(batches().count());
        let turns = (0..threads).map(|thread| {
            let (sender, receiver) = sync_channel(QUEUE);
            let mut encoder = Encoder::new(plan, repository);
            let mut turns = batches().skip(thread).step_by(threads);
            scope.spawn(move || turns.all(|batch| send(&mut encoder, batch, &sender)));
            (receiver, Part::new())
        });
        let count = plan.list.objects.len();
        let mut writer = Writer {
            plan,
            bounds,
            out: Output::new(repository.object_hash()),
            threads: Threads(turns.collect()),
            batch: 0,
            position: 0,
            next: None,
            offsets: vec![0; count],
            depths: vec![0; count],
            encoder: Encoder::new(plan, repository),
        };
        let header = data::header::encode(data::Version::V2, count as u32);
        writer.out.write_all(&header).map_err(|error| output::failed(&error))?;
        Ok(writer)
    }

    /// Goes on in a temporary file.
    fn into_file(self) -> Result<Writer<'a, Spool>, Error> {
        let moved = self.moved(|out| Ok((out.into_file()?, ())));
        moved.map(|(writer, ())| writer)
    }

    /// Passes the pack to `send`, and writes the rest on another thread meanwhile.
    fn stream<'scope, T>(
        self,
        scope: &'scope thread::Scope<'scope, '_>,
        send: impl FnOnce(Pack) -> Result<T, Error>,
    ) -> Result<T, Error>
    where
        'a: 'scope,
    {
        let objects = self.plan.list.objects.len() as u32;
        let (writer, reader) = self.moved(|out| Ok(out.into_pipe()))?;
        let incoming = reader.incoming();
        let maker = scope.spawn(move || writer.write_rest());
        let sent = send(Pack::streamed(reader, objects));
        incoming.close();
        match maker.join() {
            Ok(Ok(())) => sent,
            Ok(Err(error)) => Err(error),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Goes on in another place.
    fn moved<V, X>(
        self,
        to: impl FnOnce(Output<Memory>) -> Result<(Output<V>, X), Error>,
    ) -> Result<(Writer<'a, V>, X), Error> {
        let (out, with) = to(self.out)?;
        let writer = Writer {
            plan: self.plan,
            bounds: self.bounds,
            out,
            threads: self.threads,
            batch: self.batch,
            position: self.position,
            next: self.next,
            offsets: self.offsets,
            depths: self.depths,
            encoder: self.encoder,
        };
        Ok((writer, with))
    }
}

impl Writer<'_, PipeWriter> {
    /// Writes the rest. It is no error if that is not read to its end.
    fn write_rest(mut self) -> Result<(), Error> {
        let monitor = Monitor {
            observer: &(),
            interrupt: self.plan.interrupt,
        };
        let written = self.run(u64::MAX, monitor);
        if !self.out.is_hung_up() {
            written?;
            self.out.end();
        }
        Ok(())
    }
}

impl<W: Write> Writer<'_, W> {
    /// Writes entries, as long as the pack has at most this number of bytes. Returns true if all are written.
    fn run(&mut self, most: u64, monitor: Monitor<'_>) -> Result<bool, Error> {
        let plan = self.plan;
        while let Some(batch) = plan.sequence.batches.get(self.batch) {
            if self.position == batch.range.start && self.next.is_none() {
                self.encoder.start();
            }
            while self.position < batch.range.end {
                monitor.check()?;
                let place = plan.sequence.order[self.position] as usize;
                let encoded = match self.next.take() {
                    Some(encoded) => encoded,
                    None => self.encoded(batch)?,
                };
                if most < u64::MAX && self.out.written().saturating_add(self.size(place, &encoded)) > most {
                    self.next = Some(encoded);
                    return Ok(false);
                }
                self.offsets[place] = self.out.written();
                self.entry(place, encoded)?;
                self.bounds.check(self.out.size())?;
                self.position += 1;
                monitor.observer.objects(self.position);
            }
            if batch.encoded > 0 {
                self.threads.end_turn();
            }
            self.batch += 1;
        }
        Ok(true)
    }

    /// Returns the size of an encoded object in bytes, without its header. That of a large one is not known.
    fn size(&self, place: usize, encoded: &Encoded) -> u64 {
        let known = match encoded {
            Encoded::Whole(_, _, data) | Encoded::Delta(_, _, data) => Some(data.len()),
            Encoded::Stored => {
                self.plan.locations[place].and_then(|location| self.plan.packs.compressed_size(location))
            }
            Encoded::Large => None,
        };
        known.map_or(u64::MAX, |size| size as u64)
    }

    /// Returns the next object.
    fn encoded(&mut self, batch: &Batch) -> Result<Encoded, Error> {
        let place = self.plan.sequence.order[self.position] as usize;
        let is_here = self.threads.0.is_empty() && batch.encoded > 0;
        let encoded = if is_here {
            self.encoder.next(self.position)?
        } else {
            None
        };
        match self.plan.form(place) {
            Form::Encode if !is_here => self.threads.next(),
            Form::Encode | Form::Copy(_) => Ok(encoded.unwrap_or(Encoded::Stored)),
        }
    }

    fn entry(&mut self, place: usize, encoded: Encoded) -> Result<(), Error> {
        match encoded {
            Encoded::Whole(kind, size, compressed) => self.write(header(kind), size, &compressed),
            Encoded::Delta(base, size, compressed) => self.delta(place, base, size, &compressed),
            Encoded::Stored => self.copy(place),
            Encoded::Large => {
                let depth_on = |base| depth_on(self.plan, &self.offsets, &self.depths, place, base);
                match self.encoder.large(place, depth_on)? {
                    Encoded::Large => self.encoder.stream(place, &mut self.out),
                    encoded => self.entry(place, encoded),
                }
            }
        }
    }

    /// Copies the entry as it is stored. If it is damaged, there may be another copy of the object.
    fn copy(&mut self, place: usize) -> Result<(), Error> {
        let plan = self.plan;
        let entry = plan.locations[place].and_then(|location| plan.packs.entry(location).ok());
        let Some(entry) = entry else {
            return self.encoder.stream(place, &mut self.out);
        };
        match plan.form(place) {
            Form::Copy(Some(base)) => self.delta(place, base, entry.size, entry.compressed),
            Form::Copy(None) | Form::Encode => self.write(entry.header, entry.size, entry.compressed),
        }
    }

    fn delta(&mut self, place: usize, base: Base, size: u64, compressed: &[u8]) -> Result<(), Error> {
        let depth = depth_on(self.plan, &self.offsets, &self.depths, place, base);
        self.depths[place] = depth.unwrap_or(u8::MAX);
        let header = match base {
            Base::Listed(base) if self.plan.format.ofs_delta => Header::OfsDelta {
                base_distance: self.offsets[place] - self.offsets[base as usize],
            },
            base => Header::RefDelta {
                base_id: self.plan.list.id(base),
            },
        };
        self.write(header, size, compressed)
    }

    fn write(&mut self, header: Header, size: u64, compressed: &[u8]) -> Result<(), Error> {
        let written = header.write_to(size, &mut self.out);
        written
            .and_then(|_| self.out.write_all(compressed))
            .map_err(|error| output::failed(&error))
    }
}

/// Returns the depth of a delta of `base`, if the base is written or on the remote.
fn depth_on(plan: &Plan<'_>, offsets: &[u64], depths: &[u8], place: usize, base: Base) -> Option<u8> {
    match base {
        Base::Listed(base) => {
            let base = base as usize;
            let is_before = offsets[base] != 0 && base != place;
            is_before.then(|| depths[base].saturating_add(1))
        }
        Base::Remote(_) => plan.format.thin.then_some(1),
    }
}
