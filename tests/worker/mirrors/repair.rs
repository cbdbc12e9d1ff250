//! `sync --repair` of several mirrors.
use super::*;

#[test]
fn a_repair_of_one_mirror_does_not_wait_for_one_that_never_answers() {
    let world = World::new();
    let silent = Scripted::serve(vec![Step::Silence; 4]);
    world.set("remote", &silent.url("o/r.git"));
    world.set("near.remote", &world.near.display().to_string());
    let commit = world.push(&["refs/kv/main"]);
    let repo = world.stargate.git_dir.display().to_string();
    let repair = Running::start(&["sync", "--repair", "--repo", &repo], &[("GITHUB_PAT", TOKEN)]);
    let mut wait = clean_command(PROGRAM);
    wait.args(["wait", "--oid", &commit, "--remote"]).arg(&world.near);
    let waited = feed_with_token(wait);
    assert!(waited.status.success(), "{}", stderr(&waited));
    drop(repair);
}

#[test]
fn a_repair_reports_the_mirror_that_is_down_and_the_one_that_is_equal() {
    let mut world = World::new();
    world.add_web();
    world.set("near.remote", &world.near.display().to_string());
    world.push(&["refs/kv/main"]);
    world.web.stop();
    let output = world.program(&["sync", "--repair", "--json"]);
    assert!(stderr(&output).contains("mirror web: "), "{}", stderr(&output));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert_eq!(report["mirror"], "near", "{printed}");
    assert_eq!(report["refs"][0]["standing"], "equal", "{printed}");
    assert_ne!(output.status.code(), Some(0));
}
