//! Files of the local object store, alternates included. No other module opens them.
//!
//! Packs and indices that cannot be opened are skipped. Their objects are then read by gix, which reports the error.
//! Bitmaps, multi-pack-indices and reverse indices that cannot be read are skipped, because they only save time.
use std::cmp::Reverse;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use gix::{ObjectId, hash, zlib::Decompress};
use gix_pack::{data, index, multi_index};

use super::{error::causes, loose::Loose, reverse_index::EntryOrder};

/// Name of a multi-pack-index in its folder.
const MULTI_PACK_INDEX: &str = "multi-pack-index";

/// Object folders of a repository.
pub(super) struct ObjectFolders(Vec<PathBuf>);

/// A pack that has a bitmap, or packs that have one together.
pub(super) enum Bitmapped {
    Pack(PackFile),
    Packs(MultiPackFile),
}

/// A multi-pack-index whose checksum is right, with its packs.
pub(super) struct MultiPackFile {
    pub(super) index: multi_index::File,
    /// In the order of their numbers.
    pub(super) packs: Vec<PackFile>,
    /// The bytes of the index.
    pub(super) bytes: Vec<u8>,
}

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

    /// Opens the packs with an index of version 2: those with a bitmap first, then in the order of their paths. If an object
    /// is in several packs, the bitmap describes the copy in its own pack.
    pub(super) fn open_packs(&self, object_format: hash::Kind) -> Vec<PackFile> {
        let mut indices: Vec<_> = self.0.iter().flat_map(|folder| indices(&folder.join("pack"))).collect();
        indices.sort_by_cached_key(|path| (!path.with_extension("bitmap").is_file(), path.clone()));
        let open = |path: &PathBuf| PackFile::open(path, object_format);
        indices.iter().filter_map(open).collect()
    }

    /// Returns the first pack index that cannot be opened, and why. The objects of its pack seem to be missing.
    ///
    /// Opening checks all offsets of an index, those of more than 31 bits as well.
    pub(super) fn damaged_index(&self, object_format: hash::Kind) -> Option<(PathBuf, String)> {
        let mut indices = self.0.iter().flat_map(|folder| indices(&folder.join("pack")));
        indices.find_map(|path| {
            let error = index::File::at(&path, object_format).err()?;
            Some((path, causes(&error)))
        })
    }

    /// Opens the packs and multi-pack-indices that have a bitmap, and reads the bitmaps, those of most objects first.
    pub(super) fn open_bitmapped(
        &self,
        object_format: hash::Kind,
    ) -> impl Iterator<Item = (Bitmapped, Vec<u8>)> + use<> {
        let folders = || self.0.iter().map(|folder| folder.join("pack"));
        let indices = folders().flat_map(|folder| indices(&folder));
        let bitmapped = indices.filter(|path| path.with_extension("bitmap").is_file());
        let packs = bitmapped.filter_map(|path| PackFile::open(&path, object_format));
        let multi = folders().filter_map(|folder| MultiPackFile::open(&folder, object_format));
        let mut found: Vec<_> = packs.map(Bitmapped::Pack).chain(multi.map(Bitmapped::Packs)).collect();
        found.sort_by_key(|found| Reverse(found.objects()));
        found.into_iter().filter_map(|found| {
            let bitmap = std::fs::read(found.bitmap()).ok()?;
            Some((found, bitmap))
        })
    }

    fn loose_paths(&self, id: ObjectId) -> impl Iterator<Item = PathBuf> {
        let hex = id.to_string();
        self.0.iter().map(move |path| path.join(&hex[..2]).join(&hex[2..]))
    }
}

impl Bitmapped {
    fn objects(&self) -> u32 {
        match self {
            Bitmapped::Pack(pack) => pack.data.num_objects(),
            Bitmapped::Packs(packs) => packs.index.num_objects(),
        }
    }

    /// Returns the path of the bitmap.
    fn bitmap(&self) -> PathBuf {
        match self {
            Bitmapped::Pack(pack) => pack.data.path().with_extension("bitmap"),
            Bitmapped::Packs(packs) => bitmap_of(&packs.index),
        }
    }
}

impl MultiPackFile {
    /// Opens the multi-pack-index of a folder, if it has a bitmap, and all of its packs.
    fn open(folder: &Path, object_format: hash::Kind) -> Option<Self> {
        let index = multi_index::File::at(folder.join(MULTI_PACK_INDEX), None).ok()?;
        if index.object_hash() != object_format || !bitmap_of(&index).is_file() {
            return None;
        }
        let bytes = std::fs::read(index.path()).ok()?;
        let checksum = index.verify_checksum(&mut gix::utils::progress::Discard, &AtomicBool::default());
        // It may have been replaced meanwhile.
        let is_same = bytes.ends_with(checksum.ok()?.as_slice());
        let open = |name: &PathBuf| PackFile::open(&folder.join(name), object_format);
        let packs: Option<Vec<_>> = index.index_names().iter().map(open).collect();
        let packs = packs.filter(|_| is_same)?;
        Some(MultiPackFile { index, packs, bytes })
    }
}

/// Returns the path of the bitmap of a multi-pack-index.
fn bitmap_of(index: &multi_index::File) -> PathBuf {
    let name = format!("{MULTI_PACK_INDEX}-{}.bitmap", index.checksum());
    index.path().with_file_name(name)
}

impl PackFile {
    fn open(index: &Path, object_format: hash::Kind) -> Option<Self> {
        let data = data::File::at(index.with_extension("pack"), object_format).ok()?;
        let index = index::File::at(index, object_format).ok()?;
        let usable = index.version() == index::Version::V2 && index.num_objects() == data.num_objects();
        usable.then_some(PackFile { index, data })
    }

    /// Returns the order of the entries.
    pub(super) fn order(&self) -> EntryOrder {
        let reverse_index = std::fs::read(self.data.path().with_extension("rev"));
        let order = reverse_index.ok().and_then(|file| EntryOrder::read(&file, &self.index));
        order.unwrap_or_else(|| EntryOrder::sorted(&self.index))
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
