//! Commands and instructions that are printed: each works as it is, also in a repository with an odd path.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");

/// Runs a shell script in `folder`, which finds the programs under test.
fn sh(folder: &Path, script: &str) -> Output {
    let programs = Path::new(PROGRAM).parent().expect("a folder");
    let path = std::env::var("PATH").expect("a path");
    let mut command = Command::new("sh");
    command
        .args(["-ec", script])
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("GIT_CONFIG_NOSYSTEM", "1");
    command.output().expect("sh runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn must(folder: &Path, script: &str) -> String {
    let output = sh(folder, script);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}{said}", stdout(&output));
    stdout(&output)
}

/// The lines of a text that are commands.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("    "))
}

/// A bare repository whose path a shell would split, and a folder that is the first part of this path.
fn with_odd_path() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let other = folder.path().join("my");
    fs::create_dir(&other).expect("a folder");
    let repository = folder.path().join("my repo's.git");
    must(
        folder.path(),
        "git init -q --bare \"my repo's.git\" && git init -q --bare mirror.git",
    );
    (folder, repository)
}

#[test]
fn commands_of_install_and_uninstall_work_in_a_folder_with_spaces_and_quotes() {
    let (folder, repository) = with_odd_path();
    let here = folder.path();
    let install = "stargate-mirror install --repo \"my repo's.git\"";
    let printed = must(here, install);
    let printed = printed.replace(
        "https://github.com/OWNER/NAME.git",
        &here.join("mirror.git").display().to_string(),
    );
    let installed: Vec<_> = commands(&printed).collect();
    assert!(installed.len() > 3, "{printed}");
    for command in installed {
        must(here, command);
    }
    let settings = must(
        here,
        "git -C \"my repo's.git\" config --get-regexp '^(stargate|core.fsync)'",
    );
    for setting in ["stargate.remote ", "stargate.ref refs/heads/*", "core.fsync committed"] {
        assert!(settings.contains(setting), "{settings}");
    }
    must(here, "git -C \"my repo's.git\" config stargate.backup.remote /nowhere");
    fs::create_dir_all(repository.join(".stargate")).expect("a folder, as the first push makes it");

    let printed = must(here, "stargate-mirror uninstall --repo \"my repo's.git\"");
    let uninstalled: Vec<_> = commands(&printed).collect();
    assert_eq!(uninstalled.len(), 3, "the journal, and two sections: {printed}");
    for command in uninstalled {
        must(here, command);
    }
    assert!(here.join("my").is_dir(), "a folder that the user did not name");
    assert!(!repository.join(".stargate").exists());
    let left = fs::read_to_string(repository.join("config")).expect("the configuration");
    assert!(!left.contains("stargate"), "{left}");
    let again = must(here, "stargate-mirror uninstall --repo \"my repo's.git\"");
    assert_eq!(commands(&again).count(), 0, "nothing is left: {again}");
}

#[test]
fn uninstall_does_not_deny_hooks_that_git_s_configuration_names() {
    let (folder, _) = with_odd_path();
    let here = folder.path();
    let uninstall = "stargate-mirror uninstall --repo \"my repo's.git\"";
    assert!(must(here, uninstall).contains("Pushes are no longer recorded."));
    let section = "[hook \"stargate-post-receive\"]\n\tcommand = /usr/bin/stargate-hook --configured post-receive\n\tevent = \
                   post-receive\n";
    fs::write(here.join(".gitconfig"), section).expect("a file");
    let said = must(here, uninstall);
    assert!(
        said.contains("continues to record pushes, because of hook.stargate-post-receive in "),
        "{said}"
    );
    assert!(!said.contains("no longer"), "{said}");
    must(here, "git config --global hook.stargate-post-receive.enabled false");
    assert!(must(here, uninstall).contains("Pushes are no longer recorded."));
}

#[test]
fn a_folder_of_a_bare_repository_is_not_taken_for_the_repository_beside_it() {
    let (folder, repository) = with_odd_path();
    must(folder.path(), "git init -q .");
    let hooks = repository.join("hooks");
    must(&hooks, "stargate-mirror install --mirror branches");
    assert!(hooks.join("post-receive").is_file());
    assert!(!folder.path().join(".git/hooks/post-receive").exists());
    // In the folders of a work tree, the repository is the one around them.
    fs::create_dir(folder.path().join("my/folder")).expect("a folder");
    must(&folder.path().join("my/folder"), "stargate-mirror install");
    assert!(folder.path().join(".git/hooks/post-receive").is_file());
}

#[test]
fn commands_of_doctor_work_in_any_folder() {
    let (folder, repository) = with_odd_path();
    let here = folder.path();
    must(
        here,
        "stargate-mirror install --repo \"my repo's.git\" --remote mirror.git --fsync-committed",
    );
    fs::create_dir(repository.join(".stargate")).expect("a folder");
    fs::write(repository.join(".stargate/worker.json"), "{").expect("a file");
    must(here, "rm \"my repo's.git/hooks/pre-receive\"");
    let doctor = "stargate-mirror doctor --json --repo \"my repo's.git\"";
    let diagnosis: serde_json::Value = serde_json::from_str(&must(here, doctor)).expect("JSON");
    let checks = diagnosis["checks"].as_array().expect("a list").iter();
    let hints: Vec<&str> = checks.filter_map(|check| check["hint"].as_str()).collect();
    let commands = hints.iter().flat_map(|hint| hint.split('`').skip(1).step_by(2));
    let commands: Vec<&str> = commands.filter(|command| !command.contains("BRANCH")).collect();
    assert_eq!(commands.len(), 2, "rm and install: {hints:?}");
    for command in commands {
        must(&here.join("my"), command);
    }
    assert!(!repository.join(".stargate/worker.json").exists());
    assert!(repository.join("hooks/pre-receive").is_file());
}

#[test]
fn a_damaged_configuration_is_named_with_its_line() {
    let (folder, repository) = with_odd_path();
    let config = repository.join("config");
    let text = fs::read_to_string(&config).expect("the configuration");
    fs::write(&config, format!("{text}[stargate\n")).expect("a file");
    for command in ["run", "doctor", "install"] {
        let output = sh(
            folder.path(),
            &format!("stargate-mirror {command} --repo \"my repo's.git\""),
        );
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{command}: {said}");
        assert!(
            said.contains("unexpected token on line ") && said.contains("`git config --list`"),
            "{said}"
        );
        assert!(!said.contains("run as the user"), "{said}");
    }
}

#[test]
fn instructions_name_what_was_missing_on_the_command_line() {
    let (folder, _) = with_odd_path();
    for (command, exit, says) in [
        (
            "push --repo \"my repo's.git\"",
            5,
            "also name the remote: without it, --repo is the remote, as in git",
        ),
        ("journal retry 1", 2, "expected an entry_id of 26 letters and digits"),
    ] {
        let output = sh(folder.path(), &format!("stargate-mirror {command}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{said}");
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn completions_do_not_offer_the_command_that_they_call() {
    let (folder, _) = with_odd_path();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = must(folder.path(), &format!("stargate-mirror completions {shell}"));
        let offered = script.lines().filter(|line| line.contains("complete-values"));
        let offered: Vec<_> = offered
            .filter(|line| !line.contains("stargate-mirror complete-values "))
            .collect();
        assert_eq!(offered, [""; 0], "{shell}");
        assert!(script.contains("uninstall"), "{shell}");
    }
}

#[test]
fn a_dumb_terminal_gets_no_escape_sequences() {
    let (folder, _) = with_odd_path();
    let here = folder.path();
    must(
        here,
        "stargate-mirror install --repo \"my repo's.git\" --remote mirror.git",
    );
    fs::write(
        here.join("show"),
        "stargate-mirror status --repo \"my repo's.git\"\nstargate-mirror doctor --repo \"my repo's.git\"\n",
    )
    .expect("a script");
    for (environment, has_colours) in [
        ("TERM=dumb", false),
        ("TERM=xterm NO_COLOR=1", false),
        ("TERM=xterm", true),
    ] {
        // script(1) runs its command on a terminal.
        let printed = must(
            here,
            &format!("{environment} script -qec 'sh show' /dev/null </dev/null"),
        );
        assert!(printed.contains("no cycle yet"), "{printed}");
        assert_eq!(printed.contains('\u{1b}'), has_colours, "{environment}: {printed:?}");
    }
}
