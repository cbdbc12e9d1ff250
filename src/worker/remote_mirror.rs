//! The remote of a Stargate, with its remembered state.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use bstr::{BStr, BString, ByteSlice};
use git_push::{Advertisement, Command, Connection, Error, Observer, Push, RemoteRef, Report, Stage};
use git_push_transport::Remote;
use gix::ObjectId;
use jiff::Timestamp;

use super::{
    attempt::Settled,
    backoff::{Backoff, Backoffs},
    false_watermark::{FalseWatermark, Judged},
    lfs,
    memory::{DifferingRef, Memory, RememberedMirror},
    rejection::Rejection,
    repository::Stargate,
    requests::Mirror,
    token::with_last_acceptance,
};
use crate::{
    config::AGENT,
    lfs::{Alone, Carried, Carrier},
    mirror::{Outcome, watermark::is_watermark},
    parts,
    ref_pattern::RefPatterns,
    refs::LocalRefs,
};

/// Interval between comparisons of the Stargate's refs with the mirror's.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// Mirror of a Stargate.
pub struct RemoteMirror<'a> {
    remote: &'a mut Remote,
    stargate: &'a Stargate,
    refs: &'a RefPatterns,
    /// Path of the worker's memory.
    path: &'a Path,
    now: Timestamp,
    memory: Memory,
    /// True once a request was sent.
    asked: bool,
    /// Last advertisement.
    advertised: Option<Advertisement>,
    /// Last comparison, for the next memory.
    compared: Compared,
    max_pack_size: Option<u64>,
    progress: &'a dyn Observer,
    lfs: Option<Carrier>,
}

#[derive(Clone, Default)]
struct Compared {
    at: Timestamp,
    local: String,
}

impl<'a> RemoteMirror<'a> {
    /// Creates the mirror at `remote`, with its state from the memory at `path`.
    pub fn new(
        remote: &'a mut Remote,
        stargate: &'a Stargate,
        refs: &'a RefPatterns,
        path: &'a Path,
        now: Timestamp,
    ) -> Self {
        let location = remote.location().to_string();
        let mut memory = Memory::load(path).at(&location);
        let format = stargate.repository().object_hash();
        memory.mirror = memory.of_mirror(&location, format).cloned();
        if let Some(offered) = memory.mirror.as_ref().and_then(RememberedMirror::upload_pack) {
            remote.remember_reading(offered);
        }
        let compared = memory.mirror.as_ref().map(|mirror| Compared {
            at: mirror.reconciled_at(),
            local: mirror.local().to_owned(),
        });
        RemoteMirror {
            remote,
            stargate,
            refs,
            path,
            now,
            memory,
            asked: false,
            advertised: None,
            compared: compared.unwrap_or_default(),
            max_pack_size: None,
            progress: &(),
            lfs: None,
        }
    }

    /// Carries LFS objects before each push.
    pub fn with_lfs(mut self, carrier: Option<Carrier>) -> Self {
        self.lfs = carrier;
        self
    }

    /// Returns the LFS objects that were carried, and remembers for `status` that some were not.
    pub fn carried(&mut self) -> Option<Carried> {
        let carried = lfs::carried(self.lfs.as_ref());
        let has_objects =
            |carried: &&Carried| carried.uploaded > 0 || carried.missing > 0 || carried.not_carried.is_some();
        if let Some(carried) = carried.as_ref().filter(has_objects) {
            self.change(|memory| memory.lfs = carried.not_carried.clone());
        }
        carried
    }

    /// Returns the refs that were pushed without some of their LFS objects.
    pub fn alone(&self) -> Alone {
        self.lfs.as_ref().map(Carrier::alone).cloned().unwrap_or_default()
    }

    /// Sends larger packs in parts.
    pub fn with_max_pack_size(mut self, bytes: Option<u64>) -> Self {
        self.max_pack_size = bytes;
        self
    }

    /// Sends the progress of pushes to `progress`.
    pub fn with_progress(mut self, progress: &'a dyn Observer) -> Self {
        self.progress = progress;
        self
    }

    /// Returns true if the refs of both sides must be compared. That is the case if the last comparison is missing or old, or
    /// if a ref of the Stargate has moved since without a journal entry.
    ///
    /// `is_pending` returns true if the journal has a pending entry for the ref.
    pub fn needs_comparison(&self, local: &LocalRefs, is_pending: &dyn Fn(&BStr) -> bool) -> bool {
        let Some(mirror) = &self.memory.mirror else {
            return true;
        };
        let age = self.now.duration_since(self.compared.at);
        let known = mirror.advertisement().refs;
        let local = local.known();
        let moved = || {
            let mut local = local.iter();
            local.any(|(name, id)| known.get(name) != Some(id) && !is_pending(name.as_bstr()))
        };
        // The clock went backwards, so the age is unknown.
        Duration::try_from(age).map_or(true, |age| age >= RECONCILE_INTERVAL)
            || (fingerprint(local).is_none_or(|now| now != self.compared.local) && moved())
    }

    /// Returns the backoff of groups that failed.
    pub fn backoffs(&self) -> &Backoffs {
        &self.memory.backoffs
    }

    /// Returns the rejections that the server explained.
    pub fn rejections(&self) -> &[Rejection] {
        &self.memory.rejections
    }

    /// Remembers the backoff of groups that failed, and the rejections that the server explained.
    pub fn remember_backoffs(&mut self, backoffs: Backoffs, rejections: Vec<Rejection>) {
        self.change(|memory| (memory.backoffs, memory.rejections) = (backoffs, rejections));
    }

    /// Forgets the backoff and the rejection of groups for whose label `forgotten` returns true.
    pub fn forget_backoffs(&mut self, forgotten: impl Fn(&str) -> bool) {
        if self.memory.backoffs.keys().any(|label| forgotten(label)) {
            self.change(|memory| {
                memory.backoffs.retain(|label, _| !forgotten(label));
                memory
                    .rejections
                    .retain(|rejection| rejection.alone || !forgotten(&rejection.group));
            });
        }
    }

    /// Remembers a failed comparison.
    pub fn remember_failed_comparison(&mut self, error: &Error) {
        let failed = Backoff::after(self.memory.comparison.as_ref(), &error.to_string(), "", self.now);
        let failed = failed.with_outcome(error.kind().into());
        self.change(|memory| memory.comparison = Some(failed));
    }

    /// Remembers a successful comparison: refs that are left to the operator.
    pub fn remember_differing(&mut self, differing: Vec<DifferingRef>) {
        self.change(|memory| (memory.comparison, memory.differing) = (None, differing));
    }

    /// Forgets the refs that a comparison left to the operator and that are mirrored now.
    pub fn forget_differing(&mut self, settled: &[Settled]) {
        let mirrored = settled.iter().filter(|one| one.result.outcome == Outcome::Mirrored);
        let names = mirrored.flat_map(|one| one.group.changes.iter().map(|change| change.name.to_string()));
        let names: BTreeSet<String> = names.collect();
        self.change(|memory| memory.differing.retain(|differing| !names.contains(&differing.name)));
    }

    /// Remembers that the mirror has everything.
    pub fn remember_success(&mut self) {
        let now = self.now.as_second();
        self.change(|memory| memory.succeeded_at = Some(now));
    }

    /// Returns the time at which a failed comparison is retried.
    pub fn compares_again_at(&self) -> Option<Timestamp> {
        let failed = self.memory.comparison.as_ref()?;
        Timestamp::from_second(failed.next_try).ok()
    }

    /// Forgets that a setting was missing for a push.
    pub fn forget_missing(&mut self) {
        self.change(|memory| memory.missing = None);
    }

    /// Returns the last advertisement of this cycle.
    pub fn advertised(&self) -> Option<&Advertisement> {
        self.advertised.as_ref()
    }

    /// Returns the patterns of mirrored refs.
    pub fn refs(&self) -> &RefPatterns {
        self.refs
    }

    /// Returns the remote, the Stargate, and the remembered watermarks that differ from their ledgers.
    pub fn parts(&mut self) -> (&mut Remote, &gix::Repository, &Judged) {
        (self.remote, self.stargate.repository(), &self.memory.watermarks)
    }

    /// Remembers watermarks that differ from their ledgers, and the new positions of those that were reset.
    pub fn remember_watermarks(&mut self, found: &[FalseWatermark], judged: impl FnOnce(&Judged) -> Judged) {
        self.change(|memory| {
            memory.watermarks = judged(&memory.watermarks);
            if let Some(mirror) = &mut memory.mirror {
                let set_back = found.iter().filter(|found| found.set_back);
                set_back.for_each(|found| mirror.set(found.name.as_bstr(), found.covered.as_deref()));
            }
        });
    }

    /// Deletes the temporary refs that earlier pushes in parts of this repository have left on the mirror.
    pub fn delete_part_refs(&mut self, advertisement: &Advertisement) {
        let repository = self.stargate.repository();
        let deletions = parts::deletions(advertisement, |owner| repository.has_object(owner));
        if deletions.is_empty() {
            return;
        }
        let push = Push::new(repository, advertisement);
        match push.commands(deletions).agent(AGENT).send(self.remote) {
            Ok(report) if report.all_accepted() => {
                tracing::info!("deleted temporary refs of an interrupted push from the mirror");
            }
            Ok(_) => tracing::warn!("the mirror does not delete refs below {}", parts::NAMESPACE),
            Err(error) => tracing::warn!(%error, "cannot delete refs below {}", parts::NAMESPACE),
        }
    }

    /// Returns true if a request was sent to the mirror.
    pub fn was_asked(&self) -> bool {
        self.asked
    }

    /// Adds what is remembered about a refused token to an error.
    fn explained(&mut self, error: Error) -> Error {
        let remembered = self.memory.tokens.get(&self.remote.location().to_string());
        with_last_acceptance(error, self.remote.token_use(), remembered)
    }

    fn change(&mut self, change: impl FnOnce(&mut Memory)) {
        let before = self.memory.clone();
        change(&mut self.memory);
        if self.memory != before
            && let Err(error) = self.memory.save(self.path)
        {
            tracing::warn!(%error, "cannot write the worker's memory; the next cycle asks the mirror instead");
        }
    }

    /// Remembers the state of the mirror at a comparison.
    pub fn remember_reconciled(&mut self, advertisement: Advertisement, local: &LocalRefs) {
        self.compared = Compared {
            at: self.now,
            local: fingerprint(local.known()).unwrap_or_default(),
        };
        self.remember(Some(advertisement));
    }
}

impl Mirror for RemoteMirror<'_> {
    fn start_attempt(&mut self) {
        self.lfs.iter_mut().for_each(Carrier::start_attempt);
    }

    fn remembered(&mut self) -> Option<Advertisement> {
        self.memory.mirror.as_ref().map(RememberedMirror::advertisement)
    }

    fn remember(&mut self, advertisement: Option<Advertisement>) {
        let mirror = advertisement.map(|advertisement| {
            let remote = self.remote.location().to_string();
            let format = self.stargate.repository().object_hash();
            let relevant = |name: &BStr| self.refs.matches(name) || is_watermark(name);
            RememberedMirror::new(&remote, format, &advertisement, relevant)
                .with_upload_pack(self.remote.reading())
                .with_comparison(self.compared.at, &self.compared.local)
        });
        self.change(|memory| memory.mirror = mirror);
    }

    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        self.asked = true;
        self.progress.stage(Stage::Asking);
        let advertisement = self.remote.advertisement();
        let advertisement = advertisement.map_err(|error| self.explained(error))?;
        self.advertised = Some(advertisement.clone());
        Ok(advertisement)
    }

    fn push(&mut self, advertisement: &Advertisement, commands: Vec<Command>) -> Result<Report, Error> {
        self.asked = true;
        lfs::carry(&mut self.lfs, self.stargate.repository(), advertisement, &commands)?;
        let location = self.remote.location().to_string();
        let thin = self.memory.refused_thin.as_ref() != Some(&location);
        let stream = self.memory.refused_stream.as_ref() != Some(&location);
        let push = Push::new(self.stargate.repository(), advertisement)
            .commands(commands)
            .atomic(true)
            .thin(thin)
            .stream(stream)
            .agent(AGENT)
            .progress(self.progress);
        let report = parts::send(push, self.max_pack_size, self.remote);
        let report = report.map_err(|error| self.explained(error))?;
        if report.has_refused_stream() {
            tracing::info!("the mirror rejects packs without a length; later pushes send one");
            self.change(|memory| memory.refused_stream = Some(location.clone()));
        }
        if report.has_refused_thin() {
            tracing::info!("the mirror rejects thin packs; later pushes send full packs");
            self.change(|memory| memory.refused_thin = Some(location));
        }
        Ok(report.with_reasons_explained())
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        self.asked = true;
        let remembered = self.remote.reading().is_some();
        match self.remote.read_refs(prefixes) {
            // The remote drops the remembered capabilities after an error, so the second call requests them.
            Err(_) if remembered => self.remote.read_refs(prefixes),
            answered => answered,
        }
    }
}

/// Returns a fingerprint of these refs. If hashing fails, the result is none, which never equals another fingerprint.
fn fingerprint(refs: &BTreeMap<BString, ObjectId>) -> Option<String> {
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    for (name, id) in refs {
        hasher.update(id.as_slice());
        hasher.update(name.as_bytes());
        hasher.update(b"\n");
    }
    hasher.try_finalize().ok().map(|id| id.to_string())
}
