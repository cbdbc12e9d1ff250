//! Files of the local object store, alternates included. No other module opens them.
//!
//! Packs and indices that cannot be opened are skipped. Their objects are then read by gix, which reports the error.
//! A bitmap that cannot be read is skipped, because it only saves time.
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use gix::{ObjectId, hash, zlib::Decompress};
use gix_pack::{data, index};

use super::loose::Loose;

/// Object folders of a repository.
pub(super) struct ObjectFolders(Vec<PathBuf>);

/// A pack and its index, mapped into memory.
pub(super) struct PackFile {
    pub(super) index: index::File,
    pub(super) data: data::File,
}

impl ObjectFolders {
    /// Returns the folders of a repository.
    pub(super) fn of(repository: &gix::Repository) -> Self {
        let store = repository.objects.store_ref();
        let alternates = store.alternate_db_paths().unwrap_or_default();
        ObjectFolders(std::iter::once(store.path().to_owned()).chain(alternates).collect())
    }

    /// Returns true if the object is loose.
    pub(super) fn has_loose(&self, id: ObjectId) -> bool {
        self.loose_paths(id).any(|path| path.is_file())
    }

    /// Returns the size of an object's file in bytes, if it is loose.
    pub(super) fn loose_size(&self, id: ObjectId) -> Option<u64> {
        let mut files = self.loose_paths(id).filter_map(|path| path.metadata().ok());
        files.find(std::fs::Metadata::is_file).map(|file| file.len())
    }

    /// Opens an object, if it is loose. `state` decompresses it.
    pub(super) fn open_loose<'a>(
        &self,
        id: ObjectId,
        state: &'a mut Decompress,
    ) -> io::Result<Option<Loose<'a, BufReader<File>>>> {
        for path in self.loose_paths(id) {
            match File::open(path) {
                Ok(file) => return Loose::new(BufReader::new(file), state).map(Some),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Opens the packs with an index of version 2, in the order of their paths.
    pub(super) fn open_packs(&self, object_format: hash::Kind) -> Vec<PackFile> {
        let mut indices: Vec<_> = self.0.iter().flat_map(|folder| indices(&folder.join("pack"))).collect();
        indices.sort();
        let open = |path: &PathBuf| PackFile::open(path, object_format);
        indices.iter().filter_map(open).collect()
    }

    /// Opens the largest pack that has a bitmap, and reads the bitmap.
    pub(super) fn open_bitmapped(&self, object_format: hash::Kind) -> Option<(PackFile, Vec<u8>)> {
        let indices = self.0.iter().flat_map(|folder| indices(&folder.join("pack")));
        let bitmapped = indices.filter(|path| path.with_extension("bitmap").is_file());
        let packs = bitmapped.filter_map(|path| PackFile::open(&path, object_format));
        let pack = packs.max_by_key(|pack| pack.data.num_objects())?;
        let bitmap = std::fs::read(pack.data.path().with_extension("bitmap")).ok()?;
        Some((pack, bitmap))
    }

    fn loose_paths(&self, id: ObjectId) -> impl Iterator<Item = PathBuf> {
        let hex = id.to_string();
        self.0.iter().map(move |path| path.join(&hex[..2]).join(&hex[2..]))
    }
}

impl PackFile {
    fn open(index: &Path, object_format: hash::Kind) -> Option<Self> {
        let data = data::File::at(index.with_extension("pack"), object_format).ok()?;
        let index = index::File::at(index, object_format).ok()?;
        let usable = index.version() == index::Version::V2 && index.num_objects() == data.num_objects();
        usable.then_some(PackFile { index, data })
    }

    /// Opens the pack as a file that can be sent, and returns its size in bytes.
    pub(super) fn open_data(&self) -> Option<(File, u64)> {
        let file = File::open(self.data.path()).ok()?;
        let size = file.metadata().ok()?.len();
        (size == self.data.data_len() as u64).then_some((file, size))
    }
}

fn indices(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = files.map(|file| file.path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "idx"))
        .collect()
}
