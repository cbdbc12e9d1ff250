//! `stargate-mirror check`: checks of a journal and of the append-only rule.
mod append_only;
mod findings;
mod junit;
mod sarif;

use std::path::PathBuf;

use super::{
    journal::tell_health,
    report::{Exit, Failure},
};
use crate::journal::Backlog;

/// Check rules; exits with 1 if one is violated.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Check that every line of a journal, or a segment of one, is an entry
    Journal {
        /// The journal or segment
        file: PathBuf,
    },
    AppendOnly(append_only::Args),
}

/// Runs the command.
///
/// # Errors
/// The file or the repository is missing or cannot be read, so the rule cannot be checked.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    match &args.what {
        What::Journal { file } => journal(file),
        What::AppendOnly(args) => append_only::main(args),
    }
}

fn journal(file: &PathBuf) -> Result<Exit, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::new(Exit::Failed, format!("cannot read {}: {error}", file.display()));
    std::fs::metadata(file).map_err(unreadable)?;
    let backlog = Backlog::read(file).map_err(unreadable)?;
    Ok(tell_health(&backlog))
}
