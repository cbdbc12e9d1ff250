//! Checks what happens to the objects of Git LFS.
use super::checks::{
    check::{Check, Name, Verdict},
    commands::Commands,
};
use crate::{
    config::Config,
    lfs::{InUse, in_use},
    worker::{self, Stargate},
};

/// Returns none if the commit of HEAD does not use Git LFS.
pub(super) fn check(stargate: &Stargate, config: &Config, commands: &Commands) -> Option<Check> {
    let names_source = config.lfs_store.is_some() || config.lfs_url.is_some();
    let found = match in_use(
        stargate.repository(),
        &worker::lfs_head(stargate),
        config.lfs,
        names_source,
    ) {
        Ok(found) => found?,
        Err(error) => {
            let found = format!("cannot check if the commit of HEAD uses Git LFS: {error}");
            let hint = format!("run {} to see what is damaged", commands.git("fsck"));
            return Some(Check::new(Name::Lfs, Verdict::Problem, found).hint(hint));
        }
    };
    Some(match found {
        InUse::Carried => {
            let found = "the repository uses Git LFS: its objects are uploaded before the refs";
            Check::new(Name::Lfs, Verdict::Ok, found)
        }
        InUse::Off => {
            let found =
                "the repository uses Git LFS, but stargate.lfs is off: readers of the mirror may not get the files";
            Check::new(Name::Lfs, Verdict::Warning, found).hint("set stargate.lfs to auto or require")
        }
        InUse::NoSource => {
            let found =
                "the repository uses Git LFS, but has no LFS objects: readers of the mirror may not get the files";
            Check::new(Name::Lfs, Verdict::Warning, found)
                .hint("set stargate.lfsStore or stargate.lfsUrl to the place that has the objects")
        }
    })
}
