//! The command line as a user meets it: output, secrets, journal commands, documentation; and the structure of the
//! sources.
#![cfg(unix)]
mod canary;
mod docs;
mod hints;
mod house;
mod journal;
mod output;
