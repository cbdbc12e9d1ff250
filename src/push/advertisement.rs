//! The ref advertisement, protocol 0 and 1 (gitprotocol-pack, *Reference Discovery*; gitprotocol-http, *Smart Server
//! Response*), of `git-receive-pack` and of `git-upload-pack`.
//!
//! ```text
//! [ "# service=<service>" LF ... flush ]             over HTTP only
//! [ "version 1" ]
//! <id> SP <name> NUL <capabilities> LF               or <null id> SP "capabilities^{}" NUL <capabilities> LF
//! ( <id> SP <name> LF | <id> SP ".have" LF | <id> SP <name> "^{}" LF )*
//! ( "shallow" SP <id> LF )*
//! flush                                              what comes after it is not looked at
//! ```
use bstr::{BStr, BString, ByteSlice};
use gix::{ObjectId, hash::Kind};

use super::pkt_line::{Line, Reader};
use super::{Advertisement, Capabilities, WireError};

/// The most bytes of an advertisement: over 4 million refs of common length.
pub const MAX_BYTES: u64 = 256 << 20;

/// An advertisement out of bytes that arrive in pieces.
#[derive(Debug)]
pub struct Parser {
    reader: Reader,
    state: State,
    object_format: Kind,
    advertisement: Advertisement,
}

/// Named after what is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The preamble, `version 1`, the first ref, or the flush-pkt of a server that has nothing to say.
    Start,
    /// The flush-pkt after the preamble; what comes before it is to be skipped.
    PreambleEnd,
    /// `version 1` or the first ref.
    VersionOrFirstRef,
    /// The first ref.
    FirstRef,
    /// More refs, shallow lines or the final flush-pkt.
    Refs,
    /// Nothing.
    End,
}

impl Default for Parser {
    fn default() -> Self {
        Parser::new()
    }
}

impl Parser {
    /// A parser that awaits the first byte.
    pub fn new() -> Self {
        Parser {
            reader: Reader::new(MAX_BYTES),
            state: State::Start,
            object_format: Kind::Sha1,
            advertisement: Advertisement::default(),
        }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// When it cannot be part of an advertisement, or when it is an `ERR` line.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        if self.state == State::End {
            return Ok(());
        }
        self.reader.feed(bytes);
        while self.state != State::End
            && let Some(line) = self.reader.next()?
        {
            self.state = match line {
                Line::Data(line) => self.data(line.as_bstr())?,
                Line::Flush => self.flush()?,
                Line::Delimiter | Line::ResponseEnd => {
                    return Err(WireError::line("a special line of protocol 2 in an advertisement", b""));
                }
            };
        }
        Ok(())
    }

    /// What was advertised.
    ///
    /// # Errors
    /// [`Fault::Premature`](super::Fault::Premature) when the final flush-pkt did not come.
    pub fn finish(self) -> Result<Advertisement, WireError> {
        match self.state {
            State::End => Ok(self.advertisement),
            _ => Err(WireError::premature("the end of the list of refs")),
        }
    }

    fn flush(&self) -> Result<State, WireError> {
        match self.state {
            State::PreambleEnd => Ok(State::VersionOrFirstRef),
            // An empty repository of an old upload-pack: nothing, not even capabilities.
            State::Start | State::VersionOrFirstRef | State::Refs => Ok(State::End),
            State::FirstRef | State::End => Err(WireError::premature("the first ref")),
        }
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
            State::Refs | State::End => self.further_line(line),
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

/// Names with optional values, separated by one or more spaces.
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
