use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bstr::BStr;
use gix_hash::Kind;

use crate::error::Error;
use crate::list;
use crate::merge::Iter;
use crate::place::FOLDER;
use crate::record::Record;
use crate::source::{FileSource, Source};
use crate::table::Table;

/// The number of times that `tables.list` is read while tables vanish.
///
/// Open tables are kept from one reading to the next, so each reading opens only new tables.
const MAX_ATTEMPTS: usize = 100;

/// A snapshot of the refs of a repository: the tables of one `tables.list`, all of them open.
///
/// Writers do not change the snapshot. [`refresh`](Self::refresh) updates it.
#[derive(Debug)]
pub struct Stack {
    folder: Option<PathBuf>,
    /// Oldest table first.
    tables: Vec<Arc<Table>>,
    hash: Kind,
}

impl Stack {
    /// Opens the stack in `git_dir/reftable`.
    ///
    /// The refs that all worktrees share are in the common git directory, `HEAD` of the main worktree among them. The
    /// refs of a linked worktree, its `HEAD` for example, are in the stack of its own git directory,
    /// `<common>/worktrees/<name>`.
    ///
    /// # Errors
    ///
    /// Everything that [`Error`] has: a stack that cannot be read is never an empty stack.
    pub fn open(git_dir: impl AsRef<Path>, hash: Kind) -> Result<Self, Error> {
        Self::open_folder(git_dir.as_ref().join(FOLDER), hash)
    }

    /// Opens the stack in `folder`, the folder that holds `tables.list`.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn open_folder(folder: impl Into<PathBuf>, hash: Kind) -> Result<Self, Error> {
        let folder = folder.into();
        let tables = load(&OnDisk(&folder), &[], hash)?;
        Ok(Self {
            folder: Some(folder),
            tables,
            hash,
        })
    }

    /// Makes a stack from tables of any source, oldest first.
    ///
    /// # Errors
    ///
    /// [`Error::Hash`] if a table does not have ids of `hash`.
    pub fn from_tables(tables: impl IntoIterator<Item = Table>, hash: Kind) -> Result<Self, Error> {
        let tables: Vec<_> = tables.into_iter().map(Arc::new).collect();
        tables.iter().try_for_each(|table| check_hash(table, hash))?;
        Ok(Self {
            folder: None,
            tables,
            hash,
        })
    }

    /// Takes a new snapshot if `tables.list` names other tables now, and returns true in that case.
    ///
    /// Tables that are still listed stay open. After an error the snapshot is the old one. A stack
    /// [from tables](Self::from_tables) never changes.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn refresh(&mut self) -> Result<bool, Error> {
        let Some(folder) = &self.folder else { return Ok(false) };
        let tables = load(&OnDisk(folder), &self.tables, self.hash)?;
        let names = |tables: &[Arc<Table>]| tables.iter().map(|table| table.name().to_owned()).collect::<Vec<_>>();
        let changed = names(&tables) != names(&self.tables);
        self.tables = tables;
        Ok(changed)
    }

    /// Returns the ref of exactly this full name, `None` if it does not exist or is deleted.
    ///
    /// Reads O(log n) blocks of each table, newest table first, until one mentions the ref. A symbolic ref is not
    /// followed.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and [`Error::Damaged`].
    pub fn find<'a>(&self, name: impl Into<&'a BStr>) -> Result<Option<Record>, Error> {
        let name = name.into();
        for table in self.tables.iter().rev() {
            if let Some(entry) = table.seek(name)?.next()?.filter(|entry| entry.name == name) {
                return Ok(entry.into_record());
            }
        }
        Ok(None)
    }

    /// Returns all refs, root refs like `HEAD` among them, in the order of their names.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and [`Error::Damaged`], as for each item of the iterator.
    pub fn iter(&self) -> Result<Iter, Error> {
        Iter::new(&self.tables, b"", b"")
    }

    /// Returns the refs whose names begin with `prefix`, like `refs/heads/`, in the order of their names.
    ///
    /// Reads the blocks that contain these refs, and those that a look-up reads.
    ///
    /// # Errors
    ///
    /// As for [`iter`](Self::iter).
    pub fn iter_prefix<'a>(&self, prefix: impl Into<&'a BStr>) -> Result<Iter, Error> {
        let prefix = prefix.into();
        Iter::new(&self.tables, prefix, prefix)
    }

    /// Returns the refs whose names are not less than `name`, in the order of their names.
    ///
    /// # Errors
    ///
    /// As for [`iter`](Self::iter).
    pub fn iter_from<'a>(&self, name: impl Into<&'a BStr>) -> Result<Iter, Error> {
        Iter::new(&self.tables, name.into(), b"")
    }

    /// Returns the tables of the snapshot, oldest first.
    #[must_use]
    pub fn tables(&self) -> &[Arc<Table>] {
        &self.tables
    }

    /// Returns the hash of the ids.
    #[must_use]
    pub fn hash(&self) -> Kind {
        self.hash
    }
}

fn check_hash(table: &Table, expected: Kind) -> Result<(), Error> {
    let found = table.hash();
    if found == expected {
        Ok(())
    } else {
        Err(Error::Hash {
            table: table.name().into(),
            found,
            expected,
        })
    }
}

/// The folder of a list and its tables.
trait Folder {
    fn list(&self) -> Result<Vec<u8>, Error>;

    /// Opens the table `name`, `None` if it does not exist.
    fn open(&self, name: &str) -> Result<Option<Box<dyn Source>>, Error>;
}

/// The tables of one list, or the first name that is missing.
enum Opened {
    All(Vec<Arc<Table>>),
    Missing(String),
}

/// Opens the tables of one state of the list. Tables in `known` are not opened again.
fn load(folder: &dyn Folder, known: &[Arc<Table>], hash: Kind) -> Result<Vec<Arc<Table>>, Error> {
    let mut known = known.to_vec();
    let mut before = None;
    let mut table = String::new();
    for _ in 0..MAX_ATTEMPTS {
        let bytes = folder.list()?;
        table = match open_listed(folder, &list::parse(&bytes)?, &mut known, hash)? {
            Opened::All(tables) => return Ok(tables),
            Opened::Missing(table) => table,
        };
        // No writer unlinks a table that the list still names.
        if before.as_ref() == Some(&bytes) {
            return Err(Error::MissingTable { table });
        }
        before = Some(bytes);
    }
    Err(Error::Busy {
        attempts: MAX_ATTEMPTS,
        table,
    })
}

/// Opens the tables `names`, and adds them to `known`.
fn open_listed(folder: &dyn Folder, names: &[&str], known: &mut Vec<Arc<Table>>, hash: Kind) -> Result<Opened, Error> {
    // Tables that are no longer listed are closed.
    known.retain(|table| names.contains(&table.name()));
    let mut tables = Vec::new();
    for name in names {
        if let Some(table) = known.iter().find(|table| table.name() == *name) {
            tables.push(Arc::clone(table));
            continue;
        }
        let Some(source) = folder.open(name)? else {
            return Ok(Opened::Missing((*name).into()));
        };
        let table = Arc::new(Table::open(*name, source)?);
        check_hash(&table, hash)?;
        known.push(Arc::clone(&table));
        tables.push(table);
    }
    Ok(Opened::All(tables))
}

/// A folder with `tables.list`.
struct OnDisk<'a>(&'a Path);

impl Folder for OnDisk<'_> {
    fn list(&self) -> Result<Vec<u8>, Error> {
        let path = self.0.join("tables.list");
        let file = File::open(&path).map_err(|error| self.no_list(&path, error))?;
        let mut bytes = Vec::new();
        let limit = list::MAX_LIST as u64 + 1;
        file.take(limit)
            .read_to_end(&mut bytes)
            .map_err(|source| unreadable(&path, source))?;
        Ok(bytes)
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Source>>, Error> {
        let path = self.0.join(name);
        match File::open(&path).and_then(FileSource::new) {
            Ok(source) => Ok(Some(Box::new(source))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(&path, error)),
        }
    }
}

impl OnDisk<'_> {
    /// Distinguishes a missing list from a missing folder, and both from an unreadable list.
    fn no_list(&self, path: &Path, error: io::Error) -> Error {
        if error.kind() != io::ErrorKind::NotFound {
            return unreadable(path, error);
        }
        match fs::metadata(self.0) {
            Ok(_) => Error::NoList { path: path.into() },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Error::NoFolder { folder: self.0.into() },
            Err(error) => unreadable(self.0, error),
        }
    }
}

fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::Io {
        what: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::HashMap;

    use super::*;

    /// A folder whose list changes at each read, until the last list is reached.
    struct Scripted {
        lists: RefCell<Vec<&'static str>>,
        tables: HashMap<&'static str, Vec<u8>>,
        reads: Cell<usize>,
        opened: RefCell<Vec<String>>,
    }

    impl Scripted {
        fn new(lists: &[&'static str], tables: &[&'static str]) -> Self {
            Self {
                lists: RefCell::new(lists.to_vec()),
                tables: tables.iter().map(|name| (*name, empty_table())).collect(),
                reads: Cell::new(0),
                opened: RefCell::default(),
            }
        }

        fn names(&self, known: &[Arc<Table>]) -> Result<Vec<String>, Error> {
            let tables = load(self, known, Kind::Sha1)?;
            Ok(tables.iter().map(|table| table.name().to_owned()).collect())
        }
    }

    impl Folder for Scripted {
        fn list(&self) -> Result<Vec<u8>, Error> {
            self.reads.set(self.reads.get() + 1);
            let mut lists = self.lists.borrow_mut();
            Ok(if lists.len() > 1 {
                lists.remove(0).into()
            } else {
                lists[0].into()
            })
        }

        fn open(&self, name: &str) -> Result<Option<Box<dyn Source>>, Error> {
            self.opened.borrow_mut().push(name.into());
            Ok(self
                .tables
                .get(name)
                .map(|bytes| Box::new(bytes.clone()) as Box<dyn Source>))
        }
    }

    fn empty_table() -> Vec<u8> {
        let mut header = b"REFT\x01\0\0\0".to_vec();
        header.extend([0; 16]);
        let mut footer = header.clone();
        footer.extend([0; 40]);
        footer.extend(crc32fast::hash(&footer).to_be_bytes());
        header.extend(footer);
        header
    }

    #[test]
    fn a_table_that_vanishes_makes_the_list_be_read_again() {
        let folder = Scripted::new(&["a\nb\nc\n", "a\nbc\n"], &["a", "bc"]);
        assert_eq!(folder.names(&[]).unwrap(), ["a", "bc"]);
        assert_eq!(*folder.opened.borrow(), ["a", "b", "bc"], "what is open stays open");
    }

    #[test]
    fn tables_may_vanish_more_than_once() {
        let folder = Scripted::new(&["a\nb\n", "ab\nc\n", "abc\nd\n", "abcd\n"], &["abcd"]);
        assert_eq!(folder.names(&[]).unwrap(), ["abcd"]);
        assert_eq!(folder.reads.get(), 4);
    }

    #[test]
    fn a_table_that_stays_listed_is_missing_for_good() {
        let folder = Scripted::new(&["a\nb\n"], &["a"]);
        assert!(matches!(folder.names(&[]), Err(Error::MissingTable { table }) if table == "b"));
        assert_eq!(folder.reads.get(), 2);
    }

    #[test]
    fn a_list_that_never_rests_is_given_up() {
        let lists: Vec<_> = (0..1000)
            .map(|n| if n % 2 == 0 { "a\nb\n" } else { "a\nc\n" })
            .collect();
        let folder = Scripted::new(&lists, &["a"]);
        let error = folder.names(&[]).unwrap_err();
        assert!(matches!(&error, Error::Busy { attempts: MAX_ATTEMPTS, table } if table == "c"));
        assert!(error.is_transient());
        assert_eq!(folder.reads.get(), MAX_ATTEMPTS);
        assert_eq!(folder.opened.borrow().iter().filter(|name| *name == "a").count(), 1);
    }

    #[test]
    fn known_tables_are_not_opened_again() {
        let folder = Scripted::new(&["a\nb\n"], &["a", "b"]);
        let known = load(&folder, &[], Kind::Sha1).unwrap();
        folder.opened.borrow_mut().clear();
        assert_eq!(folder.names(&known).unwrap(), ["a", "b"]);
        assert!(folder.opened.borrow().is_empty());
    }

    #[test]
    fn a_stack_is_shared_between_threads() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<Stack>();
        shared::<Iter>();
    }

    #[test]
    fn a_damaged_table_is_not_taken_for_a_vanished_one() {
        let mut folder = Scripted::new(&["a\n", "b\n"], &["a", "b"]);
        folder.tables.insert("a", vec![0; 200]);
        assert!(matches!(folder.names(&[]), Err(Error::Damaged { .. })));
        assert_eq!(folder.reads.get(), 1);
    }
}
