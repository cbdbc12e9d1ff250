//! Lines of a journal: an entry is read as it was written, and a bad line does not hide a good one.
use std::io::BufReader;

use stargate_mirror::journal::{BLOCK, Backlog, Entry, Item, Located, MAX_PROBLEMS, Reader, decode, encode};

use super::{beginnings, control};

/// The first byte determines the number of bytes that are read at a time, and the place of the first line in a block.
pub fn check(bytes: &[u8]) {
    let (start, bytes) = control(bytes, 255);
    let offset = u64::from(start) * BLOCK / 255;
    let whole = read(bytes, offset, 4096);
    assert_eq!(
        told(&read(bytes, offset, usize::from(start) % 37 + 1)),
        told(&whole),
        "in pieces"
    );
    for beginning in beginnings(bytes) {
        let complete = beginning
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |feed| feed + 1);
        let part = told(&read(&beginning[..complete], offset, 4096));
        assert_eq!(
            part[..],
            told(&whole)[..part.len()],
            "what follows changes nothing before it"
        );
    }
    for located in whole.iter().filter_map(entry) {
        check_entry(located, bytes, offset);
    }
    check_backlog(&whole, bytes, offset);
    check_next_line(bytes, offset);
}

fn read(bytes: &[u8], offset: u64, capacity: usize) -> Vec<Item> {
    let reader = Reader::new(BufReader::with_capacity(capacity, bytes), offset);
    reader.map(|item| item.expect("memory can be read")).collect()
}

fn told(items: &[Item]) -> Vec<String> {
    items.iter().map(|item| format!("{item:?}")).collect()
}

fn entry(item: &Item) -> Option<&Located> {
    match item {
        Item::Entry(located) => Some(located),
        Item::Problem(_) => None,
    }
}

fn check_entry(located: &Located, bytes: &[u8], offset: u64) {
    let end = offset + bytes.len() as u64;
    let (place, entry) = (&located.place, &located.entry);
    assert!(offset <= place.offset && place.offset < place.status.start && place.status.end < end);
    assert!(
        place.status.end - place.status.start <= 9,
        "no more than a status is ever overwritten"
    );
    let line = encode(entry, place.offset);
    let again = decode(line.strip_suffix(b"\n").expect("a line feed"), place.offset).expect("an entry");
    let milliseconds = |entry: &Entry| Entry {
        timestamp: jiff::Timestamp::from_millisecond(entry.timestamp.as_millisecond()).expect("it was one"),
        ..entry.clone()
    };
    assert_eq!(again.entry, milliseconds(entry));
    let status = again.place.status;
    assert_eq!(
        (status.end - status.start, status.start / BLOCK),
        (9, (status.end - 1) / BLOCK)
    );
    assert_eq!(encode(&again.entry, place.offset), line);
}

/// Everything is counted, but only a limited number of problems is kept.
fn check_backlog(items: &[Item], bytes: &[u8], offset: u64) {
    let backlog = Backlog::collect(read(bytes, offset, 4096).into_iter().map(Ok)).expect("memory can be read");
    let entries = items.iter().filter_map(entry).count() as u64;
    let copies: usize = backlog.pending.iter().map(|located| located.copies.len()).sum();
    let counts = backlog.counts;
    assert_eq!(counts.pending, backlog.pending.len() as u64);
    assert_eq!(
        counts.pending + counts.done + counts.failed + counts.skipped + copies as u64,
        entries
    );
    assert!(backlog.problems.len() <= MAX_PROBLEMS && backlog.problems.len() as u64 <= backlog.problem_count);
}

/// A good line is read, regardless of the lines before it.
fn check_next_line(bytes: &[u8], offset: u64) {
    let id = "01JBAXF5Z8J8M7R2TK7G9QW3EN";
    let (old, new) = ("a1".repeat(20), "0f".repeat(20));
    let line = format!(
        r#"{{"entry_id":"{id}","timestamp":"2025-10-26T12:34:56.789Z","event":"ref_update","ref":"refs/kv/main","old_oid":"{old}","new_oid":"{new}","pusher":null,"repo":null,"source":"post-receive","status":"pending","meta":null}}"#
    );
    let longer = [bytes, b"\n", line.as_bytes(), b"\n"].concat();
    let items = read(&longer, offset, 4096);
    let last = items.last().and_then(entry).expect("the good line");
    assert_eq!(last.entry.entry_id.to_string(), id);
    assert_eq!(last.place.offset, offset + bytes.len() as u64 + 1);
}
