//! `stargate-mirror push` beside `git push` in many situations: standard output, standard error, exit code, refs and
//! configuration must be equal. A path is served by git's receive-pack for both.
use std::{fs, path::Path, process::Output};

use support::{
    executable,
    git::{self, commit, git},
    mirror::Format,
};

use super::command::{copy, made, ours, stderr, stdout, theirs};

/// Lets our side use git's receive-pack, as git does.
const SERVED: &str = "--receive-pack=git-receive-pack";

/// Commands of git before the push, and the arguments of the push.
type Situation<'a> = (&'a [&'a [&'a str]], &'a [&'a str]);

/// Returns lines without the words of a server whose client has gone.
fn lines(text: &str) -> String {
    let is_equal = |line: &&str| !line.starts_with("fatal: the remote end hung up");
    text.lines()
        .filter(is_equal)
        .map(|line| line.to_owned() + "\n")
        .collect()
}

/// Returns names and values of all refs.
fn ids(repository: &Path) -> Vec<String> {
    let repository = support::pushing::repository(repository);
    let refs = repository.references().expect("refs");
    let refs = refs.all().expect("refs").map(|found| found.expect("a ref"));
    refs.map(|found| format!("{} {:?}", found.name().as_bstr(), found.target()))
        .collect()
}

/// Pushes with both programs in copies of `template`, and compares them. Returns the result of ours.
fn compare(template: &Path, (setup, arguments): Situation<'_>, prepare: &dyn Fn(&Path)) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let sides = ["git", "ours"].map(|side| {
        let side = folder.path().join(side);
        copy(template, &side);
        for command in setup {
            git(&side.join("source"), command);
        }
        prepare(&side);
        side
    });
    let expected = theirs(&sides[0].join("source"), arguments);
    let pushed = ours(&sides[1].join("source"), &[&[SERVED], arguments].concat());
    let about = format!(
        "{setup:?} {arguments:?}\n--- ours\n{}{}--- git\n{}{}",
        stdout(&pushed),
        stderr(&pushed),
        stdout(&expected),
        stderr(&expected)
    );
    assert_eq!(lines(&stderr(&pushed)), lines(&stderr(&expected)), "{about}");
    assert_eq!(stdout(&pushed), stdout(&expected), "{about}");
    assert_eq!(pushed.status.success(), expected.status.success(), "{about}");
    if arguments.contains(&"--porcelain") {
        assert_eq!(pushed.status.code(), expected.status.code(), "{about}");
    }
    for repository in ["remote.git", "source"] {
        let [expected, ours] = [0, 1].map(|side| ids(&sides[side].join(repository)));
        assert_eq!(ours, expected, "{about}: refs of {repository}");
    }
    let config = |side: usize| fs::read_to_string(sides[side].join("source/.git/config")).expect("configuration");
    if config(0) != config(1) {
        let list = |side: usize| git(&sides[side].join("source"), &["config", "--local", "--list"]);
        assert_eq!(list(1), list(0), "{about}");
    }
    pushed
}

/// Compares the report for people in all situations, and that for scripts in every third.
fn compare_all(situations: &[Situation<'_>]) {
    let template = made(Format::Sha1);
    for (number, (setup, arguments)) in situations.iter().enumerate() {
        compare(template.path(), (setup, arguments), &|_| {});
        if number % 3 == 0 {
            let arguments = [&["--porcelain"], *arguments].concat();
            compare(template.path(), (setup, &arguments), &|_| {});
        }
    }
}

#[test]
fn refspecs_and_refusals_are_reported_as_by_git() {
    compare_all(&[
        (&[], &["origin", "main"]),
        (&[], &["origin", "main", "side", "signed", "refs/kv/main"]),
        (&[], &["origin", "+main~2:refs/heads/main"]),
        (&[], &["origin", "--force", "side:topic", "light"]),
        (&[], &["origin", "main~2:main"]),
        (
            &[],
            &["origin", "main:topic", "light", "main:odd", "main:refs/heads/new"],
        ),
        (&[], &["origin", "light"]),
        (&[], &["origin", "main:odd"]),
        (
            &[&["config", "advice.pushUpdateRejected", "false"]],
            &["origin", "light"],
        ),
        (
            &[&["config", "advice.pushFetchFirst", "false"]],
            &["origin", "main:odd"],
        ),
        (&[], &["origin", "main^{tree}:refs/kv/main"]),
        (&[], &["origin", ":gone", ":refs/heads/missing"]),
        (&[], &["origin", "--delete", "gone", "light"]),
        (&[], &["origin", ":missing"]),
        (&[], &["--atomic", "origin", "main", "light", "main:refs/heads/new"]),
        (&[], &["--atomic", "origin", "main", "signed"]),
        (&[], &["origin", "nowhere"]),
        (&[], &["origin", "topic"]),
        (&[], &["origin", "main:a", "side:a"]),
        (&[], &["origin", "--dry-run", "main", ":gone", "+side:topic"]),
    ]);
}

#[test]
fn options_do_what_they_do_in_git() {
    compare_all(&[
        (&[], &["--quiet", "origin", "main"]),
        (&[], &["--quiet", "origin", "light"]),
        (&[], &["--verbose", "origin", "main", "main:x/main"]),
        (&[], &["origin", "main:x/main"]),
        (&[], &["--all", "origin"]),
        (&[], &["--branches", "--force", "origin"]),
        (&[], &["--tags", "origin"]),
        (&[], &["--tags", "--force", "origin", "main"]),
        (&[], &["--mirror", "origin"]),
        (&[], &["--prune", "--force", "origin", "refs/heads/*:refs/heads/*"]),
        (&[], &["--prune", "--dry-run", "origin", ":"]),
        (&[], &["--follow-tags", "origin", "main"]),
        (&[], &["--follow-tags", "origin", "main~1:refs/heads/new"]),
        (&[], &["-u", "origin", "main"]),
        (&[], &["-u", "origin", "HEAD:renamed", "light:refs/tags/other"]),
        (&[], &["-u", "--dry-run", "origin", "main"]),
        (&[], &["-u", "origin", "main", "light"]),
        (&[], &["--no-thin", "origin", "main"]),
        (&[], &["--force-with-lease", "origin", "side:topic", "main~2:main"]),
        (
            &[],
            &["--force-with-lease=main", "--force-if-includes", "origin", "side:main"],
        ),
        (&[], &["--all", "origin", "main"]),
        (&[], &["--mirror", "origin", "main"]),
        (&[&["config", "push.default", "current"]], &["--repo=origin"]),
        (&[&["config", "push.default", "current"]], &["--repo", "../remote.git"]),
        (&[], &["--delete", "origin"]),
        (&[], &["--delete", "origin", "a:b"]),
        (&[], &["origin", "tag"]),
    ]);
}

#[test]
fn git_configuration_decides_what_is_pushed_and_where() {
    const REMOTE: &[&str] = &["config", "branch.main.remote", "origin"];
    let same: [&'static [&'static str]; 2] = [REMOTE, &["config", "branch.main.merge", "refs/heads/main"]];
    let other: [&'static [&'static str]; 2] = [REMOTE, &["config", "branch.main.merge", "refs/heads/topic"]];
    let with = |base: &[&'static [&'static str]], more: &'static [&'static str]| [base, &[more]].concat();
    compare_all(&[
        (&[], &[]),
        (&[], &["origin"]),
        (&same, &[]),
        (&same, &["origin"]),
        (&other, &[]),
        (&with(&other, &["config", "push.default", "simple"]), &[]),
        (&with(&other, &["config", "push.default", "upstream"]), &[]),
        (
            &with(&other, &["config", "push.default", "upstream"]),
            &["origin", "main"],
        ),
        (&with(&other, &["config", "push.default", "current"]), &[]),
        (&[&["config", "push.default", "upstream"]], &["../remote.git"]),
        (&[&["config", "push.default", "matching"]], &["origin"]),
        (&[&["config", "push.default", "nothing"]], &["origin"]),
        (
            &[
                &["config", "push.default", "current"],
                &["checkout", "-q", "--detach", "main"],
            ],
            &["origin"],
        ),
        (
            &[&["config", "remote.origin.push", "main:refs/heads/mapped"]],
            &["origin"],
        ),
        (
            &[&["config", "remote.origin.push", "refs/heads/*:refs/for/*"]],
            &["origin", "main", "side:new"],
        ),
        (&[&["config", "remote.origin.mirror", "true"]], &["origin"]),
        (&[&["config", "push.followTags", "true"]], &["origin", "main"]),
        (&[&["config", "push.autoSetupRemote", "true"]], &[]),
        (
            &[
                &["remote", "add", "spare", "../spare.git"],
                &["config", "remote.pushDefault", "origin"],
            ],
            &["--dry-run"],
        ),
        (
            &with(&same, &["config", "branch.main.pushRemote", "../remote.git"]),
            &[],
        ),
        (&[&["remote", "remove", "origin"]], &[]),
        (
            &[
                &["remote", "set-url", "--push", "origin", "../remote.git"],
                &[
                    "remote",
                    "set-url",
                    "--push",
                    "--add",
                    "origin",
                    "../source/../remote.git",
                ],
            ],
            &["origin", "main"],
        ),
    ]);
}

/// Writes a hook into a repository of the situation.
fn hook(repository: &Path, name: &str, script: &str) {
    fs::create_dir_all(repository.join("hooks")).expect("a folder");
    executable::script(&repository.join("hooks").join(name), script);
}

#[test]
fn hooks_of_both_sides_are_heard() {
    let template = made(Format::Sha1);
    let main: Situation<'_> = (&[], &["origin", "main", ":gone", "light"]);
    let pre_push = |script: &'static str| move |side: &Path| hook(&side.join("source/.git"), "pre-push", script);
    let told = "echo \"$1 $2\" >../told && cat >>../told\n";
    compare(template.path(), main, &pre_push(told));
    let pushed = compare(template.path(), main, &pre_push("echo no >&2\nexit 1\n"));
    assert!(stderr(&pushed).starts_with("no\n"), "{}", stderr(&pushed));
    compare(
        template.path(),
        (&[], &["--no-verify", "origin", "main"]),
        &pre_push("exit 1\n"),
    );
    compare(
        template.path(),
        (&[&["config", "core.hooksPath", "mine"]], &["origin", "main"]),
        &|side| {
            fs::create_dir_all(side.join("source/mine")).expect("a folder");
            executable::script(&side.join("source/mine/pre-push"), "exit 1\n");
        },
    );
    compare(template.path(), main, &|side| {
        hook(
            &side.join("remote.git"),
            "update",
            "echo about $1\ntest $1 != refs/heads/main\n",
        );
    });
    compare(template.path(), main, &|side| {
        hook(&side.join("remote.git"), "pre-receive", "exit 1\n")
    });
}

#[test]
fn the_hook_pre_push_gets_what_git_gives_it() {
    let template = made(Format::Sha1);
    let told = [0, 1].map(|program| {
        let folder = tempfile::tempdir().expect("a folder");
        copy(template.path(), folder.path());
        let source = folder.path().join("source");
        hook(
            &source.join(".git"),
            "pre-push",
            "echo \"$1 $2\" >../told\ncat >>../told\n",
        );
        let arguments = [
            "origin",
            "main",
            ":gone",
            "side",
            "main~2:topic",
            "main:x/main",
            "HEAD~1:refs/heads/new",
        ];
        let run = if program == 0 { theirs } else { ours };
        run(&source, &arguments);
        fs::read_to_string(folder.path().join("told")).expect("the hook ran")
    });
    assert_eq!(told[1], told[0]);
    assert_eq!(told[0].lines().count(), 5, "{}", told[0]);
}

/// A hook `proc-receive` (githooks) that stores every command as two changes.
const CHANGES: &str = r"import sys
i, o = sys.stdin.buffer, sys.stdout.buffer
def lines():
    out = []
    while True:
        length = int(i.read(4), 16)
        if length == 0:
            return out
        out.append(i.read(length - 4))
def write(text):
    o.write(b'%04x' % (len(text) + 4) + text.encode())
def flush():
    o.write(b'0000')
    o.flush()
lines()
write('version=1')
flush()
for command in lines():
    old, new, name = command.decode().split()
    for change in OPTIONS:
        write('ok ' + name)
        for option in change:
            write('option ' + option.replace('NEW', new).replace('ZERO', '0' * 40))
flush()
";

fn proc_receive(side: &Path, options: &str) {
    let remote = side.join("remote.git");
    git(&remote, &["config", "receive.procReceiveRefs", "refs/for"]);
    fs::create_dir_all(remote.join("hooks")).expect("a folder");
    let script = CHANGES.replace("OPTIONS", options);
    fs::write(remote.join("hooks/proc-receive.py"), script).expect("a file");
    executable::script(&remote.join("hooks/proc-receive"), "exec python3 \"$0.py\"");
}

#[test]
fn a_review_server_reports_the_refs_that_it_made() {
    let template = made(Format::Sha1);
    let review: Situation<'_> = (&[], &["origin", "main:refs/for/main/topic", "side"]);
    for options in [
        "[['refname refs/changes/1/head', 'new-oid NEW', 'old-oid ZERO']]",
        "[['refname refs/changes/1/head', 'old-oid ZERO'], ['refname refs/changes/2/head', 'forced-update']]",
        "[[]]",
    ] {
        for mode in [&[][..], &["--porcelain"]] {
            let arguments = [mode, review.1].concat();
            compare(template.path(), (&[], &arguments), &|side| proc_receive(side, options));
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    copy(template.path(), folder.path());
    proc_receive(folder.path(), "[[]]");
    let pushed = ours(
        &folder.path().join("source"),
        &["--json", SERVED, "origin", "main:refs/for/main"],
    );
    assert_eq!(pushed.status.code(), Some(0), "{}", stderr(&pushed));
    let said: serde_json::Value = serde_json::from_slice(&pushed.stdout).expect("one object");
    assert_eq!(said["refs"][0]["verdict"], "accepted");
    assert_eq!(said["refs"][0]["reason"], "the remote shows no such ref");
}

#[test]
fn nothing_in_common_is_a_failure() {
    let template = made(Format::Sha1);
    let prepare = |side: &Path| {
        git(side, &["init", "-q", "--bare", "empty.git"]);
    };
    let pushed = compare(template.path(), (&[], &["../empty.git", ":"]), &prepare);
    assert_eq!(pushed.status.code(), Some(1));
}

#[test]
fn a_shallow_clone_is_pushed_to_a_server_that_accepts_it() {
    let template = made(Format::Sha1);
    let source = template.path().join("source");
    let url = format!("file://{}", source.display());
    let shallow = tempfile::tempdir().expect("a folder");
    git(
        shallow.path(),
        &["clone", "-q", "--depth=1", "--branch=main", &url, "source"],
    );
    git(shallow.path(), &["init", "-q", "--bare", "remote.git"]);
    for accepts in ["false", "true"] {
        git(
            &shallow.path().join("remote.git"),
            &["config", "receive.shallowUpdate", accepts],
        );
        let pushed = compare(shallow.path(), (&[], &["../remote.git", "main"]), &|_| {});
        assert_eq!(pushed.status.success(), accepts == "true", "{}", stderr(&pushed));
    }
    let direct = ours(&shallow.path().join("source"), &["../remote.git", "main"]);
    assert_eq!(direct.status.code(), Some(4), "{}", stderr(&direct));
    assert!(
        stderr(&direct).contains("which is a shallow clone"),
        "{}",
        stderr(&direct)
    );
}

#[test]
fn a_certificate_by_an_ssh_key_is_verified_by_the_server() {
    let template = made(Format::Sha1);
    let folder = template.path();
    let (source, remote) = (folder.join("source"), folder.join("remote.git"));
    let key = folder.join("key");
    let keygen = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "me@example.com", "-f"])
        .arg(&key)
        .status();
    assert!(keygen.expect("the program ssh-keygen is needed").success());
    let public = fs::read_to_string(key.with_extension("pub")).expect("a public key");
    fs::write(folder.join("signers"), format!("me@example.com {public}")).expect("a file");
    let signers = folder.join("signers").display().to_string();
    git(&remote, &["config", "gpg.ssh.allowedSignersFile", &signers]);
    git(&source, &["config", "gpg.format", "ssh"]);
    git(&source, &["config", "user.signingKey", &key.display().to_string()]);
    hook(
        &remote,
        "pre-receive",
        "echo \"$GIT_PUSH_CERT_STATUS $GIT_PUSH_CERT_NONCE_STATUS $GIT_PUSH_CERT_SIGNER\"\n",
    );
    let refused = ours(&source, &[SERVED, "--signed", "origin", "main"]);
    assert_eq!(refused.status.code(), Some(4), "{}", stderr(&refused));
    assert!(
        stderr(&refused).contains("does not support --signed push"),
        "{}",
        stderr(&refused)
    );
    let unsigned = ours(
        &source,
        &[SERVED, "--signed=if-asked", "origin", "main~1:refs/heads/unsigned"],
    );
    assert_eq!(unsigned.status.code(), Some(0), "{}", stderr(&unsigned));
    git(&remote, &["config", "receive.certNonceSeed", "seed"]);
    let signed = ours(&source, &[SERVED, "--signed", "origin", "main"]);
    assert_eq!(signed.status.code(), Some(0), "{}", stderr(&signed));
    assert!(
        stderr(&signed).contains("remote: G OK me@example.com"),
        "{}",
        stderr(&signed)
    );
}

#[test]
fn settings_come_from_the_command_line_and_the_environment() {
    let template = made(Format::Sha1);
    let source = template.path().join("source");
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stargate-mirror"));
        command.arg("push").args(arguments).current_dir(&source).env_clear();
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.envs(git::ISOLATED).env("HOME", &source).env("PATH", path);
        command
            .envs(variables.iter().copied())
            .output()
            .expect("stargate-mirror runs")
    };
    let dry = ["--dry-run", "--porcelain", "origin"];
    let expected = theirs(&source, &[&dry[..], &["main:refs/for/main"]].concat());
    for (arguments, variables) in [
        (&["-c", "remote.origin.push=main:refs/for/main"][..], &[][..]),
        (
            &[],
            &[("GIT_CONFIG_PARAMETERS", "'remote.origin.push'='main:refs/for/main'")],
        ),
        (
            &[],
            &[
                ("GIT_CONFIG_COUNT", "1"),
                ("GIT_CONFIG_KEY_0", "remote.origin.push"),
                ("GIT_CONFIG_VALUE_0", "main:refs/for/main"),
            ],
        ),
    ] {
        let pushed = run(&[arguments, &dry].concat(), variables);
        assert_eq!(stdout(&pushed), stdout(&expected), "{variables:?}: {}", stderr(&pushed));
    }
}

#[test]
fn commits_of_submodules_are_checked_or_pushed_first() {
    let template = made(Format::Sha1);
    let folder = template.path();
    let source = folder.join("source");
    git(folder, &["init", "-q", "--bare", "-b", "main", "module.git"]);
    let first = commit(&folder.join("module.git"), None, "module");
    git(&folder.join("module.git"), &["update-ref", "refs/heads/main", &first]);
    git(&source, &["reset", "-q", "--hard", "main"]);
    let url = folder.join("module.git").display().to_string();
    git(
        &source,
        &[
            "-c",
            "protocol.file.allow=always",
            "submodule",
            "--quiet",
            "add",
            &url,
            "module",
        ],
    );
    let module = source.join("module");
    git(&module, &["commit", "-q", "--allow-empty", "-m", "new"]);
    git(&module, &["config", "push.default", "current"]);
    git(&source, &["commit", "-q", "-am", "with a module"]);
    let arguments = |rule| ["--recurse-submodules", rule, "origin", "main"];
    let checked = ours(&source, &arguments("check"));
    let expected = theirs(&source, &arguments("check"));
    assert_eq!(checked.status.code(), Some(3), "{}", stderr(&checked));
    assert_eq!(stderr(&checked), lines(&stderr(&expected)));
    let pushed = ours(&source, &arguments("on-demand"));
    assert_eq!(pushed.status.code(), Some(0), "{}", stderr(&pushed));
    let there = git(&folder.join("module.git"), &["rev-parse", "main"]);
    assert_eq!(there, git(&module, &["rev-parse", "HEAD"]));
    assert_eq!(
        git(&folder.join("remote.git"), &["rev-parse", "main"]),
        git(&source, &["rev-parse", "main"])
    );
}
