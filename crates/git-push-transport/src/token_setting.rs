//! The token, or the GitHub App, that is configured for one URL. The first of these counts:
//!
//! 1. `tokenFile` or `githubApp` of the `[stargate "<url>"]` in git configuration that matches most closely
//! 2. the token, or the App, in the environment
//! 3. `stargate.tokenFile` or `stargate.githubApp`
//!
//! Thus a token for one server or owner never goes to another one that has its own.
use std::path::PathBuf;

use bstr::BString;
use git_push::{Error, ErrorKind};

use crate::forge::Forge;
use crate::git_config::interpolated;
use crate::settings::Settings;
use crate::token::{AppKey, GithubApp, Token};
use crate::url_match::{self, Closeness};

const SECTION: &str = "stargate";
const TOKEN_FILE: &str = "stargate.tokenFile";
const APP: &str = "stargate.githubApp";
const APP_KEY: &str = "stargate.githubAppKey";

/// A token or an App for one URL.
#[derive(Debug, Clone)]
pub(crate) enum TokenSetting {
    Token(Token),
    App(GithubApp),
}

impl TokenSetting {
    /// Returns the token or the App for `url`. Reads the file of a token, but not that of a key.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if settings contradict each other, or a file cannot be read.
    pub(crate) fn find(url: &gix::Url, settings: &Settings) -> Result<Option<Self>, Error> {
        let configured = Configured::read(url, settings)?;
        if let Some(found) = configured.as_ref().filter(|found| found.is_for_url()) {
            return found.setting(settings).map(Some);
        }
        if let Some(secret) = settings.token.clone() {
            let file = settings.token_file.clone();
            return Ok(Some(TokenSetting::Token(Token { secret, file })));
        }
        let app = settings.github_app.clone().map(TokenSetting::App);
        let setting = match configured {
            _ if app.is_some() => app,
            Some(found) => Some(found.setting(settings)?),
            None => None,
        };
        // An App of all URLs is for those that lead to GitHub only.
        match setting {
            Some(TokenSetting::App(_)) if !is_github(url, settings)? => Ok(None),
            setting => Ok(setting),
        }
    }

    /// Returns the file with the token or the key.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        match self {
            TokenSetting::Token(token) => token.file.clone(),
            TokenSetting::App(GithubApp {
                key: AppKey::File(path),
                ..
            }) => Some(path.clone()),
            TokenSetting::App(_) => None,
        }
    }
}

/// The setting in git configuration that matches most closely.
enum Configured {
    TokenFile(Closeness, BString),
    App(Closeness, BString, BString),
}

impl Configured {
    fn read(url: &gix::Url, settings: &Settings) -> Result<Option<Self>, Error> {
        let last = |key: &str| {
            let values = url_match::values(&settings.git, SECTION, key, url);
            values.into_iter().next_back().filter(|(_, value)| !value.is_empty())
        };
        let misconfigured = |what: String, hint: &str| Err(Error::new(ErrorKind::Misconfigured, what).with_hint(hint));
        let app = match (last("githubApp"), last("githubAppKey")) {
            (None, _) => None,
            (Some((closeness, id)), Some((_, key))) => Some((closeness, id, key)),
            (Some(_), None) => {
                return misconfigured(
                    format!("{APP} is set, and {APP_KEY} is not"),
                    "set stargate.githubAppKey to the file with the App's private key",
                );
            }
        };
        Ok(match (last("tokenFile"), app) {
            (Some((token, _)), Some((app, ..))) if token == app => {
                let what = format!("{TOKEN_FILE} and {APP} are both set for the same URLs");
                return misconfigured(what, "unset one of them");
            }
            (Some((closeness, file)), app) if app.as_ref().is_none_or(|(app, ..)| *app < closeness) => {
                Some(Configured::TokenFile(closeness, file))
            }
            (_, app) => app.map(|(closeness, id, key)| Configured::App(closeness, id, key)),
        })
    }

    /// Returns true if it stands in a section for URLs.
    fn is_for_url(&self) -> bool {
        let (Configured::TokenFile(closeness, _) | Configured::App(closeness, ..)) = self;
        *closeness > Closeness::default()
    }

    fn setting(&self, settings: &Settings) -> Result<TokenSetting, Error> {
        Ok(match self {
            Configured::TokenFile(_, file) => {
                let path = located(file.clone(), TOKEN_FILE, settings)?;
                TokenSetting::Token(Token::read(path, TOKEN_FILE)?)
            }
            Configured::App(_, id, key) => {
                let key = AppKey::File(located(key.clone(), APP_KEY, settings)?);
                TokenSetting::App(GithubApp::new(&id.to_string(), key, APP)?)
            }
        })
    }
}

/// Returns the path of a file with a secret. A relative one is below the folder of systemd's credentials.
fn located(value: BString, key: &str, settings: &Settings) -> Result<PathBuf, Error> {
    let path = interpolated(value, key)?;
    if path.is_absolute() {
        return Ok(path);
    }
    match &settings.credentials_folder {
        Some(folder) => Ok(folder.join(path)),
        None => {
            let what = format!(
                "{key} = {} is the name of a systemd credential, and CREDENTIALS_DIRECTORY is not set",
                path.display()
            );
            Err(Error::new(ErrorKind::Misconfigured, what)
                .with_hint("run this in a service with LoadCredential=, or set the key to an absolute path"))
        }
    }
}

/// Returns true if the server is known to be GitHub, and false if it is known to be another forge.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if it is not known: what an App signs is not sent to a server by guess.
fn is_github(url: &gix::Url, settings: &Settings) -> Result<bool, Error> {
    let word = url_match::values(&settings.git, SECTION, "forge", url).pop();
    let host = url.host().unwrap_or_default();
    match (word, Forge::of_host(host)) {
        (Some((_, word)), _) => Ok(word.eq_ignore_ascii_case(b"github")),
        (None, Some(forge)) => Ok(forge == Forge::GitHub),
        (None, None) => {
            let what = format!("a GitHub App is set, but {host} is not known to be GitHub");
            let hint = "for GitHub Enterprise, set stargate.forge to github; else set the App in [stargate \"<url>\"]";
            Err(Error::new(ErrorKind::Misconfigured, what).with_hint(hint))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use secrecy::ExposeSecret;

    use super::*;
    use crate::git_config::GitConfig;

    /// The chosen setting as a text: the token, or `App <id>`.
    fn chosen(config: &str, token: Option<&str>, url: &str) -> Result<Option<String>, Error> {
        let settings = Settings {
            token: token.map(Into::into),
            git: GitConfig::new(gix::config::File::try_from(config).expect("git configuration")),
            ..Settings::default()
        };
        let found = TokenSetting::find(&gix::url::parse(url).expect("a URL"), &settings)?;
        Ok(found.map(|found| match found {
            TokenSetting::Token(token) => token.secret.expose_secret().to_owned(),
            TokenSetting::App(app) => format!("App {}", app.id),
        }))
    }

    #[test]
    fn the_longest_url_wins_over_the_environment_which_wins_over_the_rest() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["all", "host", "owner", "repository"] {
            fs::write(folder.path().join(name), format!("{name}\n")).expect("a file");
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "[stargate \"https://git.example/o/r.git\"]\ntokenFile = {}\n[stargate \"https://git.example/o\"]\ntokenFile = {}\n\
             [stargate \"https://git.example\"]\ntokenFile = {}\n[stargate]\ntokenFile = {}\n[stargate \"other\"]\ntokenFile = /no\n",
            path("repository"),
            path("owner"),
            path("host"),
            path("all")
        );
        for (url, token, expected) in [
            ("https://git.example/o/r.git", None, "repository"),
            ("https://git.example/o/s.git", Some("env"), "owner"),
            ("https://git.example/other/r.git", Some("env"), "host"),
            ("https://else.example/o/r.git", Some("env"), "env"),
            ("https://else.example/o/r.git", None, "all"),
        ] {
            let found = chosen(&config, token, url).expect(url);
            assert_eq!(found.as_deref(), Some(expected), "{url}");
        }
    }

    #[test]
    fn an_app_is_for_github_only_and_not_for_a_server_by_guess() {
        let app = "[stargate]\ngithubApp = 7\ngithubAppKey = /k\n";
        for (config, url, expected) in [
            (app.to_owned(), "https://github.com/o/r", Some("App 7")),
            (app.to_owned(), "https://gitlab.com/o/r", None),
            (
                format!("{app}forge = github\n"),
                "https://git.example/o/r",
                Some("App 7"),
            ),
            (format!("{app}forge = gitea\n"), "https://git.example/o/r", None),
            (
                app.replace("[stargate]", "[stargate \"https://git.example\"]"),
                "https://git.example/o/r",
                Some("App 7"),
            ),
        ] {
            assert_eq!(
                chosen(&config, None, url).expect(url).as_deref(),
                expected,
                "{config} {url}"
            );
        }
        let error = chosen(app, None, "https://git.example/o/r").expect_err("not known");
        assert!(
            error.to_string().contains("git.example is not known to be GitHub"),
            "{error}"
        );
    }

    #[test]
    fn contradictions_and_files_that_cannot_be_read_are_errors() {
        for config in [
            "[stargate]\ngithubApp = 7\n",
            "[stargate]\ngithubApp = 7\ngithubAppKey = /k\ntokenFile = /t\n",
            "[stargate]\ngithubApp = 7 8\ngithubAppKey = /k\n",
            "[stargate]\ngithubApp = 7\ngithubAppKey = k\n",
            "[stargate]\ntokenFile = /nowhere/at/all\n",
            "[stargate]\ntokenFile = token\n",
        ] {
            let error = chosen(config, None, "https://github.com/o/r").expect_err(config);
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{config}");
            assert!(error.hint().is_some(), "{config}");
        }
        // A closer one hides the other.
        let config =
            "[stargate]\ntokenFile = /nowhere\n[stargate \"https://github.com\"]\ngithubApp = 7\ngithubAppKey = /k\n";
        assert_eq!(
            chosen(config, None, "https://github.com/o/r")
                .expect("an App")
                .as_deref(),
            Some("App 7")
        );
    }

    #[test]
    fn a_relative_path_is_the_name_of_a_systemd_credential() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("mirror-token"), "canary\n").expect("a file");
        let mut settings = Settings {
            git: GitConfig::new(gix::config::File::try_from("[stargate]\ntokenFile = mirror-token\n").expect("valid")),
            credentials_folder: Some(folder.path().to_owned()),
            ..Settings::default()
        };
        let url = gix::url::parse("https://host/o/r").expect("a URL");
        let found = TokenSetting::find(&url, &settings).expect("readable").expect("a token");
        assert_eq!(found.file(), Some(folder.path().join("mirror-token")));
        settings.credentials_folder = None;
        let error = TokenSetting::find(&url, &settings).expect_err("no folder");
        assert!(
            error.to_string().contains("CREDENTIALS_DIRECTORY is not set"),
            "{error}"
        );
    }
}
