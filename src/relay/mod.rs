//! A relay: it accepts events over HTTP, makes each durable before it responds, and delivers them to readers and listeners.
//!
//! ```text
//!   POST /feeds                      {"feed_id":"general"}: 201, or 200 if it exists
//!   GET  /feeds, /feeds/{id}
//!   POST /feeds/{id}/events          an event: 201, or 200 with the stored event if it exists
//!   GET  /feeds/{id}/events          a page: after_seq, or after_ts and after_id; limit
//!   GET  /feeds/{id}/stream          server-sent events; Last-Event-ID resumes
//!   GET  /health, /openapi.json
//! ```
//!
//! [`routes::OPENAPI`] describes bodies and responses. An error response lists all problems of a request,
//! `{"errors":[{"field":…,"problem":…}]}`.
//!
//! # Two orders
//!
//! Each event gets a number when it is stored, `seq`, greater than those of all earlier events of any feed. It is the `id:`
//! of a stream, and accompanies the event in every response. `ts` is a time that the event's author gives.
//!
//! - In the order of arrival (`after_seq=N`, or a stream with `Last-Event-ID: N`), nothing is missed: late events come last.
//!   Pages and stream are one sequence. A reader who pages to the end and streams from there gets each event once.
//! - In the order of `(ts, event_id)` (`after_ts`, `after_id`, or neither), events are sorted by time. A reader who continues
//!   after an event does not see late events with an earlier time. This order is for reading stored events, not for keeping
//!   up. `after_ts` alone includes the events of exactly that time.
//!
//! A page's `next` has the query parameters of the following page. It is null if there is none at present.
//!
//! # Idempotence
//!
//! Within a feed, an event is identified by its `event_id`, and by `(source.platform, source.source_msg_id)`. If an event with
//! a known id or source has the same content, the response is 200 with the stored event. The same content means everything
//! but `event_id` and `ts`, compared as JSON: the order of members does not matter. Other content is refused with 409: the
//! response has the stored event, and a line is logged. Feeds are independent of each other.
//!
//! # Durability
//!
//! One thread writes ([`store`], [`crate::journal::log`]). Requests that arrive while it waits for the disk are written
//! together afterwards, with one fsync, and only then answered and shown to readers. If a disk error leaves the state of the
//! file unknown, the relay answers 503, and ends with an error. The next start reads the file; every acknowledged event is in it.
//!
//! # Bounds
//!
//! An event has at most 1 MiB, a page at most 1000 events or 8 MiB. Request bodies share 64 MiB, besides 4 KiB for each
//! connection, and take memory as their bytes arrive. A body must arrive within the idle timeout, and at least 4 KiB of it in
//! each third of that. At most 1024 requests wait for the disk. Pages share another 56 MiB until they are sent. There are at
//! most [`server::MAX_CONNECTIONS`] connections and [`store::MAX_FEEDS`] feeds. Memory use is about 350 bytes for each stored
//! event, and a few kilobytes for a connection. A connection is closed if it does not read pending data, or sends nothing of a
//! request that it began, for the idle timeout. A listener whose connection was closed resumes from the disk.
//!
//! # Limitations
//!
//! - Events are never removed, and all of them are read when the relay starts.
//! - On a network file system where locks do not work, relays on two machines could use the same folder.
//! - Plain HTTP/1.1: use a reverse proxy for TLS.
pub mod access;
mod answer;
mod body;
mod commit;
mod connection;
mod index;
mod line;
mod page;
mod replay;
pub mod routes;
pub mod server;
pub mod store;
mod stream;
