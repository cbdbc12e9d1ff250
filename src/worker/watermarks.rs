//! Watermarks that promise more than the ledgers on the mirror have.
//!
//! A watermark moves in the same atomic push as its ledger, so it is true as long as nobody rewinds or overwrites the
//! ledger, and as the server means it when it offers `atomic`. Some servers do not: they refuse a ledger that somebody
//! else has moved, and move its watermark. Such a watermark is set back to the best commit that it and the ledger
//! contain, with its old id as a lease, or deleted where there is none.
use std::{collections::BTreeMap, path::Path};

use bstr::{BStr, BString, ByteSlice};
use git_push::{Advertisement, Command, Connection, Error, Verdict};
use git_push_transport::Remote;
use gix::ObjectId;
use serde::{Deserialize, Serialize};

use super::{ancestry::Ancestry, cycle::Mirror, memory::Memory, remote_mirror::RemoteMirror};
use crate::{
    journal,
    mirror::watermark::{Mismatch, ledger_ref, mismatches, watermark_ref},
    ref_pattern::RefPatterns,
};

/// A watermark that was found to be false.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FalseWatermark {
    /// The namespace.
    pub namespace: String,
    /// The watermark's name.
    #[serde(skip)]
    pub name: BString,
    /// Where the watermark was found.
    pub watermark: String,
    /// Where the ledger on the mirror is; none when there is none.
    pub ledger: Option<String>,
    /// What the ledger covers of the watermark's history: where the watermark belongs. None when that is nothing.
    pub covered: Option<String>,
    /// Whether the watermark stands there now.
    pub set_back: bool,
    /// Why it could not be set back, where that was tried.
    pub error: Option<String>,
}

/// What is remembered of watermarks that are not at their ledgers, by namespace.
pub type Judged = BTreeMap<String, JudgedWatermark>;

/// What is remembered of one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedWatermark {
    /// Where it stands; none when it was deleted.
    pub watermark: Option<String>,
    /// Where the ledger stands.
    pub ledger: Option<String>,
    /// What was false about it last; none when it never was.
    pub was_false: Option<FalseWatermarkSeen>,
}

/// A false watermark as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FalseWatermarkSeen {
    /// Where the watermark was found.
    pub watermark: String,
    /// Whether it was set back.
    pub set_back: bool,
}

impl std::fmt::Display for FalseWatermark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FalseWatermark {
            namespace, watermark, ..
        } = self;
        write!(f, "refs/kv-mirror/{namespace} was at {watermark}, which ")?;
        match &self.ledger {
            Some(ledger) => write!(f, "refs/kv/{namespace} on the mirror, at {ledger}, does not contain")?,
            None => write!(f, "promises a refs/kv/{namespace} that the mirror does not have")?,
        }
        match (&self.covered, &self.error, self.set_back) {
            (_, Some(error), _) => write!(f, "; it could not be set back: {error}"),
            (Some(covered), None, true) => write!(f, "; it was set back to {covered}"),
            (None, None, true) => write!(f, "; it was deleted"),
            (_, None, false) => write!(f, "; the next cycle sets it back"),
        }
    }
}

/// Watermarks that are not at their ledgers as readers of the mirror see them, and which of these are false.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    mismatches: Vec<Mismatch>,
    false_ones: Vec<FalseWatermark>,
}

/// The watermarks among the mirror's `refs` that are false; the mirror is only read.
///
/// # Errors
/// The mirror cannot be asked, or its commits cannot be had.
pub fn false_watermarks(
    git_dir: &Path,
    remote: &mut Remote,
    stargate: &gix::Repository,
    refs: &BTreeMap<BString, ObjectId>,
    mirrored: &RefPatterns,
) -> Result<Vec<FalseWatermark>, Error> {
    let known = Memory::load(&git_dir.join(journal::FOLDER)).watermarks;
    let candidates = mismatches(refs, |name| mirrored.matches(name));
    let found = find(remote, stargate, candidates, &known)?;
    Ok(found.false_ones)
}

/// Looks at these watermarks, and judges them. What is `known` of the same pair of commits is not asked again.
fn find(
    remote: &mut Remote,
    stargate: &gix::Repository,
    candidates: Vec<Mismatch>,
    known: &Judged,
) -> Result<Found, Error> {
    let is_true = |mismatch: &Mismatch| is_known_to_be_true(mismatch, known);
    let (mut mismatches, open): (Vec<Mismatch>, Vec<Mismatch>) = candidates.into_iter().partition(is_true);
    if !open.is_empty() {
        // What receive-pack does not show may be there for readers.
        mismatches.extend(seen_by_readers(remote, &open)?);
    }
    let mut ancestry = Ancestry::of_stargate(stargate);
    let mut false_ones = Vec::new();
    for mismatch in mismatches.iter().filter(|mismatch| !is_true(mismatch)) {
        let covered = match mismatch.ledger {
            None => None,
            Some(ledger) if ancestry.contains(remote, ledger, mismatch.watermark)? => continue,
            Some(ledger) => ancestry.common(remote, ledger, mismatch.watermark)?,
        };
        false_ones.push(FalseWatermark::new(mismatch, covered));
    }
    Ok(Found { mismatches, false_ones })
}

/// The same watermarks as readers see them, without those that are at their ledgers by now.
fn seen_by_readers(remote: &mut Remote, candidates: &[Mismatch]) -> Result<Vec<Mismatch>, Error> {
    let names = |mismatch: &Mismatch| [watermark_ref, ledger_ref].map(|name| name(mismatch.namespace.as_bstr()));
    let prefixes: Vec<BString> = candidates.iter().flat_map(names).collect();
    let refs = remote.read_refs(&prefixes)?;
    let mut refs: BTreeMap<BString, ObjectId> = refs
        .into_iter()
        .filter(|found| prefixes.contains(&found.name))
        .map(|found| (found.name, found.id))
        .collect();
    // What readers are not shown, but pushes are, is there.
    for mismatch in candidates {
        if let Some(ledger) = mismatch.ledger {
            refs.entry(ledger_ref(mismatch.namespace.as_bstr())).or_insert(ledger);
        }
    }
    Ok(mismatches(&refs, |_| true))
}

impl FalseWatermark {
    fn new(mismatch: &Mismatch, covered: Option<ObjectId>) -> Self {
        FalseWatermark {
            name: watermark_ref(mismatch.namespace.as_bstr()),
            namespace: mismatch.namespace.to_string(),
            watermark: mismatch.watermark.to_string(),
            ledger: mismatch.ledger.map(|id| id.to_string()),
            covered: covered.map(|id| id.to_string()),
            set_back: false,
            error: None,
        }
    }
}

fn is_known_to_be_true(mismatch: &Mismatch, known: &Judged) -> bool {
    let (watermark, ledger) = (mismatch.watermark.to_string(), mismatch.ledger.map(|id| id.to_string()));
    known.get(&mismatch.namespace.to_string()).is_some_and(|judged| {
        judged.watermark.as_ref() == Some(&watermark)
            && judged.ledger == ledger
            && judged.was_false.as_ref().is_none_or(|seen| seen.watermark != watermark)
    })
}

/// What is to be remembered once these doubts were judged, and these watermarks found to be false. A false watermark that
/// was set back is remembered until its namespace is in order.
fn remembered(mismatches: &[Mismatch], found: &[FalseWatermark], before: &Judged) -> Judged {
    let mut judged = Judged::new();
    for mismatch in mismatches {
        let namespace = mismatch.namespace.to_string();
        let earlier = before.get(&namespace).and_then(|judged| judged.was_false.clone());
        let now = found.iter().find(|found| found.namespace == namespace);
        let stands = match now {
            Some(found) if found.set_back => found.covered.clone(),
            _ => Some(mismatch.watermark.to_string()),
        };
        let was_false = now.map(|found| FalseWatermarkSeen {
            watermark: found.watermark.clone(),
            set_back: found.set_back,
        });
        let entry = JudgedWatermark {
            watermark: stands,
            ledger: mismatch.ledger.map(|id| id.to_string()),
            was_false: was_false.or(earlier),
        };
        judged.insert(namespace, entry);
    }
    judged
}

impl RemoteMirror<'_> {
    /// Sets back the watermarks that are false, as far as the mirror was asked in this cycle. `is_mirrored` are namespaces
    /// that were seen to be in order since. What cannot be judged is left for the next cycle.
    pub fn set_back_watermarks(&mut self, is_mirrored: &dyn Fn(&BStr) -> bool) -> Vec<FalseWatermark> {
        let Some(advertisement) = self.advertised().cloned() else {
            return Vec::new();
        };
        let mut candidates = mismatches(&advertisement.refs, |name| self.refs().matches(name));
        candidates.retain(|mismatch| !is_mirrored(mismatch.namespace.as_bstr()));
        let mut found = match self.find_false_watermarks(candidates) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "whether watermarks on the mirror are true could not be found out");
                return Vec::new();
            }
        };
        for one in &mut found.false_ones {
            match self.set_back(one, &advertisement) {
                Ok(()) => one.set_back = true,
                Err(why) => one.error = Some(why),
            }
            tracing::error!("{one}");
        }
        self.remember_watermarks(&found.false_ones, |before| {
            remembered(&found.mismatches, &found.false_ones, before)
        });
        found.false_ones
    }

    fn find_false_watermarks(&mut self, candidates: Vec<Mismatch>) -> Result<Found, Error> {
        let (remote, stargate, known) = self.parts();
        find(remote, stargate, candidates, known)
    }

    /// Moves one watermark, under a lease, and looks whether it has moved.
    fn set_back(&mut self, found: &FalseWatermark, advertisement: &Advertisement) -> Result<(), String> {
        let id = |text: &str| ObjectId::from_hex(text.as_bytes()).map_err(|error| error.to_string());
        let old = id(&found.watermark)?;
        let null = old.kind().null();
        let command = Command {
            name: found.name.clone(),
            old,
            new: found.covered.as_deref().map_or(Ok(null), id)?,
        };
        let wanted = command.new;
        let report = self.push(advertisement, vec![command]);
        let report = report.map_err(|error| error.to_string())?;
        if let Some(Verdict::Rejected(reason)) = report.verdict(found.name.as_bstr()) {
            return Err(format!("the mirror rejected it: {reason}"));
        }
        let seen = self.read_refs(std::slice::from_ref(&found.name));
        let seen = seen.map_err(|error| format!("it could not be read back: {error}"))?;
        let stands = seen.iter().find(|seen| seen.name == found.name);
        match stands.map_or(null, |stands| stands.id) == wanted {
            true => Ok(()),
            false => Err("the mirror reported ok, but it does not stand there".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> ObjectId {
        ObjectId::from_bytes_or_panic(&[byte; 20])
    }

    fn mismatch(watermark: u8, ledger: u8) -> Mismatch {
        Mismatch {
            namespace: "main".into(),
            watermark: id(watermark),
            ledger: Some(id(ledger)),
        }
    }

    fn found(set_back: bool) -> FalseWatermark {
        FalseWatermark {
            name: "refs/kv-mirror/main".into(),
            namespace: "main".into(),
            watermark: id(3).to_string(),
            ledger: Some(id(2).to_string()),
            covered: Some(id(1).to_string()),
            set_back,
            error: None,
        }
    }

    #[test]
    fn what_was_judged_is_not_asked_again_unless_it_is_still_false_or_has_moved() {
        let true_one = remembered(&[mismatch(3, 4)], &[], &Judged::new());
        assert!(is_known_to_be_true(&mismatch(3, 4), &true_one));
        assert!(!is_known_to_be_true(&mismatch(3, 5), &true_one));
        let set_back = remembered(&[mismatch(3, 2)], &[found(true)], &Judged::new());
        assert!(is_known_to_be_true(&mismatch(1, 2), &set_back));
        assert!(!is_known_to_be_true(&mismatch(3, 2), &set_back));
        let left = remembered(&[mismatch(3, 2)], &[found(false)], &Judged::new());
        assert!(!is_known_to_be_true(&mismatch(3, 2), &left));
    }

    #[test]
    fn that_it_was_false_is_remembered_until_it_is_in_order() {
        let set_back = remembered(&[mismatch(3, 2)], &[found(true)], &Judged::new());
        let later = remembered(&[mismatch(1, 2)], &[], &set_back);
        assert_eq!(later["main"].was_false.as_ref().map(|seen| seen.set_back), Some(true));
        assert_eq!(remembered(&[], &[], &later), Judged::new());
    }
}
