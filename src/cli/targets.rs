//! `--repo` and `--root`: the repositories of a command.
use std::path::{Path, PathBuf};

use super::{
    logs, output,
    report::{Exit, Failure},
};
use crate::worker;

/// Repositories of a command.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Targets {
    /// A repository; repeatable [default: GIT_DIR, else found from the current directory]
    #[arg(long = "repo", value_name = "DIR")]
    repositories: Vec<PathBuf>,
    /// Every repository below this folder that has stargate.remote, a [stargate] section or a journal
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

impl Targets {
    /// Returns true if they may be more than one repository.
    pub(super) fn names_several(&self) -> bool {
        self.root.is_some() || self.repositories.len() > 1
    }

    /// Returns true if they may be more than one repository, so that output names each.
    ///
    /// # Errors
    /// There may be several, but `remote` names a single mirror.
    pub(super) fn are_several(&self, remote: Option<&str>) -> Result<bool, Failure> {
        super::are_several(&self.repositories, self.root.as_deref(), remote)
    }

    /// Finds the repositories.
    ///
    /// # Errors
    /// The root cannot be read, or a given folder is no repository.
    pub(super) fn find(&self) -> Result<Vec<PathBuf>, Failure> {
        let Some(root) = &self.root else {
            return match &self.repositories[..] {
                [] => Ok(vec![super::repository(None)?]),
                [only] => Ok(vec![super::repository(Some(only))?]),
                several => located(several),
            };
        };
        let mut found = located(&self.repositories)?;
        let below = worker::find_repositories(root)
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot read {}: {error}", root.display())))?;
        for (folder, why) in &below.unsearched {
            tracing::warn!(folder = %folder.display(), why, "the folder was not searched for repositories");
        }
        if below.repositories.is_empty() {
            let root = root.display();
            output::warn(&format!(
                "no repository below {root} has stargate.remote, a [stargate] section or a journal"
            ));
        }
        found.extend(below.repositories);
        Ok(found)
    }

    /// Runs `each` for every repository, and returns the exit code that demands most from the operator. Among several, the
    /// repository is named: an error is printed, and the others continue.
    ///
    /// # Errors
    /// See [`find()`](Self::find) and [`are_several()`](Self::are_several). Also, the error of `each` for a single repository.
    pub(super) fn each(
        &self,
        remote: Option<&str>,
        mut each: impl FnMut(&Path, Option<&Path>) -> Result<Exit, Failure>,
    ) -> Result<Exit, Failure> {
        let several = self.are_several(remote)?;
        let found = self.find()?;
        if let ([only], false) = (&found[..], several) {
            return each(only, None);
        }
        let mut worst = Exit::Done;
        for git_dir in &found {
            let exit = each(git_dir, Some(git_dir)).unwrap_or_else(|failure| {
                logs::print_failure(&failure, Some(git_dir));
                failure.exit()
            });
            worst = worst.max(exit);
        }
        Ok(worst)
    }
}

/// Returns the git directories of several repositories. One of an unknown format must not stop the others: it is reported
/// with its own results.
fn located(given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    given.iter().map(|given| super::located(Some(given))).collect()
}
