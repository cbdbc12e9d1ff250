//! Checks of the settings.
use std::path::Path;

use super::{Check, Verdict};
use crate::{
    cli::report::Failure,
    config::Mirrors,
    worker::{self, NothingMirrored, SettingsFinding},
};

/// Checks keys, values and patterns.
///
/// # Errors
/// The repository or its configuration cannot be read.
pub(super) fn checks(git_dir: &Path, mirrors: &Mirrors) -> Result<Vec<Check>, Failure> {
    let found = worker::review_settings(git_dir)?;
    let mut checks: Vec<Check> = found.iter().map(check).collect();
    for mirror in &mirrors.each {
        let left_out = if mirror.refs.leaves_out() {
            ", without refs that forges make for themselves, such as refs/pull/*"
        } else {
            ""
        };
        let mirrored = format!("{}{left_out}", mirror.refs);
        checks.push(Check {
            mirror: mirrors.are_several().then(|| mirror.name.clone()),
            ..Check::new("mirrored refs", Verdict::Ok, mirrored)
        });
    }
    Ok(checks)
}

fn check(finding: &SettingsFinding) -> Check {
    let check = |verdict| Check::new("settings", verdict, finding.to_string());
    match finding {
        SettingsFinding::UnknownKey { .. } => check(Verdict::Problem).hint("correct the key, or remove it"),
        SettingsFinding::InvalidValue(_) => check(Verdict::Problem),
        SettingsFinding::UnusedPattern { .. } => check(Verdict::Warning).hint("correct the pattern, or remove it"),
        SettingsFinding::NothingMirrored(_) => check(Verdict::Warning).hint(NothingMirrored::HINT),
    }
}
