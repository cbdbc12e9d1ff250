//! Commands `git push` in the text of a hook script. No shell is run: variables stay unknown.

/// One `git push` in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScriptPush {
    /// Number of its line, from 1.
    pub(super) line: usize,
    /// True with `--mirror`.
    pub(super) mirror: bool,
    /// Remote that it names.
    pub(super) remote: ScriptRemote,
}

/// Remote of a `git push` in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ScriptRemote {
    /// None is named: git's default.
    Default,
    /// A name, a URL or a path.
    Named(String),
    /// A variable or a command, such as `"$REMOTE"`.
    Unknown,
}

/// Returns every `git push` in the script. Comments are skipped, and lines that end with a backslash are joined.
pub(super) fn pushes(script: &str) -> Vec<ScriptPush> {
    let mut pushes = Vec::new();
    let mut lines = script.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let mut command = line.to_owned();
        while command.ends_with('\\') {
            command.pop();
            command.push(' ');
            match lines.next() {
                Some((_, next)) => command.push_str(next),
                None => break,
            }
        }
        let command = command.replace(';', " ; ");
        let words = words(&command);
        let places = (0..words.len()).filter(|place| is_git(words[*place]));
        pushes.extend(places.filter_map(|place| push_of(&words[place + 1..], number + 1)));
    }
    pushes
}

/// Returns the words of a command up to a comment, without quotes and separators.
fn words(command: &str) -> Vec<&str> {
    let words = command.split_whitespace().take_while(|word| !word.starts_with('#'));
    words.map(|word| word.trim_matches(SEPARATORS)).collect()
}

/// Characters around a word that do not belong to it. A separator alone becomes an empty word, which ends a command.
const SEPARATORS: &[char] = &['"', '\'', ';', '&', '|', '(', ')', '{', '`'];

fn is_git(word: &str) -> bool {
    let program = word.rsplit(['/', '(', '`']).next();
    program == Some("git")
}

/// Returns the push, if these words after `git` are one.
fn push_of(words: &[&str], line: usize) -> Option<ScriptPush> {
    let mut words = words.iter().copied();
    loop {
        match words.next()? {
            "push" => break,
            "-C" | "-c" | "--git-dir" | "--work-tree" | "--exec-path" | "--namespace" => drop(words.next()),
            option if option.starts_with('-') => {}
            _ => return None,
        }
    }
    let mut push = ScriptPush {
        line,
        mirror: false,
        remote: ScriptRemote::Default,
    };
    while let Some(word) = words.next().filter(|word| !ends_command(word)) {
        match word {
            "--mirror" => push.mirror = true,
            "-o" | "--push-option" | "--receive-pack" | "--exec" => drop(words.next()),
            option if option.starts_with("--repo=") => push.remote = remote(&option["--repo=".len()..]),
            option if option.starts_with('-') => {}
            word if push.remote == ScriptRemote::Default => push.remote = remote(word),
            _refspec => {}
        }
    }
    Some(push)
}

fn ends_command(word: &str) -> bool {
    word.is_empty() || word.contains('>') || word.contains('<')
}

fn remote(word: &str) -> ScriptRemote {
    if word.contains(['$', '`', '%']) {
        ScriptRemote::Unknown
    } else {
        ScriptRemote::Named(word.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(mirror: bool, remote: ScriptRemote) -> ScriptPush {
        ScriptPush {
            line: 1,
            mirror,
            remote,
        }
    }

    #[test]
    fn a_push_is_found_in_whatever_form_it_is_written() {
        let github = || ScriptRemote::Named("github".into());
        for (script, expected) in [
            ("git push --mirror github", push(true, github())),
            ("exec git push -q github --mirror", push(true, github())),
            ("  git push github main && echo done", push(false, github())),
            (
                "(cd /srv && /usr/bin/git push --mirror \"github\") &",
                push(true, github()),
            ),
            ("git -C /srv/r.git -c a.b=c push github;", push(false, github())),
            ("git --git-dir=. push --repo=github", push(false, github())),
            ("git push -o ci.skip --force github", push(false, github())),
            ("git push github; git push2 --mirror", push(false, github())),
            (
                "nohup git push \\\n  --mirror \\\n  github >/dev/null 2>&1 &",
                push(true, github()),
            ),
            ("git push --mirror \"$REMOTE\"", push(true, ScriptRemote::Unknown)),
            ("git push >/dev/null 2>&1 &", push(false, ScriptRemote::Default)),
            ("out=$(git push --mirror)", push(true, ScriptRemote::Default)),
            (
                "if ! git push 'https://example.com/r.git'; then",
                push(false, ScriptRemote::Named("https://example.com/r.git".into())),
            ),
        ] {
            assert_eq!(pushes(script), [expected], "{script}");
        }
    }

    #[test]
    fn other_commands_and_comments_are_no_pushes() {
        for script in [
            "# git push --mirror github",
            "git fetch github # then git push",
            "git remote update; push github",
            "git log --grep push",
            "digit push github",
            "echo pushed",
        ] {
            assert_eq!(pushes(script), [], "{script}");
        }
        let lines = "#!/bin/sh\n\ngit fetch\ngit push a\ngit push b\n";
        assert_eq!(pushes(lines).iter().map(|push| push.line).collect::<Vec<_>>(), [4, 5]);
    }
}
