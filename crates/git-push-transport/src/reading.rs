//! Reading from a server over any transport: in protocol 2, or from the whole advertisement of an older protocol.
use bstr::BString;
use git_push::{Advertisement, Capabilities, Error, RemoteRef, WireError, advertisement};

use crate::fetch::{self, PackStream, Wanted};
use crate::received::MAX_PACK;
use crate::upload_pack::{self, LsRefs};

/// The first answer of a server to a reader.
pub(crate) enum Reading {
    /// Capabilities of protocol 2.
    Protocol2(Capabilities),
    /// All refs, in protocol 0 or 1.
    Older(Advertisement),
}

/// The refs that were asked for.
pub(crate) enum RefsAnswer {
    /// The first answer has them.
    Complete(Vec<RemoteRef>),
    /// Another request is needed.
    Asked {
        /// The request.
        request: Vec<u8>,
        /// The parser of the answer.
        parser: RefsParser,
    },
}

/// A parser of the answer to a request for refs.
pub(crate) struct RefsParser {
    parser: LsRefs,
    prefixes: Vec<BString>,
}

impl Reading {
    /// Parses the whole answer.
    pub(crate) fn parse(answer: &[u8]) -> Result<Self, Error> {
        if let Some(capabilities) = upload_pack::protocol_2(answer)? {
            return Ok(Reading::Protocol2(capabilities));
        }
        let mut parser = advertisement::Parser::new();
        parser.feed(answer)?;
        Ok(Reading::Older(parser.finish()?))
    }

    /// Returns the refs that start with one of `prefixes`, or the request for them.
    pub(crate) fn refs(self, prefixes: &[BString]) -> Result<RefsAnswer, WireError> {
        Ok(match self {
            Reading::Protocol2(capabilities) => RefsAnswer::Asked {
                request: upload_pack::ls_refs_request(&capabilities, prefixes),
                parser: RefsParser {
                    parser: LsRefs::new(&capabilities)?,
                    prefixes: prefixes.to_owned(),
                },
            },
            Reading::Older(advertisement) => RefsAnswer::Complete(asked_for(advertisement.into_refs(), prefixes)),
        })
    }

    /// Returns the request for `wanted`, and the parser of the answer.
    pub(crate) fn fetch_request(&self, wanted: Wanted<'_>) -> Result<(Vec<u8>, PackStream), Error> {
        Ok(match self {
            Reading::Protocol2(capabilities) => (fetch::fetch_request(capabilities, wanted), PackStream::new(MAX_PACK)),
            Reading::Older(advertisement) => (
                fetch::older_fetch_request(&advertisement.capabilities, wanted)?,
                PackStream::older(MAX_PACK),
            ),
        })
    }
}

impl RefsParser {
    /// Takes the next piece.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<(), WireError> {
        self.parser.feed(piece)
    }

    /// Returns true if the answer is complete.
    pub(crate) fn has_ended(&self) -> bool {
        self.parser.has_ended()
    }

    /// Returns the refs that were asked for.
    pub(crate) fn finish(self) -> Result<Vec<RemoteRef>, WireError> {
        Ok(asked_for(self.parser.finish()?, &self.prefixes))
    }
}

/// Keeps the refs that start with one of `prefixes`: a server may ignore them and send all.
fn asked_for(refs: Vec<RemoteRef>, prefixes: &[BString]) -> Vec<RemoteRef> {
    let asked = |found: &RemoteRef| prefixes.iter().any(|prefix| found.name.starts_with(prefix));
    refs.into_iter().filter(asked).collect()
}
