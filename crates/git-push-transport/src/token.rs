//! The token that a program is given in its environment.
use std::{ffi::OsString, path::PathBuf};

use git_push::{Error, ErrorKind};
use secrecy::SecretString;

/// The environment variable that holds the token.
pub const TOKEN_VARIABLE: &str = "GITHUB_PAT";
/// The environment variable that names a file with the token in it.
pub const TOKEN_FILE_VARIABLE: &str = "GITHUB_PAT_FILE";

/// Takes the token out of the environment, or else out of the file that it names, which is read anew each time, so that a
/// token can be renewed under a running worker. An empty variable is none.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] when it cannot be a token: not UTF-8, or with control characters in it; and when the file
/// cannot be read, or is empty.
pub fn token(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<SecretString>, Error> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(token) = given(TOKEN_VARIABLE) {
        return checked(token.into_string().ok(), TOKEN_VARIABLE).map(Some);
    }
    let Some(path) = given(TOKEN_FILE_VARIABLE).map(PathBuf::from) else {
        return Ok(None);
    };
    let place = format!("{}, which {TOKEN_FILE_VARIABLE} names,", path.display());
    let bytes = std::fs::read(&path).map_err(|error| {
        let what = format!("the token in {place} cannot be read: {error}");
        Error::new(ErrorKind::Misconfigured, what).with_hint(format!(
            "make it readable to who runs this, or unset {TOKEN_FILE_VARIABLE}"
        ))
    })?;
    let text = String::from_utf8(bytes).ok();
    checked(text.map(|text| text.trim().to_owned()), &place).map(Some)
}

/// The token, if it can be one; none is what is not UTF-8.
fn checked(token: Option<String>, place: &str) -> Result<SecretString, Error> {
    let why = match token {
        None => "is not UTF-8",
        Some(token) if token.is_empty() => "is empty",
        Some(token) if token.contains(char::is_control) => "has a line feed or another control character in it",
        Some(token) => return Ok(token.into()),
    };
    Err(
        Error::new(ErrorKind::Misconfigured, format!("the token in {place} {why}"))
            .with_hint("set it to the token alone, without a line feed at its end"),
    )
}
