//! `credential.helper` programs (gitcredentials, git-credential), and the person to ask if they do not know.
use std::{
    io::{Read, Write},
    process::Stdio,
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use gix::credentials::{
    Program,
    helper::{Action, NextAction},
    protocol::{Context, ContextOptions},
};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::credentials::Authorization;
use crate::git_config::{GitConfig, is_trusted};
use crate::process::ended_within;
use crate::prompt::Prompts;

/// Limit of a helper's answer in bytes.
const MAX_ANSWER: u64 = 64 << 10;

/// The programs that are configured for one URL, in order, and the answer that they gave.
#[derive(Debug)]
pub(crate) struct Helpers {
    programs: Vec<Program>,
    /// The question, without a password.
    question: Context,
    options: ContextOptions,
    timeout: Duration,
    prompts: Option<Prompts>,
    /// What the programs knew, if that was not enough.
    partial: Option<Partial>,
    given: Option<Context>,
}

/// Answers of programs that lack a user or a password.
#[derive(Debug)]
struct Partial {
    known: Context,
    /// A program does not want anybody else to be asked.
    quit: bool,
}

impl Helpers {
    /// Returns the programs that git configuration names for `url`; `None` if there is none, and nobody to ask.
    ///
    /// # Errors
    /// The configuration is invalid.
    pub(crate) fn configured(
        url: &gix::Url,
        config: &GitConfig,
        timeout: Duration,
        prompts: Option<Prompts>,
    ) -> Result<Option<Self>, gix::Error> {
        let no_prompts = gix::open::permissions::Environment::isolated();
        let (cascade, action, _) =
            gix::config::credential_helpers(url.clone(), config.file(), false, is_trusted, no_prompts, false)?;
        let Action::Get(mut question) = action else {
            return Ok(None);
        };
        question.options = cascade.context_options;
        question.destructure_url_in_place(cascade.use_http_path)?;
        question.url = None;
        let prompts = prompts.filter(|prompts| prompts.askpass.is_some() || prompts.terminal);
        Ok((!cascade.programs.is_empty() || prompts.is_some()).then_some(Helpers {
            programs: cascade.programs,
            question,
            options: cascade.context_options,
            timeout,
            prompts,
            partial: None,
            given: None,
        }))
    }

    /// Returns true if there is a person to ask.
    pub(crate) fn has_person(&self) -> bool {
        self.prompts.is_some()
    }

    /// Asks one after the other until user and password are known, and then a person, if that is allowed. Programs are asked once.
    pub(crate) fn ask(&mut self, may_ask_person: bool) -> Option<Authorization> {
        if self.partial.is_none()
            && let Some(found) = self.ask_programs()
        {
            return Some(found);
        }
        let partial = self.partial.as_ref()?;
        if partial.quit || !may_ask_person {
            return None;
        }
        let known = partial.known.clone();
        self.ask_person(known)
    }

    fn ask_programs(&mut self) -> Option<Authorization> {
        let mut known = self.question.clone();
        for program in &self.programs {
            let answer = self.run(program, &Action::Get(known.clone())).unwrap_or_default();
            let Ok(answered) = Context::from_bytes(&answer, self.options) else {
                tracing::warn!("skipped the invalid answer of a credential helper");
                continue;
            };
            known.username = answered.username.or(known.username);
            known.password = answered.password.or(known.password);
            known.password_expiry_utc = answered.password_expiry_utc.or(known.password_expiry_utc);
            known.oauth_refresh_token = answered.oauth_refresh_token.or(known.oauth_refresh_token);
            if has_expired(&known, Timestamp::now()) {
                known.password = None;
                known.password_expiry_utc = None;
            }
            if let (Some(user), Some(password)) = (&known.username, &known.password) {
                let found = Authorization::basic(user, password.as_str());
                self.given = Some(known);
                return Some(found);
            }
            if answered.quit == Some(true) {
                self.partial = Some(Partial { known, quit: true });
                return None;
            }
        }
        self.partial = Some(Partial { known, quit: false });
        None
    }

    /// Asks for what is not known yet.
    fn ask_person(&mut self, mut known: Context) -> Option<Authorization> {
        let prompts = self.prompts.as_ref()?;
        let user = match known.username.take() {
            Some(user) => user,
            None => prompts.user(&place(&known, None))?,
        };
        // A helper may give a password without a user.
        let password = match known.password.take() {
            Some(password) => password,
            None => prompts.password(&place(&known, Some(&user)))?,
        };
        let found = Authorization::basic(user.as_str(), password.as_str());
        known.username = Some(user);
        known.password = Some(password);
        self.given = Some(known);
        Some(found)
    }

    /// Has all of them store the last answer.
    pub(crate) fn store(&self) {
        if let Some(given) = &self.given {
            self.report(&NextAction::from(given.clone()).store());
        }
    }

    /// Has all of them erase the last answer.
    pub(crate) fn erase(&mut self) {
        self.partial = None;
        if let Some(given) = self.given.take() {
            self.report(&NextAction::from(given).erase());
        }
    }

    fn report(&self, action: &Action) {
        for program in &self.programs {
            self.run(program, action);
        }
    }

    /// Runs one program with a time limit and without a terminal. Returns its output.
    fn run(&self, program: &Program, action: &Action) -> Option<Vec<u8>> {
        let failed = |why: &dyn std::fmt::Display| tracing::warn!("a credential helper failed: {why}");
        let mut command = program.to_command(action).map_err(|error| failed(&error)).ok()?;
        command.env("GIT_TERMINAL_PROMPT", "0").stderr(Stdio::null());
        let mut question = Vec::new();
        action.send(&mut question).map_err(|error| failed(&error)).ok()?;
        let mut child = command.spawn().map_err(|error| failed(&error)).ok()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (give, answer) = channel();
        thread::spawn(move || {
            // A helper need not read its input to the end, nor print anything.
            let _ = stdin.map(|mut stdin| stdin.write_all(&question));
            let mut bytes = Vec::new();
            let _ = stdout.map(|stdout| stdout.take(MAX_ANSWER).read_to_end(&mut bytes));
            // The receiver is gone after the time limit.
            let _ = give.send(bytes);
        });
        let answer = answer.recv_timeout(self.timeout).ok();
        // The program may close its output before it ends.
        let status = answer.as_ref().and_then(|_| ended_within(&mut child, self.timeout));
        if status.is_none() {
            failed(&format_args!("it took longer than {:?}", self.timeout));
            // It may have ended meanwhile.
            let _ = child.kill();
            let _ = child.wait();
        }
        answer.filter(|_| status.is_some_and(|status| status.success()))
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        if let Some(given) = &mut self.given {
            given.clear_secrets();
        }
        if let Some(partial) = &mut self.partial {
            partial.known.clear_secrets();
        }
    }
}

/// Returns the place of a question, as in git: `https://user@host`.
fn place(known: &Context, user: Option<&str>) -> String {
    /// Characters that stay as they are in a URL (RFC 3986, *unreserved*).
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let protocol = known.protocol.as_deref().unwrap_or("https");
    let user = user.map_or_else(String::new, |user| format!("{}@", utf8_percent_encode(user, ENCODED)));
    let path = known.path.as_ref().map_or_else(String::new, |path| format!("/{path}"));
    let place = format!("{protocol}://{user}{}{path}", known.host.as_deref().unwrap_or_default());
    git_push::cleaned(place.as_bytes())
}

/// Returns true if the password has expired (git-credential, *password_expiry_utc*).
fn has_expired(known: &Context, now: Timestamp) -> bool {
    known.password_expiry_utc.is_some_and(|expiry| expiry < now.as_second())
}
