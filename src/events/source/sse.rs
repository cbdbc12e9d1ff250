//! PURE: a stream of server-sent events, bytes in, messages out (WHATWG HTML, section 9.2, *Server-sent events*).
//!
//! Lines end with CRLF, LF or CR. `event`, `data`, `id` and `retry` are fields, a line that starts with a colon is a comment,
//! an empty line ends a message; anything after the last empty line is not a message. A byte order mark at the start is
//! dropped. The input may be split anywhere.
//!
//! # Limitations
//! - Data is delivered as bytes: the reader refuses invalid UTF-8 instead of replacing it.
//! - A message with more than [`MAX_DATA`] becomes [`Item::TooLong`]; later messages are delivered.
use std::time::Duration;

use crate::event::MAX_EVENT;

/// Maximum size of a message's data, in bytes.
pub const MAX_DATA: usize = MAX_EVENT;
/// Maximum length of an id, in bytes; it is sent back in a header.
pub const MAX_ID: usize = 1024;

/// Maximum length of a line that is kept: data with its field name.
const MAX_LINE: usize = MAX_DATA + 16;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Item of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A message.
    Message(Message),
    /// A message whose data is longer than [`MAX_DATA`], with its id.
    TooLong(Option<String>),
    /// Minimum delay before reconnecting.
    Retry(Duration),
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Type of the message; empty if not given.
    pub kind: String,
    /// Data, lines joined by line feeds.
    pub data: Vec<u8>,
    /// Last id that was sent, in this or an earlier message.
    pub id: Option<String>,
}

/// Parser of a stream, from its first byte on.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    /// True if the line was cut.
    line_is_cut: bool,
    /// True after CR: a line feed that follows belongs to the same line end.
    after_cr: bool,
    has_begun: bool,
    kind: String,
    data: Vec<u8>,
    data_is_cut: bool,
    id: Option<String>,
}

impl Parser {
    /// Parses the next bytes; returns the completed items, in order.
    pub fn feed(&mut self, mut piece: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        while let Some(&first) = piece.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                piece = &piece[1..];
                continue;
            }
            let Some(end) = piece.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
                self.keep(piece);
                break;
            };
            self.keep(&piece[..end]);
            self.after_cr = piece[end] == b'\r';
            piece = &piece[end + 1..];
            items.extend(self.end_line());
        }
        items
    }

    fn keep(&mut self, part: &[u8]) {
        let room = MAX_LINE - self.line.len();
        self.line_is_cut |= part.len() > room;
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end_line(&mut self) -> Option<Item> {
        let mut line = std::mem::take(&mut self.line);
        let is_cut = std::mem::take(&mut self.line_is_cut);
        if !std::mem::replace(&mut self.has_begun, true) && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        match line.iter().position(|byte| *byte == b':') {
            None if line.is_empty() => self.dispatch(),
            Some(0) => None,
            _ if is_cut => {
                self.data_is_cut = true;
                None
            }
            None => self.field(&line, b""),
            Some(colon) => {
                let value = &line[colon + 1..];
                self.field(&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
        }
    }

    /// Processes a field (see *Processing fields* in the standard).
    fn field(&mut self, name: &[u8], value: &[u8]) -> Option<Item> {
        match name {
            b"event" => self.kind = String::from_utf8_lossy(value).into_owned(),
            b"data" if self.data.len() + value.len() > MAX_DATA => {
                self.data_is_cut = true;
                self.data.clear();
            }
            b"data" => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"id" if value.contains(&0) || value.len() > MAX_ID => {}
            b"id" => self.id = Some(String::from_utf8_lossy(value).into_owned()).filter(|id| !id.is_empty()),
            b"retry" => {
                let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
                let text = std::str::from_utf8(value).ok().filter(|_| digits)?;
                return Some(Item::Retry(Duration::from_millis(text.parse().ok()?)));
            }
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Item> {
        let kind = std::mem::take(&mut self.kind);
        let mut data = std::mem::take(&mut self.data);
        let id = self.id.clone();
        if std::mem::take(&mut self.data_is_cut) {
            return Some(Item::TooLong(id));
        }
        // Each data line appended a line feed; the last one does not belong to the data.
        data.pop()?;
        Some(Item::Message(Message { kind, data, id }))
    }
}

#[cfg(test)]
mod tests {
    use eventsource_stream::Eventsource;
    use futures_util::{FutureExt, StreamExt, stream};
    use proptest::prelude::*;

    use super::*;

    fn all(pieces: &[&[u8]]) -> Vec<Item> {
        let mut parser = Parser::default();
        pieces.iter().flat_map(|piece| parser.feed(piece)).collect()
    }

    fn message(kind: &str, data: &str, id: &str) -> Item {
        Item::Message(Message {
            kind: kind.into(),
            data: data.into(),
            id: Some(id.to_owned()).filter(|id| !id.is_empty()),
        })
    }

    #[test]
    fn streams_of_real_servers_are_parsed() {
        let cases: &[(&str, &[Item])] = &[
            ("data: a\n\n", &[message("", "a", "")]),
            ("data:a\ndata\ndata:  b\n\n", &[message("", "a\n\n b", "")]),
            ("data\n\n", &[message("", "", "")]),
            ("\n\nevent: x\n\n", &[]),
            ("event: x\r\ndata: a\r\n\r\n", &[message("x", "a", "")]),
            (
                "event: x\rdata: a\r\rdata: b\r\r",
                &[message("x", "a", ""), message("", "b", "")],
            ),
            (
                ": ping\n\nid:8\ndata: a\n\ndata: b\n\n",
                &[message("", "a", "8"), message("", "b", "8")],
            ),
            (
                "id: 1\n\ndata: a\n\nid\ndata: b\n\n",
                &[message("", "a", "1"), message("", "b", "")],
            ),
            ("id: 1\nid: 2\0\ndata: a\n\n", &[message("", "a", "1")]),
            ("\u{feff}data: a\n\n\u{feff}data: b\n\n", &[message("", "a", "")]),
            (
                "retry: 1500\nretry: 1x\nretry\nretry: -1\n",
                &[Item::Retry(Duration::from_millis(1500))],
            ),
            ("data: a\nDATA: b\n data: c\nother: d\n\n", &[message("", "a", "")]),
            ("data: not ended\n", &[]),
        ];
        for (stream, expected) in cases {
            assert_eq!(all(&[stream.as_bytes()]), *expected, "{stream:?}");
            let bytes: Vec<_> = stream.as_bytes().chunks(1).collect();
            assert_eq!(all(&bytes), *expected, "{stream:?}, byte by byte");
        }
    }

    #[test]
    fn an_overlong_message_is_reported_and_later_ones_are_delivered() {
        let long = "x".repeat(MAX_DATA);
        let fits = format!("data: {long}\n\n");
        assert_eq!(all(&[fits.as_bytes()]), [message("", &long, "")]);
        let lines = format!("id: 7\ndata: {long}\ndata: y\n\ndata: z\n\n");
        let expected = [Item::TooLong(Some("7".into())), message("", "z", "7")];
        assert_eq!(all(&[lines.as_bytes()]), expected);
        let line = format!("id: 7\ndata: {long}{long}");
        let mut parser = Parser::default();
        assert_eq!(parser.feed(line.as_bytes()), []);
        for _ in 0..100 {
            assert_eq!(parser.feed(long.as_bytes()), []);
        }
        assert!(parser.line.capacity() < 3 * MAX_LINE, "{}", parser.line.capacity());
        assert_eq!(parser.feed(b"\n\ndata: z\n\n"), expected);
        let comment = format!(":{long}{long}\ndata: z\n\n");
        assert_eq!(all(&[comment.as_bytes()]), [message("", "z", "")]);
    }

    /// The items of another parser of the same standard; that one panics at a byte order mark.
    fn oracle(text: &str) -> Vec<Message> {
        let whole = stream::iter([Ok::<_, std::convert::Infallible>(text.as_bytes())]);
        let messages = whole.eventsource().map(|message| {
            let message = message.expect("no error is possible");
            Message {
                kind: message.event,
                data: message.data.into_bytes(),
                id: Some(message.id).filter(|id| !id.is_empty()),
            }
        });
        messages.collect().now_or_never().expect("nothing is waited for")
    }

    fn line() -> impl Strategy<Value = String> {
        let text = "[a-z :\u{e9}\u{1f600}\\[{}\",]{0,12}";
        prop_oneof![
            4 => text.prop_map(|text| format!("data: {text}")),
            2 => text.prop_map(|text| format!("data:{text}")),
            1 => text.prop_map(|text| format!("event: {text}")),
            1 => "[0-9a-z]{0,4}".prop_map(|id| format!("id:{id}")),
            1 => "[0-9]{1,6}".prop_map(|time| format!("retry: {time}")),
            1 => text.prop_map(|text| format!(":{text}")),
            1 => "(data|id|event|retry|other|x:y)",
            5 => Just(String::new()),
        ]
    }

    proptest! {
        #[test]
        fn another_parser_reads_the_same(
            lines in prop::collection::vec((line(), prop::sample::select(vec!["\n", "\r\n"])), 0..40),
            cursor in any::<bool>(),
            cuts in prop::collection::vec(1_usize..20, 1..40),
        ) {
            let mut text = String::new();
            lines.iter().for_each(|(line, end)| { text += line; text += end; });
            let marked = format!("{}{text}", if cursor { "\u{feff}" } else { "" });
            let mut pieces = Vec::new();
            let mut rest = marked.as_bytes();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            let ours: Vec<_> = all(&pieces).into_iter().filter_map(|item| match item {
                Item::Message(message) => Some(message),
                _ => None,
            }).map(|message| Message {
                kind: if message.kind.is_empty() { "message".into() } else { message.kind },
                ..message
            }).collect();
            prop_assert_eq!(ours, oracle(&text));
        }

        #[test]
        fn any_bytes_are_parsed_and_splits_change_nothing(bytes in prop::collection::vec(prop::sample::select(b"data:id\r\n\r\n \xEF\xBB\xBF\0x".to_vec()), 0..200), cut in 1_usize..9) {
            let pieces: Vec<_> = bytes.chunks(cut).collect();
            prop_assert_eq!(all(&pieces), all(&[&bytes]));
        }
    }
}
