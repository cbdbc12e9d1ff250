//! A real `git receive-pack` that does not complete thin packs, reached as if over ssh.
use std::path::{Path, PathBuf};

use super::{executable, git};

/// Where each pack that is unpacked is one line.
pub fn log(folder: &Path) -> PathBuf {
    folder.join("unpacked")
}

/// Writes the programs into `folder`; gives what `GIT_SSH_COMMAND` must be.
pub fn ssh_command(folder: &Path) -> String {
    let exec_path = git::git(folder, &["--exec-path"]);
    let (at, log) = (folder.display(), log(folder));
    // All that git starts is started through this.
    let wrapper = format!(
        "case \" $* \" in *' index-pack '*) echo pack >> '{}';; esac
for word; do shift; [ \"$word\" = --fix-thin ] || set -- \"$@\" \"$word\"; done
unset GIT_EXEC_PATH
exec '{exec_path}/git' \"$@\"",
        log.display()
    );
    executable::script(&folder.join("exec/git"), &wrapper);
    let ssh = format!("for last; do :; done\nGIT_EXEC_PATH='{at}/exec' exec sh -c \"$last\"");
    executable::script(&folder.join("ssh"), &ssh);
    format!("{at}/ssh")
}
