//! `stargate-mirror uninstall`: removes what `install` has put in place, and reports what stays.
use std::path::{Path, PathBuf};

use durable::storage::Disk;

use super::{
    environment,
    install::setting,
    output::counted,
    report::{Exit, Failure},
    shell::{quoted, quoted_path},
};
use crate::{
    config,
    hook::{
        POST_RECEIVE, PRE_RECEIVE,
        configured::{
            SINCE,
            install::{self as configured, Scope, file_of},
            sections,
        },
        uninstall::{Removal, Removed, uninstall},
    },
    journal::{self, Backlog},
};

const EXAMPLES: &str = "\
Examples:
  stargate-mirror uninstall --repo /srv/git/o/r.git
  stargate-mirror uninstall --system";

/// Remove the hooks, and restore those that they replaced.
///
/// Settings, the journal and the mirror stay. The output names them, with the commands that remove them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The bare repository [default: GIT_DIR, else found from the current directory]
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// Remove the hooks from the system's git configuration
    #[arg(long, conflicts_with_all = ["global", "repo"])]
    system: bool,
    /// Remove the hooks from this user's git configuration
    #[arg(long, conflicts_with = "repo")]
    global: bool,
}

/// Runs the command.
///
/// # Errors
/// There is no repository, or a hook or a configuration file cannot be read or changed.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    if args.system || args.global {
        let scope = if args.system { Scope::System } else { Scope::Global };
        return from_configuration(scope);
    }
    let git_dir = super::located(args.repo.as_deref())?;
    let removed = uninstall(&Disk, &git_dir)?;
    print!("{}{}", removed.iter().map(about).collect::<String>(), stays(&git_dir)?);
    Ok(Exit::Done)
}

fn from_configuration(scope: Scope) -> Result<Exit, Failure> {
    let Some(file) = file_of(scope, &environment)? else {
        let what = "HOME is not set, so the user's git configuration is unknown";
        return Err(Failure::new(Exit::Misconfigured, what).hint("Set HOME or GIT_CONFIG_GLOBAL, or use --system."));
    };
    let removed = configured::uninstall(&Disk, &file, &[PRE_RECEIVE, POST_RECEIVE])?;
    for name in &removed {
        println!("Removed hook.{name} from {}.", file.display());
    }
    if removed.is_empty() {
        println!(
            "{} has no hooks of stargate-mirror; nothing was changed.",
            file.display()
        );
    }
    println!("The settings, the journals and the mirrors of the repositories stay.");
    Ok(Exit::Done)
}

fn about(removed: &Removed) -> String {
    let hook = removed.hook.display();
    match &removed.change {
        Removal::Removed => format!("Removed {hook}.\n"),
        Removal::Restored(kept) => format!("Restored {hook} from {}.\n", kept.display()),
        Removal::Foreign => format!("{hook} is another program's hook; nothing was changed.\n"),
        Removal::Missing => format!("There is no {hook}.\n"),
    }
}

/// Returns the text about what stays, with the commands that remove it.
fn stays(git_dir: &Path) -> Result<String, Failure> {
    let unreadable = |error: &dyn std::fmt::Display| {
        let what = format!(
            "the hooks are removed, but {} cannot be read: {error}",
            git_dir.display()
        );
        Failure::new(Exit::Failed, what)
    };
    let file = config::git_config(git_dir).map_err(|error| unreadable(&error))?;
    let still = sections::find(&file, POST_RECEIVE).map_err(|error| unreadable(&error))?;
    let mut text = recording(still.iter().find(|section| section.is_enabled));
    let folder = git_dir.join(journal::FOLDER);
    if folder.is_dir() {
        let backlog = Backlog::load(&Disk, git_dir).map_err(|error| unreadable(&error))?;
        let pending = counted(backlog.counts.pending, "pending entry");
        text += &format!(
            "- the journal, with {pending}, and the worker's memory. To remove them after a last `stargate-mirror run`:\n    \
             rm -r {}\n",
            quoted_path(&folder)
        );
    }
    text += &settings(&file, git_dir)?;
    text += "- the mirror, with all refs that were pushed to it\n\
             - cron entries and services that start `stargate-mirror run` or `watch`: remove them, too\n";
    Ok(text)
}

/// Returns the beginning: whether pushes are still recorded, by a section of git's configuration.
fn recording(still: Option<&sections::Section>) -> String {
    let Some(section) = still else {
        return "\nPushes are no longer recorded. What stays:\n".to_owned();
    };
    let place = match &section.file {
        Some(file) => format!(" in {}", file.display()),
        None => String::new(),
    };
    let (name, (major, minor)) = (&section.name, SINCE);
    format!(
        "\ngit {major}.{minor} and later continues to record pushes, because of hook.{name}{place}. What stays:\n\
         - the hooks in git's configuration. `stargate-mirror uninstall --system` or `--global` removes them for all\n  \
         repositories\n"
    )
}

/// Returns the text about the settings in the repository's own file, with a command for each section.
fn settings(file: &gix::config::File, git_dir: &Path) -> Result<String, Failure> {
    let own = git_dir.join("config");
    let sections = file.sections_by_name("stargate").into_iter().flatten();
    let sections = sections.filter(|section| section.meta().path.as_ref() == Some(&own));
    let mut names: Vec<String> = sections
        .map(|section| match section.header().subsection_name() {
            Some(middle) => format!("stargate.{middle}"),
            None => "stargate".to_owned(),
        })
        .collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Ok(String::new());
    }
    let set = setting(git_dir)?;
    let commands = names
        .iter()
        .map(|name| format!("    {set} --remove-section {}\n", quoted(name)));
    Ok(format!(
        "- the settings. To remove them:\n{}",
        commands.collect::<String>()
    ))
}
