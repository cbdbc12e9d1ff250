//! The journal of ref updates.
