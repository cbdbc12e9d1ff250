//! What a server offers to readers, whatever carries it: protocol 2, or everything at once in an older one.
use bstr::BString;
use git_push::{Advertisement, Capabilities, Error, RemoteRef};
use gix::ObjectId;

use super::fetch::{self, Extent, PackStream};
use super::received::MAX_PACK;
use super::upload_pack;

/// What a reader is told when it asks what there is.
pub(super) enum Reading {
    /// What it can be asked.
    Protocol2(Capabilities),
    /// Everything at once, in protocol 0 or 1.
    Older(Advertisement),
}

impl Reading {
    /// Takes the whole answer.
    pub(super) fn parse(answer: &[u8]) -> Result<Self, Error> {
        if let Some(capabilities) = upload_pack::protocol_2(answer)? {
            return Ok(Reading::Protocol2(capabilities));
        }
        let mut parser = git_push::advertisement::Parser::new();
        parser.feed(answer)?;
        Ok(Reading::Older(parser.finish()?))
    }

    /// How to ask for `want` and what is before it, but for `haves`; and what takes the answer.
    pub(super) fn fetch_request(
        &self,
        want: ObjectId,
        haves: &[ObjectId],
        extent: Extent,
    ) -> Result<(Vec<u8>, PackStream), Error> {
        Ok(match self {
            Reading::Protocol2(capabilities) => (
                fetch::fetch_request(capabilities, want, haves, extent),
                PackStream::new(MAX_PACK),
            ),
            Reading::Older(advertisement) => (
                fetch::older_fetch_request(&advertisement.capabilities, want, haves, extent)?,
                PackStream::older(MAX_PACK),
            ),
        })
    }
}

/// Those of `refs` that were asked for: a prefix is a hint that a server may ignore.
pub(super) fn asked_for(refs: Vec<RemoteRef>, prefixes: &[BString]) -> Vec<RemoteRef> {
    let asked = |found: &RemoteRef| prefixes.iter().any(|prefix| found.name.starts_with(prefix));
    refs.into_iter().filter(asked).collect()
}
