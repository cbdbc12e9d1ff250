use std::fmt;
use std::sync::{Arc, OnceLock};

use gix_hash::Kind;

use crate::block::{BLOCK_HEADER, Block, BlockType, Body, Place};
use crate::cursor::big_endian;
use crate::error::{Damage, Error, Fault};
use crate::header::{Header, HeaderFault, MAX_HEADER, MIN_FILE, Sections};
use crate::source::Source;
use crate::table_iter::TableIter;

/// Maximum number of bytes that are read before the length of a block is known.
const MAX_GUESS: u64 = 64 << 10;

/// Number of bytes that are read at the start of a block of an unaligned table.
const UNALIGNED_GUESS: u64 = 4096;

/// Maximum number of index levels. Each level of a sane index has at most half the blocks of the one below.
const MAX_LEVELS: usize = 64;

/// One table of a stack: its bytes and the place of its sections.
pub struct Table {
    name: String,
    source: Box<dyn Source>,
    header: Header,
    sections: Sections,
    has_refs: bool,
    /// The first block of the root level of the ref index, kept because each look-up begins with it.
    root: OnceLock<Arc<Loaded>>,
}

/// A block and the offset at which the next one begins, which may be beyond the end of the blocks.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub block: Block,
    pub next: u64,
}

/// Content at an offset: a block of a type that is read, or the end of a section.
pub(crate) enum Found {
    Block(Loaded),
    Other(BlockType),
    End,
}

/// A part of the table that was read.
#[derive(Debug, Default)]
pub(crate) struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The position of `len` bytes at `offset` of the table in this part, if it has all of them.
    fn position(&self, offset: u64, len: usize) -> Option<usize> {
        let start = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(start..start.checked_add(len)?).map(|_| start)
    }
}

impl Table {
    /// Reads header and footer of the table `name`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the source cannot be read, [`Error::Version`] and [`Error::Damaged`] if its bytes are not a table.
    pub fn open(name: impl Into<String>, source: Box<dyn Source>) -> Result<Self, Error> {
        let name = name.into();
        let (header, sections) = read_ends(&name, &*source)?;
        let mut table = Self {
            name,
            source,
            header,
            sections,
            has_refs: false,
            root: OnceLock::new(),
        };
        table.has_refs = table.begins_with_refs()?;
        Ok(table)
    }

    /// Returns the name of the table, as `tables.list` has it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the version of the format: 1 or 2.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.header.version.number()
    }

    /// Returns the hash of the ids in the table.
    #[must_use]
    pub fn hash(&self) -> Kind {
        self.header.hash
    }

    /// Returns the size in bytes that blocks are aligned to, 0 if they are not aligned.
    #[must_use]
    pub fn block_size(&self) -> u32 {
        self.header.block_size
    }

    /// Returns the smallest number of a transaction in the table.
    #[must_use]
    pub fn min_update_index(&self) -> u64 {
        self.header.min_update_index
    }

    /// Returns the greatest number of a transaction in the table.
    #[must_use]
    pub fn max_update_index(&self) -> u64 {
        self.header.max_update_index
    }

    pub(crate) fn has_refs(&self) -> bool {
        self.has_refs
    }

    pub(crate) fn ref_index(&self) -> u64 {
        self.sections.ref_index
    }

    pub(crate) fn fault(&self, offset: u64, damage: Damage) -> Error {
        Fault { offset, damage }.in_table(&self.name)
    }

    /// Determines the kind of the first block, if there is one.
    fn begins_with_refs(&self) -> Result<bool, Error> {
        let header_len = self.header.version.header_len() as u64;
        let misplaced = |damage| Err(self.fault(header_len, damage));
        if self.sections.end == header_len {
            return if self.sections.none() {
                Ok(false)
            } else {
                misplaced(Damage::EarlyEnd)
            };
        }
        let mut window = Window::default();
        match self.block_type(&mut window, 0)? {
            BlockType::Refs => Ok(true),
            BlockType::Logs => self.check_logs(&mut window, 0).map(|()| false),
            BlockType::Index | BlockType::Objects => misplaced(Damage::MisplacedBlock),
        }
    }

    /// Loads the block at `offset`. `window` is reused from block to block.
    pub(crate) fn load(&self, window: &mut Window, offset: u64) -> Result<Found, Error> {
        if offset >= self.sections.end {
            return Ok(Found::End);
        }
        let kind = self.block_type(window, offset)?;
        if matches!(kind, BlockType::Objects | BlockType::Logs) {
            return Ok(Found::Other(kind));
        }
        let skip = self.skip(offset);
        let len = big_endian(&self.bytes(window, offset, skip + BLOCK_HEADER)?[skip + 1..]) as usize;
        let bytes = self.bytes(window, offset, len)?.to_vec();
        let next = self.next_offset(window, offset, len)?;
        let place = Place {
            offset,
            skip,
            id_len: self.header.hash.len_in_bytes(),
        };
        let block = Block::parse(kind, place, bytes).map_err(|fault| fault.in_table(&self.name))?;
        Ok(Found::Block(Loaded { block, next }))
    }

    /// The offset of the block after the one at `offset`.
    ///
    /// Padding is NUL, and no block begins with NUL.
    fn next_offset(&self, window: &mut Window, offset: u64, len: usize) -> Result<u64, Error> {
        let after = offset + len as u64;
        let block_size = u64::from(self.header.block_size);
        if block_size == 0 || (len as u64).is_multiple_of(block_size) || after >= self.sections.end {
            return Ok(after);
        }
        let padded = self.bytes(window, offset, len + 1)?[len] == 0;
        let boundary = offset + (len as u64).next_multiple_of(block_size);
        Ok(if padded { boundary } else { after })
    }

    /// The bytes before the header of the block at `offset`.
    fn skip(&self, offset: u64) -> usize {
        if offset == 0 {
            self.header.version.header_len()
        } else {
            0
        }
    }

    fn block_type(&self, window: &mut Window, offset: u64) -> Result<BlockType, Error> {
        let skip = self.skip(offset);
        let byte = self.bytes(window, offset, skip + BLOCK_HEADER)?[skip];
        BlockType::from_byte(byte).ok_or_else(|| self.fault(offset + skip as u64, Damage::UnknownBlock))
    }

    /// Reads `len` bytes at `offset` by way of `window`; they must lie before the footer.
    fn bytes<'w>(&self, window: &'w mut Window, offset: u64, len: usize) -> Result<&'w [u8], Error> {
        let start = match window.position(offset, len) {
            Some(start) => start,
            None => self.fill(window, offset, len).map(|()| 0)?,
        };
        Ok(&window.bytes[start..start + len])
    }

    /// Reads at least `len` bytes at `offset` into `window`.
    fn fill(&self, window: &mut Window, offset: u64, len: usize) -> Result<(), Error> {
        let len = len as u64;
        let rest = self.sections.end.saturating_sub(offset);
        if len > rest {
            return Err(self.fault(offset, Damage::BlockLength));
        }
        let guess = match u64::from(self.header.block_size) {
            0 => UNALIGNED_GUESS,
            block_size => block_size.min(MAX_GUESS),
        };
        // No old content may remain if the read fails.
        let mut bytes = std::mem::take(&mut window.bytes);
        bytes.clear();
        bytes.resize(guess.clamp(len, rest) as usize, 0);
        read(&self.name, &*self.source, offset, &mut bytes)?;
        *window = Window { start: offset, bytes };
        Ok(())
    }

    /// Checks that the log section begins at `offset`, where the refs or the objects end.
    ///
    /// The header of compressed data cannot be mistaken for a ref record.
    fn check_logs(&self, window: &mut Window, offset: u64) -> Result<(), Error> {
        let Sections {
            ref_index,
            objects,
            logs,
            ..
        } = self.sections;
        let skip = self.skip(offset);
        let in_footer = if offset == 0 {
            ref_index == 0 && objects == 0 && (logs == 0 || logs == skip as u64)
        } else {
            logs == offset
        };
        let zlib = &self.bytes(window, offset, skip + BLOCK_HEADER + 2)?[skip + BLOCK_HEADER..];
        let compressed = zlib[0] & 0x0f == 8 && u16::from_be_bytes([zlib[0], zlib[1]]).is_multiple_of(31);
        if in_footer && compressed {
            Ok(())
        } else {
            Err(self.fault(offset, Damage::MisplacedBlock))
        }
    }

    /// Checks that the section of refs, or the index behind it, may end at `offset` as `found` there.
    fn check_end(&self, window: &mut Window, offset: u64, found: &Found) -> Result<(), Error> {
        let Sections { objects, logs, .. } = self.sections;
        match found {
            Found::End if objects == 0 && logs == 0 => Ok(()),
            Found::End => Err(self.fault(offset.min(self.sections.end), Damage::EarlyEnd)),
            Found::Other(BlockType::Objects) if objects == offset => Ok(()),
            Found::Other(BlockType::Logs) if objects == 0 => self.check_logs(window, offset),
            Found::Other(_) | Found::Block(_) => Err(self.fault(offset, Damage::MisplacedBlock)),
        }
    }

    /// Checks that the ref blocks may end at `offset`, as `found` there, after a ref block that ends with `last_key`.
    pub(crate) fn check_end_of_refs(
        &self,
        window: &mut Window,
        offset: u64,
        found: &Found,
        last_key: &[u8],
    ) -> Result<(), Error> {
        if self.sections.ref_index == 0 {
            return self.check_end(window, offset, found);
        }
        let is_index = matches!(found, Found::Block(loaded) if loaded.block.kind() == BlockType::Index);
        if !is_index || offset > self.sections.ref_index {
            return Err(self.fault(offset.min(self.sections.end), Damage::MisplacedBlock));
        }
        let mut roots = Roots::new(self);
        let mut last = None;
        while let Some(root) = roots.next(window)? {
            last = Some(root);
        }
        if last.is_some_and(|root| root.block.last_key() == last_key) {
            Ok(())
        } else {
            Err(self.fault(offset, Damage::EarlyEnd))
        }
    }

    /// Finds the ref block that holds the first name that is not less than `name`, by the index.
    ///
    /// `None` if all names are less.
    pub(crate) fn descend(&self, window: &mut Window, name: &[u8]) -> Result<Option<Loaded>, Error> {
        let mut roots = Roots::new(self);
        let root = loop {
            match roots.next(window)? {
                Some(root) if root.block.last_key() >= name => break root,
                Some(_) => {}
                None => return Ok(None),
            }
        };
        let mut child = self.child(window, &root.block, name)?;
        for _ in 0..MAX_LEVELS {
            if child.block.kind() == BlockType::Refs {
                return Ok(Some(child));
            }
            child = self.child(window, &child.block, name)?;
        }
        Err(self.fault(child.block.offset(), Damage::Index))
    }

    /// Loads the block that an index block has for `name`, which is not greater than its last key.
    fn child(&self, window: &mut Window, parent: &Block, name: &[u8]) -> Result<Loaded, Error> {
        let in_table = |fault: Fault| fault.in_table(&self.name);
        let wrong = |offset| self.fault(offset, Damage::Index);
        let mut position = parent.seek(name).map_err(in_table)?;
        let Some(Body::Index(offset)) = position.next(parent).map_err(in_table)? else {
            return Err(wrong(parent.offset()));
        };
        match self.load(window, offset)? {
            Found::Block(child) if child.block.last_key() == position.key() => Ok(child),
            Found::Block(_) | Found::Other(_) | Found::End => Err(wrong(offset)),
        }
    }

    /// Returns an iterator that begins with the first ref whose name is not less than `name`.
    pub(crate) fn seek(self: &Arc<Self>, name: &[u8]) -> Result<TableIter, Error> {
        TableIter::seek(Arc::clone(self), name)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name, header, sections, ..
        } = self;
        f.debug_struct("Table")
            .field("name", name)
            .field("header", header)
            .field("sections", sections)
            .finish()
    }
}

/// The blocks of the root level of the ref index, one after the other.
struct Roots<'t> {
    table: &'t Table,
    at: u64,
}

impl<'t> Roots<'t> {
    fn new(table: &'t Table) -> Self {
        Self {
            table,
            at: table.sections.ref_index,
        }
    }

    fn next(&mut self, window: &mut Window) -> Result<Option<Arc<Loaded>>, Error> {
        let table = self.table;
        let first = self.at == table.sections.ref_index;
        if let Some(root) = table.root.get().filter(|_| first) {
            self.at = root.next;
            return Ok(Some(Arc::clone(root)));
        }
        let found = table.load(window, self.at)?;
        match found {
            Found::Block(loaded) if loaded.block.kind() == BlockType::Index => {
                self.at = loaded.next;
                let root = Arc::new(loaded);
                Ok(Some(if first {
                    Arc::clone(table.root.get_or_init(|| root))
                } else {
                    root
                }))
            }
            _ if first => Err(table.fault(self.at, Damage::MisplacedBlock)),
            found => table.check_end(window, self.at, &found).map(|()| None),
        }
    }
}

/// Reads header and footer.
fn read_ends(name: &str, source: &dyn Source) -> Result<(Header, Sections), Error> {
    let size = source.size();
    let too_short = || {
        Fault {
            offset: size,
            damage: Damage::TooShort,
        }
        .in_table(name)
    };
    if size < MIN_FILE {
        return Err(too_short());
    }
    let mut start = [0; MAX_HEADER];
    read(name, source, 0, &mut start)?;
    let header = Header::parse(&start).map_err(|fault| match fault {
        HeaderFault::Damaged(fault) => fault.in_table(name),
        HeaderFault::Version(version) => Error::Version {
            table: name.into(),
            version,
        },
    })?;
    let mut footer = vec![0; header.version.footer_len()];
    let end = size
        .checked_sub(footer.len() as u64)
        .filter(|end| *end >= header.version.header_len() as u64);
    let end = end.ok_or_else(too_short)?;
    read(name, source, end, &mut footer)?;
    let sections = Sections::parse(&footer, &start, &header, end).map_err(|fault| fault.in_table(name))?;
    Ok((header, sections))
}

fn read(name: &str, source: &dyn Source, offset: u64, bytes: &mut [u8]) -> Result<(), Error> {
    let what = || format!("table {name} at offset {offset}");
    source
        .read_at(offset, bytes)
        .map_err(|source| Error::Io { what: what(), source })
}
