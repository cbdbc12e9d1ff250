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
    mirror::watermark::{Doubt, doubts, ledger_ref, watermark_ref},
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
    doubts: Vec<Doubt>,
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
    let candidates = doubts(refs, |name| mirrored.matches(name));
    let found = find(remote, stargate, candidates, &known)?;
    Ok(found.false_ones)
}

/// Looks at these watermarks, and judges them. What is `known` of the same pair of commits is not asked again.
fn find(
    remote: &mut Remote,
    stargate: &gix::Repository,
    candidates: Vec<Doubt>,
    known: &Judged,
) -> Result<Found, Error> {
    let is_true = |doubt: &Doubt| is_known_to_be_true(doubt, known);
    let (mut doubts, open): (Vec<Doubt>, Vec<Doubt>) = candidates.into_iter().partition(is_true);
    if !open.is_empty() {
        // What receive-pack does not show may be there for readers.
        doubts.extend(looked_at(remote, &open)?);
    }
    let mut ancestry = Ancestry::of_stargate(stargate);
    let mut false_ones = Vec::new();
    for doubt in doubts.iter().filter(|doubt| !is_true(doubt)) {
        let covered = match doubt.ledger {
            None => None,
            Some(ledger) if ancestry.contains(remote, ledger, doubt.watermark)? => continue,
            Some(ledger) => ancestry.common(remote, ledger, doubt.watermark)?,
        };
        false_ones.push(FalseWatermark::new(doubt, covered));
    }
    Ok(Found { doubts, false_ones })
}

/// The same watermarks as readers see them, without those that are at their ledgers by now.
fn looked_at(remote: &mut Remote, candidates: &[Doubt]) -> Result<Vec<Doubt>, Error> {
    let names = |doubt: &Doubt| [watermark_ref, ledger_ref].map(|name| name(doubt.namespace.as_bstr()));
    let prefixes: Vec<BString> = candidates.iter().flat_map(names).collect();
    let refs = remote.read_refs(&prefixes)?;
    let mut refs: BTreeMap<BString, ObjectId> = refs
        .into_iter()
        .filter(|found| prefixes.contains(&found.name))
        .map(|found| (found.name, found.id))
        .collect();
    // What readers are not shown, but pushes are, is there.
    for doubt in candidates {
        if let Some(ledger) = doubt.ledger {
            refs.entry(ledger_ref(doubt.namespace.as_bstr())).or_insert(ledger);
        }
    }
    Ok(doubts(&refs, |_| true))
}

impl FalseWatermark {
    fn new(doubt: &Doubt, covered: Option<ObjectId>) -> Self {
        FalseWatermark {
            name: watermark_ref(doubt.namespace.as_bstr()),
            namespace: doubt.namespace.to_string(),
            watermark: doubt.watermark.to_string(),
            ledger: doubt.ledger.map(|id| id.to_string()),
            covered: covered.map(|id| id.to_string()),
            set_back: false,
            error: None,
        }
    }
}

/// The outcome of a namespace's group in the cycle that judges its watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempted {
    /// Ledger and watermark were read back where they belong.
    Mirrored,
    /// The group was tried, and is still pending.
    Failed,
}

/// Whether a watermark is to be judged. A ledger that the mirror does not show may be hidden: while the mirror refuses the
/// group's commands, nothing is known of it.
fn is_open(doubt: &Doubt, attempted: Option<Attempted>) -> bool {
    match attempted {
        Some(Attempted::Mirrored) => false,
        Some(Attempted::Failed) => doubt.ledger.is_some(),
        None => true,
    }
}

fn is_known_to_be_true(doubt: &Doubt, known: &Judged) -> bool {
    let (watermark, ledger) = (doubt.watermark.to_string(), doubt.ledger.map(|id| id.to_string()));
    known.get(&doubt.namespace.to_string()).is_some_and(|judged| {
        judged.watermark.as_ref() == Some(&watermark)
            && judged.ledger == ledger
            && judged.was_false.as_ref().is_none_or(|seen| seen.watermark != watermark)
    })
}

/// What is to be remembered once these doubts were judged, and these watermarks found to be false. A false watermark that
/// was set back is remembered until its namespace is in order.
fn remembered(doubts: &[Doubt], found: &[FalseWatermark], before: &Judged) -> Judged {
    let mut judged = Judged::new();
    for doubt in doubts {
        let namespace = doubt.namespace.to_string();
        let earlier = before.get(&namespace).and_then(|judged| judged.was_false.clone());
        let now = found.iter().find(|found| found.namespace == namespace);
        let stands = match now {
            Some(found) if found.set_back => found.covered.clone(),
            _ => Some(doubt.watermark.to_string()),
        };
        let was_false = now.map(|found| FalseWatermarkSeen {
            watermark: found.watermark.clone(),
            set_back: found.set_back,
        });
        let entry = JudgedWatermark {
            watermark: stands,
            ledger: doubt.ledger.map(|id| id.to_string()),
            was_false: was_false.or(earlier),
        };
        judged.insert(namespace, entry);
    }
    judged
}

impl RemoteMirror<'_> {
    /// Sets back the watermarks that are false, as far as the mirror was asked in this cycle. `attempted` gives the outcome
    /// of a namespace's group in this cycle. What cannot be judged is left for the next cycle.
    pub fn set_back_watermarks(&mut self, attempted: &dyn Fn(&BStr) -> Option<Attempted>) -> Vec<FalseWatermark> {
        let Some(advertisement) = self.advertised().cloned() else {
            return Vec::new();
        };
        let mut candidates = doubts(&advertisement.refs, |name| self.refs().matches(name));
        candidates.retain(|doubt| is_open(doubt, attempted(doubt.namespace.as_bstr())));
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
            remembered(&found.doubts, &found.false_ones, before)
        });
        found.false_ones
    }

    fn find_false_watermarks(&mut self, candidates: Vec<Doubt>) -> Result<Found, Error> {
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

    fn doubt(watermark: u8, ledger: u8) -> Doubt {
        Doubt {
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
        let true_one = remembered(&[doubt(3, 4)], &[], &Judged::new());
        assert!(is_known_to_be_true(&doubt(3, 4), &true_one));
        assert!(!is_known_to_be_true(&doubt(3, 5), &true_one));
        let set_back = remembered(&[doubt(3, 2)], &[found(true)], &Judged::new());
        assert!(is_known_to_be_true(&doubt(1, 2), &set_back));
        assert!(!is_known_to_be_true(&doubt(3, 2), &set_back));
        let left = remembered(&[doubt(3, 2)], &[found(false)], &Judged::new());
        assert!(!is_known_to_be_true(&doubt(3, 2), &left));
    }

    #[test]
    fn a_ledger_that_is_not_shown_may_be_hidden_while_its_group_fails() {
        let hidden = Doubt {
            ledger: None,
            ..doubt(3, 2)
        };
        assert!(!is_open(&hidden, Some(Attempted::Failed)));
        assert!(is_open(&hidden, None));
        assert!(is_open(&doubt(3, 2), Some(Attempted::Failed)));
        assert!(!is_open(&doubt(3, 2), Some(Attempted::Mirrored)));
    }

    #[test]
    fn that_it_was_false_is_remembered_until_it_is_in_order() {
        let set_back = remembered(&[doubt(3, 2)], &[found(true)], &Judged::new());
        let later = remembered(&[doubt(1, 2)], &[], &set_back);
        assert_eq!(later["main"].was_false.as_ref().map(|seen| seen.set_back), Some(true));
        assert_eq!(remembered(&[], &[], &later), Judged::new());
    }
}
