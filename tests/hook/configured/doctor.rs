//! Findings of `doctor` about hooks in git's configuration.
use std::fs;

use serde_json::Value;
use support::{
    executable, programs,
    stargate::{clean_command, feed, git, stderr},
};

use super::{HOOKS, World};
use crate::HOOK;

impl World {
    /// Checks of hooks by `doctor`, with this script as the only git on `PATH`: verdict and finding.
    fn doctor(&self, git: Option<&str>) -> Vec<(String, String)> {
        let path = tempfile::tempdir().unwrap();
        if let Some(script) = git {
            executable::script(&path.path().join("git"), script);
        }
        let mut command = self.with_system(clean_command(programs::mirror()));
        command
            .env("PATH", path.path())
            .args(["doctor", "--json", "--repo"])
            .arg(&self.stargate.git_dir);
        let output = feed(command, "");
        let diagnosis: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
        let checks = diagnosis["checks"].as_array().expect("checks").iter();
        let text = |check: &Value, key: &str| check[key].as_str().expect("text").to_owned();
        checks
            .filter(|check| check["check"] == "hook")
            .map(|check| (text(check, "verdict"), text(check, "found")))
            .collect()
    }
}

fn new_git() -> Option<&'static str> {
    Some("echo git version 2.54.0")
}

#[test]
fn doctor_says_which_git_runs_the_configured_hooks() {
    let world = World::installed();
    let at = |hook: &str| format!("hook.stargate-{hook} in {}", world.file());
    let check = |verdict: &str, found: String| (verdict.to_owned(), found);
    let of_both = |verdict: &str, rest: &str| HOOKS.map(|hook| check(verdict, format!("{}{rest}", at(hook))));

    assert_eq!(world.doctor(new_git()), of_both("ok", "; the git on PATH is 2.54.0"));
    let none = " needs git 2.54 or later, and there is no git on PATH";
    assert_eq!(world.doctor(None), of_both("warning", none));
    let too_old = " has no effect: it needs git 2.54 or later, and the git on PATH is 2.47.3";
    let checks = world.doctor(Some("echo git version 2.47.3"));
    assert_eq!(checks.len(), 4, "{checks:?}");
    assert_eq!([&checks[1], &checks[3]], of_both("warning", too_old).each_ref());
    assert_eq!(
        (&checks[0].0[..], &checks[2].0[..]),
        ("warning", "problem"),
        "the folder's: {checks:?}"
    );
}

#[test]
fn doctor_says_when_configured_hooks_do_nothing() {
    let world = World::installed();
    let at = |hook: &str| format!("hook.stargate-{hook} in {}", world.file());
    git(&world.stargate.git_dir, ["config", "--unset", "stargate.remote"]);
    let idle = " does nothing, because the repository has no mirror";
    assert_eq!(
        world.doctor(new_git()),
        HOOKS.map(|hook| ("warning".into(), at(hook) + idle))
    );

    world.stargate.install();
    let [own, too] = &world.doctor(new_git())[..2] else {
        panic!("two checks")
    };
    let path = world.own("pre-receive").display().to_string();
    assert_eq!(*own, ("ok".into(), path.clone()));
    assert_eq!(
        *too,
        (
            "ok".into(),
            format!("{} also runs, but {path} records the pushes", at("pre-receive"))
        )
    );

    for hook in HOOKS {
        fs::remove_file(world.own(hook)).unwrap();
    }
    world.stargate.configure("hook.stargate-post-receive.enabled", "false");
    let checks = world.doctor(new_git());
    assert_eq!(checks[1].0, "problem", "no hook records pushes: {checks:?}");
    assert_eq!(checks[2], ("ok".into(), at("post-receive") + " is disabled"));
}

#[test]
fn doctor_warns_of_a_program_that_is_gone_and_of_two_sections_for_one_hook() {
    let world = World::installed();
    let set = |key: &str, value: &str| git(world.stargate.folder(), ["config", "-f", &world.file(), key, value]);
    set(
        "hook.stargate-pre-receive.command",
        "/gone/stargate-hook --configured pre-receive",
    );
    set("hook.again.command", &format!("{HOOK} --configured post-receive"));
    set("hook.again.event", "post-receive");
    let checks = world.doctor(new_git());
    let (verdict, found) = &checks[0];
    assert_eq!(verdict, "problem");
    assert!(
        found.contains("/gone/stargate-hook, which is missing or not executable: git rejects every push"),
        "{found}"
    );
    let twice = "2 sections of git's configuration record each push as post-receive";
    assert_eq!(checks.last(), Some(&("warning".into(), twice.into())));
}
