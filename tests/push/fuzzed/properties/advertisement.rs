//! The ref advertisement: it is parsed alike, however it is cut, and half of it is incomplete.
use bstr::ByteSlice;
use git_push::{Advertisement, WireError, advertisement::Parser, pkt_line};

use super::{beginnings, pieces};

pub fn check(bytes: &[u8]) {
    let whole = parse([bytes]);
    assert_eq!(parse(pieces(bytes)), whole, "in pieces");
    for beginning in beginnings(bytes) {
        if let Ok(advertisement) = parse([beginning]) {
            // Bytes after the end are ignored.
            assert_eq!(Ok(advertisement), whole);
        }
    }
    if let Ok(advertisement) = whole {
        check_content(&advertisement, bytes);
        assert_eq!(parse([&written(&advertisement)[..]]), Ok(advertisement));
    }
}

fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Advertisement, WireError> {
    let mut parser = Parser::new();
    pieces.into_iter().try_for_each(|piece| parser.feed(piece))?;
    parser.finish()
}

fn check_content(advertisement: &Advertisement, bytes: &[u8]) {
    let ids = advertisement
        .refs
        .values()
        .chain(&advertisement.haves)
        .chain(&advertisement.shallow);
    let kinds: std::collections::BTreeSet<_> = ids.map(|id| id.kind().len_in_hex()).collect();
    assert!(kinds.len() <= 1, "ids of one kind: {kinds:?}");
    for (name, id) in &advertisement.refs {
        assert!(!id.is_null());
        assert!(gix::validate::reference::name(name.as_bstr()).is_ok(), "{name:?}");
        assert!(bytes.contains_str(name.as_bytes()), "{name:?} was never said");
    }
}

/// The same, as a server of protocol 0 writes it.
fn written(advertisement: &Advertisement) -> Vec<u8> {
    let capabilities = advertisement.capabilities.list.iter().map(|(name, value)| match value {
        Some(value) => [name.as_slice(), b"=", value].concat(),
        None => name.to_vec(),
    });
    let capabilities = bstr::join(" ", capabilities);
    let line = |id: &gix::ObjectId, name: &[u8]| [id.to_string().as_bytes(), b" ", name].concat();
    let refs = advertisement.refs.iter().map(|(name, id)| line(id, name));
    let haves = advertisement.haves.iter().map(|id| line(id, b".have"));
    let shallow = advertisement
        .shallow
        .iter()
        .map(|id| format!("shallow {id}").into_bytes());
    let mut lines: Vec<_> = refs.chain(haves).collect();
    if lines.is_empty() {
        let sha256 = advertisement
            .capabilities
            .value("object-format")
            .is_some_and(|format| format == "sha256");
        lines.push(format!("{} capabilities^{{}}", "0".repeat(if sha256 { 64 } else { 40 })).into_bytes());
    }
    lines[0] = [&lines[0][..], b"\0", &capabilities].concat();
    let mut out = Vec::new();
    for line in lines.into_iter().chain(shallow) {
        pkt_line::data(&mut out, &[&line[..], b"\n"].concat());
    }
    pkt_line::flush(&mut out);
    out
}
