//! Names of repositories in log lines for people, if a command works on several.
//!
//! A cycle has a span with the field `repository`. Lines for people have no spans, so the name is kept for each thread.
use std::{cell::RefCell, fmt};

use tracing::{
    Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer,
    field::RecordFields,
    fmt::{
        FormatFields,
        format::{DefaultFields, Writer},
    },
    layer::Context,
    registry::LookupSpan,
};

/// Name of the field, in spans and in lines.
const FIELD: &str = "repository";

thread_local! {
    /// Repository of the cycle that this thread runs.
    static CURRENT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Layer that remembers the repository of each cycle.
pub(super) struct Remember;

/// Repository of a span.
struct OfSpan(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Remember {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut found = Found::default();
        attributes.record(&mut found);
        if let (Some(span), Some(repository)) = (context.span(id), found.0) {
            span.extensions_mut().insert(OfSpan(repository));
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        let span = context.span(id);
        if let Some(OfSpan(repository)) = span
            .as_ref()
            .and_then(|span| span.extensions().get::<OfSpan>().map(copy))
        {
            CURRENT.replace(Some(repository));
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        let span = context.span(id);
        if span.is_some_and(|span| span.extensions().get::<OfSpan>().is_some()) {
            CURRENT.replace(None);
        }
    }
}

fn copy(of_span: &OfSpan) -> OfSpan {
    OfSpan(of_span.0.clone())
}

/// Value of the field [`FIELD`].
#[derive(Default)]
struct Found(Option<String>);

impl Visit for Found {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == FIELD {
            self.0 = Some(format!("{value:?}"));
        }
    }
}

/// Fields of a line, with the repository of the cycle at the end unless the line names one itself.
pub(super) struct WithRepository;

impl<'w> FormatFields<'w> for WithRepository {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut named = Found::default();
        fields.record(&mut named);
        DefaultFields::new().format_fields(writer.by_ref(), fields)?;
        let current = CURRENT.with_borrow(Clone::clone);
        match current.filter(|_| named.0.is_none()) {
            Some(repository) => write!(writer, " {FIELD}={repository}"),
            None => Ok(()),
        }
    }
}
