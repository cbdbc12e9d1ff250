//! Check of the settings of `git fetch`: those of `git clone --mirror` reset every ref to that of the remote, so a fetch would
//! take back accepted pushes.
use bstr::{BStr, BString, ByteSlice};

use super::checks::{
    check::{Check, Name, Verdict},
    commands::{Commands, quoted},
};
use crate::{config::Mirrors, ref_pattern::RefPatterns};

/// Refs that only fetches write.
const TRACKING: &str = "refs/remotes/";

/// Checks the remotes of the configuration. Returns none if no fetch overwrites a mirrored ref.
pub(super) fn checks(config: &gix::config::File, mirrors: &Mirrors, commands: &Commands) -> Vec<Check> {
    let remotes = config.sections_by_name("remote").into_iter().flatten();
    let mut found: Vec<(BString, BString)> = Vec::new();
    for remote in remotes {
        let Some(name) = remote.header().subsection_name() else {
            continue;
        };
        let fetches = remote.values("fetch");
        let overwrites = |fetch: &BStr| mirrors.each.iter().any(|mirror| overwrites(fetch, &mirror.refs));
        let is_known = found.iter().any(|(known, _)| known == name);
        if let Some(fetch) = fetches.iter().find(|fetch| overwrites(fetch.as_bstr()))
            && !is_known
        {
            found.push((name.to_owned(), fetch.to_vec().into()));
        }
    }
    let check = |(name, fetch): &(BString, BString)| {
        let key = format!("remote.{name}.fetch");
        let found =
            format!("{key} = {fetch}: `git fetch` would overwrite accepted pushes with the refs of that remote");
        let unset = commands.git(&format!("config --unset-all {}", quoted(&key)));
        Check::new(Name::Settings, Verdict::Warning, found).hint(format!("run {unset}"))
    };
    found.iter().map(check).collect()
}

/// Returns true if a fetch with this refspec, by force, writes to a mirrored ref.
fn overwrites(fetch: &BStr, refs: &RefPatterns) -> bool {
    let target = fetch.strip_prefix(b"+").and_then(|spec| spec.split_once_str(":"));
    let Some((_, target)) = target.filter(|(_, target)| !target.starts_with_str(TRACKING)) else {
        return false;
    };
    match target.split_once_str("*") {
        Some((folder, b"")) => refs.may_match_below(folder.as_bstr()),
        _ => refs.matches(target.as_bstr()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forced_fetch_into_mirrored_refs_overwrites_pushes() {
        let branches = RefPatterns::new(["refs/heads/*"]).expect("a pattern");
        for (fetch, expected) in [
            ("+refs/*:refs/*", true),
            ("+refs/heads/*:refs/heads/*", true),
            ("+refs/heads/main:refs/heads/main", true),
            ("+refs/heads/*:refs/remotes/origin/*", false),
            // Only fast-forwards.
            ("refs/heads/*:refs/heads/*", false),
            ("+refs/tags/*:refs/tags/*", false),
            ("+refs/heads/main", false),
        ] {
            assert_eq!(overwrites(fetch.into(), &branches), expected, "{fetch}");
        }
    }
}
