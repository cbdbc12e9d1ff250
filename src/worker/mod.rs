//! Driver of the mirror of refs, and the only consumer of the journal.
//!
//! [`run()`] runs one cycle over one repository: lock, read the backlog, plan, push, read the refs back, settle.
//! [`wait()`] is the reader's side: it polls a watermark until a commit is visible. Both take the clock as a value.
mod alerts;
mod alike;
mod ancestry;
mod attempt;
mod backoff;
mod bisect;
mod broken;
mod choice;
mod comparison;
mod cycle;
mod cycle_end;
mod cycle_observer;
mod entries;
mod error;
mod false_watermark;
mod follow;
mod head;
mod journal_watcher;
mod lfs;
mod local_view;
mod lock;
mod memory;
mod missing;
mod options;
mod progress;
mod reconcile;
mod ref_watcher;
mod rejection;
mod remote_mirror;
mod report;
mod repository;
mod requests;
mod review;
mod root;
mod run;
mod schedule;
mod session;
mod share;
mod status;
mod sync;
mod token;
mod vanished;
mod wait;
mod watch;
mod watermarks;

pub use alerts::{Alerts, LAST_WAIT_OF_RUN, LAST_WAIT_OF_WATCH};
pub use alike::{alike, without_names};
pub use attempt::{EntryResults, Settled};
pub use backoff::{Backoff, Backoffs, Definite};
pub use choice::{Chosen, RemoteToRead, mirror_names, remotes_to_read};
pub use comparison::{ComparisonOutcome, FailedComparison};
pub use cycle::Cycle;
pub use cycle_observer::{CycleObserver, EndedCycle, Observers};
pub use error::RunError;
pub use false_watermark::{FalseWatermark, FalseWatermarkSeen, Judged, JudgedWatermark};
pub use head::{HeadDifference, StargateHead, compare_head, forge_at, stargate_head};
pub use lfs::head as lfs_head;
pub use lock::{LONGEST_SILENCE, WorkerLock, WorkerStatus};
pub use memory::{DifferingRef, Memory, RememberedMirror};
pub use missing::Missing;
pub use options::{Environment, Options, remote_name};
pub use progress::Progress;
pub use rejection::{Rejection, RejectionCause};
pub use report::{CycleOutcome, CycleReport, GroupOutcome, GroupReport, RefReport, RefVerdict};
pub use repository::Stargate;
pub use requests::Mirror;
pub use review::{NothingMirrored, SettingsFinding, review_settings};
pub use root::{FoundRepositories, find_repositories};
pub use run::run;
pub use schedule::{Schedule, Start, Target};
pub use share::{TALLY_FILE, forget_settled};
pub use status::{
    BrokenRef, ComparisonStatus, GroupStatus, RefsStanding, RepositoryStatus, TokenStatus, WatermarkStatus,
    refs_standing, status,
};
pub use sync::{Force, ForceError, SyncRef, SyncReport, compare_refs, force};
pub use token::{RememberedToken, TokenExpiry, WARNED_BEFORE, with_last_acceptance};
pub use wait::{
    Expected, Fence, RefFence, RefsOutcome, RemoteFence, RemoteRefFence, Seen, SeenRefs, WaitOutcome, wait,
    wait_for_refs,
};
pub use watch::{Event as WatchEvent, QUIET, SharedEnvironment, Watched, channel as watch_channel, watch};
pub use watermarks::false_watermarks;
