//! Commands in hints. Each is in backquotes, and can be run as it is.
use std::path::Path;

pub(in crate::cli) use crate::cli::shell::quoted;

/// Commands for one repository.
#[derive(Debug, Clone)]
pub struct Commands {
    as_owner: String,
    git_dir: String,
}

impl Commands {
    /// Creates the commands for the repository at `git_dir`. `as_owner` is the shell prefix that runs a command as its owner:
    /// empty, or with a space at its end.
    pub fn new(as_owner: &str, git_dir: &Path) -> Self {
        Commands {
            as_owner: as_owner.to_owned(),
            git_dir: git_dir.display().to_string(),
        }
    }

    /// Returns a command of this program.
    pub fn mirror(&self, command: &str) -> String {
        format!("`stargate-mirror {command} --repo {}`", quoted(&self.git_dir))
    }

    /// Returns a command of git in the repository.
    pub fn git(&self, arguments: &str) -> String {
        format!("`{}git -C {} {arguments}`", self.as_owner, quoted(&self.git_dir))
    }

    /// Returns the command that sets a key of the repository's configuration. `value` is a word for the shell.
    pub fn set(&self, key: &str, value: &str) -> String {
        format!(
            "`{}git config -f {} {} {value}`",
            self.as_owner,
            self.config(),
            quoted(key)
        )
    }

    /// Returns a command that changes a file of git's configuration. It runs as the owner of the repository if the file is
    /// in there.
    pub fn config_file(&self, file: &Path, arguments: &str) -> String {
        let is_ours = file.starts_with(&self.git_dir);
        let prefix = if is_ours { self.as_owner.as_str() } else { "" };
        let file = quoted(&file.display().to_string());
        format!("`{prefix}git config -f {file} {arguments}`")
    }

    /// Returns the command that removes a key of the repository's configuration.
    pub fn unset(&self, key: &str) -> String {
        format!(
            "`{}git config -f {} --unset-all {}`",
            self.as_owner,
            self.config(),
            quoted(key)
        )
    }

    /// Returns the path of a file in the repository, as a word for the shell.
    pub fn path(&self, below: &str) -> String {
        quoted(&format!("{}/{below}", self.git_dir))
    }

    /// Returns the path of the repository.
    pub fn repository(&self) -> &str {
        &self.git_dir
    }

    fn config(&self) -> String {
        self.path("config")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_the_repository_and_run_as_its_owner() {
        let commands = Commands::new("runuser -u git -- ", Path::new("/srv/a b.git"));
        assert_eq!(
            commands.set("core.fsync", "committed"),
            "`runuser -u git -- git config -f '/srv/a b.git/config' core.fsync committed`"
        );
        for (file, expected) in [
            (
                "/srv/a b.git/config",
                "`runuser -u git -- git config -f '/srv/a b.git/config' --edit`",
            ),
            ("/etc/gitconfig", "`git config -f /etc/gitconfig --edit`"),
        ] {
            assert_eq!(commands.config_file(Path::new(file), "--edit"), expected);
        }
        assert_eq!(commands.mirror("run"), "`stargate-mirror run --repo '/srv/a b.git'`");
    }
}
