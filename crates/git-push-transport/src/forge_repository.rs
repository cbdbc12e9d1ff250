//! A repository on a forge that may not exist yet, through the REST API of the forge.
use git_push::{Error, ErrorKind};

use crate::credentials::{Credentials, Need};
use crate::forge::Forge;
use crate::forge_api::address::Address;
use crate::forge_api::app::Scope;
use crate::forge_api::call;
use crate::forge_api::creation::CreationRequests;
use crate::git_credentials::GitCredentials;
use crate::http_config::HttpConfig;
use crate::redact::Shown;
use crate::settings::Settings;
use crate::ureq_client::UreqClient;
use crate::url::HttpUrl;

/// A repository, addressed by the URL that it has or will have. Its methods block.
#[derive(Debug)]
pub struct ForgeRepository {
    url: HttpUrl,
    address: Address,
    client: UreqClient,
    credentials: GitCredentials,
}

/// Properties of a repository that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Created {
    /// True if issues and wiki are switched off.
    pub features_off: bool,
}

impl ForgeRepository {
    /// Addresses the repository at `url` on `forge`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the URL is not that of a repository there, a setting is invalid, or a token would cross a
    /// network in the clear.
    pub fn open(url: &gix::Url, forge: Forge, settings: &Settings) -> Result<Self, Error> {
        let located = |error: Error| {
            let what = format!("{}: {error}", Shown(url));
            error.reworded(what)
        };
        let not_there = || {
            let what = format!("{} is not the URL of a repository on {forge}", Shown(url));
            Error::new(ErrorKind::Misconfigured, what).with_hint("use https://HOST/OWNER/NAME.git")
        };
        let shown = HttpUrl::new(url).ok_or_else(not_there)?;
        let address = Address::new(forge, &shown).ok_or_else(not_there)?;
        let config = HttpConfig::new(&settings.git, url).map_err(located)?;
        shown
            .check_secrecy(config.insecure_http)
            .map_err(|error| located(error.into()))?;
        let mut credentials = GitCredentials::new(url, settings).map_err(located)?;
        credentials.set_scope(Scope::Administration);
        Ok(ForgeRepository {
            url: shown,
            address,
            client: UreqClient::new(url, settings).map_err(located)?,
            credentials,
        })
    }

    /// Returns true if the repository exists, and the token may see it.
    ///
    /// # Errors
    /// There is no token, or the forge fails or refuses it.
    pub fn exists(&mut self) -> Result<bool, Error> {
        self.requests()?.exists().map_err(|error| self.located(error))
    }

    /// Makes the repository: empty, private, with this description, without issues and wiki.
    ///
    /// # Errors
    /// There is no token, or the forge does not make it.
    pub fn create(&mut self, description: &str) -> Result<Created, Error> {
        let created = self.requests()?.create(description);
        let features_off = created.map_err(|error| self.located(error))?;
        Ok(Created { features_off })
    }

    fn requests(&mut self) -> Result<CreationRequests<'_>, Error> {
        let missing = || {
            let what = format!("there is no token for {}", self.url);
            Error::new(ErrorKind::Misconfigured, what)
                .with_hint("set GITHUB_PAT to a token that may create repositories; docs/tokens.md describes it")
        };
        let found = self.credentials.get(&self.url, Need::Demanded)?;
        let for_git = found.ok_or_else(missing)?.header()?;
        Ok(CreationRequests {
            authorization: call::authorization(self.address.forge, &for_git).ok_or_else(missing)?,
            address: &self.address,
            client: &self.client,
            of_organization: self.credentials.is_app(),
        })
    }

    fn located(&self, error: Error) -> Error {
        let what = format!("{}: {error}", self.url);
        error.reworded(what)
    }
}
