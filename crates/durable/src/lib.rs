//! Durable files, time and retries, in a form that tests can replace.
//!
//! [`storage`] is the only place that fsyncs, locks and renames. [`clock`] provides time and randomness as values.
//! [`retry`] defines the number of attempts and the delays between them.
pub mod clock;
pub mod retry;
pub mod storage;
