//! A relay: it accepts events over HTTP, makes each durable before it responds, and delivers them to readers and listeners.
//!
//! ```text
//!   POST /feeds                      {"name", "policy_json"?, "feed_id"?}: 201, or 200 if it exists
//!   GET  /feeds, /feeds/{id}
//!   PUT  /feeds/{id}/policy          any JSON: the feed
//!   POST /feeds/{id}/events          an event: 201, or 200 with the stored event if it exists
//!   GET  /feeds/{id}/events          a page: after_seq, or after_ts and after_id; limit
//!   GET  /feeds/{id}/stream          server-sent events; Last-Event-ID or after_seq resumes
//!   GET  /stream?feed=…&feed=…       the same of several feeds
//!   PUT  /feeds/{id}/confirmed       {"by", "seq"}: a mirror has all events up to this number
//!   GET  /health, /healthz, /readyz, /openapi.json
//!   GET  /, /status, /metrics        for people and monitors
//! ```
//!
//! This is the Context Repo Protocol 0.1, with extensions. `/v1` in front of a path is the same path.
//! [`routes::OPENAPI`] describes bodies and responses. An error response is `{"error":…}`. If the request is invalid,
//! `details` lists all its problems: `[{"field":…,"problem":…}]`.
//!
//! # Two orders
//!
//! Each event gets a number when it is stored, greater than those of all earlier events of any feed. It is the `id:` of a
//! stream, and the header `Relay-Seq` of a response: that of the event, or of the last event of a page. `ts` is a time that the
//! event's author gives.
//!
//! - In the order of arrival (`after_seq=N`, or a stream with `Last-Event-ID: N`), nothing is missed: late events come last.
//!   Pages and stream are one sequence. A reader who pages to the end and streams from there gets each event once.
//! - In the order of `(ts, event_id)` (`after_ts`, `after_id`, or neither), events are sorted by time. A reader who continues
//!   after an event does not see late events with an earlier time. This order is for reading stored events, not for keeping
//!   up. `after_ts` alone excludes the events of exactly that time.
//!
//! Pages and streams can be limited to events of some types and authors.
//!
//! The header `Link` has the next page, with `rel="next"`. It is missing if there is none at present.
//!
//! # Idempotence
//!
//! An event is identified by its `event_id`, and by `(source.platform, source.source_msg_id)` unless the latter is
//! null, in all feeds. If an event with a known id or source has the same content, the response is 200 with the stored
//! event. The content is everything except the members that only describe the delivery: `event_id`, `feed_id`, `ts` and
//! `source.adapter_id`. The order of members does not matter. Other content is refused with 409, and so is an
//! `event_id` that differs from a stored one only in case: the response has the stored event, and a line is logged. The
//! signatures of two signed events may differ, because a signature covers these members, too.
//!
//! # Signatures and policies
//!
//! An event with a wrong signature ([`crate::event`]) is refused with 400. An event that the policy of the feed does
//! not allow is refused with 403. Stored events are not checked again.
//!
//! # Durability
//!
//! One thread writes ([`store`], [`crate::journal::log`]). Requests that arrive while it waits for the disk are written
//! together afterwards, with one fsync, and only then answered and shown to readers. If a disk error leaves the state of the
//! file unknown, the relay answers 503, and ends with an error. The next start reads the file; every acknowledged event is in it.
//!
//! # Index
//!
//! The log is the truth. Its index is in the folder `index`, beside it, and is made from it: a thread of its own writes
//! it, without delaying writers. At the start the relay reads only the lines that the index does not have. An index
//! that is missing, damaged, of another log, or has lines that the log lost is rebuilt from the whole log. If the
//! damage is found later, because each block is checked when it is read, requests that need it are answered with 500,
//! and the relay ends with an error.
//!
//! # Retention
//!
//! The log is divided into segments ([`retention`]). With `--keep` or `--keep-bytes`, the oldest segments are removed
//! as soon as all of their events have been confirmed by the mirrors of their feeds, and never before. A feed without a
//! mirror keeps all of its events, and those of other feeds in the same and later segments. The ids and sources of
//! removed events are kept permanently: if such an event is sent again, the answer is 410. The header `Relay-First-Seq`
//! of pages and streams has the first number after all events that were removed. Pages and streams from an earlier
//! number begin there.
//!
//! # Several machines
//!
//! With `--store` (feature `nats`), the truth is a stream of NATS JetStream, which any number of relays share, and the log is a
//! copy of it. The writing thread publishes what is new, and copies it once the stream has acknowledged it, or once a consumer
//! delivers it from another relay. All that reads is the same. The numbers are those of the stream. Nothing is removed.
//!
//! # Bounds
//!
//! An event has at most 1 MiB, a page at most 1000 events (100 in the order of time) or 8 MiB. Request bodies share 64
//! MiB, besides 4 KiB for each connection, and take memory as their bytes arrive. A body must arrive within the idle
//! timeout, and at least 4 KiB of it in each third of that. At most 1024 requests wait for the disk. Writers come
//! first: at most [`store::TURNS`] readers load events at a time, a stream at most 128 events or 32 KiB before the next
//! reader has its turn, and writers are answered before listeners are woken. Pages share another 56 MiB until they are
//! sent. There are at most [`server::MAX_CONNECTIONS`] connections and [`store::MAX_FEEDS`] feeds. Memory does not grow
//! with the number of stored events: the index has at most twice 65,536 events in memory (about 500 bytes each; usually
//! 8,192), and 8 MiB of its files; the newest 16 MiB of events are kept for listeners. A connection takes a few
//! kilobytes. A connection is closed if it does not read pending data, or sends nothing of a request that it began, for
//! the idle timeout. A listener whose connection was closed resumes from the disk.
//!
//! # Limitations
//!
//! - Whole segments are removed, and only when events arrive, when a mirror confirms, and at the start.
//! - Lines of the log that were changed by hand with the same length are not noticed. To have the whole log read again,
//!   remove the folder `index`.
//! - On a network file system where locks do not work, relays on two machines could use the same folder.
//! - Plain HTTP/1.1: use a reverse proxy for TLS.
pub mod access;
mod access_log;
mod answer;
mod batch;
mod body;
mod commit;
mod confirmed;
pub mod cors;
mod filter;
mod folder;
#[cfg(feature = "nats")]
mod follow;
mod index;
mod indexer;
mod known;
mod log_line;
mod message;
mod metrics;
mod new_feed;
mod observe;
mod page;
pub mod permission;
mod policy;
mod recent;
mod refusal;
mod removed;
mod replay;
#[cfg(feature = "nats")]
mod replica;
mod request;
pub mod retention;
pub mod routes;
pub mod server;
pub mod store;
mod stream;
mod subscription;
pub mod tokens;
#[cfg(feature = "nats")]
mod turn;
mod web;
