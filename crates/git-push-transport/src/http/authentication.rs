//! Credentials of one connection: asked for when they are needed, sent to one origin, approved or rejected.
use git_push::Error;
use secrecy::SecretString;

use crate::credentials::{Authorization, Credentials, Need, Renewable};
use crate::secrets::Secrets;
use crate::url::{HttpUrl, InTheClear};

/// A store of credentials, and the state of what it returned.
pub(crate) struct Authentication {
    url: HttpUrl,
    credentials: Box<dyn Credentials>,
    /// An error if the connection is not encrypted.
    secrecy: Result<(), InTheClear>,
    used: Option<Used>,
    /// The need that was last asked for in vain.
    in_vain: Option<Need>,
    /// True after credentials that renew themselves were refused and renewed, until the server accepts some.
    is_renewed: bool,
    secrets: Secrets,
}

struct Used {
    authorization: Authorization,
    header: SecretString,
    is_approved: bool,
}

impl Authentication {
    /// Asks `credentials` for those that are known without a program or a person. `secrets` must not be shown either.
    ///
    /// # Errors
    /// Credentials would cross a network in the clear, cannot be read, or are invalid.
    pub(crate) fn new(
        url: HttpUrl,
        secrecy: Result<(), InTheClear>,
        credentials: Box<dyn Credentials>,
        secrets: Secrets,
    ) -> Result<Self, Error> {
        let mut authentication = Authentication {
            url,
            credentials,
            secrecy,
            used: None,
            in_vain: None,
            is_renewed: false,
            secrets,
        };
        authentication.ask(Need::Optional)?;
        Ok(authentication)
    }

    /// Returns the value of the `Authorization` header.
    pub(crate) fn header(&self) -> Option<&SecretString> {
        self.used.as_ref().map(|used| &used.header)
    }

    /// Asks for credentials if there are none yet. Returns true if there are new ones.
    ///
    /// # Errors
    /// As [`Authentication::new()`].
    pub(crate) fn ask(&mut self, need: Need) -> Result<bool, Error> {
        if self.used.is_some() && self.renewable().is_some_and(|renewable| renewable.has_ended()) {
            self.used = None;
            self.in_vain = None;
        }
        let was_asked = self.in_vain.is_some_and(|asked| asked >= need);
        let in_the_clear = need != Need::Optional && self.secrecy.is_err();
        if self.used.is_some() || was_asked || in_the_clear {
            return Ok(false);
        }
        let Some(authorization) = self.credentials.get(&self.url, need)? else {
            self.in_vain = Some(need);
            return Ok(false);
        };
        self.secrecy.map_err(Error::from)?;
        authorization.hide_in(&mut self.secrets);
        self.used = Some(Used {
            header: authorization.header()?,
            authorization,
            is_approved: false,
        });
        Ok(true)
    }

    /// Returns the credentials, if they renew themselves.
    pub(super) fn renewable(&mut self) -> Option<&mut dyn Renewable> {
        self.credentials.renewable()
    }

    /// Replaces credentials that the server refused, if they renew themselves and were not just renewed. Returns true if there are
    /// new ones.
    ///
    /// # Errors
    /// As [`Authentication::new()`].
    pub(super) fn renew(&mut self) -> Result<bool, Error> {
        if self.is_renewed || self.renewable().is_none() {
            return Ok(false);
        }
        self.is_renewed = true;
        self.refused();
        self.ask(Need::Required)
    }

    /// Records that the server accepted the credentials.
    pub(crate) fn accepted(&mut self) {
        self.is_renewed = false;
        if let Some(used) = self.used.as_mut().filter(|used| !used.is_approved) {
            used.is_approved = true;
            self.credentials.approve(&self.url, &used.authorization);
        }
    }

    /// Records that the server refused the credentials. The next request asks again.
    pub(crate) fn refused(&mut self) {
        if let Some(used) = self.used.take() {
            self.in_vain = None;
            self.credentials.reject(&self.url, &used.authorization);
        }
    }

    /// Returns `text` of a server without secrets.
    pub(crate) fn scrub(&self, text: &str) -> String {
        self.secrets.scrub(text)
    }
}
