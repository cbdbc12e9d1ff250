//! A new repository: empty, private, without issues and wiki.
//!
//! | | looked up | made | then |
//! |---|---|---|---|
//! | GitHub | `GET /user` | `POST /user/repos` or `/orgs/{org}/repos` | |
//! | GitLab | `GET /namespaces/{path}` | `POST /projects` | |
//! | Gitea, Forgejo | `GET /user` | `POST /user/repos` or `/orgs/{org}/repos` | `PATCH /repos/{owner}/{repo}` |
use git_push::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::forge::Forge;
use crate::forge_api::address::Address;
use crate::forge_api::answer::ApiAnswer;
use crate::forge_api::call::Call;
use crate::http_client::{Header, HttpClient, Method};

/// Requests about a repository that may not exist.
pub(crate) struct CreationRequests<'a> {
    pub(crate) address: &'a Address,
    pub(crate) client: &'a dyn HttpClient,
    pub(crate) authorization: Header,
    /// True if the owner is an organization for certain: a GitHub App makes repositories there only.
    pub(crate) of_organization: bool,
}

impl CreationRequests<'_> {
    /// Returns true if the repository exists, and the token may see it.
    ///
    /// # Errors
    /// The forge fails, or refuses the token.
    pub(crate) fn exists(&self) -> Result<bool, Error> {
        let answer = self.send(&Call::get(self.address.repository()))?;
        match answer.status {
            200..=299 => Ok(true),
            404 => Ok(false),
            _ => Err(self.refused(&answer, "refused to show the repository")),
        }
    }

    /// Makes the repository. Returns false if issues and wiki could not be switched off.
    ///
    /// # Errors
    /// The forge does not make it.
    pub(crate) fn create(&self, description: &str) -> Result<bool, Error> {
        let (name, forge) = (self.address.name(), self.address.forge);
        let call = match forge {
            Forge::GitHub => Call::new(
                Method::Post,
                self.of_owner()?,
                &json!({ "name": name, "description": description, "private": true, "has_issues": false, "has_wiki": false }),
            ),
            Forge::Gitea => Call::new(
                Method::Post,
                self.of_owner()?,
                &json!({ "name": name, "description": description, "private": true, "auto_init": false }),
            ),
            Forge::GitLab => Call::new(
                Method::Post,
                self.address.below("projects"),
                &json!({
                    "name": name, "path": name, "namespace_id": self.namespace()?, "description": description,
                    "visibility": "private", "issues_access_level": "disabled", "wiki_access_level": "disabled",
                }),
            ),
        };
        let answer = self.send(&call)?;
        if !answer.is_ok() {
            return Err(self.refused(&answer, "refused to create the repository"));
        }
        if forge != Forge::Gitea {
            return Ok(true);
        }
        // Gitea takes these only for a repository that exists.
        let off = json!({ "has_issues": false, "has_wiki": false });
        let off = self.send(&Call::new(Method::Patch, self.address.repository(), &off))?;
        Ok(off.is_ok())
    }

    /// Returns the URL to which a new repository of the owner is posted.
    fn of_owner(&self) -> Result<String, Error> {
        let of_organization = || {
            self.address
                .below(&format!("orgs/{}/repos", self.address.owner_encoded("/")))
        };
        if self.of_organization {
            return Ok(of_organization());
        }
        let answer = self.send(&Call::get(self.address.below("user")))?;
        if !answer.is_ok() {
            return Err(self.refused(&answer, "refused to show the token's user"));
        }
        let user = answer.json();
        let is_own = user["login"]
            .as_str()
            .is_some_and(|login| login.eq_ignore_ascii_case(&self.address.owner()));
        Ok(if is_own {
            self.address.below("user/repos")
        } else {
            of_organization()
        })
    }

    /// Returns the id of the owner at GitLab.
    fn namespace(&self) -> Result<Value, Error> {
        let url = self
            .address
            .below(&format!("namespaces/{}", self.address.owner_encoded("%2F")));
        let answer = self.send(&Call::get(url))?;
        match answer.json().get("id") {
            Some(id) if answer.is_ok() => Ok(id.clone()),
            _ => Err(self.refused(&answer, "refused to show the group or user of the mirror")),
        }
    }

    fn send(&self, call: &Call) -> Result<ApiAnswer, Error> {
        let answer = call.send(self.client, self.authorization.clone())?;
        match answer.failure(self.address.forge) {
            Some(failure) => Err(failure),
            None => Ok(answer),
        }
    }

    fn refused(&self, answer: &ApiAnswer, meaning: &str) -> Error {
        let (forge, status) = (self.address.forge, answer.status);
        let what = format!("the API of {forge} {meaning} (HTTP {status})");
        let error = |kind, hint: &str| Error::new(kind, what.clone()).with_hint(hint);
        match status {
            401 => error(
                ErrorKind::Misconfigured,
                "check that the token is valid and has not expired",
            ),
            403 | 404 => {
                let permission = creation_permission(forge);
                error(
                    ErrorKind::Misconfigured,
                    &format!("check the owner's name, and give the token {permission}"),
                )
            }
            409 | 422 => error(
                ErrorKind::Rejected,
                "choose another name: a repository that the token may not see may already have this one",
            ),
            _ => error(ErrorKind::Rejected, "create the repository on the website of the forge"),
        }
    }
}

/// Returns the permission that a token needs to make a repository.
fn creation_permission(forge: Forge) -> &'static str {
    match forge {
        Forge::GitHub => "the permission Administration (write), or the scope repo",
        Forge::GitLab => "the scope api and the role Maintainer",
        Forge::Gitea => "the scopes write:repository, write:organization and read:user",
    }
}
