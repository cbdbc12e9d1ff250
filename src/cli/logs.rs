//! Logs on stderr: lines for people and for cron's mail, or JSON.
mod repeats;
mod repository;

use std::{env, ffi::OsStr, io::stderr, path::Path, sync::OnceLock};

use jiff::Timestamp;
use serde::Serialize;
use tracing_subscriber::{
    Layer, Registry,
    filter::{FilterExt, LevelFilter, Targets, filter_fn},
    fmt,
    layer::{Filter, SubscriberExt},
    util::SubscriberInitExt,
};

use self::{
    repeats::Repeats,
    repository::{Remember, WithRepository},
};
use super::{
    colours,
    report::{Exit, Failure},
};

/// Variable with the level.
const VARIABLE: &str = "STARGATE_LOG";

/// Narrowest terminal for which errors are wrapped.
const NARROWEST: usize = 40;

/// Format of the logs, once they are set up.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object in each line.
    Json,
}

/// An error that ends a command, as a line of JSON. It has the members of the log's other lines.
#[derive(Serialize)]
struct FailureLine<'a> {
    timestamp: String,
    level: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    exit: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    target: &'static str,
}

/// Kind of a command, which decides what is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// It ends by itself, and logs warnings and errors.
    Short,
    /// It runs until it is stopped, logs what it does, and does not repeat a trouble in every line.
    Long,
}

impl Command {
    /// Returns the log level without `-q` and `-v`.
    pub fn level(self) -> &'static str {
        match self {
            Command::Short => "warn",
            Command::Long => "info",
        }
    }
}

/// Selection of log lines, beside `STARGATE_LOG`.
#[derive(Debug, Clone, Copy)]
pub struct Lines {
    /// Kind of the command.
    pub command: Command,
    /// Level if `STARGATE_LOG` is not set.
    pub level: &'static str,
    /// Adds the repository of their cycle to lines for people.
    pub with_repository: bool,
}

/// Sends logs to stderr. `beside` receives all events.
///
/// # Errors
/// `STARGATE_LOG` is not a level.
pub fn start(
    format: LogFormat,
    Lines {
        command,
        level,
        with_repository,
    }: Lines,
    beside: Option<impl Layer<Registry> + Send + Sync>,
) -> Result<(), Failure> {
    FORMAT.get_or_init(|| format);
    let filter = filter(env::var_os(VARIABLE).as_deref(), level)?;
    // At a lower level, every line is wanted.
    let is_plain = Filter::<Registry>::max_level_hint(&filter).is_some_and(|level| level <= LevelFilter::INFO);
    let is_limited = command == Command::Long && is_plain;
    // With a filter of its own, no events below this level are made for it.
    let repeats = is_limited.then(|| Repeats::new().with_filter(LevelFilter::INFO));
    // Errors of logging to stderr cannot be logged to stderr.
    let logs = fmt::layer().log_internal_errors(false).with_writer(stderr);
    let logs = match format {
        LogFormat::Text => {
            let text = logs.with_ansi(colours()).with_target(false);
            if with_repository {
                text.fmt_fields(WithRepository).boxed()
            } else {
                text.boxed()
            }
        }
        LogFormat::Json => {
            let json = logs.with_ansi(false).json().flatten_event(true);
            json.with_span_list(false).boxed()
        }
    };
    // For people, a line has its own fields only.
    let has_spans = format == LogFormat::Json;
    let filter = filter.and(filter_fn(move |metadata| has_spans || metadata.is_event()));
    tracing_subscriber::registry()
        .with(beside)
        .with(with_repository.then_some(Remember))
        .with(logs.with_filter(filter))
        .with(repeats)
        .init();
    Ok(())
}

/// Prints an error, of this repository if there are several, in the format of the logs.
pub fn print_failure(failure: &Failure, repository: Option<&Path>) {
    if FORMAT.get() == Some(&LogFormat::Json) {
        let line = FailureLine {
            timestamp: format!("{:.6}", Timestamp::now()),
            level: "ERROR",
            message: failure.to_string(),
            hint: failure.instruction(),
            exit: failure.exit() as u8,
            repository: repository.map(|path| path.display().to_string()),
            target: "stargate_mirror::cli",
        };
        let line = serde_json::to_string(&line).expect("a line serializes into memory");
        return eprintln!("{line}");
    }
    if let Some(path) = repository {
        eprintln!("{}:", path.display());
    }
    eprint!("{}", failure.render(colours(), stderr_width()));
}

/// Returns the width of the terminal on stderr; none if stderr is not a terminal.
fn stderr_width() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(stderr())?;
    Some(usize::from(width.0).max(NARROWEST))
}

/// Returns the filter for a value of `STARGATE_LOG`: a level, or a list of `target=level` with at most one level.
fn filter(value: Option<&OsStr>, default: &str) -> Result<Targets, Failure> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(default.parse().expect("a default is a level"));
    };
    let text = value.to_str().unwrap_or_default();
    // Targets takes any other word for a target, and LevelFilter the empty one for `error`.
    let is_known = |part: &str| part.contains('=') || (!part.is_empty() && part.parse::<LevelFilter>().is_ok());
    let parsed = text.split(',').all(is_known).then(|| text.parse().ok()).flatten();
    parsed.ok_or_else(|| {
        let failure = Failure::new(
            Exit::Usage,
            format!("{VARIABLE}={} is not a log level", value.display()),
        );
        failure.hint(format!(
            "set {VARIABLE} to error, warn, info, debug or trace, or unset it"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_one_of_the_known_words() {
        for (value, expected) in [
            ("debug", "debug"),
            ("WARN", "warn"),
            ("off", "off"),
            ("", "info"),
            ("warn,relay::access=info", "relay::access=info,warn"),
        ] {
            let filter = filter(Some(OsStr::new(value)), "info").expect(value);
            assert_eq!(filter.to_string(), expected, "{value}");
        }
        for bad in ["loud", "warn,", "inf o", "relay=loud", "wran,relay=info"] {
            let refused = filter(Some(OsStr::new(bad)), "info").expect_err(bad);
            assert_eq!(refused.exit(), Exit::Usage);
        }
    }
}
