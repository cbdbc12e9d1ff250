//! Credentials of a GitHub App: installation tokens, made when they are needed.
//!
//! The tokens of this process are shared by its connections, in memory only: a worker opens a connection for each cycle, and a
//! token is valid for an hour.
use std::sync::{Mutex, MutexGuard, PoisonError};

use git_push::{Error, ErrorKind};
use jiff::Timestamp;
use secrecy::ExposeSecret;

use crate::credentials::Authorization;
use crate::forge::Forge;
use crate::forge_api::address::Address;
use crate::forge_api::app::{AppRequests, InstallationToken, Scope};
use crate::settings::Settings;
use crate::token::GithubApp;
use crate::ureq_client::UreqClient;
use crate::url::HttpUrl;

/// The user that GitHub documents for installation tokens.
const USER: &str = "x-access-token";

/// Limit of tokens that are kept; the oldest makes room.
const MAX_TOKENS: usize = 1000;

static TOKENS: Mutex<Vec<(Key, InstallationToken)>> = Mutex::new(Vec::new());

/// Purpose of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    app: String,
    repository: String,
    scope: Scope,
}

/// An App that authenticates for one repository.
#[derive(Debug)]
pub(crate) struct AppCredentials {
    app: GithubApp,
    address: Address,
    settings: Settings,
    scope: Scope,
    /// Scope of the token that the connection uses, and the time at which it is renewed.
    used: Option<(Scope, Timestamp)>,
}

impl AppCredentials {
    /// Takes an App for the repository at `url`. Nothing is sent, and the key is not read.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if this is not the URL of a repository on GitHub.
    pub(crate) fn new(app: GithubApp, url: &gix::Url, settings: &Settings) -> Result<Self, Error> {
        let address = HttpUrl::new(url).and_then(|url| Address::new(Forge::GitHub, &url));
        let address = address.ok_or_else(|| {
            let what = "a GitHub App is set, but the URL is not that of a repository on GitHub";
            Error::new(ErrorKind::Misconfigured, what).with_hint("use https://HOST/OWNER/NAME.git")
        })?;
        Ok(AppCredentials {
            app,
            address,
            settings: settings.clone(),
            scope: Scope::Contents,
            used: None,
        })
    }

    /// Requests tokens for this from now on.
    pub(crate) fn set_scope(&mut self, scope: Scope) {
        self.scope = scope;
    }

    /// Returns a token that is in memory.
    pub(crate) fn known(&mut self) -> Option<Authorization> {
        let (key, now) = (self.key(), Timestamp::now());
        let token = tokens()
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, token)| token.clone());
        token
            .filter(|token| token.renew_at > now)
            .map(|token| self.using(&token))
    }

    /// Returns a token that is in memory, else a new one.
    ///
    /// # Errors
    /// See [`AppRequests::token()`].
    pub(crate) fn get(&mut self) -> Result<Authorization, Error> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let url = gix::url::parse(self.address.api.as_str())
            .map_err(|_| Error::new(ErrorKind::Misconfigured, "the URL of the API is not understood"))?;
        let client = UreqClient::new(&url, &self.settings)?;
        let requests = AppRequests {
            app: &self.app,
            address: &self.address,
            client: &client,
        };
        let token = requests.token(self.scope)?;
        let key = self.key();
        let mut tokens = tokens();
        tokens.retain(|(known, _)| *known != key);
        if tokens.len() == MAX_TOKENS {
            tokens.remove(0);
        }
        tokens.push((key, token.clone()));
        drop(tokens);
        Ok(self.using(&token))
    }

    /// Forgets the token, which the server refused.
    pub(crate) fn reject(&mut self) {
        let key = self.key();
        tokens().retain(|(known, _)| *known != key);
        self.used = None;
    }

    /// Returns true if the connection must ask again: the token is about to end, or does not allow what is needed.
    pub(crate) fn has_ended(&self) -> bool {
        let is_good = |(scope, renew_at): (Scope, Timestamp)| scope == self.scope && renew_at > Timestamp::now();
        !self.used.is_some_and(is_good)
    }

    fn using(&mut self, token: &InstallationToken) -> Authorization {
        self.used = Some((self.scope, token.renew_at));
        Authorization::basic(USER, token.secret.expose_secret())
    }

    fn key(&self) -> Key {
        Key {
            app: self.app.id.clone(),
            repository: self.address.repository(),
            scope: self.scope,
        }
    }
}

fn tokens() -> MutexGuard<'static, Vec<(Key, InstallationToken)>> {
    TOKENS.lock().unwrap_or_else(PoisonError::into_inner)
}
