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

/// Section of exit codes.
const EXIT_STATUS: &str = "EXIT STATUS";

/// Exit codes of commands whose help has none.
const DEFAULT_EXITS: &str =
    "0 done, 2 usage, 4 misconfigured, 5 input/output or repository error.\nstargate-mirror(1) has all exit codes.";

/// Starts of lines that begin a section of the page, and its heading.
const HEADINGS: [(&str, &str); 4] = [
    ("Examples:", "EXAMPLES"),
    ("Environment:", "ENVIRONMENT"),
    ("Exit codes:", EXIT_STATUS),
    ("Not supported:", "LIMITATIONS"),
];

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
        print!("{}", page(&commands, None));
        return Ok(Exit::Done);
    };
    let written = fs::create_dir_all(folder).and_then(|()| write_all(&commands, None, folder));
    written.map_err(|error| Failure::new(Exit::Failed, format!("cannot write to {}: {error}", folder.display())))?;
    Ok(Exit::Done)
}

/// Writes the page of a command and those of its subcommands.
fn write_all(command: &clap::Command, above: Option<&str>, folder: &Path) -> io::Result<()> {
    let name = full_name(command);
    fs::write(folder.join(format!("{name}.1")), page(command, above))?;
    let mut subcommands = command.get_subcommands().filter(|below| !below.is_hide_set());
    subcommands.try_for_each(|command| write_all(command, Some(&name), folder))
}

/// Returns the page of a command below `above`.
fn page(command: &clap::Command, above: Option<&str>) -> String {
    let extra = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command.clone().after_help(None::<&'static str>));
    let mut page = Vec::new();
    man.render(&mut page).expect("memory takes everything");
    let mut page = String::from_utf8_lossy(&page).into_owned();
    for (heading, lines) in sections(&extra) {
        page += &format!(".SH \"{heading}\"\n.nf\n{lines}.fi\n");
    }
    page + &format!(".SH \"SEE ALSO\"\n{}\n", see_also(command, above))
}

/// Returns the sections of the text after the options, in roff. Paragraphs without a heading become notes.
fn sections(extra: &str) -> Vec<(&'static str, String)> {
    let (mut all, mut notes) = (Vec::new(), Vec::new());
    for paragraph in extra.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        match HEADINGS.iter().find(|(start, _)| paragraph.starts_with(start)) {
            Some((start, heading)) => all.push((*heading, text(&unindented(&paragraph[start.len()..])))),
            None => notes.push(text(paragraph)),
        }
    }
    if !all.iter().any(|(heading, _)| *heading == EXIT_STATUS) {
        all.push((EXIT_STATUS, text(DEFAULT_EXITS)));
    }
    if !notes.is_empty() {
        all.push(("NOTES", notes.join("\n")));
    }
    all
}

/// Returns the lines after a heading without the indentation of the section.
fn unindented(lines: &str) -> String {
    let unindented = |line: &str| {
        line.strip_prefix("  ")
            .or(line.strip_prefix(' '))
            .unwrap_or(line)
            .to_owned()
    };
    let lines = lines.trim_start_matches('\n').lines().map(unindented);
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the lines in roff. They keep their breaks.
fn text(lines: &str) -> String {
    lines.lines().map(|line| format!("{}\n", escaped(line))).collect()
}

/// Returns the line in roff: without commands and escapes.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    if line.starts_with(['.', '\'']) {
        format!("\\&{line}")
    } else {
        line
    }
}

/// Returns the pages of the command above this one, of those below, and of git.
fn see_also(command: &clap::Command, above: Option<&str>) -> String {
    let name = full_name(command);
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    let below = below.map(|below| format!("{name}-{}(1)", below.get_name()));
    let pages = above.map(|above| format!("{above}(1)")).into_iter().chain(below);
    let pages = pages.chain(["git-push(1)".to_owned(), "githooks(5)".to_owned()]);
    escaped(&pages.collect::<Vec<_>>().join(", "))
}

fn full_name(command: &clap::Command) -> String {
    command.get_display_name().unwrap_or(command.get_name()).to_owned()
}
