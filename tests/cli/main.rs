//! The program as a person meets it: its output, its secrets, its journal commands, its documentation; and the house of its sources.
#![cfg(unix)]
mod canary;
mod docs;
mod house;
mod journal;
mod output;
