//! Pushes to a path beside those of git: rules of the destination (`receive.*`) and its hooks.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use support::{
    executable,
    git::{self, git},
    mirror::Format,
};

use super::command::{copy, made, ours, refs, stderr, stdout, theirs};

/// Records arguments, folder, variables, input and known objects of a hook in `seen` beside the repository. `REST` follows.
/// Over a path, git does not pass on the output of two hooks.
const RECORD: &str = r#"exec 3>>"SIDE/seen"
name=${0##*/}
echo "$name $*" >&3
pwd >&3
export -p >&3
while read -r old new ref; do
    kind=
    if [ $name = pre-receive ]; then kind=$(git cat-file -t $new 2>&1); fi
    echo "$old $new $ref $kind" >&3
done
case $name in
reference-transaction | push-to-checkout) ;;
*) echo "$name says" && echo "$name complains" >&2 ;;
esac
REST
"#;

/// Variables that both programs may set for hooks.
const VARIABLES: [&str; 7] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PUSH_OPTION_",
    "GIT_QUARANTINE_PATH",
    "GIT_WORK_TREE",
];

const HOOKS: [&str; 5] = [
    "pre-receive",
    "update",
    "reference-transaction",
    "post-receive",
    "post-update",
];

/// Keys and values.
type Config<'a> = &'a [(&'a str, &'a str)];

/// A push to a path, after this configuration of the destination.
struct Situation<'a> {
    config: Config<'a>,
    /// A hook that fails, with what it does.
    hook: Option<(&'a str, &'a str)>,
    arguments: &'a [&'a str],
}

fn situation<'a>(config: Config<'a>, arguments: &'a [&'a str]) -> Situation<'a> {
    Situation {
        config,
        hook: None,
        arguments,
    }
}

/// Result of a push with one of the programs.
#[derive(Debug)]
struct Seen {
    lines: Vec<String>,
    success: bool,
    refs: String,
    hooks: String,
}

/// Writes a hook that records how it is run.
fn hook(side: &Path, folder: &Path, name: &str, rest: &str) {
    let script = RECORD.replace("SIDE", &side.display().to_string());
    executable::script(&folder.join(name), &script.replace("REST", rest));
}

/// Returns the destination, in which these hooks record.
fn prepare(template: &Path, side: &Path, situation: &Situation<'_>, names: &[&str]) -> PathBuf {
    copy(template, side);
    let remote = side.join("remote.git");
    for (key, value) in situation.config {
        git(&remote, &["config", key, value]);
    }
    let hooks = git(&remote, &["rev-parse", "--git-path", "hooks"]);
    let hooks = remote.join(hooks);
    for name in names {
        hook(side, &hooks, name, "");
    }
    if let Some((name, rest)) = situation.hook {
        hook(side, &hooks, name, rest);
    }
    remote
}

/// Returns the lines for a person, and how hooks were run, without names that differ.
fn seen(side: &Path, remote: &Path, pushed: &Output) -> Seen {
    let hooks = fs::read_to_string(side.join("seen")).unwrap_or_default();
    let hooks = hooks
        .replace(&side.display().to_string(), "SIDE")
        .replace("/./objects", "/objects");
    let hooks = without_oddities(&hooks.replace("/.git/.'", "/.git'"));
    let quarantine = |line: &str| match line.split_once("/tmp_objdir-") {
        Some((start, _)) => format!("{start}/QUARANTINE'\n"),
        None => format!("{line}\n"),
    };
    let text = stdout(pushed) + &stderr(pushed);
    let lines = text.replace(&side.display().to_string(), "SIDE");
    let lines = lines.lines().filter(|line| !is_advice(line));
    Seen {
        lines: lines.map(|line| line.trim_end().to_owned()).collect(),
        success: pushed.status.success(),
        refs: refs(remote),
        hooks: hooks.lines().map(quarantine).collect(),
    }
}

/// Returns the runs of hooks without what git 2.47 also does: it names HEAD in the transaction of its branch, and aborts
/// another transaction for a ref to delete that is not packed.
fn without_oddities(hooks: &str) -> String {
    let zeros = "0".repeat(40);
    let mut kept: Vec<&str> = Vec::new();
    for line in hooks.lines() {
        let variable = line.strip_prefix("export ");
        let is_other = |variable: &str| !VARIABLES.iter().any(|name| variable.starts_with(name));
        if line.starts_with(&format!("{zeros} {zeros} ")) {
            let begun = kept.iter().rposition(|line| *line == "reference-transaction aborted");
            kept.truncate(begun.expect("another transaction"));
        } else if !line.ends_with(" HEAD ") && !variable.is_some_and(is_other) {
            kept.push(line);
        }
    }
    kept.iter().map(|line| format!("{line}\n")).collect()
}

/// Returns true for the lines with which git explains a default that is not set.
fn is_advice(line: &str) -> bool {
    const STARTS: [&str; 3] = ["error: By default", "error: ", ""];
    let Some(line) = line.strip_prefix("remote: ") else {
        return false;
    };
    let line = line.trim_end();
    line.starts_with(STARTS[0]) || (!line.contains(':') && !line.contains("says") && !line.contains("complains"))
}

fn compare(template: &Path, situation: &Situation<'_>, hooks: &[&str]) -> Seen {
    let [expected, ours] = both(template, situation, hooks);
    let about = format!("{:?} {:?}", situation.config, situation.arguments);
    assert_eq!(ours.hooks, expected.hooks, "{about}");
    assert_eq!(ours.lines, expected.lines, "{about}");
    assert_eq!(ours.refs, expected.refs, "{about}");
    assert_eq!(ours.success, expected.success, "{about}");
    ours
}

/// Pushes with both programs, each in its own copy of `template`.
fn both(template: &Path, situation: &Situation<'_>, hooks: &[&str]) -> [Seen; 2] {
    [theirs, ours].map(|program| {
        let folder = tempfile::tempdir().expect("a folder");
        let side = fs::canonicalize(folder.path()).expect("a path");
        let remote = prepare(template, &side, situation, hooks);
        let pushed = program(&side.join("source"), situation.arguments);
        seen(&side, &remote, &pushed)
    })
}

#[test]
fn hooks_of_a_path_are_run_as_by_git() {
    let template = made(Format::Sha1);
    let check = |situation: &Situation<'_>| compare(template.path(), situation, &HOOKS);
    let several: &[&str] = &["../remote.git", "main", ":gone", "side", "main:refs/heads/new"];
    let atomic: &[&str] = &["--atomic", "../remote.git", "main", ":gone", "side"];
    let seen = check(&situation(&[], several));
    let ran = |name: &str| {
        seen.hooks
            .lines()
            .filter(|line| line.starts_with(&format!("{name} ")))
            .count()
    };
    assert_eq!(HOOKS.map(ran), [1, 4, 8, 1, 1], "{}", seen.hooks);
    let quarantine = "GIT_QUARANTINE_PATH='SIDE/remote.git/objects/QUARANTINE'";
    assert!(seen.hooks.contains(quarantine), "{}", seen.hooks);
    assert!(seen.hooks.contains("refs/heads/new commit"), "{}", seen.hooks);
    check(&situation(&[], atomic));
    check(&situation(&[], &["../remote.git", ":gone"]));
    check(&situation(&[("core.hooksPath", "mine")], &["../remote.git", "main"]));
    check(&situation(
        &[("receive.advertisePushOptions", "true")],
        &["-o", "one", "-o", "two words", "../remote.git", "main"],
    ));
    for (name, rest, arguments) in [
        ("pre-receive", "exit 1", several),
        ("update", "test $1 != refs/heads/main", several),
        ("update", "test $1 != refs/heads/main", atomic),
        ("post-receive", "exit 1", several),
    ] {
        check(&Situation {
            config: &[],
            hook: Some((name, rest)),
            arguments,
        });
    }
}

#[test]
fn a_transaction_that_a_hook_stops_moves_nothing() {
    let template = made(Format::Sha1);
    let situation = Situation {
        config: &[],
        hook: Some(("reference-transaction", "test $1 != prepared")),
        arguments: &["--atomic", "../remote.git", "main", "side"],
    };
    // git's receive-pack ends without a report.
    let [expected, ours] = both(template.path(), &situation, &HOOKS);
    assert_eq!(
        (ours.success, &ours.refs, &ours.hooks),
        (false, &expected.refs, &expected.hooks)
    );
    assert!(
        ours.lines
            .iter()
            .any(|line| line.contains("ref updates aborted by hook")),
        "{ours:?}"
    );
}

#[test]
fn rules_of_a_path_are_those_of_git() {
    let template = made(Format::Sha1);
    let deny = "receive.denyCurrentBranch";
    let current = "receive.denyDeleteCurrent";
    let tree = ("core.bare", "false");
    let table: &[(Config<'_>, &[&str])] = &[
        (&[("receive.denyDeletes", "true")], &[":gone", "main"]),
        (
            &[("receive.denyDeletes", "true")],
            &["--atomic", "main", ":gone", "side"],
        ),
        (&[("receive.denyNonFastForwards", "true")], &["+main~2:main", "side"]),
        (&[], &[":main", "side"]),
        (&[(current, "refuse")], &[":main", "side"]),
        (&[(current, "warn")], &[":main", "side"]),
        (&[tree], &["main", "side"]),
        (&[tree, (deny, "warn")], &["main"]),
        (&[tree, (deny, "ignore")], &["main"]),
        (&[tree, (deny, "ignore")], &[":main"]),
        (&[tree], &[":main"]),
        (
            &[("receive.hideRefs", "refs/kv")],
            &["refs/kv/main:refs/kv/new", "main"],
        ),
    ];
    for (config, arguments) in table {
        let options = arguments
            .iter()
            .take_while(|argument| argument.starts_with("--"))
            .count();
        let (options, refspecs) = arguments.split_at(options);
        let arguments = [options, &["../remote.git"], refspecs].concat();
        compare(template.path(), &situation(config, &arguments), &["post-receive"]);
    }
}

#[test]
fn a_work_tree_with_a_hook_is_updated_by_it_alone() {
    let template = made(Format::Sha1);
    let folder = tempfile::tempdir().expect("a folder");
    let with_files = folder.path().join("template");
    copy(template.path(), &with_files);
    fs::rename(with_files.join("remote.git"), with_files.join("remote")).expect("a folder");
    let (remote, git_dir) = (with_files.join("remote.git"), with_files.join("remote.git/.git"));
    fs::create_dir(&remote).expect("a folder");
    fs::rename(with_files.join("remote"), &git_dir).expect("a folder");
    git(&remote, &["config", "core.bare", "false"]);
    git(&remote, &["reset", "-q", "--hard"]);
    let config = &[("receive.denyCurrentBranch", "updateInstead")];
    for rest in ["", "exit 1"] {
        let situation = Situation {
            config,
            hook: Some(("push-to-checkout", rest)),
            arguments: &["../remote.git", "main", "side"],
        };
        let seen = compare(&with_files, &situation, &["update", "post-receive"]);
        assert!(
            seen.hooks.contains("GIT_WORK_TREE='SIDE/remote.git'\n"),
            "{}",
            seen.hooks
        );
    }
    let refused = ours(&with_files.join("source"), &["../remote.git", "-c", "x.y=z", "main"]);
    assert!(
        stderr(&refused).contains("is currently checked out"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn hooks_are_not_run_if_configuration_forbids_it() {
    let template = made(Format::Sha1);
    let side = template.path();
    hook(side, &side.join("remote.git/hooks"), "pre-receive", "exit 1");
    let arguments = ["-c", "stargate.localHooks=false", "../remote.git", "main"];
    let pushed = ours(&side.join("source"), &arguments);
    assert!(pushed.status.success(), "{}", stderr(&pushed));
    assert!(!side.join("seen").exists());
}

#[test]
fn a_locked_ref_is_reported_once_with_its_file() {
    let template = made(Format::Sha1);
    let remote = template.path().join("remote.git");
    for lock in ["refs/heads/main.lock", "refs/heads/side.lock"] {
        fs::write(remote.join(lock), "").expect("a lock");
    }
    let arguments = ["../remote.git", "main", "side", "main:refs/heads/new"];
    let pushed = ours(&template.path().join("source"), &arguments);
    let said = stderr(&pushed);
    assert!(!pushed.status.success());
    assert_eq!(
        said.matches("remote.git/refs/heads/main.lock is the lock of another process")
            .count(),
        1,
        "{said}"
    );
    assert!(said.contains("(locked by refs/heads/side.lock)"), "{said}");
    assert!(said.contains("remove the file"), "{said}");
    assert!(git::git(&remote, &["rev-parse", "refs/heads/new"]).len() == 40);
}

#[test]
fn a_command_connects_only_if_configuration_allows_it() {
    let template = made(Format::Sha1);
    let source = template.path().join("source");
    let url = "ext::git %s ../remote.git";
    let refused = ours(&source, &[url, "main"]);
    let said = stderr(&refused);
    assert!(
        !refused.status.success() && said.contains("transport 'ext' not allowed"),
        "{said}"
    );
    git(&source, &["config", "protocol.ext.allow", "always"]);
    let [expected, ours] = [theirs, ours].map(|program| {
        let folder = tempfile::tempdir().expect("a folder");
        copy(template.path(), folder.path());
        let pushed = program(&folder.path().join("source"), &[url, "main", ":gone", "light"]);
        (stderr(&pushed), refs(&folder.path().join("remote.git")))
    });
    assert_eq!(ours.1, expected.1, "{}", ours.0);
    // The rest of the command may have secrets.
    assert_eq!(ours.0, expected.0.replace(url, "ext::git …"));
}

/// Programs of others get no secret, whatever starts them: hooks of a path, its `receive-pack`, an `ext::` command, ssh.
#[test]
fn hooks_get_no_secret_of_the_pusher() {
    let template = made(Format::Sha1);
    let source = template.path().join("source");
    let seen = template.path().join("environment");
    let record = format!("export -p >> '{}'\n", seen.display());
    for name in HOOKS {
        git::hook(&template.path().join("remote.git"), name, &record);
    }
    let program = template.path().join("program");
    executable::script(&program, &format!("{record}exec git receive-pack ../remote.git"));
    let program = program.display().to_string();
    let push = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stargate-mirror"));
        command.arg("push").args(arguments).current_dir(&source).env_clear();
        command
            .envs(git::ISOLATED)
            .env("HOME", &source)
            .env("GIT_SSH", &program);
        command.env("GIT_SSH_VARIANT", "simple");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(git_push_transport::SECRET_VARIABLES.map(|name| (name, "canary")));
        let pushed = command.output().expect("stargate-mirror runs");
        assert!(pushed.status.success(), "{arguments:?}: {}", stderr(&pushed));
        let environment = fs::read_to_string(&seen).expect("the program ran");
        assert!(environment.contains("HOME"), "{environment}");
        assert!(!environment.contains("canary"), "{arguments:?}: {environment}");
        fs::remove_file(&seen).expect("a file");
    };
    push(&["../remote.git", "main"]);
    push(&["--receive-pack", &program, "../remote.git", "main:refs/heads/one"]);
    git(&source, &["config", "protocol.ext.allow", "always"]);
    push(&[&format!("ext::{program}"), "main:refs/heads/two"]);
    push(&["ssh://host/r", "main:refs/heads/three"]);
}
