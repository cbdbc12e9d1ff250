//! Plain HTTP/1.1 on one thread, within limits and timeouts, for the relay and for monitors. Routes come from the caller.
//!
//! A connection is closed if it does not read pending data, or sends nothing of a request that it began, for the idle
//! timeout. The number of connections, the headers of a request and the buffers are limited.
mod asset;
mod caller;
mod server;
mod stall_timeout;

pub use asset::{CSS, HTML, SCRIPT, asset};
pub use caller::{bearer, has_several_hosts, is_local};
pub use server::{Limits, Peer, Server, Stop, listen};
