//! One cycle over one repository: lock, backlog, attempts, settled entries, report.
use std::{collections::BTreeMap, path::Path};

use bstr::{BStr, BString, ByteSlice};
use durable::clock::Clock;
use git_push::Connection;
use gix::ObjectId;

use super::{
    Chosen,
    attempt::Settled,
    backoff::{Backoff, Backoffs},
    broken::add_broken,
    cycle_observer::EndedCycle,
    entries::{Intents, updates},
    error::RunError,
    follow::{with_head_followed, with_settings_reviewed},
    memory::Memory,
    missing::Missing,
    options::{Environment, Options},
    reconcile::{self, Reconciled},
    rejection::{Rejection, RejectionCause},
    remote_mirror::RemoteMirror,
    report::{CycleOutcome, CycleReport, GroupReport},
    requests::Mirror,
    review::{NothingMirrored, unknown_settings},
    session::{Session, missing_setting, opened},
    token::watch_token,
    vanished::is_missing,
    watermarks::{Attempted, set_back_watermarks},
};
use crate::{
    config::Mirrors,
    journal::{Backlog, Located},
    lfs::Alone,
    mirror::Outcome,
    refs::LocalRefs,
};

/// Limit of rejections that are remembered. Reports and the log have all of them.
const MOST_REJECTIONS: usize = 50;
/// Limit of refs of one rejection that are remembered.
const MOST_REFS: usize = 20;

/// Runs one cycle over the repository at `git_dir`.
///
/// # Errors
/// See [`RunError`]. A failed push is not an error: it is in the report, and its entries stay pending.
pub fn run(
    git_dir: &Path,
    options: &Options,
    environment: Environment<'_>,
    clock: &dyn Clock,
) -> Result<CycleReport, RunError> {
    let result = timed(git_dir, options, environment, clock);
    // It may have vanished during the cycle.
    let result = result.map_err(|error| match options.several && is_missing(git_dir) {
        true => RunError::Missing(git_dir.to_owned()),
        false => error,
    });
    if !options.dry_run && !options.observers.is_empty() {
        observe(git_dir, options, clock, &result);
    }
    result
}

/// Returns the name of the mirror that a cycle with this remote chooses among several. If the repository cannot be opened, no
/// cycle chooses, and `remote` must name the mirror.
pub(super) fn name_among_several(git_dir: &Path, remote: Option<&str>) -> Option<String> {
    let named = |chosen: &Chosen| chosen.name_among_several().map(str::to_owned);
    match opened(git_dir) {
        Ok((stargate, mirrors)) => Chosen::new(mirrors, remote, stargate.repository())
            .ok()
            .as_ref()
            .and_then(named),
        // Nothing but the command line names the mirrors of a repository that is missing.
        Err(_) if is_missing(git_dir) => remote.map(str::to_owned),
        Err(_) => {
            let mirrors = Mirrors::load(git_dir).ok()?;
            let watched = Chosen::watched(&mirrors, remote);
            watched.first().filter(|_| watched.len() == 1).and_then(named)
        }
    }
}

/// Passes the result of a cycle to the observers.
fn observe(git_dir: &Path, options: &Options, clock: &dyn Clock, result: &Result<CycleReport, RunError>) {
    // A cycle that could not run has no report that names its mirror.
    let named = match result {
        Ok(report) => report.mirror.clone(),
        Err(_) => name_among_several(git_dir, options.remote.as_deref()),
    };
    let mut ended = EndedCycle::new(git_dir, named.as_deref(), clock.now(), result.as_ref());
    ended.budget_delay = options.budget_delay;
    options.observers.cycle_ended(&ended);
}

/// Runs one cycle, and measures it.
fn timed(
    git_dir: &Path,
    options: &Options,
    environment: Environment<'_>,
    clock: &dyn Clock,
) -> Result<CycleReport, RunError> {
    let started = clock.elapsed();
    // An error is logged at any level, and so is its cycle.
    let cycle = tracing::error_span!(
        "cycle",
        cycle = %clock.now(),
        repository = %git_dir.display(),
        mirror = tracing::field::Empty,
        remote = tracing::field::Empty
    );
    let _entered = cycle.entered();
    if options.several && is_missing(git_dir) {
        return Err(RunError::Missing(git_dir.to_owned()));
    }
    let mut report = match Session::open(git_dir, options, environment, clock)? {
        Some(session) => cycle_over_backlog(&session)?,
        None => nothing_to_mirror(git_dir, options, environment)?,
    };
    report.elapsed_ms = (clock.elapsed() - started).as_millis() as u64;
    Ok(report)
}

/// Reports a repository that has neither mirrored refs nor a journal.
fn nothing_to_mirror(git_dir: &Path, options: &Options, environment: Environment<'_>) -> Result<CycleReport, RunError> {
    let (stargate, mirrors) = opened(git_dir)?;
    let chosen = Chosen::new(mirrors, options.remote.as_deref(), stargate.repository())?;
    let mut report = match missing_setting(&stargate, &chosen, options, environment)? {
        None => CycleReport::empty(CycleOutcome::Idle, 0, 0),
        Some(missing) => CycleReport::local_only(missing, 0, 0),
    };
    report.unmirrored = NothingMirrored::find(&stargate, chosen.config()).map(|nothing| nothing.to_string());
    // Without a journal there is no memory, so these messages are repeated.
    report.settings = unknown_settings(git_dir, &chosen);
    report.mirror = chosen.name_among_several().map(str::to_owned);
    report.settings.iter().for_each(|finding| tracing::warn!("{finding}"));
    Ok(report)
}

fn cycle_over_backlog(session: &Session<'_>) -> Result<CycleReport, RunError> {
    let name = session.chosen.name_among_several();
    if let Some(name) = name {
        tracing::Span::current().record("mirror", name);
    }
    let mut report = cycle_to_mirror(session)?;
    report.mirror = name.map(str::to_owned);
    Ok(report)
}

fn cycle_to_mirror(session: &Session<'_>) -> Result<CycleReport, RunError> {
    let dry_run = session.options.dry_run;
    let mut intents = Intents::default();
    if !dry_run {
        intents = session.entries.recover(&session.view)?;
    }
    let local = session.view.local_refs();
    // The refs are read before the backlog, so the backlog explains every move except that of a push whose hook still runs.
    let opened = session.remote()?;
    let location = opened.as_ref().ok().map(|remote| remote.location().to_string());
    let mut backlog = session.backlog(location.as_deref())?;
    if !dry_run && !backlog.problems.is_empty() && session.entries.mend(&backlog)? {
        backlog = session.backlog(location.as_deref())?;
    }
    let mut remote = match opened {
        Ok(remote) => remote,
        Err(missing) => {
            remember_missing(session, &missing);
            let (pending, failed) = (backlog.pending.len(), backlog.counts.failed as usize);
            let report = CycleReport::local_only(missing, pending, failed).with_unwritten(intents.unwritten);
            return Ok(with_settings_reviewed(
                session,
                report.with_try_at(intents.stale_at),
                true,
            ));
        }
    };
    let location = remote.location().to_string();
    tracing::Span::current().record("remote", location.as_str());
    let mut mirror = session.mirror(&mut remote);
    let due = session.options.reconcile || mirror.needs_comparison(local, &*session.view.pending(&backlog));
    let local = due.then_some(local);
    let compared = local.is_some();
    let mut report = if dry_run {
        plan_only(session, &mut mirror, local, &backlog)?
    } else {
        mirror.forget_missing();
        reconcile_and_push(session, &mut mirror, local, backlog)?
    };
    report.asked = mirror.was_asked();
    report.lfs = mirror.carried();
    report.remote = (report.outcome != CycleOutcome::Idle).then_some(location);
    let unwritten = intents.unwritten.max(report.unwritten);
    let report = report.with_unwritten(unwritten).with_try_at(intents.stale_at);
    let report = with_settings_reviewed(session, report, compared);
    let report = with_head_followed(session, report, &mut remote, compared);
    watch_token(session, &mut remote, compared);
    Ok(report.with_traffic(remote.traffic()))
}

/// Runs a cycle over the backlog. If `local` refs are given, compares them first and adds the updates that the journal
/// missed.
fn reconcile_and_push(
    session: &Session<'_>,
    mirror: &mut RemoteMirror<'_>,
    local: Option<&LocalRefs>,
    mut backlog: Backlog,
) -> Result<CycleReport, RunError> {
    let mut reconciled = Reconciled::default();
    if let Some(local) = local {
        reconciled = reconcile::reconcile(session, mirror, local, &backlog)?;
        if reconciled.appended > 0 {
            backlog = session.backlog(None)?;
        }
    }
    let mut report = report(CycleOutcome::Idle, &backlog);
    let compared_with = remembered(mirror);
    let newest = session.view.newest(&backlog.pending);
    mirror.forget_backoffs(|label| !newest.contains_key(label));
    if !backlog.pending.is_empty() {
        push_backlog(session, mirror, &backlog, &mut report)?;
    }
    session.entries.maintain(&backlog);
    let watermarks = set_back_watermarks(mirror, &|namespace| attempted(&report, namespace));
    report.reconciled = reconciled.appended;
    let is_compared = local.is_some() && reconciled.found_nothing_to_do();
    let report = report.with_unwritten(reconciled.unwritten).with_watermarks(watermarks);
    let report = report.with_comparison(reconciled.failed, mirror.compares_again_at());
    let report = add_broken(report, &session.view, &compared_with);
    if report.outcome == CycleOutcome::Mirrored || (report.outcome == CycleOutcome::Idle && is_compared) {
        mirror.remember_success();
    }
    Ok(report)
}

fn push_backlog(
    session: &Session<'_>,
    mirror: &mut RemoteMirror<'_>,
    backlog: &Backlog,
    report: &mut CycleReport,
) -> Result<(), RunError> {
    let due = due(session, &backlog.pending, mirror.backoffs());
    let (settled, counts) = session.entries.push(&session.cycle(), mirror, &due)?;
    report.groups = settled.iter().map(GroupReport::settled).collect();
    report.pending -= counts.settled();
    report.failed += counts.failed;
    let backoffs = backoffs(session, &settled, &due, mirror.backoffs());
    report.next_try = backoffs.values().map(|backoff| backoff.next_try).min();
    let rejections = rejections(&settled, &mirror.alone(), mirror.rejections());
    mirror.remember_backoffs(backoffs, rejections);
    mirror.forget_differing(&settled);
    report.outcome = match (report.pending, counts.failed) {
        (0, 0) => CycleOutcome::Mirrored,
        _ => CycleOutcome::Incomplete,
    };
    report.lags = counts.lags;
    Ok(())
}

/// Reports the actions of a cycle, without sending or writing anything. If `local` refs are given, updates that the
/// journal missed count as pending.
fn plan_only(
    session: &Session<'_>,
    mirror: &mut RemoteMirror<'_>,
    local: Option<&LocalRefs>,
    backlog: &Backlog,
) -> Result<CycleReport, RunError> {
    let mut report = report(CycleOutcome::Idle, backlog);
    let mut updates = updates(&backlog.pending);
    if local.is_none() && updates.is_empty() {
        return Ok(add_broken(report, &session.view, &remembered(mirror)));
    }
    let advertisement = mirror.advertisement()?;
    if let Some(local) = local {
        updates.extend(reconcile::missed_updates(session, &advertisement, local, backlog).0);
    }
    let plan = session.cycle().plan(&updates, &advertisement.refs);
    report.groups = plan.groups.iter().map(GroupReport::planned).collect();
    report.pending = updates.len();
    if !updates.is_empty() {
        report.outcome = CycleOutcome::Incomplete;
    }
    Ok(add_broken(report, &session.view, &advertisement.refs))
}

/// Remembers for `status` why there was no push.
fn remember_missing(session: &Session<'_>, missing: &Missing) {
    if session.options.dry_run {
        return;
    }
    let mut memory = Memory::load(&session.memory);
    let missing = Some(missing.to_string());
    if memory.missing == missing && memory.comparison.is_none() {
        return;
    }
    (memory.missing, memory.comparison) = (missing, None);
    if let Err(error) = memory.save(&session.memory) {
        tracing::warn!(%error, "cannot write the worker's memory; status will not show that the repository is local-only");
    }
}

/// Returns the entries of groups that are due.
fn due(session: &Session<'_>, pending: &[Located], backoffs: &Backoffs) -> Vec<Located> {
    let now = session.clock.now();
    let newest = session.view.newest(pending);
    let grouping = session.view.grouping();
    let is_waiting = |located: &&Located| {
        let label = grouping.label(located.entry.update.name.as_bstr()).to_string();
        let backoff = backoffs.get(&label);
        backoff.is_some_and(|backoff| backoff.is_waiting(&newest[&label], now))
    };
    let due = pending
        .iter()
        .filter(|located| !session.options.patient || !is_waiting(located));
    due.cloned().collect()
}

/// Returns the new backoffs after an attempt to push these groups. Those of other groups stay unchanged.
fn backoffs(session: &Session<'_>, settled: &[Settled], tried: &[Located], earlier: &Backoffs) -> Backoffs {
    let newest = session.view.newest(tried);
    let mut backoffs = earlier.clone();
    for one in settled {
        let label = one.group.label().to_string();
        let before = backoffs.remove(&label);
        if let (Some(reason), Some(newest)) = (&one.result.error, newest.get(&label)) {
            let backoff = Backoff::after(before.as_ref(), reason, newest, session.clock.now());
            backoffs.insert(label, backoff.with_outcome(one.result.outcome));
        }
    }
    backoffs
}

/// Returns the rejections after these groups were tried. Those of other groups, and of groups about which nothing definite is
/// known, stay unchanged.
fn rejections(settled: &[Settled], alone: &Alone, earlier: &[Rejection]) -> Vec<Rejection> {
    let is_answered = |rejection: &&Rejection| {
        let mut definite = settled.iter().filter(|one| one.result.outcome.is_definite());
        definite.any(|one| *one.group.label() == *rejection.group)
    };
    let unanswered = earlier.iter().filter(|rejection| !is_answered(rejection)).cloned();
    let rejected = settled.iter().filter_map(|one| rejection(one, alone));
    rejected.chain(unanswered).take(MOST_REJECTIONS).collect()
}

/// Returns the rejection of a group, if the server explained it, or the refs of it that were pushed without LFS objects.
fn rejection(settled: &Settled, alone: &Alone) -> Option<Rejection> {
    let names = settled.group.changes.iter().map(|change| &change.name);
    // The words about a broken group name its missing LFS objects.
    let (is_alone, refs, words): (_, Vec<&BString>, _) = match settled.result.outcome {
        Outcome::Broken | Outcome::Rejected => (false, names.collect(), settled.server_words.clone()),
        Outcome::Mirrored => {
            let lines = names.clone().filter_map(|name| alone.get(name)).flatten();
            let lines = lines.cloned().collect();
            (true, names.filter(|name| alone.contains_key(*name)).collect(), lines)
        }
        _ => return None,
    };
    if words.is_empty() {
        return None;
    }
    let cause = if is_alone {
        Some(RejectionCause::MissingLfsObject)
    } else {
        RejectionCause::of(&words)
    };
    Some(Rejection {
        group: settled.group.label().to_string(),
        refs: refs.into_iter().take(MOST_REFS).map(ToString::to_string).collect(),
        server_words: words,
        advice: cause.map(|cause| cause.advice().to_owned()),
        alone: is_alone,
    })
}

/// Returns the outcome of the namespace's group with regard to its watermark.
fn attempted(report: &CycleReport, namespace: &BStr) -> Option<Attempted> {
    let is_its_group = |group: &&GroupReport| {
        group
            .namespace
            .as_deref()
            .is_some_and(|name| BStr::new(name) == namespace)
    };
    let group = report.groups.iter().find(is_its_group)?;
    Some(if group.watermark.is_some() {
        Attempted::Mirrored
    } else {
        Attempted::Failed
    })
}

/// Returns the remembered refs of the mirror.
fn remembered(mirror: &mut RemoteMirror<'_>) -> BTreeMap<BString, ObjectId> {
    let remembered = mirror.remembered();
    remembered.map_or_else(BTreeMap::new, |advertisement| advertisement.refs)
}

fn report(outcome: CycleOutcome, backlog: &Backlog) -> CycleReport {
    CycleReport::empty(outcome, backlog.pending.len(), backlog.counts.failed as usize)
}
