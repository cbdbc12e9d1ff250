//! Progress of a push on the terminal: one line on stderr, with the server's messages above it.
use std::{
    fmt,
    io::{self, IsTerminal},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use git_push::{Observer, Pack, Stage};
use git_push_transport::stream::WORDS;
use indicatif::{HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use tracing::{Event, Level, Metadata, Subscriber, field::Field, field::Visit};
use tracing_subscriber::{Layer, filter::filter_fn, layer::Context, registry::LookupSpan};

use crate::{cli::output::verbosity, worker::Progress};

/// Interval at which the line is redrawn.
const TICK: Duration = Duration::from_millis(100);
/// Prefix of the server's messages in the log events of the transports.
const REMOTE: &str = "remote: ";

/// Standard error during a push. If it is not a terminal, there is no progress, only the server's messages.
#[derive(Default)]
pub struct Terminal {
    bars: MultiProgress,
    current: Mutex<Option<ProgressBar>>,
    /// Start of the line in a push in parts.
    part: Mutex<String>,
}

impl Terminal {
    /// Returns a receiver of the progress of a cycle. With `-q`, there is none.
    pub fn progress(self: &Arc<Self>) -> Progress {
        if verbosity().is_quiet() {
            Progress::default()
        } else {
            Progress::to(self.clone())
        }
    }

    /// Removes the progress line.
    pub fn clear(&self) {
        if let Some(bar) = self.current().take() {
            bar.finish_and_clear();
        }
    }

    fn part(&self) -> MutexGuard<'_, String> {
        self.part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a layer that prints the server's messages, independent of the log level.
    pub fn remote_lines<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let of_transports = |metadata: &Metadata<'_>| {
            *metadata.level() == Level::INFO && metadata.target().starts_with("git_push_transport")
        };
        RemoteLines(self.bars.clone()).with_filter(filter_fn(of_transports))
    }

    fn show(&self, style: ProgressStyle) {
        self.clear();
        let bar = self.bars.add(ProgressBar::new_spinner().with_style(style));
        bar.enable_steady_tick(TICK);
        *self.current() = Some(bar);
    }
}

impl Observer for Terminal {
    fn stage(&self, stage: Stage<'_>) {
        let style = ProgressStyle::default_spinner();
        if let Stage::Part { number, sent, bytes } = stage {
            *self.part() = part(number, sent, bytes);
            return;
        }
        if matches!(stage, Stage::Asking | Stage::ReadingBack) {
            self.part().clear();
        }
        let part = self.part().clone();
        let said = |what: &str| style.clone().template(&format!("{{spinner}} {part}{what}"));
        let styled = match stage {
            Stage::Asking => said("Asking the remote for its refs"),
            Stage::Counting => said("Counting objects: {pos}"),
            Stage::Compressing { objects } => said(&format!("Compressing objects: {{pos}} of {objects}")),
            Stage::Sending { pack } => match pack {
                Some(pack) => said("{sent}").map(|style| style.with_key("sent", sent(pack))),
                None => said("Waiting for the remote"),
            },
            Stage::ReadingBack => said("Reading the refs back"),
            // An unknown stage counts as part of the one before.
            _ => return,
        };
        if let Ok(style) = styled {
            self.show(style);
        }
    }

    fn objects(&self, so_far: usize) {
        if let Some(bar) = &*self.current() {
            bar.set_position(so_far as u64);
        }
    }
}

/// Progress as lines on stderr, one for each stage, for `--progress` without a terminal.
pub(super) struct Lines;

impl Observer for Lines {
    fn stage(&self, stage: Stage<'_>) {
        match stage {
            Stage::Counting => eprintln!("Counting objects"),
            Stage::Compressing { objects } => eprintln!("Compressing objects: {objects}"),
            Stage::Sending { pack: Some(pack) } => eprintln!("Writing objects: {}", pack.objects()),
            _ => {}
        }
    }
}

/// Returns the start of the line for a part of a push. The size of all parts is an estimate.
fn part(number: usize, sent: u64, bytes: u64) -> String {
    let (sent, bytes) = (HumanBytes(sent.min(bytes)), HumanBytes(bytes));
    format!("Part {number} ({sent} of about {bytes} sent): ")
}

/// Returns a formatter of the bytes sent so far, and of their rate.
fn sent(pack: &Pack) -> impl Fn(&ProgressState, &mut dyn fmt::Write) + Send + Sync + Clone + use<> {
    let (sent, length, objects) = (pack.sent(), pack.length(), pack.objects());
    move |state, out| {
        let bytes = sent.bytes();
        let shown = HumanBytes(bytes);
        let rate = HumanBytes((bytes as f64 / state.elapsed().as_secs_f64().max(0.001)) as u64);
        let _ = match length {
            _ if sent.is_complete() => write!(out, "Writing {objects} objects: {shown}, done; waiting for the remote"),
            Some(length) => {
                let left = left(bytes, length, state.elapsed());
                let left = left.map(|left| format!(", {} left", HumanDuration(left)));
                write!(
                    out,
                    "Writing {objects} objects: {shown} of {}, {rate}/s{}",
                    HumanBytes(length),
                    left.unwrap_or_default()
                )
            }
            None => write!(out, "Writing {objects} objects: {shown}, {rate}/s"),
        };
    }
}

/// Returns the time that the rest will take at the rate so far. None in the first second, when the rate is not known.
fn left(sent: u64, length: u64, elapsed: Duration) -> Option<Duration> {
    if sent == 0 || elapsed < Duration::from_secs(1) {
        return None;
    }
    let seconds = elapsed.as_secs_f64() * length.saturating_sub(sent) as f64 / sent as f64;
    Duration::try_from_secs_f64(seconds.ceil()).ok()
}

/// Layer that prints the server's messages.
struct RemoteLines(MultiProgress);

impl<S: Subscriber> Layer<S> for RemoteLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        if event.metadata().target() == WORDS && !message.0.starts_with(REMOTE) {
            self.0.suspend(|| eprintln!("{}", message.0));
        } else if message.0.starts_with(REMOTE) {
            self.0.suspend(|| eprintln!("{}{}", message.0, end(&message.0)));
        }
    }
}

/// Returns what git writes after a line of the server, to overwrite the end of a longer one.
fn end(line: &str) -> &'static str {
    if line == REMOTE.trim_end() || line == REMOTE {
        ""
    } else if io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb") {
        "\x1b[K"
    } else {
        "        "
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_the_rate_says() {
        let seconds = Duration::from_secs;
        assert_eq!(left(25, 100, seconds(10)), Some(seconds(30)));
        assert_eq!(left(100, 100, seconds(10)), Some(seconds(0)));
        assert_eq!(left(0, 100, seconds(10)), None);
        assert_eq!(left(50, 100, Duration::from_millis(500)), None);
    }
}
