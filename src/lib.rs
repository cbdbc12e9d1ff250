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
//! This package is one of a workspace. The other crates are independent of the mirror and the journal, and none of them
//! depends on this package:
//!
//! ```text
//! crates/git-push            push engine. PURE protocol: pkt_line, advertisement, negotiation, request, report_status.
//!                            Commands: refspec, lease, ruling. Packs: enumerate (which objects), base and delta (how they are encoded),
//!                            reuse and bitmap (data that is packed already), object_files (opens them), pack (writer).
//!                            session (one push, whole or in parts), parts (PURE: where it is cut). No socket, no process
//! crates/git-push-transport  remote (one type for a mirror of any URL), http, stream (ssh, git://), local; interfaces and their
//!                            defaults: http_client and ureq_client, credentials and git_credentials; settings (plain data);
//!                            upload_pack, head and fetch (PURE: reading); forge; web (client of other HTTP services)
//! crates/reftable            refs in reftables: a snapshot of a stack of tables, look-ups, iteration; transactions (with a lock and an fsync of their own)
//! crates/durable             storage (the only place that fsyncs, locks and renames), replace (whole files), ownership, clock,
//!                            retry, token_bucket
//! ```
//!
//! In this package, imports point downward only. A test reads the `use` lines and fails if one points up.
//!
//! ```text
//! main.rs, bin/stargate-hook.rs   arguments in, exit code out
//! cli        one file per subcommand; report (library error -> message, hint, exit code), output (all printing);
//!            doctor: facts (read) -> checks (PURE: verdicts, findings, hints)
//!
//! monitor    what monitors see of a running worker: state of the mirrors, mirror_state, readiness, labels, metrics, status_body
//!            (all PURE); gate (token), routes, page (for people), server; textfile (the metrics of a run)
//! worker     driver of the mirror of refs. Many repositories: watch, schedule, journal_watcher, ref_watcher, root (search below a folder).
//!            One mirror of one repository: choice (of the mirror), run (one cycle), session (repository under the lock), share
//!            (what all mirrors have in common: tally and lock), local_view (refs), entries (journal),
//!            reconcile, broken; cycle (attempts), attempt, requests, bisect (pushes of one attempt), remote_mirror, memory,
//!            backoff, rejection (the server's words), comparison, missing, repository, lock, report; cycle_observer (what monitors
//!            and alerts learn of each cycle); alerts (findings, place of their memory, delivery to a
//!            program or a URL); watermarks (resets
//!            false_watermark), ancestry; follow (settings without effect, HEAD of the mirror), head, progress. By hand and for
//!            readers: sync, status, wait, review (of the settings); options, error
//! relay      a source of events over HTTP: server, routes, access, body (memory budget), answer, page (PURE),
//!            stream (listeners); permission, tokens, policy (PURE); store, request and batch (PURE), commit
//!            (the writing thread), replica and follow (the same with a stream), replay (the log at start), index (PURE),
//!            log_line
//! porcelain  driver of a push, as `git push` makes it: run (one push per URL), destination (remotes and refspecs by git
//!            configuration), settings, driver, fate (PURE), tracking (remote-tracking refs); follow_tags, includes
//!            (--force-if-includes), pre_push, signing (push certificates), submodules
//! events     driver of the context repository. source (relay with sse, page and cursors; lines of standard input); ingest
//!            (inbox, batch, committer); repository (init, instance and lock_file, event_ids, changes, queries, refused);
//!            publish (publication, rebase, unpushable, tracking, pusher, push_schedule, target); context (the handle on all
//!            that), push_attempt, saved_cursors, settings, run
//! hook       pre_receive (intent or rejection), ref_names, guard (append-only), post_receive (entries), chained, input, head,
//!            object_folders, push (identity, meta), new_objects (large_blobs, lfs_objects), hook_output (log, messages to
//!            the pusher), rejections, configured (hooks in git's configuration), install, git_config, durability (core.fsync)
//!
//! object_store  durable Git repository with one branch, for any files: store (lock, transaction), branch, work_tree, tree_buffer
//!            and tree_cache (edited in memory), commit_object, objects, difference, new_pack, packs, maintenance, git_files
//!            (files that git writes, too)
//! http_server  HTTP/1 within limits, for relay and monitor: server (connections), caller (headers), stall_timeout,
//!            asset (files of pages)
//! nats       streams of JetStream, for relay and events: link (publish, follow), address, config and message (PURE)
//! mirror     PURE: plan (entries, local refs, remote refs -> groups of commands), grouping, settlement, reconcile, watermark,
//!            tally (entries that only some mirrors have settled), alerts (which are due)
//! lfs        Git LFS objects of a push. PURE: batch and action (what a server says), endpoint, failure. scan (pointers among
//!            the objects), source (files), server and folder (mirrors), transfer, lacked, carrier (all of that before a push)
//! journal    specified in prose; folder (ownership), entry, encode and decode, status, ids, segment; read only: line, reader,
//!            backlog, scan (which part need not be read again), visit, oldest; writer in front of access (locks), locked
//!            (the journal under its lock), append, settle, mend and renew (repairs), rotation, intend and intent, recovery
//!            (intents to entries); tail, quarantine and log (the same for lines of other kinds)
//!
//! local_repository  revision expressions and all refs of a repository with refs in files or tables: expression (PURE), tables;
//!            tracking_ref (sets a remote-tracking ref)
//! refs       local refs: an id, absent, or unreadable with the reason; files (loose, packed) or tables
//! config     section [stargate] of git configuration -> one Config for each mirror (mirrors)
//! append_only  PURE: paths; compare (two trees), renames, history (which commits are new), range, schema, signatures,
//!            odd_names
//! git_objects  PURE: reader (commits, trees, blobs), lookup (by path), difference (of two trees)
//! ref_update, ref_pattern, event, odd_name, lfs_pointer, uuid, openmetrics    values that every module may use; advice (on
//!            errors of libraries)
//! namespace  ref names of a namespace, by family; parts (temporary refs of pushes in parts)
//! ```
//!
//! # Invariants: what does not exist here
//!
//! - No call of a git binary. Only programs that git configuration or an option names are run: `ssh`, `credential.helper`
//!   (helpers named without a path belong to git), signers, `--receive-pack`; and the hook `pre-push`.
//! - No token in a file, a log line, an error or a process title. Tokens are `secrecy` types from the environment to
//!   the header.
//! - No command whose old id comes from the journal. The old id is the mirror's id, advertised or read back.
//! - No network code in `stargate-hook`. It reaches `hook`, `journal` and the modules below, and no crate for pushes.
//! - No reliance on a server's `ok` alone: the refs are read back first, unless `stargate.verify` is false.
//! - No absence from an error: a ref, an object or a journal that cannot be read is never treated as missing.

pub mod cli;

#[cfg(feature = "events")]
pub mod events;
pub mod hook;
#[cfg(feature = "relay")]
pub mod monitor;
pub mod porcelain;
#[cfg(feature = "relay")]
pub mod relay;
pub mod worker;

#[cfg(feature = "relay")]
mod http_server;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "events")]
mod object_store;

pub mod journal;
pub mod lfs;
pub mod local_repository;
pub mod mirror;
pub mod refs;

pub mod advice;
pub mod append_only;
pub mod config;
pub mod event;
pub mod git_objects;
pub mod lfs_pointer;
pub mod namespace;
pub mod odd_name;
#[cfg(any(feature = "events", feature = "relay"))]
mod openmetrics;
pub mod parts;
pub mod ref_pattern;
pub mod ref_update;
#[cfg(test)]
mod releasing_clock;
mod uuid;
