//! Ways to reach a mirror.
