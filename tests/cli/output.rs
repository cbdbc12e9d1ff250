//! Complete outputs of the command line: help, errors, exit codes. `SNAPSHOTS=overwrite cargo test --test cli` rewrites
//! them.
use std::{
    path::Path,
    process::{Command, Output},
};

use snapbox::{assert_data_eq, file};

/// Runs `stargate-mirror` in `folder`, without the developer's environment.
fn stargate(folder: &Path, arguments: &[&str]) -> Output {
    stargate_told(folder, arguments, &[])
}

fn stargate_told(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stargate-mirror"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .envs(environment.iter().copied())
        .env(
            "GIT_CEILING_DIRECTORIES",
            folder.parent().expect("a folder below another"),
        )
        .output()
        .expect("stargate-mirror runs")
}

/// The whole output of a command, with the folder's name replaced.
fn whole(folder: &Path, arguments: &[&str]) -> String {
    whole_told(folder, arguments, &[])
}

fn whole_told(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = stargate_told(folder, arguments, environment);
    let text = |bytes: &[u8]| {
        without_times(&String::from_utf8_lossy(bytes).replace(&folder.display().to_string(), "[FOLDER]"))
    };
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let code = output.status.code().expect("an exit code");
    let variables: String = environment
        .iter()
        .map(|(name, value)| format!("{name}={value} "))
        .collect();
    format!(
        "$ {variables}stargate-mirror {}\n{stdout}--- stderr\n{stderr}--- exit {code}\n",
        arguments.join(" ")
    )
}

/// Log lines start with the time, and reports end with their duration.
fn without_times(text: &str) -> String {
    let line = |line: &str| match (line.split_once(' '), line.split_once("\"elapsed_ms\":")) {
        (Some((time, rest)), _) if time.parse::<jiff::Timestamp>().is_ok() => format!("[TIME] {rest}\n"),
        (_, Some((report, _))) => format!("{report}\"elapsed_ms\":[TIME]}}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A bare repository with one pending entry for `refs/kv/main`.
fn stargate_repository(folder: &Path) {
    let repository = gix::init_bare(folder.join("r.git")).expect("a bare repository");
    let journal = stargate_mirror::journal::path_in(repository.git_dir());
    std::fs::create_dir(journal.parent().expect("a folder")).expect("the .stargate folder");
    let entry = r#"{"entry_id":"01JBAXF5Z8J8M7R2TK7G9QW3EN","timestamp":"2025-10-26T12:34:56.789Z","event":"ref_update","ref":"refs/kv/main","old_oid":null,"new_oid":"a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2","pusher":null,"repo":null,"source":"post-receive","status":"pending","meta":null}"#;
    std::fs::write(journal, format!("{entry}\n")).expect("a journal");
}

#[test]
fn help() {
    let folder = folder();
    let mut all = String::new();
    for arguments in [
        &["--help"][..],
        &["install", "--help"],
        &["uninstall", "--help"],
        &["run", "--help"],
        &["wait", "--help"],
        &["status", "--help"],
        &["sync", "--help"],
        &["check", "append-only", "--help"],
        &["events", "--help"],
        &["events", "init", "--help"],
        &["events", "run", "--help"],
        &["relay", "--help"],
        &["doctor", "--help"],
        &["demo", "--help"],
        &["completions", "--help"],
        &["man", "--help"],
    ] {
        all += &whole(folder.path(), arguments);
    }
    assert_data_eq!(all, file!["snapshots/help.txt"].raw());
}

/// The names of the commands, as `--help` lists them.
fn commands(folder: &Path) -> Vec<String> {
    let help = String::from_utf8(stargate(folder, &["--help"]).stdout).expect("UTF-8");
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names
        .filter(|name| !name.is_empty() && *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn completions_of_every_shell_know_every_command() {
    let folder = folder();
    let commands = commands(folder.path());
    assert!(commands.contains(&"completions".to_owned()), "{commands:?}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = stargate(folder.path(), &["completions", shell]);
        let script = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.success());
        for command in &commands {
            assert!(script.contains(command), "{command} is missing for {shell}");
        }
    }
}

#[test]
#[cfg(unix)]
fn bash_completes_with_what_is_written_for_it() {
    let folder = folder();
    let script = stargate(folder.path(), &["completions", "bash"]).stdout;
    std::fs::write(folder.path().join("completions"), script).expect("a file");
    let asks = r#"source ./completions
        function=$(complete -p stargate-mirror | sed 's/.*-F \([^ ]*\) .*/\1/')
        complete() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            $function "$1" "${@: -1}" "${@: -2:1}"
            echo "${COMPREPLY[@]}"
        }
        complete stargate-mirror inst
        complete stargate-mirror install --fs
        complete stargate-mirror check append-only --sch"#;
    let mut bash = std::process::Command::new("bash");
    let output = bash.args(["--norc", "-c", asks]).current_dir(folder.path()).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run bash, which this test needs: {error}"));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "install\n--fsync-committed\n--schema\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A repository with two branches, a namespace and a remote, in a folder with the completions of this shell.
fn with_completions(shell: &str) -> tempfile::TempDir {
    let folder = folder();
    let repository = gix::init_bare(folder.path().join("r.git")).expect("a bare repository");
    let tree = repository.write_object(gix::objs::Tree::empty()).expect("a tree");
    let who = gix::actor::SignatureRef {
        name: "A".into(),
        email: "a@example.com".into(),
        time: "1700000000 +0000",
    };
    let none = std::iter::empty::<gix::ObjectId>();
    let commit = repository
        .new_commit_as(who, who, "first", tree, none)
        .expect("a commit")
        .id;
    for name in ["refs/heads/main", "refs/heads/$(touch${IFS}ran)", "refs/kv/team"] {
        let any = gix::refs::transaction::PreviousValue::Any;
        repository.reference(name, commit, any, "test").expect("a ref");
    }
    let config = folder.path().join("r.git/config");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        text + "[remote \"github\"]\n\turl = https://github.com/o/r.git\n",
    )
    .unwrap();
    let script = stargate(folder.path(), &["completions", shell]).stdout;
    std::fs::write(folder.path().join("_stargate-mirror"), script).expect("a file");
    folder
}

/// Runs a script of this shell beside the completions.
fn completed(shell: &str, arguments: &[&str], folder: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_stargate-mirror"));
    let path = std::env::var("PATH").expect("a path");
    let path = format!("{}:{path}", program.parent().expect("a folder").display());
    let mut command = Command::new(shell);
    command.args(arguments).current_dir(folder).env("PATH", path);
    let output = command.env("HOME", folder).env("TERM", "dumb").output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {shell}, which this test needs: {error}"));
    assert!(!folder.join("ran").exists(), "the name of a ref was run");
    let (printed, said) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    format!("{}{said}", String::from_utf8_lossy(&printed))
}

#[test]
fn bash_completes_refs_remotes_and_namespaces() {
    let folder = with_completions("bash");
    let asks = r#"source ./_stargate-mirror
        function=$(complete -p stargate-mirror | sed 's/.*-F \([^ ]*\) .*/\1/')
        complete() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            $function "$1" "${@: -1}" "${@: -2:1}"
            printf '%s\n' "${COMPREPLY[@]}"
        }
        complete stargate-mirror wait --repo r.git --ref refs/heads/
        complete stargate-mirror wait --repo r.git --remote g
        complete stargate-mirror wait --repo r.git --ns ''
        complete stargate-mirror push --repo=r.git refs/heads/m
        complete stargate-mirror push --repo=r.git gith"#;
    let expected = "refs/heads/$(touch${IFS}ran)\nrefs/heads/main\ngithub\nteam\nrefs/heads/main\ngithub\n";
    assert_eq!(completed("bash", &["--norc", "-c", asks], folder.path()), expected);
}

#[test]
fn fish_completes_refs_remotes_and_namespaces() {
    let folder = with_completions("fish");
    let asks = r#"source ./_stargate-mirror
        for line in "wait --repo r.git --ref refs/heads/m" "wait --repo r.git --remote gith" "wait --repo r.git --ns te" "push --repo r.git gith"
            complete -C "stargate-mirror $line" | string replace -r '\t.*' ''
        end"#;
    let expected = "refs/heads/main\ngithub\nteam\ngithub\n";
    assert_eq!(completed("fish", &["--no-config", "-c", asks], folder.path()), expected);
}

#[test]
fn zsh_completes_refs_remotes_and_namespaces() {
    let folder = with_completions("zsh");
    // `compadd` prints its matches instead of showing them in the line editor, which needs a terminal.
    let asks = r#"autoload -U compinit; compinit -u -D
        source ./_stargate-mirror 2>/dev/null
        compadd() { local list=$@[-1]; print -rl -- ${(P)list}; return 0 }
        words=(stargate-mirror wait --repo r.git --ref refs/heads/m) CURRENT=6
        _stargate_mirror_refs; _stargate_mirror_remotes; _stargate_mirror_namespaces"#;
    let expected = "refs/heads/$(touch${IFS}ran)\nrefs/heads/main\nrefs/kv/team\ngithub\nteam\n";
    assert_eq!(completed("zsh", &["-f", "-c", asks], folder.path()), expected);
    let script = std::fs::read_to_string(folder.path().join("_stargate-mirror")).expect("a file");
    for use_of in [
        ":REF:_stargate_mirror_refs'",
        ":R:_stargate_mirror_remotes'",
        ":NS:_stargate_mirror_namespaces'",
    ] {
        assert!(script.contains(use_of), "{use_of} is missing");
    }
}

#[test]
fn help_fits_80_columns_and_its_examples_are_not_wrapped() {
    let folder = folder();
    let pages = stargate(folder.path(), &["man", "--out", "man"]);
    assert!(pages.status.success());
    let names = std::fs::read_dir(folder.path().join("man")).expect("a folder");
    let mut checked = 0;
    for name in names.map(|entry| entry.expect("a page").file_name()) {
        let name = name.into_string().expect("UTF-8");
        let command = name.trim_start_matches("stargate-mirror").trim_end_matches(".1");
        let command = command.replace("append-only", "append only");
        let mut words: Vec<String> = command
            .split('-')
            .filter(|word| !word.is_empty())
            .map(|word| word.replace("append only", "append-only"))
            .collect();
        words.push("--help".into());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let at = |columns: &str| {
            let output = stargate_told(folder.path(), &words, &[("COLUMNS", columns)]);
            assert!(output.status.success(), "{words:?}");
            String::from_utf8(output.stdout).expect("UTF-8")
        };
        let (narrow, wide) = (at("80"), at("100"));
        for line in narrow.lines() {
            assert!(line.chars().count() <= 80, "{words:?}: {line}");
        }
        let examples = |help: &str| help.find("Examples:").map(|start| help[start..].to_owned());
        assert_eq!(examples(&narrow), examples(&wide), "{words:?}");
        checked += 1;
    }
    assert!(checked > 20, "{checked}");
}

#[test]
fn the_lines_for_cron_in_the_help_of_run_work_as_they_stand() {
    let folder = folder();
    stargate_repository(folder.path());
    let config = folder.path().join("r.git/config");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        text + "[stargate]\n\tremote = https://127.0.0.1:1/o/r.git\n\tattempts = 1\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("stargate.token"), "token\n").unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_stargate-mirror"))
        .parent()
        .expect("a folder");
    let here = |line: &str| {
        line.replace("/usr/local/bin", &program.display().to_string())
            .replace("/etc", &folder.path().display().to_string())
            .replace("/srv/git", &folder.path().display().to_string())
    };
    let help = String::from_utf8(stargate(folder.path(), &["run", "--help"]).stdout).expect("UTF-8");
    let lines: Vec<String> = help
        .lines()
        .skip_while(|line| !line.starts_with("From cron"))
        .map(here)
        .collect();
    let variables = lines.iter().filter_map(|line| line.strip_prefix("  ")?.split_once('='));
    let command = lines
        .iter()
        .find_map(|line| line.strip_prefix("  * * * * *  "))
        .expect("a line of a crontab");
    // As cron runs it: by sh, with the variables of the crontab and few others.
    let mut sh = Command::new("sh");
    sh.args(["-c", command])
        .env_clear()
        .env("HOME", folder.path())
        .current_dir("/");
    let output = sh.envs(variables).output().expect("sh runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // With the token, the mirror is asked. Nothing listens there.
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the connection was refused"), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let folder = folder();
    let output = stargate(folder.path(), &["man", "--out", "a/man1"]);
    assert!(output.status.success());
    let page = |name: &str| std::fs::read_to_string(folder.path().join("a/man1").join(name)).expect(name);
    for command in commands(folder.path()) {
        let page = page(&format!("stargate-mirror-{command}.1"));
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    let append_only = page("stargate-mirror-check-append-only.1");
    for section in ["EXAMPLES", "EXIT STATUS", "SEE ALSO"] {
        assert!(append_only.contains(&format!(".SH \"{section}\"\n")), "{append_only}");
    }
    assert!(
        !append_only.contains("EXTRA") && append_only.contains("stargate\\-mirror\\-check(1)"),
        "{append_only}"
    );
    assert!(page("stargate-mirror.1").contains("stargate\\-mirror\\-uninstall(1)"));
    assert!(page("stargate-mirror-demo.1").contains(".SH \"EXIT STATUS\"\n"));
    let printed = String::from_utf8(stargate(folder.path(), &["man"]).stdout).expect("UTF-8");
    assert_eq!(printed, page("stargate-mirror.1"));
    std::fs::write(folder.path().join("file"), "").expect("a file");
    let output = stargate(folder.path(), &["man", "--out", "file"]);
    assert_eq!(output.status.code(), Some(5));
}

#[test]
fn usage_errors_exit_2() {
    let folder = folder();
    let mut all = String::new();
    for arguments in [
        &["push-it"][..],
        &["wait"],
        &["wait", "--oid", "main"],
        &[
            "wait",
            "--oid",
            "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2",
            "--ns",
            "a..b",
        ],
        &[
            "wait",
            "--oid",
            "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2",
            "--timeout",
            "soon",
        ],
        &["run", "--root", ".", "--remote", "mirror"],
        &["watch", "--repo", "a", "--repo", "b", "--remote", "mirror"],
    ] {
        all += &whole(folder.path(), arguments);
    }
    assert_data_eq!(all, file!["snapshots/usage.txt"].raw());
}

#[test]
fn main_errors_say_what_why_and_what_to_do() {
    let folder = folder();
    stargate_repository(folder.path());
    let mut all = String::new();
    for arguments in [
        &["run", "--repo", "nowhere.git"][..],
        &["run"],
        &["run", "--repo", "r.git", "--remote", "nowhere"],
        &["run", "--repo", "r.git", "--remote", "http://git.example.com/o/r.git"],
        &["run", "--repo", "r.git", "--remote", "ftp://git.example.com/o/r.git"],
        &["run", "--root", "nowhere"],
        &["wait", "--oid", "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2"],
        &["install", "--repo", "nowhere.git"],
    ] {
        all += &whole(folder.path(), arguments);
    }
    // The temporary folder may be on a file system of its own.
    if let Some((before, after)) = all.split_once(" within device limits below ") {
        let after = after.split_once('\n').map_or("", |(_, after)| after);
        all = format!("{before}\n{after}");
    }
    assert_data_eq!(all, file!["snapshots/errors.txt"].raw());
}

#[test]
fn without_a_remote_or_a_token_there_is_no_push() {
    let folder = folder();
    stargate_repository(folder.path());
    let mut all = String::new();
    for arguments in [
        &["run", "--repo", "r.git"][..],
        &["run", "--repo", "r.git", "--json"],
        &["run", "--repo", "r.git", "--remote", "https://git.example.com/o/r.git"],
    ] {
        all += &whole(folder.path(), arguments);
    }
    assert_data_eq!(all, file!["snapshots/local-only.txt"].raw());
}

#[test]
fn a_token_file_that_cannot_be_read_or_is_empty_exits_4() {
    let folder = folder();
    stargate_repository(folder.path());
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    let run: &[&str] = &["run", "--repo", "r.git", "--remote", "https://git.example.com/o/r.git"];
    let mut all = String::new();
    for file in ["missing", "empty"] {
        all += &whole_told(folder.path(), run, &[("GITHUB_PAT_FILE", file)]);
    }
    let events: &[&str] = &["events", "run", "--repo", "context", "--stdin"];
    let remote = ("GITHUB_REPO_URL", "https://git.example.com/o/context.git");
    all += &whole_told(folder.path(), events, &[("GITHUB_PAT_FILE", "missing"), remote]);
    assert_data_eq!(all, file!["snapshots/token-file.txt"].raw());
}

#[test]
fn a_second_worker_exits_9() {
    let folder = folder();
    stargate_repository(folder.path());
    let _lock = stargate_mirror::worker::WorkerLock::take(&folder.path().join("r.git/.stargate/worker.lock"))
        .unwrap()
        .unwrap();
    let said = whole(folder.path(), &["run", "--repo", "r.git", "--remote", "r.git"]);
    assert_data_eq!(said, file!["snapshots/locked.txt"].raw());
}

#[test]
fn a_bad_setting_exits_4_and_names_it() {
    let folder = folder();
    stargate_repository(folder.path());
    let config = folder.path().join("r.git/config");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "[stargate]\n\tlockTimeout = soon\n").unwrap();
    assert_data_eq!(
        whole(folder.path(), &["run", "--repo", "r.git"]),
        file!["snapshots/bad-setting.txt"].raw()
    );
}

#[test]
fn events_that_are_configured_wrongly_exit_4_and_say_what_is_wrong() {
    let folder = folder();
    let run: &[&str] = &["events", "run", "--repo", "context"];
    let url = ("RELAY_URL", "http://127.0.0.1:1");
    let feed = ("FEED_IDS", "general");
    let mut all = whole(folder.path(), &["events", "run"]);
    for environment in [
        &[][..],
        &[url],
        &[url, ("FEED_IDS", "general,../etc")],
        &[("RELAY_URL", "relay"), feed],
        &[("RELAY_URL", "http://me:secret@127.0.0.1:1"), feed],
        &[("RELAY_URL", "http://relay.example"), feed, ("RELAY_TOKEN", "secret")],
        &[url, feed, ("COMMIT_BATCH_SIZE", "many")],
        &[url, feed, ("GITHUB_BRANCH", "a..b")],
    ] {
        all += &whole_told(folder.path(), run, environment);
    }
    let said = all
        .replace("RELAY_TOKEN=secret", "")
        .replace("me:secret@127.0.0.1:1 FEED_IDS", "");
    assert!(!said.contains("secret"), "{said}");
    assert_data_eq!(all, file!["snapshots/events.txt"].raw());
}

#[test]
fn the_demo_shows_the_whole_journey() {
    let folder = folder();
    let output = stargate(folder.path(), &["demo"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for step in [
        "1. install",
        "2. push",
        "pending",
        "4. run: mirrored",
        "done",
        "refs/kv-mirror/main",
        "5. wait",
        "visible",
    ] {
        assert!(said.contains(step), "{step:?} is missing in:\n{said}");
    }
}
