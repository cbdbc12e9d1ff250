//! Local refs of the planned groups.
//!
//! The ledgers are read first, then the pushes in flight, and then the other refs of the namespaces. So a push between
//! the reads can only add refs that a ledger relies on: the mirror never gets a ledger without the chunks that were
//! pushed before it. Nor does it get a ledger without the chunks of the same push, whose intent is older than any move
//! of its refs. If the intent is gone after the ledger was read, all refs of the push have moved and are read with
//! their new ids. If the intent is still there, `landing` determines which refs have not moved.
use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice};

use super::{Damaged, Grouping, Hold, LocalView, Rules, Unit};
use crate::{
    namespace::{Family, family_of},
    ref_pattern::RefPatterns,
    ref_update::RefUpdate,
    refs::{LocalRef, LocalRefs},
};

/// Local refs of the planned groups.
pub(super) struct Names<'a> {
    local_view: &'a dyn LocalView,
    ledgers: BTreeMap<BString, LocalRef>,
    /// Updates of each push in flight, read after the ledgers.
    in_flight: Result<Vec<Vec<RefUpdate>>, Damaged>,
    /// Mirrored families with epochs.
    families: Vec<Family>,
    /// Listed refs of these families.
    listed: LocalRefs,
    /// Refs with an epoch, by unit: those of the Stargate, of the backlog, and of the pushes in flight.
    of_epochs: BTreeMap<Unit, BTreeSet<BString>>,
}

impl<'a> Names<'a> {
    /// Reads the ledgers of these groups, then the pushes in flight, and then lists their refs with an epoch.
    pub(super) fn read<'u>(
        local_view: &'a dyn LocalView,
        units: impl Iterator<Item = &'u Unit>,
        grouping: &Grouping,
        backlog: &[RefUpdate],
        rules: &Rules,
    ) -> Self {
        let members = units.flat_map(|unit| grouping.members(unit));
        let namespaces: Vec<BString> = members.filter_map(Unit::into_namespace).collect();
        let ledgers = namespaces.iter().map(|namespace| {
            let ledger = Family::Ledger.ref_of(namespace.as_bstr());
            (ledger.clone(), local_view.local(ledger.as_bstr()))
        });
        let ledgers = ledgers.collect();
        let in_flight = if namespaces.is_empty() {
            Ok(Vec::new())
        } else {
            local_view.pushes_in_flight()
        };
        let families = mirrored_families(&rules.refs);
        let mut names = Names {
            local_view,
            ledgers,
            in_flight,
            listed: LocalRefs::default(),
            families,
            of_epochs: BTreeMap::new(),
        };
        if let Some(patterns) = names.patterns().filter(|_| !namespaces.is_empty()) {
            names.listed = local_view.list(&patterns);
            names.add_all(backlog);
        }
        names
    }

    /// Returns the local ref of this name.
    pub(super) fn local(&self, name: &BStr) -> LocalRef {
        let ledger = self.ledgers.get(name.as_bytes());
        ledger.map_or_else(|| self.local_view.local(name), LocalRef::clone)
    }

    /// Returns the updates of each push in flight.
    pub(super) fn in_flight(&self) -> Result<&[Vec<RefUpdate>], Damaged> {
        self.in_flight.as_deref().map_err(Clone::clone)
    }

    /// Returns the names of this unit's refs, the ledger first. Some of the refs may not exist.
    pub(super) fn of(&self, unit: &Unit) -> Vec<BString> {
        let of_epochs = self.of_epochs.get(unit).into_iter().flatten();
        unit.refs().into_iter().chain(of_epochs.cloned()).collect()
    }

    /// Checks that every ref of this unit is known by name.
    ///
    /// # Errors
    /// A file or folder that may contain further refs of the unit cannot be read.
    pub(super) fn check_complete(&self, unit: &Unit) -> Result<(), Hold> {
        let Unit::Namespace(namespace) = unit else {
            return Ok(());
        };
        for family in &self.families {
            // This is no ref's name, but the common beginning of all refs of the namespace in this family.
            let name = family.ref_of(namespace.as_bstr());
            if let LocalRef::Unreadable(why) = self.listed.get(name.as_bstr()) {
                return Err(Hold::Unreadable { name, why });
            }
        }
        Ok(())
    }

    fn patterns(&self) -> Option<RefPatterns> {
        let patterns = self.families.iter().map(|family| format!("{}*", family.folder()));
        RefPatterns::new(patterns).ok().filter(|_| !self.families.is_empty())
    }

    fn add_all(&mut self, backlog: &[RefUpdate]) {
        let known = self.listed.known().keys().map(|name| name.as_bstr());
        let unreadable = self.listed.unreadable().filter_map(|(name, _)| name);
        let in_flight = self.in_flight.iter().flatten().flatten();
        let updated = backlog.iter().chain(in_flight).map(|update| update.name.as_bstr());
        for name in known.chain(unreadable).chain(updated) {
            if family_of(name).is_some_and(|(family, _)| family.has_epochs()) {
                self.of_epochs
                    .entry(Unit::of(name))
                    .or_default()
                    .insert(name.to_owned());
            }
        }
    }
}

/// Returns the families with epochs that may have a mirrored ref.
fn mirrored_families(patterns: &RefPatterns) -> Vec<Family> {
    let may_match = |family: &Family| {
        let folder = family.folder().as_bytes();
        let mut prefixes = patterns.prefixes();
        prefixes.any(|prefix| prefix.starts_with(folder) || folder.starts_with(prefix))
    };
    let with_epochs = Family::ALL.into_iter().filter(|family| family.has_epochs());
    with_epochs.filter(may_match).collect()
}
