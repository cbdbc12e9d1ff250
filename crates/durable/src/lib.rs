//! Durable files, time and retries, in a form that tests can replace.
//!
//! [`storage`] is the only place that fsyncs, locks and renames. [`replace`] uses these operations to replace whole
//! files. [`ownership`] decides on owners and modes of new files. [`clock`] provides time and randomness as values.
//! [`retry`] defines the number of attempts and the delays between them, [`token_bucket`] limits a rate.
pub mod clock;
pub mod ownership;
pub mod replace;
pub mod retry;
pub mod storage;
pub mod token_bucket;
