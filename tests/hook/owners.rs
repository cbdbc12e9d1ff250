//! Hooks and workers of several users at one repository: owners and permissions of the files that they create.
#![cfg(unix)]

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Output,
};

use support::stargate::{Stargate, clean_command, creation, feed, git, stderr};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");
/// The user that pushes: `nobody`, on every Linux.
const PUSHER: u32 = 65534;

/// Everything below a folder, and the folder.
fn all_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        match entry.file_type().expect("a kind") {
            kind if kind.is_dir() => found.extend(all_below(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found
}

fn stargate_mirror(arguments: &[&str], stargate: &Stargate) -> Output {
    let mut command = clean_command(PROGRAM);
    command.args(arguments).arg("--repo").arg(&stargate.git_dir);
    feed(command, "")
}

/// A repository of [`PUSHER`], and a mirror.
fn of_the_pusher() -> Stargate {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root, to be a worker of one user and a hook of another"
    );
    let stargate = Stargate::bare();
    fs::set_permissions(stargate.folder(), fs::Permissions::from_mode(0o755)).expect("ours");
    git(stargate.folder(), ["init", "-q", "--bare", "mirror.git"]);
    let mirror = stargate.folder().join("mirror.git");
    stargate.configure("stargate.remote", &mirror.display().to_string());
    stargate.configure("stargate.attempts", "1");
    git(&stargate.client("one"), ["push", "-q", "origin", "HEAD:refs/kv/main"]);
    for path in all_below(&stargate.git_dir) {
        chown(path, Some(PUSHER), Some(PUSHER)).expect("root may");
    }
    stargate
}

/// The hooks as the pusher's git runs them.
fn push(stargate: &Stargate, name: &str) {
    for hook in ["hooks/pre-receive", "hooks/post-receive"] {
        let mut command = clean_command(stargate.git_dir.join(hook));
        command.current_dir(&stargate.git_dir).env("GIT_DIR", ".");
        command.uid(PUSHER).gid(PUSHER);
        let output = feed(command, creation(name));
        assert!(output.status.success(), "{hook}: {}", stderr(&output));
    }
}

fn of_others(folder: &Path) -> Vec<PathBuf> {
    let mut all = all_below(folder);
    all.retain(|path| {
        let found = fs::symlink_metadata(path).expect("it is there");
        (found.uid(), found.gid()) != (PUSHER, PUSHER)
    });
    all
}

#[test]
fn what_a_worker_of_root_makes_keeps_no_push_of_another_user_out() {
    let stargate = of_the_pusher();
    let installed = stargate_mirror(&["install", "--fsync-committed"], &stargate);
    assert!(installed.status.success(), "{}", stderr(&installed));
    let run = stargate_mirror(&["run"], &stargate);
    assert!(run.status.success(), "{}", stderr(&run));
    assert!(!stderr(&run).contains("belongs"), "{}", stderr(&run));
    push(&stargate, "refs/kv/a");

    let rotated = stargate_mirror(&["journal", "rotate"], &stargate);
    assert!(rotated.status.success(), "{}", stderr(&rotated));
    push(&stargate, "refs/kv/b");

    // A line that is no entry is moved to the quarantine folder, which the worker creates.
    let journal = fs::read(stargate.journal()).expect("a journal");
    fs::write(stargate.journal(), [&journal[..], b"no entry\n"].concat()).expect("root may");
    stargate_mirror(&["run"], &stargate);
    assert!(stargate.git_dir.join(".stargate/quarantine").is_dir());
    push(&stargate, "refs/kv/c");
    assert_eq!(of_others(&stargate.git_dir.join(".stargate")), Vec::<PathBuf>::new());
    assert_eq!(of_others(&stargate.git_dir.join("hooks")), Vec::<PathBuf>::new());
    assert_eq!(
        fs::metadata(stargate.git_dir.join("config"))
            .expect("it is there")
            .uid(),
        PUSHER
    );
}

#[test]
fn what_root_has_made_before_is_told_with_what_helps() {
    let stargate = of_the_pusher();
    let folder = stargate.git_dir.join(".stargate");
    fs::create_dir(&folder).expect("root may");
    for arguments in [&["run"][..], &["install"]] {
        let said = stderr(&stargate_mirror(arguments, &stargate));
        let advice = "as root, run `chown -R nobody .stargate` there";
        assert!(said.contains("belongs to root") && said.contains(advice), "{said}");
    }
    chown(&folder, Some(PUSHER), Some(PUSHER)).expect("root may");
    let of_root = stargate.journal();
    fs::write(&of_root, "").expect("root may");
    let said = stderr(&stargate_mirror(&["run"], &stargate));
    assert!(said.contains("mirror-journal.ndjson belongs to root"), "{said}");
}

/// Runs the program as another user of the pusher's group.
fn by_second_user(stargate: &Stargate, arguments: &[&str]) -> Output {
    let program = stargate.folder().join("stargate-mirror");
    // Copied by another process: a program that this process has open for writing could not be started.
    let mut copy = clean_command("cp");
    copy.arg(PROGRAM).arg(&program);
    assert!(feed(copy, "").status.success());
    let mut command = clean_command(&program);
    command.args(arguments).arg("--repo").arg(&stargate.git_dir);
    command.uid(1).gid(PUSHER);
    feed(command, "")
}

#[test]
fn the_hint_to_share_a_repository_lets_its_group_work_there() {
    let stargate = of_the_pusher();
    assert!(stargate_mirror(&["install"], &stargate).status.success());
    push(&stargate, "refs/kv/other");
    let doctor = || {
        let printed = by_second_user(&stargate, &["doctor", "--json"]).stdout;
        let diagnosis: serde_json::Value = serde_json::from_slice(&printed).expect("JSON");
        let checks = diagnosis["checks"].as_array().expect("a list").clone();
        checks.into_iter().find(|check| check["check"] == "owner")
    };
    assert!(!by_second_user(&stargate, &["journal", "rotate"]).status.success());
    let finding = doctor().expect("a finding");
    let hint = finding["hint"].as_str().expect("a hint");
    let commands: Vec<_> = hint.split('`').skip(1).step_by(2).collect();
    assert_eq!(commands.len(), 3, "{hint}");
    for command in commands {
        let mut shell = clean_command("sh");
        shell.args(["-ec", command]).current_dir("/").uid(PUSHER).gid(PUSHER);
        let output = feed(shell, "");
        assert!(output.status.success(), "{command}: {}", stderr(&output));
    }
    assert_eq!(doctor(), None, "{hint}");
    let rotated = by_second_user(&stargate, &["journal", "rotate"]);
    assert!(rotated.status.success(), "{}", stderr(&rotated));
}

#[test]
fn a_worker_of_a_second_user_is_told_as_whom_to_run() {
    let stargate = of_the_pusher();
    for path in all_below(&stargate.git_dir) {
        let mode = if path.is_dir() { 0o777 } else { 0o666 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("root may");
    }
    let said = |stargate: &Stargate| stderr(&by_second_user(stargate, &["run"]));
    let advice = "run as nobody, or share the repository";
    assert!(said(&stargate).contains(advice), "{}", said(&stargate));
    fs::remove_dir_all(stargate.git_dir.join(".stargate")).expect("root may");
    fs::set_permissions(&stargate.git_dir, fs::Permissions::from_mode(0o2777)).expect("root may");
    assert!(!said(&stargate).contains(advice), "{}", said(&stargate));
}

fn mirror_of(stargate: &Stargate, settings: &[(&str, &str)]) -> PathBuf {
    let mirror = stargate.folder().join("mirror.git");
    git(stargate.folder(), ["init", "-q", "--bare", "mirror.git"]);
    for (key, value) in [&[("core.logAllRefUpdates", "always")], settings].concat() {
        git(&mirror, ["config", key, value]);
    }
    stargate.configure("stargate.remote", &mirror.display().to_string());
    stargate.configure("stargate.ref", "refs/heads/*");
    stargate.configure("stargate.ref", "refs/kv/*");
    mirror
}

#[test]
fn the_lines_that_install_prints_keep_the_owner_of_the_configuration() {
    let stargate = of_the_pusher();
    let config = stargate.git_dir.join("config");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).expect("root may");
    let printed = stargate_mirror(&["install"], &stargate);
    let printed = String::from_utf8(printed.stdout).expect("text");
    let lines: Vec<_> = printed.lines().filter(|line| line.contains("git config -f ")).collect();
    assert_eq!(lines.len(), 8, "the mirror is set: {printed}");
    for line in lines {
        assert!(line.starts_with("    runuser -u nobody -- git config -f "), "{line}");
        let mut shell = clean_command("sh");
        shell.args(["-c", line]).current_dir("/");
        let output = feed(shell, "");
        assert!(output.status.success(), "{line}: {}", stderr(&output));
    }
    let found = fs::metadata(&config).expect("it is there");
    assert_eq!(
        (found.uid(), found.gid(), found.mode() & 0o777),
        (PUSHER, PUSHER, 0o600)
    );
    let value = |key: &str| git(&stargate.git_dir, ["config", "-f", "config", "--get-all", key]);
    assert!(value("stargate.ref").ends_with("refs/heads/*"));
    assert_eq!(value("core.fsync"), "committed");

    // A user without a name, and an owner that is the current user.
    git(
        &stargate.git_dir,
        ["config", "-f", "config", "--unset-all", "stargate.remote"],
    );
    for path in all_below(&stargate.git_dir) {
        chown(path, Some(54321), Some(54322)).expect("root may");
    }
    let printed = String::from_utf8(stargate_mirror(&["install"], &stargate).stdout).expect("text");
    let expected = "    setpriv --reuid 54321 --regid 54322 --clear-groups -- git config -f ";
    let line = printed
        .lines()
        .find(|line| line.starts_with(expected))
        .unwrap_or_else(|| panic!("{printed}"));
    let mut shell = clean_command("sh");
    shell.args(["-c", line]).current_dir("/");
    let output = feed(shell, "");
    assert!(output.status.success(), "{line}: {}", stderr(&output));
    let found = fs::metadata(&config).expect("it is there");
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (54321, 54322, 0o600));
}

#[test]
fn doctor_tells_what_keeps_the_owner_out() {
    let stargate = of_the_pusher();
    stargate_mirror(&["install"], &stargate);
    let said = |stargate: &Stargate| {
        let output = stargate_mirror(&["doctor"], stargate);
        let text = String::from_utf8(output.stdout).expect("text");
        (output.status.code(), text)
    };
    assert_eq!(said(&stargate).0, Some(0), "{}", said(&stargate).1);
    let advice = format!("chown -R nobody {}", stargate.git_dir.display());
    // The configuration after root ran `git config` on a file of mode 0600, which is gitolite's mode.
    let config = stargate.git_dir.join("config");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).expect("root may");
    chown(&config, Some(0), Some(0)).expect("root may");
    let (exit, text) = said(&stargate);
    let found = format!(
        "the owner of the repository (nobody) cannot read {}: pushes fail",
        config.display()
    );
    assert!(
        exit == Some(4) && text.contains(&found) && text.contains(&advice),
        "{text}"
    );
    chown(&config, Some(PUSHER), Some(PUSHER)).expect("root may");
    // The state after a push by root.
    let folder = stargate.git_dir.join("refs/kv");
    chown(&folder, Some(0), Some(0)).expect("root may");
    let (exit, text) = said(&stargate);
    let found = format!(
        "the owner of the repository (nobody) cannot write to {}: pushes fail",
        folder.display()
    );
    assert!(
        exit == Some(4) && text.contains(&found) && text.contains(&advice),
        "{text}"
    );
    run_commands_of(&text, "chown");
    assert!(!said(&stargate).1.contains("problem  owner"), "{}", said(&stargate).1);

    let run = stargate_mirror(&["run"], &stargate);
    assert!(run.status.success(), "{}", stderr(&run));
    let below = |name: &str| stargate.git_dir.join(".stargate").join(name);
    chown(below("worker.json"), Some(1), Some(1)).expect("root may");
    let (exit, text) = said(&stargate);
    assert!(exit == Some(4) && text.contains("the worker has run as "), "{text}");
    run_commands_of(&text, "chown");
    chown(stargate.journal(), Some(0), Some(0)).expect("root may");
    let (exit, text) = said(&stargate);
    let found =
        "the owner of the repository (nobody) cannot write to .stargate/mirror-journal.ndjson, which belongs to root";
    assert!(exit == Some(4) && text.contains(found), "{text}");
    run_commands_of(&text, "chown");
    fs::set_permissions(below(""), fs::Permissions::from_mode(0o555)).expect("root may");
    let (exit, text) = said(&stargate);
    assert!(exit == Some(4) && text.contains(".stargate (mode 0555)"), "{text}");
    run_commands_of(&text, "chmod");
    assert_eq!(said(&stargate).0, Some(0), "{}", said(&stargate).1);
}

/// Runs the commands in backquotes that start with this word.
fn run_commands_of(text: &str, program: &str) {
    let commands = text.split('`').skip(1).step_by(2);
    let commands: Vec<_> = commands.filter(|command| command.starts_with(program)).collect();
    assert!(!commands.is_empty(), "{text}");
    for command in commands {
        let mut shell = clean_command("sh");
        shell.args(["-c", command]);
        assert!(feed(shell, "").status.success(), "{command}");
    }
}

#[test]
fn a_push_of_root_onto_a_path_leaves_everything_to_the_owner_there() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
    let stargate = Stargate::with_hook();
    let mirror = mirror_of(&stargate, &[]);
    stargate.client("first");
    for path in all_below(&mirror) {
        chown(path, Some(PUSHER), Some(PUSHER)).expect("root may");
    }
    let client = stargate.folder().join("client");
    git(
        &client,
        ["push", "-q", "origin", "HEAD:refs/kv/team/a", "HEAD:refs/kv/b"],
    );
    for refspecs in [&["HEAD:refs/heads/x/y"][..], &[":refs/kv/b", ":refs/kv/team/a"]] {
        git(&client, [&["push", "-q", "origin"], refspecs].concat());
        let run = stargate_mirror(&["run"], &stargate);
        assert!(run.status.success(), "{}", stderr(&run));
    }
    assert!(mirror.join("refs/heads/x/y").is_file() && mirror.join("logs/refs/heads/x/y").is_file());
    assert_eq!(of_others(&mirror), Vec::<PathBuf>::new());
}

#[test]
fn a_push_onto_a_path_makes_what_git_makes_in_a_shared_repository() {
    for how in ["group", "all", "0660", "umask"] {
        let stargate = Stargate::with_hook();
        stargate.client("first");
        let mirror = mirror_of(&stargate, &[("core.sharedRepository", how)]);
        let client = stargate.folder().join("client");
        let gits = stargate.folder().join("git.git");
        let mut copy = clean_command("cp");
        copy.args(["-a"]).args([&mirror, &gits]);
        assert!(feed(copy, "").status.success());
        git(&gits, ["config", "transfer.unpackLimit", "1"]);
        let refspecs = ["HEAD:refs/heads/x/y", "HEAD:refs/kv/team/a"];
        git(&client, [&["push", "-q", "origin"][..], &refspecs].concat());
        git(
            &client,
            [&["push", "-q", &gits.display().to_string()][..], &refspecs].concat(),
        );
        let run = stargate_mirror(&["run"], &stargate);
        assert!(run.status.success(), "{}", stderr(&run));
        for below in [
            "refs",
            "refs/heads/x",
            "refs/heads/x/y",
            "refs/kv",
            "refs/kv/team",
            "refs/kv/team/a",
            "logs",
            "logs/refs",
            "logs/refs/kv",
            "logs/refs/kv/team/a",
            "objects/pack",
            "pack",
            "idx",
        ] {
            let [ours, theirs] = [&mirror, &gits].map(|repository| mode_at(repository, below));
            assert_eq!(format!("{ours:o}"), format!("{theirs:o}"), "{how}: {below}");
        }
    }
}

/// The mode of a path, or of the one file in `objects/pack` with this ending.
fn mode_at(repository: &Path, below: &str) -> u32 {
    let packs = fs::read_dir(repository.join("objects/pack")).expect("packs").flatten();
    let ends = |path: &PathBuf| path.extension().is_some_and(|end| end == below);
    let path = packs
        .map(|file| file.path())
        .find(ends)
        .unwrap_or_else(|| repository.join(below));
    fs::metadata(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .mode()
        & 0o7777
}

#[test]
fn in_a_shared_repository_everything_is_for_the_group_as_git_has_it() {
    for (how, folder_mode, file_mode) in [
        ("group", 0o2775, 0o664),
        ("world", 0o2775, 0o664),
        ("0660", 0o2770, 0o660),
        ("umask", 0o755, 0o644),
    ] {
        let stargate = Stargate::bare();
        stargate.configure("core.sharedRepository", how);
        // A umask that removes all permissions of the group.
        let words = ["sh", "-c", "umask 077; exec \"$@\"", "sh"];
        for hook in ["pre-receive", "post-receive", "pre-receive"] {
            let output = feed(stargate.named_behind(hook, &words), creation("refs/kv/a"));
            assert!(output.status.success(), "{}", stderr(&output));
        }
        let folder = stargate.git_dir.join(".stargate");
        for path in all_below(&folder) {
            let found = fs::metadata(&path).expect("it is there");
            let expected = if found.is_dir() { folder_mode } else { file_mode };
            assert_eq!(found.mode() & 0o7777, expected, "{how}: {}", path.display());
        }
        assert_eq!(stargate.intents().len(), 1);
    }
}

#[test]
fn a_mirror_that_the_worker_may_not_read_is_not_called_missing() {
    let stargate = of_the_pusher();
    let mirror = stargate.folder().join("mirror.git");
    for (closed, shown) in [(mirror.clone(), "mirror.git"), (mirror.join("HEAD"), "mirror.git/HEAD")] {
        let mode = fs::metadata(&closed).expect("it is there").permissions();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("ours");
        let mut command = clean_command(PROGRAM);
        command
            .args(["run", "--repo"])
            .arg(&stargate.git_dir)
            .uid(PUSHER)
            .gid(PUSHER);
        let output = feed(command, "");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains(&format!("{shown}: permission denied")), "{said}");
        assert!(said.contains("run as the owner of the repository"), "{said}");
        fs::set_permissions(&closed, mode).expect("ours");
    }
}
