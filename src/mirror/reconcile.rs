//! Comparison of the Stargate's mirrored refs with the mirror's. The refs are the truth, not the journal.
//!
//! Updates that the journal missed and that only add (a new ref, a fast-forward, a watermark) become ref updates for the
//! journal. Nothing is rewound or deleted here: other differences are only reported.
use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;
use serde::{Deserialize, Serialize};

use super::{
    plan::{Damaged, LocalView, Rules},
    watermark::watermark_ref,
};
use crate::{
    namespace::{Family, family_of, is_watermark},
    ref_update::RefUpdate,
    refs::{LocalRef, LocalRefs},
};

/// Relation of the mirror's ref to the Stargate's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Both sides have the same id.
    Equal,
    /// The mirror does not have the ref.
    Missing,
    /// The Stargate has more commits: a fast-forward.
    Ahead,
    /// The mirror has more commits than the Stargate.
    Behind,
    /// Each side has commits that the other lacks.
    Diverged,
    /// The Stargate does not have the ref.
    Extra,
    /// The Stargate's ref is symbolic, and its target does not exist.
    Dangling,
    /// The Stargate's ref cannot be read; or its object is missing or damaged, and the mirror has another id.
    Broken,
}

impl Standing {
    /// Returns true if updating the mirror's ref only adds commits.
    pub fn is_safe(self) -> bool {
        matches!(self, Standing::Missing | Standing::Ahead)
    }

    /// Returns true if the operator must decide, and may force the Stargate's id.
    pub fn needs_operator(self) -> bool {
        matches!(self, Standing::Behind | Standing::Diverged | Standing::Extra)
    }

    /// Returns true if a push would remove commits from the mirror's ref.
    pub fn would_be_overwritten(self) -> bool {
        matches!(self, Standing::Behind | Standing::Diverged)
    }

    /// Returns the word for people and for JSON.
    pub fn word(self) -> &'static str {
        match self {
            Standing::Equal => "equal",
            Standing::Missing => "missing",
            Standing::Ahead => "ahead",
            Standing::Behind => "behind",
            Standing::Diverged => "diverged",
            Standing::Extra => "extra",
            Standing::Dangling => "dangling",
            Standing::Broken => "broken",
        }
    }
}

/// Comparison of one ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// The full name.
    pub name: BString,
    /// Id in the Stargate.
    pub local: Option<ObjectId>,
    /// Id on the mirror.
    pub remote: Option<ObjectId>,
    /// Relation of the two.
    pub standing: Standing,
    /// Reason why the Stargate's ref is broken or dangling.
    pub reason: Option<String>,
}

/// Compares every mirrored ref of either side, in order of name. Watermarks are excluded, because the Stargate has none.
pub fn compare(
    local: &LocalRefs,
    remote: &BTreeMap<BString, ObjectId>,
    local_view: &dyn LocalView,
    rules: &Rules,
) -> Vec<Compared> {
    let mirrored = |name: &BStr| rules.refs.matches(name) && !is_watermark(name);
    let unreadable = local.unreadable().filter_map(|(name, _)| name);
    let known = local.known().keys().chain(local.aliases().keys()).chain(remote.keys());
    let names: BTreeSet<&BStr> = known.map(|name| name.as_bstr()).chain(unreadable).collect();
    let names = names.into_iter().filter(|name| mirrored(name));
    names.map(|name| one(name, local, remote, local_view)).collect()
}

fn one(name: &BStr, local: &LocalRefs, remote: &BTreeMap<BString, ObjectId>, local_view: &dyn LocalView) -> Compared {
    let remote = remote.get(name.as_bytes()).copied();
    let here = local.get(name);
    let id = here.id();
    let (standing, reason) = match here {
        LocalRef::Id(id) => match standing(id, remote, local_view) {
            Ok(Standing::Broken) => (Standing::Broken, Some(format!("object {id} is not in the Stargate"))),
            Ok(standing) => (standing, None),
            Err(damaged) => (Standing::Broken, Some(damaged.to_string())),
        },
        LocalRef::Unreadable(why) => (Standing::Broken, Some(why.to_string())),
        LocalRef::Absent => match local.aliases().get(name.as_bytes()) {
            Some(target) => (Standing::Dangling, Some(format!("{target} does not exist"))),
            None => (Standing::Extra, None),
        },
    };
    Compared {
        name: name.to_owned(),
        local: id,
        remote,
        standing,
        reason,
    }
}

/// Returns the ref updates that the journal lacks: safe ones without a `pending` entry. A ledger that differs from its
/// watermark is included, as an update from the mirror's id to the same id.
///
/// A ref that has moved since the comparison is excluded, because its hook writes the entry. So is a ref whose object is
/// missing or cannot be read, because it cannot be mirrored.
pub fn missed(
    compared: &[Compared],
    remote: &BTreeMap<BString, ObjectId>,
    local_view: &dyn LocalView,
    pending: &dyn Fn(&BStr) -> bool,
    null: ObjectId,
) -> Vec<RefUpdate> {
    let open = compared.iter().filter(|compared| !pending(compared.name.as_bstr()));
    let wanted = open.filter(|compared| compared.standing.is_safe() || lacks_watermark(compared, remote));
    let update = |compared: &Compared| {
        let new = compared.local.filter(|local| local_view.exists(*local) == Ok(true))?;
        let stays = local_view.local(compared.name.as_bstr()) == LocalRef::Id(new);
        stays.then(|| RefUpdate {
            old: compared.remote.unwrap_or(null),
            new,
            name: compared.name.clone(),
        })
    };
    wanted.filter_map(update).collect()
}

fn lacks_watermark(compared: &Compared, remote: &BTreeMap<BString, ObjectId>) -> bool {
    let Some((Family::Ledger, namespace)) = family_of(compared.name.as_bstr()) else {
        return false;
    };
    let watermark = remote.get(&watermark_ref(namespace)).copied();
    compared.standing == Standing::Equal && watermark != compared.remote
}

fn standing(local: ObjectId, remote: Option<ObjectId>, local_view: &dyn LocalView) -> Result<Standing, Damaged> {
    if remote == Some(local) {
        return Ok(Standing::Equal);
    }
    if !local_view.exists(local)? {
        return Ok(Standing::Broken);
    }
    let Some(remote) = remote else {
        return Ok(Standing::Missing);
    };
    Ok(if local_view.fast_forward(remote, local)? {
        Standing::Ahead
    } else if local_view.fast_forward(local, remote)? {
        Standing::Behind
    } else {
        Standing::Diverged
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ref_pattern::RefPatterns;

    /// Current refs of the Stargate. Commits are bytes: `0x12` descends from `0x11`; different high digits are separate
    /// histories; `0xff` is missing.
    struct Lines(BTreeMap<BString, ObjectId>);

    impl LocalView for Lines {
        fn local(&self, name: &BStr) -> LocalRef {
            self.0
                .get(name.as_bytes())
                .map_or(LocalRef::Absent, |id| LocalRef::Id(*id))
        }
        fn list(&self, _: &RefPatterns) -> LocalRefs {
            self.0.clone().into()
        }
        fn exists(&self, commit: ObjectId) -> Result<bool, Damaged> {
            Ok(commit != id(0xff))
        }
        fn fast_forward(&self, old: ObjectId, new: ObjectId) -> Result<bool, Damaged> {
            let (old, new) = (old.as_slice()[0], new.as_slice()[0]);
            if old == 0xdd || new == 0xdd {
                return Err(Damaged("object dd cannot be read".into()));
            }
            Ok(old >> 4 == new >> 4 && old <= new)
        }
    }

    fn id(byte: u8) -> ObjectId {
        ObjectId::from_bytes_or_panic(&[byte; 20])
    }

    fn refs(refs: &[(&str, u8)]) -> BTreeMap<BString, ObjectId> {
        refs.iter()
            .map(|(name, byte)| (BString::from(*name), id(*byte)))
            .collect()
    }

    const LOCAL: [(&str, u8); 9] = [
        ("refs/heads/main", 0x11),
        ("refs/kv/ahead", 0x12),
        ("refs/kv/behind", 0x11),
        ("refs/kv/broken", 0xff),
        ("refs/kv/broken-there", 0xff),
        ("refs/kv/damaged", 0xdd),
        ("refs/kv/diverged", 0x21),
        ("refs/kv/equal", 0x11),
        ("refs/kv/missing", 0x11),
    ];
    const REMOTE: [(&str, u8); 9] = [
        ("refs/kv-mirror/equal", 0x11),
        ("refs/kv-mirror/stray", 0x11),
        ("refs/kv/ahead", 0x11),
        ("refs/kv/behind", 0x12),
        ("refs/kv/broken-there", 0xf1),
        ("refs/kv/damaged", 0x11),
        ("refs/kv/diverged", 0x31),
        ("refs/kv/equal", 0x11),
        ("refs/kv/extra", 0x11),
    ];

    fn lines() -> Lines {
        Lines(refs(&LOCAL))
    }

    fn compared() -> Vec<Compared> {
        let rules = Rules {
            refs: RefPatterns::new(["refs/kv/*", "refs/kv-mirror/*"]).unwrap(),
            force: false,
            deletes: true,
        };
        compare(&refs(&LOCAL).into(), &refs(&REMOTE), &lines(), &rules)
    }

    #[test]
    fn every_mirrored_ref_of_either_side_has_a_standing() {
        let standings: Vec<_> = compared()
            .into_iter()
            .map(|c| (c.name.to_string(), c.standing))
            .collect();
        let expected = [
            ("refs/kv/ahead", Standing::Ahead),
            ("refs/kv/behind", Standing::Behind),
            ("refs/kv/broken", Standing::Broken),
            ("refs/kv/broken-there", Standing::Broken),
            ("refs/kv/damaged", Standing::Broken),
            ("refs/kv/diverged", Standing::Diverged),
            ("refs/kv/equal", Standing::Equal),
            ("refs/kv/extra", Standing::Extra),
            ("refs/kv/missing", Standing::Missing),
        ];
        assert_eq!(standings, expected.map(|(name, standing)| (name.to_owned(), standing)));
    }

    #[test]
    fn only_additions_without_a_pending_entry_are_missed() {
        let null = gix::hash::Kind::Sha1.null();
        let missed = |pending: &str| -> Vec<_> {
            let missed = missed(&compared(), &refs(&REMOTE), &lines(), &|name| name == pending, null);
            missed
                .into_iter()
                .map(|update| (update.name.to_string(), update.old, update.new))
                .collect()
        };
        let ahead = ("refs/kv/ahead".to_owned(), id(0x11), id(0x12));
        let missing = ("refs/kv/missing".to_owned(), null, id(0x11));
        assert_eq!(missed(""), [ahead, missing.clone()]);
        assert_eq!(missed("refs/kv/ahead"), [missing]);
    }

    #[test]
    fn a_ledger_without_its_watermark_is_missed() {
        let mut remote = refs(&REMOTE);
        remote.insert("refs/kv-mirror/equal".into(), id(0x10));
        let missed = missed(&compared(), &remote, &lines(), &|_| false, gix::hash::Kind::Sha1.null());
        assert!(
            missed
                .iter()
                .any(|update| update.name == "refs/kv/equal" && update.old == update.new)
        );
    }

    #[test]
    fn a_ref_that_moves_during_the_comparison_is_not_missed() {
        let mut now = lines();
        now.0.remove("refs/kv/missing".as_bytes());
        now.0.insert("refs/kv/ahead".into(), id(0x13));
        let null = gix::hash::Kind::Sha1.null();
        assert_eq!(missed(&compared(), &refs(&REMOTE), &now, &|_| false, null), []);
    }

    #[test]
    fn a_watermark_of_a_missing_object_is_not_missed() {
        let gone = refs(&[("refs/kv/gone", 0xff)]);
        let rules = Rules {
            refs: RefPatterns::default(),
            force: false,
            deletes: true,
        };
        let now = Lines(gone.clone());
        let compared = compare(&gone.clone().into(), &gone, &now, &rules);
        let null = gix::hash::Kind::Sha1.null();
        assert_eq!(missed(&compared, &gone, &now, &|_| false, null), []);
    }
}
