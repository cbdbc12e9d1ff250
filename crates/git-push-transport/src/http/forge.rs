//! Requests to the REST API of a repository's forge, with the token of the repository's credentials.
use bstr::BStr;
use git_push::{Error, ErrorKind};

use super::exchange::Exchange;
use crate::forge::{Forge, TokenEnd};
use crate::forge_api::answer::ApiAnswer;
use crate::forge_api::call::{self, Call};
use crate::forge_api::{default_branch, token_end};

/// Sets the default branch to `branch`, a full name.
///
/// # Errors
/// The name or the URL is not supported, there is no token, or the forge does not change it.
pub(super) fn set_default_branch(exchange: &mut Exchange, forge: Forge, branch: &BStr) -> Result<(), Error> {
    let call = default_branch::call(forge, exchange.configured(), branch)?;
    default_branch::answered(forge, &answer(exchange, forge, call)?)
}

/// Returns the end of the token, and records whether its scopes allow a push.
///
/// # Errors
/// There is no token, or the forge fails.
pub(super) fn token_end(exchange: &mut Exchange, forge: Forge) -> Result<TokenEnd, Error> {
    match token_end::call(forge, exchange.configured()) {
        Some(call) => {
            let answer = answer(exchange, forge, call)?;
            if token_end::lacks_write_scope(forge, &answer) {
                exchange.token_use.lacks_write_scope = true;
            }
            token_end::answered(forge, &answer)
        }
        None => Ok(TokenEnd::Unknown),
    }
}

fn answer(exchange: &mut Exchange, forge: Forge, call: Call) -> Result<ApiAnswer, Error> {
    let refused = |why: &str| Error::new(ErrorKind::Misconfigured, why);
    let for_git = exchange.authorization()?;
    let for_git = for_git.ok_or_else(|| refused("there is no token for the API"))?;
    let authorization = call::authorization(forge, for_git).ok_or_else(|| refused("the token cannot be sent"))?;
    let headers = call.headers(authorization);
    let body = call.body.unwrap_or_default().into_bytes();
    call::read(exchange.request(call.method, call.url, headers, body)?)
}
