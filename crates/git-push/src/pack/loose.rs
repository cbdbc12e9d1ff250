//! Loose objects, read as streams: large ones never have to be in memory.
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use gix::zlib::{Decompress, stream::inflate};
use gix::{ObjectId, objs::Kind};

/// Longer than any header of a loose object, in bytes.
const MAX_HEADER: usize = 64;

/// Reads loose objects, one after the other.
pub(super) struct Loose {
    folders: Vec<PathBuf>,
    state: Decompress,
}

/// A loose object that is being read; [`Read`] gives its content.
pub(super) struct Object<'a> {
    pub(super) kind: Kind,
    /// Of the content, in bytes.
    pub(super) size: u64,
    input: BufReader<File>,
    state: &'a mut Decompress,
    /// The start of the content: what came with the header.
    start: io::Cursor<Vec<u8>>,
    /// How much of the content is still compressed.
    rest: u64,
}

impl Loose {
    /// Reads from the object folders of a repository.
    pub(super) fn new(repository: &gix::Repository) -> Self {
        let store = repository.objects.store_ref();
        let alternates = store.alternate_db_paths().unwrap_or_default();
        Loose {
            folders: std::iter::once(store.path().to_owned()).chain(alternates).collect(),
            state: Decompress::new(),
        }
    }

    /// Whether an object is loose.
    pub(super) fn has(&self, id: ObjectId) -> bool {
        let hex = id.to_string();
        let (folder, file) = hex.split_at(2);
        let mut folders = self.folders.iter();
        folders.any(|path| path.join(folder).join(file).is_file())
    }

    /// Opens an object, if it is loose.
    pub(super) fn open(&mut self, id: ObjectId) -> io::Result<Option<Object<'_>>> {
        let hex = id.to_string();
        let (folder, file) = hex.split_at(2);
        for path in &self.folders {
            match File::open(path.join(folder).join(file)) {
                Ok(file) => return Object::new(file, &mut self.state).map(Some),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl<'a> Object<'a> {
    fn new(file: File, state: &'a mut Decompress) -> io::Result<Self> {
        state.reset();
        let mut input = BufReader::new(file);
        let mut start = vec![0; MAX_HEADER];
        let length = inflate::read(&mut input, state, &mut start)?;
        start.truncate(length);
        let (kind, size, header) = gix::objs::decode::loose_header(&start).map_err(io::Error::other)?;
        let rest = size.checked_sub((length - header) as u64).ok_or_else(wrong_size)?;
        start.drain(..header);
        Ok(Object {
            kind,
            size,
            input,
            state,
            start: io::Cursor::new(start),
            rest,
        })
    }

    /// The whole content.
    pub(super) fn into_data(mut self) -> io::Result<Vec<u8>> {
        let size = usize::try_from(self.size).map_err(io::Error::other)?;
        let mut data = vec![0; size];
        self.read_exact(&mut data)?;
        Ok(data)
    }
}

impl Read for Object<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.start.read(out)?;
        if read > 0 || self.rest == 0 || out.is_empty() {
            return Ok(read);
        }
        let most = usize::try_from(self.rest).unwrap_or(usize::MAX).min(out.len());
        let read = inflate::read(&mut self.input, self.state, &mut out[..most])?;
        self.rest -= read as u64;
        match read {
            0 => Err(wrong_size()),
            _ => Ok(read),
        }
    }
}

fn wrong_size() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it has not the size that its header says")
}
