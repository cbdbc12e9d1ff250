//! Bounds of a pack: its size, and whether it may be thin.
use super::super::list::List;
use super::super::object_files::ObjectFolders;
use super::super::reuse::{Location, Packs};
use super::super::{Capabilities, Error, ErrorKind, Pack, Remedy};
use super::Format;

/// Bounds of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Bounds {
    /// Deltas of objects that only the remote has are allowed.
    pub(in super::super) thin: bool,
    /// Largest size in bytes; `None` for any.
    pub(in super::super) bytes: Option<u64>,
}

impl Bounds {
    /// Any pack.
    pub(super) fn none() -> Self {
        Bounds {
            thin: true,
            bytes: None,
        }
    }

    /// Returns the format for a server that offers this.
    pub(in super::super) fn format(self, capabilities: &Capabilities) -> Format {
        let mut format = Format::offered(capabilities);
        format.thin &= self.thin;
        format
    }

    /// Returns the pack, unless it is too large.
    pub(super) fn checked(self, pack: Pack) -> Result<Pack, Error> {
        match self.bytes {
            Some(limit) if pack.bytes > limit => Err(too_large(pack.bytes, limit)),
            _ => Ok(pack),
        }
    }

    /// Fails if the objects are stored in more bytes than the pack may have. Nothing is written then. The pack may become
    /// smaller or larger than what is stored. Objects without a file have no bytes.
    pub(super) fn check_stored(
        self,
        repository: &gix::Repository,
        list: &List,
        packs: &Packs,
        locations: &[Option<Location>],
    ) -> Result<(), Error> {
        let Some(limit) = self.bytes else {
            return Ok(());
        };
        let folders = ObjectFolders::of(repository);
        let unpacked = list.objects.iter().zip(locations).filter(|(_, at)| at.is_none());
        let loose: u64 = unpacked.filter_map(|(listed, _)| folders.loose_size(listed.id)).sum();
        // Sizes of single entries are found by sorting all entries of a pack.
        if loose.saturating_add(packs.bytes()) <= limit {
            return Ok(());
        }
        let sizes = locations.iter().flatten().filter_map(|at| packs.compressed_size(*at));
        let bytes = loose + sizes.map(|size| size as u64).sum::<u64>();
        if bytes > limit {
            return Err(too_large(bytes, limit));
        }
        Ok(())
    }
}

fn too_large(bytes: u64, limit: u64) -> Error {
    let what =
        format!("the objects to send have {bytes} bytes, more than the limit of {limit} bytes; nothing was sent");
    Error::new(ErrorKind::NotSent, what).with_remedy(Remedy::SmallerPack)
}
