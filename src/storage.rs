//! The only place that fsyncs, locks and renames.
