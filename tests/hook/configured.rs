//! Hooks in git's configuration: what they record, beside which other hooks, how they are installed, and what `doctor` says.
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use support::{
    executable, programs,
    stargate::{Stargate, clean_command, creation, feed, git, git_command, start, stderr},
};

use crate::HOOK;

const HOOKS: [&str; 2] = ["pre-receive", "post-receive"];
const URL: &str = "https://mirror.invalid/o/r.git";

/// A repository, and a system configuration file beside it.
struct World {
    stargate: Stargate,
    system: PathBuf,
}

impl World {
    fn new() -> Self {
        let stargate = Stargate::bare();
        // Some templates come with samples only, and some with no folder.
        let _ = fs::remove_dir_all(stargate.git_dir.join("hooks"));
        let system = stargate.folder().join("etc gitconfig");
        World { stargate, system }
    }

    /// One with the hooks in the system configuration, and a mirror.
    fn installed() -> Self {
        let world = World::new();
        let output = world.mirror(&["install", "--system"]);
        assert!(output.status.success(), "{}", stderr(&output));
        world.stargate.configure("stargate.remote", URL);
        world
    }

    fn with_system(&self, mut command: Command) -> Command {
        command
            .env_remove("GIT_CONFIG_NOSYSTEM")
            .env("GIT_CONFIG_SYSTEM", &self.system);
        command
    }

    /// Runs `stargate-mirror`.
    fn mirror(&self, arguments: &[&str]) -> Output {
        let mut command = self.with_system(clean_command(programs::mirror()));
        command.current_dir(self.stargate.folder()).args(arguments);
        feed(command, "")
    }

    /// A command of the system configuration as `receive-pack` of git 2.55 runs it: through a shell, in the repository, with
    /// these variables. git adds no argument.
    fn configured(&self, hook: &str) -> Command {
        let key = format!("hook.stargate-{hook}.command");
        let command = git(self.stargate.folder(), ["config", "-f", &self.file(), "--get", &key]);
        let mut shell = self.with_system(clean_command("sh"));
        shell
            .args(["-c", &command])
            .current_dir(&self.stargate.git_dir)
            .env("GIT_DIR", ".")
            .env("GIT_PUSH_OPTION_COUNT", "0");
        if hook == "pre-receive" {
            let objects = self.stargate.git_dir.join("./objects");
            let incoming = objects.join("tmp_objdir-incoming-WmkrnX");
            shell
                .env("GIT_OBJECT_DIRECTORY", &incoming)
                .env("GIT_QUARANTINE_PATH", &incoming)
                .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", &objects);
        }
        shell
    }

    fn file(&self) -> String {
        self.system.display().to_string()
    }

    /// Runs a configured hook, and returns what it says. It must succeed.
    fn run(&self, hook: &str, input: &str) -> String {
        let output = feed(self.configured(hook), input);
        assert!(output.status.success(), "{hook}: {}", stderr(&output));
        stderr(&output)
    }

    /// Runs the hooks of one push as git does: of each name the configured one, then the one in the folder, if it has its x
    /// bit.
    fn push(&self, input: &str) {
        for hook in HOOKS {
            self.run(hook, input);
            let own = self.stargate.git_dir.join("hooks").join(hook);
            if fs::metadata(&own).is_ok_and(|found| found.permissions().mode() & 0o111 != 0) {
                let mut command = self.with_system(clean_command(&own));
                command.current_dir(&self.stargate.git_dir).env("GIT_DIR", ".");
                let output = feed(command, input);
                assert!(output.status.success(), "{hook}: {}", stderr(&output));
            }
        }
    }

    fn own(&self, hook: &str) -> PathBuf {
        self.stargate.git_dir.join("hooks").join(hook)
    }

    /// `doctor`'s checks of hooks, with this script as the only git on `PATH`: verdict and finding.
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
fn a_repository_without_a_mirror_is_left_alone() {
    let world = World::new();
    assert!(world.mirror(&["install", "--system"]).status.success());
    for hook in HOOKS {
        assert_eq!(world.run(hook, &creation("refs/kv/main")), "", "{hook}");
    }
    assert!(!world.stargate.git_dir.join(".stargate").exists());
    let broken = "not a ref update\n".repeat(100_000);
    assert_eq!(world.run("pre-receive", &broken), "", "it does not even read its input");
}

#[test]
fn a_repository_with_a_mirror_is_recorded_and_stays_so_while_it_has_a_journal() {
    let world = World::installed();
    let input = creation("refs/kv/main");
    assert_eq!(world.run("pre-receive", &input), "");
    assert_eq!(world.stargate.intents().len(), 1);
    let told = world.run("post-receive", &input);
    assert_eq!(told, "stargate: queued for the mirror: 1 ref update\n");
    assert_eq!(
        (world.stargate.recorded(), world.stargate.intents().len()),
        (vec!["refs/kv/main".into()], 0)
    );

    git(&world.stargate.git_dir, ["config", "--unset", "stargate.remote"]);
    world.push(&creation("refs/kv/other"));
    assert_eq!(world.stargate.recorded(), ["refs/kv/main", "refs/kv/other"]);
}

#[test]
fn a_mirror_in_the_system_configuration_counts_for_all_repositories() {
    let world = World::installed();
    git(&world.stargate.git_dir, ["config", "--unset", "stargate.remote"]);
    git(
        &world.stargate.git_dir,
        ["config", "-f", &world.file(), "stargate.remote", URL],
    );
    world.push(&creation("refs/kv/main"));
    assert_eq!(world.stargate.recorded(), ["refs/kv/main"]);
}

#[test]
fn a_push_that_cannot_be_recorded_is_rejected() {
    let world = World::installed();
    fs::write(world.stargate.git_dir.join(".stargate"), "no folder").unwrap();
    let output = feed(world.configured("pre-receive"), creation("refs/kv/main"));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("push rejected"), "{}", stderr(&output));
}

#[test]
fn where_both_kinds_of_hooks_run_each_update_is_recorded_once_and_no_intent_is_left() {
    // Hooks in the folder, of those that are ours.
    for own in [&HOOKS[..], &HOOKS[..1], &HOOKS[1..], &[]] {
        let world = World::installed();
        world.stargate.install();
        for hook in HOOKS {
            if own.contains(&hook) {
                executable::rewritten(&world.own(hook));
            } else {
                fs::remove_file(world.own(hook)).unwrap();
            }
        }
        for name in ["refs/kv/one", "refs/kv/two"] {
            world.push(&creation(name));
        }
        assert_eq!(world.stargate.recorded(), ["refs/kv/one", "refs/kv/two"], "{own:?}");
        assert_eq!(world.stargate.intents(), [""; 0], "{own:?}");
    }
}

#[test]
fn a_hook_in_the_folder_that_does_not_record_does_not_count() {
    let world = World::installed();
    world.stargate.install();
    for hook in HOOKS {
        fs::set_permissions(world.own(hook), fs::Permissions::from_mode(0o644)).unwrap();
    }
    world.push(&creation("refs/kv/skipped"));
    for hook in HOOKS {
        executable::script(&world.own(hook), "cat > /dev/null");
    }
    world.push(&creation("refs/kv/foreign"));
    for hook in HOOKS {
        fs::write(world.own(hook), "").unwrap();
    }
    for hook in HOOKS {
        world.run(hook, &creation("refs/kv/empty"));
    }
    assert_eq!(
        world.stargate.recorded(),
        ["refs/kv/skipped", "refs/kv/foreign", "refs/kv/empty"]
    );
    assert_eq!(world.stargate.intents(), [""; 0]);
}

#[test]
fn our_hooks_in_a_shared_hooks_folder_count() {
    let world = World::installed();
    let shared = world.stargate.folder().join("shared");
    fs::create_dir(&shared).unwrap();
    world.stargate.configure("core.hooksPath", shared.to_str().unwrap());
    world.push(&creation("refs/kv/one"));
    symlink(HOOK, shared.join("post-receive")).unwrap();
    assert_eq!(world.run("post-receive", &creation("refs/kv/two")), "");
    assert_eq!(world.stargate.recorded(), ["refs/kv/one"]);
}

#[test]
fn hooks_of_many_pushes_at_once_record_each_update_once() {
    let world = World::installed();
    world.stargate.install();
    executable::rewritten(&world.own("post-receive"));
    let mut running = Vec::new();
    for number in 0..16 {
        let input = creation(&format!("refs/kv/{number}"));
        // git 2.55 runs both at once.
        let mut own = self::clean_command(world.own("post-receive"));
        own.current_dir(&world.stargate.git_dir).env("GIT_DIR", ".");
        for mut command in [world.configured("post-receive"), own] {
            let file = world.stargate.folder().join(format!("input-{number}"));
            fs::write(&file, &input).unwrap();
            command
                .stdin(fs::File::open(&file).unwrap())
                .stderr(std::process::Stdio::null());
            running.push(start(&mut command));
        }
    }
    for mut hook in running {
        assert!(hook.wait().unwrap().success());
    }
    let mut recorded = world.stargate.recorded();
    recorded.sort();
    let mut expected: Vec<String> = (0..16).map(|number| format!("refs/kv/{number}")).collect();
    expected.sort();
    assert_eq!(recorded, expected);
}

/// True if the git on `PATH` runs hooks from its configuration.
fn git_runs_configured_hooks() -> bool {
    let version = git(Path::new("."), ["version"]);
    let number = version.trim_start_matches("git version ").split('.').take(2);
    let number: Vec<u32> = number.map(|part| part.parse().expect("a number")).collect();
    number >= vec![2, 54]
}

#[test]
fn a_push_by_git_is_recorded_through_the_configuration() {
    let world = World::installed();
    if !git_runs_configured_hooks() {
        // Another program's hooks stand in for what git 2.54 does before them.
        for hook in HOOKS {
            let script = format!("eval \"$(git config hook.stargate-{hook}.command)\"");
            executable::script(&world.own(hook), &script);
        }
    }
    let client = world.stargate.client("Subject\n\nKV-Txn: by-configuration");
    let mut push = world.with_system(git_command(&client));
    push.args(["push", "-q", "origin", "HEAD:refs/kv/main", "HEAD:refs/heads/main"]);
    let output = feed(push, "");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        stderr(&output).trim_end(),
        "remote: stargate: queued for the mirror: 1 ref update"
    );
    let [line] = &world.stargate.lines()[..] else {
        panic!("one entry")
    };
    assert_eq!(
        (&line["ref"], &line["meta"]["txn_id"]),
        (&"refs/kv/main".into(), &"by-configuration".into())
    );
    assert_eq!(line["new_oid"], git(&client, ["rev-parse", "HEAD"]));
    assert_eq!(world.stargate.intents(), [""; 0]);
}

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
    command.args(["install", "--global"]);
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
            format!("{} runs, too, and leaves pushes to {path}", at("pre-receive"))
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
