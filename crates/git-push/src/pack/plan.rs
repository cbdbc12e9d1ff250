//! Plan of a pack: how each object of the list is stored, and how it is sent. PURE: it sees mapped packs, and reads no
//! object.
use std::sync::atomic::AtomicBool;

use gix::ObjectId;

use super::super::Capabilities;
use super::super::base::{self, Choice, Stored};
use super::super::list::{Base, List};
use super::super::reuse::{Location, Packs, StoredBase};

/// Features of packs that the receiver supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// A delta may name its base by the distance in the pack.
    pub ofs_delta: bool,
    /// A delta may be of an object that is not in the pack.
    pub thin: bool,
}

impl Format {
    /// Returns the format for a server that offers this (gitprotocol-capabilities, *ofs-delta*, *no-thin*).
    #[must_use]
    pub fn offered(capabilities: &Capabilities) -> Self {
        Format {
            ofs_delta: capabilities.offers("ofs-delta"),
            thin: !capabilities.offers("no-thin"),
        }
    }
}

/// Storage and form of each object of a list, by place in the list.
pub(super) struct Plan<'a> {
    pub(super) list: &'a List,
    pub(super) packs: &'a Packs,
    pub(super) format: Format,
    pub(super) interrupt: &'a AtomicBool,
    pub(super) locations: Vec<Option<Location>>,
    pub(super) stored: Vec<Option<Stored>>,
    pub(super) choices: Vec<Choice>,
    /// Places in the order of writing: packed objects in the order of the packs, so that bases stay before their deltas,
    /// then the others in the order of the list.
    pub(super) order: Vec<u32>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
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
        let stored: Vec<_> = locations.iter().map(|location| known.stored((*location)?)).collect();
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

    /// Returns true if the pack may have deltas of objects that are not in it.
    pub(super) fn is_thin(&self) -> bool {
        let is_thin = |choice: &Choice| matches!(choice, Choice::Try(Base::Remote(_)) | Choice::Copy(Base::Remote(_)));
        self.choices.iter().any(is_thin)
    }

    /// Returns true if the object is packed, and not as a delta.
    pub(super) fn is_stored_whole(&self, place: usize) -> bool {
        self.stored[place].is_some_and(|stored| stored.base.is_none())
    }

    /// Returns the size of the stored entry in bytes, if it can be copied whole.
    pub(super) fn stored_size(&self, place: usize) -> Option<usize> {
        if self.is_stored_whole(place) {
            self.packs.compressed_size(self.locations[place]?)
        } else {
            None
        }
    }

    /// Returns true if the object has to be read.
    pub(super) fn is_encoded(&self, place: usize) -> bool {
        match self.choices[place] {
            Choice::Whole => !self.is_stored_whole(place),
            Choice::Try(_) => true,
            Choice::Copy(_) => false,
        }
    }
}

/// Finds the bases of stored deltas.
struct KnownBases<'a> {
    packs: &'a Packs,
    /// Locations of the list, in order, with their places.
    listed: Vec<(Location, u32)>,
    /// Objects of the remote, in order, with their places.
    remote: Vec<(ObjectId, u32)>,
    /// Locations of these objects, in order, with their places.
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

    /// Returns how the object at this location is stored, unless it is a delta of an unknown base.
    fn stored(&self, location: Location) -> Option<Stored> {
        let pack = location.pack;
        let base = match self.packs.base(location).ok()? {
            None => None,
            Some(StoredBase::Offset(offset)) => Some(self.at_offset(pack, offset)?),
            Some(StoredBase::Id(id)) => Some(self.with_id(id)?),
        };
        Some(Stored { pack, base })
    }

    fn at_offset(&self, pack: u32, offset: u64) -> Option<Base> {
        let find = |known: &[(Location, u32)]| {
            let found = known.binary_search_by_key(&(pack, offset), |(at, _)| (at.pack, at.offset));
            found.ok().map(|index| known[index].1)
        };
        let listed = find(&self.listed).map(Base::Listed);
        listed.or_else(|| find(&self.remote_locations).map(Base::Remote))
    }

    fn with_id(&self, id: ObjectId) -> Option<Base> {
        let listed = self.packs.locate(id).and_then(|location| {
            let found = self.listed.binary_search_by_key(&location, |(location, _)| *location);
            found.ok().map(|index| Base::Listed(self.listed[index].1))
        });
        listed.or_else(|| {
            let found = self.remote.binary_search_by_key(&id, |(id, _)| *id);
            found.ok().map(|index| Base::Remote(self.remote[index].1))
        })
    }
}
