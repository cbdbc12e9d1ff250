//! Windows part of [`ownership`](super): files have neither a mode nor an owner to hand over.
use std::{fs::File, io, path::Path};

pub(crate) fn set_on(_made: &File, _path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

pub(super) fn hand_over(_path: &Path, _folder: &Path, _mode: Option<u32>) -> io::Result<()> {
    Ok(())
}

pub(crate) fn set_on_folder(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

pub(crate) fn set_folder_mode(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}
