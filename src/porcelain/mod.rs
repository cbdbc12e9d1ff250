//! Driver of one push by refspecs, like `git push`. It reads the remote's refs, matches the refspecs, decides on each
//! update, sends the allowed ones, reads the refs back, and updates the remote-tracking refs.
//!
//! [`push()`] does this over any [`Connection`](git_push::Connection). [`run()`] resolves a configured remote first. The
//! decisions are pure functions in [`git_push`]. Configured remotes and remote-tracking refs are handled here, because the
//! engine is independent of them.
//!
//! ```
//! use git_push::refspec::Refspecs;
//! use git_push_transport::local::Local;
//! use stargate_mirror::local_repository::LocalRepository;
//! use stargate_mirror::porcelain::{self, Fate, Order, Tracking};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let remote = folder.path().join("remote.git");
//! # gix::init_bare(&remote)?;
//! # let repository = gix::init_bare(folder.path().join("r.git"))?;
//! # let blob = repository.write_blob("hello")?;
//! # let anything = gix::refs::transaction::PreviousValue::Any;
//! # repository.reference("refs/kv/greeting", blob, anything, "test")?;
//! let order = Order {
//!     refspecs: Refspecs::parse(["refs/kv/*", "^refs/kv/private"])?,
//!     ..Order::default()
//! };
//! let local = LocalRepository::open(repository.git_dir())?;
//! let tracking = Tracking::new(&local, None);
//! let refs = porcelain::push(&mut Local::open(&remote)?, &local, &tracking, &order, &())?;
//! assert_eq!(refs[0].name, "refs/kv/greeting");
//! assert_eq!(refs[0].fate, Fate::Accepted);
//! # Ok(())
//! # }
//! ```
mod destination;
mod driver;
mod error;
mod fate;
mod follow_tags;
mod includes;
mod pre_push;
mod report;
mod run;
mod settings;
mod signing;
mod submodules;
mod tracking;

pub use driver::{Order, ReadBack, push};
pub use error::PushError;
pub use report::{Context, Fate, PushOutcome, PushReport, RefReport, Update, Upstream};
pub use run::{Extent, Options, Outside, run};
pub use settings::{Signed, config_parameters};
pub use submodules::Recurse;
pub use tracking::Tracking;
