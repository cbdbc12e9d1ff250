//! `credential.helper` programs (gitcredentials, git-credential): asked, told that what they gave was taken, or not.
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

use super::{credentials::Identity, process::ended_within};

/// The most bytes that a helper is listened to.
const MAX_ANSWER: u64 = 64 << 10;

/// The programs that are configured for one URL, in order.
#[derive(Debug)]
pub(super) struct Helpers {
    programs: Vec<Program>,
    /// What is asked; it has no password.
    question: Context,
    options: ContextOptions,
    timeout: Duration,
    asked: bool,
    given: Option<Context>,
}

impl Helpers {
    /// Those that git configuration names for `url`; none where there is no program.
    ///
    /// # Errors
    /// The configuration is not understood.
    pub(super) fn configured(
        url: &gix::Url,
        config: &gix::config::File,
        trusted: impl FnMut(&gix::config::file::Metadata) -> bool,
        timeout: Duration,
    ) -> Result<Option<Self>, gix::Error> {
        let nothing_of_prompts = gix::open::permissions::Environment::isolated();
        let (cascade, action, _) =
            gix::config::credential_helpers(url.clone(), config, false, trusted, nothing_of_prompts, false)?;
        let Action::Get(mut question) = action else {
            return Ok(None);
        };
        question.options = cascade.context_options;
        question.destructure_url_in_place(cascade.use_http_path)?;
        question.url = None;
        Ok((!cascade.programs.is_empty()).then_some(Helpers {
            programs: cascade.programs,
            question,
            options: cascade.context_options,
            timeout,
            asked: false,
            given: None,
        }))
    }

    /// Asks one after the other until user and password are known; only the first call asks.
    pub(super) fn ask(&mut self) -> Option<Identity> {
        if std::mem::replace(&mut self.asked, true) {
            return None;
        }
        let mut known = self.question.clone();
        for program in &self.programs {
            let answer = self.run(program, &Action::Get(known.clone())).unwrap_or_default();
            let Ok(told) = Context::from_bytes(&answer, self.options) else {
                tracing::warn!("a credential helper gives an answer that is not understood");
                continue;
            };
            known.username = told.username.or(known.username);
            known.password = told.password.or(known.password);
            known.password_expiry_utc = told.password_expiry_utc.or(known.password_expiry_utc);
            known.oauth_refresh_token = told.oauth_refresh_token.or(known.oauth_refresh_token);
            if has_expired(&known, Timestamp::now()) {
                known.password = None;
                known.password_expiry_utc = None;
            }
            if let (Some(user), Some(password)) = (&known.username, &known.password) {
                let identity = Identity::new(user, password);
                self.given = Some(known);
                return Some(identity);
            }
            if told.quit == Some(true) {
                return None;
            }
        }
        None
    }

    /// Tells all of them that what they gave was taken; once.
    pub(super) fn store(&mut self) {
        if let Some(given) = self.given.take() {
            self.tell(&NextAction::from(given).store());
        }
    }

    /// Tells all of them that what they gave was refused.
    pub(super) fn erase(&mut self) {
        if let Some(given) = self.given.take() {
            self.tell(&NextAction::from(given).erase());
        }
    }

    fn tell(&self, action: &Action) {
        for program in &self.programs {
            self.run(program, action);
        }
    }

    /// Runs one program, which gets its time and no terminal; what it answers.
    fn run(&self, program: &Program, action: &Action) -> Option<Vec<u8>> {
        let failed = |why: &dyn std::fmt::Display| tracing::warn!("a credential helper failed: {why}");
        let mut command = program.to_command(action).map_err(|error| failed(&error)).ok()?;
        command.env("GIT_TERMINAL_PROMPT", "0").stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| failed(&error)).ok()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let mut question = Vec::new();
        action.send(&mut question).map_err(|error| failed(&error)).ok()?;
        let (give, answer) = channel();
        thread::spawn(move || {
            // A helper need not read to the end, nor say anything.
            let _ = stdin.map(|mut stdin| stdin.write_all(&question));
            let mut bytes = Vec::new();
            let _ = stdout.map(|stdout| stdout.take(MAX_ANSWER).read_to_end(&mut bytes));
            // Nobody listens to one that took too long.
            let _ = give.send(bytes);
        });
        let answer = answer.recv_timeout(self.timeout).ok();
        // What is only told something has no output whose end could be awaited.
        let status = answer.as_ref().and_then(|_| ended_within(&mut child, self.timeout));
        if status.is_none() {
            failed(&format_args!("it took longer than {:?}", self.timeout));
            // It may end at this very moment.
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
    }
}

/// Whether a password is no longer good (git-credential, *password_expiry_utc*).
fn has_expired(known: &Context, now: Timestamp) -> bool {
    known.password_expiry_utc.is_some_and(|expiry| expiry < now.as_second())
}
