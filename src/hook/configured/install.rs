//! Installation of our hooks in the configuration file of the system or of a user.
use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use bstr::{BStr, BString, ByteSlice};
use durable::storage::{Folders, Names};

use super::sections::{command, has_event, name_of};
use crate::hook::{
    git_config,
    install::{Change, InstallError},
    install_error::on,
};

/// Extent of an installation in git's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All repositories of this machine.
    System,
    /// All repositories to which this user pushes.
    Global,
}

/// A section that is in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InPlace {
    /// Friendly name.
    pub name: String,
    /// Change that was made.
    pub change: Change,
}

/// Returns the file that `git config --system` or `--global` would edit. `None` if `HOME` is needed, but not set.
///
/// # Errors
/// A file cannot be accessed.
pub fn file_of(scope: Scope, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<PathBuf>, InstallError> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if scope == Scope::System {
        return Ok(Some(
            set("GIT_CONFIG_SYSTEM").unwrap_or_else(|| "/etc/gitconfig".into()),
        ));
    }
    if let Some(file) = set("GIT_CONFIG_GLOBAL") {
        return Ok(Some(file));
    }
    let home = set("HOME");
    let by_home = home.as_ref().map(|home| home.join(".gitconfig"));
    let xdg = set("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    let xdg = xdg.map(|folder| folder.join("git/config"));
    // git edits the other file only if there is no ~/.gitconfig.
    Ok(match (by_home, xdg) {
        (Some(by_home), Some(xdg)) if !exists(&by_home)? && exists(&xdg)? => Some(xdg),
        (by_home, _) => by_home,
    })
}

fn exists(path: &Path) -> Result<bool, InstallError> {
    on("access", path, path.try_exists())
}

/// Adds a section to `file` for each of these hooks, run by `program`, or sets its command. Idempotent.
///
/// # Errors
/// The path of `program` is not valid Unicode (on Windows). The file is not a regular one, cannot be read or written, or
/// another process is changing it. The file is then unchanged.
pub fn install<S: Folders + Names>(
    storage: &S,
    file: &Path,
    program: &Path,
    hooks: &[&str],
) -> Result<Vec<InPlace>, InstallError> {
    let commands: Vec<(&str, BString)> = on("name", program, commands(program, hooks))?;
    let mut in_place = Vec::new();
    git_config::edit_file(storage, file, |config| {
        for (hook, command) in &commands {
            let name = name_of(hook);
            let change = put(config, BStr::new(&name), hook, command)?;
            in_place.push(InPlace { name, change });
        }
        Ok(())
    })?;
    Ok(in_place)
}

/// Removes the sections of these hooks from `file`. Returns the names of those that were there.
///
/// # Errors
/// The file cannot be read or written, or another process is changing it. The file is then unchanged.
pub fn uninstall<S: Folders + Names>(storage: &S, file: &Path, hooks: &[&str]) -> Result<Vec<String>, InstallError> {
    let mut removed = Vec::new();
    git_config::edit_file(storage, file, |config| {
        for name in hooks.iter().map(|hook| name_of(hook)) {
            if config.remove_section("hook", Some(BStr::new(&name))).is_some() {
                removed.push(name);
            }
        }
        Ok(())
    })?;
    Ok(removed)
}

fn commands<'a>(program: &Path, hooks: &[&'a str]) -> io::Result<Vec<(&'a str, BString)>> {
    let commands = hooks.iter().map(|hook| Some((*hook, command(program, hook)?)));
    let commands: Option<Vec<_>> = commands.collect();
    commands.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "its path is not valid Unicode"))
}

fn put(config: &mut gix::config::File, name: &BStr, hook: &str, command: &BString) -> Result<Change, gix::Error> {
    let current = config.string_by("hook", Some(name), "command");
    let has_event = has_event(config, name, hook);
    if current.as_ref() == Some(command) && has_event {
        return Ok(Change::Unchanged);
    }
    let is_new = config.section("hook", Some(name)).is_err();
    let mut section = config.section_mut_or_create_new("hook", Some(name))?;
    section.set("command", command.as_bstr())?;
    if !has_event {
        section.push("event", Some(BStr::new(hook)))?;
    }
    if is_new {
        section.push("parallel", Some(BStr::new("true")))?;
    }
    Ok(if is_new { Change::Installed } else { Change::Updated })
}
