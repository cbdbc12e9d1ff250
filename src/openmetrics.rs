//! Format of metrics.

/// Media type of metrics in the text format of OpenMetrics.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
