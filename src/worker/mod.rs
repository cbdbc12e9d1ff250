//! The driver of the refs' mirror.
