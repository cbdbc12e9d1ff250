//! Check of HEAD on both sides.
use git_push_transport::Remote;

use super::{
    checks::{
        check::{Check, Name, Verdict},
        commands::Commands,
    },
    mirror::failed,
};
use crate::{
    config::{Config, DefaultBranch},
    worker::{HeadDifference, Stargate, StargateHead, compare_head, stargate_head},
};

/// Compares the mirror's HEAD with the Stargate's. Returns none if the Stargate's HEAD names no mirrored branch.
pub(super) fn check(stargate: &Stargate, config: &Config, remote: &mut Remote, commands: &Commands) -> Option<Check> {
    Some(match stargate_head(stargate, &config.refs) {
        StargateHead::Other => return None,
        StargateHead::Unreadable(why) => Check::new(Name::Head, Verdict::Problem, why),
        StargateHead::Unborn(branch) => {
            let found = format!("the Stargate's HEAD names {branch}, which does not exist");
            Check::new(Name::Head, Verdict::Warning, found)
                .hint(format!("run {}", commands.git("symbolic-ref HEAD refs/heads/BRANCH")))
        }
        StargateHead::Mirrored(branch) => match compare_head(remote, &branch) {
            Ok(None) => Check::new(Name::Head, Verdict::Ok, format!("both sides name {branch}")),
            Ok(Some(difference)) => differs(&difference, config.default_branch, commands),
            Err(error) => failed(Name::Head, &error),
        },
    })
}

fn differs(difference: &HeadDifference, setting: DefaultBranch, commands: &Commands) -> Check {
    let found = difference.to_string();
    match setting {
        DefaultBranch::Leave if !difference.dangling => Check::new(
            Name::Head,
            Verdict::Ok,
            format!("{found} (stargate.defaultBranch is leave)"),
        ),
        DefaultBranch::Leave | DefaultBranch::Follow => Check::new(Name::Head, Verdict::Warning, found).hint(format!(
            "run {}, or set the default branch in the settings of the mirror",
            commands.mirror("run")
        )),
    }
}
