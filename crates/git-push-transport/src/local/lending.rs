//! Objects of a repository that another one borrows (gitrepository-layout, *objects/info/alternates*).
use std::{
    fs,
    io::{self, Write},
};

use bstr::{ByteSlice, ByteVec};
use gix::ObjectId;

/// Lets `into` read the objects of `lender`, which must have `want`.
///
/// # Errors
/// A sentence with the reason: a file cannot be read or written, or `want` does not exist.
pub(super) fn lend(lender: &gix::Repository, want: ObjectId, into: &gix::Repository) -> Result<(), String> {
    let failed = |error: io::Error| error.to_string();
    let objects = fs::canonicalize(lender.objects.store_ref().path()).map_err(failed)?;
    let line = gix::path::into_bstr(objects).map_err(|error| git_push::causes(&error))?;
    let mut line = line.into_owned();
    line.push_char('\n');
    let alternates = into.objects.store_ref().path().join("info/alternates");
    let known = match fs::read(&alternates) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        known => known.map_err(failed)?,
    };
    if !known.lines_with_terminator().any(|known| known == line.as_slice()) {
        fs::create_dir_all(alternates.parent().unwrap_or(&alternates)).map_err(failed)?;
        let file = fs::OpenOptions::new().create(true).append(true).open(&alternates);
        file.and_then(|mut file| file.write_all(&line)).map_err(failed)?;
    }
    if into.has_object(want) {
        Ok(())
    } else {
        Err("it does not exist there".into())
    }
}
