//! Pure decisions of the mirror.
