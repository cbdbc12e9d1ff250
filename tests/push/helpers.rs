//! Pushes through remote helpers, beside those of git: the same lines, exit codes, refs, and words to the helper.
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use git_push::{Connection, ErrorKind};
use git_push_transport::{Location, Remote, Settings};
use support::{
    executable,
    git::{self, git},
    mirror::{Format, Mirror},
};

use super::command::{copy, made, refs, stderr, stdout};

/// A helper with the capability `push`. It pushes to the repository in its address with git, and records what it was told.
const NEAR: &str = r##"
url=$2
log=$(dirname "$0")/log
echo "args: $1 $2" >>"$log"
echo "folder: $(pwd | sed 's,.*/,,')" >>"$log"
flags= statuses=
while read -r line; do
	echo "$line" >>"$log"
	case $line in
	capabilities) printf 'option\n*push\nobject-format\nshine\n\n' ;;
	'option dry-run true') flags="$flags --dry-run"; echo ok ;;
	'option atomic true') flags="$flags --atomic"; echo ok ;;
	'option cas '*) flags="$flags --force-with-lease=${line#option cas }"; echo ok ;;
	'option push-option '*) echo ok ;;
	'option object-format'*) echo ok ;;
	'option verbosity'*) echo ok ;;
	option*) echo unsupported ;;
	list*)
		echo ":object-format $(git --git-dir="$url" rev-parse --show-object-format)"
		git --git-dir="$url" for-each-ref --format='%(objectname) %(refname)'
		echo
		;;
	'push '*) specs="$specs ${line#push }" ;;
	'')
		test -n "$specs" || exit 0
		echo "about to push" >&2
		git push --porcelain $flags "$url" $specs 2>/dev/null | awk -F '\t' '
			$2 !~ /:/ { next }
			{ sub(/.*:/, "", $2) }
			$1 != "!" { print "ok " $2; next }
			{ sub(/.*\(/, "", $3); sub(/\).*/, "", $3); print "error " $2 " " $3 }'
		echo
		specs=
		;;
	esac
done
"##;

/// Writes `git-remote-NAME`.
fn helper(folder: &Path, name: &str, script: &str) {
    executable::script(&folder.join("helpers").join(format!("git-remote-{name}")), script);
}

/// Pushes in the folder `source` of `side`, with the helpers beside it.
fn push(is_ours: bool, side: &Path, arguments: &[&str]) -> Output {
    let source = side.join("source");
    let mut command = if is_ours {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stargate-mirror"));
        command.env_clear().envs(git::ISOLATED).env("HOME", &source);
        command.current_dir(&source);
        command
    } else {
        git::command(&source)
    };
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "A U Thor");
        command.env(format!("GIT_{who}_EMAIL"), "author@example.com");
        command.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
    }
    let path = std::env::var("PATH").expect("PATH");
    command.env("PATH", format!("{}:{path}", side.join("helpers").display()));
    command.arg("push").args(arguments).stdin(Stdio::null());
    command.output().expect("the program git is needed")
}

/// Returns standard error without a line of a server whose client has gone, and one that git prints for some transports only.
fn words(output: &Output) -> String {
    let left_out = ["fatal: the remote end hung up", "error: atomic push failed for ref"];
    let text = stderr(output);
    let lines = text
        .lines()
        .filter(|line| !left_out.iter().any(|start| line.starts_with(start)));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Returns what a helper was told, with ids for sources. Ours tells it a lease where git only has force.
fn dialogue(side: &Path) -> Vec<String> {
    let log = fs::read_to_string(side.join("helpers/log")).expect("a log");
    let lines = log.lines().filter(|line| !line.starts_with("option cas "));
    let with_id = |line: &str| match line.strip_prefix("push ").and_then(|spec| spec.split_once(':')) {
        Some((source, name)) if !source.is_empty() => {
            let source = source.strip_prefix('+').unwrap_or(source);
            format!("push {}:{name}", git(&side.join("source"), &["rev-parse", source]))
        }
        _ => line.to_owned(),
    };
    lines.map(with_id).collect()
}

/// Pushes with both programs in copies of `template`, and compares them. Returns the result of ours.
fn compare(template: &Path, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let sides = ["git", "ours"].map(|side| {
        let side = folder.path().join(side);
        copy(template, &side);
        helper(&side, "near", NEAR);
        side
    });
    let expected = push(false, &sides[0], arguments);
    // As in git, the server's report counts.
    let pushed = push(true, &sides[1], &[&["-c", "stargate.verify=false"], arguments].concat());
    let about = format!(
        "{arguments:?}\n--- ours\n{}{}--- git\n{}{}",
        stdout(&pushed),
        stderr(&pushed),
        stdout(&expected),
        stderr(&expected)
    );
    assert_eq!(words(&pushed), words(&expected), "{about}");
    assert_eq!(stdout(&pushed), stdout(&expected), "{about}");
    assert_eq!(pushed.status.success(), expected.status.success(), "{about}");
    assert_eq!(dialogue(&sides[1]), dialogue(&sides[0]), "{about}");
    for repository in ["remote.git", "source"] {
        let [expected, ours] = [0, 1].map(|side| refs(&sides[side].join(repository)));
        assert_eq!(ours, expected, "{about}: refs of {repository}");
    }
    pushed
}

#[test]
fn a_helper_that_pushes_is_told_what_git_tells_it() {
    let template = made(Format::Sha1);
    let source = template.path().join("source");
    git(&source, &["remote", "add", "far", "near::../remote.git"]);
    git(
        &source,
        &["config", "remote.far.fetch", "+refs/heads/*:refs/remotes/far/*"],
    );
    for arguments in [
        &["far", "main"][..],
        &["--porcelain", "far", "main", "side", "signed", "refs/kv/main"],
        &["far", "main:refs/heads/new", ":gone"],
        &["far", "+side:topic", "main"],
        &["far", "--force", "side:main", "main:refs/heads/new"],
        &["far", "--force", "light"],
        &["far", "light", "main"],
        &["far", "main~2:topic"],
        &["far", "--force-with-lease=topic:main", "side:topic"],
        &["far", "--atomic", "main", "side:refs/heads/new"],
        &["far", "--atomic", "main", "light"],
        &["far", "-o", "one two", "-o", "\"three\"", "main"],
        &["far", "--dry-run", "main", "+side:topic", ":gone"],
        &["far", "--quiet", "main"],
        &["far", "--tags"],
        &["near::../remote.git", "main:topic", "+main:topic2"],
        &["far", "refs/heads/topic"],
    ] {
        compare(template.path(), arguments);
    }
}

#[test]
fn a_helper_reports_the_object_format() {
    let template = made(Format::Sha256);
    compare(
        template.path(),
        &["near::../remote.git", "main", "+side:topic", ":gone"],
    );
}

#[test]
fn refs_are_read_back_through_a_helper() {
    let template = made(Format::Sha1);
    helper(template.path(), "near", NEAR);
    let pushed = push(true, template.path(), &["--json", "near::../remote.git", "main"]);
    assert!(pushed.status.success(), "{}", stderr(&pushed));
    let report: serde_json::Value = serde_json::from_str(&stdout(&pushed)).expect("JSON");
    assert_eq!(report["refs"][0]["verdict"], "accepted");
    let log = fs::read_to_string(template.path().join("helpers/log")).expect("a log");
    assert_eq!(log.lines().filter(|line| line.starts_with("list")).count(), 2, "{log}");

    let lying = NEAR.replace("git push --porcelain", "git push --dry-run --porcelain");
    helper(template.path(), "near", &lying);
    let pushed = push(true, template.path(), &["near::../remote.git", "side:refs/heads/new"]);
    assert_eq!(pushed.status.code(), Some(1), "{}", stderr(&pushed));
    assert!(
        stderr(&pushed).contains("but it has no such ref"),
        "{}",
        stderr(&pushed)
    );
}

#[test]
fn what_a_helper_updates_meanwhile_is_not_overwritten() {
    let template = made(Format::Sha1);
    // Somebody pushes after the helper has listed the refs.
    let racing = NEAR.replace(
        "		test -n \"$specs\" || exit 0\n",
        "		test -n \"$specs\" || exit 0\n		git --git-dir=\"$url\" update-ref refs/heads/topic refs/heads/odd\n",
    );
    assert_ne!(racing, NEAR);
    helper(template.path(), "near", &racing);
    let pushed = push(true, template.path(), &["near::../remote.git", "+side:topic"]);
    assert!(!pushed.status.success());
    assert!(stderr(&pushed).contains("(stale info)"), "{}", stderr(&pushed));
    let remote = template.path().join("remote.git");
    assert_eq!(
        git(&remote, &["rev-parse", "topic"]),
        git(&remote, &["rev-parse", "odd"])
    );
}

/// Returns the words, the success and the refs of a push with git, and of one with ours.
fn both(template: &Path, url: impl Fn(&Path) -> String, prepare: impl Fn(&Path), arguments: &[&str]) -> [Seen; 2] {
    let folder = tempfile::tempdir().expect("a folder");
    [("git", false), ("ours", true)].map(|(name, is_ours)| {
        let side = folder.path().join(name);
        copy(template, &side);
        prepare(&side);
        let url = url(&side);
        let pushed = push(is_ours, &side, &[&[&*url], arguments].concat());
        // The command line is not shown by ours: it may have a secret.
        let shown = format!("{} …", url.split(' ').next().unwrap_or_default());
        let said = words(&pushed).replace(&url, "URL").replace(&shown, "URL");
        (said, pushed.status.success(), refs(&side.join("remote.git")))
    })
}

/// Words, success and refs of a push.
type Seen = (String, bool, String);

const SITUATIONS: [&[&str]; 5] = [
    &["main", "side", "signed"],
    &["+side:topic", ":gone", "main:refs/heads/new"],
    &["main:topic", "light"],
    &["--atomic", "main", "main~1:topic"],
    &["main:declined"],
];

#[test]
fn a_helper_that_connects_serves_the_protocol() {
    let template = made(Format::Sha1);
    let prepare = |side: &Path| {
        helper(side, "xt", "exec git remote-ext \"$@\"");
        git::hook(
            &side.join("remote.git"),
            "update",
            "echo about $1\ntest $1 != refs/heads/declined\n",
        );
    };
    for arguments in SITUATIONS {
        let url = |side: &Path| format!("xt::git %s {}", side.join("remote.git").display());
        let [expected, pushed] = both(template.path(), url, prepare, arguments);
        assert_eq!(pushed, expected, "{arguments:?}");
    }
}

#[test]
fn gits_own_http_helper_pushes() {
    let mirror = Mirror::start();
    let template = made(Format::Sha1);
    for (number, arguments) in SITUATIONS.iter().enumerate() {
        let name = |side: &Path| format!("{number}{}.git", side.file_name().expect("a name").to_string_lossy());
        let prepare = |side: &Path| {
            let name = name(side);
            mirror.create(&name, Format::Sha1);
            copy(&side.join("remote.git"), &mirror.path(&name));
            mirror.git(&name, &["config", "http.receivepack", "true"]);
            mirror.hook(&name, "update", "echo about $1\ntest $1 != refs/heads/declined\n");
            fs::remove_dir_all(side.join("remote.git")).expect("a folder");
            std::os::unix::fs::symlink(mirror.path(&name), side.join("remote.git")).expect("a link");
        };
        let url = |side: &Path| format!("http::{}", mirror.url(&name(side)));
        let [expected, pushed] = both(template.path(), url, prepare, arguments);
        assert_eq!(pushed, expected, "{arguments:?}");
    }
}

#[test]
fn gits_own_fd_helper_connects_over_open_descriptors() {
    let template = made(Format::Sha1);
    let line = format!(
        "mkfifo ../in ../out || exit 1\ngit-receive-pack ../remote.git >../out <../in &\n\
         {} push --porcelain fd::7,8 main 7<../out 8>../in",
        env!("CARGO_BIN_EXE_stargate-mirror")
    );
    let mut command = Command::new("sh");
    command.args(["-c", &line]).current_dir(template.path().join("source"));
    command.envs(git::ISOLATED).stdin(Stdio::null());
    let pushed = command.output().expect("sh");
    assert!(pushed.status.success(), "{}", stderr(&pushed));
    let main = git(&template.path().join("source"), &["rev-parse", "main"]);
    assert_eq!(git(&template.path().join("remote.git"), &["rev-parse", "main"]), main);
}

#[test]
fn helpers_are_run_only_as_git_would() {
    let template = made(Format::Sha1);
    helper(template.path(), "near", NEAR);
    let source = template.path().join("source");
    let refused = |arguments: &[&str]| {
        let pushed = push(true, template.path(), arguments);
        assert_eq!(pushed.status.code(), Some(4), "{arguments:?}: {}", stderr(&pushed));
        stderr(&pushed)
    };
    let nowhere = refused(&["nowhere::../remote.git", "main"]);
    assert!(
        nowhere.contains("unable to find remote helper for 'nowhere'"),
        "{nowhere}"
    );
    assert!(refused(&["gopher://host/r", "main"]).contains("unable to find remote helper for 'gopher'"));
    git(&source, &["config", "protocol.near.allow", "never"]);
    assert!(refused(&["near::../remote.git", "main"]).contains("transport 'near' not allowed"));
    assert!(!template.path().join("helpers/log").exists(), "it was run");
}

#[test]
fn helpers_that_cannot_push_are_refused_with_the_reason() {
    let template = made(Format::Sha1);
    for (capabilities, words) in [
        ("export\\nimport\\nrefspec refs/heads/*:refs/far/*", "git fast-export"),
        ("fetch", "git-remote-odd does not support pushes"),
        ("push\\n*shine", "it needs a capability that is unknown: `*shine`"),
    ] {
        helper(
            template.path(),
            "odd",
            &format!(
                "read -r line; printf '{capabilities}\\n\\n'; while read -r line; do test -n \"$line\" || exit 0; done"
            ),
        );
        let pushed = push(true, template.path(), &["odd::x", "main"]);
        assert_eq!(pushed.status.code(), Some(4), "{}", stderr(&pushed));
        assert!(stderr(&pushed).contains(words), "{}", stderr(&pushed));
    }
    helper(
        template.path(),
        "odd",
        "while read -r line; do case $line in capabilities) printf 'push\\n\\n' ;; list*) echo ;; esac; done",
    );
    for (option, words) in [
        ("--atomic", "does not support --atomic push"),
        ("-oword", "does not support push options"),
    ] {
        let pushed = push(true, template.path(), &["odd::x", option, "main"]);
        assert_eq!(pushed.status.code(), Some(4), "{}", stderr(&pushed));
        assert!(stderr(&pushed).contains(words), "{}", stderr(&pushed));
    }
    let pushed = push(true, template.path(), &["odd::x", "--dry-run", "main"]);
    assert!(
        stderr(&pushed).contains("does not support dry-run"),
        "{}",
        stderr(&pushed)
    );
}

#[test]
fn nonsense_and_a_death_are_errors() {
    const ASK: &str = "read -r line; printf 'push\\n\\n'; read -r line; ";
    const LIST: &str = "read -r line; printf 'push\\n\\n'; read -r line; echo; while read -r line; do test -n \"$line\" || break; done; ";
    let template = made(Format::Sha1);
    for (script, code, words) in [
        ("exit 0", 1, "aborted session"),
        (
            "echo 'no such place' >&2; exit 3",
            1,
            "git-remote-odd failed (exit status: 3): no such place",
        ),
        ("kill -9 $$", 1, "git-remote-odd failed (signal: 9"),
        (
            "read -r line; head -c 100000 /dev/zero | tr '\\0' x; read -r line",
            1,
            "a line that is too long",
        ),
        ("read -r line; yes; read -r line", 3, "too many capabilities"),
        (
            &format!("{ASK}echo 'what do you mean'; echo"),
            3,
            "malformed response in ref list",
        ),
        (
            &format!("{ASK}echo '? refs/heads/main'; echo"),
            3,
            "does not report the ids of refs",
        ),
        (&format!("{ASK}exit 7"), 1, "exit status: 7"),
        (&format!("{LIST}echo perhaps; echo"), 1, "expected ok/error: `perhaps`"),
        (&format!("{LIST}echo 'disk full' >&2; exit 7"), 1, "disk full"),
        (
            &format!("{LIST}echo 'ok refs/heads/other'; echo"),
            1,
            "remote failed to report status",
        ),
        (
            &format!("{LIST}echo 'error refs/heads/main out of ink'; echo"),
            3,
            "(out of ink)",
        ),
        (
            "read -r line; printf 'connect\\n\\n'; read -r line; echo maybe",
            3,
            "unknown response to connect: `maybe`",
        ),
        (
            "read -r line; printf 'connect\\n\\n'; read -r line; echo; echo 'gone' >&2; exit 1",
            1,
            "gone",
        ),
        (
            "read -r line; printf 'connect\\n\\n'; read -r line; echo; echo 'this is no protocol'",
            1,
            "pkt-line",
        ),
    ] {
        helper(template.path(), "odd", script);
        let pushed = push(
            true,
            template.path(),
            &["-c", "stargate.verify=false", "odd::x", "main"],
        );
        assert_eq!(pushed.status.code(), Some(code), "{script}: {}", stderr(&pushed));
        assert!(stderr(&pushed).contains(words), "{script}: {}", stderr(&pushed));
    }
}

#[test]
fn a_silent_helper_is_ended() {
    let template = made(Format::Sha1);
    helper(template.path(), "odd", "read -r line; exec sleep 1000");
    let mut settings = Settings::default();
    settings.idle_timeout = Duration::from_millis(100);
    settings.helper.path = Some(template.path().join("helpers").into());
    let location = Location::parse("odd::x".into()).expect("a URL");
    let mut remote = Remote::open(location, &settings).expect("a remote");
    let error = remote.advertisement().expect_err("silence");
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("was silent for too long"), "{error}");
}

#[test]
fn a_command_of_an_ext_url_starts_where_git_starts_it_and_is_not_shown() {
    let template = made(Format::Sha1);
    let below = template.path().join("source/below");
    fs::create_dir_all(&below).expect("a folder");
    let script = "pwd >>../folders\necho \"canary is a secret\" >&2\nexec git receive-pack ../remote.git";
    executable::script(&template.path().join("source/tool"), script);
    let tool = "ext::./tool canary";
    let mut command = Command::new(env!("CARGO_BIN_EXE_stargate-mirror"));
    command
        .env_clear()
        .envs(git::ISOLATED)
        .env("PATH", std::env::var("PATH").expect("PATH"));
    command.args([
        "push",
        "-v",
        "--porcelain",
        "-c",
        "protocol.ext.allow=always",
        tool,
        "main",
    ]);
    let pushed = command.current_dir(&below).output().expect("stargate-mirror runs");
    assert!(pushed.status.success(), "{}", stderr(&pushed));
    let mut command = git::command(&below);
    command.args(["-c", "protocol.ext.allow=always", "push", tool, "main"]);
    let theirs = command.output().expect("git");
    assert!(theirs.status.success(), "{}", stderr(&theirs));
    let folders = fs::read_to_string(template.path().join("folders")).expect("folders");
    let folders: Vec<_> = folders.lines().collect();
    assert_eq!(folders.len(), 2);
    assert_eq!(folders[0], folders[1]);
    let shown = stdout(&pushed) + &stderr(&pushed);
    assert!(shown.contains("ext::./tool …") && !shown.contains("canary"), "{shown}");
    let refused = push(true, template.path(), &[tool, "main"]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(!stderr(&refused).contains("canary"), "{}", stderr(&refused));
}

#[test]
fn the_worker_mirrors_through_a_helper() {
    let template = made(Format::Sha1);
    let source = template.path().join("source");
    let bare = template.path().join("stargate.git");
    git(template.path(), &["clone", "-q", "--mirror", "source", "stargate.git"]);
    git(template.path(), &["init", "-q", "--bare", "mirror.git"]);
    helper(template.path(), "near", NEAR);
    let mirror = template.path().join("mirror.git");
    let url = format!("near::{}", mirror.display());
    git(&bare, &["config", "stargate.remote", &url]);
    let path = std::env::var("PATH").expect("PATH");
    for round in [1, 2] {
        if round == 2 {
            git(
                &source,
                &["push", "-q", &bare.display().to_string(), "+side:refs/kv/other"],
            );
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_stargate-mirror"));
        command.env_clear().envs(git::ISOLATED).current_dir(&bare);
        command.env("PATH", format!("{}:{path}", template.path().join("helpers").display()));
        let ran = command
            .args(["run", "--repo", ".", "--json"])
            .output()
            .expect("stargate-mirror runs");
        assert!(ran.status.success(), "{}{}", stdout(&ran), stderr(&ran));
        assert!(stdout(&ran).contains("\"outcome\":\"mirrored\""), "{}", stdout(&ran));
        let ids = |repository: &Path| {
            git(
                repository,
                &["for-each-ref", "--format=%(objectname) %(refname)", "refs/kv"],
            )
        };
        assert_eq!(ids(&mirror), ids(&bare), "{round}");
    }
    let watermark = git(&mirror, &["rev-parse", "refs/kv-mirror/main", "refs/kv-mirror/other"]);
    assert_eq!(watermark, git(&source, &["rev-parse", "refs/kv/main", "side"]));
    let log = fs::read_to_string(template.path().join("helpers/log")).expect("a log");
    assert!(log.contains("option atomic true"), "{log}");
}
