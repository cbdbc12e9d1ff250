//! List of the objects to send, each with the object that it is likely to be similar to.
use gix::ObjectId;

/// Objects to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    /// Each object once, and each base before the objects that name it.
    pub objects: Vec<Listed>,
    /// Objects that the remote has and that some objects of the list are likely to be similar to. [`Base::Remote`] is an
    /// index of this list.
    pub remote: Vec<ObjectId>,
}

/// An object to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: ObjectId,
    /// An object of the same kind that it is likely to be similar to: an earlier one of the list, or one of the remote.
    pub base: Option<Base>,
}

/// An object that another one is likely to be similar to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Index in [`List::objects`]: the object is sent, too.
    Listed(u32),
    /// Index in [`List::remote`].
    Remote(u32),
}

impl List {
    /// Returns the id of a base.
    #[must_use]
    pub fn id(&self, base: Base) -> ObjectId {
        match base {
            Base::Listed(place) => self.objects[place as usize].id,
            Base::Remote(place) => self.remote[place as usize],
        }
    }
}
