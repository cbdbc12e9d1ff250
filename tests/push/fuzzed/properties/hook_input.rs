//! A hook's standard input, compared with a parser that gets it in one piece.
use std::io::BufReader;

use stargate_mirror::{
    hook::input::{MAX_INPUT_LINE, RefUpdates, Why},
    ref_update::RefUpdate,
};

use super::control;

/// The first byte is the number of bytes that are read at a time.
pub fn check(bytes: &[u8]) {
    let (size, bytes) = control(bytes, 64);
    let read: Vec<_> = RefUpdates::new(BufReader::with_capacity(usize::from(size) + 1, bytes)).collect();
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let last = lines.pop().filter(|rest| !rest.is_empty());
    assert_eq!(read.len(), lines.len() + last.iter().len(), "something for each line");
    for (index, (read, line)) in read
        .iter()
        .zip(lines.into_iter().map(Ok).chain(last.map(Err)))
        .enumerate()
    {
        match (read, line) {
            (Ok(update), Ok(line)) => check_update(update, line),
            (Err(bad), line) => {
                assert_eq!(bad.number, index as u64 + 1);
                match (&bad.why, line) {
                    (Why::TooLong, Ok(line) | Err(line)) => assert!(line.len() > MAX_INPUT_LINE),
                    (Why::CutOff, Err(_)) => {}
                    (Why::Malformed { error, excerpt }, Ok(line)) => {
                        assert_eq!(RefUpdate::parse(line).as_ref(), Err(error));
                        assert!(line.starts_with(excerpt) && excerpt.len() <= 200);
                    }
                    (why, line) => panic!("{why} of {line:?}"),
                }
                assert!(!bad.to_string().contains(char::is_control), "{bad}");
            }
            (Ok(update), Err(cut)) => panic!("{update:?} out of {cut:?}, which is cut off"),
        }
    }
}

fn check_update(update: &RefUpdate, line: &[u8]) {
    assert_eq!(RefUpdate::parse(line).as_ref(), Ok(update));
    let written = [format!("{} {} ", update.old, update.new).as_bytes(), &update.name].concat();
    // Git writes lower-case digits; upper-case ones are accepted.
    assert!(written.eq_ignore_ascii_case(line) && line.ends_with(&update.name));
    assert!(update.name.starts_with(b"refs/") && !update.name.contains(&0));
}
