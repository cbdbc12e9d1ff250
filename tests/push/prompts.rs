//! Questions to a person for user and password, beside those of git.
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use support::{
    executable,
    git::{self, git},
    mirror::{Format, Mirror},
};

use super::command::{made, stderr};

const PASSWORD: &str = "the word";

/// Names and values.
type Environment<'a> = &'a [(&'a str, &'a str)];

/// Writes a program that records a question under its name, and answers it.
fn askpass(folder: &Path, name: &str, password: &str) -> String {
    let program = folder.join(name);
    let script = format!(
        "echo \"{name} $1\" >>'{}'\ncase $1 in User*) echo x-access-token ;; *) echo '{password}' ;; esac",
        folder.join("asked").display()
    );
    executable::script(&program, &script);
    program.display().to_string()
}

/// Returns the questions since the last call.
fn asked(folder: &Path) -> String {
    let asked = folder.join("asked");
    let text = fs::read_to_string(&asked).unwrap_or_default();
    if asked.exists() {
        fs::remove_file(asked).expect("a file");
    }
    text
}

fn push(ours: bool, source: &Path, environment: Environment<'_>, arguments: &[&str]) -> Output {
    let mut command = if ours {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stargate-mirror"));
        command.env_clear().envs(git::ISOLATED).env("HOME", source);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.current_dir(source);
        command
    } else {
        git::command(source)
    };
    command.arg("push").args(arguments).envs(environment.iter().copied());
    command.stdin(Stdio::null()).output().expect("a push")
}

#[test]
fn the_programs_of_git_are_asked_for_user_and_password() {
    let mirror = Mirror::with_token(PASSWORD);
    let template = made(Format::Sha1);
    let (folder, source) = (template.path(), template.path().join("source"));
    let [first, second, wrong] = [("first", PASSWORD), ("second", PASSWORD), ("wrong", "no")]
        .map(|(name, password)| askpass(folder, name, password));
    let with_user = |url: &str| url.replace("http://", "http://x-access-token@");
    let configured = format!("core.askPass={first}");
    let situations: [(Environment<'_>, &[&str], bool, bool); 6] = [
        (&[("GIT_ASKPASS", &first), ("SSH_ASKPASS", &second)], &[], false, true),
        (&[("SSH_ASKPASS", &second)], &[], false, true),
        (&[("SSH_ASKPASS", &second)], &["-c", &configured], false, true),
        (&[("GIT_ASKPASS", &first)], &[], true, true),
        (&[("GIT_ASKPASS", &wrong)], &[], false, false),
        (&[], &[], false, false),
    ];
    for (number, (environment, options, has_user, succeeds)) in situations.iter().enumerate() {
        let said = [false, true].map(|ours| {
            let name = format!("r{number}{ours}.git");
            mirror.create(&name, Format::Sha1);
            let url = mirror.url(&name);
            let url = if *has_user { with_user(&url) } else { url };
            // git takes -c before the name of the command.
            let set = [
                &["config", "--local", "core.askPass", &first][..],
                &["config", "--unset", "core.askPass"],
            ];
            if !ours && !options.is_empty() {
                git(&source, set[0]);
            }
            let options = if ours { options } else { &[][..] };
            let pushed = push(ours, &source, environment, &[options, &[&url, "main"]].concat());
            if !ours && number == 2 {
                git(&source, set[1]);
            }
            assert_eq!(
                pushed.status.success(),
                *succeeds,
                "{number} {ours}: {}",
                stderr(&pushed)
            );
            assert!(!stderr(&pushed).contains(PASSWORD), "{}", stderr(&pushed));
            asked(folder)
        });
        assert_eq!(said[1], said[0], "{number}");
    }
}

#[test]
fn a_signal_at_the_question_for_a_password_leaves_the_echo_on() {
    let mirror = Mirror::with_token(PASSWORD);
    mirror.create("r.git", Format::Sha1);
    let template = made(Format::Sha1);
    let url = mirror.url("r.git").replace("http://", "http://x-access-token@");
    // Ctrl-C, once the echo is off.
    let typed = format!(
        "import os, pty, signal, sys, termios\n\
         pid, fd = pty.fork()\n\
         if pid == 0:\n    os.execv(sys.argv[1], [sys.argv[1], 'push', {url:?}, 'main'])\n\
         def echo():\n    return bool(termios.tcgetattr(fd)[3] & termios.ECHO)\n\
         before, seen = echo(), b''\n\
         while b'Password for ' not in seen or seen.count(b\"': \") < 1:\n    seen += os.read(fd, 1000)\n\
         asked = echo()\n\
         os.write(fd, b'\\x03')\n\
         code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n\
         print(before, asked, echo(), code == -signal.SIGINT)\n"
    );
    let mut command = Command::new("python3");
    command.args(["-c", &typed, env!("CARGO_BIN_EXE_stargate-mirror")]);
    command.current_dir(template.path().join("source"));
    command.envs(git::ISOLATED).env("HOME", template.path());
    command.env("GIT_TERMINAL_PROMPT", "1");
    let output = command.output().expect("python3");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), "True False True True", "{}", stderr(&output));
}

#[test]
fn the_terminal_is_asked_without_echo() {
    let mirror = Mirror::with_token(PASSWORD);
    mirror.create("r.git", Format::Sha1);
    let template = made(Format::Sha1);
    let program = env!("CARGO_BIN_EXE_stargate-mirror");
    let line = format!("GIT_TERMINAL_PROMPT=1 {program} push {} main", mirror.url("r.git"));
    // The answers are typed after their questions.
    let typed = format!(
        "import os, pty, sys\n\
         pid, fd = pty.fork()\n\
         if pid == 0:\n    os.execvp('sh', ['sh', '-c', {line:?}])\n\
         seen = b''\n\
         def until(text):\n    global seen\n    while text not in seen:\n        seen += os.read(fd, 1000)\n\
         until(b'Username for ')\n\
         until(b\"': \")\n\
         os.write(fd, b'x-access-token\\n')\n\
         until(b'Password for ')\n\
         while seen.count(b\"': \") < 2:\n    seen += os.read(fd, 1000)\n\
         os.write(fd, b'{PASSWORD}\\n')\n\
         try:\n    while True:\n        part = os.read(fd, 1000)\n        if not part:\n            break\n        seen += part\n\
         except OSError:\n    pass\n\
         sys.stdout.buffer.write(seen)\n\
         sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    );
    let mut command = Command::new("python3");
    command.args(["-c", &typed]).current_dir(template.path().join("source"));
    command.envs(git::ISOLATED).env("HOME", template.path());
    let output = command.output().expect("python3");
    let seen = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{seen}{}", stderr(&output));
    assert!(seen.contains("main -> main") && !seen.contains(PASSWORD), "{seen}");
}

#[test]
fn nobody_is_asked_for_what_the_server_does_not_demand() {
    let mirror = Mirror::start();
    let template = made(Format::Sha1);
    let (folder, source) = (template.path(), template.path().join("source"));
    let asks = askpass(folder, "asks", PASSWORD);
    for ours in [false, true] {
        let name = format!("r{ours}.git");
        mirror.create(&name, Format::Sha1);
        mirror.git(&name, &["config", "http.receivepack", "true"]);
        let pushed = push(ours, &source, &[("GIT_ASKPASS", &asks)], &[&mirror.url(&name), "main"]);
        assert!(pushed.status.success(), "{ours}: {}", stderr(&pushed));
        assert_eq!(asked(folder), "", "{ours}");
    }
}

#[test]
fn a_password_that_a_helper_gives_without_a_user_is_kept() {
    let mirror = Mirror::with_token(PASSWORD);
    let template = made(Format::Sha1);
    let (folder, source) = (template.path(), template.path().join("source"));
    let asks = askpass(folder, "asks", "another");
    let helper = folder.join("keeps");
    executable::script(&helper, &format!("test \"$1\" != get || echo 'password={PASSWORD}'"));
    git(&source, &["config", "credential.helper", &helper.display().to_string()]);
    let said = [false, true].map(|ours| {
        let name = format!("r{ours}.git");
        mirror.create(&name, Format::Sha1);
        let pushed = push(ours, &source, &[("GIT_ASKPASS", &asks)], &[&mirror.url(&name), "main"]);
        assert!(pushed.status.success(), "{ours}: {}", stderr(&pushed));
        asked(folder)
    });
    assert!(
        said[0].contains("Username") && !said[0].contains("Password"),
        "{}",
        said[0]
    );
    assert_eq!(said[1].replace("rtrue", "rfalse"), said[0]);
}
