//! Hooks that git runs from its configuration, for every repository of a server or a user (git-config,
//! `hook.<friendly-name>.command`). git supports them since [`SINCE`].
//!
//! ```text
//! [hook "stargate-post-receive"]
//!     command = /usr/local/bin/stargate-hook --configured post-receive
//!     event = post-receive
//!     parallel = true
//! ```
//!
//! git starts the command through a shell, with the input, folder and environment of a program in `hooks/`, and does not
//! say which hook it runs. So each hook has a section of its own, and its name is an argument.
//!
//! git runs the configured hooks first, then the program in `hooks/`, or all of them at once. So at most one of ours may
//! record a push:
//!
//! - A repository without a mirror in its settings and without a `.stargate` folder is not mirrored. The hook ends silently.
//! - Where git also runs our program as `hooks/<name>`, that hook records the push, and the configured one does
//!   nothing. This is decided for each hook separately, so both kinds of `pre-receive` and `post-receive` work
//!   together.
//! - A section has the same name in every configuration file, so git runs it once.
//!
//! # Limitations
//!
//! git runs all hooks even if one of them rejects the push. The intent of such a push stays until it is stale. The worker
//! then drops it, because no ref has moved.
pub mod install;
pub mod sections;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{
    Hook,
    install::{Standing, standing},
};
use crate::{
    config::{self, Mirrors},
    journal::FOLDER,
};

/// First version of git, major and minor, that runs hooks from its configuration.
pub const SINCE: (u32, u32) = (2, 54);
/// Argument in front of the name of a hook that git runs from its configuration.
pub const ARGUMENT: &str = "--configured";

/// Runs `hook`, unless the repository is not mirrored, or its own hook of this name records the push.
pub(super) fn main(hook: Hook, name: &str) -> ExitCode {
    let git_dir = std::env::var_os("GIT_DIR").map_or_else(|| ".".into(), PathBuf::from);
    // The hook reports a configuration that cannot be read.
    let is_needed = config::git_config(&git_dir).map_or(true, |config| {
        is_mirrored(&git_dir, &config) && !is_own(&git_dir, &config, name)
    });
    if is_needed { hook(None) } else { ExitCode::SUCCESS }
}

/// Returns true if pushes to the repository at `git_dir` are recorded by configured hooks.
pub fn is_mirrored(git_dir: &Path, config: &gix::config::File) -> bool {
    // A folder that cannot be accessed counts as present.
    let is_absent = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
    Mirrors::is_any_in(config) || !fs::symlink_metadata(git_dir.join(FOLDER)).is_err_and(is_absent)
}

/// Returns true if git runs our program as `hooks/<name>`. Returns false if that is unknown: recording a push twice is
/// harmless.
fn is_own(git_dir: &Path, config: &gix::config::File, name: &str) -> bool {
    matches!(standing(git_dir, config, name), Ok((_, Standing::Ours)))
}
