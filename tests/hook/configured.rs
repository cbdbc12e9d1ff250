//! Hooks in git's configuration: the pushes that they record, and their coexistence with other hooks.
mod doctor;
mod installation;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

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
        // Some templates have only samples, and some have no folder.
        let _ = fs::remove_dir_all(stargate.git_dir.join("hooks"));
        let system = stargate.folder().join("etc gitconfig");
        World { stargate, system }
    }

    /// A repository with the hooks in the system configuration, and a mirror.
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

    /// Runs a configured hook, which must succeed, and returns its output.
    fn run(&self, hook: &str, input: &str) -> String {
        let output = feed(self.configured(hook), input);
        assert!(output.status.success(), "{hook}: {}", stderr(&output));
        stderr(&output)
    }

    /// Runs the hooks of one push as git does: for each name the configured one, then the one in the folder, if it is
    /// executable.
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
    // Our hooks in the folder.
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
        let mut own = clean_command(world.own("post-receive"));
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
        // Another program's hooks simulate those that git 2.54 runs before ours.
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
