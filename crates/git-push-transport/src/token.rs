//! The token in the environment of a program.
use std::{ffi::OsString, path::PathBuf};

use git_push::{Error, ErrorKind};
use secrecy::SecretString;

/// The environment variable that holds the token.
pub const TOKEN_VARIABLE: &str = "GITHUB_PAT";
/// The environment variable that names a file with the token in it.
pub const TOKEN_FILE_VARIABLE: &str = "GITHUB_PAT_FILE";

/// Returns the token from the environment, else from the file that the environment names. The file is read each time, so that
/// a token can be renewed while a worker runs. An empty variable counts as not set.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if the token is not UTF-8 or has a control character, or if the file is empty or cannot be
/// read.
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
            "make the file readable to the user of this process, or unset {TOKEN_FILE_VARIABLE}"
        ))
    })?;
    let text = String::from_utf8(bytes).ok();
    checked(text.map(|text| text.trim().to_owned()), &place).map(Some)
}

/// Checks a token; `None` stands for one that is not UTF-8.
fn checked(token: Option<String>, place: &str) -> Result<SecretString, Error> {
    let why = match token {
        None => "is not UTF-8",
        Some(token) if token.is_empty() => "is empty",
        Some(token) if token.contains(char::is_control) => "has a line feed or another control character in it",
        Some(token) => return Ok(token.into()),
    };
    Err(
        Error::new(ErrorKind::Misconfigured, format!("the token in {place} {why}"))
            .with_hint("set it to the token alone, without a line feed"),
    )
}
