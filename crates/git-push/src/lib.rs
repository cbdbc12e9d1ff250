//! The push engine: what git calls `send-pack`, without a socket in it. It knows nothing of mirrors.
//!
//! A [`Push`] negotiates capabilities and the object format, packs what the remote lacks, and hands both to a
//! [`Connection`]. Only a connection reaches a remote; the crate `git-push-transport` implements it. Parsers take bytes and
//! return values.
//!
//! Implements gitprotocol-pack (*Pushing Data To a Server*), gitprotocol-capabilities, gitprotocol-common.
//!
//! # A push
//!
//! The advertisement has the old ids of commands. [`Push::send()`] sends the commands with the objects that the remote lacks.
//! The [`Report`] has a [`Verdict`] on each command. [`Connection::read_refs()`] confirms it.
//!
//! ```
//! use git_push::{Command, Connection, Push, Verdict};
//! use git_push_transport::local::Local;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let remote = folder.path().join("remote.git");
//! # gix::init_bare(&remote)?;
//! // A repository whose new objects stay in memory.
//! let repository = gix::init_bare(folder.path().join("r.git"))?.with_object_memory();
//! let blob = repository.write_blob("hello")?.detach();
//!
//! let mut connection = Local::open(&remote)?;
//! let advertisement = connection.advertisement()?;
//! let name = bstr::BStr::new("refs/kv/greeting");
//! let report = Push::new(&repository, &advertisement)
//!     .command(Command::set(name, &advertisement, blob))
//!     .send(&mut connection)?;
//! assert_eq!(report.verdict(name), Some(&Verdict::Accepted));
//!
//! let refs = connection.read_refs(&[name.to_owned()])?;
//! assert_eq!(refs[0].id, blob);
//! # Ok(())
//! # }
//! ```
//!
//! Refspecs are in [`refspec`], leases in [`lease`], git's rules on rewinds in [`ruling`].
//!
//! Calls block until the server has answered. In asynchronous code, run them on a thread for blocking work. Connections of
//! `git-push-transport` are `Send`:
//!
//! ```ignore
//! let report = tokio::task::spawn_blocking(move || {
//!     let advertisement = connection.advertisement()?;
//!     let command = Command::set("refs/heads/main", &advertisement, new);
//!     Push::new(&repository, &advertisement).command(command).interrupt(&flag).send(&mut connection)
//! })
//! .await??;
//! ```
//!
//! # Failures
//!
//! An [`Error`] has an [`ErrorKind`], which says whose [`fault()`](Error::fault()) it is and whether a retry can succeed
//! ([`is_retryable()`](Error::is_retryable())). After [`ErrorKind::Uncertain`] the push may have been carried out: read
//! the refs back. A rejected command is no error, but a [`Verdict`].
//!
//! # No verdict before the report
//!
//! A [`Request`] has commands and no verdicts. The only thing that makes verdicts of a server's bytes,
//! [`report_status::Parser`], keeps them to itself until [`finish()`](report_status::Parser::finish()) takes the parser and
//! gives the whole report; half a report is an error.
//!
//! ```compile_fail,E0599
//! # use git_push::{Request, report_status::Parser};
//! # fn early(request: &Request, bytes: &[u8]) {
//! let mut parser = Parser::new(request);
//! parser.feed(bytes).unwrap();
//! parser.verdict("refs/kv/main".into()); // There is no such method, and no field that can be seen.
//! # }
//! ```
//!
//! ```
//! # use git_push::{Capabilities, Command, Options, Verdict, report_status::Parser};
//! # let id = gix::ObjectId::null(gix::hash::Kind::Sha1);
//! # let command = Command::create("refs/kv/main", gix::ObjectId::Sha1([1; 20]));
//! # let offered = Capabilities { list: vec![("report-status".into(), None)] };
//! # let request = git_push::negotiate(&offered, id.kind(), vec![command], &Options::default()).unwrap();
//! let mut parser = Parser::new(&request);
//! parser.feed(b"000eunpack ok\n0013ok refs/kv/main").unwrap();
//! assert!(parser.finish().is_err(), "the flush-pkt is missing: nobody knows what the server would have said");
//!
//! let mut parser = Parser::new(&request);
//! parser.feed(b"000eunpack ok\n0013ok refs/kv/main0000").unwrap();
//! let report = parser.finish().unwrap();
//! assert_eq!(report.verdict("refs/kv/main".into()), Some(&Verdict::Accepted));
//! ```
pub mod advertisement;
pub mod delta;
#[doc(hidden)] // For tests of this workspace that compare lists of objects with git's.
pub mod enumerate;
pub mod lease;
pub mod pack;
pub mod pkt_line;
pub mod refspec;
pub mod report_status;
pub mod request;
pub mod ruling;

mod base;
mod bitmap;
mod command;
mod connection;
mod error;
mod fast_forward;
mod monitor;
mod objects;
mod observer;
mod progress;
pub mod repository;
mod reuse;
mod server_words;
mod session;
mod wire_error;

pub use base::Base;
pub use command::{Command, Report, Verdict};
pub use connection::{Advertisement, Capabilities, Connection, Pack, RemoteRef, Request, Traffic};
pub use error::{Error, ErrorKind, Party, causes};
pub use fast_forward::fast_forward;
pub use observer::{Observer, Stage};
pub use progress::{MAX_LINE, MAX_LINES, cleaned};
pub use server_words::{MAX_WORDS, MAX_WORDS_BYTES, kept_words};
pub use session::{Options, Push, negotiate};
pub use wire_error::{Fault, WireError};

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
