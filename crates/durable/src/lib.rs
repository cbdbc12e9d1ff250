//! What must survive a crash, and what must be repeatable in a test: [`storage`] is the only place that fsyncs, locks and
//! renames; [`clock`] gives time and randomness as values; [`retry`] says how often something is tried.
pub mod clock;
pub mod retry;
pub mod storage;
