//! A repository in a folder of this machine, without a git binary: the work of `git-receive-pack`, on gix.
//!
//! 1. The pack is indexed in a folder of its own, a thin one with the bases that it lacks. The hook `pre-receive` sees it there
//!    (git-receive-pack, *Quarantine environment*). Then it moves to `objects/pack`, synced with its index and folder, as git
//!    does by default.
//!    Before that, the objects are checked if the repository asks for it (`fsck`).
//! 2. Each command is checked by git's rules (`policy`), and by the hooks of the repository (`hooks`, `execution`).
//! 3. The refs move in one transaction (`transaction`, or `tables` if they are in reftables). If the push is not atomic and one of them cannot move, each command
//!    gets a transaction of its own.
//! 4. New files get the mode and the owner of the repository (`ownership`).
//! 5. The next push removes the files that a killed push has left, locks of refs first (`incoming`).
//!
//! # Limitations
//! - The hook `proc-receive` and `.have` lines of alternates are not supported. Refs of `receive.procReceiveRefs` are refused.
//! - Symbolic refs are refused. `receive.denyCurrentBranch=updateInstead` has limits of its own (`deploy`).
//! - If a rule or the hook `update` refuses all commands, the pack stays, unreachable, until `git gc`, as with git. The same
//!   push again writes the same file.
//! - Connectivity is checked only with `receive.fsckObjects`. The objects named by commands must exist.
//!   [`enumerate`](git_push::enumerate) guarantees that the pack has the objects that they reach.
//! - Refs in files are not synced to disk, as in git by default. Reftables are.
//! - In reftables, refs of a single work tree (`refs/bisect/…`) are those of the main one, and a deleted ref keeps its
//!   reflog.
mod bases;
mod deploy;
mod execution;
mod fsck;
mod hidden;
mod hooks;
mod incoming;
mod index_lock;
mod lending;
mod migration;
mod ownership;
mod policy;
mod tables;
mod transaction;
mod transport;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bstr::{BStr, BString};
use durable::storage::{Disk, Folders};
use git_push::{
    self, Advertisement, Capabilities, Command, Connection, Error, ErrorKind, Pack, Remedy, RemoteRef, Report, Request,
    Traffic, Verdict, causes,
    repository::{self, OpenError, RefStorage},
};
use gix::{ObjectId, refs::TargetRef};

use self::{
    bases::Bases,
    execution::Execution,
    fsck::{Brought, Checked},
    hidden::Hidden,
    hooks::Hooks,
    incoming::{Incoming, Place},
    ownership::Made,
    policy::Policy,
    transaction::changes,
};

pub use self::lending::lend_objects;
// For `stargate-mirror`, which writes remote-tracking refs into reftables.
#[doc(hidden)]
pub use self::tables::{table_update, with_causes};

/// A connection to a repository in a folder. Its methods block.
#[derive(Debug)]
pub struct Local {
    repository: gix::Repository,
    storage: RefStorage,
    traffic: Traffic,
    runs_hooks: bool,
    /// True if the caller asked to stop.
    interrupt: Arc<AtomicBool>,
}

impl Local {
    /// Opens the repository at `path`: its `.git` folder, the folder around that, or a bare repository.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if there is no repository, or it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (repository, storage) = repository::open_any_refs(path).map_err(|error| match error {
            OpenError::Unreadable { cause, .. } => {
                if let Some(error) = unreadable(path) {
                    return error;
                }
                let what = format!("cannot open a Git repository at {}: {}", path.display(), causes(&cause));
                Error::new(ErrorKind::Misconfigured, what)
                    .with_hint("create it with `git init --bare`, or correct the path")
            }
            error => Error::new(ErrorKind::Misconfigured, error.to_string())
                .with_hint("use a remote repository without this setting"),
        })?;
        Ok(Local {
            repository,
            storage,
            traffic: Traffic::default(),
            runs_hooks: true,
            interrupt: Arc::default(),
        })
    }

    /// Sets if the hooks of the repository are run, which is the default.
    #[must_use]
    pub fn with_hooks(mut self, are_run: bool) -> Self {
        self.runs_hooks = are_run;
        self
    }

    /// Returns all refs, symbolic ones with the id of their target.
    fn refs(&self) -> Result<BTreeMap<BString, ObjectId>, Error> {
        match self.storage {
            RefStorage::Files => self.refs_in_files(),
            RefStorage::Reftable => tables::open(&self.repository)
                .and_then(|stack| tables::all(&stack))
                .map_err(|error| self.failed("list the refs of", &with_causes(&error))),
        }
    }

    fn refs_in_files(&self) -> Result<BTreeMap<BString, ObjectId>, Error> {
        let failed = |error| self.failed("list the refs of", &causes(&error));
        let references = self.repository.references().map_err(failed)?;
        let mut refs = BTreeMap::new();
        for reference in references.all().map_err(failed)? {
            let mut reference = reference.map_err(failed)?;
            let name = BString::from(reference.name().as_bstr());
            match reference.target() {
                TargetRef::Object(id) => refs.insert(name, id.to_owned()),
                // One without a target is not a ref to a reader.
                TargetRef::Symbolic(_) => match reference.follow_to_object() {
                    Ok(id) => refs.insert(name, id.detach()),
                    Err(_) => None,
                },
            };
        }
        Ok(refs)
    }

    fn failed(&self, doing: &str, why: &str) -> Error {
        let path = self.repository.git_dir().display();
        Error::new(ErrorKind::Transient, format!("cannot {doing} {path}: {why}"))
    }

    /// Removes files that killed pushes have left, and begins this one.
    fn begin(&self, commands: &[Command]) -> Result<Incoming, Error> {
        let place = Place {
            git_dir: self.repository.common_dir().to_owned(),
            storage: self.storage,
            objects: self.repository.objects.store_ref().path().to_owned(),
            shared: ownership::shared_folder_mode(&self.repository),
        };
        let begun = place.clear().and_then(|()| place.begin(commands));
        begun.map_err(|error| self.failed("write to", &error.to_string()))
    }

    /// Indexes the pack in the folder of the push.
    fn receive(&mut self, mut pack: Pack, incoming: &Incoming) -> Result<Received, Error> {
        let packs = incoming.packs();
        Disk.create_dir(&packs)
            .map_err(|error| self.failed("write a pack to", &error.to_string()))?;
        let interrupt = pack.interrupt_flag();
        let limit = self.max_input_size()?;
        let mut limited = (&mut pack).take(limit.unwrap_or(u64::MAX).saturating_add(1));
        let bases = Bases::of(&self.repository);
        let written = gix_pack::Bundle::write_to_directory(
            &mut BufReader::new(&mut limited),
            Some(&packs),
            &mut gix::utils::progress::Discard,
            &interrupt,
            Some(&bases),
            self.repository.object_hash(),
            gix_pack::bundle::write::Options::default(),
        );
        self.traffic.bytes_sent += pack.sent().bytes();
        if interrupt.load(Ordering::Relaxed) {
            return Err(Error::interrupted());
        }
        if let Some(limit) = limit.filter(|limit| pack.sent().bytes() > *limit) {
            return Err(self.too_large(limit));
        }
        if written.is_err()
            && let Some(error) = pack.failure()
        {
            return Err(error);
        }
        let failed = |error| self.failed("index a pack in", &causes(&error));
        let written = written.map_err(failed)?;
        let bases = match &written.index_path {
            Some(index) => bases.added(index, self.repository.object_hash()).map_err(failed)?,
            None => BTreeSet::new(),
        };
        Ok(Received {
            pack: written.data_path,
            bases,
        })
    }

    /// Checks the objects of the pack and what the commands reach, if the repository asks for that.
    fn check(&self, commands: &[Command], brought: Brought<'_>, hooks: &Hooks) -> Result<Checked, Error> {
        let rules = fsck::Rules::of(&self.repository)?;
        let Some(rules) = rules.filter(|_| commands.iter().any(|command| !command.is_delete())) else {
            return Ok(Checked::default());
        };
        let checked = fsck::check(&rules, &self.repository, brought, (commands, &self.refs()?))?;
        checked.words.iter().for_each(|line| hooks.say(line));
        if let Some(refusal) = &checked.refusal {
            hooks.say(&format!("fatal: {refusal}"));
        }
        Ok(checked)
    }

    /// Checks the objects, asks the hooks, takes in the pack, and moves the refs. Returns verdicts in the order of the
    /// commands.
    fn carry_out(&mut self, request: &Request, pack: Option<Pack>, hooks: &Hooks) -> Result<Outcome, Error> {
        let mut incoming = self.begin(&request.commands)?;
        let has_pack = pack.is_some();
        let received = pack.map(|pack| self.receive(pack, &incoming)).transpose()?;
        let received = received.unwrap_or_default();
        let brought = Brought {
            folder: incoming.folder(),
            bases: &received.bases,
            interrupt: hooks.interrupt(),
        };
        let checked = self.check(&request.commands, brought, hooks)?;
        let execution = Execution::new(self, request, hooks, &checked.disconnected, &incoming);
        if checked.refusal.is_some() {
            return Ok(Outcome {
                verdicts: execution.refused("unpacker error"),
                unpack_error: checked.refusal.map(BString::from),
            });
        }
        let is_allowed = hooks.pre_receive(&request.commands, has_pack.then(|| incoming.folder()))?;
        if hooks.is_interrupted() {
            return Err(Error::interrupted());
        }
        if !is_allowed {
            return Ok(execution.refused("pre-receive hook declined").into());
        }
        if execution.has_no_command() {
            return Ok(execution.refused(execution::MISSING).into());
        }
        if has_pack {
            let taken = incoming.take_in(received.pack.as_deref());
            taken.map_err(|error| self.failed("write objects to", &error.to_string()))?;
        }
        let made = match self.storage {
            RefStorage::Files => Made::before(&self.repository, &request.commands),
            RefStorage::Reftable => Made::in_tables(&self.repository),
        };
        let verdicts = execution.run();
        made.settle();
        Ok(verdicts?.into())
    }

    /// Returns the largest size of a pack that the repository accepts, in bytes (git-config, *receive.maxInputSize*).
    fn max_input_size(&self) -> Result<Option<u64>, Error> {
        let value = self.repository.config_snapshot().try_integer("receive.maxInputSize");
        match value.map(|value| value.map(u64::try_from)) {
            Ok(None | Some(Ok(0))) => Ok(None),
            Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
            Ok(Some(Err(_))) | Err(_) => {
                let what = format!(
                    "receive.maxInputSize of {} is not a size",
                    self.repository.git_dir().display()
                );
                Err(Error::new(ErrorKind::Misconfigured, what).with_hint("correct it with `git config`"))
            }
        }
    }

    fn too_large(&self, limit: u64) -> Error {
        let path = self.repository.git_dir().display();
        let what = format!("the pack is larger than {path} accepts: receive.maxInputSize is {limit} bytes");
        Error::new(ErrorKind::Rejected, what)
            .with_hint("push fewer commits at once, or raise receive.maxInputSize there")
            .with_remedy(Remedy::SmallerPack)
    }

    /// Returns the policy for a repository with refs of these names.
    fn policy(&self, names: BTreeSet<BString>) -> Result<Policy<'_>, Error> {
        let stack = match self.storage {
            RefStorage::Files => None,
            RefStorage::Reftable => {
                let opened = tables::open(&self.repository);
                Some(opened.map_err(|error| self.failed("read the refs of", &with_causes(&error)))?)
            }
        };
        Ok(Policy::new(&self.repository, stack, names))
    }
}

/// A pack in the folder of the push.
#[derive(Default)]
struct Received {
    /// Its file, if it has objects.
    pack: Option<PathBuf>,
    /// Objects that were added to it, and were not in its stream.
    bases: BTreeSet<ObjectId>,
}

/// Result of a push.
struct Outcome {
    verdicts: Vec<Verdict>,
    /// The reason why the objects were refused.
    unpack_error: Option<BString>,
}

impl From<Vec<Verdict>> for Outcome {
    fn from(verdicts: Vec<Verdict>) -> Self {
        Outcome {
            verdicts,
            unpack_error: None,
        }
    }
}

/// Returns the error for a repository that the user of this process may not read.
fn unreadable(path: &Path) -> Option<Error> {
    let files = [path.to_owned(), path.join("HEAD"), path.join(".git/HEAD")];
    let denied = files.iter().find(|file| {
        let seen = fs::metadata(file).and_then(|file_type| {
            if file_type.is_dir() {
                fs::read_dir(file).map(drop)
            } else {
                fs::File::open(file).map(drop)
            }
        });
        seen.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    })?;
    let what = format!(
        "cannot open the Git repository at {}: {}: permission denied",
        path.display(),
        denied.display()
    );
    Some(
        Error::new(ErrorKind::Misconfigured, what).with_hint(
            "run as the owner of the repository, or make it readable and writable for the user of this process",
        ),
    )
}

impl Connection for Local {
    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        let shallow = self
            .repository
            .shallow_commits()
            .map_err(|error| self.failed("read the shallow file of", &causes(&error)))?;
        let format = self.repository.object_hash().to_string();
        let config = self.repository.config_snapshot();
        let takes_options = config.boolean("receive.advertisePushOptions") == Some(true);
        let capabilities = [
            ("report-status", None),
            ("delete-refs", None),
            ("ofs-delta", None),
            ("atomic", None),
            ("object-format", Some(format.into())),
        ];
        let push_options = takes_options.then_some(("push-options", None));
        let hidden = Hidden::of(&self.repository);
        let mut refs = self.refs()?;
        refs.retain(|name, _| !hidden.hides(name.as_ref()));
        Ok(Advertisement {
            refs,
            haves: Vec::new(),
            shallow: shallow.iter().flat_map(|commits| commits.iter().copied()).collect(),
            capabilities: Capabilities {
                list: capabilities
                    .into_iter()
                    .chain(push_options)
                    .map(|(name, value)| (name.into(), value))
                    .collect(),
            },
        })
    }

    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        let (ours, theirs) = (request.object_format, self.repository.object_hash());
        if ours != theirs {
            let path = self.repository.git_dir().display();
            let what = format!("the object format of {path} is {theirs}, that of the push is {ours}");
            return Err(Error::new(ErrorKind::Misconfigured, what));
        }
        if let Some(pack) = &pack {
            self.interrupt = pack.interrupt_flag();
        }
        let hooks = Hooks::of(&self.repository, request, self.runs_hooks, self.interrupt.clone())?;
        let outcome = self.carry_out(request, pack, &hooks);
        let Outcome { verdicts, unpack_error } = outcome.map_err(|error| error.with_server_words(hooks.words()))?;
        let carried_out = request.commands.iter().zip(&verdicts);
        let accepted: Vec<_> = carried_out
            .filter_map(|(command, verdict)| (*verdict == Verdict::Accepted).then_some(command))
            .collect();
        hooks.received(&changes(&accepted));
        let report = Report::new(request.commands.iter().cloned().zip(verdicts).collect());
        Ok(report.with_unpack_error(unpack_error).with_server_words(hooks.words()))
    }

    fn takes_streams(&self) -> bool {
        true
    }

    fn watch(&mut self, interrupt: &Arc<AtomicBool>) {
        self.interrupt = interrupt.clone();
    }

    fn may_refuse_thin(&self) -> bool {
        false
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        let wanted = |name: &BStr| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let refs = self.refs()?.into_iter().filter(|(name, _)| wanted(name.as_ref()));
        Ok(refs.map(|(name, id)| RemoteRef { name, id }).collect())
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }
}
