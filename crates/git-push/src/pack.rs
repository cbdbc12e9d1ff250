//! The pack writer (gitformat-pack, *pack-\*.pack files have the following format*), version 2.
//!
//! Packed objects are copied, other objects become deltas where that makes them smaller, and small objects are compressed on
//! all cores. `sequence` puts similar objects next to each other, `window` finds the smallest delta. If one local pack has
//! exactly the objects of the list, its file is sent, and nothing is copied. Its checksum is not verified, because every
//! receiver does that. Git's bitmaps find such a pack without a list.
//!
//! Otherwise a pack of up to 1 MiB is made in memory. A larger one is sent while it is made, if the connection takes
//! packs of unknown length: one thread writes and hashes it, another one sends it, the others compress (`spool`).
//! Without such a connection, or if the pack may become larger than the limit of the push, it is written to a file
//! without a name in the folder for temporary files (`TMPDIR`). The file is removed when its last handle is closed,
//! however the process ends.
//!
//! A pack that is sent while it is made is not kept: a retry builds it again. A copy on disk would cost as much as the
//! spool that it replaces, for a failure that is rare. An error aborts the pack before its last bytes, so the server
//! never has a complete pack.
//!
//! ```text
//! pack ---> spool (threads) ---> encode (one object) ---> window (its base)
//!             |                    |
//!             v                    v
//!           output               plan ---> sequence (order, copies) ---> families
//! ```
//!
//! Memory: about 130 bytes for each object of the list; for each of at most 8 threads 12 MiB of window and caches, and up
//! to 9 parts of 256 KiB and one object of encoded objects; 1 MiB of the pack; in the pipe to the sender 2 MiB; and one large
//! object: up to 64 MiB with its base and delta.
//! A larger object is streamed if it is loose. If it is a chain of deltas, it is in memory.
pub(super) mod bounds;
mod encode;
mod families;
mod output;
mod plan;
mod sequence;
mod spool;
mod window;

use std::fs::File;

pub use self::plan::Format;

use self::bounds::Bounds;
use self::plan::Plan;
use super::enumerate::{self, Counted};
use super::list::{Base, List, Listed};
use super::monitor::Monitor;
use super::object_files::ObjectFolders;
use super::reuse::{Location, Packs};
use super::{Advertisement, Command, Error, Pack, SpooledPack, Stage};

/// Makes the pack for `commands` to a remote that advertised this.
pub(super) fn make(
    repository: &gix::Repository,
    advertisement: &Advertisement,
    commands: &[Command],
    bounds: Bounds,
    monitor: Monitor<'_>,
) -> Result<SpooledPack, Error> {
    let format = bounds.format(&advertisement.capabilities);
    let (file, bytes, objects) = match count(repository, advertisement, commands, (format, bounds), monitor)? {
        Counted::Pack(file, bytes, objects) => (file, bytes, objects),
        Counted::List(list) => return write_watched(repository, &list, format, monitor),
    };
    Ok(SpooledPack::new(file, bytes, objects, false))
}

/// Makes the pack for `commands` to a remote that advertised this, and passes it to `send`: complete, or while it is
/// made if `bounds` allow that. A pack that turns out too large is not completed.
pub(super) fn deliver<T>(
    repository: &gix::Repository,
    advertisement: &Advertisement,
    commands: &[Command],
    bounds: Bounds,
    monitor: Monitor<'_>,
    send: impl FnOnce(Pack) -> Result<T, Error>,
) -> Result<T, Error> {
    let format = bounds.format(&advertisement.capabilities);
    match count(repository, advertisement, commands, (format, bounds), monitor)? {
        Counted::Pack(file, bytes, objects) => {
            bounds.check(bytes)?;
            send(Pack::new(file, bytes, objects))
        }
        Counted::List(list) => deliver_list(repository, &list, format, bounds, monitor, send),
    }
}

fn count(
    repository: &gix::Repository,
    advertisement: &Advertisement,
    commands: &[Command],
    (format, bounds): (Format, Bounds),
    monitor: Monitor<'_>,
) -> Result<Counted, Error> {
    monitor.observer.stage(Stage::Counting);
    let rules = (format.ofs_delta, bounds.borders());
    enumerate::count(repository, advertisement, commands, rules, monitor)
}

/// Makes a pack of these objects, each to be named once, for a remote that has the objects of [`List::remote`].
///
/// # Errors
/// [`ErrorKind::Transient`](super::ErrorKind::Transient) when the temporary file cannot be written,
/// [`ErrorKind::Broken`](super::ErrorKind::Broken) when an object cannot be read.
pub fn write(repository: &gix::Repository, list: &List, format: Format) -> Result<SpooledPack, Error> {
    write_watched(repository, list, format, Monitor::none())
}

/// Makes a pack of these objects in a file, with progress and an interrupt flag.
fn write_watched(
    repository: &gix::Repository,
    list: &List,
    format: Format,
    monitor: Monitor<'_>,
) -> Result<SpooledPack, Error> {
    let objects = compressing(list, monitor);
    let stored = StoredObjects::of(repository, list);
    let ((file, bytes), thin) = match stored.finished_pack(list, format) {
        Some(pack) => (pack, false),
        None => {
            let plan = Plan::new(list, &stored.packs, stored.locations, format, monitor.interrupt);
            (spool::spool(repository, &plan, monitor)?, plan.is_thin())
        }
    };
    Ok(SpooledPack::new(file, bytes, objects, thin))
}

/// Makes a pack of these objects, and passes it to `send` as [`deliver()`] does.
pub(super) fn deliver_list<T>(
    repository: &gix::Repository,
    list: &List,
    format: Format,
    bounds: Bounds,
    monitor: Monitor<'_>,
    send: impl FnOnce(Pack) -> Result<T, Error>,
) -> Result<T, Error> {
    let objects = compressing(list, monitor);
    let stored = StoredObjects::of(repository, list);
    if let Some((file, bytes)) = stored.finished_pack(list, format) {
        bounds.check(bytes)?;
        return send(Pack::new(file, bytes, objects));
    }
    let bounds = bounds.check_stored(repository, list, &stored.packs, &stored.locations)?;
    let plan = Plan::new(list, &stored.packs, stored.locations, format, monitor.interrupt);
    let thin = plan.is_thin();
    spool::deliver(repository, &plan, bounds, monitor, |pack| {
        send(pack.with_thin_bases(thin))
    })
}

/// Reports that a pack of these objects is made. Returns their number.
fn compressing(list: &List, monitor: Monitor<'_>) -> u32 {
    let objects = list.objects.len();
    monitor.observer.stage(Stage::Compressing { objects });
    objects as u32
}

/// The packs that may have some of the objects of a list, and where these are.
struct StoredObjects {
    packs: Packs,
    locations: Vec<Option<Location>>,
}

impl StoredObjects {
    fn of(repository: &gix::Repository, list: &List) -> Self {
        let packs = packs_of(repository, list);
        StoredObjects {
            locations: list.objects.iter().map(|listed| packs.locate(listed.id)).collect(),
            packs,
        }
    }

    /// Returns the local pack with exactly these objects, if there is one and the receiver takes it.
    fn finished_pack(&self, list: &List, format: Format) -> Option<(File, u64)> {
        let found = finished_pack(&list.objects, &self.packs, &self.locations);
        found.filter(|_| format.ofs_delta)
    }
}

/// Returns the packs that may have some of these objects. After a small push all are loose, and no index is mapped.
fn packs_of(repository: &gix::Repository, list: &List) -> Packs {
    let folders = ObjectFolders::of(repository);
    if list.objects.iter().all(|listed| folders.has_loose(listed.id)) {
        Packs::new(Vec::new())
    } else {
        Packs::new(folders.open_packs(repository.object_hash()))
    }
}

/// Returns the local pack with exactly these objects, unless deltas of the remote's objects may be smaller.
fn finished_pack(list: &[Listed], packs: &Packs, locations: &[Option<Location>]) -> Option<(File, u64)> {
    let pack = locations.first().copied().flatten()?.pack;
    let inside = |location: &Option<Location>| location.is_some_and(|location| location.pack == pack);
    let of_remote = |listed: &Listed| matches!(listed.base, Some(Base::Remote(_)));
    let is_finished = locations.iter().all(inside) && !list.iter().any(of_remote);
    let pack = packs.pack(pack);
    let is_finished = is_finished && pack.is_whole(list.len());
    is_finished.then(|| pack.file.open_data()).flatten()
}
