//! Events from a reader, one JSON object per line (NDJSON), such as standard input. Empty lines are skipped. An
//! overlong line is cut to the length of the longest event, which bounds the memory.
use std::io::{self, BufRead};

use super::Arrival;
use crate::event::MAX_EVENT;
use crate::journal::Lines;

/// Passes every line to `take`, until the reader ends or `take` returns false.
///
/// # Errors
/// The reader cannot be read.
pub fn read(reader: impl BufRead, mut take: impl FnMut(Arrival) -> bool) -> io::Result<()> {
    // One byte more than the longest event, so that a longer one is refused as such.
    let mut lines = Lines::new(reader, 0, MAX_EVENT + 1);
    while let Some(line) = lines.next_line()? {
        let text = line.start.trim_ascii();
        if !text.is_empty() && !take(Arrival::parse(text)) {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str) -> String {
        format!(
            r#"{{"event_id":"{id}","feed_id":"f","type":"t","author_identity_id":"a","source":{{"platform":"p","adapter_id":"a","source_msg_id":"{id}"}},"ts":"2026-01-10T12:00:00Z","payload":{{}}}}"#
        )
    }

    fn ids(input: &[u8]) -> Vec<Option<String>> {
        let mut ids = Vec::new();
        read(io::BufReader::with_capacity(7, input), |arrival| {
            ids.push(arrival.event.ok().map(|event| event.event_id().to_owned()));
            true
        })
        .expect("memory can be read");
        ids
    }

    #[test]
    fn every_line_is_an_event_and_a_bad_one_hides_no_good_one() {
        let long = format!("{{\"x\":\"{}\"}}", "x".repeat(2 * MAX_EVENT));
        let input = format!(
            "{}\r\n\n  \n{{\n{long}\n{}\nnull\n{}",
            event("1"),
            event("2"),
            event("3")
        );
        let found = ids(input.as_bytes());
        let expected = [Some("1"), None, None, Some("2"), None, Some("3")];
        assert_eq!(found, expected.map(|id| id.map(str::to_owned)));
        assert_eq!(ids(b""), []);
        assert_eq!(ids(b"\n\n"), []);
    }

    #[test]
    fn it_stops_when_take_returns_false() {
        let input = format!("{}\n{}\n", event("1"), event("2"));
        let mut taken = 0;
        read(input.as_bytes(), |_| {
            taken += 1;
            false
        })
        .expect("memory can be read");
        assert_eq!(taken, 1);
    }
}
