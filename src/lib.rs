//! Carries every ref update that a self-hosted Git server (a *Stargate*) accepts to its *mirror*, tells readers
//! when it is visible there, and never loses one. Pure Rust on gitoxide; no git binary is needed at run time.
//!
//! ```text
//!   client --git push--> Stargate (bare repository)
//!                           | pre-receive, post-receive: hook
//!                           v
//!                  .stargate/mirror-journal.ndjson: journal
//!                           | backlog
//!                           v
//!   local refs ---> worker::cycle ---> mirror::plan ---> groups of commands
//!                           |                                 |
//!                           |                                 v
//!                           |                git_push: negotiate, pack, request
//!                           |                                 |
//!                           v                                 v
//!                 mirror::settlement <--verdicts-- git_push_transport: http, … ---> mirror
//!                           |                                                       ^
//!                           v                                                       |
//!                  journal: done, pending              wait: polls refs/kv-mirror/<ns>
//!
//!   relay, or standard input --events::source--> batch --> context repository --events::pusher--> mirror
//! ```
//!
//! # The house
//!
//! This is one package of a workspace. The others know neither a mirror nor a journal, and none of them knows this one:
//!
//! ```text
//! crates/git-push            PURE wire: pkt_line, advertisement, request, report_status; what may be pushed: refspec, lease,
//!                            ruling; packs: enumerate (what), base and delta (as what), reuse and bitmap (what is packed
//!                            already), pack (the writer); session (one push). No socket, no program is run
//! crates/git-push-transport  remote (one type for a mirror, whatever its URL), http, stream (ssh, git://), local; settings,
//!                            credentials, upload_pack (PURE: reading), fetch; web (a service that is asked over HTTP)
//! crates/durable             storage (the only place that fsyncs, locks, renames), clock, retry
//! ```
//!
//! In this package, imports point downward only; a test reads the `use` lines and fails when one points up.
//!
//! ```text
//! main.rs, bin/stargate-hook.rs   argv in, exit code out
//! cli        one file per subcommand, report (library error -> hint, exit code), output; printing lives here
//!
//! worker     driver of the refs' mirror: watch (many repositories), schedule, notice; run (one), cycle (attempts), sending
//!            (pushes of one), remote_mirror, memory, trouble, comparison, missing, repository, root (all below a folder), lock,
//!            report; watermarks (false ones are set back), ancestry; sync, wait
//! relay      a source of events over HTTP: server (connections), routes, access, body (memory budget), answer, page (PURE),
//!            stream (listeners), connection (stall timeout); store, commit (the writing thread), replay (the log at start),
//!            index (PURE), line
//! by_refspec driver of one push, as `git push` makes it: run, driver, tracking (remote-tracking refs)
//! events     driver of the context repository: source (relay with sse, page and cursors; lines of standard input), inbox and
//!            batch, context (commit, queries, instance), branch, work_tree, replace (durable replacement of files), tree_buffer
//!            and trees (trees edited in memory), event_ids, objects, difference, new_pack and packs, publish, rebase,
//!            unpushable, refused, pusher and push_schedule, lock_file, settings, target, run
//! hook       pre_receive (intent, or rejection), guard (append-only), post_receive (entries), chained, input, head, objects,
//!            push (identity, meta), large_blobs, account (log, words to the pusher), install, durability (core.fsync)
//!
//! mirror     PURE: plan (entries + refs + the remote's refs -> groups of commands), grouping, settlement, reconcile, watermark
//! journal    folder (whose it is), format (prose first), status, entry, line, reader and backlog (never write), scan (what
//!            need not be read again), writer (lock), append, settle, repair, rotation, segment, intent, recovery (intents to entries);
//!            tail and log (the same for lines of other kinds)
//!
//! refs       the local refs, one or all: an id, absent, or unreadable and why; loose, packed
//! config     git config [stargate] -> one Config
//! append_only  PURE: paths; compare (two trees), renames, history (which commits are new), range, schema
//! ref_update, ref_pattern, event, odd_name    values that everything may use
//! ```
//!
//! # What is nowhere to be found
//!
//! - A git binary, or a call of one. The programs that git configuration names are run: `ssh`, and `credential.helper`
//!   (those that are named without a path are programs of git).
//! - A token in a file, a log line, an error or a process title: tokens are `secrecy` types from the environment to
//!   the header.
//! - A command whose old id comes from the journal: it is what the mirror has, advertised or read back.
//! - Network code in `stargate-hook`: it reaches `hook`, `journal`, the ground floor, and no crate for pushes.

pub mod cli;

pub mod by_refspec;
#[cfg(feature = "events")]
pub mod events;
pub mod hook;
#[cfg(feature = "relay")]
pub mod relay;
pub mod worker;

pub mod journal;
pub mod mirror;
pub mod refs;

pub mod append_only;
pub mod config;
pub mod event;
pub mod odd_name;
pub mod ref_pattern;
pub mod ref_update;
