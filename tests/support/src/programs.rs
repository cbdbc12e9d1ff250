//! The programs of the package under test.
use std::path::PathBuf;

/// Path of a program.
///
/// Cargo builds the programs of a package before its integration tests and benches, and puts them beside the folder that
/// those are in. It gives their paths to these alone (`CARGO_BIN_EXE_…`), not to a crate that they share.
///
/// # Panics
/// The program does not exist.
pub fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test program");
    let path = test.ancestors().nth(2).expect("a folder of programs").join(name);
    assert!(path.is_file(), "{} is missing; run the test with cargo", path.display());
    path
}

/// Path of `stargate-mirror`.
pub fn mirror() -> PathBuf {
    path("stargate-mirror")
}

/// Path of `stargate-hook`.
pub fn hook() -> PathBuf {
    path("stargate-hook")
}
