//! Grouping of refs that land together: the refs of a namespace, and every symbolic ref that leads to one of them.
//!
//! A symbolic ref moves with its target, without a separate ref update, and a push to it moves its target. It is
//! mirrored as the id that it resolves to, in the group of its target. A symbolic ref from one namespace to another joins
//! both into one group.
use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};

use crate::{
    namespace::{Family, is_watermark, namespace},
    ref_pattern::RefPatterns,
};

/// Refs that always belong together. Refs outside the namespaces sort first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unit {
    /// A ref outside the namespaces.
    Ref(BString),
    /// A namespace.
    Namespace(BString),
}

impl Unit {
    /// Returns the unit of this ref, apart from symbolic refs.
    pub(super) fn of(name: &BStr) -> Self {
        match namespace(name) {
            Some(namespace) => Unit::Namespace(namespace.to_owned()),
            None => Unit::Ref(name.to_owned()),
        }
    }

    /// Returns the namespace, else the ref.
    pub(super) fn label(&self) -> &BString {
        match self {
            Unit::Ref(name) | Unit::Namespace(name) => name,
        }
    }

    /// Returns the namespace, if it is one.
    pub(super) fn into_namespace(self) -> Option<BString> {
        match self {
            Unit::Ref(_) => None,
            Unit::Namespace(namespace) => Some(namespace),
        }
    }

    /// Returns the refs without an epoch, the ledger first.
    pub(super) fn refs(&self) -> Vec<BString> {
        match self {
            Unit::Ref(name) => vec![name.clone()],
            Unit::Namespace(namespace) => {
                let families = Family::ALL.into_iter().filter(|family| !family.has_epochs());
                families.map(|family| family.ref_of(namespace.as_bstr())).collect()
            }
        }
    }
}

/// Assignment of refs to groups, given the symbolic refs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grouping {
    /// Symbolic refs and their targets.
    aliases: BTreeMap<BString, BString>,
    /// Units that belong to the group of another unit.
    joined: BTreeMap<Unit, Unit>,
}

impl Grouping {
    /// Creates the grouping for these symbolic refs, each with its final target. Symbolic refs that `refs` does not match
    /// are ignored.
    pub fn new(aliases: &BTreeMap<BString, BString>, refs: &RefPatterns) -> Self {
        let mirrored = |name: &BString| refs.matches(name.as_bstr()) && !is_watermark(name.as_bstr());
        let mut grouping = Grouping::default();
        for (alias, target) in aliases.iter().filter(|(alias, _)| mirrored(alias)) {
            grouping.aliases.insert(alias.clone(), target.clone());
            let (from, to) = (grouping.unit(alias.as_bstr()), grouping.unit(target.as_bstr()));
            if from != to {
                grouping.joined.insert(from, to);
            }
        }
        grouping
    }

    /// Returns the label of this ref's group: the namespace, else the ref.
    pub fn label(&self, name: &BStr) -> BString {
        self.unit(name).label().clone()
    }

    /// Returns the namespace after which this ref's group is named, if it is named after one.
    pub fn namespace(&self, name: &BStr) -> Option<BString> {
        match self.unit(name) {
            Unit::Namespace(namespace) => Some(namespace),
            Unit::Ref(_) => None,
        }
    }

    /// Returns the unit that gives this ref's group its name.
    pub(super) fn unit(&self, name: &BStr) -> Unit {
        self.root(Unit::of(name))
    }

    /// Returns the members of this unit's group, the unit itself first.
    pub(super) fn members(&self, unit: &Unit) -> Vec<Unit> {
        let others = self.joined.keys().filter(|other| self.root((*other).clone()) == *unit);
        std::iter::once(unit).chain(others).cloned().collect()
    }

    /// Returns true if both names resolve to the same ref.
    pub(super) fn is_same(&self, one: &BStr, other: &BStr) -> bool {
        self.target(one) == self.target(other)
    }

    /// Returns every name of this ref: that of its target, and those of the symbolic refs that lead there.
    pub fn names_of<'a>(&'a self, name: &'a BStr) -> impl Iterator<Item = &'a BStr> {
        let target = self.target(name);
        let aliases = self.aliases.iter().filter(move |(_, to)| *to == target);
        std::iter::once(target).chain(aliases.map(|(alias, _)| alias.as_bstr()))
    }

    fn target<'a>(&'a self, name: &'a BStr) -> &'a BStr {
        self.aliases
            .get(name.as_bytes())
            .map_or(name, |target| target.as_bstr())
    }

    fn root(&self, mut unit: Unit) -> Unit {
        // Terminates: only a root is ever joined to another unit.
        while let Some(to) = self.joined.get(&unit) {
            unit = to.clone();
        }
        unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouping(aliases: &[(&str, &str)]) -> Grouping {
        let aliases = aliases
            .iter()
            .map(|(alias, target)| ((*alias).into(), (*target).into()));
        Grouping::new(
            &aliases.collect(),
            &RefPatterns::new(["refs/heads/*", "refs/kv*"]).unwrap(),
        )
    }

    #[test]
    fn a_symbolic_ref_is_in_the_group_of_its_target() {
        let grouping = grouping(&[
            ("refs/heads/master", "refs/heads/main"),
            ("refs/kv/latest", "refs/kv/v1"),
            ("refs/tags/t", "refs/heads/other"),
        ]);
        for (name, label) in [
            ("refs/heads/master", "refs/heads/main"),
            ("refs/heads/main", "refs/heads/main"),
            ("refs/kv-index/latest", "v1"),
            ("refs/kv/v1", "v1"),
            ("refs/tags/t", "refs/tags/t"),
        ] {
            assert_eq!(grouping.label(name.into()), label, "{name}");
        }
        let members = grouping.members(&Unit::Namespace("v1".into()));
        assert_eq!(members, ["v1", "latest"].map(|name| Unit::Namespace(name.into())));
        assert!(grouping.is_same("refs/heads/master".into(), "refs/heads/main".into()));
        assert!(!grouping.is_same("refs/kv/latest".into(), "refs/kv-index/v1".into()));
    }

    #[test]
    fn namespaces_that_lead_to_each_other_are_one_group() {
        let grouping = grouping(&[
            ("refs/kv/a", "refs/kv/b"),
            ("refs/kv-index/b", "refs/kv-index/a"),
            ("refs/kv/c", "refs/kv/a"),
        ]);
        for name in ["refs/kv/a", "refs/kv-index/b", "refs/kv/c"] {
            assert_eq!(grouping.label(name.into()), "a", "{name}");
        }
        assert_eq!(grouping.members(&Unit::Namespace("a".into())).len(), 3);
    }
}
