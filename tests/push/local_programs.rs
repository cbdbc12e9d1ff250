//! Programs that a push to a path runs as hooks: those of the configuration, scripts without `#!`, those that never end, and
//! what they leave in quarantine.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use git_push::{Command, Connection, ErrorKind, Push};
use git_push_transport::local::Local;
use support::{
    executable,
    git::{self, git},
    mirror::Format,
};

use super::command::{copy, made, ours, refs, stderr, theirs};

/// Pushes with both programs, each in a folder of this name with its own copy, and looks at the copies.
fn both<T>(name: &str, prepare: impl Fn(&Path), look: impl Fn(&Path, &Output) -> T) -> [T; 2] {
    let template = made(Format::Sha1);
    [theirs, ours].map(|program| {
        let folder = tempfile::tempdir().expect("a folder");
        let side = folder.path().join(name);
        copy(template.path(), &side);
        prepare(&side);
        let pushed = program(&side.join("source"), &["../remote.git", "main", "side"]);
        look(&side, &pushed)
    })
}

/// Git runs these hooks since 2.54. This test has no such git beside it.
#[test]
fn hooks_of_the_configuration_run_in_order_before_the_file() {
    let template = made(Format::Sha1);
    let remote = template.path().join("remote.git");
    let seen = template.path().join("seen");
    let say = |word: &str| format!("echo {word} $0 \"$@\" >> '{}'", seen.display());
    git(&remote, &["config", "hook.one.command", &say("one")]);
    git(
        &remote,
        &[
            "config",
            "hook.two.command",
            &format!("{}; cat > /dev/null; false", say("two")),
        ],
    );
    git(&remote, &["config", "hook.off.command", "false"]);
    git(&remote, &["config", "hook.off.enabled", "false"]);
    for name in ["two", "one", "off"] {
        git(&remote, &["config", &format!("hook.{name}.event"), "pre-receive"]);
    }
    git::hook(
        &remote,
        "pre-receive",
        &format!("{}; pwd >> '{}'", say("file"), seen.display()),
    );
    let push = |name: &str| ours(&template.path().join("source"), &["../remote.git", name]);
    let before = refs(&remote);
    let pushed = push("main");
    assert!(
        stderr(&pushed).contains("pre-receive hook declined"),
        "{}",
        stderr(&pushed)
    );
    assert_eq!(refs(&remote), before);
    let words = fs::read_to_string(&seen).expect("the hooks ran");
    let words: Vec<_> = words.lines().filter_map(|line| line.split(' ').next()).collect();
    let folder = fs::canonicalize(&remote).expect("a folder");
    assert_eq!(words, ["one", "two", "file", folder.to_str().expect("UTF-8")]);

    git(&remote, &["config", "hook.two.enabled", "false"]);
    git(&remote, &["config", "hook.update.command", &say("update")]);
    git(&remote, &["config", "hook.update.event", "update"]);
    fs::remove_file(&seen).expect("a file");
    let pushed = push("main");
    assert!(pushed.status.success(), "{}", stderr(&pushed));
    let words = fs::read_to_string(&seen).expect("the hooks ran");
    let update = words.lines().find(|line| line.starts_with("update ")).expect("update");
    let id = git(&remote, &["rev-parse", "main"]);
    assert!(
        update.contains(" refs/heads/main ") && update.ends_with(&id),
        "{update}"
    );

    git(&remote, &["config", "--unset", "hook.one.command"]);
    let pushed = push("side");
    assert!(!pushed.status.success());
    assert!(stderr(&pushed).contains("hook.one.command"), "{}", stderr(&pushed));
}

#[test]
fn a_hook_without_an_interpreter_is_a_script_of_the_shell_as_for_git() {
    let prepare = |side: &Path| {
        for (name, text) in [
            ("pre-receive", "read -r old new ref; echo \"${0##*/}: $ref\"\n"),
            ("update", ""),
        ] {
            let path = side.join("remote.git/hooks").join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(&path, text).expect("a hook");
            git(side, &["init", "-q", "unused"]);
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&path, mode).expect("a mode");
            executable::rewritten(&path);
        }
    };
    let [theirs, ours] = both("side", prepare, |side, pushed| {
        let lines: Vec<_> = stderr(pushed).lines().map(|line| line.trim_end().to_owned()).collect();
        (pushed.status.success(), refs(&side.join("remote.git")), lines)
    });
    assert_eq!(ours, theirs);
    assert!(
        ours.0 && ours.2.iter().any(|line| line == "remote: pre-receive: refs/heads/main"),
        "{ours:?}"
    );
}

#[test]
fn objects_that_a_hook_writes_are_taken_in_as_by_git() {
    let script = "set -e\n\
        blob=$(echo loose | git hash-object -w --stdin)\n\
        test -f \"$GIT_QUARANTINE_PATH/$(echo $blob | cut -c1-2)/$(echo $blob | cut -c3-)\"\n\
        packed=$(printf packed | git hash-object -w --stdin)\n\
        name=$(echo $packed | git pack-objects -q \"$GIT_QUARANTINE_PATH/pack/pack\")\n\
        rm \"$GIT_QUARANTINE_PATH/$(echo $packed | cut -c1-2)/$(echo $packed | cut -c3-)\"\n\
        mkdir -p \"$GIT_QUARANTINE_PATH/info\" && echo x > \"$GIT_QUARANTINE_PATH/info/note\"\n\
        echo $blob $packed";
    let prepare = |side: &Path| git::hook(&side.join("remote.git"), "pre-receive", script);
    let [theirs, ours] = both("side", prepare, |side, pushed| {
        assert!(pushed.status.success(), "{}", stderr(pushed));
        let remote = side.join("remote.git");
        let said = stderr(pushed);
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix("remote: "))
            .expect("ids");
        let contents: Vec<_> = line
            .split_whitespace()
            .map(|id| git(&remote, &["cat-file", "-p", id]))
            .collect();
        let note = fs::read_to_string(remote.join("objects/info/note")).expect("a note");
        git(&remote, &["fsck", "--strict", "--no-dangling"]);
        (contents, note, left(&remote.join("objects")))
    });
    assert_eq!(ours, theirs);
    assert_eq!(ours.0, ["loose", "packed"]);
}

/// Returns the folders of pushes and `.keep` files that are left.
fn left(objects: &Path) -> Vec<PathBuf> {
    let names = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    let mut left: Vec<_> = names(objects);
    left.retain(|path| path.display().to_string().contains("tmp_objdir"));
    let mut packs = names(&objects.join("pack"));
    packs.retain(|path| path.extension().is_some_and(|extension| extension == "keep"));
    left.extend(packs);
    left
}

#[test]
fn a_path_with_separators_is_quoted_as_by_git() {
    let script = "read -r old new ref\n\
        printf '%s\\n' \"$GIT_ALTERNATE_OBJECT_DIRECTORIES\" > seen\n\
        git cat-file -t $old >> seen && git cat-file -t $new >> seen";
    let prepare = |side: &Path| git::hook(&side.join("remote.git"), "pre-receive", script);
    let [theirs, ours] = both("a:b \"c\" \\ é", prepare, |side, pushed| {
        assert!(pushed.status.success(), "{}", stderr(pushed));
        let seen = fs::read_to_string(side.join("remote.git/seen")).expect("the hook ran");
        let folder = side.parent().expect("a folder").display().to_string();
        seen.replace(&folder, "FOLDER").replace("/./objects", "/objects")
    });
    assert_eq!(ours, theirs);
    assert!(
        ours.starts_with("\"FOLDER/a:b ") && ours.ends_with("commit\ncommit\n"),
        "{ours}"
    );
}

/// A push whose hook never ends, stopped as soon as the hook runs.
struct Stopped {
    template: tempfile::TempDir,
    before: String,
    /// Results of a push that is stopped while its hook runs, and of one that is stopped before it begins.
    results: [Result<git_push::Report, git_push::Error>; 2],
}

impl Stopped {
    fn new(hook: &str, commands: [&str; 2]) -> Self {
        let template = made(Format::Sha1);
        let (source, remote) = (template.path().join("source"), template.path().join("remote.git"));
        let id = template.path().join("id");
        // The name appears with its content.
        let script = format!(
            "echo $$ > '{0}.new' && mv '{0}.new' '{0}'\nwhile :; do sleep 1; done",
            id.display()
        );
        git::hook(&remote, hook, &script);
        let before = refs(&remote);
        let source = gix::open(source).expect("a repository");
        let flag = Arc::<AtomicBool>::default();
        let stopper = thread::spawn({
            let flag = flag.clone();
            move || {
                while !id.exists() {
                    thread::yield_now();
                }
                flag.store(true, Ordering::Relaxed);
            }
        });
        let mut local = Local::open(&remote).expect("a repository");
        let advertisement = local.advertisement().expect("refs");
        let results = commands.map(|name| {
            let id = match name {
                "refs/heads/gone" => gix::hash::Kind::Sha1.null(),
                _ => source.rev_parse_single("main").expect("main").detach(),
            };
            let command = Command::set(name, &advertisement, id);
            let push = Push::new(&source, &advertisement).command(command).interrupt(&flag);
            push.send(&mut local)
        });
        stopper.join().expect("the thread ends");
        Stopped {
            template,
            before,
            results,
        }
    }

    /// The hook does not run on, and nothing is left.
    fn assert_ended(&self) {
        let process = fs::read_to_string(self.template.path().join("id")).expect("the hook ran");
        let process = Path::new("/proc").join(process.trim());
        assert!(!process.exists(), "it runs on");
        assert!(left(&self.template.path().join("remote.git/objects")).is_empty());
    }

    fn refs(&self) -> String {
        refs(&self.template.path().join("remote.git"))
    }
}

#[test]
fn an_interrupt_ends_a_push_whose_hook_never_ends() {
    let (update, delete) = ("refs/heads/main", "refs/heads/gone");
    for (hook, commands) in [
        ("pre-receive", [update, delete]),
        ("pre-receive", [delete, update]),
        ("update", [update, delete]),
        ("reference-transaction", [update, delete]),
    ] {
        let stopped = Stopped::new(hook, commands);
        for result in &stopped.results {
            let error = result.as_ref().expect_err("it was stopped");
            assert_eq!(error.kind(), ErrorKind::Interrupted, "{hook}: {error}");
        }
        stopped.assert_ended();
        assert_eq!(stopped.refs(), stopped.before, "{hook}");
    }
}

#[test]
fn a_signal_ends_a_push_and_its_hook() {
    let template = made(Format::Sha1);
    let (remote, id) = (template.path().join("remote.git"), template.path().join("id"));
    let script = format!(
        "trap '' INT\necho $$ > '{0}.new' && mv '{0}.new' '{0}'\nwhile :; do sleep 1; done",
        id.display()
    );
    git::hook(&remote, "pre-receive", &script);
    let before = refs(&remote);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stargate-mirror"));
    command.args(["push", "../remote.git", "main"]);
    command.current_dir(template.path().join("source")).env_clear();
    command.envs(git::ISOLATED).stderr(std::process::Stdio::piped());
    let child = command.spawn().expect("stargate-mirror runs");
    while !id.exists() {
        thread::yield_now();
    }
    // To the program alone, not to its hook.
    let signal = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(signal.expect("the program kill is needed").success());
    let ended = child.wait_with_output().expect("it ends");
    let said = stderr(&ended);
    assert!(!ended.status.success() && said.contains("interrupted"), "{said}");
    let process = fs::read_to_string(&id).expect("the hook ran");
    assert!(!Path::new("/proc").join(process.trim()).exists(), "the hook runs on");
    assert!(left(&remote.join("objects")).is_empty());
    assert_eq!(refs(&remote), before);
}

#[test]
fn a_hook_that_never_ends_after_the_refs_have_moved_has_some_time_after_an_interrupt() {
    let stopped = Stopped::new("post-receive", ["refs/heads/main", "refs/heads/gone"]);
    let report = stopped.results[0].as_ref().expect("a report");
    assert!(report.all_accepted(), "{report:?}");
    assert!(
        report
            .server_words()
            .iter()
            .any(|line| line.contains("post-receive was killed"))
    );
    assert_ne!(stopped.refs(), stopped.before);
    stopped.assert_ended();
}

#[test]
fn the_end_of_a_transaction_is_told_after_an_interrupt() {
    for (phase, stops) in [("committed", "exit 0"), ("aborted", "[ $1 != prepared ]; exit")] {
        let template = made(Format::Sha1);
        let (source, remote) = (template.path().join("source"), template.path().join("remote.git"));
        let [begun, stopped, told] = ["begun", "stopped", "told"].map(|name| template.path().join(name));
        let script = format!(
            "if [ $1 = {phase} ]; then\necho > '{}'\nwhile [ ! -e '{}' ]; do sleep 0.1; done\necho > '{}'\nfi\n{stops}",
            begun.display(),
            stopped.display(),
            told.display()
        );
        git::hook(&remote, "reference-transaction", &script);
        let source = gix::open(source).expect("a repository");
        let flag = Arc::<AtomicBool>::default();
        let stopper = thread::spawn({
            let flag = flag.clone();
            move || {
                while !begun.exists() {
                    thread::yield_now();
                }
                flag.store(true, Ordering::Relaxed);
                fs::write(stopped, "").expect("a file");
            }
        });
        let mut local = Local::open(&remote).expect("a repository");
        let advertisement = local.advertisement().expect("refs");
        let main = source.rev_parse_single("main").expect("main").detach();
        let command = Command::set("refs/heads/main", &advertisement, main);
        let push = Push::new(&source, &advertisement).command(command).interrupt(&flag);
        let result = push.send(&mut local);
        stopper.join().expect("the thread ends");
        assert!(told.exists(), "{phase}: {result:?}");
        assert_eq!(result.is_ok_and(|report| report.all_accepted()), phase == "committed");
    }
}
