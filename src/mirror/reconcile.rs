//! The refs are the truth: compares the Stargate's mirrored refs with the mirror's, whatever the journal says.
//!
//! What the journal missed and what only adds (a ref to create, to fast-forward, a watermark to set) becomes ref updates
//! for the journal. Nothing is ever rewound or deleted from here: the rest is shown.
use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;
use serde::Serialize;

use super::{
    plan::{Damaged, LocalView, Rules},
    watermark::{is_watermark, ledger_ref, namespace, watermark_ref},
};
use crate::{
    ref_update::RefUpdate,
    refs::{LocalRef, LocalRefs},
};

/// How a ref of the mirror stands to the Stargate's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Both have the same.
    Equal,
    /// The mirror does not have the ref.
    Missing,
    /// The Stargate has more: a fast-forward.
    Ahead,
    /// The mirror has more than the Stargate.
    Behind,
    /// Each has something that the other does not.
    Diverged,
    /// The Stargate does not have the ref.
    Extra,
    /// The Stargate's ref is symbolic, and its target does not exist.
    Dangling,
    /// The Stargate's ref cannot be read, or names an object that is missing or damaged and that the mirror's ref is not at.
    Broken,
}

impl Standing {
    /// Whether bringing the mirror's ref to the Stargate's only adds.
    pub fn is_safe(self) -> bool {
        matches!(self, Standing::Missing | Standing::Ahead)
    }

    /// Whether only an operator can decide about it, who may take what the Stargate has.
    pub fn needs_operator(self) -> bool {
        matches!(self, Standing::Behind | Standing::Diverged | Standing::Extra)
    }

    /// The word that a person and JSON read.
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

/// One ref of the Stargate or the mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// The full name.
    pub name: BString,
    /// What the Stargate has.
    pub local: Option<ObjectId>,
    /// What the mirror has.
    pub remote: Option<ObjectId>,
    /// How they stand.
    pub standing: Standing,
    /// Why the Stargate's ref is broken or dangling.
    pub reason: Option<String>,
}

/// Compares every mirrored ref of either side, in order of name. Watermarks are not among them: the Stargate has none.
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

/// The ref updates that the journal lacks: what is safe, where no entry is `pending` already. A ledger whose watermark
/// does not stand where it does is told again, as an update from what the mirror has to the same.
///
/// What has moved since it was compared has a hook of its own that tells the journal; what names an object that is gone,
/// or that cannot be read, cannot be carried.
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
    let Some(namespace) = namespace(compared.name.as_bstr()) else {
        return false;
    };
    let is_ledger = compared.name == ledger_ref(namespace);
    let watermark = remote.get(&watermark_ref(namespace)).copied();
    is_ledger && compared.standing == Standing::Equal && watermark != compared.remote
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

    /// What the Stargate's refs are now. Commits are bytes: `0x12` descends from `0x11`; another high digit is another
    /// line; `0xff` is gone.
    struct Lines(BTreeMap<BString, ObjectId>);

    impl LocalView for Lines {
        fn local(&self, name: &BStr) -> LocalRef {
            self.0
                .get(name.as_bytes())
                .map_or(LocalRef::Absent, |id| LocalRef::Id(*id))
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
    fn only_what_adds_is_missed_and_what_is_pending_is_not() {
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
    fn a_ledger_without_its_watermark_is_told_again() {
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
    fn what_moves_while_the_mirror_is_asked_is_not_missed() {
        let mut now = lines();
        now.0.remove("refs/kv/missing".as_bytes());
        now.0.insert("refs/kv/ahead".into(), id(0x13));
        let null = gix::hash::Kind::Sha1.null();
        assert_eq!(missed(&compared(), &refs(&REMOTE), &now, &|_| false, null), []);
    }

    #[test]
    fn a_watermark_of_what_is_gone_is_not_told() {
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
