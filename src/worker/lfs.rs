//! LFS objects of a cycle: carried before each push.
use git_push::{Advertisement, Command, Error};
use git_push_transport::{Location, Settings};

use super::{repository::Stargate, session::Session};
use crate::{
    journal,
    lfs::{Carried, Carrier, Head},
    refs::LocalRef,
};

/// Creates the carrier to the mirror that this session has opened.
pub(super) fn carrier(session: &Session<'_>, reached: Option<&(Location, Settings)>) -> Option<Carrier> {
    let (location, settings) = reached?;
    let name = session
        .chosen
        .remote(session.options, session.environment)
        .unwrap_or_default();
    Some(Carrier::new(
        &session.config,
        (location, settings),
        &name,
        session.git_dir.join(journal::FOLDER),
        head(session.view.stargate()),
    ))
}

/// Returns the commit of HEAD.
pub fn head(stargate: &Stargate) -> Head {
    match stargate.head().0 {
        LocalRef::Id(id) => Ok(Some(id)),
        LocalRef::Absent => Ok(None),
        LocalRef::Unreadable(why) => Err(why.to_string()),
    }
}

/// Carries the objects that these commands need.
pub(super) fn carry(
    carrier: &mut Option<Carrier>,
    repository: &gix::Repository,
    advertisement: &Advertisement,
    commands: &[Command],
) -> Result<(), Error> {
    match carrier {
        Some(carrier) => carrier.carry(repository, advertisement, commands),
        None => Ok(()),
    }
}

/// Returns what was carried; none if no pointer was pushed.
pub(super) fn carried(carrier: Option<&Carrier>) -> Option<Carried> {
    carrier.and_then(Carrier::carried)
}
