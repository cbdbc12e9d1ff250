//! Checks of the settings.
use std::path::{Path, absolute};

use bstr::BStr;

use super::{
    Subject,
    checks::{
        check::{Check, Name, Verdict},
        commands::{Commands, quoted},
    },
    fetches,
};
use crate::{
    cli::report::{Exit, Failure},
    config::{self, Origin, Problem},
    worker::{self, SettingsFinding},
};

/// Checks keys, values and patterns.
///
/// # Errors
/// The repository or its configuration cannot be read.
pub(super) fn checks(subject: &Subject<'_>) -> Result<Vec<Check>, Failure> {
    let mirrors = &subject.settings;
    let config = config::git_config(subject.git_dir)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read git's configuration: {error}")))?;
    let instructions = Instructions {
        config: &config,
        commands: &subject.commands,
    };
    let found = worker::review_settings(subject.git_dir)?;
    let mut checks: Vec<Check> = found.iter().map(|found| instructions.check(found)).collect();
    checks.extend(fetches::checks(&config, mirrors, &subject.commands));
    for mirror in &mirrors.each {
        let left_out = if mirror.refs.leaves_out() {
            ", without refs that forges create, such as refs/pull/*"
        } else {
            ""
        };
        let mirrored = format!("{}{left_out}", mirror.refs);
        checks.push(Check {
            mirror: mirrors.are_several().then(|| mirror.name.clone()),
            ..Check::new(Name::MirroredRefs, Verdict::Ok, mirrored)
        });
    }
    Ok(checks)
}

/// Instructions that correct the configuration, in the file that sets a key.
struct Instructions<'a> {
    config: &'a gix::config::File,
    commands: &'a Commands,
}

impl Instructions<'_> {
    fn check(&self, finding: &SettingsFinding) -> Check {
        let check = |verdict| Check::new(Name::Settings, verdict, finding.to_string());
        match finding {
            SettingsFinding::UnknownKey { key, nearest } => {
                let hint = self.unset(key, None);
                check(Verdict::Problem).hint(match nearest {
                    Some(nearest) => format!("{hint}, and set {} instead", beside(key, nearest)),
                    None => hint,
                })
            }
            SettingsFinding::InvalidValue(problem) => check(Verdict::Problem).hint(self.correct(problem)),
            SettingsFinding::UnusedPattern { key, pattern, .. } => {
                let unset = self.unset(key, Some(pattern));
                check(Verdict::Warning).hint(format!("correct the pattern, or {unset}"))
            }
            SettingsFinding::NothingMirrored(_) => {
                let install = self.commands.mirror("install --mirror branches");
                check(Verdict::Warning).hint(format!(
                    "set stargate.ref to the refs to mirror; for branches and tags, run {install}"
                ))
            }
        }
    }

    /// Instruction to remove a key, or one of its values.
    fn unset(&self, key: &str, value: Option<&str>) -> String {
        let remove = match value {
            Some(value) => format!("--fixed-value --unset-all {} {}", quoted(key), quoted(value)),
            None => format!("--unset-all {}", quoted(key)),
        };
        match self.file(key, value.map(BStr::new)) {
            (Some(file), _) => format!("run {}", self.commands.config_file(&file, &remove)),
            (None, _) => format!("remove {key} from the environment (GIT_CONFIG_COUNT, GIT_CONFIG_KEY_0, …)"),
        }
    }

    /// Instruction to correct an invalid value. One of several values cannot be set without the others.
    fn correct(&self, Problem { key, .. }: &Problem) -> String {
        match self.file(key, None) {
            (Some(file), 0 | 1) => format!(
                "correct it with {}, or go back to the default with {}",
                self.commands.config_file(&file, &format!("{} VALUE", quoted(key))),
                self.commands
                    .config_file(&file, &format!("--unset-all {}", quoted(key)))
            ),
            (Some(file), _) => format!(
                "{key} has several values; correct them with {}",
                self.commands.config_file(&file, "--edit")
            ),
            (None, _) => format!("correct {key} in the environment (GIT_CONFIG_COUNT, GIT_CONFIG_KEY_0, …)"),
        }
    }

    /// Returns the file that sets the key, and the number of values there. `None` means the environment. A key that has
    /// been removed meanwhile belongs to the repository's own file.
    fn file(&self, key: &str, value: Option<&BStr>) -> (Option<std::path::PathBuf>, usize) {
        match config::origin(self.config, key, value) {
            Some(Origin { file, values }) => (file.map(|file| absolute(&file).unwrap_or(file)), values),
            None => (Some(Path::new(self.commands.repository()).join("config")), 0),
        }
    }
}

/// Returns the full name of the known key `nearest`, which is without its section in the section of a mirror.
fn beside(key: &str, nearest: &str) -> String {
    match key.rsplit_once('.') {
        Some((section, _)) if !nearest.contains('.') => format!("{section}.{nearest}"),
        _ => nearest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use gix::config::{File, Source, file::Metadata};

    use super::*;

    fn hint(text: &str, path: Option<&str>, finding: &SettingsFinding) -> String {
        let metadata = Metadata {
            path: path.map(Into::into),
            ..Metadata::from(Source::User)
        };
        let config =
            File::from_bytes_no_includes(text.as_bytes(), metadata, Default::default()).expect("configuration");
        let commands = Commands::new("runuser -u git -- ", Path::new("/r.git"));
        let instructions = Instructions {
            config: &config,
            commands: &commands,
        };
        instructions.check(finding).hint.expect("a hint")
    }

    #[test]
    fn a_key_is_corrected_in_the_file_that_sets_it() {
        let unknown = |key: &str, nearest| SettingsFinding::UnknownKey {
            key: key.into(),
            nearest,
        };
        let invalid = |key: &str| {
            SettingsFinding::InvalidValue(Problem {
                key: key.into(),
                value: "x".into(),
                why: "no".into(),
            })
        };
        let global = Some("/home/git/.gitconfig");
        let several = "[stargate]\nref = refs/heads/*\nref = x\n";
        for (text, path, finding, expected) in [
            (
                "[stargate]\nremot = x\n",
                global,
                unknown("stargate.remot", Some("stargate.remote")),
                "run `git config -f /home/git/.gitconfig --unset-all stargate.remot`, and set stargate.remote instead",
            ),
            (
                "[stargate \"b\"]\nfroce = x\n",
                Some("/r.git/config"),
                unknown("stargate.b.froce", Some("force")),
                "run `runuser -u git -- git config -f /r.git/config --unset-all stargate.b.froce`, and set \
                 stargate.b.force instead",
            ),
            (
                "[stargate]\nforce = x\n",
                global,
                invalid("stargate.force"),
                "correct it with `git config -f /home/git/.gitconfig stargate.force VALUE`, or go back to the default with \
                 `git config -f /home/git/.gitconfig --unset-all stargate.force`",
            ),
            (
                several,
                global,
                invalid("stargate.ref"),
                "stargate.ref has several values; correct them with `git config -f /home/git/.gitconfig --edit`",
            ),
            (
                "[stargate]\nforce = x\n",
                None,
                invalid("stargate.force"),
                "correct stargate.force in the environment (GIT_CONFIG_COUNT, GIT_CONFIG_KEY_0, …)",
            ),
        ] {
            assert_eq!(hint(text, path, &finding), expected);
        }
    }
}
