//! The append-only rule, as a command and as the guard of `pre-receive`.
#![cfg(unix)]
mod check;
mod guard;
mod reports;
mod signatures;
