use bstr::BString;
use gix_hash::ObjectId;

use crate::block_builder::RawRecord;
use crate::cursor::{Cursor, push_varint};
use crate::error::Damage;

/// A ref and its value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// The full name, like `refs/heads/main` or `HEAD`.
    ///
    /// It is not empty and has no NUL byte. Otherwise it is as stored; `git check-ref-format` may still reject it.
    pub name: BString,
    /// The value.
    pub value: Value,
    /// The number of the transaction that last changed the ref. It grows from transaction to transaction.
    pub update_index: u64,
}

/// The value of a ref.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// The id of an object.
    Id(ObjectId),
    /// An annotated tag that was peeled when the ref was written.
    Peeled {
        /// The id of the tag object.
        id: ObjectId,
        /// The id of the object that the tag, or the last one in a chain of tags, leads to.
        peeled: ObjectId,
    },
    /// The full name of another ref, which need not exist.
    Symbolic(BString),
}

impl Value {
    /// Returns the id that the ref itself holds, `None` for a symbolic ref.
    #[must_use]
    pub fn id(&self) -> Option<ObjectId> {
        match self {
            Self::Id(id) | Self::Peeled { id, .. } => Some(*id),
            Self::Symbolic(_) => None,
        }
    }
}

/// Entry of one table for a ref; without a value it is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub name: BString,
    pub value: Option<Value>,
    pub update_index: u64,
}

impl Entry {
    /// Returns the record for a table with this smallest update index, the inverse of [`RefBody::decode`].
    pub(crate) fn encode(&self, min_update_index: u64) -> RawRecord {
        let mut body = Vec::new();
        push_varint(&mut body, self.update_index - min_update_index);
        let kind = match &self.value {
            None => 0,
            Some(Value::Id(id)) => {
                body.extend(id.as_slice());
                1
            }
            Some(Value::Peeled { id, peeled }) => {
                body.extend(id.as_slice());
                body.extend(peeled.as_slice());
                2
            }
            Some(Value::Symbolic(target)) => {
                push_varint(&mut body, target.len() as u64);
                body.extend(target.as_slice());
                3
            }
        };
        RawRecord {
            key: self.name.to_vec(),
            kind,
            body,
        }
    }

    pub(crate) fn into_record(self) -> Option<Record> {
        let Self {
            name,
            value,
            update_index,
        } = self;
        value.map(|value| Record {
            name,
            value,
            update_index,
        })
    }
}

/// The part of a ref record that follows its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefBody {
    pub update_index_delta: u64,
    pub value: Option<Value>,
}

impl RefBody {
    /// Decodes a body of the type `kind`, with ids of `id_len` bytes.
    pub(crate) fn decode(cursor: &mut Cursor<'_>, kind: u8, id_len: usize) -> Result<Self, Damage> {
        let update_index_delta = cursor.varint()?;
        let value = match kind {
            0 => None,
            1 => Some(Value::Id(object_id(cursor, id_len)?)),
            2 => Some(Value::Peeled {
                id: object_id(cursor, id_len)?,
                peeled: object_id(cursor, id_len)?,
            }),
            3 => Some(Value::Symbolic(target(cursor)?)),
            _ => return Err(Damage::UnknownRecord),
        };
        Ok(Self {
            update_index_delta,
            value,
        })
    }

    /// Skips a body, with the checks of [`decode`](Self::decode).
    pub(crate) fn check(cursor: &mut Cursor<'_>, kind: u8, id_len: usize) -> Result<(), Damage> {
        cursor.varint()?;
        match kind {
            0 => Ok(()),
            1 => cursor.take(id_len).map(drop),
            2 => cursor.take(2 * id_len).map(drop),
            3 => target_bytes(cursor).map(drop),
            _ => Err(Damage::UnknownRecord),
        }
    }
}

fn object_id(cursor: &mut Cursor<'_>, len: usize) -> Result<ObjectId, Damage> {
    ObjectId::try_from(cursor.take(len)?).map_err(|_| Damage::UnknownHash)
}

fn target(cursor: &mut Cursor<'_>) -> Result<BString, Damage> {
    target_bytes(cursor).map(BString::from)
}

fn target_bytes<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Damage> {
    let len = cursor.length()?;
    let target = cursor.take(len)?;
    if target.is_empty() || target.contains(&0) {
        return Err(Damage::Target);
    }
    Ok(target)
}
