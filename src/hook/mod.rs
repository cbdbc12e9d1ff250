//! What runs inside git's hooks.
