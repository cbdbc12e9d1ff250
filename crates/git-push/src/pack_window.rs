//! Part of a pack's file in memory. Small entries are read from it instead of from the mapped pack: pages of mapped files
//! count as memory of the process, and the kernel maps many at once.
use std::fs::File;
use std::io;

use gix_pack::data::Entry;

use super::object_files::PackFile;

/// Number of bytes that are read at once.
const SIZE: u64 = 16 << 10;
/// Maximum size in bytes of the header of an entry.
pub(super) const HEADER: u64 = 64;

/// Bytes of one pack. The file is opened for each part, so that any number of packs needs no handles.
#[derive(Default)]
pub(super) struct PackWindow {
    /// Number of bytes that are also read before the requested ones, for readers that go backwards.
    before: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl PackWindow {
    /// Creates a window for a reader that goes backwards.
    pub(super) fn backwards() -> Self {
        PackWindow {
            before: SIZE * 3 / 4,
            ..PackWindow::default()
        }
    }

    /// Forgets the bytes, before another pack is read.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Reads the header of the entry that starts at `offset`. Returns `None` if it cannot be read.
    pub(super) fn entry(&mut self, pack: &PackFile, offset: u64) -> Option<Entry> {
        let bytes = self.bytes(pack, offset, HEADER)?;
        Entry::from_bytes(bytes, offset, pack.index.object_hash()).ok()
    }

    /// Returns the bytes of a pack from `offset` on: this number at least, or all until its end. Returns `None` if they cannot
    /// be read.
    pub(super) fn bytes(&mut self, pack: &PackFile, offset: u64, count: u64) -> Option<&[u8]> {
        let size = pack.data.data_len() as u64;
        let end = offset.checked_add(count)?.min(size);
        if offset < self.start || end > self.start + self.bytes.len() as u64 {
            self.load(pack, offset.saturating_sub(self.before), end, size)?;
        }
        self.bytes.get(usize::try_from(offset - self.start).ok()?..)
    }

    /// Reads from `start` to `end`, or more.
    fn load(&mut self, pack: &PackFile, start: u64, end: u64, size: u64) -> Option<()> {
        let end = end.max(start.saturating_add(SIZE).min(size));
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.resize(usize::try_from(end.checked_sub(start)?).ok()?, 0);
        let (file, _) = pack.open_data()?;
        read_exact_at(&file, &mut bytes, start).ok()?;
        self.start = start;
        self.bytes = bytes;
        Some(())
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                offset += count as u64;
                bytes = &mut bytes[count..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
