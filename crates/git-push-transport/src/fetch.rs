//! Fetching (gitprotocol-v2, *fetch*; gitprotocol-pack, *Packfile Negotiation*): the request, and the pack of the answer.
//! Bytes in, bytes out.
//!
//! ```text
//! "command=fetch" ... delim ... "want" SP <id> ( "have" SP <id> )* "done" flush            protocol 2, answered with
//! ( <section> ... delim )* "packfile" ( <sideband> )* flush
//!
//! "want" SP <id> SP <capabilities> [ "filter tree:0" ] flush ( "have" SP <id> )* "done"    protocol 0 and 1
//! ( "ACK" SP <id> | "NAK" )+ ( <sideband> )* flush
//! ```
use std::ops::ControlFlow;

use bstr::{BStr, ByteSlice};
use git_push::pkt_line::{self, Answer, Line};
use git_push::{Capabilities, Error, ErrorKind, WireError};
use gix::ObjectId;

use crate::upload_pack::{command, premature, refuse_err, said, trimmed, unexpected};

/// Extent of the history to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Extent {
    /// Commits, without trees and blobs if the server can leave them out. They are for a temporary repository, which may borrow
    /// them (gitrepository-layout, *objects/info/alternates*).
    Commits,
    /// Commits, trees and blobs, stored durably.
    Objects,
}

/// Commits to fetch.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The newest commit.
    pub commit: ObjectId,
    /// Commits that are there with everything that they reach. They and the commits before them are not fetched.
    pub haves: &'a [ObjectId],
    /// Extent of the history.
    pub extent: Extent,
}

/// Returns the request for `wanted` (gitprotocol-v2, *fetch*).
pub fn fetch_request(capabilities: &Capabilities, wanted: Wanted<'_>) -> Vec<u8> {
    let mut out = command("fetch", capabilities);
    let features = capabilities.value("fetch").unwrap_or_default();
    pkt_line::data(&mut out, b"ofs-delta\n");
    pkt_line::data(&mut out, b"no-progress\n");
    if wanted.extent == Extent::Commits && features.split_str(" ").any(|feature| feature == b"filter") {
        pkt_line::data(&mut out, b"filter tree:0\n");
    }
    pkt_line::data(&mut out, format!("want {}\n", wanted.commit).as_bytes());
    haves_and_done(&mut out, wanted.haves);
    pkt_line::flush(&mut out);
    out
}

/// Returns the same request in protocol 0 and 1, for a server with these capabilities. Without `multi_ack`, the answer has one
/// line before the pack, which may be repeated.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if the server cannot separate the pack from its messages.
pub fn older_fetch_request(capabilities: &Capabilities, wanted: Wanted<'_>) -> Result<Vec<u8>, Error> {
    if !capabilities.offers("side-band-64k") {
        let what = "the server offers neither protocol 2 nor `side-band-64k`, one of which is needed to fetch commits";
        return Err(Error::new(ErrorKind::Misconfigured, what)
            .with_hint("use a local repository that has the commits, or update the server"));
    }
    let mut first = format!("want {} side-band-64k", wanted.commit);
    let filtered = wanted.extent == Extent::Commits && capabilities.offers("filter");
    for usable in ["ofs-delta", "no-progress", "filter"] {
        if capabilities.offers(usable) && (usable != "filter" || filtered) {
            first = format!("{first} {usable}");
        }
    }
    if let Some(format) = capabilities.value("object-format") {
        first = format!("{first} object-format={format}");
    }
    let mut out = Vec::new();
    pkt_line::data(&mut out, format!("{first}\n").as_bytes());
    if filtered {
        pkt_line::data(&mut out, b"filter tree:0\n");
    }
    pkt_line::flush(&mut out);
    haves_and_done(&mut out, wanted.haves);
    Ok(out)
}

/// Ends a request.
fn haves_and_done(out: &mut Vec<u8>, haves: &[ObjectId]) {
    for have in haves {
        pkt_line::data(out, format!("have {have}\n").as_bytes());
    }
    pkt_line::data(out, b"done\n");
}

/// A parser of the answer to `fetch`, which arrives in pieces. It returns the bytes of the pack.
#[derive(Debug)]
pub struct PackStream(Answer<State>);

/// The part of the answer that is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// `ACK` or `NAK` of protocol 0 and 1.
    Acknowledgement,
    /// Another `ACK`, or the pack: a server may acknowledge the same commit repeatedly.
    AnotherOrPack,
    /// The name of a section.
    Section,
    /// The end of a section that is not used.
    SectionEnd,
    /// A sideband line, or the flush-pkt.
    Pack,
}

impl PackStream {
    /// Creates a parser of an answer in protocol 2, of `limit` bytes at most.
    pub fn new(limit: u64) -> Self {
        PackStream(Answer::new(limit, State::Section))
    }

    /// Creates a parser of an answer to [`older_fetch_request()`], of `limit` bytes at most.
    pub fn older(limit: u64) -> Self {
        PackStream(Answer::new(limit, State::Acknowledgement))
    }

    /// Takes the next piece, and appends its part of the pack to `pack`.
    ///
    /// # Errors
    /// The piece cannot be part of an answer to `fetch`, or the server reports that it failed.
    pub fn feed(&mut self, bytes: &[u8], pack: &mut Vec<u8>) -> Result<(), WireError> {
        self.0.feed(bytes, |state, line| {
            *state = match (*state, line) {
                (State::AnotherOrPack, Line::Data(line)) if matches!(line.first(), Some(1..=3)) => {
                    sideband(&line, pack)?;
                    State::Pack
                }
                (State::Acknowledgement | State::AnotherOrPack, Line::Data(line)) => acknowledgement(trimmed(&line))?,
                (State::Section, Line::Data(line)) => section(trimmed(&line))?,
                (State::SectionEnd, Line::Data(_)) => State::SectionEnd,
                (State::SectionEnd, Line::Delimiter) => State::Section,
                (State::Pack, Line::Data(line)) => {
                    sideband(&line, pack)?;
                    State::Pack
                }
                (State::Pack, Line::Flush) => return Ok(ControlFlow::Break(())),
                (State::Section | State::SectionEnd, Line::Flush) => return Err(premature("the pack")),
                _ => return Err(unexpected("a special line that does not belong here", b"")),
            };
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Returns true if the pack is complete, and nothing follows on a connection that stays open.
    pub fn has_ended(&self) -> bool {
        self.0.has_ended()
    }

    /// Checks that the pack is complete.
    ///
    /// # Errors
    /// The pack is incomplete.
    pub fn finish(self) -> Result<(), WireError> {
        if self.0.has_ended() {
            Ok(())
        } else {
            Err(premature("the end of the pack"))
        }
    }
}

fn acknowledgement(line: &BStr) -> Result<State, WireError> {
    refuse_err(line)?;
    if line.as_bytes() == b"NAK" || line.starts_with(b"ACK ") {
        Ok(State::AnotherOrPack)
    } else {
        Err(unexpected("expected `NAK` or `ACK`", line))
    }
}

fn section(line: &BStr) -> Result<State, WireError> {
    refuse_err(line)?;
    match line.as_bytes() {
        b"packfile" => Ok(State::Pack),
        b"acknowledgments" | b"shallow-info" | b"wanted-refs" => Ok(State::SectionEnd),
        _ => Err(unexpected("a section that was not asked for", line)),
    }
}

fn sideband(line: &[u8], pack: &mut Vec<u8>) -> Result<(), WireError> {
    match line.split_first() {
        Some((1, bytes)) => pack.extend_from_slice(bytes),
        Some((2, _)) => {}
        Some((3, words)) => return Err(said(words, false)),
        _ => return Err(unexpected("expected a sideband", line)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&[u8]], end: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in lines {
            pkt_line::data(&mut out, line);
        }
        out.extend_from_slice(end);
        out
    }

    fn pack(pieces: &[&[u8]]) -> Result<Vec<u8>, WireError> {
        let mut stream = PackStream::new(1 << 20);
        let mut pack = Vec::new();
        for piece in pieces {
            stream.feed(piece, &mut pack)?;
        }
        stream.finish().map(|()| pack)
    }

    #[test]
    fn the_pack_is_the_same_wherever_the_bytes_are_cut() {
        let mut bytes = lines(&[b"shallow-info\n", b"shallow x\n"], b"0001");
        bytes.extend(lines(&[b"packfile\n", b"\x01PA", b"\x02counting", b"\x01CK"], b"0000"));
        for at in 0..=bytes.len() {
            assert_eq!(
                pack(&[&bytes[..at], &bytes[at..]]).expect("a pack"),
                b"PACK",
                "cut at {at}"
            );
            if at < bytes.len() {
                assert!(pack(&[&bytes[..at]]).is_err(), "cut off at {at}");
            }
        }
    }

    #[test]
    fn other_answers_are_refused() {
        let cases: [(Vec<u8>, &str); 5] = [
            (
                lines(&[b"ERR upload-pack: not our ref"], b""),
                "the server says: upload-pack: not our ref",
            ),
            (
                lines(&[b"packfile\n", b"\x03out of memory"], b""),
                "the server says: out of memory",
            ),
            (lines(&[b"packfile\n", b"\x04?"], b""), "expected a sideband"),
            (lines(&[b"surprise\n"], b""), "a section that was not asked for"),
            (lines(&[], b"0000"), "before the pack"),
        ];
        for (bytes, words) in cases {
            let error = pack(&[&bytes]).expect_err(words);
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn a_request_is_as_documented() {
        const WANT: &str = "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2";
        let list = vec![("fetch".into(), Some("shallow filter".into()))];
        let offered = Capabilities { list };
        let id = ObjectId::from_hex(WANT.as_bytes()).expect("an id");
        let wanted = |haves, extent| Wanted {
            commit: id,
            haves,
            extent,
        };
        let haves = [id];
        let asked = fetch_request(&offered, wanted(&haves, Extent::Commits));
        for line in [
            "command=fetch\n",
            "filter tree:0\n",
            &format!("want {WANT}\n"),
            &format!("have {WANT}\n"),
            "done\n",
        ] {
            assert!(asked.contains_str(line), "{line}");
        }
        assert!(!fetch_request(&Capabilities::default(), wanted(&[], Extent::Commits)).contains_str("filter"));
        assert!(!fetch_request(&offered, wanted(&[], Extent::Objects)).contains_str("filter"));
    }

    #[test]
    fn protocol_0_asks_in_one_go_and_gets_acknowledgements_before_the_pack() {
        let list = ["side-band-64k", "filter", "multi_ack"].map(|name| (name.into(), None));
        let capabilities = Capabilities { list: list.into() };
        let (want, have) = (ObjectId::Sha1([0xab; 20]), ObjectId::Sha1([0xcd; 20]));
        let wanted = Wanted {
            commit: want,
            haves: &[have],
            extent: Extent::Commits,
        };
        let request = older_fetch_request(&capabilities, wanted).expect("a request");
        let expected =
            format!("0047want {want} side-band-64k filter\n0012filter tree:0\n00000032have {have}\n0009done\n");
        assert_eq!(request.as_bstr(), expected);
        older_fetch_request(&Capabilities::default(), wanted).expect_err("no sideband");

        for first in [&b"NAK\n"[..], b"ACK abababababababababababababababababababab\n"] {
            let mut stream = PackStream::older(1 << 20);
            let mut pack = Vec::new();
            let answer = lines(&[first, b"\x01PACK"], b"0000");
            stream.feed(&answer, &mut pack).expect("an answer");
            stream.finish().expect("a whole one");
            assert_eq!(pack, b"PACK");
            let mut stream = PackStream::older(1 << 20);
            let answer = lines(&[first, first, b"\x02words", b"\x01PACK"], b"0000");
            stream.feed(&answer, &mut Vec::new()).expect("the same again");
            stream.finish().expect("a whole one");
        }
        assert!(
            PackStream::older(1 << 20)
                .feed(&lines(&[b"\x01PACK"], b""), &mut Vec::new())
                .is_err()
        );
        let mut stream = PackStream::older(1 << 20);
        assert!(stream.feed(&lines(&[b"packfile\n"], b""), &mut Vec::new()).is_err());
    }
}
