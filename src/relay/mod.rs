//! A relay: it takes events over HTTP, makes each durable before it answers, and hands them on to whoever asks or listens.
//!
//! ```text
//!   POST /feeds                      {"feed_id":"general"}: 201, when it is there already 200
//!   GET  /feeds, /feeds/{id}
//!   POST /feeds/{id}/events          an event: 201; when it is stored already 200, with what is stored
//!   GET  /feeds/{id}/events          a page: after_seq, or after_ts and after_id; limit
//!   GET  /feeds/{id}/stream          server-sent events; Last-Event-ID resumes
//!   GET  /health, /openapi.json
//! ```
//!
//! [`routes::OPENAPI`] describes bodies and answers. Everything that is wrong with a request is told in one answer,
//! `{"errors":[{"field":…,"problem":…}]}`.
//!
//! # Two orders
//!
//! Each event gets a number when it is stored, `seq`: greater than those of all events before it, of any feed. It is the
//! `id:` of a stream, and stands beside the event in every answer. `ts` is a time that the event's author gives.
//!
//! - In the order of arrival (`after_seq=N`, or a stream with `Last-Event-ID: N`) nothing is missed: what comes late comes last.
//!   Pages and stream are one sequence, so that a reader who pages to the end and listens from there has everything once.
//! - In the order of `(ts, event_id)` (`after_ts`, `after_id`, or neither) events stand as they happened. An event
//!   that arrives late stands before what was read already, and whoever goes on from there does not see it: this order is
//!   for reading what there is, not for keeping up. `after_ts` alone includes the events of exactly that time.
//!
//! A page's `next` has the members of the query for the page behind it, and is null when there is none at present.
//!
//! # Twice is once
//!
//! Within a feed an event is known by its `event_id`, and by `(source.platform, source.source_msg_id)`. When an event under a
//! known id or from a known source has the same content, the answer is 200 with the stored event. The same content means
//! everything but `event_id` and `ts`, as JSON: the order of members does not matter. Other content is refused with 409: the
//! answer has the stored event, and the log has a line. Two feeds know nothing of each other.
//!
//! # Durability
//!
//! One thread writes ([`store`], [`crate::journal::log`]). What arrives while it waits for the disk is written together afterwards, with
//! one fsync, and is shown to readers and answered only then. When the disk leaves in doubt what is on it, the relay
//! answers 503, ends with an error, and finds out when it is started again: what it has answered is there.
//!
//! # Bounds
//!
//! An event has 1 MiB at most, a page 1000 events or 8 MiB. Bodies of requests share 64 MiB, beside 4 KiB that each connection
//! has for itself, and take memory as their bytes arrive. A body arrives within the idle timeout, and at least 4 KiB of it in
//! each third of that. 1024 requests wait for the disk at most. Pages, until they are sent, share another 56 MiB. There are
//! [`server::MAX_CONNECTIONS`] connections and [`store::MAX_FEEDS`] feeds. Memory is some 350 bytes for each event that is stored, and a few kilobytes for a
//! connection. A connection that takes nothing for the idle timeout, although there is something for it, is closed, as is
//! one that sends nothing of a request that it began. A listener that was closed resumes from the disk.
//!
//! # Limitations
//!
//! - Events are never removed, and all of them are read when the relay starts.
//! - A folder on a network file system may be given to two relays of two machines, where its locks do not work.
//! - Plain HTTP/1.1: TLS is a reverse proxy's affair.
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
