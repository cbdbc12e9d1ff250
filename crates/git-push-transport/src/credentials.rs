//! The interface to credentials for HTTP: get, approve, reject, as git's helpers do (gitcredentials).
//!
//! Implement [`Credentials`] to take passwords and tokens from a store of an application.
//! [`GitCredentials`](crate::git_credentials::GitCredentials) is the default.
use base64::{Engine, prelude::BASE64_STANDARD};
use git_push::{Error, ErrorKind};
use secrecy::{ExposeSecret, SecretString};

use crate::secrets::Secrets;
use crate::url::HttpUrl;

/// A store of credentials. Its methods block.
///
/// Nothing is sent over plain http to another machine, unless `stargate.insecureHttp` in git configuration allows it:
/// an answer to [`Need::Optional`] is then an error, and [`get()`](Credentials::get) is not called with
/// another need.
pub trait Credentials: Send {
    /// Returns the credentials for the repository at `url`, if there are any. They are used until they are rejected.
    ///
    /// # Errors
    /// The store cannot be read. The request is not sent.
    fn get(&mut self, url: &HttpUrl, need: Need) -> Result<Option<Authorization>, Error>;

    /// Reports that the server accepted the credentials that [`get()`](Credentials::get) returned. Called once.
    fn approve(&mut self, url: &HttpUrl, accepted: &Authorization);

    /// Reports that the server refused the credentials that [`get()`](Credentials::get) returned. The next request
    /// calls `get` again.
    fn reject(&mut self, url: &HttpUrl, refused: &Authorization);

    /// Returns the credentials as ones that renew themselves, if they do. By default they do not.
    fn renewable(&mut self) -> Option<&mut dyn Renewable> {
        None
    }
}

/// Credentials that get new ones from a server by themselves. A connection asks again when they have ended, and once after the
/// server refused them.
pub trait Renewable {
    /// Returns true if what [`get()`](Credentials::get) returned last must not be used any longer.
    fn has_ended(&self) -> bool;

    /// Includes the permission to change files in `.github/workflows` from now on.
    fn permit_workflows(&mut self);
}

/// Reason why credentials are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Need {
    /// Before anything is sent, and before refs are read. Return only credentials that are known without asking a
    /// program or a person.
    Optional,
    /// Before a push. Return what is known without asking a person: the server may not demand any.
    Required,
    /// After the server refused a request without credentials, and before a request to its REST API.
    Demanded,
}

/// Credentials for one server. `Debug` does not show secrets.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Authorization {
    /// A user with a password or a token (RFC 7617).
    Basic {
        /// The user. Secret if the password is empty.
        user: String,
        /// The password or token.
        password: SecretString,
    },
    /// The value of the `Authorization` header, such as `Bearer <token>`.
    Header(SecretString),
}

impl Authorization {
    /// Creates credentials of a user.
    #[must_use]
    pub fn basic(user: impl Into<String>, password: impl Into<SecretString>) -> Self {
        let (user, password) = (user.into(), password.into());
        Authorization::Basic { user, password }
    }

    /// Creates credentials of a bearer token (RFC 6750).
    #[must_use]
    pub fn bearer(token: &str) -> Self {
        Authorization::Header(format!("Bearer {token}").into())
    }

    /// Returns the value of the `Authorization` header.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the user or the password has a control character.
    pub(crate) fn header(&self) -> Result<SecretString, Error> {
        let (user, password) = match self {
            Authorization::Header(value) => return Ok(value.clone()),
            Authorization::Basic { user, password } => (user, password.expose_secret()),
        };
        if user.contains(char::is_control) || password.contains(char::is_control) {
            let what = "the user or the password for the server contains a control character";
            return Err(Error::new(ErrorKind::Misconfigured, what).with_hint("correct the stored user and password"));
        }
        Ok(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))).into())
    }

    /// Adds the texts that must not be shown to `secrets`.
    pub(crate) fn hide_in(&self, secrets: &mut Secrets) {
        match self {
            Authorization::Header(value) => secrets.add_header(value.expose_secret()),
            Authorization::Basic { user, password } => secrets.add_identity(user, password.expose_secret()),
        }
    }
}
