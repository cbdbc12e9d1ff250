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
    // A command in a URL is never run by default, as in git.
    verdict(name, name != "ext")
}

fn verdict(name: &str, is_allowed: bool) -> Result<(), Error> {
    if is_allowed {
        return Ok(());
    }
    let what = format!("transport '{name}' not allowed");
    let hint = format!("allow it with `git config protocol.{name}.allow always`");
    Err(Error::new(ErrorKind::Misconfigured, what).with_hint(hint))
}
