//! Commands in hints. Each is in backquotes, and can be run as it is.
use std::path::Path;

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

/// Returns a text as one word for the shell.
pub fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%=".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
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
        assert_eq!(commands.mirror("run"), "`stargate-mirror run --repo '/srv/a b.git'`");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
