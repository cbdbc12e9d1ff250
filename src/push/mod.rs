//! The push engine: what git calls `send-pack`, without a socket in it. It knows nothing of mirrors.
//!
//! [`push()`] negotiates (capabilities, object format), packs what the remote lacks, and hands both to a
//! [`Connection`], which is the only thing here that reaches a remote; `transport` implements it. Everything that
//! parses takes bytes and gives values.
//!
//! Implements gitprotocol-pack (*Pushing Data To a Server*), gitprotocol-capabilities, gitprotocol-common.
pub mod advertisement;
pub mod delta;
pub mod enumerate;
pub mod pack;
pub mod pkt_line;
pub mod report_status;
pub mod request;

mod base;
mod bitmap;
mod command;
mod connection;
mod error;
mod fast_forward;
mod objects;
mod progress;
mod reuse;
mod session;
mod wire_error;

pub use base::Base;
pub use command::{Command, Report, Verdict};
pub use connection::{Advertisement, Capabilities, Connection, Pack, RemoteRef, Request, Traffic};
pub use error::{Error, Outcome, causes};
pub use fast_forward::fast_forward;
pub use progress::{MAX_LINE, MAX_LINES, cleaned};
pub use session::{Options, negotiate, push};
pub use wire_error::{Fault, WireError};
