//! Installation tokens of a GitHub App, restricted to one repository and to what a push needs:
//!
//! 1. `GET /repos/{owner}/{repo}/installation`, authenticated with a token that the App's key signs
//! 2. `POST /app/installations/{id}/access_tokens`
//!
//! If GitHub refuses the signed token and its clock differs from that of this machine, the first request is repeated once with
//! GitHub's time.
use std::time::Duration;

use git_push::{Error, ErrorKind};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::forge::Forge;
use crate::forge_api::address::Address;
use crate::forge_api::answer::ApiAnswer;
use crate::forge_api::call::Call;
use crate::forge_api::jwt;
use crate::http_client::{Header, HttpClient, Method};
use crate::token::GithubApp;

/// Time before its end at which a token is renewed.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// Permissions of an installation token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Pushes to the repository.
    Contents,
    /// Pushes that change files in `.github/workflows`, too.
    Workflows,
    /// Making the repository, which does not exist yet.
    Administration,
}

/// An installation token.
#[derive(Debug, Clone)]
pub(crate) struct InstallationToken {
    pub(crate) secret: SecretString,
    /// Time of this machine from which it is not used any longer.
    pub(crate) renew_at: Timestamp,
}

/// Requests of an App about one repository.
pub(crate) struct AppRequests<'a> {
    pub(crate) app: &'a GithubApp,
    pub(crate) address: &'a Address,
    pub(crate) client: &'a dyn HttpClient,
}

impl AppRequests<'_> {
    /// Makes an installation token.
    ///
    /// # Errors
    /// The App is not installed for the repository, is suspended, or lacks a permission; the key is invalid; GitHub fails.
    pub(crate) fn token(&self, scope: Scope) -> Result<InstallationToken, Error> {
        let mut clock = Clock::default();
        let installation = self.installation(scope, &mut clock)?;
        let url = self
            .address
            .below(&format!("app/installations/{installation}/access_tokens"));
        let mut answer = self.ask(&self.request(&url, scope), &mut clock)?;
        if answer.status == 422 && scope == Scope::Workflows {
            // The push may be accepted nevertheless: GitHub decides.
            tracing::warn!(
                app = %self.app.id,
                "the GitHub App has no permission to change workflows, and the push may change files in .github/workflows"
            );
            answer = self.ask(&self.request(&url, Scope::Contents), &mut clock)?;
        }
        let made = answer.json();
        match (answer.status, made["token"].as_str()) {
            (201, Some(token)) => Ok(InstallationToken {
                secret: token.into(),
                renew_at: renew_at(made["expires_at"].as_str(), answer.date, Timestamp::now()),
            }),
            _ => Err(self.refused(&answer, scope, &clock)),
        }
    }

    fn request(&self, url: &str, scope: Scope) -> Call {
        let repository = [self.address.name()];
        let body = match scope {
            Scope::Contents => {
                serde_json::json!({ "repositories": repository, "permissions": { "contents": "write" } })
            }
            Scope::Workflows => serde_json::json!({
                "repositories": repository, "permissions": { "contents": "write", "workflows": "write" }
            }),
            Scope::Administration => serde_json::json!({
                "permissions": { "administration": "write", "contents": "read" }
            }),
        };
        Call::new(Method::Post, url.to_owned(), &body)
    }

    /// Returns the id of the App's installation.
    fn installation(&self, scope: Scope, clock: &mut Clock) -> Result<u64, Error> {
        let answer = match scope {
            Scope::Administration => self.of_owner(clock)?,
            Scope::Contents | Scope::Workflows => {
                self.ask(&Call::get(format!("{}/installation", self.address.repository())), clock)?
            }
        };
        match (answer.status, answer.json()["id"].as_u64()) {
            (200, Some(id)) => Ok(id),
            (404, _) => {
                let is_elsewhere = scope != Scope::Administration && self.of_owner(clock)?.is_ok();
                Err(self.not_installed(is_elsewhere))
            }
            _ => Err(self.refused(&answer, scope, clock)),
        }
    }

    /// Asks for the installation of the owner, which is an organization or a user.
    fn of_owner(&self, clock: &mut Clock) -> Result<ApiAnswer, Error> {
        let owner = self.address.owner_encoded("/");
        let of = |kind: &str| Call::get(self.address.below(&format!("{kind}/{owner}/installation")));
        let answer = self.ask(&of("orgs"), clock)?;
        if answer.status == 404 {
            self.ask(&of("users"), clock)
        } else {
            Ok(answer)
        }
    }

    /// Sends a request with a signed token. Repeats it once with the time of the server, if that differs.
    fn ask(&self, call: &Call, clock: &mut Clock) -> Result<ApiAnswer, Error> {
        let answer = self.send(call, clock)?;
        let Some(skew) = answer
            .clock_skew(Timestamp::now())
            .filter(|_| answer.status == 401 && clock.ahead == 0)
        else {
            return self.unless_failed(answer);
        };
        clock.ahead = skew;
        tracing::warn!("{clock}; set the clock of this machine, for example with NTP");
        let answer = self.send(call, clock)?;
        self.unless_failed(answer)
    }

    fn send(&self, call: &Call, clock: &Clock) -> Result<ApiAnswer, Error> {
        let token = jwt::signed(self.app, clock.now())?;
        let header = Header::new("Authorization", format!("Bearer {}", token.expose_secret()));
        let header = header.map_err(|_| Error::new(ErrorKind::Misconfigured, "the token cannot be sent"))?;
        call.send(self.client, header)
    }

    fn unless_failed(&self, answer: ApiAnswer) -> Result<ApiAnswer, Error> {
        match answer.failure(Forge::GitHub) {
            Some(failure) => Err(failure),
            None => Ok(answer),
        }
    }

    fn not_installed(&self, is_elsewhere: bool) -> Error {
        let (app, owner, name) = (&self.app.id, self.address.owner(), self.address.name());
        if is_elsewhere {
            let what =
                format!("the GitHub App {app} is installed for {owner}, but not for its repository {name} (HTTP 404)");
            Error::new(ErrorKind::Misconfigured, what)
                .with_hint("give the installation access to the repository, and check the repository's name")
        } else {
            let what = format!("the GitHub App {app} is not installed for {owner} (HTTP 404)");
            Error::new(ErrorKind::Misconfigured, what)
                .with_hint("install the App on its page, with access to the repository, and check the owner's name")
        }
    }

    /// Returns the error of an answer to the App.
    fn refused(&self, answer: &ApiAnswer, scope: Scope, clock: &Clock) -> Error {
        let (app, status) = (&self.app.id, answer.status);
        let error = |what: String, hint: &str| {
            Error::new(ErrorKind::Misconfigured, format!("{what} (HTTP {status})")).with_hint(hint)
        };
        match status {
            401 if clock.ahead != 0 => error(
                format!("GitHub refuses the signature of the GitHub App {app}, and {clock}"),
                "set the clock of this machine, for example with NTP",
            ),
            401 => error(
                format!("GitHub refuses the signature of the GitHub App {app}"),
                "check that the private key belongs to this App, and was not deleted on its page",
            ),
            403 if answer.says("suspended") => error(
                format!(
                    "the installation of the GitHub App {app} for {} is suspended",
                    self.address.owner()
                ),
                "unsuspend it in the owner's settings, at Installed GitHub Apps",
            ),
            403 | 422 => error(
                format!(
                    "GitHub does not grant the GitHub App {app} the permissions that it needs for {}",
                    self.address.owner()
                ),
                scope.permission(),
            ),
            _ => Error::new(
                ErrorKind::Rejected,
                format!("GitHub sent the GitHub App {app} an unexpected answer (HTTP {status})"),
            ),
        }
    }
}

impl Scope {
    /// Instruction that gives the App the permission.
    fn permission(self) -> &'static str {
        match self {
            Scope::Contents | Scope::Workflows => {
                "give the App the permission Contents (write), for workflow files also Workflows (write), and have the owner \
                 accept it"
            }
            Scope::Administration => "give the App the permission Administration (write), and have the owner accept it",
        }
    }
}

/// The clock of this machine, corrected by the server's.
#[derive(Default)]
struct Clock {
    /// Seconds by which that of this machine is ahead, if that was noticed.
    ahead: i64,
}

impl Clock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_second(now.as_second() - self.ahead).unwrap_or(now)
    }
}

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = if self.ahead > 0 { "ahead of" } else { "behind" };
        write!(f, "the clock of this machine is {} s {word} GitHub's", self.ahead.abs())
    }
}

/// Returns the time of this machine at which a token is renewed that ends at `end`, in the server's time. A token without an end
/// is used once.
fn renew_at(end: Option<&str>, date: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let end: Option<Timestamp> = end.and_then(|end| end.parse().ok());
    let left = end.map(|end| end.duration_since(date.unwrap_or(now)));
    let left = left.and_then(|left| Duration::try_from(left).ok()).unwrap_or_default();
    now.saturating_add(left.saturating_sub(MARGIN)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_before_its_end_whatever_the_clock_of_this_machine_says() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let (now, end) = (at("2026-11-28T12:00:00Z"), Some("2026-11-28T13:00:00Z"));
        for (end, date, expected) in [
            (end, None, "2026-11-28T12:55:00Z"),
            // This machine is two hours behind, or ahead.
            (
                Some("2026-11-28T15:00:00Z"),
                Some(at("2026-11-28T14:00:00Z")),
                "2026-11-28T12:55:00Z",
            ),
            (
                Some("2026-11-28T11:00:00Z"),
                Some(at("2026-11-28T10:00:00Z")),
                "2026-11-28T12:55:00Z",
            ),
            (Some("2026-11-28T12:03:00Z"), None, "2026-11-28T12:00:00Z"),
            (Some("soon"), None, "2026-11-28T12:00:00Z"),
            (None, None, "2026-11-28T12:00:00Z"),
        ] {
            assert_eq!(renew_at(end, date, now), at(expected), "{end:?} {date:?}");
        }
    }
}
