//! The location of a remote, from a URL, a path, or the name of a configured remote.
use std::{
    borrow::Cow,
    fmt,
    path::{Component, Path, PathBuf},
};

use bstr::{BStr, BString, ByteSlice};
use git_push::{Error, ErrorKind};
use gix::{remote::Direction, url::Scheme};

use crate::git_config::user_config;
use crate::redact::{Shown, shown_address};
use crate::url::HttpUrl;

/// Location of a remote. `Display` and `Debug` hide user info and query.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// A server over http or https, with the user info of the URL.
    Http(gix::Url),
    /// A server over ssh.
    Ssh(gix::Url),
    /// A server that runs `git daemon`.
    Git(gix::Url),
    /// A folder of this machine.
    Path(PathBuf),
    /// A command that connects to the server (git-remote-ext), as in `ext::COMMAND`.
    Ext(BString),
    /// A remote that a program reaches (gitremote-helpers), as in `NAME::ADDRESS` or `NAME://…`.
    Helper(HelperAddress),
}

/// A remote that the program `git-remote-NAME` reaches. `Display` and `Debug` hide user info, query, and what follows a space.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HelperAddress {
    /// The name of the helper: letters, digits, `+`, `-` and `.`.
    pub name: String,
    /// What the program gets: the text after `NAME::`, or the whole of a URL `NAME://…`.
    pub address: BString,
    is_url: bool,
}

impl HelperAddress {
    /// Returns the whole URL, which may contain secrets.
    pub(crate) fn url(&self) -> BString {
        if self.is_url {
            self.address.clone()
        } else {
            [self.name.as_bytes(), b"::", &self.address].concat().into()
        }
    }
}

impl fmt::Display for HelperAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown_address(self.url().as_bstr()))
    }
}

impl fmt::Debug for HelperAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HelperAddress({self})")
    }
}

/// Finds the location to push to: the push URL of the remote named `name_or_url`, else the URL or path itself. Rewrites
/// it by `url.<base>.insteadOf` and `pushInsteadOf` (git-config). Without a repository, only the configuration of the
/// user and of the system is read.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if there is no such remote, or it does not have exactly one location that is supported.
pub fn resolve(name_or_url: &BStr, repository: Option<&gix::Repository>) -> Result<Location, Error> {
    let not_understood = |error: gix::Error| {
        let what = format!(
            "the URL of the remote {} is invalid: {}",
            shown(name_or_url),
            git_push::causes(&error)
        );
        Error::new(ErrorKind::Misconfigured, what)
            .with_hint("correct remote.<name>.url or url.<base>.insteadOf in git configuration")
    };
    let Some(repository) = repository else {
        let config = user_config()?;
        return Location::parse(rewritten(name_or_url, &config).as_ref());
    };
    let Some(named) = repository.try_find_remote(name_or_url) else {
        let url = parsed(name_or_url)?;
        let remote = repository.remote_at(url).map_err(not_understood)?;
        let location = Location::from_url(only_url(name_or_url, &remote)?)?.written_as(name_or_url);
        return location.unless_a_name(name_or_url);
    };
    let named = named.map_err(not_understood)?;
    let url = only_url(name_or_url, &named)?;
    Ok(
        match Location::from_url(url)?.written_as_configured(name_or_url, repository) {
            // As in git, which changes to the top of the repository before it reads remotes.
            Location::Path(path) => Location::Path(repository.workdir().unwrap_or(repository.git_dir()).join(path)),
            url => url,
        },
    )
}

/// Finds all locations to push to: all push URLs of the remote named `name_or_url`, else the URL or path itself. Each comes
/// with its URL, rewritten as by [`resolve()`], which may contain secrets.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if there is no such remote, or one of its locations is not supported.
pub fn resolve_all(name_or_url: &BStr, repository: &gix::Repository) -> Result<Vec<(gix::Url, Location)>, Error> {
    let Some(Ok(named)) = repository.try_find_remote(name_or_url) else {
        let location = resolve(name_or_url, Some(repository))?;
        let remote = repository.remote_at(parsed(name_or_url)?);
        let url = remote.ok().and_then(|remote| remote.url(Direction::Push).cloned());
        return Ok(vec![(url.map_or_else(|| parsed(name_or_url), Ok)?, location)]);
    };
    let urls: Vec<_> = named.urls(Direction::Push).collect();
    if urls.len() < 2 {
        let location = resolve(name_or_url, Some(repository))?;
        return Ok(urls.into_iter().map(|url| (url.clone(), location.clone())).collect());
    }
    let base = repository.workdir().unwrap_or(repository.git_dir());
    let located = |url: &gix::Url| {
        let location = match Location::from_url(url)?.written_as_configured(name_or_url, repository) {
            Location::Path(path) => Location::Path(base.join(path)),
            location => location,
        };
        Ok((url.clone(), location))
    };
    urls.into_iter().map(located).collect()
}

impl Location {
    /// Parses a URL (`https`, `http`, `ssh`, also as `host:path`, `git`, `file`, that of a remote helper) or a path.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the text is neither.
    pub fn parse(text: &BStr) -> Result<Self, Error> {
        Location::from_url(&parsed(text)?)?.written_as(text).unless_a_name(text)
    }

    /// Gives a helper its URL as it is written. The parser changes its host to lower case, and helpers may tell cases apart.
    fn written_as(mut self, text: &BStr) -> Self {
        if let Location::Helper(helper) = &mut self
            && helper.is_url
            && parsed(text).is_ok_and(|url| url.to_bstring() == helper.address)
        {
            helper.address = text.to_owned();
        }
        self
    }

    /// Gives a helper its URL as it is written in the configuration of this remote.
    fn written_as_configured(self, remote: &BStr, repository: &gix::Repository) -> Self {
        let config = repository.config_snapshot();
        let urls = ["pushUrl", "url"].map(|key| config.plumbing().strings(format!("remote.{remote}.{key}").as_str()));
        let urls = urls.into_iter().flatten().flatten();
        urls.fold(self, |location, url| location.written_as(url.as_bstr()))
    }

    /// Refuses a bare word if no folder has this name, because it was meant as the name of a remote.
    fn unless_a_name(self, text: &BStr) -> Result<Self, Error> {
        let is_name = |path: &Path| path.as_os_str() == &*text.to_os_str_lossy() && is_a_word(path) && !path.exists();
        if !matches!(&self, Location::Path(path) if is_name(path)) {
            return Ok(self);
        }
        let what = format!("there is no remote named {text}, and no such folder");
        let hint = format!("add it with `git remote add {text} <url>`, or give the URL itself");
        Err(Error::new(ErrorKind::Misconfigured, what).with_hint(hint))
    }

    fn from_url(url: &gix::Url) -> Result<Self, Error> {
        let misconfigured = |what: String| {
            Error::new(ErrorKind::Misconfigured, what).with_hint("use the https URL of the repository, or a path")
        };
        match &url.scheme {
            Scheme::Http | Scheme::Https => Ok(Location::Http(url.clone())),
            Scheme::File => match gix::path::from_bstr(url.path.as_bstr()) {
                Ok(path) => Ok(Location::Path(path.into_owned())),
                Err(_) => Err(misconfigured("the path of the remote is invalid on this system".into())),
            },
            Scheme::Ssh => Ok(Location::Ssh(url.clone())),
            Scheme::Git => Ok(Location::Git(url.clone())),
            Scheme::Ext => Ok(Location::Ext(url.path.clone())),
            Scheme::Helper(name) => Ok(Location::Helper(HelperAddress {
                name: name.clone(),
                address: url.path.clone(),
                is_url: false,
            })),
            Scheme::HelperUrl(name) => Ok(Location::Helper(HelperAddress {
                name: name.clone(),
                address: url.to_bstring(),
                is_url: true,
            })),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Http(url) => HttpUrl::new(url).ok_or(fmt::Error)?.fmt(f),
            Location::Ssh(url) | Location::Git(url) => Shown(url).fmt(f),
            Location::Path(path) => path.display().fmt(f),
            Location::Ext(command) => f.write_str(&shown_address([b"ext::", &command[..]].concat().as_bstr())),
            Location::Helper(address) => address.fmt(f),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

fn parsed(text: &BStr) -> Result<gix::Url, Error> {
    gix::url::parse(with_encoded_spaces(text).as_ref()).map_err(|_| {
        Error::new(
            ErrorKind::Misconfigured,
            format!("the remote {} is neither a URL nor a path", shown(text)),
        )
        .with_hint("a remote is an https, http, ssh, git or file URL, a path, or the name of a configured remote")
    })
}

/// Encodes spaces in the path of an ssh or git URL, which git takes as they are.
fn with_encoded_spaces(text: &BStr) -> Cow<'_, BStr> {
    let scheme = ["ssh://", "git://"]
        .into_iter()
        .find(|scheme| text.starts_with(scheme.as_bytes()));
    let path = scheme.and_then(|scheme| Some(scheme.len() + text[scheme.len()..].find_byte(b'/')?));
    match path.map(|path| text.split_at(path)) {
        Some((host, path)) if path.contains(&b' ') => {
            Cow::Owned(BString::from([host, &path.replace(" ", "%20")].concat()))
        }
        _ => Cow::Borrowed(text),
    }
}

fn is_a_word(path: &Path) -> bool {
    path.components().eq([Component::Normal(path.as_os_str())])
}

/// Rewrites a URL by the longest `url.<base>.pushInsteadOf`, else `insteadOf`, that it starts with (git-config).
fn rewritten(url: &BStr, config: &gix::config::File) -> BString {
    let sections: Vec<_> = config.sections_by_name("url").into_iter().flatten().collect();
    let by = |key: &str| {
        let rules = sections.iter().filter_map(|section| {
            let base = section.header().subsection_name()?;
            let values = section.values(key);
            let longest = values
                .into_iter()
                .filter(|value| url.starts_with(value))
                .max_by_key(|value| value.len())?;
            Some((longest.len(), base))
        });
        let (length, base) = rules.max_by_key(|(length, _)| *length)?;
        Some([base.as_bytes(), &url[length..]].concat().into())
    };
    by("pushInsteadOf")
        .or_else(|| by("insteadOf"))
        .unwrap_or_else(|| url.to_owned())
}

/// Returns the push URL of a remote, which must have exactly one.
fn only_url<'a>(name_or_url: &BStr, remote: &'a gix::Remote<'_>) -> Result<&'a gix::Url, Error> {
    let mut urls = remote.urls(Direction::Push);
    let what = match (urls.next(), urls.next()) {
        (Some(url), None) => return Ok(url),
        (None, _) => format!("the remote {} has no URL", shown(name_or_url)),
        (Some(_), Some(_)) => format!("the remote {} has more than one URL to push to", shown(name_or_url)),
    };
    Err(Error::new(ErrorKind::Misconfigured, what).with_hint("set one with `git remote set-url --push <name> <url>`"))
}

/// Returns the text of a location, which need not be a URL, unless the text may contain a secret.
fn shown(name_or_url: &BStr) -> String {
    match name_or_url.find_byteset(b"@?") {
        Some(_) => "that is configured".into(),
        None if name_or_url.contains_str("::") => shown_address(name_or_url),
        None => git_push::cleaned(name_or_url),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn repository(config: &str) -> (tempfile::TempDir, gix::Repository) {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = gix::init_bare(folder.path()).expect("a repository");
        let path = repository.git_dir().join("config");
        let mut text = fs::read_to_string(&path).expect("configuration");
        text.push_str(config);
        fs::write(&path, text).expect("writable");
        let options = gix::open::Options::isolated();
        let repository = gix::open_opts(folder.path(), options).expect("the repository");
        (folder, repository)
    }

    fn resolved(name_or_url: &str, config: &str) -> Result<String, Error> {
        let (_folder, repository) = repository(config);
        resolve(name_or_url.into(), Some(&repository)).map(|location| location.to_string())
    }

    #[test]
    fn without_a_repository_the_longest_rule_rewrites() {
        let config = "[url \"https://near/\"]\n insteadOf = https://host/\n insteadOf = host:\n\
                      [url \"https://nearer/\"]\n insteadOf = https://host/o/\n\
                      [url \"https://push/\"]\n pushInsteadOf = https://both/\n\
                      [url \"https://fetch/\"]\n insteadOf = https://both/o/\n";
        let config = gix::config::File::try_from(config).expect("a configuration");
        for (url, expected) in [
            ("https://host/r.git", "https://near/r.git"),
            ("host:r.git", "https://near/r.git"),
            ("https://host/o/r.git", "https://nearer/r.git"),
            ("https://both/o/r.git", "https://push/o/r.git"),
            ("https://other/r.git", "https://other/r.git"),
        ] {
            assert_eq!(rewritten(url.into(), &config), expected);
            let (_folder, repository) = repository(&config.to_string());
            let with_repository = resolve(url.into(), Some(&repository)).expect("a URL");
            assert_eq!(with_repository.to_string(), expected, "gix agrees");
        }
    }

    #[test]
    fn a_url_or_a_path_is_itself() {
        for text in [
            "https://host/o/r.git",
            "http://localhost:8080/r",
            "/srv/git/r.git",
            "./r.git",
            "ssh://host:2222/o/r.git",
            "host:o/r.git",
            "git://host/o/r.git",
        ] {
            assert_eq!(Location::parse(text.into()).expect(text).to_string(), text);
        }
        let file = Location::parse("file:///srv/git/r.git".into()).expect("a URL");
        assert_eq!(file, Location::Path("/srv/git/r.git".into()));
    }

    #[test]
    fn display_and_errors_have_no_secrets() {
        let location = Location::parse("https://me:canary@host/r.git?key=canary".into()).expect("a URL");
        assert_eq!(
            format!("{location} {location:?}"),
            "https://host/r.git Location(https://host/r.git)"
        );
        let error = Location::parse("https://me:canary@host:port/r.git".into()).expect_err("no port");
        assert!(!error.to_string().contains("canary"), "{error}");
        let location = Location::parse("ssh://me:canary@host/r.git".into()).expect("a URL");
        assert_eq!(
            format!("{location} {location:?}"),
            "ssh://host/r.git Location(ssh://host/r.git)"
        );
    }

    #[test]
    fn a_name_is_the_push_url_of_the_remote() {
        let remote = "[remote \"github\"]\n url = https://host/fetch.git\n";
        assert_eq!(resolved("github", remote).expect("a remote"), "https://host/fetch.git");
        let with_push_url = format!("{remote} pushurl = https://host/push.git\n");
        assert_eq!(
            resolved("github", &with_push_url).expect("a remote"),
            "https://host/push.git"
        );
    }

    #[test]
    fn urls_are_rewritten_as_git_configuration_says() {
        let config = "[url \"https://host/\"]\n insteadOf = gh:\n[url \"https://push.host/\"]\n pushInsteadOf = https://pull.host/\n\
                      [remote \"short\"]\n url = gh:o/r.git\n";
        assert_eq!(resolved("short", config).expect("rewritten"), "https://host/o/r.git");
        assert_eq!(
            resolved("gh:o/r.git", config).expect("rewritten"),
            "https://host/o/r.git"
        );
        assert_eq!(
            resolved("https://pull.host/r", config).expect("rewritten"),
            "https://push.host/r"
        );
    }

    #[test]
    fn what_a_helper_gets_is_what_the_url_says() {
        for (url, name, address) in [
            ("foo::sh -c evil", "foo", "sh -c evil"),
            ("codecommit::eu-central-1://me@r", "codecommit", "eu-central-1://me@r"),
            ("https::https://host/r", "https", "https://host/r"),
            ("s3://bucket/A%20c?x=y", "s3", "s3://bucket/A%20c?x=y"),
            ("Foo+bar://Me:p@Host:7/r", "Foo+bar", "Foo+bar://Me:p@Host:7/r"),
        ] {
            let Ok(Location::Helper(helper)) = Location::parse(url.into()) else {
                panic!("{url}")
            };
            assert_eq!(
                (helper.name.as_str(), helper.address.to_string().as_str()),
                (name, address)
            );
            assert_eq!(helper.url(), url);
        }
        let ext = Location::parse("ext::sh -c canary".into()).expect("a URL");
        assert_eq!(format!("{ext} {ext:?}"), "ext::sh … Location(ext::sh …)");
        assert_eq!(ext, Location::Ext("sh -c canary".into()));
    }

    #[test]
    fn a_helper_gets_the_configured_url_as_it_is_written() {
        let config = "[remote \"far\"]\n url = s3://Bucket/R\n[url \"s3://\"]\n insteadOf = far:\n";
        for (name, expected) in [
            ("far", "s3://Bucket/R"),
            ("S3://Other/R", "S3://Other/R"),
            ("far:a/R", "s3://a/R"),
        ] {
            let (_folder, repository) = repository(config);
            let Ok(Location::Helper(helper)) = resolve(name.into(), Some(&repository)) else {
                panic!("{name}")
            };
            assert_eq!(helper.address, expected);
        }
    }

    #[test]
    fn a_relative_path_of_a_remote_is_below_the_repository() {
        let (folder, repository) = repository("[remote \"near\"]\n url = ../near.git\n");
        let location = resolve("near".into(), Some(&repository)).expect("a remote");
        assert_eq!(location, Location::Path(folder.path().join("../near.git")));
    }

    #[test]
    fn a_location_that_is_not_supported_is_refused_with_a_hint() {
        let two =
            "[remote \"two\"]\n pushurl = https://a/r\n pushurl = https://b/r\n[remote \"none\"]\n prune = true\n";
        let cases = [
            ("nobody", "there is no remote named nobody"),
            ("two", "more than one URL"),
            ("none", "has no URL"),
        ];
        for (name, expected) in cases {
            let error = resolved(name, two).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{name}");
            assert!(error.to_string().contains(expected), "{name}: {error}");
            assert!(error.hint().is_some(), "{name}");
        }
    }
}
