//! Properties that hold for any bytes, with a function for each parser of foreign data.
//!
//! `fuzz/run` looks for bytes that violate them. The test beside this module runs the seeds and every input that was
//! ever found.
pub mod advertisement;
pub mod bitmap;
pub mod delta;
pub mod event;
pub mod hook_input;
pub mod journal_lines;
pub mod pkt_line;
pub mod refspec;
pub mod reftable;
pub mod report_status;
pub mod upload_pack;

/// A name, and a function that panics if the property does not hold for the given bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All of them. Each has its seeds and findings in `fixtures/fuzz/<name>/`.
pub const TARGETS: [Target; 11] = [
    ("advertisement", advertisement::check),
    ("bitmap", bitmap::check),
    ("delta", delta::check),
    ("event", event::check),
    ("hook_input", hook_input::check),
    ("journal_lines", journal_lines::check),
    ("pkt_line", pkt_line::check),
    ("refspec", refspec::check),
    ("reftable", reftable::check),
    ("report_status", report_status::check),
    ("upload_pack", upload_pack::check),
];

/// Splits off the first byte, which selects one of the variants of a test.
pub fn control(bytes: &[u8], variants: u8) -> (u8, &[u8]) {
    match bytes.split_first() {
        Some((first, rest)) => (first % variants, rest),
        None => (0, bytes),
    }
}

/// Splits `bytes` into pieces of 1 to 16 bytes. Their first bytes determine the lengths, so that lines are cut
/// anywhere.
pub fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(rest.first()? % 16) + 1;
        let (piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        Some(piece)
    })
}

/// Returns proper prefixes of `bytes`, up to 16 of them, spread over its length.
pub fn beginnings(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let step = bytes.len() / 16 + 1;
    (0..bytes.len()).step_by(step).map(move |end| &bytes[..end])
}
