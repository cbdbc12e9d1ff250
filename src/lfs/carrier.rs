//! Driver: carries the LFS objects that a push needs to the mirror.
use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
};

use bstr::{BStr, BString, ByteSlice};
use git_push::{Advertisement, Command, Error, ErrorKind};
use git_push_transport::{Location, Settings};
use gix::ObjectId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    batch::MAX_OBJECTS,
    endpoint::{Endpoint, Named, same_origin},
    failure::{Failures, NotCarried},
    folder::Folder,
    in_use::in_use,
    lacked::{Lacked, described},
    scan,
    server::Server,
    source::Sources,
    transfer::{Lacking, Mirror, Places, Sent, send_all},
};
use crate::{
    config::{Config, LfsSetting},
    lfs_pointer::Pointer,
};

/// Number of batch requests for an object whose action has expired. The last action is used in any case: the clocks may differ.
const MAX_ROUNDS: usize = 3;
/// Reason why refs are pushed without their objects.
const NO_SERVER: &str = "the mirror has no LFS server, so the refs are pushed without their LFS objects";

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
    /// HTTP requests to LFS servers.
    #[serde(default)]
    pub requests: u64,
    /// Bytes of the bodies of these requests.
    #[serde(default)]
    pub bytes_sent: u64,
}

/// Refs that were pushed without some of their objects, with a line for each object.
pub type Alone = BTreeMap<BString, Vec<String>>;

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
    /// Objects for which the mirror has no LFS server.
    unserved: HashSet<Pointer>,
    failures: Failures,
    carried: Carried,
    alone: Alone,
    opened: Option<Places>,
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
            unserved: HashSet::new(),
            failures: Failures::default(),
            carried: Carried::default(),
            alone: Alone::new(),
            opened: None,
        }
    }

    /// Returns what was carried so far; none if nothing was found.
    pub fn carried(&self) -> Option<Carried> {
        let traffic = self.opened.as_ref().map(Places::traffic).unwrap_or_default();
        let carried = Carried {
            missing: self.missing.len() as u64,
            requests: traffic.http_requests,
            bytes_sent: traffic.bytes_sent,
            ..self.carried.clone()
        };
        (carried != Carried::default()).then_some(carried)
    }

    /// Returns the refs that were pushed without some of their objects.
    pub fn alone(&self) -> &Alone {
        &self.alone
    }

    /// Starts an attempt: objects that failed in an earlier one are tried again.
    pub fn start_attempt(&mut self) {
        self.failures = Failures::default();
    }

    /// Uploads the objects that a push of `commands` needs and the mirror lacks. The refs may be pushed if this succeeds. An object
    /// that failed is not tried again in the same attempt, so a caller may bisect the commands to find those that need it.
    ///
    /// # Errors
    /// [`ErrorKind::Broken`] if an object is missing or damaged in the Stargate, [`ErrorKind::Rejected`] if the server refuses one,
    /// and those of the connection. All of them have the source [`NotCarried`].
    pub fn carry(
        &mut self,
        repository: &gix::Repository,
        advertisement: &Advertisement,
        commands: &[Command],
    ) -> Result<(), Error> {
        let carried = self.carry_new(repository, advertisement, commands);
        carried.map_err(|error| error.with_source(NotCarried))
    }

    fn carry_new(
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
        let untried = found.keys().filter(|pointer| !self.failures.has(pointer));
        let untried: Vec<Pointer> = untried.cloned().collect();
        if !untried.is_empty() {
            self.try_all(repository, &untried, commands);
        }
        if let Some(error) = self.failures.of(found.keys()) {
            return Err(error);
        }
        found.retain(|pointer, _| self.missing.contains(pointer) || self.unserved.contains(pointer));
        if found.is_empty() {
            return Ok(());
        }
        let refs = scan::pointers_by_ref(repository, advertisement, commands)?;
        let place = |blob| scan::place(repository, advertisement, commands, blob);
        let lacked = described(&found, &refs, place);
        self.go_without(&found, lacked)
    }

    /// Decides about refs whose objects cannot be carried: they go alone, or wait.
    fn go_without(&mut self, found: &BTreeMap<Pointer, ObjectId>, lacked: Lacked) -> Result<(), Error> {
        let sources = self.opened.as_ref().map(|places| &places.sources);
        let has_source = sources.is_some_and(|sources| !sources.is_empty());
        let shown = sources.map(Sources::shown).unwrap_or_default();
        let lines = lacked.lines.join("; ");
        if found.keys().any(|pointer| self.unserved.contains(pointer)) {
            self.note_alone(NO_SERVER.to_owned(), lacked);
        } else if self.setting == LfsSetting::Auto && !has_source {
            let why = format!("the Stargate has no LFS objects, but the mirror lacks {lines}");
            self.note_alone(why, lacked);
        } else {
            return Err(Error::new(ErrorKind::Broken, format!("{lines}; looked in {shown}"))
                .with_hint("push the objects with `git lfs push --all`, or set stargate.lfsStore or stargate.lfsUrl to the place that has them")
                .with_server_words(&lacked.lines));
        }
        Ok(())
    }

    fn note_alone(&mut self, why: String, lacked: Lacked) {
        if self.carried.not_carried.as_ref() != Some(&why) {
            tracing::warn!("{why}");
            self.carried.not_carried = Some(why);
        }
        self.alone.extend(lacked.by_ref);
    }

    /// Tries to carry these objects. Those that fail are remembered with their errors.
    fn try_all(&mut self, repository: &gix::Repository, pointers: &[Pointer], commands: &[Command]) {
        let places = match self.opened.take().map_or_else(|| self.open(repository), Ok) {
            Ok(places) => places,
            Err(error) => return self.failures.add_all(pointers, &error),
        };
        let reference = commands.iter().find(|command| !command.is_delete());
        let reference = reference.and_then(|command| command.name.to_str().ok());
        let mut chunks = pointers.chunks(MAX_OBJECTS);
        while let Some(pointers) = chunks.next() {
            let Err(error) = self.carry_some(&places, pointers, reference) else {
                continue;
            };
            let left = pointers.iter().filter(|pointer| !self.confirmed.contains(*pointer));
            self.failures.add_all(left, &error);
            // Another failure than a refusal is that of the server, and concerns the other objects, too.
            if error.kind() != ErrorKind::Rejected {
                chunks.by_ref().for_each(|rest| self.failures.add_all(rest, &error));
            }
        }
        self.opened = Some(places);
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
    ///
    /// # Errors
    /// The server fails, or asks to wait. Failures of single objects are remembered instead.
    fn carry_some(&mut self, places: &Places, pointers: &[Pointer], reference: Option<&str>) -> Result<(), Error> {
        let mut left = pointers.to_vec();
        for round in 1..=MAX_ROUNDS {
            let since = Timestamp::now();
            let Some(verdicts) = places.mirror.lacking(&left, reference)? else {
                return self.without_server(&left);
            };
            let mut lacking = Vec::new();
            for (pointer, verdict) in left.drain(..).zip(verdicts) {
                match verdict {
                    Ok(None) => drop(self.confirmed.insert(pointer)),
                    Ok(Some(way)) => lacking.push(Lacking::new(pointer, way)),
                    Err(error) => self.failures.add(&pointer, &error),
                }
            }
            let is_last = round == MAX_ROUNDS;
            let results = send_all(places, &lacking, |action| {
                !is_last && action.is_expired(since, Timestamp::now())
            });
            for (lacking, result) in lacking.into_iter().zip(results) {
                match result {
                    Ok(Sent::Uploaded) => self.uploaded(lacking.pointer),
                    Ok(Sent::Missing) => drop(self.missing.insert(lacking.pointer)),
                    Ok(Sent::Expired) => left.push(lacking.pointer),
                    Err(error) => self.failures.add(&lacking.pointer, &error),
                }
            }
            if let Some(error) = self.failures.asking_to_wait() {
                return Err(error);
            }
            if left.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn without_server(&mut self, pointers: &[Pointer]) -> Result<(), Error> {
        if self.setting == LfsSetting::Require {
            return Err(Error::new(ErrorKind::Misconfigured, "the mirror has no LFS server")
                .with_hint("enable LFS at the mirror, set lfs.url, or set stargate.lfs to auto"));
        }
        self.unserved.extend(pointers.iter().cloned());
        Ok(())
    }

    fn uploaded(&mut self, pointer: Pointer) {
        tracing::info!(oid = %pointer.oid, bytes = pointer.size, "uploaded an LFS object");
        self.carried.uploaded += 1;
        self.carried.bytes += pointer.size;
        self.missing.remove(&pointer);
        self.confirmed.insert(pointer);
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
