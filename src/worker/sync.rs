//! Comparison and forced update of refs by hand, for `stargate-mirror sync`.
use std::path::Path;

use bstr::BString;
use durable::clock::Clock;
use git_push_transport::Remote;
use gix::ObjectId;
use serde::Serialize;

use super::{
    error::RunError,
    false_watermark::FalseWatermark,
    missing::Missing,
    options::{Environment, Options},
    report::GroupReport,
    requests::Mirror,
    session::Session,
    watermarks::false_watermarks,
};
use crate::{
    journal::Source,
    mirror::{Compared, Standing, compare},
    ref_update::RefUpdate,
};

/// Maximum percentage of the mirror's refs that are deleted at once.
const MOST_DELETIONS: usize = 5;

/// Comparison of both sides.
#[derive(Debug, Clone, Serialize)]
pub struct SyncReport {
    /// Name of the mirror among several. Omitted if there is a single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
    /// Location of the mirror, without secrets; none if there is no mirror.
    pub remote: Option<String>,
    /// Setting that is missing for a comparison.
    pub missing: Option<Missing>,
    /// Every mirrored ref of either side, in order of name.
    pub refs: Vec<SyncRef>,
    /// False watermarks on the mirror.
    pub watermarks: Vec<FalseWatermark>,
    /// Groups that were pushed by force.
    pub groups: Vec<GroupReport>,
    /// Reasons why files that may contain any ref cannot be read. Omitted if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<String>,
}

/// One ref of either side.
#[derive(Debug, Clone, Serialize)]
pub struct SyncRef {
    /// The full name.
    #[serde(rename = "ref")]
    pub name: String,
    /// Standing of the mirror's ref.
    pub standing: Standing,
    /// Id in the Stargate.
    pub local: Option<String>,
    /// Id on the mirror.
    pub remote: Option<String>,
    /// Reason why it is broken or dangling. Omitted otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Refs to force, and the permission to delete many.
#[derive(Debug, Clone, Default)]
pub struct Force {
    /// Full names; empty for all refs that differ.
    pub refs: Vec<String>,
    /// Allow deleting more than 5 % of the mirror's refs.
    pub mass_delete: bool,
}

/// Reasons why nothing was forced.
#[derive(Debug, thiserror::Error)]
pub enum ForceError {
    /// The cycle cannot run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Too many refs would be deleted.
    #[error("this would delete {deletions} of the mirror's {refs} refs, which is more than {MOST_DELETIONS} %")]
    MassDelete {
        /// Number of refs to delete.
        deletions: usize,
        /// Number of refs on the mirror.
        refs: usize,
    },
    /// The ref does not differ, or is not mirrored.
    #[error("{0} is not a mirrored ref that differs")]
    Unknown(String),
    /// The ref of the Stargate, or its object, cannot be read.
    #[error("cannot force {name}: {reason}")]
    Broken {
        /// The ref.
        name: String,
        /// Reason why it cannot be read.
        reason: String,
    },
}

impl SyncReport {
    /// Returns true if a difference needs a decision by the operator.
    pub fn needs_operator(&self) -> bool {
        let needs_operator = |one: &SyncRef| one.standing.needs_operator() || one.standing == Standing::Dangling;
        self.refs.iter().any(needs_operator)
    }

    /// Returns true if a ref or an object of the Stargate is missing, damaged or unreadable.
    pub fn is_broken(&self) -> bool {
        !self.broken.is_empty() || self.refs.iter().any(|one| one.standing == Standing::Broken)
    }

    /// Returns true if both sides are equal, and no watermark is false.
    pub fn is_equal(&self) -> bool {
        self.watermarks.is_empty() && self.refs.iter().all(|one| one.standing == Standing::Equal)
    }

    /// Returns the refs that the operator can force. If `names` is not empty, only those.
    pub fn forceable<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = &'a SyncRef> {
        let named = move |one: &&SyncRef| names.is_empty() || names.contains(&one.name);
        self.refs
            .iter()
            .filter(|one| one.standing.needs_operator())
            .filter(named)
    }
}

/// Compares both sides without changing anything.
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
    let Some(session) = Session::open(git_dir, &options, environment, clock)? else {
        return Ok(SyncReport::new(None, Sides::default()));
    };
    let mut remote = match session.remote()? {
        Ok(remote) => remote,
        Err(missing) => return Ok(SyncReport::local_only(missing).of(&session)),
    };
    let sides = compare_with(&session, &mut remote)?;
    Ok(SyncReport::new(Some(&remote), sides).of(&session))
}

/// Overwrites or deletes the refs on the mirror that `force` selects, to match the Stargate. Every old id is a lease.
/// Each update gets a journal entry with the source `manual`.
///
/// # Errors
/// See [`ForceError`]. Nothing was sent then.
pub fn force(
    git_dir: &Path,
    options: &Options,
    force: &Force,
    environment: Environment<'_>,
    clock: &dyn Clock,
) -> Result<SyncReport, ForceError> {
    let Some(session) = Session::open(git_dir, options, environment, clock)? else {
        return Ok(SyncReport::new(None, Sides::default()));
    };
    let mut remote = match session.remote()? {
        Ok(remote) => remote,
        Err(missing) => return Ok(SyncReport::local_only(missing).of(&session)),
    };
    let sides = compare_with(&session, &mut remote)?;
    let taken = chosen(&sides.compared, force)?;
    check_deletions(&taken, &sides.compared, force)?;
    let updates = taken.iter().map(|compared| update(compared, session.null())).collect();
    session.entries.append(updates, Source::Manual)?;

    let names: Vec<&BString> = taken.iter().map(|compared| &compared.name).collect();
    let mut entries = session.backlog(Some(&remote.location().to_string()))?.pending;
    entries.retain(|located| names.contains(&&located.entry.update.name));
    let mut cycle = session.cycle();
    cycle.rules.force = true;
    cycle.rules.deletes = true;
    let mut mirror = session.mirror(&mut remote);
    let (settled, _) = session.entries.push(&cycle, &mut mirror, &entries)?;
    mirror.forget_differing(&settled);
    let sides = compare_with(&session, &mut remote)?;
    let mut report = SyncReport::new(Some(&remote), sides).of(&session);
    report.groups = settled.iter().map(GroupReport::settled).collect();
    Ok(report)
}

/// Comparison of both sides.
#[derive(Default)]
struct Sides {
    compared: Vec<Compared>,
    /// Reasons why files that may contain any ref cannot be read.
    broken: Vec<String>,
    /// False watermarks.
    watermarks: Vec<FalseWatermark>,
}

fn compare_with(session: &Session<'_>, remote: &mut Remote) -> Result<Sides, RunError> {
    let refs = session.mirror(remote).advertisement()?.refs;
    let (stargate, patterns) = (session.view.stargate(), &session.config.refs);
    let repository = stargate.repository();
    let watermarks = false_watermarks(&session.memory, remote, repository, &refs, patterns)?;
    let local = stargate.mirrored_refs(patterns);
    let nameless = local.unreadable().filter(|(name, _)| name.is_none());
    Ok(Sides {
        compared: compare(&local, &refs, stargate, &session.cycle().rules),
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
            mirror: None,
            remote: remote.map(|remote| remote.location().to_string()),
            refs: sides.compared.iter().map(sync_ref).collect(),
            groups: Vec::new(),
            broken: sides.broken,
            watermarks: sides.watermarks,
            missing: None,
        }
    }

    /// Adds the name of the mirror.
    fn of(mut self, session: &Session<'_>) -> Self {
        self.mirror = session.chosen.name_among_several().map(str::to_owned);
        self
    }

    fn local_only(missing: Missing) -> Self {
        SyncReport {
            missing: Some(missing),
            ..SyncReport::new(None, Sides::default())
        }
    }
}
