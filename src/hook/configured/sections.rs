//! Sections of git's configuration with our hooks: their commands, and which of them git runs.
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice, ByteVec};

use super::{super::chained::is_program, ARGUMENT};

/// One of our hooks in git's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Friendly name, which is the subsection.
    pub name: BString,
    /// Program that git runs.
    pub program: PathBuf,
    /// False if `hook.<friendly-name>.enabled` or `hook.<event>.enabled` is false, so that git skips it.
    pub is_enabled: bool,
    /// File of the section, if it is in a file.
    pub file: Option<PathBuf>,
}

impl Section {
    /// Returns true if its program can be run.
    pub fn is_executable(&self) -> bool {
        is_program(&self.program)
    }
}

/// Friendly name of the section that is installed for a hook.
pub fn name_of(hook: &str) -> String {
    format!("stargate-{hook}")
}

/// Shell command that runs `program` as this hook. `None` if the path is not valid in a configuration file.
pub(super) fn command(program: &Path, hook: &str) -> Option<BString> {
    let path = gix::path::into_bstr(program).ok()?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%".contains(byte);
    let mut command = if path.iter().all(is_plain) {
        path.into_owned()
    } else {
        BString::from(format!("'{}'", path.replace("'", r"'\''").as_bstr()))
    };
    command.push_str(format!(" {ARGUMENT} {hook}"));
    Some(command)
}

/// Program of a command by [`command()`], for this hook. `None` if it is another command.
fn program(command: &BStr, hook: &str) -> Option<PathBuf> {
    let path = command.strip_suffix(format!(" {ARGUMENT} {hook}").as_bytes())?;
    let path = match path.strip_prefix(b"'").and_then(|path| path.strip_suffix(b"'")) {
        Some(quoted) => quoted.replace(r"'\''", "'"),
        None => path.to_vec(),
    };
    gix::path::from_bstring(path).ok()
}

/// Returns our sections for `hook`, in the order of their first mention.
///
/// # Errors
/// A boolean value is invalid.
pub fn find(config: &gix::config::File, hook: &str) -> Result<Vec<Section>, gix::Error> {
    let all_enabled = is_enabled(config, hook.into())?;
    let mut found: Vec<Section> = Vec::new();
    for section in config.sections_by_name("hook").into_iter().flatten() {
        let Some(name) = section.header().subsection_name() else {
            continue;
        };
        if found.iter().any(|known| known.name == name) || !has_event(config, name, hook) {
            continue;
        }
        let command = config.string_by("hook", Some(name), "command").unwrap_or_default();
        if let Some(program) = program(command.as_bstr(), hook) {
            found.push(Section {
                name: name.into(),
                program,
                is_enabled: all_enabled && is_enabled(config, name)?,
                file: section.meta().path.clone(),
            });
        }
    }
    Ok(found)
}

fn is_enabled(config: &gix::config::File, name: &BStr) -> Result<bool, gix::Error> {
    Ok(config.boolean_by("hook", Some(name), "enabled")?.unwrap_or(true))
}

/// Returns true if git runs the section `name` for `hook`. An empty value clears the list of events.
pub(super) fn has_event(config: &gix::config::File, name: &BStr, hook: &str) -> bool {
    let events = config.strings_by("hook", Some(name), "event").unwrap_or_default();
    let mut events = events.iter().rev().take_while(|event| !event.is_empty());
    events.any(|event| event == hook)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> gix::config::File {
        let metadata = gix::config::file::Metadata::from(gix::config::Source::System);
        gix::config::File::from_bytes_no_includes(text.as_bytes(), metadata, Default::default()).unwrap()
    }

    #[test]
    fn a_command_names_its_program_again_however_odd_the_path() {
        for path in ["/usr/local/bin/stargate-hook", "/a b/it's/$HOME;#/hook", "/'/x"] {
            let command = command(Path::new(path), "post-receive").unwrap();
            assert_eq!(program(command.as_bstr(), "post-receive").unwrap(), Path::new(path));
            assert_eq!(program(command.as_bstr(), "pre-receive"), None);
        }
        let plain = command(Path::new("/usr/bin/stargate-hook"), "pre-receive").unwrap();
        assert_eq!(plain, "/usr/bin/stargate-hook --configured pre-receive");
    }

    #[test]
    fn sections_are_found_as_git_reads_them() {
        let text = "[hook \"one\"]\n\tcommand = old\n\tevent = post-receive\n\tevent = pre-receive\n\
                    [hook \"one\"]\n\tcommand = /h --configured post-receive\n\
                    [hook \"other\"]\n\tcommand = /bin/true\n\tevent = post-receive\n\
                    [hook \"cleared\"]\n\tcommand = /h --configured post-receive\n\tevent = post-receive\n\tevent =\n\
                    [hook \"off\"]\n\tcommand = /h --configured post-receive\n\tevent = post-receive\n\tenabled = no\n";
        let found = |text: &str| -> Vec<(String, bool)> {
            let found = find(&config(text), "post-receive").unwrap();
            assert!(found.iter().all(|section| section.program == Path::new("/h")));
            found
                .iter()
                .map(|section| (section.name.to_string(), section.is_enabled))
                .collect()
        };
        assert_eq!(found(text), [("one".into(), true), ("off".into(), false)]);
        let all_off = format!("{text}[hook \"post-receive\"]\n\tenabled = false\n");
        assert_eq!(found(&all_off), [("one".into(), false), ("off".into(), false)]);
        assert_eq!(find(&config(text), "pre-receive").unwrap(), []);
        assert!(find(&config(&format!("{text}\tenabled = maybe\n")), "post-receive").is_err());
    }
}
