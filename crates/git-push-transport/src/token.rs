//! The token, or the GitHub App, in the environment of a program.
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use git_push::{Error, ErrorKind};
use secrecy::SecretString;

/// The environment variable that holds the token.
pub const TOKEN_VARIABLE: &str = "GITHUB_PAT";
/// The environment variable that names a file with the token in it.
pub const TOKEN_FILE_VARIABLE: &str = "GITHUB_PAT_FILE";
/// The environment variable that holds the id of a GitHub App.
pub const APP_VARIABLE: &str = "STARGATE_GITHUB_APP";
/// The environment variable that holds the private key of the App.
pub const APP_KEY_VARIABLE: &str = "STARGATE_GITHUB_APP_KEY";
/// The environment variable that names the file of the private key of the App.
pub const APP_KEY_FILE_VARIABLE: &str = "STARGATE_GITHUB_APP_KEY_FILE";

/// Limit of a file with a secret, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// A GitHub App that authenticates in place of a token.
#[derive(Debug, Clone)]
pub struct GithubApp {
    /// Its id, or its client id.
    pub id: String,
    /// Its private key.
    pub key: AppKey,
}

/// Private key of a GitHub App, in PEM format.
#[derive(Debug, Clone)]
pub enum AppKey {
    /// A file, which is read when it is needed.
    File(PathBuf),
    /// The key itself.
    Pem(SecretString),
}

/// A token, and the file that it was read from.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) secret: SecretString,
    pub(crate) file: Option<PathBuf>,
}

/// Returns the token from the environment, else from the file that the environment names. The file is read each time, so that
/// a token can be renewed while a worker runs. An empty variable counts as not set.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if the token is not UTF-8 or has a control character, or if the file is empty or cannot be
/// read.
pub(crate) fn token(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Token>, Error> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(token) = given(TOKEN_VARIABLE) {
        let secret = checked(token.into_string().ok(), TOKEN_VARIABLE)?;
        return Ok(Some(Token { secret, file: None }));
    }
    let file = given(TOKEN_FILE_VARIABLE).map(PathBuf::from);
    file.map(|path| Token::read(path, TOKEN_FILE_VARIABLE)).transpose()
}

/// Returns the GitHub App from the environment.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if a variable is missing or invalid, or there is a token, too.
pub(crate) fn github_app(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<GithubApp>, Error> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    let wrong = |what: String, hint: String| Err(Error::new(ErrorKind::Misconfigured, what).with_hint(hint));
    let Some(id) = given(APP_VARIABLE) else {
        return Ok(None);
    };
    if let Some(name) = [TOKEN_VARIABLE, TOKEN_FILE_VARIABLE]
        .into_iter()
        .find(|name| given(name).is_some())
    {
        let what = format!("{APP_VARIABLE} and {name} are both set");
        return wrong(what, "unset one of them".into());
    }
    let key = match (given(APP_KEY_VARIABLE), given(APP_KEY_FILE_VARIABLE)) {
        (Some(pem), None) => match pem.into_string() {
            Ok(pem) => AppKey::Pem(pem.into()),
            Err(_) => {
                return wrong(
                    format!("{APP_KEY_VARIABLE} is not UTF-8"),
                    "set it to a key in PEM format".into(),
                );
            }
        },
        (None, Some(file)) => AppKey::File(file.into()),
        (given, _) => {
            let both = if given.is_some() { "both" } else { "not" };
            let what = format!("{APP_KEY_VARIABLE} and {APP_KEY_FILE_VARIABLE} are {both} set");
            return wrong(
                what,
                format!("set one of them to the private key of the App in {APP_VARIABLE}"),
            );
        }
    };
    GithubApp::new(&id.to_string_lossy(), key, APP_VARIABLE).map(Some)
}

impl GithubApp {
    /// Creates an App. `place` names the setting of the id.
    pub(crate) fn new(id: &str, key: AppKey, place: &str) -> Result<Self, Error> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if id.is_empty() || !id.bytes().all(is_plain) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                format!("{place} is not the id of a GitHub App"),
            )
            .with_hint("set it to the App ID or the client ID on the App's page"));
        }
        Ok(GithubApp { id: id.into(), key })
    }
}

impl Token {
    /// Reads the file that the setting `named_by` names.
    pub(crate) fn read(path: PathBuf, named_by: &str) -> Result<Self, Error> {
        let bytes = read_secret(&path, named_by, "token")?;
        let place = format!("{}, which {named_by} names,", path.display());
        let text = String::from_utf8(bytes).ok();
        let secret = checked(text.map(|text| text.trim().to_owned()), &place)?;
        Ok(Token {
            secret,
            file: Some(path),
        })
    }
}

/// Reads a file with a secret.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if it cannot be read, or is too large.
pub(crate) fn read_secret(path: &Path, named_by: &str, what: &str) -> Result<Vec<u8>, Error> {
    let place = format!("{}, which {named_by} names,", path.display());
    let failed = |why: String| {
        let hint = format!("make the file readable to the user of this process, or unset {named_by}");
        let what = format!("the {what} in {place} cannot be read: {why}");
        Err(Error::new(ErrorKind::Misconfigured, what).with_hint(hint))
    };
    match fs::metadata(path) {
        Ok(found) if found.len() > MAX_FILE => return failed(format!("it has more than {MAX_FILE} bytes")),
        _ => {}
    }
    fs::read(path).or_else(|error| failed(error.to_string()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn app(set: &[(&str, &str)]) -> Result<Option<GithubApp>, Error> {
        let set: Vec<(String, OsString)> = set
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        github_app(|name| {
            set.iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
        })
    }

    #[test]
    fn an_app_has_an_id_and_one_key_and_no_token_beside_it() {
        let (id, key, file) = (
            (APP_VARIABLE, "7"),
            (APP_KEY_VARIABLE, "canary"),
            (APP_KEY_FILE_VARIABLE, "/k"),
        );
        assert!(app(&[key, file]).expect("no id").is_none());
        let found = app(&[id, key]).expect("valid").expect("an App");
        assert_eq!(found.id, "7");
        assert!(!format!("{found:?}").contains("canary"));
        assert!(
            matches!(app(&[id, file]).expect("valid").expect("an App").key, AppKey::File(path) if path == Path::new("/k"))
        );
        for wrong in [
            vec![id],
            vec![id, key, file],
            vec![id, key, (TOKEN_VARIABLE, "t")],
            vec![id, key, (TOKEN_FILE_VARIABLE, "/t")],
            vec![(APP_VARIABLE, "7 8"), key],
        ] {
            let error = app(&wrong).expect_err("invalid");
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{wrong:?}");
            assert!(
                error.hint().is_some() && !error.to_string().contains("canary"),
                "{error}"
            );
        }
    }
}
