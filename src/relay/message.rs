//! PURE: an event as a message of a stream (server-sent events).
use axum::body::Bytes;

/// Maximum length of a message that is copied, in bytes. Longer ones are shared by the listeners.
const MAX_COPIED: usize = 4 << 10;

/// An event as a message: `id: {seq}`, `data: {json}`, and an empty line.
#[derive(Debug, Clone)]
pub struct Message {
    bytes: Bytes,
    /// Offset of the JSON.
    start: usize,
}

impl Message {
    /// Creates the message of an event with this number.
    pub fn new(seq: u64, json: &[u8]) -> Self {
        let mut bytes = format!("id: {seq}\ndata: ").into_bytes();
        let start = bytes.len();
        bytes.reserve_exact(json.len() + 2);
        bytes.extend_from_slice(json);
        bytes.extend_from_slice(b"\n\n");
        Message {
            bytes: bytes.into(),
            start,
        }
    }

    /// Length in bytes.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// JSON of the event.
    pub fn json(&self) -> &[u8] {
        &self.bytes[self.start..self.bytes.len() - 2]
    }
}

/// Joins short messages into larger pieces. No message is divided: some clients read the chunks of HTTP as if they were
/// lines.
pub fn pieces(messages: impl Iterator<Item = Message>) -> impl Iterator<Item = Bytes> {
    let (mut pieces, mut piece) = (Vec::new(), Vec::new());
    for message in messages {
        if message.length() <= MAX_COPIED {
            piece.extend_from_slice(&message.bytes);
        } else {
            pieces.extend([Bytes::from(std::mem::take(&mut piece)), message.bytes]);
        }
    }
    pieces.push(piece.into());
    pieces.into_iter().filter(|piece| !piece.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_messages_are_one_piece_and_large_ones_are_shared() {
        let large = Message::new(3, &vec![b'x'; MAX_COPIED]);
        let small = |seq| Message::new(seq, b"{}");
        let messages = [small(1), small(2), large.clone(), small(4)];
        let pieces: Vec<_> = pieces(messages.into_iter()).collect();
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[0], "id: 1\ndata: {}\n\nid: 2\ndata: {}\n\n");
        assert_eq!(pieces[1].as_ptr(), large.bytes.as_ptr());
        assert_eq!(pieces[2], "id: 4\ndata: {}\n\n");
        assert_eq!(small(12).json(), b"{}");
    }
}
