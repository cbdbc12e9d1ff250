//! Repeated warnings and errors of a long-running command. The first one is logged, and later ones at growing intervals, until
//! an event with the field `recovered` ends the trouble.
//!
//! Two lines are the same if they concern the same mirror of the same repository and have the same text. Numbers in fields,
//! such as attempts and delays, do not count.
use std::{
    collections::HashMap,
    fmt::{Debug, Write},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

/// Interval after the first line. It doubles with each further one.
const FIRST_INTERVAL: Duration = Duration::from_secs(60);
/// Longest interval. A line that was not wanted for longer is a first one again.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Maximum number of lines that are known. Beyond it, all are forgotten, and logged once more.
const MOST_LINES: usize = 10_000;
/// Field of an event that ends the troubles of its mirror.
const RECOVERED: &str = "recovered";

/// Layer that drops repeated lines.
pub(super) struct Repeats {
    known: Mutex<Known>,
    start: Instant,
}

/// Lines that were logged.
#[derive(Default)]
struct Known(HashMap<(Subject, u64), Line>);

/// Times of a line.
struct Line {
    wanted: Duration,
    shown: Duration,
    interval: Duration,
}

/// Repository and mirror of an event; both empty for one that concerns neither.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Subject {
    repository: String,
    mirror: String,
}

/// Fields of an event or a span.
#[derive(Default)]
struct Fields {
    subject: Subject,
    text: String,
}

impl Repeats {
    pub(super) fn new() -> Self {
        Repeats {
            known: Mutex::default(),
            start: Instant::now(),
        }
    }
}

impl Known {
    /// Returns true if a line that is wanted now is to be logged.
    fn is_due(&mut self, subject: Subject, text: &str, now: Duration) -> bool {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let key = (subject, hasher.finish());
        if self.0.len() >= MOST_LINES && !self.0.contains_key(&key) {
            self.0.clear();
        }
        let first = |now| Line {
            wanted: now,
            shown: now,
            interval: FIRST_INTERVAL,
        };
        let Some(line) = self.0.get_mut(&key) else {
            self.0.insert(key, first(now));
            return true;
        };
        if now - line.wanted > LONGEST_INTERVAL {
            *line = first(now);
            return true;
        }
        line.wanted = now;
        let is_due = now - line.shown >= line.interval;
        if is_due {
            line.shown = now;
            line.interval = (line.interval * 2).min(LONGEST_INTERVAL);
        }
        is_due
    }

    /// Forgets the lines of a mirror.
    fn forget(&mut self, subject: &Subject) {
        self.0.retain(|(other, _), _| other != subject);
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Repeats {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields.subject);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(subject) = span.extensions_mut().get_mut::<Subject>()
        {
            let mut fields = Fields {
                subject: std::mem::take(subject),
                text: String::new(),
            };
            values.record(&mut fields);
            *subject = fields.subject;
        }
    }

    fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let has_recovered = metadata.fields().field(RECOVERED).is_some();
        if *metadata.level() > Level::WARN && !has_recovered {
            return true;
        }
        let span = context.event_span(event);
        let subject = span.and_then(|span| span.extensions().get::<Subject>().cloned());
        let mut fields = Fields {
            subject: subject.unwrap_or_default(),
            text: String::new(),
        };
        event.record(&mut fields);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if has_recovered {
            known.forget(&fields.subject);
            return true;
        }
        known.is_due(fields.subject, &fields.text, self.start.elapsed())
    }
}

impl Visit for Fields {
    fn record_i64(&mut self, _: &Field, _: i64) {}
    fn record_u64(&mut self, _: &Field, _: u64) {}
    fn record_f64(&mut self, _: &Field, _: f64) {}

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "repository" => self.subject.repository = format!("{value:?}"),
            "mirror" => self.subject.mirror = format!("{value:?}"),
            // Writing to a string cannot fail.
            name => {
                let _ = write!(self.text, "{name}={value:?} ");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::{filter::LevelFilter, fmt::MakeWriter, layer::SubscriberExt};

    use super::*;

    #[test]
    fn a_line_is_shown_at_growing_intervals_until_it_ends() {
        let mut known = Known::default();
        let mut shown = |minutes: std::ops::Range<u64>| {
            let due = minutes.filter(|minute| known.is_due(Subject::default(), "x", Duration::from_secs(60 * minute)));
            due.collect::<Vec<_>>()
        };
        assert_eq!(shown(0..200), [0, 1, 3, 7, 15, 31, 63, 123, 183]);
        assert_eq!(shown(260..261), [260], "an hour of quiet is the end, too");
        known.forget(&Subject::default());
        assert!(known.is_due(Subject::default(), "x", Duration::from_secs(60 * 261)));
        for number in 0..3 * MOST_LINES {
            known.is_due(Subject::default(), &number.to_string(), Duration::ZERO);
        }
        assert!(known.0.len() <= MOST_LINES);
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Written {
        type Writer = Written;

        fn make_writer(&'a self) -> Written {
            self.clone()
        }
    }

    #[test]
    fn lines_of_other_mirrors_and_of_a_new_trouble_are_logged() {
        let written = Written::default();
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(written.clone())
            .without_time();
        let lines = lines.with_filter(LevelFilter::INFO);
        let subscriber = tracing_subscriber::registry()
            .with(lines)
            .with(Repeats::new().with_filter(LevelFilter::INFO));
        tracing::subscriber::with_default(subscriber, || {
            let fail = |repository: &str, attempt: u32| {
                let cycle = tracing::error_span!("cycle", cycle = attempt, repository, mirror = tracing::field::Empty);
                cycle.record("mirror", "m");
                let _entered = cycle.entered();
                tracing::warn!(attempt, error = "no answer", "attempt failed");
                tracing::info!("asked");
            };
            for attempt in 1..4 {
                fail("a", attempt);
            }
            fail("b", 1);
            tracing::info!(repository = "a", mirror = "m", recovered = true, "mirrored again");
            fail("a", 1);
            fail("b", 2);
        });
        let text = String::from_utf8(written.0.lock().expect("not poisoned").clone()).expect("UTF-8");
        let count = |words: &str| text.lines().filter(|line| line.contains(words)).count();
        assert_eq!(
            (count("attempt failed"), count("asked"), count("recovered")),
            (3, 6, 1),
            "{text}"
        );
    }
}
