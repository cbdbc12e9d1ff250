//! Bounds of a pack: its size, whether it may be thin, and whether it may be sent while it is made.
use super::super::enumerate::Borders;
use super::super::list::List;
use super::super::object_files::ObjectFolders;
use super::super::reuse::{Location, Packs};
use super::super::{Capabilities, Error, ErrorKind, Remedy};
use super::Format;

/// A pack may be sent while it is made if its limit is at least this many times the stored bytes of its objects. If the
/// pack still becomes larger than the limit, sending is aborted.
const AMPLE: u64 = 2;

/// Bounds of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Bounds {
    /// Deltas of objects that only the remote has are allowed.
    pub(in super::super) thin: bool,
    /// Largest size in bytes; `None` for any.
    pub(in super::super) bytes: Option<u64>,
    /// The pack may be sent while it is made, without its length in advance.
    pub(in super::super) stream: bool,
    /// The history may end where that of a shallow clone does.
    pub(in super::super) shallow: bool,
}

impl Bounds {
    /// Any pack.
    pub(super) fn none() -> Self {
        Bounds {
            thin: true,
            bytes: None,
            stream: false,
            shallow: false,
        }
    }

    /// Returns the rule for the borders of a shallow clone.
    pub(super) fn borders(self) -> Borders {
        if self.shallow { Borders::Sent } else { Borders::Kept }
    }

    /// Returns the format for a server that offers this.
    pub(in super::super) fn format(self, capabilities: &Capabilities) -> Format {
        let mut format = Format::offered(capabilities);
        format.thin &= self.thin;
        format
    }

    /// Fails if the size of a pack, or of a part of it, is over the limit.
    pub(super) fn check(self, bytes: u64) -> Result<(), Error> {
        match self.bytes {
            Some(limit) if bytes > limit => {
                let what = format!(
                    "the objects to send have {bytes} bytes or more, over the limit of {limit} bytes; nothing was changed"
                );
                Err(Error::new(ErrorKind::NotSent, what).with_remedy(Remedy::SmallerPack))
            }
            _ => Ok(()),
        }
    }

    /// Fails if the objects are stored in more bytes than the pack may have. Nothing is written then. The pack may
    /// become smaller or larger than the stored bytes. Objects without a file have no bytes.
    ///
    /// Returns the bounds. If the pack may become too large, they do not allow sending it while it is made.
    pub(super) fn check_stored(
        mut self,
        repository: &gix::Repository,
        list: &List,
        packs: &Packs,
        locations: &[Option<Location>],
    ) -> Result<Self, Error> {
        let Some(limit) = self.bytes else {
            return Ok(self);
        };
        let folders = ObjectFolders::of(repository);
        let unpacked = list.objects.iter().zip(locations).filter(|(_, at)| at.is_none());
        let loose: u64 = unpacked.filter_map(|(listed, _)| folders.loose_size(listed.id)).sum();
        // Sizes of single entries are found by sorting all entries of a pack.
        if loose.saturating_add(packs.bytes()) <= limit / AMPLE {
            return Ok(self);
        }
        let sizes = locations.iter().flatten().filter_map(|at| packs.compressed_size(*at));
        let bytes = loose + sizes.map(|size| size as u64).sum::<u64>();
        self.check(bytes)?;
        self.stream &= bytes <= limit / AMPLE;
        Ok(self)
    }
}
