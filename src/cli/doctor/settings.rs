//! Checks of the settings.
use super::{
    Subject,
    checks::{
        check::{Check, Name, Verdict},
        commands::{Commands, quoted},
    },
};
use crate::{
    cli::report::Failure,
    worker::{self, NothingMirrored, SettingsFinding},
};

/// Checks keys, values and patterns.
///
/// # Errors
/// The repository or its configuration cannot be read.
pub(super) fn checks(subject: &Subject<'_>) -> Result<Vec<Check>, Failure> {
    let mirrors = &subject.settings;
    let found = worker::review_settings(subject.git_dir)?;
    let mut checks: Vec<Check> = found.iter().map(|found| check(found, &subject.commands)).collect();
    for mirror in &mirrors.each {
        let left_out = if mirror.refs.leaves_out() {
            ", without refs that forges make for themselves, such as refs/pull/*"
        } else {
            ""
        };
        let mirrored = format!("{}{left_out}", mirror.refs);
        checks.push(Check {
            mirror: mirrors.are_several().then(|| mirror.name.clone()),
            ..Check::new(Name::MirroredRefs, Verdict::Ok, mirrored)
        });
    }
    Ok(checks)
}

fn check(finding: &SettingsFinding, commands: &Commands) -> Check {
    let check = |verdict| Check::new(Name::Settings, verdict, finding.to_string());
    match finding {
        SettingsFinding::UnknownKey { key, nearest } => {
            let instead = nearest.map(|nearest| format!(", and set {nearest} in its place"));
            let unset = commands.unset(key);
            check(Verdict::Problem).hint(format!("run {unset}{}", instead.unwrap_or_default()))
        }
        SettingsFinding::InvalidValue(problem) => check(Verdict::Problem).hint(format!(
            "correct it with {}, or go back to the default with {}",
            commands.set(&problem.key, "VALUE"),
            commands.unset(&problem.key)
        )),
        SettingsFinding::UnusedPattern { key, pattern, .. } => {
            let literal = format!("config --fixed-value --unset-all {} {}", quoted(key), quoted(pattern));
            check(Verdict::Warning).hint(format!(
                "correct the pattern, or remove it with {}",
                commands.git(&literal)
            ))
        }
        SettingsFinding::NothingMirrored(_) => check(Verdict::Warning).hint(NothingMirrored::HINT),
    }
}
