//! Loose refs, one file each (gitrepository-layout, *refs*).
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use bstr::{BStr, ByteSlice};
use gix::{ObjectId, hash::Kind};

use super::{Unreadable, Value, Why};

/// Largest file of a ref in bytes: that of a symbolic one.
const MOST_BYTES: u64 = 4096;
/// Prefix of a symbolic ref.
const SYMBOLIC: &[u8] = b"ref:";

/// Returns the path of the ref's file. `name` must be valid.
pub(super) fn path(folder: &Path, name: &BStr) -> PathBuf {
    // On systems whose file names are UTF-8, no file has any other name.
    folder.join(name.to_path_lossy())
}

/// Reads the file of a ref. `None` if there is none, or only a folder that git has left behind.
pub(super) fn read(path: &Path, format: Kind) -> Result<Option<Value>, Unreadable> {
    let found = match fs::metadata(path) {
        Err(error) if is_absence(&error) => return no_file(path),
        found => found.map_err(|error| Unreadable::system(path, &error))?,
    };
    if found.is_dir() {
        return Ok(None);
    }
    if !found.is_file() {
        return Err(Unreadable::new(path, Why::NoFile));
    }
    match content(path) {
        Ok(content) => parse(&content, format)
            .map(Some)
            .map_err(|why| Unreadable::new(path, why)),
        // It has just been deleted.
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(Unreadable::system(path, &error)),
    }
}

/// Handles a file that was not found at `path`: it is missing, or a dangling link.
fn no_file(path: &Path) -> Result<Option<Value>, Unreadable> {
    match fs::symlink_metadata(path) {
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(Unreadable::system(path, &error)),
        Ok(_) if fs::metadata(path).is_ok() => Err(Unreadable::new(path, Why::System("it has just changed".into()))),
        Ok(_) => Err(Unreadable::new(path, Why::BrokenLink)),
    }
}

/// Returns true if the file is missing, or if another ref's file has the name of a folder in its path.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// Parses the forms that git accepts, except the null id.
fn parse(content: &[u8], format: Kind) -> Result<Value, Why> {
    if content.is_empty() {
        return Err(Why::Empty);
    }
    if content.len() as u64 > MOST_BYTES {
        return Err(Why::NoId);
    }
    if let Some(target) = content.strip_prefix(SYMBOLIC) {
        let target = target.trim().as_bstr();
        return match gix::validate::reference::name(target) {
            Ok(_) => Ok(Value::Symbolic(target.to_owned())),
            Err(_) => Err(Why::NoId),
        };
    }
    let (hex, rest) = content.split_at_checked(format.len_in_hex()).ok_or(Why::NoId)?;
    let ends = rest.first().is_none_or(u8::is_ascii_whitespace);
    match ObjectId::from_hex(hex) {
        Ok(id) if ends && !id.is_null() => Ok(Value::Id(id)),
        _ => Err(Why::NoId),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";

    fn parsed(content: &str) -> Result<Value, Why> {
        parse(content.as_bytes(), Kind::Sha1)
    }

    #[test]
    fn ids_and_names_of_refs_are_read_as_git_reads_them() {
        let id = Ok(Value::Id(ObjectId::from_hex(HEX.as_bytes()).unwrap()));
        for content in [format!("{HEX}\n"), HEX.to_owned(), format!("{HEX} left over")] {
            assert_eq!(parsed(&content), id, "{content:?}");
        }
        let symbolic = Ok(Value::Symbolic("refs/heads/main".into()));
        for content in [
            "ref: refs/heads/main\n",
            "ref:refs/heads/main",
            "ref:  refs/heads/main \n",
        ] {
            assert_eq!(parsed(content), symbolic, "{content:?}");
        }
    }

    #[test]
    fn everything_else_is_unreadable() {
        assert_eq!(parsed(""), Err(Why::Empty));
        let garbage = [
            "\n".to_owned(),
            "\0".repeat(41),
            HEX[1..].to_owned(),
            format!("{HEX}f\n"),
            "0".repeat(40),
            "g".repeat(40),
            "ref: refs/heads/../../config\n".to_owned(),
            "ref: \n".to_owned(),
            format!("{HEX}{}", " ".repeat(5000)),
        ];
        for content in garbage {
            assert_eq!(parsed(&content), Err(Why::NoId), "{content:?}");
        }
    }
}
