//! False watermarks: those that the ledger on the mirror does not contain.
//!
//! A watermark moves in the same atomic push as its ledger. It becomes false if the ledger is rewound or overwritten, or
//! if the server offers `atomic` but does not honour it. Some servers reject a ledger that has moved in between, and move
//! its watermark anyway. A false watermark is reset to its merge base with the ledger, with its old id as a lease, or
//! deleted if there is none.
use std::{collections::BTreeMap, path::Path};

use bstr::{BStr, BString, ByteSlice};
use git_push::{Advertisement, Command, Connection, Error, Verdict};
use git_push_transport::Remote;
use gix::ObjectId;

use super::{
    ancestry::Ancestry,
    false_watermark::{FalseWatermark, FalseWatermarkSeen, Judged, JudgedWatermark},
    memory::Memory,
    remote_mirror::RemoteMirror,
    requests::Mirror,
};
use crate::{
    mirror::watermark::{Mismatch, ledger_ref, mismatches, watermark_ref},
    ref_pattern::RefPatterns,
};

/// Watermarks that differ from their ledgers for readers of the mirror, and the false ones among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    mismatches: Vec<Mismatch>,
    false_ones: Vec<FalseWatermark>,
}

/// Returns the false watermarks among the mirror's `refs`, given the path of the worker's memory. Only reads from the
/// mirror.
///
/// # Errors
/// The mirror cannot be reached, or its commits cannot be fetched.
pub fn false_watermarks(
    memory: &Path,
    remote: &mut Remote,
    stargate: &gix::Repository,
    refs: &BTreeMap<BString, ObjectId>,
    mirrored: &RefPatterns,
) -> Result<Vec<FalseWatermark>, Error> {
    let known = Memory::load(memory).watermarks;
    let candidates = mismatches(refs, |name| mirrored.matches(name));
    let found = find(remote, stargate, candidates, &known, &|_| true)?;
    Ok(found.false_ones)
}

/// Checks these watermarks. A pair of commits with a `known` answer is not checked again.
fn find(
    remote: &mut Remote,
    stargate: &gix::Repository,
    candidates: Vec<Mismatch>,
    known: &Judged,
    is_open: &dyn Fn(&Mismatch) -> bool,
) -> Result<Found, Error> {
    let is_true = |mismatch: &Mismatch| is_known_to_be_true(mismatch, known);
    let (mut mismatches, open): (Vec<Mismatch>, Vec<Mismatch>) = candidates.into_iter().partition(is_true);
    if !open.is_empty() {
        // Readers may see refs that receive-pack hides.
        mismatches.extend(seen_by_readers(remote, &open)?);
    }
    mismatches.retain(is_open);
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

/// Returns the same watermarks as readers see them, without those that have reached their ledgers by now.
fn seen_by_readers(remote: &mut Remote, candidates: &[Mismatch]) -> Result<Vec<Mismatch>, Error> {
    let names = |mismatch: &Mismatch| [watermark_ref, ledger_ref].map(|name| name(mismatch.namespace.as_bstr()));
    let prefixes: Vec<BString> = candidates.iter().flat_map(names).collect();
    let refs = remote.read_refs(&prefixes)?;
    let mut refs: BTreeMap<BString, ObjectId> = refs
        .into_iter()
        .filter(|found| prefixes.contains(&found.name))
        .map(|found| (found.name, found.id))
        .collect();
    // A ledger that is hidden only from readers still exists.
    for mismatch in candidates {
        if let Some(ledger) = mismatch.ledger {
            refs.entry(ledger_ref(mismatch.namespace.as_bstr())).or_insert(ledger);
        }
    }
    Ok(mismatches(&refs, |_| true))
}

/// Outcome of a namespace's group in the cycle that judges its watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempted {
    /// Ledger and watermark were read back where they belong.
    Mirrored,
    /// The group was tried, and is still pending.
    Failed,
}

/// Returns true if a watermark can be judged after the refs were also read as a reader. A ledger that readers do not
/// see may be hidden: while the mirror rejects the group's commands, it is not known to be absent.
fn is_open(mismatch: &Mismatch, attempted: Option<Attempted>) -> bool {
    match attempted {
        Some(Attempted::Mirrored) => false,
        Some(Attempted::Failed) => mismatch.ledger.is_some(),
        None => true,
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

/// Returns the state to remember after a check that found these mismatches and false watermarks. A false watermark
/// that was reset is remembered until its namespace is mirrored again.
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

/// Resets the false watermarks, if the mirror's refs were read in this cycle. `attempted` returns the outcome of a
/// namespace's group in this cycle. Watermarks that cannot be checked wait for the next cycle.
pub(super) fn set_back_watermarks(
    mirror: &mut RemoteMirror<'_>,
    attempted: &dyn Fn(&BStr) -> Option<Attempted>,
) -> Vec<FalseWatermark> {
    let Some(advertisement) = mirror.advertised().cloned() else {
        return Vec::new();
    };
    let mut candidates = mismatches(&advertisement.refs, |name| mirror.refs().matches(name));
    candidates.retain(|mismatch| attempted(mismatch.namespace.as_bstr()) != Some(Attempted::Mirrored));
    let is_open = |mismatch: &Mismatch| is_open(mismatch, attempted(mismatch.namespace.as_bstr()));
    let (remote, stargate, known) = mirror.parts();
    let mut found = match find(remote, stargate, candidates, known, &is_open) {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "cannot check the watermarks on the mirror");
            return Vec::new();
        }
    };
    for one in &mut found.false_ones {
        match set_back(mirror, one, &advertisement) {
            Ok(()) => one.set_back = true,
            Err(why) => one.error = Some(why),
        }
        tracing::error!("{one}");
    }
    mirror.remember_watermarks(&found.false_ones, |before| {
        remembered(&found.mismatches, &found.false_ones, before)
    });
    found.false_ones
}

/// Moves one watermark under a lease, and reads it back.
fn set_back(mirror: &mut dyn Mirror, found: &FalseWatermark, advertisement: &Advertisement) -> Result<(), String> {
    let id = |text: &str| ObjectId::from_hex(text.as_bytes()).map_err(|error| error.to_string());
    let old = id(&found.watermark)?;
    let null = old.kind().null();
    let command = Command {
        name: found.name.clone(),
        old,
        new: found.covered.as_deref().map_or(Ok(null), id)?,
    };
    let wanted = command.new;
    let report = mirror.push(advertisement, vec![command]);
    let report = report.map_err(|error| error.to_string())?;
    if let Some(Verdict::Rejected(reason)) = report.verdict(found.name.as_bstr()) {
        return Err(format!("the mirror rejected it: {reason}"));
    }
    let seen = mirror.read_refs(std::slice::from_ref(&found.name));
    let seen = seen.map_err(|error| format!("cannot read it back: {error}"))?;
    let stands = seen.iter().find(|seen| seen.name == found.name);
    if stands.map_or(null, |stands| stands.id) == wanted {
        Ok(())
    } else {
        Err("the mirror reported ok, but did not move it".into())
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
    fn a_checked_watermark_is_not_checked_again_unless_it_is_still_false_or_has_moved() {
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
    fn a_ledger_that_is_not_shown_may_be_hidden_while_its_group_fails() {
        let hidden = Mismatch {
            ledger: None,
            ..mismatch(3, 2)
        };
        assert!(!is_open(&hidden, Some(Attempted::Failed)));
        assert!(is_open(&hidden, None));
        assert!(is_open(&mismatch(3, 2), Some(Attempted::Failed)));
        assert!(!is_open(&mismatch(3, 2), Some(Attempted::Mirrored)));
    }

    #[test]
    fn a_false_watermark_is_remembered_until_its_namespace_is_mirrored() {
        let set_back = remembered(&[mismatch(3, 2)], &[found(true)], &Judged::new());
        let later = remembered(&[mismatch(1, 2)], &[], &set_back);
        assert_eq!(later["main"].was_false.as_ref().map(|seen| seen.set_back), Some(true));
        assert_eq!(remembered(&[], &[], &later), Judged::new());
    }
}
