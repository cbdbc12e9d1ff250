use std::collections::HashSet;

use crate::error::{Error, ListFault};

/// Maximum number of bytes of `tables.list` that are read.
///
/// A name takes about 45 bytes, and each table takes an open file: a list of this size cannot be opened.
pub(crate) const MAX_LIST: usize = 16 << 20;

/// The names in the bytes of `tables.list`, oldest table first.
///
/// Empty lines are skipped, as git does.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<&str>, Error> {
    if bytes.len() > MAX_LIST {
        let line = 1 + bytes[..MAX_LIST].iter().filter(|byte| **byte == b'\n').count();
        return Err(Error::List {
            line,
            fault: ListFault::TooLong,
        });
    }
    let mut names = Vec::new();
    let mut seen = HashSet::new();
    for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let fault = |fault| Error::List {
            line: number + 1,
            fault,
        };
        let name = line.strip_suffix(b"\n").ok_or(fault(ListFault::Unfinished))?;
        if name.is_empty() {
            continue;
        }
        let name = file_name(name).ok_or(fault(ListFault::Name))?;
        if !seen.insert(name) {
            return Err(fault(ListFault::Repeated));
        }
        names.push(name);
    }
    Ok(names)
}

/// A name that cannot lead out of its folder, on any platform.
fn file_name(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    let outside = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
    (!name.contains(outside) && name != "." && name != "..").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(bytes: &[u8]) -> (usize, ListFault) {
        match parse(bytes) {
            Err(Error::List { line, fault }) => (line, fault),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_keep_their_order() {
        assert_eq!(parse(b"b.ref\na.ref\n").unwrap(), ["b.ref", "a.ref"]);
        assert_eq!(parse(b"\na.ref\n\n").unwrap(), ["a.ref"]);
        assert_eq!(parse(b"").unwrap(), [""; 0]);
        assert_eq!(parse(b"\n").unwrap(), [""; 0]);
    }

    #[test]
    fn a_truncated_list_is_an_error() {
        assert_eq!(fault(b"a.ref\nb.re"), (2, ListFault::Unfinished));
        assert_eq!(fault(b"a"), (1, ListFault::Unfinished));
    }

    #[test]
    fn names_stay_in_the_folder() {
        for name in ["../a", "/etc/passwd", "a\\b", "c:a", ".", "..", "a\rb", "a\0b", "a\r"] {
            assert_eq!(
                fault(format!("a.ref\n{name}\n").as_bytes()),
                (2, ListFault::Name),
                "{name:?}"
            );
        }
        assert_eq!(fault(b"\xff\n"), (1, ListFault::Name));
    }

    #[test]
    fn a_list_without_end_is_an_error() {
        assert_eq!(fault(&vec![b'\n'; MAX_LIST + 1]), (MAX_LIST + 1, ListFault::TooLong));
        assert_eq!(parse(&vec![b'\n'; MAX_LIST]).unwrap(), [""; 0]);
    }

    #[test]
    fn a_name_that_is_repeated_is_an_error() {
        assert_eq!(fault(b"a.ref\nb.ref\na.ref\n"), (3, ListFault::Repeated));
    }
}
