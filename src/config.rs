//! [`Config`] from the section `[stargate]` of the repository's git configuration, which git's own files and
//! `GIT_CONFIG_*` may extend. Callers apply flags and environment variables on top.
//!
//! A repository has one [`Config`] for each mirror ([`Mirrors`]). A mirror's own section `[stargate "NAME"]` overrides
//! `[stargate]` for the keys in [`MIRROR_KEYS`].
//!
//! An invalid value never stops a hook: it becomes a [`Problem`], and the default is used instead. The command line stops
//! at a problem; the hook logs it and continues.
mod alerts;
mod choices;
mod keys;
mod mirrors;
mod origin;
mod reader;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bstr::{BStr, BString, ByteSlice};
use durable::retry::RetryPolicy;

pub use self::alerts::AlertConfig;
use self::choices::{DEFAULT_BRANCH_WORDS, FORGE_WORDS, LFS_WORDS};
pub use self::choices::{DefaultBranch, ForgeSetting, LfsSetting};
pub use self::keys::{APPEND_ONLY, KEYS, MIRROR_KEYS, URL_KEYS};
pub use self::mirrors::{Mirrors, alerts_file, alerts_lock_file, lock_file, memory_file, mirror_of_alerts_file};
pub use self::origin::{Origin, origin};
use self::reader::Reader;
use crate::{append_only::Paths, ref_pattern::RefPatterns};

/// Name and version of the program, for the logs of the servers that receive its pushes.
pub const AGENT: &str = concat!("stargate-mirror/", env!("CARGO_PKG_VERSION"));
/// The `User-Agent` of HTTP requests. Some servers serve git's protocol only to clients that call themselves git.
pub const USER_AGENT: &str = concat!("git/stargate-mirror-", env!("CARGO_PKG_VERSION"));
/// 24 hours.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Default of [`Config::max_pack_size`]: 1.5 GiB. GitHub takes at most 2 GiB.
const MAX_PACK_SIZE: u64 = 3 << 29;

/// Settings of `[stargate]`, or of one mirror. See `docs/configuration.md` for the keys.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the mirror: that of its section, else `stargate.remote` without secrets. Empty if no mirror is configured.
    pub name: String,
    /// Name of the mirror's own section `[stargate "NAME"]`, if it has one.
    pub section: Option<BString>,
    /// `stargate.remote`: a `[remote]` name or a URL. The first one, except for another mirror.
    pub remote: Option<BString>,
    /// `stargate.ref`
    pub refs: RefPatterns,
    /// `stargate.repoId`
    pub repo_id: Option<BString>,
    /// `stargate.pusherEnv`, in order
    pub pusher_env: Vec<BString>,
    /// `stargate.force`: mirror journaled forced updates.
    pub force: bool,
    /// `stargate.deletes`: mirror journaled deletions.
    pub deletes: bool,
    /// `stargate.attempts`, `initialDelay`, `maxDelay`
    pub retry: RetryPolicy,
    /// `stargate.lockTimeout`: longest wait for the journal's lock.
    pub lock_timeout: Duration,
    /// `stargate.allowNfs`: write the journal even on a network file system.
    pub allow_nfs: bool,
    /// `stargate.retention`: time for which a settled segment of the journal is kept.
    pub retention: Duration,
    /// `stargate.verify`: read the refs back after a push.
    pub verify: bool,
    /// `stargate.pushesPerMinute`: budget of `watch` for each mirror, with bursts; 0 is unlimited.
    pub pushes_per_minute: u32,
    /// `stargate.maxPackSize`: bytes of a pack above which a push goes in parts; none is unlimited.
    pub max_pack_size: Option<u64>,
    /// `stargate.appendOnly`: paths at which pushed branches and ledgers may only add files; none by default.
    pub append_only: Paths,
    /// `stargate.defaultBranch`
    pub default_branch: DefaultBranch,
    /// `stargate.forge`
    pub forge: ForgeSetting,
    /// `stargate.lfs`
    pub lfs: LfsSetting,
    /// `stargate.lfsStore`: a folder with LFS objects.
    pub lfs_store: Option<PathBuf>,
    /// `stargate.lfsUrl`: an LFS server that has the objects.
    pub lfs_url: Option<BString>,
    /// `stargate.alertCommand`, `alertUrl`, `alertSecretFile`, `staleAfter`
    pub alerts: AlertConfig,
    /// Invalid values, for which the defaults are used.
    pub problems: Vec<Problem>,
}

/// A key with an invalid value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: {why}")]
pub struct Problem {
    /// The key, as in `git config`.
    pub key: String,
    /// Configured value.
    pub value: BString,
    /// Reason why the value is invalid, for example the values that are expected.
    pub why: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            name: String::new(),
            section: None,
            remote: None,
            refs: RefPatterns::default(),
            repo_id: None,
            pusher_env: Vec::new(),
            force: false,
            deletes: true,
            retry: RetryPolicy::default(),
            lock_timeout: Duration::from_secs(10),
            allow_nfs: false,
            retention: 30 * DAY,
            verify: true,
            pushes_per_minute: 6,
            max_pack_size: Some(MAX_PACK_SIZE),
            append_only: Paths::default(),
            default_branch: DefaultBranch::default(),
            forge: ForgeSetting::default(),
            lfs: LfsSetting::default(),
            lfs_store: None,
            lfs_url: None,
            alerts: AlertConfig::default(),
            problems: Vec::new(),
        }
    }
}

/// Returns the files of the system and of the user that exist.
fn global_files() -> impl Iterator<Item = gix::config::file::Metadata> {
    use gix::config::{Source, file::Metadata};

    let mut env = |name: &str| std::env::var_os(name);
    [Source::System, Source::Git, Source::User]
        .into_iter()
        .filter_map(move |source| {
            let path = source.storage_location(&mut env)?;
            path.is_file().then_some(Metadata {
                path: Some(path),
                source,
                level: 0,
                trust: gix::sec::Trust::Full,
            })
        })
}

/// Reads the configuration of the system and of the user, without that of a repository and without includes.
///
/// # Errors
/// A file cannot be read, or is not git configuration.
fn global_config() -> Result<gix::config::File, gix::Error> {
    let file = gix::config::File::from_paths_metadata(global_files(), Default::default())?;
    Ok(file.unwrap_or_default())
}

/// Reads the configuration that git would use in the repository at `git_dir`: system, user, repository, its work tree
/// (`extensions.worktreeConfig`), and environment. Follows includes, and does not run git.
///
/// # Errors
/// A file cannot be read, or is not git configuration.
pub fn git_config(git_dir: &Path) -> Result<gix::config::File, gix::Error> {
    use gix::config::{File, Source, file::Metadata, file::init::Options};

    let local = Metadata {
        path: Some(git_dir.join("config")),
        source: Source::Local,
        level: 0,
        trust: gix::sec::Trust::Full,
    };
    let home = gix::path::env::home_dir();
    let options = Options {
        includes: gix::config::file::includes::Options::follow(
            gix::config::path::interpolate::Context {
                home_dir: home.as_deref(),
                ..Default::default()
            },
            gix::config::file::includes::conditional::Context {
                git_dir: Some(git_dir),
                branch_name: None,
            },
        ),
        ..Default::default()
    };
    let mut file = File::from_paths_metadata(global_files().chain([local]), options)?.unwrap_or_default();
    let of_work_tree = git_dir.join("config.worktree");
    if file.boolean("extensions.worktreeConfig")?.unwrap_or_default() && of_work_tree.is_file() {
        let of_work_tree = Metadata {
            path: Some(of_work_tree),
            source: Source::Worktree,
            level: 0,
            trust: gix::sec::Trust::Full,
        };
        file.append(File::from_paths_metadata([of_work_tree], options)?.unwrap_or_default())?;
    }
    file.append(File::from_environment_overrides()?)?;
    Ok(file)
}

/// Returns true if the configuration of the repository at `git_dir` itself, or an included file, has a `[stargate]`
/// section.
///
/// # Errors
/// A file cannot be read, or is not git configuration.
pub fn has_section(git_dir: &Path) -> Result<bool, gix::Error> {
    use gix::config::Source;

    let sections = git_config(git_dir)?;
    let mut sections = sections.sections_by_name("stargate").into_iter().flatten();
    Ok(sections.any(|section| matches!(section.meta().source, Source::Local | Source::Worktree)))
}

/// Returns the mode that git would give to a 0755 folder in a shared repository (`core.sharedRepository`). Returns none
/// if the repository is not shared, or the value is invalid.
pub fn shared_folder_mode(file: &gix::config::File) -> Option<u32> {
    const KEY: &str = "core.sharedRepository";
    let value = file.string(KEY).unwrap_or_default();
    durable::ownership::shared_folder_mode(&value.to_str_lossy(), matches!(file.boolean(KEY), Ok(Some(true))))
}

impl Config {
    /// Reads `[stargate]` of the repository at `git_dir`.
    ///
    /// # Errors
    /// See [`git_config()`]; a single bad value is a [`Problem`] instead.
    pub fn load(git_dir: &Path) -> Result<Self, gix::Error> {
        Ok(Config::from_git_config(&git_config(git_dir)?))
    }

    /// Reads the settings of the system and of the user, which apply if those of a repository cannot be read.
    ///
    /// # Errors
    /// A file cannot be read, or is not git configuration.
    pub fn global() -> Result<Self, gix::Error> {
        Ok(Config::from_git_config(&global_config()?))
    }

    /// Creates the settings of `[stargate]` from git configuration.
    pub fn from_git_config(file: &gix::config::File) -> Self {
        Config {
            remote: mirrors::plain_remotes(file).into_iter().next(),
            ..Config::read(file, None)
        }
    }

    /// Reads all settings except the mirror's name and remote. A key in `section` overrides that of `[stargate]`.
    fn read(file: &gix::config::File, section: Option<&BStr>) -> Self {
        let mut problems = Vec::new();
        let default = Config::default();
        let mut reader = Reader::new(file, section, &mut problems);
        Config {
            name: String::new(),
            section: section.map(ToOwned::to_owned),
            remote: None,
            refs: reader.patterns("stargate.ref"),
            append_only: reader.paths(APPEND_ONLY),
            repo_id: file.string("stargate.repoId").filter(|value| !value.is_empty()),
            pusher_env: file.strings("stargate.pusherEnv").unwrap_or_default(),
            force: reader.boolean("stargate.force", default.force),
            deletes: reader.boolean("stargate.deletes", default.deletes),
            retry: RetryPolicy {
                attempts: reader.count("stargate.attempts", 1, default.retry.attempts),
                initial_delay: reader.duration("stargate.initialDelay", default.retry.initial_delay),
                max_delay: reader.duration("stargate.maxDelay", default.retry.max_delay),
            },
            lock_timeout: reader.duration("stargate.lockTimeout", default.lock_timeout),
            allow_nfs: reader.boolean("stargate.allowNfs", default.allow_nfs),
            retention: reader.duration("stargate.retention", default.retention),
            verify: reader.boolean("stargate.verify", default.verify),
            pushes_per_minute: reader.count("stargate.pushesPerMinute", 0, default.pushes_per_minute),
            max_pack_size: reader.bytes("stargate.maxPackSize", default.max_pack_size),
            default_branch: reader.word("stargate.defaultBranch", &DEFAULT_BRANCH_WORDS),
            forge: reader.word("stargate.forge", &FORGE_WORDS),
            lfs: reader.word("stargate.lfs", &LFS_WORDS),
            lfs_store: reader.folder("stargate.lfsStore"),
            lfs_url: reader.text("stargate.lfsUrl"),
            alerts: reader.alerts(),
            problems,
        }
    }

    /// Returns the key of this setting: that of the mirror's own section, if it has one.
    pub fn key(&self, name: &str) -> String {
        match &self.section {
            Some(section) => format!("stargate.{section}.{name}"),
            None => format!("stargate.{name}"),
        }
    }
}

/// Parses a duration such as `500ms`, `10s`, `1m 30s`, `30d`. A day has 24 hours.
///
/// # Errors
/// The expected format, as text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("expected a duration such as 500ms, 10s, 2m or 30d, not {text:?}");
    if let Some(days) = text.trim().strip_suffix('d') {
        let days: u32 = days.trim().parse().map_err(|_| expected())?;
        return Ok(DAY * days);
    }
    let signed: jiff::SignedDuration = text.trim().parse().map_err(|_| expected())?;
    Duration::try_from(signed).map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn config(text: &str) -> Config {
        let file = gix::config::File::try_from(text).expect("git configuration");
        Config::from_git_config(&file)
    }

    #[test]
    fn nothing_configured_is_the_default() {
        let config = config("");
        assert_eq!(config.retry, RetryPolicy::default());
        assert!(config.deletes && config.verify && !config.force);
        assert_eq!(config.max_pack_size, Some(1_610_612_736));
        assert!(config.problems.is_empty());
    }

    #[test]
    fn every_key_is_read() {
        let config = config(
            "[stargate]\nremote = github\nref = refs/a/*\nref = !refs/a/b\nrepoId = o/r\npusherEnv = ONE\npusherEnv = TWO\n\
             force = yes\ndeletes = off\nattempts = 5\ninitialDelay = 20ms\nmaxDelay = 1m\nlockTimeout = 2s\nverify = false\n\
             allowNfs = true\nretention = 2d\nappendOnly = events/\nappendOnly = audit\ndefaultBranch = leave\nforge = GitLab\n\
             maxPackSize = 64k\nlfs = require\nlfsStore = /srv/lfs\nlfsUrl = https://h/lfs\n\
             alertCommand = notify --now\nalertUrl = https://h/alerts\nalertSecretFile = alert-key\nstaleAfter = 2m\n",
        );
        assert_eq!(config.problems, []);
        assert_eq!(config.remote.unwrap(), "github");
        assert!(config.refs.matches("refs/a/c".into()) && !config.refs.matches("refs/a/b".into()));
        assert_eq!(config.repo_id.unwrap(), "o/r");
        assert_eq!(config.pusher_env, ["ONE", "TWO"]);
        assert!(config.force && !config.deletes && !config.verify);
        assert_eq!(
            config.retry,
            RetryPolicy {
                attempts: 5,
                initial_delay: Duration::from_millis(20),
                max_delay: Duration::from_secs(60)
            }
        );
        assert_eq!(config.lock_timeout, Duration::from_secs(2));
        assert_eq!((config.allow_nfs, config.retention), (true, 2 * DAY));
        assert_eq!(config.append_only.to_string(), "audit/, events/");
        assert_eq!(config.max_pack_size, Some(64 << 10));
        assert_eq!(config.lfs, LfsSetting::Require);
        assert_eq!(config.lfs_store, Some("/srv/lfs".into()));
        assert_eq!(config.lfs_url.unwrap(), "https://h/lfs");
        let alerts = config.alerts;
        assert_eq!(alerts.command, ["notify", "--now"]);
        assert_eq!(alerts.url.unwrap().expose_secret(), "https://h/alerts");
        assert_eq!(alerts.secret_file.unwrap(), "alert-key");
        assert_eq!(alerts.stale_after, Duration::from_secs(120));
        assert_eq!(
            (config.default_branch, config.forge),
            (DefaultBranch::Leave, ForgeSetting::GitLab)
        );
    }

    #[test]
    fn a_command_for_alerts_is_one_line_or_several_arguments() {
        let command = |text: &str| {
            let config = config(text);
            let words: Vec<_> = config.alerts.command.iter().map(ToString::to_string).collect();
            (words, config.problems.len())
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let one = "[stargate]\nalertCommand = mail -s 'a b' ops\n";
        assert_eq!(command(one), (words(&["mail", "-s", "a b", "ops"]), 0));
        let several = "[stargate]\nalertCommand = /a b/notify\nalertCommand = it's\n";
        assert_eq!(command(several), (words(&["/a b/notify", "it's"]), 0));
        assert_eq!(
            command("[stargate]\nalertCommand = a\nalertCommand =\n"),
            (words(&[]), 0)
        );
        assert_eq!(command("[stargate]\nalertCommand = 'a\n"), (words(&[]), 1));
    }

    #[test]
    fn a_size_of_packs_is_a_number_as_gits() {
        let size = |value: &str| {
            let config = config(&format!("[stargate]\nmaxPackSize = {value}\n"));
            (config.max_pack_size, config.problems.len())
        };
        assert_eq!(size("0"), (None, 0));
        assert_eq!(size("1000"), (Some(1000), 0));
        assert_eq!(size("2g"), (Some(2 << 30), 0));
        for value in ["-1", "much", "1.5g"] {
            assert_eq!(size(value), (Some(MAX_PACK_SIZE), 1), "{value}");
        }
    }

    #[test]
    fn every_key_that_is_read_is_known() {
        let source = include_str!("config.rs");
        let (source, _) = source.split_once("#[cfg(test)]").expect("tests at the end");
        let read = source
            .split("\"stargate.")
            .skip(1)
            .filter_map(|rest| rest.split('"').next());
        let read: Vec<_> = read.filter(|name| !name.contains('{')).collect();
        assert!(read.contains(&"ref") && read.len() > 15, "{read:?}");
        for name in read {
            assert!(KEYS.contains(&format!("stargate.{name}").as_str()), "{name}");
        }
    }

    #[test]
    fn a_folder_of_a_shared_repository_has_the_mode_that_git_gives() {
        for (value, expected) in [
            ("", None),
            ("sharedRepository = umask", None),
            ("sharedRepository = false", None),
            ("sharedRepository = 0", None),
            ("sharedRepository = nonsense", None),
            ("sharedRepository", Some(0o2775)),
            ("sharedRepository = true", Some(0o2775)),
            ("sharedRepository = Group", Some(0o2775)),
            ("sharedRepository = 1", Some(0o2775)),
            ("sharedRepository = world", Some(0o2775)),
            ("sharedRepository = 2", Some(0o2775)),
            ("sharedRepository = 0660", Some(0o2770)),
            ("sharedRepository = 0640", Some(0o2750)),
            ("sharedRepository = 0600", Some(0o700)),
        ] {
            let file = gix::config::File::try_from(format!("[core]\n{value}\n").as_str()).expect("git configuration");
            assert_eq!(shared_folder_mode(&file), expected, "{value}");
        }
    }

    #[test]
    fn a_bad_value_is_a_problem_and_the_default_is_used() {
        let config = config(
            "[stargate]\nlockTimeout = soon\nattempts = 0\nforce = maybe\nref = kv/*\nref = refs/x/*\nappendOnly = ../x\nforge = sourceforge\n",
        );
        let keys: Vec<_> = config.problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "stargate.ref",
                "stargate.appendOnly",
                "stargate.force",
                "stargate.attempts",
                "stargate.lockTimeout",
                "stargate.forge"
            ]
        );
        assert_eq!(config.lock_timeout, Duration::from_secs(10));
        assert!(config.refs.matches("refs/x/y".into()));
    }
}
