//! `stargate-mirror doctor`: checks everything that a push needs on its way to the mirror.
mod head;
mod history;
mod hook_script;
mod hooks;
mod lfs;
mod other_mirrors;
mod settings;
mod token;

use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};
use durable::storage::Disk;
use git_push::{self, Advertisement, Connection};
use git_push_transport::{Remote, Settings, resolve};
use serde::Serialize;

use super::{
    environment,
    output::counted,
    report::{Exit, Failure, REPAIR},
};
use crate::{
    config::{Mirrors, USER_AGENT},
    hook::{
        durability,
        owner::{self, Denied, KeptOut},
    },
    journal::{self, Backlog},
    odd_name,
    ref_pattern::RefPatterns,
    worker::{self, Chosen, Options, Stargate},
};

const EXAMPLES: &str = "\
Examples:
  GITHUB_PAT=… stargate-mirror doctor --repo /srv/git/o/r.git
  stargate-mirror doctor --json | jq '.checks[] | select(.verdict != \"ok\")'

Exit codes: 0 no problems (warnings are possible), 4 problems";

/// Check the hooks, the settings, the journal and the mirror.
///
/// Writes nothing. Asks the mirror once for its refs, with the credentials of a push. Only a push can show whether they
/// allow writing.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The repository [default: GIT_DIR, else found from the current directory]
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// The mirror, instead of stargate.remote: a URL, a path, or the name of a remote; of several mirrors, only this one
    #[arg(long, value_name = "R")]
    remote: Option<String>,
    /// Print one JSON object to stdout
    #[arg(long)]
    json: bool,
}

/// Maximum number of odd ref names to print.
const MAX_NAMES: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Problem,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    /// Name of the mirror among several. Omitted if there is a single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    mirror: Option<String>,
    verdict: Verdict,
    /// Finding.
    found: String,
    /// Instruction for the operator.
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
struct Diagnosis {
    checks: Vec<Check>,
}

/// Runs the command.
///
/// # Errors
/// There is no repository, or it cannot be opened.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    let git_dir = super::repository(args.repo.as_deref())?;
    let stargate = Stargate::open(&git_dir)?;
    let settings = Mirrors::load(&git_dir)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read git's configuration: {error}")))?;
    let mut checks = settings::checks(&git_dir, &settings)?;
    checks.extend(hooks::checks(&git_dir));
    checks.push(durable(&git_dir));
    checks.extend(refs(&git_dir)?);
    checks.extend(history::checks(stargate.repository()));
    checks.extend(owner(&git_dir));
    checks.extend(journal(&git_dir));
    checks.extend(odd_ref_names(&stargate));
    checks.extend(mirrors(args, &settings, &stargate)?);
    let diagnosis = Diagnosis { checks };
    if args.json {
        println!(
            "{}",
            serde_json::to_string(&diagnosis).expect("a diagnosis is always JSON")
        );
    } else {
        diagnosis.checks.iter().for_each(print_human);
    }
    let is_problem = |check: &Check| check.verdict == Verdict::Problem;
    Ok(if diagnosis.checks.iter().any(is_problem) {
        Exit::Misconfigured
    } else {
        Exit::Done
    })
}

fn print_human(check: &Check) {
    let mark = match check.verdict {
        Verdict::Ok => "ok      ",
        Verdict::Warning => "warning ",
        Verdict::Problem => "problem ",
    };
    let mirror = check.mirror.as_ref().map(|mirror| format!(" {mirror}"));
    println!("{mark} {}{}: {}", check.check, mirror.unwrap_or_default(), check.found);
    if let Some(hint) = &check.hint {
        println!("         {hint}");
    }
}

impl Check {
    fn new(check: &'static str, verdict: Verdict, found: impl Into<String>) -> Self {
        Check {
            check,
            mirror: None,
            verdict,
            found: found.into(),
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

fn durable(git_dir: &Path) -> Check {
    match durability::git_is_durable(git_dir) {
        Ok(true) => Check::new("core.fsync", Verdict::Ok, "git waits for the disk"),
        Ok(false) => {
            let found = "git does not wait for the disk: a power cut can lose accepted pushes";
            let check = Check::new("core.fsync", Verdict::Warning, found);
            match super::install::setting(git_dir) {
                Ok(set) => check.hint(format!("{set} core.fsync committed")),
                Err(_) => check,
            }
        }
        Err(error) => Check::new("core.fsync", Verdict::Problem, error.to_string()),
    }
}

/// Checks the mirrored refs and their objects.
fn refs(git_dir: &Path) -> Result<Vec<Check>, Failure> {
    let found = worker::refs_standing(git_dir)?;
    let checks = found.broken.iter().map(|broken| {
        let name = broken.name.as_deref().unwrap_or("any ref");
        Check::new("refs", Verdict::Problem, format!("{name}: {}", broken.reason)).hint(REPAIR)
    });
    let dangling = found.dangling.iter().map(|dangling| {
        let name = dangling.name.as_deref().unwrap_or_default();
        Check::new(
            "refs",
            Verdict::Warning,
            format!("{name} is a symbolic ref, and {}", dangling.reason),
        )
        .hint("create the target, or delete the symbolic ref; until then the mirror's ref stays unchanged")
    });
    let mut checks: Vec<Check> = checks.chain(dangling).collect();
    if checks.is_empty() {
        let found = format!("{} with readable objects", counted(found.known as u64, "ref"));
        checks.push(Check::new("refs", Verdict::Ok, found));
    }
    Ok(checks)
}

/// Checks for files that the owner of the repository cannot use. Returns none if there are none.
fn owner(git_dir: &Path) -> Option<Check> {
    let (owner, kept_out) = match owner::kept_out(git_dir) {
        Ok(found) => found,
        Err(error) => {
            let found = format!("cannot search {}: {error}", git_dir.display());
            return Some(
                Check::new("owner", Verdict::Warning, found).hint("run as root or as the owner of the repository"),
            );
        }
    };
    let KeptOut { path, denied } = kept_out.first()?;
    let cannot = match denied {
        Denied::Read => "read",
        Denied::Write => "write to",
    };
    let others = match kept_out.len() - 1 {
        0 => String::new(),
        others => format!(" (and {others} more)"),
    };
    let (shown, repository) = (path.display(), git_dir.display());
    let found = format!("{owner}, the owner of the repository, cannot {cannot} {shown}{others}: pushes fail");
    Some(Check::new("owner", Verdict::Problem, found).hint(format!("as root: chown -R {owner} {repository}")))
}

fn journal(git_dir: &Path) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(kept_out) = journal::kept_out(git_dir) {
        checks.push(Check::new("owner", Verdict::Problem, kept_out));
    }
    checks.push(match Backlog::load_whole(&Disk, git_dir) {
        Err(error) => Check::new("journal", Verdict::Problem, error.to_string()),
        Ok(backlog) if backlog.problem_count > 0 => {
            let found = counted(backlog.problem_count, "invalid line");
            Check::new("journal", Verdict::Warning, found).hint("run `stargate-mirror journal verify` to see them")
        }
        Ok(backlog) if backlog.counts.failed > 0 => {
            let found = format!("{} failed, {} pending", backlog.counts.failed, backlog.counts.pending);
            Check::new("journal", Verdict::Warning, found)
                .hint("run `stargate-mirror journal list --status failed` to see them")
        }
        Ok(backlog) => {
            let counts = backlog.counts;
            Check::new(
                "journal",
                Verdict::Ok,
                format!("{} pending, {} done", counts.pending, counts.done),
            )
        }
    });
    checks
}

/// Checks for ref names that a person, or a file system, may confuse.
fn odd_ref_names(stargate: &Stargate) -> Option<Check> {
    let names = match ref_names(stargate) {
        Ok(names) => names,
        Err(why) => {
            return Some(Check::new(
                "ref names",
                Verdict::Problem,
                format!("cannot read the refs: {why}"),
            ));
        }
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
        Check::new("ref names", Verdict::Warning, found)
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

/// Checks each mirror, or the one that `--remote` names.
fn mirrors(args: &Args, mirrors: &Mirrors, stargate: &Stargate) -> Result<Vec<Check>, Failure> {
    let repository = stargate.repository();
    let chosen = if args.remote.is_some() {
        vec![Chosen::new(mirrors.clone(), args.remote.as_deref(), repository)?]
    } else {
        Chosen::each(mirrors).collect()
    };
    let mut checks = Vec::new();
    for chosen in chosen {
        let name = chosen.name_among_several();
        checks.extend(mirror(args, &chosen, stargate).into_iter().map(|check| Check {
            mirror: name.map(str::to_owned),
            ..check
        }));
    }
    Ok(checks)
}

fn mirror(args: &Args, chosen: &Chosen, stargate: &Stargate) -> Vec<Check> {
    let options = Options {
        remote: args.remote.clone(),
        ..Default::default()
    };
    let Some(name) = chosen.remote(&options, &environment) else {
        let found = "no mirror is configured: nothing is pushed (local-only)";
        return vec![
            Check::new("mirror", Verdict::Warning, found)
                .hint("set stargate.remote in the repository, or GITHUB_REPO_URL"),
        ];
    };
    let mut checks = check_mirror(&name, chosen, stargate).unwrap_or_else(|error| vec![failed("mirror", &error)]);
    checks.extend(lfs::check(stargate, chosen.config()));
    checks.extend(other_mirrors::checks(&name, stargate.repository()));
    checks
}

fn failed(what: &'static str, error: &git_push::Error) -> Check {
    let check = Check::new(what, Verdict::Problem, error.to_string());
    match error.hint() {
        Some(hint) => check.hint(hint),
        None => check,
    }
}

/// Checks the mirror with the credentials of a push.
fn check_mirror(name: &str, chosen: &Chosen, stargate: &Stargate) -> Result<Vec<Check>, git_push::Error> {
    let (repository, config) = (stargate.repository(), chosen.config());
    let location = resolve(BStr::new(name), Some(repository))?;
    let settings = Settings::from_environment(environment)?
        .with_user_agent(USER_AGENT)
        .with_git_config(repository)?;
    let settings = match config.section.as_ref() {
        Some(section) => settings.with_section(repository, section.as_ref())?,
        None => settings,
    };
    let shown = location.to_string();
    if !Remote::has_credentials(&location, &settings) {
        let found = format!("there are no credentials for {shown}: nothing is pushed (local-only)");
        return Ok(vec![
            Check::new("mirror", Verdict::Warning, found).hint("set GITHUB_PAT or GITHUB_PAT_FILE"),
        ]);
    }
    let mut checks: Vec<Check> = token::file(&location, &settings).into_iter().collect();
    let mut remote = Remote::open(location, &settings)?;
    let advertisement = match remote.advertisement() {
        Ok(advertisement) => advertisement,
        Err(error) => {
            checks.push(failed(
                "mirror",
                &token::explained(error, &mut remote, &chosen.memory_path(repository.git_dir())),
            ));
            return Ok(checks);
        }
    };
    checks.push(offers(&shown, &advertisement, repository));
    checks.extend(token::end(config, &mut remote));
    checks.extend(watermarks(&mut remote, &advertisement, chosen, repository));
    checks.extend(head::check(stargate, config, &mut remote));
    Ok(checks)
}

/// Checks that the mirror offers everything that a push needs.
fn offers(shown: &str, advertisement: &Advertisement, repository: &gix::Repository) -> Check {
    let format = advertisement
        .capabilities
        .value("object-format")
        .map(ToString::to_string);
    let theirs = format.unwrap_or_else(|| gix::hash::Kind::Sha1.to_string());
    let ours = repository.object_hash().to_string();
    if theirs != ours {
        let found = format!("{shown} uses the object format {theirs}, but this repository uses {ours}");
        return Check::new("mirror", Verdict::Problem, found);
    }
    if !advertisement.capabilities.offers("atomic") {
        let found = format!("{shown} does not offer atomic pushes, so nothing is pushed");
        return Check::new("mirror", Verdict::Problem, found);
    }
    let found = format!(
        "{shown} answers and has {}",
        counted(advertisement.refs.len() as u64, "ref")
    );
    Check::new("mirror", Verdict::Ok, found)
}

/// Checks that each watermark on the mirror is contained in its ledger there.
fn watermarks(
    remote: &mut Remote,
    advertisement: &Advertisement,
    chosen: &Chosen,
    repository: &gix::Repository,
) -> Vec<Check> {
    let memory = chosen.memory_path(repository.git_dir());
    let refs = &chosen.config().refs;
    match worker::false_watermarks(&memory, remote, repository, &advertisement.refs, refs) {
        Err(error) => vec![failed("watermark", &error)],
        Ok(found) => {
            let check = |found: &worker::FalseWatermark| {
                Check::new("watermark", Verdict::Problem, found.to_string())
                    .hint("run `stargate-mirror run`; the server may offer atomic pushes without honouring them")
            };
            found.iter().map(check).collect()
        }
    }
}
