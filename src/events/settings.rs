//! PURE: settings of `events run` from flags and environment. Flags win.
use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use secrecy::SecretString;

use super::{batch::Limits, push_schedule};
use crate::event::{Layout, check_name};

/// Default of `GITHUB_BRANCH`.
pub const BRANCH: &str = "main";

/// Maximum number of feeds; each has a thread.
const MAX_FEEDS: usize = 256;
/// Hint if there is nothing to read.
const NO_SOURCE: &str =
    "set RELAY_URL to a relay, such as http://127.0.0.1:3000, and FEED_IDS to its feeds; or use --stdin";
/// Maximum timeout of a batch.
const MAX_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// Flags of `events run`.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// The context repository, instead of `CONTEXT_REPO_PATH`.
    pub repository: Option<PathBuf>,
    /// Read events from standard input instead of a relay.
    pub stdin: bool,
    /// URL of a stream of NATS JetStream to follow instead of a relay.
    pub stream: Option<String>,
    /// File of credentials for the servers of the stream.
    pub credentials: Option<PathBuf>,
    /// Fetch the available events, push them and end.
    pub once: bool,
    /// See [`Layout`].
    pub layout: Layout,
    /// Address for `GET /health`, instead of `PORT`.
    pub listen: Option<SocketAddr>,
}

/// Settings of a run, except the remote's token and URL, which are read for each push.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Path of the context repository, which may be missing.
    pub repository: PathBuf,
    /// Source of the events.
    pub source: Source,
    /// Fetch the available events, push them and end.
    pub once: bool,
    /// `COMMIT_BATCH_SIZE`, `COMMIT_BATCH_TIMEOUT_MS`
    pub limits: Limits,
    /// See [`Layout`].
    pub layout: Layout,
    /// `GITHUB_BRANCH`
    pub branch: String,
    /// `PUSHES_PER_MINUTE`; 0 is unlimited.
    pub pushes_per_minute: u32,
    /// Address for `GET /health`.
    pub listen: Option<SocketAddr>,
}

/// Source of the events.
#[derive(Debug, Clone)]
pub enum Source {
    /// Standard input, one JSON object per line.
    Stdin,
    /// A relay.
    Relay(RelaySource),
    /// A stream of NATS JetStream.
    Stream(StreamSource),
}

/// A stream and the feeds to follow.
#[derive(Debug, Clone)]
pub struct StreamSource {
    /// URL of the servers and of the stream.
    pub url: String,
    /// File of credentials.
    pub credentials: Option<PathBuf>,
    /// `FEED_IDS`, each once.
    pub feeds: Vec<String>,
}

/// A relay and the feeds to follow. `Debug` does not show the token.
#[derive(Debug, Clone)]
pub struct RelaySource {
    /// `RELAY_URL`
    pub url: String,
    /// `FEED_IDS`, each once.
    pub feeds: Vec<String>,
    /// `RELAY_TOKEN`
    pub token: Option<SecretString>,
}

/// A setting that is invalid or missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct BadSetting {
    /// The environment variable.
    pub variable: &'static str,
    /// Description of the problem.
    pub problem: String,
    /// Instruction for the user.
    pub hint: &'static str,
}

impl Settings {
    /// Reads the environment; `flags` win.
    ///
    /// # Errors
    /// The first invalid setting.
    pub fn read(flags: &Flags, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, BadSetting> {
        let text = |name: &'static str| text(name, &variable);
        let repository = flags.repository.clone();
        let repository = repository.or_else(|| {
            variable("CONTEXT_REPO_PATH")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        });
        let hint = "set it to the folder of the context repository, or use --repo DIR; a missing repository is created";
        let defaults = Limits::default();
        let size = number(
            "COMMIT_BATCH_SIZE",
            text("COMMIT_BATCH_SIZE")?,
            1..=100_000,
            defaults.size as u64,
        )?;
        let milliseconds = number(
            "COMMIT_BATCH_TIMEOUT_MS",
            text("COMMIT_BATCH_TIMEOUT_MS")?,
            0..=MAX_TIMEOUT.as_millis() as u64,
            defaults.timeout.as_millis() as u64,
        )?;
        let pushes = number(
            "PUSHES_PER_MINUTE",
            text("PUSHES_PER_MINUTE")?,
            0..=6000,
            push_schedule::PUSHES_PER_MINUTE.into(),
        )?;
        let listen = match flags.listen {
            // A run that ends by itself serves `/health` only with an explicit `--listen`.
            None if !flags.once && !flags.stdin => port(text("PORT")?)?,
            listen => listen,
        };
        Ok(Settings {
            repository: repository.ok_or_else(|| bad("CONTEXT_REPO_PATH", "is not set", hint))?,
            source: match &flags.stream {
                _ if flags.stdin => Source::Stdin,
                Some(url) => Source::Stream(StreamSource {
                    url: url.clone(),
                    credentials: flags.credentials.clone(),
                    feeds: feeds(text("FEED_IDS")?)?,
                }),
                None => Source::Relay(relay(text)?),
            },
            once: flags.once,
            limits: Limits {
                size: size as usize,
                timeout: Duration::from_millis(milliseconds),
            },
            layout: flags.layout,
            branch: branch(&variable)?,
            pushes_per_minute: pushes as u32,
            listen,
        })
    }

    /// The relay to follow, unless events come from standard input.
    pub fn relay(&self) -> Option<&RelaySource> {
        match &self.source {
            Source::Relay(relay) => Some(relay),
            Source::Stdin | Source::Stream(_) => None,
        }
    }

    /// The feeds to follow.
    pub fn feeds(&self) -> &[String] {
        match &self.source {
            Source::Relay(relay) => &relay.feeds,
            Source::Stream(stream) => &stream.feeds,
            Source::Stdin => &[],
        }
    }

    /// Returns true if the sources end by themselves.
    pub fn ends_by_itself(&self) -> bool {
        self.once || matches!(self.source, Source::Stdin)
    }
}

/// Returns the address of `PORT`, on this machine only.
fn port(text: Option<String>) -> Result<Option<SocketAddr>, BadSetting> {
    let Some(text) = text else { return Ok(None) };
    match text.parse() {
        Ok(port) => Ok(Some((Ipv4Addr::LOCALHOST, port).into())),
        Err(_) => Err(bad("PORT", format!("is {text:?}, not a port"), "correct or unset it")),
    }
}

fn relay(text: impl Fn(&'static str) -> Result<Option<String>, BadSetting>) -> Result<RelaySource, BadSetting> {
    let url =
        text("RELAY_URL")?.ok_or_else(|| bad("RELAY_URL", "is not set, so there is no source of events", NO_SOURCE))?;
    Ok(RelaySource {
        url,
        feeds: feeds(text("FEED_IDS")?)?,
        token: text("RELAY_TOKEN")?.map(SecretString::from),
    })
}

/// Reads the list of feeds.
fn feeds(list: Option<String>) -> Result<Vec<String>, BadSetting> {
    let list = list.ok_or_else(|| bad("FEED_IDS", "is not set, so there is no feed to follow", NO_SOURCE))?;
    let hint = "set it to the ids of feeds, separated by commas";
    let mut feeds: Vec<String> = Vec::new();
    for feed in list.split(',').map(str::trim).filter(|feed| !feed.is_empty()) {
        if let Err(problem) = check_name(feed) {
            return Err(bad("FEED_IDS", format!("contains {feed:?}, which {problem}"), hint));
        }
        if !feeds.iter().any(|known| known == feed) {
            feeds.push(feed.to_owned());
        }
    }
    match feeds.len() {
        0 => Err(bad("FEED_IDS", "names no feed", hint)),
        1..=MAX_FEEDS => Ok(feeds),
        _ => Err(bad("FEED_IDS", format!("names more than {MAX_FEEDS} feeds"), hint)),
    }
}

/// Reads the branch from `GITHUB_BRANCH`, without `refs/heads/`.
///
/// # Errors
/// The value is not a branch name.
pub fn branch(variable: impl Fn(&str) -> Option<OsString>) -> Result<String, BadSetting> {
    let name = text("GITHUB_BRANCH", variable)?.unwrap_or_else(|| BRANCH.to_owned());
    let name = name.strip_prefix("refs/heads/").unwrap_or(&name).to_owned();
    let full = format!("refs/heads/{name}");
    match gix::validate::reference::name(full.as_bytes().into()) {
        Ok(_) if !name.starts_with('-') => Ok(name),
        _ => {
            let problem = format!("is {name:?}, which is not a valid branch name");
            Err(bad("GITHUB_BRANCH", problem, "set it to a branch, such as main"))
        }
    }
}

/// Returns the value of a variable; an empty one counts as unset.
fn text(name: &'static str, variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<String>, BadSetting> {
    match variable(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(Err(_)) => Err(bad(name, "is not UTF-8", "set it to plain text")),
    }
}

fn number(
    name: &'static str,
    text: Option<String>,
    range: std::ops::RangeInclusive<u64>,
    default: u64,
) -> Result<u64, BadSetting> {
    let Some(text) = text else { return Ok(default) };
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => {
            let problem = format!("is {text:?}, not a number from {} to {}", range.start(), range.end());
            Err(bad(name, problem, "correct or unset it"))
        }
    }
}

fn bad(variable: &'static str, problem: impl Into<String>, hint: &'static str) -> BadSetting {
    BadSetting {
        variable,
        problem: problem.into(),
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: [(&str, &str); 3] = [
        ("RELAY_URL", "http://127.0.0.1:3000"),
        ("FEED_IDS", "b, a,b,"),
        ("CONTEXT_REPO_PATH", "/srv/context"),
    ];

    fn read(flags: &Flags, environment: &[(&str, &str)]) -> Result<Settings, BadSetting> {
        Settings::read(flags, |name| {
            let (_, value) = environment.iter().rev().find(|(key, _)| *key == name)?;
            Some(OsString::from(*value))
        })
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let settings = read(&Flags::default(), &RELAY).expect("settings");
        assert_eq!(settings.repository, PathBuf::from("/srv/context"));
        assert_eq!(
            settings.limits,
            Limits {
                size: 10,
                timeout: Duration::from_secs(5)
            }
        );
        assert_eq!((settings.branch.as_str(), settings.pushes_per_minute), ("main", 12));
        let Source::Relay(relay) = settings.source else {
            panic!("no relay")
        };
        assert_eq!(relay.feeds, ["b", "a"]);
        assert!(relay.token.is_none());
        assert_eq!(settings.listen, None);
    }

    #[test]
    fn a_port_is_one_of_this_machine_and_a_flag_wins() {
        let environment = [&RELAY[..], &[("PORT", "8080")]].concat();
        let listen = |flags: &Flags| read(flags, &environment).expect("settings").listen;
        let address = |text: &str| text.parse::<SocketAddr>().ok();
        let mut flags = Flags::default();
        assert_eq!(listen(&flags), address("127.0.0.1:8080"));
        flags.once = true;
        assert_eq!(listen(&flags), None);
        flags.listen = address("0.0.0.0:80");
        assert_eq!(listen(&flags), flags.listen);
    }

    #[test]
    fn flags_win_and_standard_input_needs_no_relay() {
        let flags = Flags {
            repository: Some("here".into()),
            stdin: true,
            ..Flags::default()
        };
        let settings = read(
            &flags,
            &[("COMMIT_BATCH_SIZE", "1"), ("GITHUB_BRANCH", "refs/heads/x/y")],
        )
        .expect("settings");
        assert!(matches!(settings.source, Source::Stdin));
        assert_eq!((settings.repository, settings.limits.size), ("here".into(), 1));
        assert_eq!(settings.branch, "x/y");
    }

    #[test]
    fn a_bad_setting_is_named_and_a_token_never_shown() {
        let cases = [
            ("RELAY_URL", ""),
            ("FEED_IDS", ""),
            ("FEED_IDS", " , "),
            ("FEED_IDS", "a,../b"),
            ("FEED_IDS", "a,.git"),
            ("CONTEXT_REPO_PATH", ""),
            ("COMMIT_BATCH_SIZE", "0"),
            ("COMMIT_BATCH_SIZE", "ten"),
            ("COMMIT_BATCH_TIMEOUT_MS", "-1"),
            ("PUSHES_PER_MINUTE", "often"),
            ("GITHUB_BRANCH", "a..b"),
            ("GITHUB_BRANCH", "-x"),
            ("PORT", "65536"),
        ];
        for (name, value) in cases {
            let mut environment = RELAY.to_vec();
            environment.extend([("RELAY_TOKEN", "canary"), (name, value)]);
            let error = read(&Flags::default(), &environment).expect_err(value);
            assert_eq!(error.variable, name, "{error}");
            assert!(!error.to_string().contains("canary"));
        }
        let mut environment = RELAY.to_vec();
        environment.push(("RELAY_TOKEN", "canary"));
        assert!(!format!("{:?}", read(&Flags::default(), &environment)).contains("canary"));
    }
}
