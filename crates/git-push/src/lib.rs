//! The push engine, which git calls `send-pack`. It opens no socket, and is independent of mirrors.
//!
//! A [`Push`] negotiates capabilities and the object format, packs the objects that the remote lacks, and passes both to a
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
//! Refspecs are in [`refspec`], leases in [`lease`], git's rules on rewinds in [`ruling`], pushes in parts in [`parts`].
//!
//! Calls block until the server has answered. In asynchronous code, run them on a thread for blocking work. Connections of
//! `git-push-transport` are `Send`:
//!
//! ```
//! use git_push::{Command, Connection, Push};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # gix::init_bare(folder.path().join("remote.git"))?;
//! # let repository = gix::init_bare(folder.path().join("r.git"))?.with_object_memory();
//! # let new = repository.write_blob("hello")?.detach();
//! # let mut connection = git_push_transport::local::Local::open(&folder.path().join("remote.git"))?;
//! # let flag = std::sync::Arc::default();
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let report = tokio::task::spawn_blocking(move || {
//!     let advertisement = connection.advertisement()?;
//!     let command = Command::set("refs/tags/hello", &advertisement, new);
//!     Push::new(&repository, &advertisement).command(command).interrupt(&flag).send(&mut connection)
//! })
//! .await??;
//! # assert!(report.all_accepted());
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Layers
//!
//! Modules use only modules on lower lines, or to the left on the same line:
//!
//! ```text
//! session                                            one push, whole or in parts
//! pack                                               the pack: order, deltas, output
//! enumerate                                          selection of objects
//! filler, sizes                                      temporary commits and sizes, for pushes in parts
//! list, delta, bitmap, reuse, bit_order              objects to send, forms of objects
//! refspec, lease, fast_forward, ruling, parts        decisions before a push
//! advertisement, negotiation, certificate, request,  the protocol
//!   report_status
//! pkt_line, monitor                                  lines; progress and interruption
//! connection, commit_graph, loose, reverse_index,    the remote; the local objects, whose files object_files opens;
//!   object_files, objects, observer, wire_error      the peer's errors
//! pipe, remote, command, progress, error             a pack on its way; values, text for a person
//! ```
//!
//! [`repository`] stands alone.
//!
//! # Failures
//!
//! An [`Error`] has an [`ErrorKind`], which says whose [`fault()`](Error::fault()) it is and whether a retry can succeed
//! ([`is_retryable()`](Error::is_retryable())). After [`ErrorKind::Uncertain`] the push may have been carried out: read
//! the refs back. A rejected command is not an error: its [`Verdict`] has the reason.
//!
//! # No verdict before the report
//!
//! A [`Request`] has commands and no verdicts. Only [`report_status::Parser`] makes verdicts from a server's bytes. It
//! returns them all at once, by [`finish()`](report_status::Parser::finish()). Half a report is an error.
//!
//! ```compile_fail,E0599
//! # use git_push::{Request, report_status::Parser};
//! # fn early(request: &Request, bytes: &[u8]) {
//! let mut parser = Parser::new(request);
//! parser.feed(bytes).unwrap();
//! parser.verdict("refs/kv/main".into()); // There is no such method and no such field.
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
//! assert!(parser.finish().is_err(), "the flush-pkt is missing, so the report is not complete");
//!
//! let mut parser = Parser::new(&request);
//! parser.feed(b"000eunpack ok\n0013ok refs/kv/main0000").unwrap();
//! let report = parser.finish().unwrap();
//! assert_eq!(report.verdict("refs/kv/main".into()), Some(&Verdict::Accepted));
//! ```
pub mod advertisement;
pub mod certificate;
pub mod lease;
pub mod parts;
pub mod pkt_line;
pub mod refspec;
pub mod report_status;
pub mod repository;
pub mod request;
pub mod ruling;

// For the other crates of this workspace, which make deltas of their own, and for tests that compare lists, packs and deltas
// with those of git, or read damaged bitmaps and reverse indices. No part of the API: they may change in any version.
#[doc(hidden)]
pub mod bitmap;
#[doc(hidden)]
pub mod delta;
#[doc(hidden)]
pub mod enumerate;
#[doc(hidden)]
pub mod list;
#[doc(hidden)]
pub mod pack;
#[doc(hidden)]
pub mod reverse_index;

mod bit_order;
mod command;
mod commit_graph;
mod connection;
mod error;
mod fast_forward;
mod filler;
mod loose;
mod monitor;
mod negotiation;
mod object_files;
mod objects;
mod observer;
mod pipe;
mod progress;
mod remote;
mod reuse;
mod server_words;
mod session;
mod sizes;
mod wire_error;

pub use command::{Command, Report, ReportedUpdate, Verdict};
pub use connection::{Connection, Pack, Request, SentBytes, SpooledPack, Traffic};
pub use error::{Error, ErrorKind, Party, Remedy, causes};
pub use fast_forward::fast_forward;
pub use negotiation::{Options, negotiate};
pub use observer::{Observer, Stage};
pub use progress::{MAX_LINE, MAX_LINES, cleaned};
pub use remote::{Advertisement, Capabilities, RemoteRef};
pub use server_words::{MAX_WORDS, MAX_WORDS_BYTES, kept_words};
pub use session::Push;
pub use wire_error::{Fault, WireError};

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
