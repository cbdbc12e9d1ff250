//! Both sides compared and brought together by hand: what `stargate-mirror sync` does.
use std::path::Path;

use bstr::BString;
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
    clock::Clock,
    journal::Source,
    mirror::{Compared, Standing, compare},
    ref_update::RefUpdate,
    transport::Remote,
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
}

/// One ref of either side.
#[derive(Debug, Clone, Serialize)]
pub struct SyncRef {
    /// The full name.
    #[serde(rename = "ref")]
    pub name: String,
    /// `equal`, `missing` on the mirror, `ahead` of it, `behind` it, `diverged`, `extra` on the mirror; `broken` where what
    /// the Stargate's ref names is gone.
    pub standing: &'static str,
    /// What the Stargate has.
    pub local: Option<String>,
    /// What the mirror has.
    pub remote: Option<String>,
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
}

impl SyncReport {
    /// Whether something is left that only an operator can decide about.
    pub fn is_left(&self) -> bool {
        self.refs
            .iter()
            .any(|one| matches!(one.standing, "behind" | "diverged" | "extra" | "broken"))
    }

    /// Whether both sides are the same, and no watermark is false.
    pub fn is_equal(&self) -> bool {
        self.watermarks.is_empty() && self.refs.iter().all(|one| one.standing == "equal")
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
        return Ok(SyncReport::new(None, &[]));
    };
    let mut remote = match work.remote()? {
        Ok(remote) => remote,
        Err(missing) => return Ok(SyncReport::local_only(missing)),
    };
    let (compared, watermarks) = compare_with(&work, &mut remote)?;
    Ok(SyncReport {
        watermarks,
        ..SyncReport::new(Some(&remote), &compared)
    })
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
        return Ok(SyncReport::new(None, &[]));
    };
    let mut remote = match work.remote()? {
        Ok(remote) => remote,
        Err(missing) => return Ok(SyncReport::local_only(missing)),
    };
    let (compared, _) = compare_with(&work, &mut remote)?;
    let taken = chosen(&compared, force)?;
    check_deletions(&taken, &compared, force)?;
    let updates = taken
        .iter()
        .map(|compared| update(compared, work.cycle().null))
        .collect();
    work.tell(updates, Source::Manual)?;

    let names: Vec<&BString> = taken.iter().map(|compared| &compared.name).collect();
    let mut entries = work.backlog()?.pending;
    entries.retain(|located| names.contains(&&located.entry.update.name));
    let mut cycle = work.cycle();
    cycle.rules.force = true;
    cycle.rules.deletes = true;
    let (settled, _) = work.carry(cycle, &mut work.mirror(&mut remote), &entries)?;
    let (compared, watermarks) = compare_with(&work, &mut remote)?;
    let mut report = SyncReport::new(Some(&remote), &compared);
    report.watermarks = watermarks;
    report.groups = settled.iter().map(GroupReport::settled).collect();
    Ok(report)
}

fn compare_with(work: &Work<'_>, remote: &mut Remote) -> Result<(Vec<Compared>, Vec<FalseWatermark>), RunError> {
    let refs = work.mirror(remote).advertisement()?.refs;
    let repository = work.stargate.repository();
    let watermarks = false_watermarks(repository.git_dir(), remote, repository, &refs, &work.config.refs)?;
    let local = work.stargate.mirrored_refs(&work.config.refs);
    let compared = compare(&local, &refs, &work.stargate, &work.cycle().rules);
    Ok((compared, watermarks))
}

fn chosen<'a>(compared: &'a [Compared], force: &Force) -> Result<Vec<&'a Compared>, ForceError> {
    let left = || compared.iter().filter(|compared| compared.standing.is_left());
    if force.refs.is_empty() {
        return Ok(left().collect());
    }
    let find = |name: &String| left().find(|compared| compared.name == name.as_str());
    force
        .refs
        .iter()
        .map(|name| find(name).ok_or_else(|| ForceError::Unknown(name.clone())))
        .collect()
}

fn check_deletions(taken: &[&Compared], compared: &[Compared], force: &Force) -> Result<(), ForceError> {
    let deletions = taken
        .iter()
        .filter(|compared| compared.standing == Standing::Extra)
        .count();
    let refs = compared.iter().filter(|compared| compared.remote.is_some()).count();
    match deletions * 100 > refs * MOST_DELETIONS && !force.mass_delete {
        true => Err(ForceError::MassDelete { deletions, refs }),
        false => Ok(()),
    }
}

fn update(compared: &Compared, null: ObjectId) -> RefUpdate {
    RefUpdate {
        old: compared.remote.unwrap_or(null),
        new: compared.local.unwrap_or(null),
        name: compared.name.clone(),
    }
}

impl SyncReport {
    fn new(remote: Option<&Remote>, compared: &[Compared]) -> Self {
        let sync_ref = |compared: &Compared| SyncRef {
            name: compared.name.to_string(),
            standing: word(compared.standing),
            local: compared.local.map(|id| id.to_string()),
            remote: compared.remote.map(|id| id.to_string()),
        };
        SyncReport {
            remote: remote.map(|remote| remote.location().to_string()),
            refs: compared.iter().map(sync_ref).collect(),
            groups: Vec::new(),
            watermarks: Vec::new(),
            missing: None,
        }
    }

    fn local_only(missing: Missing) -> Self {
        SyncReport {
            missing: Some(missing),
            ..SyncReport::new(None, &[])
        }
    }
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Equal => "equal",
        Standing::Missing => "missing",
        Standing::Ahead => "ahead",
        Standing::Behind => "behind",
        Standing::Diverged => "diverged",
        Standing::Extra => "extra",
        Standing::Broken => "broken",
    }
}
