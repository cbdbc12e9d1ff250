//! Objects of a repository that another one borrows (gitrepository-layout, *objects/info/alternates*).
use std::{
    fs,
    io::{self, Write},
};

use bstr::{ByteSlice, ByteVec};

/// Lets the repository `into` read the objects of `lender`, whose folder must stay where it is.
///
/// # Errors
/// A file cannot be read or written.
pub fn lend_objects(lender: &gix::Repository, into: &gix::Repository) -> io::Result<()> {
    let objects = fs::canonicalize(lender.objects.store_ref().path())?;
    let line = gix::path::into_bstr(objects).map_err(io::Error::other)?;
    let mut line = line.into_owned();
    line.push_char('\n');
    let alternates = into.objects.store_ref().path().join("info/alternates");
    let known = match fs::read(&alternates) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        known => known?,
    };
    if known.lines_with_terminator().any(|known| known == line.as_slice()) {
        return Ok(());
    }
    fs::create_dir_all(alternates.parent().unwrap_or(&alternates))?;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(&alternates)?;
    file.write_all(&line)
}
