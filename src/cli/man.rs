//! `stargate-mirror man`: prints or writes manual pages.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap_mangen::Man;

use super::report::{Exit, Failure};

const EXAMPLES: &str = "\
Examples:
  stargate-mirror man | man -l -
  stargate-mirror man --out /usr/local/share/man/man1";

/// Print the manual page, or write those of all commands to a folder.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder for stargate-mirror.1 and a page for each command; created if it is missing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs the command. `commands` describes the command line.
///
/// # Errors
/// The folder cannot be written to.
pub fn main(args: &Args, commands: clap::Command) -> Result<Exit, Failure> {
    // The pages contain what `help` would print.
    let mut commands = commands.disable_help_subcommand(true);
    commands.build();
    let Some(folder) = &args.out else {
        print!("{}", page(&commands));
        return Ok(Exit::Done);
    };
    let written = fs::create_dir_all(folder).and_then(|()| write_all(&commands, folder));
    written.map_err(|error| Failure::new(Exit::Failed, format!("cannot write to {}: {error}", folder.display())))?;
    Ok(Exit::Done)
}

/// Writes the page of a command and those of its subcommands.
fn write_all(command: &clap::Command, folder: &Path) -> io::Result<()> {
    let name = Man::new(command.clone()).get_filename();
    fs::write(folder.join(name), page(command))?;
    let mut subcommands = command.get_subcommands();
    subcommands.try_for_each(|command| write_all(command, folder))
}

/// Returns the page of a command. Examples and tables keep their line breaks.
fn page(command: &clap::Command) -> String {
    let mut page = Vec::new();
    Man::new(command.clone())
        .render(&mut page)
        .expect("memory takes everything");
    let heading = ".SH EXTRA\n";
    String::from_utf8_lossy(&page).replace(heading, &format!("{heading}.nf\n"))
}
