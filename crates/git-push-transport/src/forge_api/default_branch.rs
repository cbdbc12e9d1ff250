//! Default branch of a repository.
//!
//! - GitHub: `PATCH /repos/{owner}/{repo}`
//! - GitLab: `PUT /api/v4/projects/{path}`
//! - Gitea, Forgejo: `PATCH /api/v1/repos/{owner}/{repo}`
use bstr::{BStr, ByteSlice};
use git_push::{Error, ErrorKind};

use crate::forge::Forge;
use crate::forge_api::address::Address;
use crate::forge_api::answer::ApiAnswer;
use crate::forge_api::call::Call;
use crate::http_client::Method;
use crate::url::HttpUrl;

/// Returns the request that sets the default branch of the repository at `url` to `branch`, a full name.
///
/// # Errors
/// The name or the URL is not supported.
pub(crate) fn call(forge: Forge, url: &HttpUrl, branch: &BStr) -> Result<Call, Error> {
    let refused = |why: &str| Error::new(ErrorKind::Misconfigured, why);
    let short = branch
        .strip_prefix(b"refs/heads/")
        .and_then(|short| short.to_str().ok());
    let short = short.ok_or_else(|| refused("the name of the branch is not UTF-8"))?;
    let address = Address::new(forge, url)
        .ok_or_else(|| refused("the URL of the mirror is not that of a repository on the forge"))?;
    let method = match forge {
        Forge::GitHub | Forge::Gitea => Method::Patch,
        Forge::GitLab => Method::Put,
    };
    let body = serde_json::json!({ "default_branch": short });
    Ok(Call::new(method, address.repository(), &body))
}

/// Checks the answer.
///
/// # Errors
/// The default branch was not set.
pub(crate) fn answered(forge: Forge, answer: &ApiAnswer) -> Result<(), Error> {
    let status = answer.status;
    let what = |meaning: &str| format!("the API of {forge} {meaning} (HTTP {status})");
    if answer.is_ok() {
        return Ok(());
    }
    Err(match (answer.failure(forge), status) {
        (Some(failure), _) => failure,
        (None, 401 | 403 | 404) => Error::new(
            ErrorKind::Misconfigured,
            what("does not let this token change the repository"),
        )
        .with_hint(format!("give the token {}", forge.permission())),
        _ => Error::new(ErrorKind::Rejected, what("refuses the change")),
    })
}
