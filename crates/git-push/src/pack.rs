//! The pack writer (gitformat-pack, *pack-\*.pack files have the following format*), version 2.
//!
//! Packed objects are copied, other objects become deltas where that makes them smaller, and small objects are compressed on
//! all cores. `sequence` puts similar objects next to each other, `window` finds the smallest delta. If one local pack has
//! exactly the objects of the list, its file is sent, and nothing is copied. Its checksum is not verified, because every
//! receiver does that. Git's bitmaps find such a pack without a list.
//!
//! Otherwise the pack is written to a file without a name in the folder for temporary files (`TMPDIR`). The file goes away
//! with its last handle, however the process ends.
//!
//! ```text
//! pack ---> spool (threads) ---> encode (one object) ---> window (its base)
//!             |                    |
//!             v                    v
//!           output               plan ---> sequence (order, copies) ---> families
//! ```
//!
//! Memory: about 130 bytes for each object of the list; for each of at most 8 threads 12 MiB of window and caches, and up
//! to 9 parts of 256 KiB and one object of encoded objects; and one large object: up to 64 MiB with its base and delta.
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
use super::{Advertisement, Command, Error, Pack, Stage};

/// Makes the pack for `commands` to a remote that advertised this.
pub(super) fn make(
    repository: &gix::Repository,
    advertisement: &Advertisement,
    commands: &[Command],
    bounds: Bounds,
    monitor: Monitor<'_>,
) -> Result<Pack, Error> {
    let format = bounds.format(&advertisement.capabilities);
    monitor.observer.stage(Stage::Counting);
    let list = match enumerate::count(repository, advertisement, commands, format.ofs_delta, monitor)? {
        Counted::Pack(file, bytes, objects) => return bounds.checked(Pack::new(file, bytes, objects)),
        Counted::List(list) => list,
    };
    monitor.observer.stage(Stage::Compressing {
        objects: list.objects.len(),
    });
    write_watched(repository, &list, format, bounds, monitor)
}

/// Makes a pack of these objects, each to be named once, for a remote that has the objects of [`List::remote`].
///
/// # Errors
/// [`ErrorKind::Transient`](super::ErrorKind::Transient) when the temporary file cannot be written,
/// [`ErrorKind::Broken`](super::ErrorKind::Broken) when an object cannot be read.
pub fn write(repository: &gix::Repository, list: &List, format: Format) -> Result<Pack, Error> {
    write_watched(repository, list, format, Bounds::none(), Monitor::none())
}

/// Makes a pack of these objects within `bounds`, with progress and an interrupt flag.
pub(super) fn write_watched(
    repository: &gix::Repository,
    list: &List,
    format: Format,
    bounds: Bounds,
    monitor: Monitor<'_>,
) -> Result<Pack, Error> {
    let packs = packs_of(repository, list);
    let locations: Vec<_> = list.objects.iter().map(|listed| packs.locate(listed.id)).collect();
    let finished = if format.ofs_delta {
        finished_pack(&list.objects, &packs, &locations)
    } else {
        None
    };
    let ((file, bytes), thin) = match finished {
        Some(pack) => (pack, false),
        None => {
            bounds.check_stored(repository, list, &packs, &locations)?;
            let plan = Plan::new(list, &packs, locations, format, monitor.interrupt);
            (spool::spool(repository, &plan, monitor)?, plan.is_thin())
        }
    };
    bounds.checked(Pack::new(file, bytes, list.objects.len() as u32).with_thin_bases(thin))
}

/// Returns the packs that may have some of these objects. After a small push all are loose, and no index is mapped.
fn packs_of(repository: &gix::Repository, list: &List) -> Packs {
    let folders = ObjectFolders::of(repository);
    if list.objects.iter().all(|listed| folders.has_loose(listed.id)) {
        Packs::new(Vec::new())
    } else {
        open_packs(repository)
    }
}

fn open_packs(repository: &gix::Repository) -> Packs {
    Packs::new(ObjectFolders::of(repository).open_packs(repository.object_hash()))
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
