//! Findings of `doctor` in repositories such as real git and real forges create.

use std::{fs, path::Path};

use serde_json::Value;
use support::{
    executable,
    stargate::{Stargate, clean_command, feed, git, stderr},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stargate-mirror");

/// Returns the exit code and the standard output.
fn program(git_dir: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = clean_command(PROGRAM);
    command.args(arguments).arg("--repo").arg(git_dir);
    let output = feed(command, "");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().expect("an exit code"), printed)
}

/// The findings of one check: verdict, finding and hint.
fn findings(git_dir: &Path, check: &str) -> Vec<(String, String, String)> {
    let (_, printed) = program(git_dir, &["doctor", "--json"]);
    let diagnosis: Value = serde_json::from_str(&printed).expect("JSON");
    let checks = diagnosis["checks"].as_array().expect("a list").iter();
    let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    checks
        .filter(|found| found["check"] == check)
        .map(|found| (text(found, "verdict"), text(found, "found"), text(found, "hint")))
        .collect()
}

/// A source with three commits, and a bare clone of it, made with this option, whose mirror is an empty folder.
fn cloned(option: &str) -> tempfile::TempDir {
    cloned_as("--bare", option)
}

/// Runs the commands of a hint, as a person would copy them: in another folder, with the name of the remote.
fn follow(hint: &str) {
    let commands = hint.split('`').filter(|part| part.starts_with("git "));
    let folder = tempfile::tempdir().expect("a folder");
    for command in commands.filter(|command| !command.contains("extensions.")) {
        let mut shell = clean_command("sh");
        shell.args(["-ec", &command.replace("REMOTE", "origin")]);
        shell.current_dir(folder.path());
        let output = feed(shell, "");
        assert!(output.status.success(), "{command}: {}", stderr(&output));
    }
}

/// A source with three commits, and a clone of this kind, made with this option, whose mirror is an empty folder.
fn cloned_as(kind: &str, option: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    git(path, ["init", "-q", "source"]);
    let source = path.join("source");
    git(&source, ["config", "uploadpack.allowFilter", "true"]);
    for value in ["one", "two", "three"] {
        fs::write(source.join("value"), value).expect("a file");
        git(&source, ["add", "value"]);
        git(&source, ["commit", "-q", "-m", value]);
    }
    let url = format!("file://{}", source.display());
    git(path, ["clone", "-q", kind, option, &url, "stargate.git"]);
    git(path, ["init", "-q", "--bare", "mirror.git"]);
    let (stargate, mirror) = (path.join("stargate.git"), path.join("mirror.git"));
    git(&stargate, ["config", "stargate.remote", &mirror.display().to_string()]);
    git(&stargate, ["config", "stargate.ref", "refs/heads/*"]);
    git(&stargate, ["config", "stargate.attempts", "1"]);
    folder
}

#[test]
fn a_shallow_or_partial_stargate_is_a_problem_because_run_fails_there() {
    for (option, says, clone) in [
        (
            "--depth=1",
            "shallow: the parents of 1 commit are missing",
            ", which is a shallow clone",
        ),
        (
            "--filter=blob:none",
            "a partial clone of origin",
            ", which is a partial clone",
        ),
    ] {
        let folder = cloned(option);
        let stargate = folder.path().join("stargate.git");
        let [(verdict, found, hint)] = &findings(&stargate, "history")[..] else {
            panic!("{option}: one finding")
        };
        assert_eq!(verdict, "problem", "{option}");
        assert!(found.contains(says) && found.contains("exits with 4"), "{found}");
        assert_eq!(program(&stargate, &["doctor"]).0, 4, "{option}");
        let (exit, said) = program(&stargate, &["run"]);
        assert_eq!(exit, 4, "{option}: {said}");
        let not_mirrored = "refs/heads/main: not mirrored to ";
        assert!(
            said.contains(not_mirrored) && said.contains("(misconfigured)"),
            "{option}: {said}"
        );
        assert!(said.contains(clone), "{option}: {said}");

        follow(hint);
        assert_eq!(findings(&stargate, "history"), [], "{option}: {hint}");
        let (exit, said) = program(&stargate, &["run"]);
        assert_eq!(exit, 0, "{option}: {said}");
    }
}

#[test]
fn a_ref_that_needs_what_was_not_cloned_does_not_hold_up_the_others() {
    let folder = cloned("--depth=2");
    let (path, stargate) = (folder.path(), folder.path().join("stargate.git"));
    let root = git(&stargate, ["commit-tree", "-m", "root", "main^{tree}"]);
    git(&stargate, ["update-ref", "refs/heads/whole", &root]);
    let (exit, said) = program(&stargate, &["run"]);
    assert_eq!(exit, 4, "{said}");
    assert!(said.contains("refs/heads/whole: mirrored"), "{said}");
    let not_mirrored = "refs/heads/main: not mirrored to ";
    assert!(
        said.contains(not_mirrored) && said.contains("(misconfigured)"),
        "{said}"
    );
    assert_eq!(git(&path.join("mirror.git"), ["rev-parse", "refs/heads/whole"]), root);

    // The same commit is damage where the history is said to be whole.
    fs::remove_file(stargate.join("shallow")).expect("a list of shallow commits");
    let (exit, said) = program(&stargate, &["run"]);
    assert_eq!(exit, 5, "{said}");
    assert!(said.contains(not_mirrored) && said.contains("(broken)"), "{said}");
}

#[test]
fn a_shallow_stargate_behind_which_the_mirror_stands_is_diverged() {
    let folder = cloned("--depth=1");
    let (path, stargate) = (folder.path(), folder.path().join("stargate.git"));
    git(&path.join("source"), ["branch", "old", "main~2"]);
    git(
        &path.join("mirror.git"),
        ["fetch", "-q", "../source", "old:refs/heads/main"],
    );
    assert!(findings(&stargate, "history")[0].1.contains("diverged"));
    let (_, said) = program(&stargate, &["sync", "--dry-run"]);
    assert!(said.contains("diverged"), "{said}");
}

#[test]
fn a_damaged_ref_is_not_a_matter_of_users() {
    let stargate = with_remotes();
    fs::create_dir_all(stargate.git_dir.join("refs/other")).expect("a folder");
    fs::write(stargate.git_dir.join("refs/other/bad"), "garbage").expect("a file");
    let [(verdict, found, hint)] = &findings(&stargate.git_dir, "ref names")[..] else {
        panic!("one finding")
    };
    assert_eq!(verdict, "problem");
    assert!(
        found.contains("refs/other/bad contains neither an object id"),
        "{found}"
    );
    assert!(hint.contains("set the ref to the id in the journal"), "{hint}");
}

/// `git clone --mirror` sets `remote.origin.fetch` to `+refs/*:refs/*`.
#[test]
fn hints_about_the_history_keep_accepted_pushes_in_a_mirror_clone() {
    for option in ["--depth=1", "--filter=blob:none", "--no-local"] {
        let folder = cloned_as("--mirror", option);
        let stargate = folder.path().join("stargate.git");
        if option == "--no-local" {
            // All objects are loose, so that one can be removed.
            let pack = fs::read_dir(stargate.join("objects/pack")).expect("packs");
            let mut packs = pack.map(|entry| entry.expect("a file").path());
            let pack = packs
                .find(|path| path.extension().is_some_and(|end| end == "pack"))
                .expect("a pack");
            let moved = folder.path().join("pack");
            fs::rename(&pack, &moved).expect("it is moved");
            let mut unpack = clean_command("git");
            unpack.args(["-C", &stargate.display().to_string(), "unpack-objects", "-q"]);
            unpack.stdin(fs::File::open(&moved).expect("the pack"));
            assert!(unpack.status().expect("git runs").success());
            fs::remove_file(pack.with_extension("idx")).expect("an index");
        }
        let parent = git(&stargate, ["rev-parse", "main"]);
        let pushed = git(&stargate, ["commit-tree", "-m", "pushed", "-p", &parent, "main^{tree}"]);
        git(&stargate, ["update-ref", "refs/heads/main", &pushed]);
        if option == "--no-local" {
            let (fan, rest) = parent.split_at(2);
            fs::remove_file(stargate.join("objects").join(fan).join(rest)).expect("a loose object");
        }
        let [(_, _, hint)] = &findings(&stargate, "history")[..] else {
            panic!("{option}: one finding")
        };
        follow(hint);
        assert_eq!(git(&stargate, ["rev-parse", "main"]), pushed, "{option}: {hint}");
        assert_eq!(findings(&stargate, "history"), [], "{option}: {hint}");
        let (exit, said) = program(&stargate, &["run"]);
        assert_eq!(exit, 0, "{option}: {said}");
    }
}

/// A pending entry can name an object that no ref reaches.
#[test]
fn hints_that_clean_up_keep_unreachable_objects() {
    let folder = cloned("--no-local");
    let stargate = folder.path().join("stargate.git");
    let unreachable = git(&stargate, ["commit-tree", "-m", "x", "main^{tree}"]);
    fs::write(stargate.join("shallow"), format!("{unreachable}\n")).expect("a list");
    let [(verdict, _, hint)] = &findings(&stargate, "history")[..] else {
        panic!("one finding")
    };
    assert_eq!(verdict, "warning");
    follow(hint);
    assert_eq!(git(&stargate, ["cat-file", "-t", &unreachable]), "commit", "{hint}");
    assert_eq!(findings(&stargate, "history"), []);
}

/// A Stargate with hooks, whose mirror is the remote `github`, and a remote `backup` elsewhere.
fn with_remotes() -> Stargate {
    let stargate = Stargate::with_hook();
    for (name, folder) in [("github", "mirror.git"), ("backup", "backup.git")] {
        git(stargate.folder(), ["init", "-q", "--bare", folder]);
        let url = stargate.folder().join(folder);
        git(&stargate.git_dir, ["remote", "add", name, &url.display().to_string()]);
    }
    stargate.configure("stargate.remote", "github");
    stargate
}

fn other_mirrors(stargate: &Stargate) -> Vec<String> {
    let found = findings(&stargate.git_dir, "other mirror").into_iter();
    found
        .map(|(verdict, found, hint)| {
            assert_eq!(verdict, "warning");
            assert_ne!(hint, "", "{found}");
            found
        })
        .collect()
}

#[test]
fn a_push_to_the_same_remote_in_any_hook_is_another_mirror() {
    let mirror = |stargate: &Stargate| stargate.folder().join("mirror.git").display().to_string();
    for (hook, script, says) in [
        (
            "hooks/post-update",
            "git push --mirror github",
            ":2 runs `git push --mirror` to the same",
        ),
        (
            "hooks/post-update",
            "cd /\nexec git push -q github main",
            ":3 runs `git push` to the same",
        ),
        (
            "hooks/post-receive.d/mirror",
            "git push --mirror MIRROR",
            ":2 runs `git push --mirror` to the same",
        ),
        (
            "custom_hooks/post-receive.d/mirror",
            "git push MIRROR main",
            ":2 runs `git push` to the same",
        ),
        (
            "hooks/reference-transaction",
            "git push --mirror \"$1\"",
            ":2 runs `git push --mirror` to a remote in a",
        ),
    ] {
        let stargate = with_remotes();
        assert_eq!(other_mirrors(&stargate), [""; 0]);
        let script = script.replace("MIRROR", &mirror(&stargate));
        executable::script(&stargate.git_dir.join(hook), &script);
        let found = other_mirrors(&stargate);
        assert_eq!(found.len(), 1, "{script}: {found:?}");
        assert!(found[0].contains(&format!("{hook}{says}")), "{found:?}");
    }
}

#[test]
fn a_push_in_a_chained_hook_and_in_another_hooks_folder_is_another_mirror() {
    let stargate = with_remotes();
    let hooks = stargate.folder().join("shared");
    stargate.configure("core.hooksPath", &hooks.display().to_string());
    executable::script(&hooks.join("post-receive"), "git push --mirror github");
    let mut install = clean_command(PROGRAM);
    install.args(["install", "--chain", "--repo"]).arg(&stargate.git_dir);
    let installed = feed(install, "");
    assert!(installed.status.success(), "{}", stderr(&installed));
    let found = other_mirrors(&stargate);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("shared/post-receive.chained:2"), "{found:?}");
}

#[test]
fn what_does_not_push_to_the_same_remote_is_no_other_mirror() {
    let stargate = with_remotes();
    let hook = |name: &str| stargate.git_dir.join("hooks").join(name);
    executable::script(
        &hook("post-update"),
        "git push --mirror backup\n# git push --mirror github",
    );
    fs::write(hook("update.sample"), "git push --mirror github").expect("a file");
    fs::write(hook("update"), "git push --mirror github").expect("a file that is not executable");
    git(&stargate.git_dir, ["config", "remote.backup.mirror", "true"]);
    assert_eq!(other_mirrors(&stargate), [""; 0]);
}

/// The configuration that the forges write: Gitea and Forgejo by `git remote add --mirror=push` and two refspecs, GitLab
/// before version 14 with a URL alone.
#[test]
fn the_push_mirror_of_a_forge_to_the_same_remote_is_another_mirror() {
    let url = "https://user:secret@git.example.com/o/r.git";
    for (forge, name) in [
        ("gitea", "remote_mirror_5Xk2Lw9QpZ"),
        ("gitlab", "remote_mirror_0f1e2d3c4b5a69788796a5b4c3d2e1f0"),
        ("by hand", "old"),
    ] {
        let stargate = Stargate::with_hook();
        // The same repository by another protocol. There are no credentials, so `doctor` asks no server.
        stargate.configure("stargate.remote", "https://git.example.com/o/r");
        let repository = &stargate.git_dir;
        match forge {
            "gitlab" => git(repository, ["config", &format!("remote.{name}.url"), url]),
            _ => git(repository, ["remote", "add", "--mirror=push", name, url]),
        };
        if forge == "gitea" {
            for refs in ["heads", "tags"] {
                let refspec = format!("+refs/{refs}/*:refs/{refs}/*");
                git(
                    repository,
                    ["config", "--add", &format!("remote.{name}.push"), &refspec],
                );
            }
        }
        let found = other_mirrors(&stargate);
        assert_eq!(found.len(), 1, "{forge}: {found:?}");
        assert!(found[0].contains(name) && !found[0].contains("secret"), "{found:?}");
        assert_eq!(
            found[0].contains("push mirror of a forge"),
            forge != "by hand",
            "{found:?}"
        );

        git(
            repository,
            ["config", &format!("remote.{name}.url"), "git@git.example.com:o/r.git"],
        );
        assert_eq!(other_mirrors(&stargate).len(), 1, "{forge}: over ssh");
        git(
            repository,
            [
                "config",
                &format!("remote.{name}.url"),
                "https://git.example.com/o/other.git",
            ],
        );
        assert_eq!(other_mirrors(&stargate), [""; 0], "{forge}: another repository");
    }
}
