//! Both sides compared and brought together by hand: what `stargate-mirror sync` does.
use std::path::Path;

use bstr::BString;
use durable::clock::Clock;
use git_push_transport::Remote;
use gix::ObjectId;
use serde::Serialize;

use super::{
    cycle::Mirror,
    missing::Missing,
    report::GroupReport,
    run::{Environment, Options, RunError, Work},
    watermarks::{FalseWatermark, false_watermarks},
};
use crate::{
    journal::Source,
    mirror::{Compared, Standing, compare},
    ref_update::RefUpdate,
};

/// How many of the mirror's refs may be deleted at once, in percent.
const MOST_DELETIONS: usize = 5;

/// Both sides, compared.
#[derive(Debug, Clone, Serialize)]
pub struct SyncReport {
    /// The mirror without secrets; none when there is none to compare with.
    pub remote: Option<String>,
    /// What is missing for a mirror to compare with.
    pub missing: Option<Missing>,
    /// Every mirrored ref of either side, in order of name.
    pub refs: Vec<SyncRef>,
    /// Watermarks on the mirror that promise more than it has.
    pub watermarks: Vec<FalseWatermark>,
    /// What was pushed by force.
    pub groups: Vec<GroupReport>,
    /// Files that may hold any ref and cannot be read, and why; left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<String>,
}

/// One ref of either side.
#[derive(Debug, Clone, Serialize)]
pub struct SyncRef {
    /// The full name.
    #[serde(rename = "ref")]
    pub name: String,
    /// How it stands.
    pub standing: Standing,
    /// What the Stargate has.
    pub local: Option<String>,
    /// What the mirror has.
    pub remote: Option<String>,
    /// Why it is broken or dangling; left out where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What the operator wants to take, and how far that may go.
#[derive(Debug, Clone, Default)]
pub struct Force {
    /// Full names; empty for all that differ.
    pub refs: Vec<String>,
    /// Allow to delete more than 5 % of the mirror's refs.
    pub mass_delete: bool,
}

/// Why nothing was forced.
#[derive(Debug, thiserror::Error)]
pub enum ForceError {
    /// The repository cannot be worked on.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Too much would be deleted.
    #[error("{deletions} of the mirror's {refs} refs would be deleted, more than {MOST_DELETIONS} %")]
    MassDelete {
        /// How many would go.
        deletions: usize,
        /// How many there are.
        refs: usize,
    },
    /// The ref does not differ, or is not mirrored.
    #[error("{0} is not a ref that differs")]
    Unknown(String),
    /// Nobody knows what the ref is in the Stargate, or what it names cannot be had.
    #[error("{name} cannot be forced: {reason}")]
    Broken {
        /// The ref.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl SyncReport {
    /// Whether something is left that only an operator can decide about.
    pub fn needs_operator(&self) -> bool {
        let needs_operator = |one: &SyncRef| one.standing.needs_operator() || one.standing == Standing::Dangling;
        self.refs.iter().any(needs_operator)
    }

    /// Whether something of the Stargate is missing, damaged or cannot be read.
    pub fn is_broken(&self) -> bool {
        !self.broken.is_empty() || self.refs.iter().any(|one| one.standing == Standing::Broken)
    }

    /// Whether both sides are the same, and no watermark is false.
    pub fn is_equal(&self) -> bool {
        self.watermarks.is_empty() && self.refs.iter().all(|one| one.standing == Standing::Equal)
    }

    /// Refs that differ and that the operator can make what they are in the Stargate; of these names, where there are any.
    pub fn forceable<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = &'a SyncRef> {
        let named = move |one: &&SyncRef| names.is_empty() || names.contains(&one.name);
        self.refs
            .iter()
            .filter(|one| one.standing.needs_operator())
            .filter(named)
    }
}

/// Compares both sides; changes nothing.
///
/// # Errors
/// See [`RunError`].
pub fn compare_refs(
    git_dir: &Path,
    options: &Options,
    environment: Environment<'_>,
    clock: &dyn Clock,
) -> Result<SyncReport, RunError> {
    let options = Options {
        dry_run: true,
        ..options.clone()
    };
    let Some(work) = Work::open(git_dir, &options, environment, clock)? else {
        return Ok(SyncReport::new(None, Sides::default()));
    };
    let mut remote = match work.remote()? {
        Ok(remote) => remote,
        Err(missing) => return Ok(SyncReport::local_only(missing)),
    };
    let sides = compare_with(&work, &mut remote)?;
    Ok(SyncReport::new(Some(&remote), sides))
}

/// Takes what differs on the mirror by force, as `force` says: each ref becomes what it is in the Stargate, or goes. Every
/// old id is a lease. Entries by the source `manual` tell the journal.
///
/// # Errors
/// See [`ForceError`]; then nothing was sent.
pub fn force(
    git_dir: &Path,
    options: &Options,
    force: &Force,
    environment: Environment<'_>,
    clock: &dyn Clock,
) -> Result<SyncReport, ForceError> {
    let Some(work) = Work::open(git_dir, options, environment, clock)? else {
        return Ok(SyncReport::new(None, Sides::default()));
    };
    let mut remote = match work.remote()? {
        Ok(remote) => remote,
        Err(missing) => return Ok(SyncReport::local_only(missing)),
    };
    let sides = compare_with(&work, &mut remote)?;
    let taken = chosen(&sides.compared, force)?;
    check_deletions(&taken, &sides.compared, force)?;
    let updates = taken
        .iter()
        .map(|compared| update(compared, work.cycle().null))
        .collect();
    work.append_entries(updates, Source::Manual)?;

    let names: Vec<&BString> = taken.iter().map(|compared| &compared.name).collect();
    let mut entries = work.backlog()?.pending;
    entries.retain(|located| names.contains(&&located.entry.update.name));
    let mut cycle = work.cycle();
    cycle.rules.force = true;
    cycle.rules.deletes = true;
    let (settled, _) = work.push_entries(cycle, &mut work.mirror(&mut remote), &entries)?;
    let sides = compare_with(&work, &mut remote)?;
    let mut report = SyncReport::new(Some(&remote), sides);
    report.groups = settled.iter().map(GroupReport::settled).collect();
    Ok(report)
}

/// Both sides, compared.
#[derive(Default)]
struct Sides {
    compared: Vec<Compared>,
    /// What may hold any ref, and cannot be read.
    broken: Vec<String>,
    /// Watermarks that promise more than their ledger has.
    watermarks: Vec<FalseWatermark>,
}

fn compare_with(work: &Work<'_>, remote: &mut Remote) -> Result<Sides, RunError> {
    let refs = work.mirror(remote).advertisement()?.refs;
    let repository = work.stargate.repository();
    let watermarks = false_watermarks(repository.git_dir(), remote, repository, &refs, &work.config.refs)?;
    let local = work.stargate.mirrored_refs(&work.config.refs);
    let nameless = local.unreadable().filter(|(name, _)| name.is_none());
    Ok(Sides {
        compared: compare(&local, &refs, &work.stargate, &work.cycle().rules),
        broken: nameless.map(|(_, why)| why.to_string()).collect(),
        watermarks,
    })
}

fn chosen<'a>(compared: &'a [Compared], force: &Force) -> Result<Vec<&'a Compared>, ForceError> {
    let left = || compared.iter().filter(|compared| compared.standing.needs_operator());
    if force.refs.is_empty() {
        return Ok(left().collect());
    }
    let find = |name: &String| match compared.iter().find(|compared| compared.name == name.as_str()) {
        Some(found) if found.standing.needs_operator() => Ok(found),
        Some(Compared {
            reason: Some(reason), ..
        }) => Err(ForceError::Broken {
            name: name.clone(),
            reason: reason.clone(),
        }),
        _ => Err(ForceError::Unknown(name.clone())),
    };
    force.refs.iter().map(find).collect()
}

fn check_deletions(taken: &[&Compared], compared: &[Compared], force: &Force) -> Result<(), ForceError> {
    let deletions = taken
        .iter()
        .filter(|compared| compared.standing == Standing::Extra)
        .count();
    let refs = compared.iter().filter(|compared| compared.remote.is_some()).count();
    if deletions * 100 > refs * MOST_DELETIONS && !force.mass_delete {
        return Err(ForceError::MassDelete { deletions, refs });
    }
    Ok(())
}

fn update(compared: &Compared, null: ObjectId) -> RefUpdate {
    RefUpdate {
        old: compared.remote.unwrap_or(null),
        new: compared.local.unwrap_or(null),
        name: compared.name.clone(),
    }
}

impl SyncReport {
    fn new(remote: Option<&Remote>, sides: Sides) -> Self {
        let sync_ref = |compared: &Compared| SyncRef {
            name: compared.name.to_string(),
            standing: compared.standing,
            local: compared.local.map(|id| id.to_string()),
            remote: compared.remote.map(|id| id.to_string()),
            reason: compared.reason.clone(),
        };
        SyncReport {
            remote: remote.map(|remote| remote.location().to_string()),
            refs: sides.compared.iter().map(sync_ref).collect(),
            groups: Vec::new(),
            broken: sides.broken,
            watermarks: sides.watermarks,
            missing: None,
        }
    }

    fn local_only(missing: Missing) -> Self {
        SyncReport {
            missing: Some(missing),
            ..SyncReport::new(None, Sides::default())
        }
    }
}
