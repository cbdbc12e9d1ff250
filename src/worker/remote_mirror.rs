//! A remote that is pushed to from a Stargate, with what is remembered of it.
use std::{collections::BTreeMap, path::Path, time::Duration};

use bstr::{BStr, BString, ByteSlice};
use git_push::{Advertisement, Command, Connection, Error, Push, RemoteRef, Report};
use git_push_transport::Remote;
use gix::ObjectId;
use jiff::Timestamp;

use super::{
    cycle::Mirror,
    memory::{Memory, RememberedMirror},
    repository::Stargate,
    trouble::{Trouble, Troubles},
    watermarks::{FalseWatermark, Judged},
};
use crate::{config::AGENT, mirror::watermark::is_watermark, ref_pattern::RefPatterns, refs::LocalRefs};

/// How long the refs of both sides are taken to stand as they did when they were compared.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// The mirror of a Stargate.
pub struct RemoteMirror<'a> {
    remote: &'a mut Remote,
    stargate: &'a Stargate,
    refs: &'a RefPatterns,
    /// The `.stargate` folder.
    folder: &'a Path,
    now: Timestamp,
    memory: Memory,
    /// Whether anything was asked or sent.
    asked: bool,
    /// What it advertised last.
    advertised: Option<Advertisement>,
    /// What a new memory says of the last comparison.
    compared: Compared,
}

#[derive(Clone, Default)]
struct Compared {
    at: Timestamp,
    local: String,
}

impl<'a> RemoteMirror<'a> {
    /// The mirror at `remote`, as it is remembered in `folder`.
    pub fn new(
        remote: &'a mut Remote,
        stargate: &'a Stargate,
        refs: &'a RefPatterns,
        folder: &'a Path,
        now: Timestamp,
    ) -> Self {
        let mut memory = Memory::load(folder);
        let format = stargate.repository().object_hash();
        memory.mirror = memory.of_mirror(&remote.location().to_string(), format).cloned();
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
            folder,
            now,
            memory,
            asked: false,
            advertised: None,
            compared: compared.unwrap_or_default(),
        }
    }

    /// Whether the refs of both sides are to be compared: it was never done or long ago, or a ref of the Stargate has
    /// moved since, and the journal does not know why.
    ///
    /// `is_pending` is whether the journal has a pending entry of the ref.
    pub fn is_due(&self, local: &LocalRefs, is_pending: &dyn Fn(&BStr) -> bool) -> bool {
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
        // A clock that went backwards says nothing.
        Duration::try_from(age).map_or(true, |age| age >= RECONCILE_INTERVAL)
            || (fingerprint(local).is_none_or(|now| now != self.compared.local) && moved())
    }

    /// Groups that have failed.
    pub fn troubles(&self) -> &Troubles {
        &self.memory.troubles
    }

    /// Remembers which groups have failed.
    pub fn remember_troubles(&mut self, troubles: Troubles) {
        self.change(|memory| memory.troubles = troubles);
    }

    /// Forgets the troubles of groups with these labels.
    pub fn forget_troubles(&mut self, forgotten: impl Fn(&str) -> bool) {
        if self.memory.troubles.keys().any(|label| forgotten(label)) {
            self.change(|memory| memory.troubles.retain(|label, _| !forgotten(label)));
        }
    }

    /// Remembers that the refs of both sides could not be compared.
    pub fn remember_failed_comparison(&mut self, error: &Error) {
        let failed = Trouble::after(self.memory.comparison.as_ref(), &error.to_string(), "", self.now);
        self.change(|memory| memory.comparison = Some(failed));
    }

    /// The refs of both sides were compared.
    pub fn forget_failed_comparison(&mut self) {
        self.change(|memory| memory.comparison = None);
    }

    /// When the comparison that failed is made again.
    pub fn compares_again_at(&self) -> Option<Timestamp> {
        let failed = self.memory.comparison.as_ref()?;
        Timestamp::from_second(failed.next_try).ok()
    }

    /// Nothing is missing any more for a push.
    pub fn forget_missing(&mut self) {
        self.change(|memory| memory.missing = None);
    }

    /// What it advertised last in this cycle.
    pub fn advertised(&self) -> Option<&Advertisement> {
        self.advertised.as_ref()
    }

    /// Which refs are mirrored.
    pub fn refs(&self) -> &RefPatterns {
        self.refs
    }

    /// The remote, the Stargate, and what is remembered of watermarks that are not at their ledgers.
    pub fn parts(&mut self) -> (&mut Remote, &gix::Repository, &Judged) {
        (self.remote, self.stargate.repository(), &self.memory.watermarks)
    }

    /// Remembers watermarks that are not at their ledgers, and where those stand now that were set back.
    pub fn remember_watermarks(&mut self, found: &[FalseWatermark], judged: impl FnOnce(&Judged) -> Judged) {
        self.change(|memory| {
            memory.watermarks = judged(&memory.watermarks);
            if let Some(mirror) = &mut memory.mirror {
                let set_back = found.iter().filter(|found| found.set_back);
                set_back.for_each(|found| mirror.set(found.name.as_bstr(), found.covered.as_deref()));
            }
        });
    }

    /// Whether the mirror was asked anything, or sent.
    pub fn was_asked(&self) -> bool {
        self.asked
    }

    fn change(&mut self, change: impl FnOnce(&mut Memory)) {
        let before = self.memory.clone();
        change(&mut self.memory);
        if self.memory != before
            && let Err(error) = self.memory.save(self.folder)
        {
            tracing::warn!(%error, "what the mirror has cannot be remembered; it will be asked next time");
        }
    }

    /// Remembers the mirror as it was when the refs were compared.
    pub fn remember_reconciled(&mut self, advertisement: Advertisement, local: &LocalRefs) {
        self.compared = Compared {
            at: self.now,
            local: fingerprint(local.known()).unwrap_or_default(),
        };
        self.remember(Some(advertisement));
    }
}

impl Mirror for RemoteMirror<'_> {
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
        let advertisement = self.remote.advertisement()?;
        self.advertised = Some(advertisement.clone());
        Ok(advertisement)
    }

    fn push(&mut self, advertisement: &Advertisement, commands: Vec<Command>) -> Result<Report, Error> {
        self.asked = true;
        Push::new(self.stargate.repository(), advertisement)
            .commands(commands)
            .atomic(true)
            .agent(AGENT)
            .send(self.remote)
            .map(Report::with_reasons_explained)
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        self.asked = true;
        let remembered = self.remote.reading().is_some();
        match self.remote.read_refs(prefixes) {
            // The error has made it forget what the server offers: now it asks.
            Err(_) if remembered => self.remote.read_refs(prefixes),
            answered => answered,
        }
    }
}

/// Short for all of these refs: another list of refs has another one. None where there is none for it, which is like no
/// other.
fn fingerprint(refs: &BTreeMap<BString, ObjectId>) -> Option<String> {
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    for (name, id) in refs {
        hasher.update(id.as_slice());
        hasher.update(name.as_bytes());
        hasher.update(b"\n");
    }
    hasher.try_finalize().ok().map(|id| id.to_string())
}
