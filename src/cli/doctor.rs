//! `stargate-mirror doctor`: checks everything that a push needs on its way to the mirror.
//!
//! `facts` and the drivers here read files, the configuration and the mirror. [`checks`] is pure: it has the verdicts, the
//! findings and the commands that mend what is wrong.
mod checks;
mod facts;
mod fetches;
mod head;
mod hook_script;
mod hooks;
mod lfs;
mod local;
mod mirror;
mod other_mirrors;
mod print;
mod root;
mod settings;
mod token;

use std::{
    io,
    path::{Path, PathBuf},
};

use durable::{
    clock::{Clock, SystemClock},
    storage::Disk,
};
use serde::Serialize;

use self::checks::{
    check::{Check, Name, Verdict},
    commands::Commands,
};
use super::report::{Exit, Failure};
use crate::{
    config::Mirrors,
    hook::owner::as_owner,
    journal::{self, Backlog},
    worker::{Options, Stargate},
};

const EXAMPLES: &str = "\
Examples:
  GITHUB_PAT=… stargate-mirror doctor --repo /srv/git/o/r.git
  GITHUB_PAT=… stargate-mirror doctor --root /srv/git
  stargate-mirror doctor --json | jq '.checks[] | select(.verdict != \"ok\")'

Exit codes: 0 no problems (warnings are possible), 4 problems";

/// Check the hooks, the settings, the journal, the worker and the mirror.
///
/// Writes nothing. Asks the mirror once for its refs, with the credentials of a push. Only a push can show whether they
/// allow writing. Commands that mend a finding are in backquotes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The repository [default: GIT_DIR, else found from the current directory]
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// Every repository below this folder that has stargate.remote, a [stargate] section or a journal; shows those with
    /// findings
    #[arg(long, value_name = "DIR", conflicts_with_all = ["repo", "remote"])]
    root: Option<PathBuf>,
    /// The mirror, instead of stargate.remote: a URL, a path, or the name of a remote; of several mirrors, only this one
    #[arg(long, value_name = "R")]
    remote: Option<String>,
    /// Print one JSON object for each repository to stdout
    #[arg(long)]
    json: bool,
}

/// All checks of a repository.
#[derive(Debug, Serialize)]
struct Diagnosis {
    /// The repository. Omitted without `--root`.
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<PathBuf>,
    checks: Vec<Check>,
}

/// Runs the command.
///
/// # Errors
/// There is no repository, or it cannot be opened. With `--root`: the folder cannot be read.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    if let Some(root) = &args.root {
        return root::main(root, args.json);
    }
    let git_dir = super::repository(args.repo.as_deref())?;
    let options = Options {
        remote: args.remote.clone(),
        ..Options::default()
    };
    let diagnosis = Diagnosis {
        repository: None,
        checks: diagnosed(&git_dir, &options)?,
    };
    if args.json {
        print::json(&diagnosis);
    } else {
        print::all(&diagnosis.checks);
    }
    Ok(exit(diagnosis.worst()))
}

fn exit(worst: Verdict) -> Exit {
    if worst == Verdict::Problem {
        Exit::Misconfigured
    } else {
        Exit::Done
    }
}

impl Diagnosis {
    fn worst(&self) -> Verdict {
        let verdicts = self.checks.iter().map(|check| check.verdict);
        verdicts.max().unwrap_or(Verdict::Ok)
    }
}

/// One repository, and what its checks have in common.
struct Subject<'a> {
    git_dir: &'a Path,
    options: &'a Options,
    stargate: Stargate,
    settings: Mirrors,
    commands: Commands,
    /// The journal. `None` if it cannot be read, which has a check of its own.
    backlog: Option<Backlog>,
}

/// Makes all checks of the repository at `git_dir`.
fn diagnosed(git_dir: &Path, options: &Options) -> Result<Vec<Check>, Failure> {
    // Paths and commands in the output work in any folder.
    let whole = std::path::absolute(git_dir).unwrap_or_else(|_| git_dir.to_owned());
    let git_dir = whole.as_path();
    let stargate = Stargate::open(git_dir)?;
    let settings = Mirrors::load(git_dir)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read git's configuration: {error}")))?;
    let prefix = as_owner(git_dir)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read {}: {error}", git_dir.display())))?;
    let (backlog, journal) = match Backlog::load_whole(&Disk, git_dir) {
        Ok(backlog) => (Some(backlog), None),
        Err(error) => (None, Some(unreadable_journal(git_dir, &error))),
    };
    let subject = Subject {
        git_dir,
        options,
        stargate,
        settings,
        commands: Commands::new(&prefix, git_dir),
        backlog,
    };
    let mut checks = settings::checks(&subject)?;
    checks.extend(hooks::checks(&subject));
    checks.extend(local::checks(&subject, journal)?);
    checks.extend(mirror::checks(&subject, SystemClock::default().now())?);
    Ok(checks)
}

fn unreadable_journal(git_dir: &Path, error: &io::Error) -> Check {
    let found = format!("cannot read {}: {error}", journal::path_in(git_dir).display());
    let hint = "run as root or as the owner of the repository; if the path is not a regular file, move it away: the next \
                push creates a new journal";
    Check::new(Name::Journal, Verdict::Problem, found).hint(hint)
}
