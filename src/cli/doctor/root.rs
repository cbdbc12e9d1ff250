//! `doctor --root`: many repositories.
use std::path::{Path, PathBuf};

use super::{
    Diagnosis,
    checks::check::{Check, Name, Verdict},
    diagnosed, exit, print,
};
use crate::{
    cli::{
        output::counted,
        report::{Exit, Failure},
    },
    worker::{self, Options},
};

/// Checks every repository below `root`. Prints a summary, and the findings of repositories that have some.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn main(root: &Path, json: bool) -> Result<Exit, Failure> {
    let below = worker::find_repositories(root)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read {}: {error}", root.display())))?;
    for (folder, why) in &below.unsearched {
        tracing::warn!(folder = %folder.display(), why, "the folder was not searched for repositories");
    }
    let mut worst = Verdict::Ok;
    let mut counts = [0; 3];
    for git_dir in below.repositories {
        let diagnosis = of_several(git_dir);
        let verdict = diagnosis.worst();
        worst = worst.max(verdict);
        counts[verdict as usize] += 1;
        if json {
            print::json(&diagnosis);
        } else if verdict != Verdict::Ok {
            print::findings(&diagnosis);
        }
    }
    if !json {
        println!("{}", summary(root, counts));
    }
    Ok(exit(worst))
}

/// A repository that cannot be checked must not stop the others.
fn of_several(git_dir: PathBuf) -> Diagnosis {
    let options = Options {
        several: true,
        ..Options::default()
    };
    let checks = diagnosed(&git_dir, &options).unwrap_or_else(|failure| {
        let check = Check::new(Name::Repository, Verdict::Problem, failure.to_string());
        let hint = failure
            .instruction()
            .unwrap_or("run as root or as the owner of the repository");
        vec![check.hint(hint)]
    });
    Diagnosis {
        repository: Some(git_dir),
        checks,
    }
}

fn summary(root: &Path, [ok, warning, problem]: [u64; 3]) -> String {
    let all = ok + warning + problem;
    if all == 0 {
        return format!(
            "no repository below {} has stargate.remote, a [stargate] section or a journal",
            root.display()
        );
    }
    let all = counted(all, "repository");
    format!(
        "{all} below {}: {ok} ok, {warning} with warnings, {problem} with problems",
        root.display()
    )
}
