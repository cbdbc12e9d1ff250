//! The push engine: what git calls `send-pack`, without a socket in it. It knows nothing of mirrors.
//!
//! [`push()`] negotiates (capabilities, object format), packs what the remote lacks, and hands both to a
//! [`Connection`], which is the only thing here that reaches a remote; `transport` implements it. Everything that
//! parses takes bytes and gives values.
//!
//! Implements gitprotocol-pack (*Pushing Data To a Server*), gitprotocol-capabilities, gitprotocol-common.
pub mod advertisement;
pub mod enumerate;
pub mod lease;
pub mod pack;
pub mod pkt_line;
pub mod refspec;
pub mod report_status;
pub mod request;
pub mod ruling;

mod command;
mod connection;
mod error;
mod fast_forward;
mod objects;
mod observer;
mod progress;
mod session;
mod wire_error;

pub use command::{Command, Report, Verdict};
pub use connection::{Advertisement, Capabilities, Connection, Pack, RemoteRef, Request, Traffic};
pub use error::{Error, Outcome, causes};
pub use fast_forward::fast_forward;
pub use observer::{Observer, Stage};
pub use progress::{MAX_LINE, MAX_LINES, cleaned};
pub use session::{Options, negotiate, push, push_observed};
pub use wire_error::{Fault, WireError};
