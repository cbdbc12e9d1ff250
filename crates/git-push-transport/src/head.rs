//! HEAD of a remote, as a reader sees it (gitprotocol-v2, *ls-refs*, `symrefs` and `unborn`; gitprotocol-capabilities,
//! `symref`).
use std::ops::ControlFlow;

use bstr::{BStr, BString, ByteSlice};
use git_push::{
    Advertisement, Capabilities, WireError,
    pkt_line::{self, Answer, Line},
};
use gix::ObjectId;

use crate::upload_pack::{command, premature, refuse_err, trimmed, unexpected};

const HEAD: &str = "HEAD";
/// Limit of an answer, in bytes. It has one line, unless the server ignores the prefix.
const MAX_BYTES: u64 = git_push::advertisement::MAX_BYTES;

/// HEAD of a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// It names this ref, which exists.
    Names(BString),
    /// It names a ref that does not exist. None if the server does not report which one.
    Dangles(Option<BString>),
    /// It has this id. It is detached, or the server does not report names.
    Detached(ObjectId),
}

/// Returns the request for HEAD, of a server that offers `capabilities`.
pub(crate) fn request(capabilities: &Capabilities) -> Vec<u8> {
    let mut out = command("ls-refs", capabilities);
    pkt_line::data(&mut out, b"symrefs\n");
    let offered = capabilities.value("ls-refs").unwrap_or_default();
    if offered.split_str(" ").any(|word| word == b"unborn") {
        pkt_line::data(&mut out, b"unborn\n");
    }
    pkt_line::data(&mut out, b"ref-prefix HEAD\n");
    pkt_line::flush(&mut out);
    out
}

/// Parser of the answer, from bytes that arrive in pieces.
#[derive(Debug)]
pub(crate) struct Parser(Answer<Option<Head>>);

impl Parser {
    pub(crate) fn new() -> Self {
        Parser(Answer::new(MAX_BYTES, None))
    }

    /// Takes the next piece.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.0.feed(bytes, |found, line| match line {
            Line::Data(line) => {
                let head = head_of(trimmed(&line))?;
                *found = head.or(found.take());
                Ok(ControlFlow::Continue(()))
            }
            Line::Flush => Ok(ControlFlow::Break(())),
            Line::Delimiter | Line::ResponseEnd => Err(unexpected("a special line among refs", b"")),
        })
    }

    /// Returns true if the answer is complete.
    #[cfg(any(feature = "daemon", feature = "ssh"))]
    pub(crate) fn has_ended(&self) -> bool {
        self.0.has_ended()
    }

    /// Returns HEAD. If the server does not list it, HEAD names nothing.
    pub(crate) fn finish(self) -> Result<Head, WireError> {
        if self.0.has_ended() {
            Ok(self.0.content.unwrap_or(Head::Dangles(None)))
        } else {
            Err(premature("the end of the list of refs"))
        }
    }
}

/// Returns HEAD of a server that sent everything at once, in protocol 0 or 1.
pub(crate) fn advertised(advertisement: &Advertisement) -> Head {
    let values = advertisement.capabilities.list.iter();
    let mut targets = values.filter_map(|(name, value)| {
        let value = value.as_ref().filter(|_| name == "symref")?;
        value.strip_prefix(b"HEAD:")
    });
    match (targets.next(), advertisement.id(HEAD.into())) {
        (Some(target), _) => Head::Names(target.into()),
        (None, Some(id)) => Head::Detached(id),
        (None, None) => Head::Dangles(None),
    }
}

/// Returns HEAD, if this line is about it: `<id or "unborn"> SP HEAD [SP symref-target:<name>]`.
fn head_of(line: &BStr) -> Result<Option<Head>, WireError> {
    refuse_err(line)?;
    let mut fields = line.split_str(" ");
    let (Some(id), Some(name)) = (fields.next(), fields.next()) else {
        return Err(unexpected("expected `<id> <name>`", line));
    };
    if name != HEAD.as_bytes() {
        return Ok(None);
    }
    let target = fields.find_map(|field| field.strip_prefix(b"symref-target:"));
    let target = target.map(BString::from);
    let is_name = |target: &BString| gix::validate::reference::name(target.as_bstr()).is_ok();
    if !target.as_ref().is_none_or(is_name) {
        return Err(unexpected("not a valid ref name", line));
    }
    Ok(Some(match (id, target) {
        (b"unborn", target) => Head::Dangles(target),
        (_, Some(target)) => Head::Names(target),
        (id, None) => {
            let id = ObjectId::from_hex(id).map_err(|_| unexpected("expected an object id", line))?;
            Head::Detached(id)
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2";

    fn parsed(lines: &[String]) -> Result<Head, WireError> {
        let mut bytes = Vec::new();
        for line in lines {
            pkt_line::data(&mut bytes, line.as_bytes());
        }
        pkt_line::flush(&mut bytes);
        let mut parser = Parser::new();
        for piece in bytes.chunks(7) {
            parser.feed(piece)?;
        }
        parser.finish()
    }

    #[test]
    fn head_names_a_ref_dangles_or_is_detached() {
        let main = || Some(BString::from("refs/heads/main"));
        for (lines, expected) in [
            (
                vec![format!("{ID} HEAD symref-target:refs/heads/main\n")],
                Head::Names("refs/heads/main".into()),
            ),
            (
                vec!["unborn HEAD symref-target:refs/heads/main\n".to_owned()],
                Head::Dangles(main()),
            ),
            (
                vec![format!("{ID} HEAD\n")],
                Head::Detached(ObjectId::from_hex(ID.as_bytes()).unwrap()),
            ),
            (vec![], Head::Dangles(None)),
            (vec![format!("{ID} refs/heads/main\n")], Head::Dangles(None)),
        ] {
            assert_eq!(parsed(&lines).expect("well-formed"), expected, "{lines:?}");
        }
        for bad in ["HEAD\n", "word HEAD\n", "unborn HEAD symref-target:a..b\n", "ERR no\n"] {
            assert!(parsed(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(Parser::new().finish().is_err(), "the end is missing");
    }

    #[test]
    fn an_older_server_names_it_among_its_capabilities() {
        let capability = |name: &str, value: &str| (name.into(), Some(value.into()));
        let mut advertisement = Advertisement::default();
        assert_eq!(advertised(&advertisement), Head::Dangles(None));
        let id = ObjectId::from_hex(ID.as_bytes()).unwrap();
        advertisement.refs.insert(HEAD.into(), id);
        assert_eq!(advertised(&advertisement), Head::Detached(id));
        advertisement.capabilities.list = vec![
            capability("symref", "refs/heads/a:refs/heads/b"),
            capability("symref", "HEAD:refs/heads/main"),
        ];
        assert_eq!(advertised(&advertisement), Head::Names("refs/heads/main".into()));
    }

    #[test]
    fn unborn_is_asked_for_where_it_is_offered() {
        let offering = |value: Option<&str>| Capabilities {
            list: vec![("ls-refs".into(), value.map(BString::from))],
        };
        let asks = |value| request(&offering(value)).contains_str("unborn");
        assert!(asks(Some("unborn")) && !asks(None));
    }
}
