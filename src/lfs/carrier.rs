//! Driver: carries the LFS objects that a push needs to the mirror.
use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread,
};

use bstr::{BStr, ByteSlice};
use git_push::{Advertisement, Command, Error, ErrorKind};
use git_push_transport::{Location, Settings};
use gix::ObjectId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    action::Action,
    batch::{MAX_OBJECTS, Operation, Verdict},
    endpoint::{Endpoint, Named, same_origin},
    failure,
    folder::Folder,
    in_use::in_use,
    pointer::Pointer,
    scan,
    server::Server,
    source::Sources,
};
use crate::config::{Config, LfsSetting};

/// Number of objects that are sent at once.
const AT_ONCE: usize = 4;
/// Number of batch requests for an object whose action has expired. The last action is used in any case: the clocks may differ.
const MAX_ROUNDS: usize = 3;
/// Number of missing objects that a message names.
const MAX_NAMED: usize = 5;

/// Objects that a cycle carried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Number of objects that were uploaded.
    pub uploaded: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Number of objects that neither the mirror nor the Stargate has.
    pub missing: u64,
    /// Reason why refs were pushed without their objects (`stargate.lfs = auto`).
    pub not_carried: Option<String>,
}

/// The commit of HEAD, if there is one, or the reason why it cannot be read.
pub type Head = Result<Option<ObjectId>, String>;

/// Carrier of the objects of one repository to one mirror.
pub struct Carrier {
    setting: LfsSetting,
    location: Location,
    remote: String,
    settings: Settings,
    lfs_url: Option<bstr::BString>,
    store: Option<PathBuf>,
    temporary: PathBuf,
    head: Head,
    /// Objects that the mirror was seen to have.
    confirmed: HashSet<Pointer>,
    /// Objects that are known to be missing.
    missing: HashSet<Pointer>,
    carried: Carried,
    opened: Option<Places>,
}

/// Mirror and sources, opened when the first pointer is found.
struct Places {
    mirror: Mirror,
    sources: Sources,
}

enum Mirror {
    Server(Box<Server>),
    Folder(Folder),
    None,
}

/// An object that the mirror lacks, with the way to send it; none for a folder.
struct Lacking {
    pointer: Pointer,
    way: Option<(Action, Option<Action>)>,
}

/// Result of one object.
enum Sent {
    Uploaded,
    Missing,
    Expired,
}

impl Carrier {
    /// Creates a carrier to the mirror at `location`, which git configuration may name `remote`. Nothing is read or sent yet.
    pub fn new(
        config: &Config,
        (location, settings): (&Location, &Settings),
        remote: &str,
        temporary: PathBuf,
        head: Head,
    ) -> Self {
        Carrier {
            setting: config.lfs,
            location: location.clone(),
            remote: remote.to_owned(),
            settings: settings.clone(),
            lfs_url: config.lfs_url.clone(),
            store: config.lfs_store.clone(),
            temporary,
            head,
            confirmed: HashSet::new(),
            missing: HashSet::new(),
            carried: Carried::default(),
            opened: None,
        }
    }

    /// Returns what was carried so far; none if nothing was found.
    pub fn carried(&self) -> Option<Carried> {
        let carried = Carried {
            missing: self.missing.len() as u64,
            ..self.carried.clone()
        };
        (carried != Carried::default()).then_some(carried)
    }

    /// Uploads the objects that a push of `commands` needs and the mirror lacks. The refs may be pushed if this succeeds.
    ///
    /// # Errors
    /// [`ErrorKind::Broken`] if an object is missing or damaged in the Stargate, [`ErrorKind::Rejected`] if the server refuses one,
    /// and those of the connection.
    pub fn carry(
        &mut self,
        repository: &gix::Repository,
        advertisement: &Advertisement,
        commands: &[Command],
    ) -> Result<(), Error> {
        if self.setting == LfsSetting::Off || commands.iter().all(Command::is_delete) {
            return Ok(());
        }
        if advertisement.refs.is_empty() && self.may_skip(repository) {
            return Ok(());
        }
        let mut found = scan::new_pointers(repository, advertisement, commands)?;
        found.retain(|pointer, _| !self.confirmed.contains(pointer));
        if found.is_empty() {
            return Ok(());
        }
        let places = match self.opened.take() {
            Some(places) => places,
            None => self.open(repository)?,
        };
        let reference = commands.iter().find(|command| !command.is_delete());
        let reference = reference.and_then(|command| command.name.to_str().ok());
        let pointers: Vec<Pointer> = found.keys().cloned().collect();
        let mut sent = Ok(());
        for pointers in pointers.chunks(MAX_OBJECTS) {
            sent = sent.and(self.carry_some(&places, pointers, reference));
            if sent
                .as_ref()
                .is_err_and(|error: &Error| error.kind() == ErrorKind::Transient)
            {
                break;
            }
        }
        let cannot_carry = places.sources.is_empty();
        let shown = places.sources.shown();
        self.opened = Some(places);
        sent?;
        let missing: BTreeMap<&Pointer, ObjectId> = found
            .iter()
            .filter(|(pointer, _)| self.missing.contains(*pointer))
            .map(|(pointer, blob)| (pointer, *blob))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let lines = described(&missing, |blob| scan::place(repository, advertisement, commands, blob));
        if cannot_carry && self.setting == LfsSetting::Auto {
            self.carry_on_without(format!(
                "the Stargate has no LFS objects, and the mirror lacks {}",
                lines.join("; ")
            ));
            return Ok(());
        }
        let what = format!("{}; looked in {shown}", lines.join("; "));
        Err(Error::new(ErrorKind::Broken, what)
            .with_hint("push the objects with `git lfs push --all`, or set stargate.lfsStore or stargate.lfsUrl to the place that has them")
            .with_server_words(&lines))
    }

    /// Returns true if nothing could be carried, and the commit of HEAD does not use LFS: a look at all objects of a first push
    /// would only tell that a branch has pointers.
    fn may_skip(&self, repository: &gix::Repository) -> bool {
        let names_source = self.store.is_some() || self.lfs_url.is_some();
        self.setting == LfsSetting::Auto
            && !names_source
            && matches!(repository.common_dir().join("lfs").try_exists(), Ok(false))
            && matches!(in_use(repository, &self.head, self.setting, names_source), Ok(None))
    }

    /// Carries at most [`MAX_OBJECTS`] objects.
    fn carry_some(&mut self, places: &Places, pointers: &[Pointer], reference: Option<&str>) -> Result<(), Error> {
        let mut left = pointers.to_vec();
        let mut failed: Result<(), Error> = Ok(());
        for round in 1..=MAX_ROUNDS {
            let since = Timestamp::now();
            let Some(verdicts) = places.mirror.lacking(&left, reference)? else {
                let why = "the mirror has no LFS server, so the refs are pushed without their LFS objects";
                if self.setting == LfsSetting::Require {
                    return Err(Error::new(ErrorKind::Misconfigured, "the mirror has no LFS server")
                        .with_hint("enable LFS at the mirror, set lfs.url, or set stargate.lfs to auto"));
                }
                self.carry_on_without(why.to_owned());
                return Ok(());
            };
            let mut lacking = Vec::new();
            for (pointer, verdict) in left.iter().zip(verdicts) {
                match verdict {
                    Ok(None) => drop(self.confirmed.insert(pointer.clone())),
                    Ok(Some(way)) => lacking.push(Lacking {
                        pointer: pointer.clone(),
                        way: way.into_action(),
                    }),
                    Err(error) => failed = failed.and(Err(error)),
                }
            }
            let is_last = round == MAX_ROUNDS;
            let results = send_all(places, &lacking, |action| {
                !is_last && action.is_expired(since, Timestamp::now())
            });
            left.clear();
            for (lacking, result) in lacking.into_iter().zip(results) {
                match result {
                    Ok(Sent::Uploaded) => self.uploaded(lacking.pointer),
                    Ok(Sent::Missing) => drop(self.missing.insert(lacking.pointer)),
                    Ok(Sent::Expired) => left.push(lacking.pointer),
                    Err(error) => failed = failed.and(Err(error)),
                }
            }
            if left.is_empty() {
                break;
            }
        }
        failed
    }

    fn uploaded(&mut self, pointer: Pointer) {
        tracing::info!(oid = %pointer.oid, bytes = pointer.size, "uploaded an LFS object");
        self.carried.uploaded += 1;
        self.carried.bytes += pointer.size;
        self.missing.remove(&pointer);
        self.confirmed.insert(pointer);
    }

    fn carry_on_without(&mut self, why: String) {
        if self.carried.not_carried.as_ref() != Some(&why) {
            tracing::warn!("{why}");
            self.carried.not_carried = Some(why);
        }
    }

    fn open(&self, repository: &gix::Repository) -> Result<Places, Error> {
        let snapshot = repository.config_snapshot();
        let lfsconfig = lfsconfig(repository, &self.head)?;
        let named = Named::read(snapshot.plumbing(), lfsconfig.as_ref(), &self.remote);
        let mirror = match named.endpoint(&self.location)? {
            Endpoint::Http(url) => Mirror::Server(Box::new(self.server(&url)?)),
            Endpoint::Ssh(url) => Mirror::Server(Box::new(Server::over_ssh(&url, &self.settings)?)),
            Endpoint::Folder(path) => Mirror::Folder(Folder::of_repository(&path)?),
            Endpoint::None => Mirror::None,
        };
        let source = self.lfs_url.as_ref().map(|url| self.source(url.as_bstr()));
        let sources = Sources {
            own: repository.common_dir().join("lfs/objects"),
            store: self.store.clone(),
            server: source.transpose()?,
            temporary: self.temporary.clone(),
        };
        Ok(Places { mirror, sources })
    }

    fn source(&self, url: &BStr) -> Result<Server, Error> {
        match Endpoint::of_server(url)? {
            Endpoint::Http(url) => self.server(&url),
            _ => Err(
                Error::new(ErrorKind::Misconfigured, "stargate.lfsUrl is not an http or https URL")
                    .with_hint("correct stargate.lfsUrl"),
            ),
        }
    }

    /// Opens a server. The token is that of the mirror: it is sent to the mirror's origin only.
    fn server(&self, url: &gix::Url) -> Result<Server, Error> {
        let mut settings = self.settings.clone();
        if !matches!(&self.location, Location::Http(mirror) if same_origin(mirror, url)) {
            settings.token = None;
        }
        Server::open(url, &settings)
    }
}

/// Way to send an object to the mirror.
enum Way {
    Server(Action, Option<Action>),
    Folder,
}

impl Way {
    fn into_action(self) -> Option<(Action, Option<Action>)> {
        match self {
            Way::Server(action, verify) => Some((action, verify)),
            Way::Folder => None,
        }
    }
}

/// The way to send an object; none if the mirror has it. An error is the reason why the mirror refuses it.
type Answer = Result<Option<Way>, Error>;

impl Mirror {
    /// Returns, for each object, none if the mirror has it, or the way to send it, or the reason why the mirror refuses it.
    /// Returns none if the mirror has no LFS.
    fn lacking(&self, pointers: &[Pointer], reference: Option<&str>) -> Result<Option<Vec<Answer>>, Error> {
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
            (Mirror::Server(_), Some((action, _))) if is_expired(action) => return Ok(Sent::Expired),
            (Mirror::Server(server), Some((action, verify))) => server.upload(&mut object, action, verify.as_ref())?,
            (Mirror::Server(_) | Mirror::None, _) => return Ok(Sent::Missing),
        }
        Ok(Sent::Uploaded)
    }
}

/// Sends these objects, several at once, and returns the results in their order.
fn send_all(
    places: &Places,
    lacking: &[Lacking],
    is_expired: impl Fn(&Action) -> bool + Sync,
) -> Vec<Result<Sent, Error>> {
    let next = Mutex::new(0..lacking.len());
    let results = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let index = next.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(index) = index else { return };
            let result = places.mirror.send(&places.sources, &lacking[index], &is_expired);
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.insert(index, result);
        }
    };
    thread::scope(|scope| {
        for _ in 1..AT_ONCE.min(lacking.len()) {
            scope.spawn(work);
        }
        work();
    });
    results
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_values()
        .collect()
}

/// Describes missing objects, at most [`MAX_NAMED`] of them.
fn described(
    missing: &BTreeMap<&Pointer, ObjectId>,
    place: impl Fn(ObjectId) -> Option<(bstr::BString, ObjectId)>,
) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (pointer, blob) in missing.iter().take(MAX_NAMED) {
        let Pointer { oid, size } = pointer;
        let place = match place(*blob) {
            Some((path, commit)) => format!("{path} in commit {commit}"),
            None => format!("the blob {blob}"),
        };
        lines.push(format!("LFS object {oid} ({size} bytes) of {place} is missing"));
    }
    if missing.len() > MAX_NAMED {
        lines.push(format!("{} more LFS objects are missing", missing.len() - MAX_NAMED));
    }
    lines
}

/// Reads `.lfsconfig` in the tree of HEAD; none if there is no such file or no commit yet.
fn lfsconfig(repository: &gix::Repository, head: &Head) -> Result<Option<gix::config::File>, Error> {
    let unreadable = |why: String| {
        Error::new(ErrorKind::Broken, format!(".lfsconfig of HEAD cannot be read: {why}"))
            .with_hint("correct .lfsconfig, or set lfs.url in the repository's configuration")
    };
    let failed = |error: gix::Error| unreadable(git_push::causes(&error));
    let Some(head) = head.clone().map_err(unreadable)? else {
        return Ok(None);
    };
    let tree = repository
        .find_object(head)
        .map_err(failed)?
        .peel_to_tree()
        .map_err(failed)?;
    let Some(entry) = tree.lookup_entry_by_path(".lfsconfig").map_err(failed)? else {
        return Ok(None);
    };
    let blob = entry.object().map_err(failed)?;
    let text = blob.data.to_str_lossy();
    gix::config::File::try_from(text.as_ref())
        .map(Some)
        .map_err(|error| unreadable(error.to_string()))
}
