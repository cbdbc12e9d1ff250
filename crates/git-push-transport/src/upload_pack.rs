//! Reading a remote in protocol 2 (gitprotocol-v2): requests and answers. Bytes in, values out.
//!
//! ```text
//! "version 2" ( <capability> [ "=" <value> ] )* flush                      the first answer
//! "command=ls-refs" ... delim ( "ref-prefix" SP <prefix> )* flush          the request, answered with
//! ( <id> SP <name> ( SP <attribute> )* )* flush
//! ```
use std::{collections::BTreeMap, ops::ControlFlow};

use bstr::{BStr, BString, ByteSlice, ByteVec};
use git_push::{
    Capabilities, Fault, RemoteRef, WireError,
    pkt_line::{self, Answer, Line, Reader},
};
use gix::{ObjectId, hash::Kind};

/// Limit of a prefix that is sent, in bytes. The start of a longer prefix matches more refs, never fewer.
const MAX_PREFIX: usize = 4096;

/// Parses the capabilities of a server from its whole answer; `None` if it is not in protocol 2.
///
/// # Errors
/// The answer is not in pkt-lines, or ends too early.
pub fn protocol_2(answer: &[u8]) -> Result<Option<Capabilities>, WireError> {
    let mut reader = Reader::new(git_push::advertisement::MAX_BYTES);
    reader.feed(answer);
    let mut version = None;
    let mut list = Vec::new();
    while let Some(line) = reader.next()? {
        match line {
            Line::Data(line) if version.is_some() => list.push(capability(trimmed(&line))),
            Line::Data(line) if line.starts_with(b"# service=") => {}
            Line::Data(line) if trimmed(&line) == "version 2" => version = Some(2),
            Line::Data(_) => return Ok(None),
            Line::Flush if version.is_some() => return Ok(Some(Capabilities { list })),
            // The end of the preamble that some servers send before `version 2`.
            Line::Flush => {}
            Line::Delimiter | Line::ResponseEnd => return Err(unexpected("a special line among capabilities", b"")),
        }
    }
    match version {
        Some(_) => Err(premature("the end of the capabilities")),
        None => Ok(None),
    }
}

/// Returns the request for the refs that start with one of `prefixes` (gitprotocol-v2, *ls-refs*). The server may send
/// more.
pub fn ls_refs_request(capabilities: &Capabilities, prefixes: &[BString]) -> Vec<u8> {
    let mut out = command("ls-refs", capabilities);
    // Without prefixes the server sends all refs, which an empty prefix asks for, too.
    for prefix in prefixes
        .iter()
        .filter(|_| prefixes.iter().all(|prefix| !prefix.is_empty()))
    {
        let mut line = b"ref-prefix ".to_vec();
        line.push_str(&prefix[..prefix.len().min(MAX_PREFIX)]);
        line.push(b'\n');
        pkt_line::data(&mut out, &line);
    }
    pkt_line::flush(&mut out);
    out
}

/// A parser of the answer to `ls-refs`, which arrives in pieces.
#[derive(Debug)]
pub struct LsRefs {
    object_format: Kind,
    answer: Answer<BTreeMap<BString, ObjectId>>,
}

impl LsRefs {
    /// Creates a parser of the answer of a server with these capabilities.
    ///
    /// # Errors
    /// The server's object format is unknown.
    pub fn new(capabilities: &Capabilities) -> Result<Self, WireError> {
        let object_format = match capabilities.value("object-format").map(|name| name.as_bytes()) {
            None | Some(b"sha1") => Kind::Sha1,
            Some(b"sha256") => Kind::Sha256,
            Some(other) => return Err(unexpected("an object format other than sha1 and sha256", other)),
        };
        Ok(LsRefs {
            object_format,
            answer: Answer::new(git_push::advertisement::MAX_BYTES, BTreeMap::new()),
        })
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// The piece cannot be part of an answer to `ls-refs`, names a ref a second time, or is an `ERR` line.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let object_format = self.object_format;
        self.answer.feed(bytes, |refs, line| match line {
            Line::Data(line) => {
                let line = trimmed(&line);
                let RemoteRef { name, id } = remote_ref(line, object_format)?;
                if refs.insert(name, id).is_some() {
                    return Err(unexpected("a ref that was listed before", line));
                }
                Ok(ControlFlow::Continue(()))
            }
            Line::Flush => Ok(ControlFlow::Break(())),
            Line::Delimiter | Line::ResponseEnd => Err(unexpected("a special line among refs", b"")),
        })
    }

    /// Returns true if the answer is complete, and nothing follows on a connection that stays open.
    pub fn has_ended(&self) -> bool {
        self.answer.has_ended()
    }

    /// Returns the refs, sorted by name.
    ///
    /// # Errors
    /// The final flush-pkt did not arrive.
    pub fn finish(self) -> Result<Vec<RemoteRef>, WireError> {
        if !self.answer.has_ended() {
            return Err(premature("the end of the list of refs"));
        }
        let refs = self.answer.content.into_iter();
        Ok(refs.map(|(name, id)| RemoteRef { name, id }).collect())
    }
}

/// Starts a request: the command, and the delim-pkt before its arguments.
pub(crate) fn command(name: &str, capabilities: &Capabilities) -> Vec<u8> {
    let mut out = Vec::new();
    pkt_line::data(&mut out, format!("command={name}\n").as_bytes());
    // A request without it is in sha1.
    if let Some(format) = capabilities.value("object-format").filter(|format| *format != "sha1") {
        pkt_line::data(&mut out, format!("object-format={format}\n").as_bytes());
    }
    pkt_line::delimiter(&mut out);
    out
}

fn capability(line: &BStr) -> (BString, Option<BString>) {
    match line.split_once_str("=") {
        Some((name, value)) => (name.into(), Some(value.into())),
        None => (line.into(), None),
    }
}

fn remote_ref(line: &BStr, object_format: Kind) -> Result<RemoteRef, WireError> {
    refuse_err(line)?;
    let mut fields = line.split_str(" ");
    let (Some(id), Some(name)) = (fields.next(), fields.next()) else {
        return Err(unexpected("expected `<id> <name>`", line));
    };
    let id = ObjectId::from_hex(id).ok().filter(|id| id.kind() == object_format);
    let id = id.ok_or_else(|| unexpected("expected an object id of the server's object format", line))?;
    if gix::validate::reference::name(name.as_bstr()).is_err() {
        return Err(unexpected("not a valid ref name", line));
    }
    Ok(RemoteRef { name: name.into(), id })
}

pub(crate) fn trimmed(line: &BString) -> &BStr {
    line.strip_suffix(b"\n").unwrap_or(line).as_bstr()
}

pub(crate) fn refuse_err(line: &BStr) -> Result<(), WireError> {
    match line.strip_prefix(b"ERR ") {
        Some(words) => Err(said(words, true)),
        None => Ok(()),
    }
}

pub(crate) fn said(words: &[u8], refused: bool) -> WireError {
    let words = git_push::cleaned(words);
    Fault::Said { words, refused }.into()
}

pub(crate) fn unexpected(why: &'static str, line: &[u8]) -> WireError {
    let line = line[..line.len().min(git_push::MAX_LINE)].into();
    Fault::Line { why, line }.into()
}

pub(crate) fn premature(awaited: &'static str) -> WireError {
    Fault::Premature { awaited }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2";

    fn lines(lines: &[&[u8]], end: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in lines {
            pkt_line::data(&mut out, line);
        }
        out.extend_from_slice(end);
        out
    }

    fn offered() -> Capabilities {
        let answer = lines(
            &[
                b"version 2\n",
                b"agent=git/2.47\n",
                b"ls-refs=unborn\n",
                b"fetch=shallow filter\n",
                b"object-format=sha1\n",
            ],
            b"0000",
        );
        protocol_2(&answer).expect("well-formed").expect("protocol 2")
    }

    fn ls_refs(pieces: &[&[u8]]) -> Result<Vec<RemoteRef>, WireError> {
        let mut parser = LsRefs::new(&offered())?;
        for piece in pieces {
            parser.feed(piece)?;
        }
        parser.finish()
    }

    #[test]
    fn capabilities_are_found_with_and_without_a_preamble() {
        assert_eq!(offered().value("fetch"), Some("shallow filter".into()));
        let mut answer = lines(&[b"# service=git-upload-pack\n"], b"0000");
        answer.extend(lines(&[b"version 2\n", b"fetch\n"], b"0000"));
        assert!(
            protocol_2(&answer)
                .expect("well-formed")
                .is_some_and(|offered| offered.offers("fetch"))
        );
    }

    #[test]
    fn older_protocols_are_not_taken_for_protocol_2() {
        let first_ref = format!("{ID} refs/heads/main\0agent=git/1\n");
        for first in [first_ref.as_bytes(), b"version 1\n"] {
            let mut answer = lines(&[b"# service=git-upload-pack\n"], b"0000");
            answer.extend(lines(&[first], b"0000"));
            assert_eq!(protocol_2(&answer), Ok(None));
        }
        assert_eq!(protocol_2(b""), Ok(None));
        assert!(protocol_2(&lines(&[b"version 2\n"], b"")).is_err(), "it breaks off");
    }

    #[test]
    fn commands_are_as_documented() {
        let asked = ls_refs_request(&offered(), &["refs/kv/".into(), "refs/kv-mirror/main".into()]);
        let expected = b"0014command=ls-refs\n00010018ref-prefix refs/kv/\n0023ref-prefix refs/kv-mirror/main\n0000";
        assert_eq!(asked.as_bstr(), expected.as_bstr());
        let everything = ls_refs_request(&offered(), &["refs/kv/".into(), "".into()]);
        assert!(!everything.contains_str("ref-prefix"), "{}", everything.as_bstr());
        let long = ls_refs_request(&offered(), &["x".repeat(100_000).into()]);
        assert!(long.len() < 2 * MAX_PREFIX);
    }

    #[test]
    fn refs_are_the_same_wherever_the_bytes_are_cut() {
        let first = format!("{ID} refs/kv/main\n");
        let second = format!("{ID} refs/tags/v1 peeled:{ID}\n");
        let mut bytes = lines(&[first.as_bytes(), second.as_bytes()], b"0000");
        bytes.extend_from_slice(b"what comes after does not count");
        for at in 0..bytes.len() {
            let refs = ls_refs(&[&bytes[..at], &bytes[at..]]).expect("refs");
            let names: Vec<_> = refs.iter().map(|found| found.name.to_string()).collect();
            assert_eq!(names, ["refs/kv/main", "refs/tags/v1"], "cut at {at}");
        }
    }

    #[test]
    fn a_ref_that_is_listed_twice_is_a_protocol_error() {
        let other = ID.replace('a', "b");
        for second in [ID, &other] {
            let again = [format!("{ID} refs/kv/main\n"), format!("{second} refs/kv/main\n")];
            let again = again.each_ref().map(|line| line.as_bytes());
            match ls_refs(&[&lines(&again, b"0000")]).expect_err("twice").fault {
                Fault::Line { why, .. } => assert_eq!(why, "a ref that was listed before"),
                fault => panic!("{fault}"),
            }
        }
    }

    #[test]
    fn other_answers_are_refused() {
        let long = format!("{} refs/kv/main\n", "ab".repeat(32));
        let invalid = format!("{ID} refs/../main\n");
        for bad in [long.as_bytes(), invalid.as_bytes(), b"unborn HEAD\n", b"word\n"] {
            let error = ls_refs(&[&lines(&[bad], b"0000")]).expect_err("not a ref");
            assert!(matches!(error.fault, Fault::Line { .. }), "{error}");
        }
        let error = ls_refs(&[&lines(&[b"ERR not now\n"], b"")]).expect_err("an error of the server");
        assert_eq!(
            (error.to_string().as_str(), error.kind()),
            ("the server says: not now", git_push::ErrorKind::Rejected)
        );
        assert!(matches!(
            ls_refs(&[]).expect_err("nothing").fault,
            Fault::Premature { .. }
        ));
        assert!(matches!(
            ls_refs(&[b"0001"]).expect_err("a delimiter").fault,
            Fault::Line { .. }
        ));
    }
}
