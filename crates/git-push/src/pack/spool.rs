//! Writes the objects of a plan to the temporary file, compressed on all cores.
use std::fs::File;
use std::io::Write;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use gix_pack::data::{self, entry::Header};

use super::super::{Error, base::Choice, list::Base, monitor::Monitor};
use super::encode::{Encoded, Encoder, header};
use super::output::{self, Output};
use super::plan::Plan;

/// Maximum number of threads that encode.
const MAX_THREADS: usize = 8;
/// Number of encoded objects that wait for the writer, per thread.
const QUEUE: usize = 16;
/// Number of objects in a row that a thread encodes: they are likely to be bases of each other.
const TURN: usize = 8;
/// Number of objects from which on a thread is worth its start.
const WORTH_A_THREAD: usize = 32;

/// Writes the pack. Returns the file, at its start, and its size in bytes.
pub(super) fn spool(repository: &gix::Repository, plan: &Plan<'_>, monitor: Monitor<'_>) -> Result<(File, u64), Error> {
    let mut writer = Writer {
        plan,
        out: Output::new(repository.object_hash())?,
        offsets: vec![0; plan.list.objects.len()],
        encoder: Encoder::new(plan, repository),
    };
    let places = plan.order.iter().copied();
    let tasks: Vec<_> = places.filter(|place| plan.is_encoded(*place as usize)).collect();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(MAX_THREADS).min(tasks.len() / WORTH_A_THREAD);
    thread::scope(|scope| {
        let encoders = (0..threads).map(|thread| {
            let (sender, receiver) = sync_channel(QUEUE);
            let mut encoder = Encoder::new(plan, repository);
            let tasks = tasks.chunks(TURN).skip(thread).step_by(threads).flatten();
            scope.spawn(move || {
                for place in tasks {
                    // The receiver is gone when writing failed or was interrupted.
                    if sender.send(encoder.small(*place as usize)).is_err() {
                        return;
                    }
                }
            });
            receiver
        });
        let encoders: Vec<_> = encoders.collect();
        writer.all(&encoders, monitor)
    })?;
    writer.out.finish().map_err(|error| output::failed(&error))
}

/// Writer of the entries.
struct Writer<'a> {
    plan: &'a Plan<'a>,
    out: Output,
    /// By place in the list: the start of the entry.
    offsets: Vec<u64>,
    encoder: Encoder<'a>,
}

impl Writer<'_> {
    /// Writes header and entries. The encoders take turns.
    fn all(&mut self, encoders: &[Receiver<Result<Encoded, Error>>], monitor: Monitor<'_>) -> Result<(), Error> {
        let plan = self.plan;
        let header = data::header::encode(data::Version::V2, plan.list.objects.len() as u32);
        self.out.write_all(&header).map_err(|error| output::failed(&error))?;
        let turn = |encoder| std::iter::repeat_n(encoder, TURN);
        let mut turns = encoders.iter().flat_map(turn).cycle();
        for (number, place) in plan.order.iter().map(|place| *place as usize).enumerate() {
            monitor.check()?;
            self.offsets[place] = self.out.written();
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
        match encoded {
            Encoded::Whole(kind, size, compressed) => self.entry(header(kind), size, &compressed),
            Encoded::Delta(size, compressed) => match self.plan.choices[place] {
                Choice::Try(base) | Choice::Copy(base) => self.entry(self.delta_header(place, base), size, &compressed),
                Choice::Whole => self.encoder.stream(place, &mut self.out),
            },
            Encoded::Stored => self.copy(place),
            Encoded::Large => match self.encoder.large(place)? {
                Encoded::Large => self.encoder.stream(place, &mut self.out),
                encoded => self.encoded(place, encoded),
            },
        }
    }

    /// Copies the entry as it is stored. If it is damaged, there may be another copy of the object.
    fn copy(&mut self, place: usize) -> Result<(), Error> {
        let plan = self.plan;
        let entry = plan.locations[place].and_then(|location| plan.packs.entry(location).ok());
        let Some(entry) = entry else {
            return self.encoder.stream(place, &mut self.out);
        };
        let header = match plan.stored[place].and_then(|stored| stored.base) {
            Some(base) => self.delta_header(place, base),
            None => entry.header,
        };
        self.entry(header, entry.size, entry.compressed)
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

    fn entry(&mut self, header: Header, size: u64, compressed: &[u8]) -> Result<(), Error> {
        let written = header.write_to(size, &mut self.out);
        written
            .and_then(|_| self.out.write_all(compressed))
            .map_err(|error| output::failed(&error))
    }
}
