//! Mirrors every ref update that a self-hosted Git server (a *Stargate*) accepts to a *mirror*, reports to readers when it
//! is visible there, and never loses one. Pure Rust on gitoxide; no git binary is needed at run time.
//!
//! # Bird's-eye view
//!
//! The hook records each push in the journal. The worker reads the journal, plans groups of commands, pushes each group
//! atomically, reads the refs back, and marks the entries as done. A reader waits for the watermark, which moves in the
//! same push. The lower line shows the second use: a relay's events are committed to a context repository and pushed by the
//! same engine.
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
//! # Structure
//!
//! This package is one of a workspace. The other crates know neither the mirror nor the journal, and none of them depends
//! on this package:
//!
//! ```text
//! crates/git-push            push engine. PURE protocol: pkt_line, advertisement, request, report_status. Commands: refspec,
//!                            lease, ruling. Packs: enumerate (which objects), base and delta (how they are encoded), reuse
//!                            and bitmap (data that is packed already), pack (writer). session (one push). No socket, no process
//! crates/git-push-transport  remote (one type for a mirror of any URL), http, stream (ssh, git://), local; settings,
//!                            credentials, upload_pack and head (PURE: reading), fetch, forge; web (client of other HTTP services)
//! crates/reftable            reader of refs in reftables: a snapshot of a stack of tables, look-ups, iteration. Writes nothing
//! crates/durable             storage (the only place that fsyncs, locks and renames), clock, retry
//! ```
//!
//! In this package, imports point downward only. A test reads the `use` lines and fails if one points up.
//!
//! ```text
//! main.rs, bin/stargate-hook.rs   arguments in, exit code out
//! cli        one file per subcommand; report (library error -> message, hint, exit code), output (all printing)
//!
//! worker     driver of the mirror of refs. Many repositories: watch, schedule, journal_watcher, root (search below a folder).
//!            One repository: run (reconcile, broken, local_view, maintenance, follow), cycle (attempts), bisect (pushes of one
//!            attempt), remote_mirror, memory, backoff, comparison, missing, repository, lock, report; watermarks (resets
//!            false ones), ancestry, head, progress. By hand and for readers: sync, status, wait, review (of the settings)
//! relay      a source of events over HTTP: server (connections), routes, access, body (memory budget), answer, page (PURE),
//!            stream (listeners), connection (stall timeout); store, commit (the writing thread), replay (the log at start),
//!            index (PURE), line
//! porcelain  driver of a single push, as `git push` makes it: run, driver, tracking (remote-tracking refs)
//! events     driver of the context repository: source (relay with sse, page and cursors; lines of standard input), inbox and
//!            batch, context (commit, queries, instance), branch, work_tree, replace (durable replacement of files), tree_buffer
//!            and trees (trees edited in memory), event_ids, objects, difference, new_pack and packs, publish, rebase,
//!            unpushable, refused, pusher and push_schedule, lock_file, settings, target, run
//! hook       pre_receive (intent or rejection), guard (append-only), post_receive (entries), chained, input, head, objects,
//!            push (identity, meta), large_blobs, hook_output (log, messages to the pusher), install, durability (core.fsync)
//!
//! mirror     PURE: plan (entries, local refs, remote refs -> groups of commands), grouping, settlement, reconcile, watermark
//! journal    folder (ownership), format (specified in prose), status, entry, line, reader and backlog (read only), scan
//!            (which part need not be read again), writer (lock), append, settle, repair, rotation, segment, intent, recovery
//!            (intents to entries); tail and log (the same for lines of other kinds)
//!
//! refs       local refs: an id, absent, or unreadable with the reason; files (loose, packed) or tables
//! config     section [stargate] of git configuration -> one Config
//! append_only  PURE: paths; compare (two trees), renames, history (which commits are new), range, schema
//! ref_update, ref_pattern, event, odd_name    values that every module may use
//! ```
//!
//! # Invariants: what does not exist here
//!
//! - No call of a git binary. Only programs that git configuration names are run: `ssh`, and `credential.helper`
//!   (helpers named without a path belong to git).
//! - No token in a file, a log line, an error or a process title. Tokens are `secrecy` types from the environment to
//!   the header.
//! - No command whose old id comes from the journal. The old id is what the mirror has, advertised or read back.
//! - No network code in `stargate-hook`. It reaches `hook`, `journal` and the modules below, and no crate for pushes.
//! - No reliance on a server's `ok` alone: the refs are read back first, unless `stargate.verify` is false.
//! - No absence from an error: a ref, an object or a journal that cannot be read is never treated as missing.

pub mod cli;

#[cfg(feature = "events")]
pub mod events;
pub mod hook;
pub mod porcelain;
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
