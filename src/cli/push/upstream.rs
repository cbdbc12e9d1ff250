//! Upstream branches of local branches (git-push, *--set-upstream*).
use std::path::Path;

use bstr::{BStr, ByteSlice};
use durable::storage::Disk;

use super::Args;
use crate::{
    cli::report::{Exit, Failure},
    hook,
    porcelain::Upstream,
};

/// Writes the upstream branch into the repository's configuration, and reports it as git does.
pub(super) fn set(args: &Args, git_dir: &Path, upstream: &Upstream) -> Result<(), Failure> {
    let Upstream { branch, remote, merge } = upstream;
    let short = merge.strip_prefix(b"refs/heads/").unwrap_or(merge).as_bstr();
    let is_own = remote == "." && branch.as_bstr() == short;
    if is_own {
        eprintln!("warning: not setting branch '{branch}' as its own upstream");
        return Ok(());
    }
    if args.dry_run {
        if !args.quiet && !args.json {
            println!("Would set upstream of '{branch}' to '{short}' of '{remote}'");
        }
        return Ok(());
    }
    let values: [(&str, &BStr); 2] = [("remote", remote.as_ref()), ("merge", merge.as_ref())];
    let config = common_dir(git_dir)?.join("config");
    hook::git_config::replace(&Disk, &config, ("branch", branch.as_ref()), &values).map_err(|error| {
        let what = format!("unable to write upstream branch configuration: {error}");
        Failure::new(Exit::Failed, what).hint(format!(
            "after fixing the cause, run `git branch --set-upstream-to={remote}/{short} {branch}`"
        ))
    })?;
    if !args.quiet && !args.json {
        println!("branch '{branch}' set up to track '{remote}/{short}'.");
    }
    Ok(())
}

/// Returns the folder that the worktrees of a repository share.
fn common_dir(git_dir: &Path) -> Result<std::path::PathBuf, Failure> {
    let (repository, _) = git_push::repository::open_any_refs(git_dir)?;
    Ok(repository.common_dir().to_owned())
}
