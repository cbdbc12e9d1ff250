//! The ref advertisement, protocol 0 and 1 (gitprotocol-pack, *Reference Discovery*; gitprotocol-http, *Smart Server
//! Response*), of `git-receive-pack` and of `git-upload-pack`.
//!
//! ```text
//! [ "# service=<service>" LF ... flush ]             over HTTP only
//! [ "version 1" ]
//! <id> SP <name> NUL <capabilities> LF               or <null id> SP "capabilities^{}" NUL <capabilities> LF
//! ( <id> SP <name> LF | <id> SP ".have" LF | <id> SP <name> "^{}" LF )*
//! ( "shallow" SP <id> LF )*
//! flush                                              the rest is ignored
//! ```
use std::ops::ControlFlow;

use bstr::{BStr, BString, ByteSlice};
use gix::{ObjectId, hash::Kind};

use super::pkt_line::{Answer, Line};
use super::{Advertisement, Capabilities, WireError};

/// Maximum size of an advertisement in bytes: over 4 million refs of common length.
pub const MAX_BYTES: u64 = 256 << 20;

/// Parser of an advertisement whose bytes arrive in pieces.
#[derive(Debug)]
#[must_use = "the advertisement is returned by `finish()`"]
pub struct Parser(Answer<Lines>);

/// Content of the lines so far.
#[derive(Debug)]
struct Lines {
    state: State,
    object_format: Kind,
    advertisement: Advertisement,
}

/// States are named after the line that is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The preamble, `version 1`, the first ref, or the flush-pkt of an empty answer.
    Start,
    /// The flush-pkt after the preamble. Lines before it are skipped.
    PreambleEnd,
    /// `version 1` or the first ref.
    VersionOrFirstRef,
    /// The first ref.
    FirstRef,
    /// More refs, shallow lines or the final flush-pkt.
    Refs,
}

impl Default for Parser {
    fn default() -> Self {
        Parser::new()
    }
}

impl Parser {
    /// Creates a parser that awaits the first byte.
    pub fn new() -> Self {
        let lines = Lines {
            state: State::Start,
            object_format: Kind::Sha1,
            advertisement: Advertisement::default(),
        };
        Parser(Answer::new(MAX_BYTES, lines))
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// The piece cannot be part of an advertisement, or it is an `ERR` line.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.0.feed(bytes, Lines::take)
    }

    /// Returns true if the advertisement is complete. On a connection that stays open, nothing follows.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.has_ended()
    }

    /// Returns the advertisement.
    ///
    /// # Errors
    /// [`Fault::Premature`](super::Fault::Premature) when the final flush-pkt is missing.
    pub fn finish(self) -> Result<Advertisement, WireError> {
        if self.0.has_ended() {
            Ok(self.0.content.advertisement)
        } else {
            Err(WireError::premature("the end of the list of refs"))
        }
    }
}

impl Lines {
    fn take(&mut self, line: Line) -> Result<ControlFlow<()>, WireError> {
        self.state = match line {
            Line::Data(line) => self.data(line.as_bstr())?,
            Line::Flush => match self.state {
                State::PreambleEnd => State::VersionOrFirstRef,
                // The upload-pack of an old git sends nothing for an empty repository, not even capabilities.
                State::Start | State::VersionOrFirstRef | State::Refs => return Ok(ControlFlow::Break(())),
                State::FirstRef => return Err(WireError::premature("the first ref")),
            },
            Line::Delimiter | Line::ResponseEnd => {
                return Err(WireError::line("a special line of protocol 2 in an advertisement", b""));
            }
        };
        Ok(ControlFlow::Continue(()))
    }

    fn data(&mut self, line: &BStr) -> Result<State, WireError> {
        let line = line.strip_suffix(b"\n").unwrap_or(line).as_bstr();
        if let Some(error) = WireError::err_line(line) {
            return Err(error);
        }
        match self.state {
            State::Start if line.starts_with(b"# service=") => Ok(State::PreambleEnd),
            State::PreambleEnd => Ok(State::PreambleEnd),
            State::Start | State::VersionOrFirstRef if line.starts_with(b"version ") => version(line),
            State::Start | State::VersionOrFirstRef | State::FirstRef => self.first_ref(line),
            State::Refs => self.further_line(line),
        }
    }

    fn first_ref(&mut self, line: &BStr) -> Result<State, WireError> {
        let (first, list) = line.split_once_str("\0").unwrap_or((line, b""));
        self.advertisement.capabilities = capabilities(list);
        if let Some(name) = self.advertisement.capabilities.value("object-format") {
            self.object_format = match name.as_bytes() {
                b"sha1" => Kind::Sha1,
                b"sha256" => Kind::Sha256,
                _ => return Err(WireError::line("an object format other than sha1 and sha256", name)),
            };
        }
        if let Some((id, b"capabilities^{}")) = first.split_once_str(" ") {
            return match self.id(id, line)? {
                id if id.is_null() => Ok(State::Refs),
                _ => Err(WireError::line("`capabilities^{}` with an id that is not null", line)),
            };
        }
        self.further_line(first.as_bstr())
    }

    fn further_line(&mut self, line: &BStr) -> Result<State, WireError> {
        let Some((id, name)) = line.split_once_str(" ") else {
            return Err(WireError::line("expected `<id> <name>`", line));
        };
        if id == b"shallow" {
            let id = self.id(name, line)?;
            self.advertisement.shallow.push(id);
            return Ok(State::Refs);
        }
        let id = self.id(id, line)?;
        if id.is_null() {
            return Err(WireError::line("a ref with the null id", line));
        }
        self.named(id, name.as_bstr(), line)?;
        Ok(State::Refs)
    }

    fn named(&mut self, id: ObjectId, name: &BStr, line: &BStr) -> Result<(), WireError> {
        if name == ".have" {
            self.advertisement.haves.push(id);
            return Ok(());
        }
        let peeled = name.strip_suffix(b"^{}");
        if gix::validate::reference::name(peeled.unwrap_or(name).as_bstr()).is_err() {
            return Err(WireError::line("not a valid ref name", line));
        }
        if peeled.is_none() && self.advertisement.refs.insert(BString::from(name), id).is_some() {
            return Err(WireError::line("a ref that was advertised before", line));
        }
        Ok(())
    }

    fn id(&self, hex: &[u8], line: &BStr) -> Result<ObjectId, WireError> {
        match ObjectId::from_hex(hex) {
            Ok(id) if id.kind() == self.object_format => Ok(id),
            Ok(_) => Err(WireError::line(
                "an id whose length is not that of the advertised object format",
                line,
            )),
            Err(_) => Err(WireError::line(
                "expected an object id of 40 or 64 hexadecimal digits",
                line,
            )),
        }
    }
}

fn version(line: &BStr) -> Result<State, WireError> {
    match line.as_bytes() {
        b"version 0" | b"version 1" => Ok(State::FirstRef),
        _ => Err(WireError::line("a protocol version that was not asked for", line)),
    }
}

/// Parses names with optional values, separated by one or more spaces.
fn capabilities(list: &[u8]) -> Capabilities {
    let one = |capability: &[u8]| match capability.split_once_str("=") {
        Some((name, value)) => (name.into(), Some(value.into())),
        None => (capability.into(), None),
    };
    let list = list
        .split_str(" ")
        .filter(|capability| !capability.is_empty())
        .map(one)
        .collect();
    Capabilities { list }
}

#[cfg(test)]
mod tests {
    use super::super::{ErrorKind, Fault, pkt_line};
    use super::*;

    const A: &str = "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2";
    const ZERO: &str = "0000000000000000000000000000000000000000";

    /// Parses pkt-lines; `""` stands for a flush-pkt.
    fn parse(lines: &[&str]) -> Result<Advertisement, WireError> {
        let mut bytes = Vec::new();
        for line in lines {
            if line.is_empty() {
                pkt_line::flush(&mut bytes);
            } else {
                pkt_line::data(&mut bytes, line.as_bytes());
            }
        }
        let mut parser = Parser::new();
        parser.feed(&bytes)?;
        parser.finish()
    }

    #[test]
    fn lines_may_end_with_a_line_feed_and_capabilities_start_with_a_space() {
        let first = format!("{A} refs/kv/main\0 atomic  agent=x/1 symref=a symref=b\n");
        let second = format!("{A} refs/kv/other");
        let advertisement = parse(&[&first, &second, ""]).unwrap();
        assert_eq!(advertisement.refs.len(), 2);
        let capabilities = &advertisement.capabilities;
        assert!(capabilities.offers("atomic") && !capabilities.offers(""));
        assert_eq!(capabilities.value("agent").unwrap(), "x/1");
        assert_eq!(capabilities.list.iter().filter(|(name, _)| name == "symref").count(), 2);
    }

    #[test]
    fn metadata_after_the_preamble_is_skipped_and_so_is_what_follows_the_end() {
        let refs = format!("{A} refs/kv/main\0atomic");
        let service = "# service=git-receive-pack\n";
        let advertisement = parse(&[service, "# more\n", "", &refs, "", "anything"]).unwrap();
        assert_eq!(advertisement.refs.len(), 1);
    }

    #[test]
    fn a_server_with_nothing_to_say_advertises_nothing() {
        assert_eq!(parse(&[""]), Ok(Advertisement::default()));
        assert_eq!(
            parse(&["# service=git-upload-pack\n", "", ""]),
            Ok(Advertisement::default())
        );
    }

    #[test]
    fn an_err_line_is_the_servers_refusal_in_its_words() {
        let error = parse(&["# service=git-receive-pack\n", "", "ERR no \u{1b}[1maccess\n"]).unwrap_err();
        assert_eq!(error.to_string(), "the server says: no access");
        assert_eq!(error.kind(), ErrorKind::Rejected);
    }

    #[test]
    fn what_is_no_advertisement_is_told_why() {
        let first = format!("{A} refs/kv/main\0atomic");
        let long = "ab".repeat(32);
        let cases: [(&[&str], &str); 15] = [
            (&["version 2"], "a protocol version that was not asked for"),
            (
                &["version 1", "version 1"],
                "expected an object id of 40 or 64 hexadecimal digits",
            ),
            (&["hello"], "expected `<id> <name>`"),
            (
                &["xyz refs/kv/main"],
                "expected an object id of 40 or 64 hexadecimal digits",
            ),
            (
                &[&format!("{long} refs/kv/main\0atomic")],
                "an id whose length is not that of the advertised object format",
            ),
            (
                &[&format!("{A} refs/kv/main\0object-format=sha256")],
                "an id whose length is not that of the advertised object format",
            ),
            (
                &[&format!("{A} r\0object-format=sha3")],
                "an object format other than sha1 and sha256",
            ),
            (
                &[&format!("{A} capabilities^{{}}\0atomic")],
                "`capabilities^{}` with an id that is not null",
            ),
            (&[&format!("{ZERO} refs/kv/main\0atomic")], "a ref with the null id"),
            (&[&format!("{A} refs/kv/../main\0atomic")], "not a valid ref name"),
            (&[&format!("{A} refs/kv/ma in\0atomic")], "not a valid ref name"),
            (&[&first, &first], "not a valid ref name"),
            (
                &[&first, &format!("{A} refs/kv/main")],
                "a ref that was advertised before",
            ),
            (
                &[&first, "shallow xyz"],
                "expected an object id of 40 or 64 hexadecimal digits",
            ),
            (&[&first, &format!("{A} ^{{}}")], "not a valid ref name"),
        ];
        for (lines, expected) in cases {
            match parse(lines).expect_err(expected).fault {
                Fault::Line { why, .. } => assert_eq!(why, expected, "{lines:?}"),
                fault => panic!("{lines:?}: {fault}"),
            }
        }
    }

    #[test]
    fn an_advertisement_that_ends_early_is_told_what_is_missing() {
        let first = format!("{A} refs/kv/main\0atomic");
        let cases: [&[&str]; 5] = [
            &[],
            &["# service=x"],
            &["# service=x", ""],
            &["version 1", ""],
            &[&first],
        ];
        for lines in cases {
            assert!(
                matches!(parse(lines).unwrap_err().fault, Fault::Premature { .. }),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn what_is_not_git_at_all_is_told_and_hinted_at() {
        let mut parser = Parser::new();
        let error = parser.feed(b"<!DOCTYPE html>").unwrap_err();
        assert!(matches!(error.fault, Fault::Framing { at: 0, .. }));
        assert!(
            super::super::Error::from(error)
                .hint()
                .unwrap()
                .contains("check that the URL")
        );
    }

    #[test]
    fn lines_of_protocol_2_are_refused() {
        for special in [b"0001", b"0002"] {
            assert!(matches!(
                Parser::new().feed(special).unwrap_err().fault,
                Fault::Line { .. }
            ));
        }
    }
}
