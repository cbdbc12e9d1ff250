//! `events init --ci`: the workflow of the append-only guard.
use std::fs;

use support::{git::git, stargate::clean_command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
const EXAMPLE: &str = include_str!("../../examples/append-only.yml");

#[test]
fn a_context_repository_begins_with_the_workflow_if_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let init = |name: &str, arguments: &[&str]| {
        let mut command = clean_command(PROGRAM);
        command
            .args(["events", "init"])
            .args(arguments)
            .arg(folder.path().join(name));
        command.env("GITHUB_BRANCH", "trunk").output().expect("an end")
    };
    assert!(init("one", &["--ci=o/stargate-mirror@v1.2.3"]).status.success());
    let one = folder.path().join("one");
    let workflow = fs::read_to_string(one.join(".github/workflows/append-only.yml")).expect("a workflow");
    let expected = EXAMPLE.replace("OWNER/stargate-mirror@v0.1.0", "o/stargate-mirror@v1.2.3");
    let expected = expected.replace("branches: [main]", "branches: [\"trunk\"]");
    assert_eq!(Some(workflow.as_str()), expected.split_once('\n').map(|(_, rest)| rest));
    assert_eq!(git(&one, &["status", "--porcelain"]), "");

    let other = init("other", &["--bare", "--ci"]);
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(other.status.success() && said.contains("replace OWNER"), "{said}");
    let shown = git(
        &folder.path().join("other"),
        &["show", "trunk:.github/workflows/append-only.yml"],
    );
    assert!(shown.contains("uses: OWNER/stargate-mirror@v0.1.0"), "{shown}");

    assert!(init("plain", &[]).status.success());
    assert!(!folder.path().join("plain/.github").exists());
    assert_eq!(init("bad", &["--ci=o/stargate-mirror@v1\n"]).status.code(), Some(2));
}
