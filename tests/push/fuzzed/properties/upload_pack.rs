//! Answers of `git-upload-pack`: capabilities and refs of protocol 2, and packs.
use bstr::ByteSlice;
use git_push::{Capabilities, RemoteRef, WireError, pkt_line};
use git_push_transport::fuzzed::{LsRefs, PackStream, ls_refs_request, protocol_2};

use super::{beginnings, control, pieces};

/// Maximum size of the answer with a pack.
const LIMIT: u64 = 1 << 20;

/// The first byte selects the request.
pub fn check(bytes: &[u8]) {
    match control(bytes, 4) {
        (0, bytes) => check_capabilities(bytes),
        (1, bytes) => check_refs(bytes),
        (2, bytes) => check_pack(bytes, PackStream::new),
        (_, bytes) => check_pack(bytes, PackStream::older),
    }
}

fn check_capabilities(bytes: &[u8]) {
    let Ok(Some(offered)) = protocol_2(bytes) else { return };
    assert_eq!(
        protocol_2(&[bytes, b"0000"].concat()),
        Ok(Some(offered.clone())),
        "what follows does not count"
    );
    if let Ok(parser) = LsRefs::new(&offered) {
        assert!(parser.finish().is_err(), "nothing came");
        // The request that follows consists of pkt-lines, whatever the server offers.
        let asked = ls_refs_request(&offered, &["refs/kv/".into()]);
        let mut reader = pkt_line::Reader::new(asked.len() as u64);
        reader.feed(&asked);
        while reader.next().expect("pkt-lines").is_some() {}
        assert!(reader.is_drained());
    }
}

fn check_refs(bytes: &[u8]) {
    let whole = refs([bytes]);
    assert_eq!(refs(pieces(bytes)), whole, "in pieces");
    for beginning in beginnings(bytes) {
        if let Ok(found) = refs([beginning]) {
            assert_eq!(Ok(found), whole);
        }
    }
    for RemoteRef { name, id } in whole.unwrap_or_default() {
        assert!(gix::validate::reference::name(name.as_bstr()).is_ok(), "{name:?}");
        assert!(bytes.contains_str(name.as_bytes()) && id.kind() == gix::hash::Kind::Sha1);
    }
}

fn refs<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<RemoteRef>, WireError> {
    let mut parser = LsRefs::new(&Capabilities::default())?;
    pieces.into_iter().try_for_each(|piece| parser.feed(piece))?;
    parser.finish()
}

fn check_pack(bytes: &[u8], stream: fn(u64) -> PackStream) {
    let (pack, whole) = pack([bytes], stream);
    assert_eq!(
        self::pack(pieces(bytes), stream),
        (pack.clone(), whole.clone()),
        "in pieces"
    );
    assert!(pack.len() <= bytes.len());
    for beginning in beginnings(bytes) {
        let (part, end) = self::pack([beginning], stream);
        assert!(pack.starts_with(&part));
        assert!(end.is_err() || (part.len() == pack.len() && whole.is_ok()));
    }
}

/// The bytes of the pack so far, and true if it is complete.
fn pack<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    stream: fn(u64) -> PackStream,
) -> (Vec<u8>, Result<(), WireError>) {
    let mut stream = stream(LIMIT);
    let mut pack = Vec::new();
    let fed = pieces.into_iter().try_for_each(|piece| stream.feed(piece, &mut pack));
    (pack, fed.and_then(|()| stream.finish()))
}
