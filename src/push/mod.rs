//! The push engine: what git calls `send-pack`, without a socket in it. It knows nothing of mirrors.
//!
//! [`push()`] negotiates (capabilities, object format), packs what the remote lacks, and hands both to a
//! [`Connection`], which is the only thing here that reaches a remote; `transport` implements it. Everything that
//! parses takes bytes and gives values.
//!
//! Implements gitprotocol-pack (*Pushing Data To a Server*), gitprotocol-capabilities, gitprotocol-common.
mod command;
mod connection;
mod error;

pub use command::{Command, Report, Verdict};
pub use connection::{Advertisement, Capabilities, Connection, Pack, RemoteRef, Request, Traffic};
pub use error::{Error, Outcome};
