//! Remote of a context repository: `GITHUB_REPO_URL`, with credentials from `GITHUB_PAT` or git configuration.
use std::{ffi::OsString, path::Path, sync::Arc};

use bstr::ByteSlice;
use git_push::{Error, ErrorKind, repository};
use git_push_transport::{self, Location, Remote, Settings};

use crate::{advice::on_opening, config::USER_AGENT};

/// Reads an environment variable, from any thread.
pub type SharedEnvironment = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// The environment variable that names the remote.
const URL: &str = "GITHUB_REPO_URL";

/// A remote that can be pushed to. `Debug` shows neither user info nor token.
#[derive(Debug, Clone)]
pub struct Target {
    location: Location,
    settings: Settings,
    url: String,
}

/// Reason why nothing is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalOnly {
    /// No remote is configured.
    NoUrl,
    /// There are no credentials for the remote.
    NoToken(String),
}

impl std::fmt::Display for LocalOnly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LocalOnly::NoUrl => write!(f, "{URL} is not set"),
            LocalOnly::NoToken(place) => {
                write!(
                    f,
                    "GITHUB_PAT is not set, and there are no other credentials for {place}"
                )
            }
        }
    }
}

impl Target {
    /// Reads the current environment, for the repository at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the URL or the token is invalid, if the URL has a password that its scheme cannot use, or if
    /// git configuration is invalid.
    pub fn read(path: &Path, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Result<Self, LocalOnly>, Error> {
        let url = environment(URL)
            .filter(|url| !url.is_empty())
            .map(OsString::into_string);
        let not_utf_8 = |_| Error::new(ErrorKind::Misconfigured, format!("{URL} is not UTF-8"));
        let Some(url) = url.transpose().map_err(not_utf_8)? else {
            return Ok(Err(LocalOnly::NoUrl));
        };
        let repository = repository::open(path)
            .map_err(|error| Error::new(ErrorKind::Misconfigured, error.to_string()).with_hint(on_opening(&error)))?;
        let location = git_push_transport::resolve(url.as_bytes().as_bstr(), Some(&repository))?;
        if let Location::Ssh(url) | Location::Git(url) = &location
            && url.password().is_some()
        {
            let what = format!("{URL} contains a password, which {} cannot use", url.scheme.as_str());
            return Err(Error::new(ErrorKind::Misconfigured, what)
                .with_hint("remove the password and use a key, or set GITHUB_PAT and the https URL"));
        }
        let settings = Settings::from_environment(environment)?
            .with_user_agent(USER_AGENT)
            .with_git_config(&repository)?;
        if !Remote::has_credentials(&location, &settings) {
            return Ok(Err(LocalOnly::NoToken(location.to_string())));
        }
        Ok(Ok(Target {
            location,
            settings,
            url,
        }))
    }

    /// Opens the remote. Nothing is sent yet.
    ///
    /// # Errors
    /// The errors of [`Remote::open()`].
    pub fn open(&self) -> Result<Remote, Error> {
        Remote::open(self.location.clone(), &self.settings)
    }

    /// Location of the remote.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The URL as configured. It may contain a secret.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns true if a token is set.
    pub fn has_token(&self) -> bool {
        self.settings.token.is_some()
    }

    /// Returns true if the URL itself contains a secret, which others may see in process lists and shell histories.
    pub fn has_secret_in_url(&self) -> bool {
        match &self.location {
            Location::Http(url) => url.password().is_some() || url.user().is_some() && !self.has_token(),
            _ => false,
        }
    }
}
