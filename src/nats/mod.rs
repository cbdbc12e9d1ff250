//! Feeds and events in a stream of NATS JetStream: connection, publishing, and reading. The relay writes the stream, and
//! `events run` can read it directly. [`message`] has the format.
//!
//! A stream has the messages of all feeds, in one order. Nothing is ever removed from it. Each message is published with the
//! number of the last one (`Nats-Expected-Last-Sequence`) and, behind another message of the same writer, the id of that
//! (`Nats-Expected-Last-Msg-Id`). So it is stored only if its writer knows all messages before it.
pub mod address;
pub mod config;
pub mod link;
pub mod message;
