//! `stargate-mirror check`: whether a file keeps the rules.
use std::path::PathBuf;

use super::{
    journal::tell_health,
    report::{Exit, Failure},
};
use crate::journal::Backlog;

/// Check that a file keeps the rules; exits 1 if it does not.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A journal, or a segment of one: every line is an entry
    Journal {
        /// The file
        file: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// The file is not there, or cannot be read.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    let What::Journal { file } = &args.what;
    let unreadable =
        |error: std::io::Error| Failure::new(Exit::Failed, format!("cannot read {}: {error}", file.display()));
    std::fs::metadata(file).map_err(unreadable)?;
    let backlog = Backlog::read(file).map_err(unreadable)?;
    Ok(tell_health(&backlog))
}
