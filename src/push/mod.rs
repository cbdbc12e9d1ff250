//! The push engine.
