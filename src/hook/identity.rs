//! Identity of the pusher and of the repository, as the server sets them in the environment.
use std::{ffi::OsString, path::Path};

use bstr::{BString, ByteSlice, ByteVec};

use super::Environment;
use crate::config::Config;

/// Variables with the pusher's name, in order of precedence. Those of `stargate.pusherEnv` come first.
const PUSHER: [&str; 8] = [
    "GIT_PUSHER_NAME",
    "GITEA_PUSHER_NAME",
    "GL_USERNAME",
    "GL_USER",
    "GITNESS_PUSHER_NAME",
    "SSH_AUTH_USER",
    "REMOTE_USER",
    "GIT_AUTHOR_EMAIL",
];
/// Longest name in bytes. A longer one is truncated, so that its entry stays below the reader's limit.
pub const MAX_NAME: usize = 4096;

/// Returns the pusher's name: the first variable that is set and not empty.
pub fn pusher(environment: Environment<'_>, config: &Config) -> Option<BString> {
    let configured = config.pusher_env.iter().filter_map(|name| name.to_str().ok());
    configured.chain(PUSHER).find_map(|name| variable(environment, name))
}

/// Returns the repository's identifier: the configured one, else the server's, else the last two components of the
/// absolute path `git_dir`, without `.git`.
pub fn repo(environment: Environment<'_>, config: &Config, git_dir: &Path) -> Option<BString> {
    let gitea = || {
        let (owner, name) = (
            variable(environment, "GITEA_REPO_USER_NAME")?,
            variable(environment, "GITEA_REPO_NAME")?,
        );
        Some([owner, name].join(&b'/').into())
    };
    let configured = config.repo_id.clone();
    configured
        .or_else(|| variable(environment, "GL_PROJECT_PATH"))
        .or_else(|| variable(environment, "GL_REPO"))
        .or_else(gitea)
        .or_else(|| from_path(git_dir))
}

/// Returns the value of a variable that is set and not empty, truncated to [`MAX_NAME`] bytes.
fn variable(environment: Environment<'_>, name: &str) -> Option<BString> {
    let mut value = bytes(environment(name)?);
    value.truncate(MAX_NAME);
    (!value.is_empty()).then_some(value)
}

pub(super) fn bytes(text: OsString) -> BString {
    Vec::from_os_string(text)
        .unwrap_or_else(|text| text.to_string_lossy().into_owned().into_bytes())
        .into()
}

/// Returns `o/r` for both `/srv/git/o/r.git` and `/srv/git/o/r/.git`.
fn from_path(git_dir: &Path) -> Option<BString> {
    let mut parts: Vec<BString> = git_dir
        .components()
        .filter_map(|part| match part {
            std::path::Component::Normal(name) => Some(bytes(name.to_owned())),
            _ => None,
        })
        .collect();
    if parts.last().is_some_and(|last| *last == ".git") {
        parts.pop();
    }
    let last = parts.last_mut()?;
    if let Some(stem) = last.strip_suffix(b".git").filter(|stem| !stem.is_empty()) {
        *last = stem.into();
    }
    Some(parts[parts.len().saturating_sub(2)..].join(&b'/').into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment<'a>(set: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| {
            set.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).into())
        }
    }

    fn name_of(set: &[(&str, &str)], config: &Config) -> Option<BString> {
        pusher(&environment(set), config)
    }

    #[test]
    fn the_pusher_is_the_first_variable_that_is_set_and_configured_names_come_first() {
        let set = [
            ("REMOTE_USER", "web"),
            ("GL_USERNAME", ""),
            ("GITEA_PUSHER_NAME", "tea"),
            ("MINE", "me"),
        ];
        assert_eq!(name_of(&set, &Config::default()).unwrap(), "tea");
        let config = Config {
            pusher_env: vec!["ABSENT".into(), b"\xff".into(), "MINE".into()],
            ..Config::default()
        };
        assert_eq!(name_of(&set, &config).unwrap(), "me");
        assert_eq!(name_of(&[], &config), None);
    }

    #[test]
    fn an_overlong_name_is_truncated() {
        let long = "x".repeat(MAX_NAME + 1);
        assert_eq!(
            name_of(&[("GL_USER", &long)], &Config::default()).unwrap().len(),
            MAX_NAME
        );
    }

    #[test]
    fn the_repository_comes_from_the_setting_or_the_server_or_the_path() {
        let at = |set: &[(&str, &str)], config: &Config| {
            repo(&environment(set), config, Path::new("/srv/git/o/r.git")).unwrap()
        };
        let config = Config {
            repo_id: Some("a/b".into()),
            ..Config::default()
        };
        let all = [
            ("GL_REPO", "two"),
            ("GL_PROJECT_PATH", "g/p"),
            ("GITEA_REPO_NAME", "n"),
            ("GITEA_REPO_USER_NAME", "u"),
        ];
        assert_eq!(at(&all, &config), "a/b");
        assert_eq!(at(&all, &Config::default()), "g/p");
        assert_eq!(at(&all[..1], &Config::default()), "two");
        assert_eq!(at(&all[2..], &Config::default()), "u/n");
        assert_eq!(
            at(&all[2..3], &Config::default()),
            "o/r",
            "an owner without a name is none"
        );
    }

    #[test]
    fn the_last_two_components_of_the_path_are_the_repository() {
        for (path, expected) in [
            ("/srv/git/o/r.git", Some("o/r")),
            ("/home/o/r/.git", Some("o/r")),
            ("/r.git", Some("r")),
            ("/", None),
        ] {
            assert_eq!(from_path(Path::new(path)), expected.map(BString::from), "{path}");
        }
    }
}
