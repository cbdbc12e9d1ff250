//! Checks of the repository's own files.
use bstr::{BString, ByteSlice};

use super::{
    Subject,
    checks::{
        check::{Check, Name, Verdict},
        commands::quoted,
        disk, history,
    },
    facts,
};
use crate::{
    cli::{
        output::counted,
        report::{Failure, REPAIR},
    },
    hook::{
        durability,
        owner::{self, Denied, KeptOut},
    },
    odd_name,
    ref_pattern::RefPatterns,
    worker::{self, Stargate},
};

/// Maximum number of odd ref names to print.
const MAX_NAMES: usize = 10;

/// Makes the checks. `journal` is the check of a journal that cannot be read.
pub(super) fn checks(subject: &Subject<'_>, journal: Option<Check>) -> Result<Vec<Check>, Failure> {
    let mut checks = vec![durable(subject)];
    checks.extend(disks(subject));
    checks.extend(refs(subject)?);
    checks.extend(history(subject));
    checks.extend(owners(subject));
    checks.extend(journal.or_else(|| entries(subject)));
    checks.extend(odd_ref_names(&subject.stargate));
    Ok(checks)
}

fn unreadable(name: Name, why: impl std::fmt::Display) -> Check {
    Check::new(name, Verdict::Problem, format!("cannot be checked: {why}"))
        .hint("run as root or as the owner of the repository")
}

fn durable(subject: &Subject<'_>) -> Check {
    match durability::git_is_durable(subject.git_dir) {
        Ok(true) => Check::new(Name::Fsync, Verdict::Ok, "git waits for the disk"),
        Ok(false) => {
            let found = "git does not wait for the disk: a power cut can lose accepted pushes";
            let set = subject.commands.set("core.fsync", "committed");
            Check::new(Name::Fsync, Verdict::Warning, found).hint(format!("run {set}"))
        }
        Err(error) => unreadable(Name::Fsync, error),
    }
}

fn disks(subject: &Subject<'_>) -> Vec<Check> {
    match facts::disk::read(subject.git_dir, subject.settings.repository.allow_nfs) {
        Ok(found) => found
            .iter()
            .flat_map(|facts| disk::checks(facts, &subject.commands))
            .collect(),
        Err(error) => vec![unreadable(Name::Disk, error)],
    }
}

/// Checks the mirrored refs and their objects.
fn refs(subject: &Subject<'_>) -> Result<Vec<Check>, Failure> {
    let found = worker::refs_standing(subject.git_dir)?;
    let checks = found.broken.iter().map(|broken| {
        let name = broken.name.as_deref().unwrap_or("any ref");
        Check::new(Name::Refs, Verdict::Problem, format!("{name}: {}", broken.reason)).hint(REPAIR)
    });
    let dangling = found.dangling.iter().map(|dangling| {
        let name = dangling.name.as_deref().unwrap_or_default();
        let found = format!("{name} is a symbolic ref, and {}", dangling.reason);
        let delete = subject.commands.git(&format!("symbolic-ref --delete {}", quoted(name)));
        Check::new(Name::Refs, Verdict::Warning, found).hint(format!(
            "create the target, or delete the symbolic ref with {delete}; until then the mirror's ref stays unchanged"
        ))
    });
    let mut checks: Vec<Check> = checks.chain(dangling).collect();
    if checks.is_empty() {
        let found = format!("{} with readable objects", counted(found.known as u64, "ref"));
        checks.push(Check::new(Name::Refs, Verdict::Ok, found));
    }
    Ok(checks)
}

fn history(subject: &Subject<'_>) -> Vec<Check> {
    match facts::commits::history(&subject.stargate, &subject.settings) {
        Ok(facts) => history::checks(&facts, &subject.commands),
        Err(why) => vec![Check::new(Name::History, Verdict::Problem, why).hint(REPAIR)],
    }
}

/// Checks for files that the owner of the repository cannot use. Returns none if there are none.
fn owners(subject: &Subject<'_>) -> Vec<Check> {
    let of_git = match owner::kept_out(subject.git_dir) {
        Ok((owner, kept_out)) => of_git(subject, &owner, &kept_out),
        Err(error) => Some(unreadable(Name::Owner, error)),
    };
    of_git.into_iter().chain(of_folder(subject)).collect()
}

fn of_git(subject: &Subject<'_>, owner: &str, kept_out: &[KeptOut]) -> Option<Check> {
    let KeptOut { path, denied } = kept_out.first()?;
    let cannot = match denied {
        Denied::Read => "read",
        Denied::Write => "write to",
    };
    let others = match kept_out.len() - 1 {
        0 => String::new(),
        others => format!(" (and {others} more)"),
    };
    let shown = path.display();
    let found = format!("the owner of the repository ({owner}) cannot {cannot} {shown}{others}: pushes fail");
    let repository = quoted(subject.commands.repository());
    let hint = format!(
        "as root, run `chown -R {} {repository}` and `chmod -R u+rwX {repository}`",
        quoted(owner)
    );
    Some(Check::new(Name::Owner, Verdict::Problem, found).hint(hint))
}

#[cfg(unix)]
fn of_folder(subject: &Subject<'_>) -> Vec<Check> {
    let config = match crate::config::git_config(subject.git_dir) {
        Ok(config) => config,
        Err(error) => return vec![unreadable(Name::Owner, error)],
    };
    match facts::folder::read(subject.git_dir, &config) {
        Ok(facts) => super::checks::folder::checks(&facts, &subject.commands),
        Err(error) => vec![unreadable(Name::Owner, error)],
    }
}

/// Ownership is not checked on this system.
#[cfg(not(unix))]
fn of_folder(_subject: &Subject<'_>) -> Vec<Check> {
    Vec::new()
}

/// Checks the journal. Returns none if it could not be read.
fn entries(subject: &Subject<'_>) -> Option<Check> {
    let (backlog, commands) = (subject.backlog.as_ref()?, &subject.commands);
    let counts = backlog.counts;
    Some(if backlog.problem_count > 0 {
        let found = counted(backlog.problem_count, "invalid line");
        let hint = format!(
            "see them with {}, and repair them with {}, which keeps a copy",
            commands.mirror("journal verify"),
            commands.mirror("journal repair")
        );
        Check::new(Name::Journal, Verdict::Warning, found).hint(hint)
    } else if counts.failed > 0 {
        let found = format!("{} failed, {} pending", counts.failed, counts.pending);
        let list = commands.mirror("journal list --status failed");
        Check::new(Name::Journal, Verdict::Warning, found).hint(format!(
            "see them with {list}; to retry one, run {}",
            commands.mirror("journal retry ENTRY")
        ))
    } else {
        let found = format!("{} pending, {} done", counts.pending, counts.done);
        Check::new(Name::Journal, Verdict::Ok, found)
    })
}

/// Checks for ref names that a person, or a file system, may confuse.
fn odd_ref_names(stargate: &Stargate) -> Option<Check> {
    let names = match ref_names(stargate) {
        Ok(names) => names,
        Err(why) => return Some(unreadable(Name::RefNames, why).hint(REPAIR)),
    };
    let found = odd_name::find(names.iter().map(|name| name.as_ref()));
    if found.is_empty() {
        return None;
    }
    let shown = found.iter().take(MAX_NAMES).map(|(name, oddity)| {
        let name = name.to_str_lossy();
        format!("{} {oddity}", name.escape_debug())
    });
    let more = match found.len().saturating_sub(MAX_NAMES) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let found = format!("{}{more}", shown.collect::<Vec<_>>().join("; "));
    Some(
        Check::new(Name::RefNames, Verdict::Warning, found)
            .hint("rename one of two refs that look alike; until then both are mirrored"),
    )
}

fn ref_names(stargate: &Stargate) -> Result<Vec<BString>, String> {
    let refs = stargate.mirrored_refs(&RefPatterns::everything());
    if let Some((_, unreadable)) = refs.unreadable().next() {
        return Err(unreadable.to_string());
    }
    Ok(refs.known().keys().chain(refs.aliases().keys()).cloned().collect())
}
