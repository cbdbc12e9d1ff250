use bstr::BString;
use gix_hash::ObjectId;

use crate::block_builder::RawRecord;
use crate::cursor::push_varint;

/// The type of a log record that is not a tombstone.
const UPDATE: u8 = 1;

/// The person and the time of a line in a reflog.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Committer {
    /// The name, without the e-mail address.
    pub name: BString,
    /// The e-mail address, without angle brackets.
    pub email: BString,
    /// Seconds since 1970.
    pub seconds: u64,
    /// Minutes east of UTC.
    pub offset_minutes: i16,
}

/// A line in the reflog of a ref.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogLine {
    /// The person who changes the ref.
    pub committer: Committer,
    /// The reason. Control characters are written as spaces.
    pub message: BString,
}

/// A line of a reflog with the change that it describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogRecord {
    pub name: BString,
    pub update_index: u64,
    pub old: ObjectId,
    pub new: ObjectId,
    pub line: LogLine,
}

impl LogRecord {
    /// The newest line of a ref comes first, so its key has the inverse of the update index.
    pub(crate) fn encode(&self) -> RawRecord {
        let Committer {
            name,
            email,
            seconds,
            offset_minutes,
        } = &self.line.committer;
        let mut body = [self.old.as_slice(), self.new.as_slice()].concat();
        push_text(&mut body, &identity(name));
        push_text(&mut body, &identity(email));
        push_varint(&mut body, *seconds);
        body.extend(as_in_commits(*offset_minutes).to_be_bytes());
        push_text(&mut body, &message(&self.line.message));
        let index = (!self.update_index).to_be_bytes();
        RawRecord {
            key: [self.name.as_slice(), b"\0", &index].concat(),
            kind: UPDATE,
            body,
        }
    }
}

/// The offset as git writes it: `+0530` is 530. The specification has minutes in its place.
fn as_in_commits(minutes: i16) -> i16 {
    minutes / 60 * 100 + minutes % 60
}

fn push_text(bytes: &mut Vec<u8>, text: &[u8]) {
    push_varint(bytes, text.len() as u64);
    bytes.extend(text);
}

/// A name or an e-mail address without the characters that delimit them.
fn identity(text: &[u8]) -> Vec<u8> {
    let is_crud = |byte: &u8| byte.is_ascii_control() || matches!(byte, b'<' | b'>');
    let text: Vec<u8> = text.iter().copied().filter(|byte| !is_crud(byte)).collect();
    text.trim_ascii().to_vec()
}

/// A message as git stores it: one line with its end.
fn message(text: &[u8]) -> Vec<u8> {
    let space = |byte: &u8| if byte.is_ascii_control() { b' ' } else { *byte };
    let mut text: Vec<u8> = text.trim_ascii().iter().map(space).collect();
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_written_as_in_commits() {
        for (minutes, written) in [(0, 0), (330, 530), (-90, -130), (60, 100), (-720, -1200), (845, 1405)] {
            assert_eq!(as_in_commits(minutes), written);
        }
    }

    #[test]
    fn text_cannot_break_a_line() {
        assert_eq!(identity(b" A <B>\nC\0 "), b"A BC");
        assert_eq!(message(b"push:\nmain\n\n"), b"push: main\n");
        assert_eq!(message(b""), b"\n");
    }
}
