//! Mirror and sources of LFS objects, and the transfer from one to the other.
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use git_push::{Error, Traffic};

use super::{
    action::Action,
    batch::{Operation, Verdict},
    failure,
    folder::Folder,
    server::Server,
    source::Sources,
};
use crate::lfs_pointer::Pointer;

/// Number of objects that are sent at once.
const AT_ONCE: usize = 4;

/// Mirror and sources, opened when the first pointer is found.
pub(super) struct Places {
    pub(super) mirror: Mirror,
    pub(super) sources: Sources,
}

/// The mirror's LFS objects.
pub(super) enum Mirror {
    Server(Box<Server>),
    Folder(Folder),
    None,
}

/// An object that the mirror lacks, with the way to send it.
pub(super) struct Lacking {
    pub(super) pointer: Pointer,
    way: Way,
}

/// Result of one object.
pub(super) enum Sent {
    Uploaded,
    Missing,
    Expired,
}

/// Way to send an object to the mirror.
pub(super) enum Way {
    /// An upload, and a verification if the server asks for it.
    Server(Action, Option<Action>),
    Folder,
}

impl Lacking {
    pub(super) fn new(pointer: Pointer, way: Way) -> Self {
        Lacking { pointer, way }
    }
}

impl Places {
    /// Returns the requests to LFS servers so far.
    pub(super) fn traffic(&self) -> Traffic {
        let mirror = match &self.mirror {
            Mirror::Server(server) => Some(&**server),
            Mirror::Folder(_) | Mirror::None => None,
        };
        let servers = mirror.into_iter().chain(&self.sources.server);
        let mut traffic = Traffic::default();
        for server in servers.map(Server::traffic) {
            traffic.http_requests += server.http_requests;
            traffic.bytes_sent += server.bytes_sent;
        }
        traffic
    }
}

/// The way to send an object; none if the mirror has it. An error is the reason why the mirror refuses it.
type Answer = Result<Option<Way>, Error>;

impl Mirror {
    /// Returns, for each object, none if the mirror has it, or the way to send it, or the reason why the mirror refuses it.
    /// Returns none if the mirror has no LFS.
    pub(super) fn lacking(&self, pointers: &[Pointer], reference: Option<&str>) -> Result<Option<Vec<Answer>>, Error> {
        match self {
            Mirror::None => Ok(None),
            Mirror::Folder(folder) => {
                let has = pointers
                    .iter()
                    .map(|pointer| Ok((!folder.has(pointer)?).then_some(Way::Folder)));
                Ok(Some(has.collect()))
            }
            Mirror::Server(server) => {
                let Some(verdicts) = server.batch(Operation::Upload, pointers, reference)? else {
                    return Ok(None);
                };
                let ways = pointers.iter().zip(verdicts).map(|(pointer, verdict)| match verdict {
                    Verdict::Present | Verdict::Download(_) => Ok(None),
                    Verdict::Upload { action, verify } => Ok(Some(Way::Server(action, verify))),
                    Verdict::Refused(refusal) => {
                        let error = failure::of_object(&pointer.oid, "upload", refusal.code, None);
                        let message = server.scrubbed(&refusal.message);
                        let what = format!("{error}: {message}");
                        Err(if message.is_empty() {
                            error
                        } else {
                            error.reworded(what)
                        })
                    }
                });
                Ok(Some(ways.collect()))
            }
        }
    }

    fn send(&self, sources: &Sources, lacking: &Lacking, is_expired: &dyn Fn(&Action) -> bool) -> Result<Sent, Error> {
        let Some(mut object) = sources.open(&lacking.pointer)? else {
            return Ok(Sent::Missing);
        };
        match (self, &lacking.way) {
            (Mirror::Folder(folder), _) => folder.put(&mut object)?,
            (Mirror::Server(_), Way::Server(action, _)) if is_expired(action) => return Ok(Sent::Expired),
            (Mirror::Server(server), Way::Server(action, verify)) => {
                server.upload(&mut object, action, verify.as_ref())?;
            }
            (Mirror::Server(_) | Mirror::None, _) => return Ok(Sent::Missing),
        }
        Ok(Sent::Uploaded)
    }
}

/// Sends these objects, several at once, and returns the results in their order. If the server asks to wait, the rest is not
/// sent, and has the same error.
pub(super) fn send_all(
    places: &Places,
    lacking: &[Lacking],
    is_expired: impl Fn(&Action) -> bool + Sync,
) -> Vec<Result<Sent, Error>> {
    let next = Mutex::new(0..lacking.len());
    let results = Mutex::new(BTreeMap::new());
    let asked_to_wait = Mutex::new(None);
    let send = |one: &Lacking| {
        if let Some(error) = &*locked(&asked_to_wait) {
            return Err(failure::copy(error));
        }
        let result = places.mirror.send(&places.sources, one, &is_expired);
        if let Err(error) = &result
            && error.retry_after().is_some()
        {
            *locked(&asked_to_wait) = Some(failure::copy(error));
        }
        result
    };
    let work = || {
        loop {
            let index = locked(&next).next();
            let Some(index) = index else { return };
            let result = send(&lacking[index]);
            locked(&results).insert(index, result);
        }
    };
    thread::scope(|scope| {
        for _ in 1..AT_ONCE.min(lacking.len()) {
            scope.spawn(work);
        }
        work();
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.into_values().collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
