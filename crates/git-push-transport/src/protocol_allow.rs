//! Protocols that configuration allows (git-config, *protocol.allow*).
use git_push::{Error, ErrorKind};

use crate::location::Location;
use crate::settings::Settings;

/// Refuses a location whose protocol is not allowed.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if `GIT_ALLOW_PROTOCOL`, `protocol.<name>.allow` or `protocol.allow` forbids it, or if a value
/// is invalid.
pub(crate) fn check(location: &Location, settings: &Settings) -> Result<(), Error> {
    let name = match location {
        Location::Http(url) => url.scheme.as_str(),
        Location::Ssh(_) => "ssh",
        Location::Git(_) => "git",
        Location::Path(_) => "file",
        Location::Ext(_) => "ext",
        Location::Helper(helper) => &helper.name,
    };
    if let Some(allowed) = &settings.allowed_protocols {
        return verdict(name, allowed.split(':').any(|one| one == name));
    }
    let (own, all) = (format!("protocol.{name}.allow"), "protocol.allow".to_owned());
    for key in [own, all] {
        if let Some(value) = settings.git.string(&key) {
            return match value.to_ascii_lowercase().as_slice() {
                b"always" => Ok(()),
                b"never" => verdict(name, false),
                b"user" => verdict(name, settings.is_user),
                _ => Err(crate::git_config::not_understood(&key).with_hint("set it to always, never or user")),
            };
        }
    }
    verdict(name, by_default(name, settings.is_user))
}

/// Returns the rule without configuration (git-config, *protocol.allow*): folders and helpers are for people only.
fn by_default(name: &str, is_user: bool) -> bool {
    match name {
        "http" | "https" | "git" | "ssh" => true,
        "ext" => false,
        _ => is_user,
    }
}

fn verdict(name: &str, is_allowed: bool) -> Result<(), Error> {
    if is_allowed {
        return Ok(());
    }
    let what = format!("transport '{name}' not allowed");
    let hint = format!("allow it with `git config protocol.{name}.allow always`");
    Err(Error::new(ErrorKind::Misconfigured, what).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git_config::GitConfig;

    /// Returns true if the URL is allowed by this configuration and environment.
    fn is_allowed(url: &str, config: &str, allowed: Option<&str>, is_user: bool) -> Result<bool, Error> {
        let settings = Settings {
            allowed_protocols: allowed.map(Into::into),
            is_user,
            git: GitConfig::new(config.try_into().expect("a configuration")),
            ..Settings::default()
        };
        match check(&Location::parse(url.into())?, &settings) {
            Ok(()) => Ok(true),
            Err(error) if error.to_string().ends_with("not allowed") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// URLs, configuration, variable, and whether they are allowed for a person and for a program.
    type Case<'a> = (&'a [&'a str], &'a str, Option<&'a str>, bool, bool);

    #[test]
    fn protocols_are_allowed_as_in_git() {
        const SAFE: [&str; 4] = ["https://h/r", "http://h/r", "ssh://h/r", "git://h/r"];
        let cases: &[Case] = &[
            (&SAFE, "", None, true, true),
            (&["/srv/r", "foo::r", "foo://h/r"], "", None, true, false),
            (&["ext::sh"], "", None, false, false),
            (&["ext::sh"], "[protocol \"ext\"]\n allow = Always", None, true, true),
            (&["foo://h/r"], "[protocol \"foo\"]\n allow = always", None, true, true),
            (&["foo::r"], "[protocol \"foo\"]\n allow = never", None, false, false),
            (&["host:r"], "[protocol \"ssh\"]\n allow = USER", None, true, false),
            (
                &["/srv/r", "https://h/r", "foo::r"],
                "[protocol]\n allow = never",
                None,
                false,
                false,
            ),
            (&["ext::sh", "/srv/r"], "[protocol]\n allow = always", None, true, true),
            (&["https://h/r"], "[protocol]\n allow = user", None, true, false),
            (
                &["https://h/r"],
                "[protocol]\n allow = never\n[protocol \"https\"]\n allow = always",
                None,
                true,
                true,
            ),
            // The variable replaces all of it.
            (
                &["ext::sh", "https://h/r"],
                "[protocol]\n allow = never",
                Some("ext:https"),
                true,
                true,
            ),
            (
                &["http://h/r", "foo::r"],
                "[protocol]\n allow = always",
                Some("https:fo"),
                false,
                false,
            ),
            (&SAFE, "", Some(""), false, false),
        ];
        for (urls, config, variable, person, program) in cases {
            for url in *urls {
                for (is_user, expected) in [(true, *person), (false, *program)] {
                    let allowed = is_allowed(url, config, *variable, is_user).expect(url);
                    assert_eq!(
                        allowed, expected,
                        "{url} with {config:?} and {variable:?}, a person: {is_user}"
                    );
                }
            }
        }
        is_allowed("https://h/r", "[protocol]\n allow = perhaps", None, true).expect_err("no rule");
    }
}
