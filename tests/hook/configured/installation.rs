//! Installing hooks in git's configuration.
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use support::{
    programs,
    stargate::{clean_command, feed, git, stderr},
};

use super::{HOOKS, World};

#[test]
fn installing_adds_two_sections_and_keeps_the_rest_of_the_file() {
    let world = World::new();
    let before = "# mine\n[core]\n\tfsync = none # for now\n[hook \"lint\"]\n  command = true\n  event = pre-receive";
    fs::write(&world.system, before).unwrap();
    fs::set_permissions(&world.system, fs::Permissions::from_mode(0o640)).unwrap();
    let output = world.mirror(&["install", "--system"]);
    let told = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        told.contains(&format!("Added hook.stargate-post-receive to {}", world.file())),
        "{told}"
    );
    assert!(told.contains("git 2.54 and later runs"), "{told}");

    let get = |key: &str| {
        git(
            world.stargate.folder(),
            ["config", "-f", &world.file(), "--get-all", key],
        )
    };
    for hook in HOOKS {
        let program = programs::hook();
        assert_eq!(
            get(&format!("hook.stargate-{hook}.command")),
            format!("{} --configured {hook}", program.display())
        );
        assert_eq!(get(&format!("hook.stargate-{hook}.event")), hook);
        assert_eq!(get(&format!("hook.stargate-{hook}.parallel")), "true");
    }
    assert_eq!(
        (get("hook.lint.event"), get("core.fsync")),
        ("pre-receive".into(), "none".into())
    );
    let after = fs::read_to_string(&world.system).unwrap();
    assert!(after.starts_with(before), "{after}");
    assert_eq!(
        fs::metadata(&world.system).unwrap().permissions().mode() & 0o7777,
        0o640
    );

    let again = world.mirror(&["install", "--system"]);
    let told = String::from_utf8(again.stdout).unwrap();
    assert!(told.contains("hook.stargate-pre-receive is already in"), "{told}");
    assert_eq!(fs::read_to_string(&world.system).unwrap(), after);

    let command = "hook.stargate-post-receive.command";
    git(
        world.stargate.folder(),
        ["config", "-f", &world.file(), command, "/old --configured post-receive"],
    );
    git(
        world.stargate.folder(),
        [
            "config",
            "-f",
            &world.file(),
            "hook.stargate-post-receive.enabled",
            "false",
        ],
    );
    let told = String::from_utf8(world.mirror(&["install", "--system"]).stdout).unwrap();
    assert!(told.contains("Updated hook.stargate-post-receive in"), "{told}");
    assert!(get(command).starts_with(programs::hook().to_str().unwrap()));
    assert_eq!(get("hook.stargate-post-receive.enabled"), "false");
    assert_eq!(get("hook.stargate-post-receive.event"), "post-receive");

    let told = String::from_utf8(world.mirror(&["uninstall", "--system"]).stdout).unwrap();
    assert!(told.contains("Removed hook.stargate-pre-receive from"), "{told}");
    let after = fs::read_to_string(&world.system).unwrap();
    assert!(after.starts_with(before) && !after.contains("stargate"), "{after}");
    let told = String::from_utf8(world.mirror(&["uninstall", "--system"]).stdout).unwrap();
    assert!(told.contains("nothing was changed"), "{told}");
}

#[test]
fn without_pre_receive_only_one_section_is_added() {
    let world = World::new();
    assert!(
        world
            .mirror(&["install", "--system", "--no-pre-receive"])
            .status
            .success()
    );
    let sections = git(
        world.stargate.folder(),
        ["config", "-f", &world.file(), "--get-regexp", "event"],
    );
    assert_eq!(sections, "hook.stargate-post-receive.event post-receive");
}

#[test]
fn without_the_hook_program_nothing_is_configured() {
    let world = World::new();
    let program = world.stargate.folder().join("stargate-mirror");
    // Copied by a process of its own: see `support::executable`.
    let mut copy = clean_command("cp");
    copy.arg(programs::mirror()).arg(&program);
    assert!(feed(copy, "").status.success());
    for scope in ["--system", "--global"] {
        let mut command = world.with_system(clean_command(&program));
        command.args(["install", scope]).env("GIT_CONFIG_GLOBAL", &world.system);
        let output = feed(command, "");
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(4), "{scope}: {told}");
        assert!(told.contains("there is no stargate-hook beside"), "{scope}: {told}");
        assert!(told.contains("Copy stargate-hook into that folder."), "{scope}: {told}");
        assert!(!world.system.exists(), "{scope}");
    }
}

#[test]
fn the_users_configuration_is_the_file_that_git_would_edit() {
    let world = World::new();
    let home = world.stargate.folder().join("home");
    fs::create_dir_all(home.join(".config/git")).unwrap();
    let install = |variables: &[(&str, &Path)]| {
        let mut command = clean_command(programs::mirror());
        command.env_remove("GIT_CONFIG_GLOBAL").args(["install", "--global"]);
        command.envs(variables.iter().copied());
        feed(command, "")
    };
    let is_in = |file: &Path| fs::read_to_string(file).is_ok_and(|text| text.contains("--configured post-receive"));

    let xdg = home.join(".config/git/config");
    fs::write(&xdg, "").unwrap();
    assert!(install(&[("HOME", &home)]).status.success());
    assert!(is_in(&xdg) && !home.join(".gitconfig").exists());
    fs::write(home.join(".gitconfig"), "").unwrap();
    assert!(install(&[("HOME", &home)]).status.success());
    assert!(is_in(&home.join(".gitconfig")));
    let elsewhere = home.join("elsewhere");
    assert!(
        install(&[("HOME", &home), ("GIT_CONFIG_GLOBAL", &elsewhere)])
            .status
            .success()
    );
    assert!(is_in(&elsewhere));

    let without = install(&[]);
    assert_eq!(without.status.code(), Some(4), "{}", stderr(&without));
    assert!(stderr(&without).contains("HOME is not set"), "{}", stderr(&without));
}

#[test]
fn a_symbolic_link_to_the_file_stays_a_link() {
    let world = World::new();
    let target = world.stargate.folder().join("target");
    fs::write(&target, "# mine\n").unwrap();
    symlink("target", &world.system).unwrap();
    assert!(world.mirror(&["install", "--system"]).status.success());
    assert_eq!(fs::read_link(&world.system).unwrap(), Path::new("target"));
    assert!(fs::read_to_string(&target).unwrap().starts_with("# mine\n[hook "));
}

#[test]
fn a_locked_file_and_one_that_is_no_configuration_are_refused_and_unchanged() {
    let world = World::new();
    fs::write(&world.system, "# mine\n").unwrap();
    let lock = PathBuf::from(format!("{}.lock", world.file()));
    fs::write(&lock, "").unwrap();
    let output = world.mirror(&["install", "--system"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("etc gitconfig.lock exists"),
        "{}",
        stderr(&output)
    );
    assert_eq!(fs::read_to_string(&world.system).unwrap(), "# mine\n");
    assert!(lock.exists());

    fs::remove_file(&lock).unwrap();
    fs::write(&world.system, "[broken\n").unwrap();
    let output = world.mirror(&["install", "--system"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("cannot read git's configuration of"),
        "{}",
        stderr(&output)
    );
    assert_eq!(fs::read_to_string(&world.system).unwrap(), "[broken\n");
    assert!(!lock.exists());

    let mut command = clean_command(programs::mirror());
    command
        .args(["install", "--global"])
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    let output = feed(command, "");
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("/dev/null: it is not a regular file"),
        "{}",
        stderr(&output)
    );

    let output = world.mirror(&["install", "--system", "--repo", "o/r.git"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}
