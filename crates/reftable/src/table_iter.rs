use std::sync::Arc;

use crate::block::{BlockType, Body, Position};
use crate::error::{Damage, Error, Fault};
use crate::record::{Entry, RefBody};
use crate::table::{Found, Loaded, Table, Window};

/// The refs of one table in the order of their names, tombstones included.
pub(crate) struct TableIter {
    table: Arc<Table>,
    window: Window,
    /// The current block and the position in it; `None` at the end.
    current: Option<(Loaded, Position)>,
}

impl TableIter {
    /// Begins with the first ref whose name is not less than `name`.
    pub(crate) fn seek(table: Arc<Table>, name: &[u8]) -> Result<Self, Error> {
        let mut iter = Self {
            table,
            window: Window::default(),
            current: None,
        };
        if !iter.table.has_refs() {
            return Ok(iter);
        }
        // The first name of all needs no index.
        if iter.table.ref_index() != 0 && !name.is_empty() {
            if let Some(leaf) = iter.table.descend(&mut iter.window, name)? {
                iter.enter(leaf);
            }
        } else {
            iter.first_block()?;
            while iter
                .current
                .as_ref()
                .is_some_and(|(leaf, _)| leaf.block.last_key() < name)
            {
                iter.next_block()?;
            }
        }
        if let Some((leaf, position)) = &mut iter.current {
            *position = leaf
                .block
                .seek(name)
                .map_err(|fault| fault.in_table(iter.table.name()))?;
        }
        Ok(iter)
    }

    fn enter(&mut self, leaf: Loaded) {
        let position = leaf.block.start();
        self.current = Some((leaf, position));
    }

    fn first_block(&mut self) -> Result<(), Error> {
        match self.table.load(&mut self.window, 0)? {
            Found::Block(leaf) if leaf.block.kind() == BlockType::Refs => self.enter(leaf),
            Found::Block(_) | Found::Other(_) | Found::End => return Err(self.table.fault(0, Damage::MisplacedBlock)),
        }
        Ok(())
    }

    /// Moves on to the next ref block, or to the end after the last one.
    fn next_block(&mut self) -> Result<(), Error> {
        let Some((before, _)) = self.current.take() else {
            return Ok(());
        };
        let last_key = before.block.last_key();
        match self.table.load(&mut self.window, before.next)? {
            Found::Block(leaf) if leaf.block.kind() == BlockType::Refs => {
                if leaf
                    .block
                    .first_key()
                    .map_err(|fault| fault.in_table(self.table.name()))?
                    <= last_key
                {
                    return Err(self.table.fault(before.next, Damage::Order));
                }
                self.enter(leaf);
                Ok(())
            }
            found => self
                .table
                .check_end_of_refs(&mut self.window, before.next, &found, last_key),
        }
    }

    /// Returns the next ref or tombstone, `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Error> {
        while let Some((leaf, position)) = &mut self.current {
            let offset = leaf.block.offset();
            let body = position
                .next(&leaf.block)
                .map_err(|fault| fault.in_table(self.table.name()))?;
            match body {
                Some(Body::Ref(body)) => return self.table.entry(offset, position.key(), body).map(Some),
                Some(Body::Index(_)) => return Err(self.table.fault(offset, Damage::MisplacedBlock)),
                None => self.next_block()?,
            }
        }
        Ok(None)
    }
}

impl Table {
    fn entry(&self, offset: u64, name: &[u8], body: RefBody) -> Result<Entry, Error> {
        let update_index = self.min_update_index().checked_add(body.update_index_delta);
        let update_index = update_index.ok_or_else(|| {
            Fault {
                offset,
                damage: Damage::Overflow,
            }
            .in_table(self.name())
        })?;
        Ok(Entry {
            name: name.into(),
            value: body.value,
            update_index,
        })
    }
}
