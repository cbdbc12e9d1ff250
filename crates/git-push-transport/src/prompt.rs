//! User and password from a person (gitcredentials): a program that asks, then the terminal.
use std::{
    ffi::OsString,
    io::Read,
    process::{Command, Stdio},
};

use git_push::causes;
use gix::prompt;

/// Limit of an answer in bytes.
const MAX_ANSWER: u64 = 64 << 10;

/// Ways to ask a person. The default asks nobody.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Prompts {
    /// A program that gets the question as its argument, and prints the answer: `GIT_ASKPASS`, else `core.askPass`, else
    /// `SSH_ASKPASS`.
    pub askpass: Option<OsString>,
    /// Ask on the terminal if there is no program, or it fails; not if `GIT_TERMINAL_PROMPT` is 0.
    pub terminal: bool,
    /// Called before the echo of the terminal is turned off: a program may want to turn it on again when a signal ends it.
    pub before_hidden: Option<fn()>,
}

impl Prompts {
    /// Reads the environment. `configured` is `core.askPass`.
    pub(crate) fn new(variable: impl Fn(&str) -> Option<OsString>, configured: Option<OsString>) -> Self {
        let askpass = variable("GIT_ASKPASS")
            .or(configured)
            .or_else(|| variable("SSH_ASKPASS"));
        let is_off = |value: OsString| {
            let value = value.to_string_lossy().to_ascii_lowercase();
            ["0", "false", "no", "off", ""].contains(&value.as_str())
        };
        Prompts {
            // As in git, an empty value hides those after it.
            askpass: askpass.filter(|program| !program.is_empty()),
            terminal: !variable("GIT_TERMINAL_PROMPT").is_some_and(is_off),
            before_hidden: None,
        }
    }

    /// Asks for a user. Returns none if nobody answers.
    pub(crate) fn user(&self, place: &str) -> Option<String> {
        self.ask(&format!("Username for '{place}': "), prompt::Mode::Visible)
    }

    /// Asks for a password. Returns none if nobody answers.
    pub(crate) fn password(&self, place: &str) -> Option<String> {
        self.ask(&format!("Password for '{place}': "), prompt::Mode::Hidden)
    }

    fn ask(&self, question: &str, mode: prompt::Mode) -> Option<String> {
        let answered = self.askpass.as_ref().and_then(|program| run(program, question));
        answered.or_else(|| {
            if !self.terminal {
                return None;
            }
            if let (prompt::Mode::Hidden, Some(call)) = (mode, self.before_hidden) {
                call();
            }
            let options = prompt::Options { askpass: None, mode };
            let answer = prompt::ask(question, &options);
            let failed = |error: &gix::Error| tracing::debug!("cannot ask on the terminal: {}", causes(error));
            answer.inspect_err(failed).ok()
        })
    }
}

/// Returns the first line that the program prints, if it succeeds.
fn run(program: &OsString, question: &str) -> Option<String> {
    let failed = |why: &str| tracing::warn!("cannot ask with {}: {why}", program.display());
    let child = Command::new(program).arg(question).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| failed(&error.to_string())).ok()?;
    let mut answer = Vec::new();
    let stdout = child.stdout.take();
    let read = stdout.map_or(Ok(0), |stdout| stdout.take(MAX_ANSWER).read_to_end(&mut answer));
    let read = read.map_err(|error| failed(&error.to_string()));
    if read.is_err() {
        // It may wait for a reader.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| failed(&error.to_string())).ok()?;
    read.ok()?;
    if !status.success() {
        failed(&status.to_string());
        return None;
    }
    let answer = String::from_utf8(answer)
        .map_err(|_| failed("its answer is not UTF-8"))
        .ok()?;
    Some(answer.split(['\r', '\n']).next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_program_that_is_named_asks() {
        let chosen = |environment: &[(&str, &str)], configured: Option<&str>| {
            let variable = |name: &str| {
                let found = environment.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            };
            let prompts = Prompts::new(variable, configured.map(OsString::from));
            (
                prompts.askpass.map(|program| program.into_string().unwrap()),
                prompts.terminal,
            )
        };
        let (git, ssh) = (("GIT_ASKPASS", "git"), ("SSH_ASKPASS", "ssh"));
        assert_eq!(chosen(&[git, ssh], Some("core")), (Some("git".into()), true));
        assert_eq!(chosen(&[ssh], Some("core")), (Some("core".into()), true));
        assert_eq!(chosen(&[ssh], None), (Some("ssh".into()), true));
        assert_eq!(chosen(&[("GIT_ASKPASS", ""), ssh], Some("core")), (None, true));
        assert_eq!(chosen(&[("GIT_TERMINAL_PROMPT", "0")], None), (None, false));
        assert_eq!(chosen(&[("GIT_TERMINAL_PROMPT", "true")], None), (None, true));
    }
}
