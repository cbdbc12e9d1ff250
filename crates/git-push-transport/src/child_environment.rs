//! The environment of programs that belong to others: hooks of a path, ssh, `ext::` commands, alert programs.
use std::process::Command;

use crate::token::{APP_KEY_VARIABLE, TOKEN_VARIABLE};

/// Environment variables with secrets of this program. Programs that belong to others never get them.
pub const SECRET_VARIABLES: [&str; 4] = [TOKEN_VARIABLE, APP_KEY_VARIABLE, "RELAY_TOKEN", "STARGATE_LISTEN_TOKEN"];

/// Variables that name a repository or its parts (git-rev-parse, *--local-env-vars*). They do not hold for another
/// repository.
const OF_A_REPOSITORY: [&str; 16] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// Removes this program's secrets from the environment of `command`.
pub(crate) fn without_secrets(command: &mut Command) {
    for name in SECRET_VARIABLES {
        command.env_remove(name);
    }
}

/// Removes this program's secrets and the variables of its repository from the environment of `command`.
pub(crate) fn of_another_repository(command: &mut Command) {
    without_secrets(command);
    for name in OF_A_REPOSITORY {
        command.env_remove(name);
    }
}
