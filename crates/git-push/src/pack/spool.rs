//! Writes the objects of a plan to the temporary file, encoded on all cores.
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use gix_pack::data::{self, entry::Header};

use super::super::{Error, list::Base, monitor::Monitor};
use super::encode::{Encoded, Encoder, header};
use super::output::{self, Output};
use super::plan::Plan;
use super::sequence::{Batch, Form};

/// Maximum number of threads that encode.
const MAX_THREADS: usize = 8;
/// Number of parts that wait for the writer, per thread.
const QUEUE: usize = 8;
/// Bytes of encoded objects after which a part is complete.
const PART: usize = 256 * 1024;
/// Number of objects from which on a thread is worth its start.
const WORTH_A_THREAD: usize = 32;

/// Encoded objects, in the order of writing.
type Part = VecDeque<Result<Encoded, Error>>;

/// Writes the pack. Returns the file, at its start, and its size in bytes.
pub(super) fn spool(repository: &gix::Repository, plan: &Plan<'_>, monitor: Monitor<'_>) -> Result<(File, u64), Error> {
    let batches = || plan.sequence.batches.iter().filter(|batch| batch.encoded > 0);
    let objects: usize = batches().map(|batch| batch.encoded).sum();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores
        .min(MAX_THREADS)
        .min(objects / WORTH_A_THREAD)
        .min(batches().count());
    let mut writer = Writer::new(repository, plan)?;
    thread::scope(|scope| {
        let turns = (0..threads).map(|thread| {
            let (sender, receiver) = sync_channel(QUEUE);
            let mut encoder = Encoder::new(plan, repository);
            let mut turns = batches().skip(thread).step_by(threads);
            scope.spawn(move || turns.all(|batch| send(&mut encoder, batch, &sender)));
            (receiver, Part::new())
        });
        writer.all(Threads(turns.collect()), monitor)
    })?;
    writer.out.finish().map_err(|error| output::failed(&error))
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

/// Writer of the entries.
struct Writer<'a> {
    plan: &'a Plan<'a>,
    out: Output,
    /// By place in the list: the start of the entry; 0 for an object that is not written yet.
    offsets: Vec<u64>,
    /// By place in the list: the number of deltas that the object consists of within the pack, saturating.
    depths: Vec<u8>,
    encoder: Encoder<'a>,
}

impl<'a> Writer<'a> {
    fn new(repository: &gix::Repository, plan: &'a Plan<'a>) -> Result<Self, Error> {
        let count = plan.list.objects.len();
        Ok(Writer {
            plan,
            out: Output::new(repository.object_hash())?,
            offsets: vec![0; count],
            depths: vec![0; count],
            encoder: Encoder::new(plan, repository),
        })
    }

    /// Writes header and entries.
    fn all(&mut self, mut threads: Threads, monitor: Monitor<'_>) -> Result<(), Error> {
        let plan = self.plan;
        let header = data::header::encode(data::Version::V2, plan.list.objects.len() as u32);
        self.out.write_all(&header).map_err(|error| output::failed(&error))?;
        for batch in &plan.sequence.batches {
            self.encoder.start();
            for position in batch.range.clone() {
                monitor.check()?;
                let place = plan.sequence.order[position] as usize;
                let encoded = self.next(position, batch, &mut threads)?;
                self.offsets[place] = self.out.written();
                self.entry(place, encoded)?;
                monitor.observer.objects(position + 1);
            }
            if batch.encoded > 0 {
                threads.end_turn();
            }
        }
        Ok(())
    }

    /// Returns the object at this position of the order.
    fn next(&mut self, position: usize, batch: &Batch, threads: &mut Threads) -> Result<Encoded, Error> {
        let place = self.plan.sequence.order[position] as usize;
        let is_here = threads.0.is_empty() && batch.encoded > 0;
        let encoded = if is_here { self.encoder.next(position)? } else { None };
        match self.plan.form(place) {
            Form::Encode if !is_here => threads.next(),
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
