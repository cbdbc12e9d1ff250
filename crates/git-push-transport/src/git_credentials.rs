//! Credentials for HTTP, from the sources that git and curl use. The first of these is used:
//!
//! 1. User and password of the URL. A user without a password is combined with the token.
//! 2. The token, or the GitHub App, of the configuration for this URL.
//! 3. An `Authorization` in `http.extraHeader` or `http.<url>.extraHeader`.
//! 4. `NETRC`, else `~/.netrc`, as curl reads it.
//! 5. `credential.helper` programs: before a push, and when a server asks a reader (HTTP 401). Helpers store credentials that
//!    the server accepts, and erase those that it refuses (gitcredentials).
//! 6. A person, if [`Settings::prompts`] allows it, and the server demands credentials (HTTP 401).
//! 7. A user of the URL without any password: it may be a token.
//!
//! Secrets are kept in memory only, in [`secrecy`] types.
use std::path::PathBuf;

use git_push::{Error, ErrorKind};
use secrecy::{ExposeSecret, SecretString};

use crate::credentials::{Authorization, Credentials, Need, Renewable};
#[cfg(feature = "http")]
use crate::forge_api::app::Scope;
#[cfg(feature = "http")]
use crate::github_app::AppCredentials;
use crate::helpers::Helpers;
use crate::http_config::HttpConfig;
use crate::netrc;
use crate::settings::Settings;
use crate::token::GithubApp;
use crate::token_setting::TokenSetting;
use crate::url::HttpUrl;

/// The user that is sent with a token. Servers check only the token.
const TOKEN_USER: &str = "x-access-token";

/// The default [`Credentials`]: URL, environment, git configuration, `.netrc`, helpers.
#[derive(Debug)]
pub struct GitCredentials {
    /// Credentials that are known without asking.
    known: Option<Authorization>,
    /// Makes tokens.
    #[cfg(feature = "http")]
    app: Option<AppCredentials>,
    helpers: Option<Helpers>,
    /// Credentials that are used if helpers have none.
    otherwise: Option<Authorization>,
}

impl GitCredentials {
    /// Finds the credentials for `url`. No helper runs yet.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if git configuration is invalid, or `.netrc` cannot be read.
    pub fn new(url: &gix::Url, settings: &Settings) -> Result<Self, Error> {
        let config = HttpConfig::new(&settings.git, url)?;
        let setting = setting(url, settings)?;
        let token = match &setting {
            Some(TokenSetting::Token(token)) => Some(&token.secret),
            _ => None,
        };
        let mut credentials = GitCredentials {
            known: given(url, token),
            #[cfg(feature = "http")]
            app: None,
            helpers: None,
            otherwise: None,
        };
        if let Some(TokenSetting::App(app)) = setting {
            credentials.use_app(app, url, settings)?;
            return Ok(credentials);
        }
        if credentials.known.is_none() {
            credentials.known = match config.authorization.clone() {
                Some(known) => Some(known),
                None => netrc::read(settings.netrc.as_deref(), url)?,
            };
        }
        if credentials.known.is_none() {
            // Without encryption no helper is asked, so that a public repository can be read.
            let safe = HttpUrl::new(url).is_some_and(|url| url.check_secrecy(config.insecure_http).is_ok());
            credentials.helpers = helpers(url, settings)?.filter(|_| safe);
            let lone_user = url.user().map(|user| Authorization::basic(user, ""));
            if credentials.helpers.is_some() {
                credentials.otherwise = lone_user;
            } else {
                credentials.known = lone_user;
            }
        }
        Ok(credentials)
    }

    /// Returns true if there are credentials for `url`, a client certificate, or a helper that may have some.
    ///
    /// # Errors
    /// The errors of [`GitCredentials::new()`].
    pub fn may_exist(url: &gix::Url, settings: &Settings) -> Result<bool, Error> {
        if url.user().is_some() || setting(url, settings)?.is_some() {
            return Ok(true);
        }
        let config = HttpConfig::new(&settings.git, url)?;
        Ok(config.authorization.is_some()
            || config.client_certificate.is_some()
            || netrc::read(settings.netrc.as_deref(), url)?.is_some()
            || helpers(url, settings)?.is_some())
    }

    /// Returns the file with the token, or with the key of the GitHub App, if one is used for `url`.
    ///
    /// # Errors
    /// As [`GitCredentials::new()`].
    pub fn secret_file(url: &gix::Url, settings: &Settings) -> Result<Option<PathBuf>, Error> {
        Ok(setting(url, settings)?.and_then(|setting| setting.file()))
    }

    #[cfg(feature = "http")]
    fn use_app(&mut self, app: GithubApp, url: &gix::Url, settings: &Settings) -> Result<(), Error> {
        self.app = Some(AppCredentials::new(app, url, settings)?);
        Ok(())
    }

    #[cfg(not(feature = "http"))]
    fn use_app(&mut self, app: GithubApp, _: &gix::Url, _: &Settings) -> Result<(), Error> {
        let what = format!(
            "the GitHub App {} cannot be used: this program was built without an HTTP client",
            app.id
        );
        Err(Error::new(ErrorKind::Misconfigured, what).with_hint("build git-push-transport with its feature http"))
    }
}

#[cfg(feature = "http")]
impl GitCredentials {
    /// Makes tokens for this, if they are those of a GitHub App.
    pub(crate) fn set_scope(&mut self, scope: Scope) {
        if let Some(app) = &mut self.app {
            app.set_scope(scope);
        }
    }

    /// Returns true if a GitHub App authenticates.
    pub(crate) fn is_app(&self) -> bool {
        self.app.is_some()
    }
}

impl Credentials for GitCredentials {
    fn get(&mut self, _: &HttpUrl, need: Need) -> Result<Option<Authorization>, Error> {
        #[cfg(feature = "http")]
        if let Some(app) = &mut self.app {
            return match need {
                Need::Optional => Ok(app.known()),
                Need::Required | Need::Demanded => app.get().map(Some),
            };
        }
        if self.known.is_some() || need == Need::Optional {
            return Ok(self.known.clone());
        }
        let may_ask_person = need == Need::Demanded;
        let asked = self.helpers.as_mut().and_then(|helpers| helpers.ask(may_ask_person));
        // A server may demand what nobody was asked for yet.
        let is_last = may_ask_person || self.helpers.as_ref().is_none_or(|helpers| !helpers.has_person());
        Ok(asked.or_else(|| self.otherwise.clone().filter(|_| is_last)))
    }

    fn approve(&mut self, _: &HttpUrl, _: &Authorization) {
        self.helpers.iter().for_each(Helpers::store);
    }

    fn reject(&mut self, _: &HttpUrl, _: &Authorization) {
        #[cfg(feature = "http")]
        self.app.iter_mut().for_each(AppCredentials::reject);
        self.helpers.iter_mut().for_each(Helpers::erase);
    }

    #[cfg(feature = "http")]
    fn renewable(&mut self) -> Option<&mut dyn Renewable> {
        self.app.as_mut().map(|app| app as &mut dyn Renewable)
    }
}

#[cfg(feature = "http")]
impl Renewable for AppCredentials {
    fn has_ended(&self) -> bool {
        AppCredentials::has_ended(self)
    }

    fn permit_workflows(&mut self) {
        self.set_scope(Scope::Workflows);
    }
}

/// Returns the user info of `url`, completed by `token`.
fn given(url: &gix::Url, token: Option<&SecretString>) -> Option<Authorization> {
    match (url.user(), url.password(), token) {
        (user, Some(password), _) => Some(Authorization::basic(user.unwrap_or_default(), password)),
        (user, None, Some(token)) => Some(Authorization::basic(user.unwrap_or(TOKEN_USER), token.expose_secret())),
        (_, None, None) => None,
    }
}

/// Returns the token or the App for `url`. A password in the URL overrides both.
fn setting(url: &gix::Url, settings: &Settings) -> Result<Option<TokenSetting>, Error> {
    if url.password().is_some() {
        return Ok(None);
    }
    TokenSetting::find(url, settings)
}

fn helpers(url: &gix::Url, settings: &Settings) -> Result<Option<Helpers>, Error> {
    Helpers::configured(url, &settings.git, settings.idle_timeout, settings.prompts.clone()).map_err(|_| {
        // The cause may contain a secret.
        let what = "a value of credential.* in git configuration is invalid";
        Error::new(ErrorKind::Misconfigured, what).with_hint("show it with `git config --get-regexp '^credential'`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str, token: Option<&str>) -> Option<String> {
        let settings = Settings {
            token: token.map(SecretString::from),
            ..Settings::default()
        };
        let parsed = gix::url::parse(url).expect("a URL");
        let mut credentials = GitCredentials::new(&parsed, &settings).expect("no error");
        let url = HttpUrl::new(&parsed).expect("http");
        match credentials.get(&url, Need::Optional).expect("no error")? {
            Authorization::Basic { user, password } => Some(format!("{user}:{}", password.expose_secret())),
            Authorization::Header(_) => panic!("no header is configured"),
        }
    }

    #[test]
    fn the_token_goes_with_a_user_unless_the_url_says_otherwise() {
        let cases = [
            ("https://host/r.git", None, None),
            ("https://host/r.git", Some("token"), Some("x-access-token:token")),
            ("https://me@host/r.git", Some("token"), Some("me:token")),
            ("https://me:word@host/r.git", Some("token"), Some("me:word")),
            ("https://me:p%40ss@host/r.git", None, Some("me:p@ss")),
            ("https://me@host/r.git", None, Some("me:")),
        ];
        for (url, token, expected) in cases {
            assert_eq!(shown(url, token).as_deref(), expected, "{url}");
        }
    }
}
