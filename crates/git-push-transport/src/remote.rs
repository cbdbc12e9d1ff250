//! A mirror, whatever its URL.
use std::{
    fmt, fs, io,
    io::Write,
    path::{Component, Path, PathBuf},
};

use bstr::{BStr, BString, ByteSlice, ByteVec};
use git_push::{
    self, Advertisement, Capabilities, Connection, Error, ErrorKind, Pack, RemoteRef, Report, Request, Traffic,
    repository,
};
use gix::{ObjectId, remote::Direction, url::Scheme};

use super::fetch::Extent;
use super::forge::Forge;
use super::head::Head;
#[cfg(feature = "http")]
use super::http::Http;
#[cfg(feature = "local")]
use super::local::Local;
use super::settings::{Settings, user_config};
use super::shown::Shown;
#[cfg(any(feature = "daemon", feature = "ssh"))]
use super::stream::Stream;
use super::url::HttpUrl;

/// Location of a remote. `Display` and `Debug` hide user info and query.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// On a server, over http or https, with the user info that the URL has.
    Http(gix::Url),
    /// On a server, over ssh.
    Ssh(gix::Url),
    /// On a server that runs `git daemon`.
    Git(gix::Url),
    /// In a folder of this machine.
    Path(PathBuf),
}

/// A mirror that can be asked and pushed to. What it is asked and how often is its caller's affair.
pub struct Remote {
    location: Location,
    reach: Reach,
}

enum Reach {
    #[cfg(feature = "http")]
    Http(Box<Http>),
    #[cfg(any(feature = "daemon", feature = "ssh"))]
    Stream(Box<Stream>),
    #[cfg(feature = "local")]
    Local(Box<Local>, PathBuf),
}

/// Finds the one place that pushes to `name_or_url` go to: the push URL of the `[remote]` of this name, else the URL or
/// path itself, rewritten as `url.<base>.insteadOf` and `pushInsteadOf` say (git-config); without a repository, as the
/// user's and the system's configuration say.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] when there is no such remote, or it is not at one place that can be reached.
pub fn resolve(name_or_url: &BStr, repository: Option<&gix::Repository>) -> Result<Location, Error> {
    let not_understood = |error: gix::Error| {
        let what = format!(
            "the URL of the remote {} is not understood: {}",
            shown(name_or_url),
            git_push::causes(&error)
        );
        Error::new(ErrorKind::Misconfigured, what).with_hint("look at remote.<name>.url and url.<base>.insteadOf")
    };
    let Some(repository) = repository else {
        let config = user_config()?;
        return Location::parse(rewritten(name_or_url, &config).as_ref());
    };
    let Some(named) = repository.try_find_remote(name_or_url) else {
        let url = parsed(name_or_url)?;
        let remote = repository.remote_at(url).map_err(not_understood)?;
        return Location::from_url(only_url(name_or_url, &remote)?)?.unless_a_name(name_or_url);
    };
    let named = named.map_err(not_understood)?;
    Ok(match Location::from_url(only_url(name_or_url, &named)?)? {
        // Like git, which goes to the top of the repository before it looks at remotes.
        Location::Path(path) => Location::Path(repository.workdir().unwrap_or(repository.git_dir()).join(path)),
        url => url,
    })
}

impl Location {
    /// Takes a URL (`https`, `http`, `ssh`, also as `host:path`, `git`, `file`) or a path.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] for anything else.
    pub fn parse(text: &BStr) -> Result<Self, Error> {
        Location::from_url(&parsed(text)?)?.unless_a_name(text)
    }

    /// Refuses a path that was given as a bare word and leads nowhere: it was meant as the name of a remote.
    fn unless_a_name(self, text: &BStr) -> Result<Self, Error> {
        match &self {
            Location::Path(path)
                if path.as_os_str() == &*text.to_os_str_lossy() && is_a_word(path) && !path.exists() =>
            {
                let what = format!("there is no remote named {text}, and no such folder");
                Err(Error::new(ErrorKind::Misconfigured, what).with_hint(format!(
                    "add it with `git remote add {text} <url>`, or give the URL itself"
                )))
            }
            _ => Ok(self),
        }
    }

    fn from_url(url: &gix::Url) -> Result<Self, Error> {
        let misconfigured = |what: String| {
            Error::new(ErrorKind::Misconfigured, what).with_hint("use the https URL of the repository, or a path")
        };
        match &url.scheme {
            Scheme::Http | Scheme::Https => Ok(Location::Http(url.clone())),
            Scheme::File => match gix::path::from_bstr(url.path.as_bstr()) {
                Ok(path) => Ok(Location::Path(path.into_owned())),
                Err(_) => Err(misconfigured(
                    "the path of the remote cannot be one on this system".into(),
                )),
            },
            Scheme::Ssh => Ok(Location::Ssh(url.clone())),
            Scheme::Git => Ok(Location::Git(url.clone())),
            other => Err(misconfigured(format!(
                "remotes over {} are not supported",
                other.as_str()
            ))),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Http(url) => HttpUrl::new(url).ok_or(fmt::Error)?.fmt(f),
            Location::Ssh(url) | Location::Git(url) => Shown(url).fmt(f),
            Location::Path(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

impl Remote {
    /// The mirror at `location`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] when it cannot be reached like this; see [`Http::open()`], [`Stream::open()`] and
    /// [`Local::open()`].
    pub fn open(location: Location, settings: &Settings) -> Result<Self, Error> {
        let reach = match &location {
            #[cfg(feature = "http")]
            Location::Http(url) => Reach::Http(Box::new(Http::open(url, settings)?)),
            #[cfg(feature = "ssh")]
            Location::Ssh(url) => Reach::Stream(Box::new(Stream::open(url, settings)?)),
            #[cfg(feature = "daemon")]
            Location::Git(url) => Reach::Stream(Box::new(Stream::open(url, settings)?)),
            #[cfg(feature = "local")]
            Location::Path(path) => Reach::Local(Box::new(Local::open(path)?), path.clone()),
            #[cfg(not(all(feature = "daemon", feature = "http", feature = "local", feature = "ssh")))]
            left_out => {
                let what = format!("{left_out}: this program was built without a way to such a remote");
                let hint = "build git-push-transport with its feature: daemon, http, local or ssh";
                return Err(Error::new(ErrorKind::Misconfigured, what).with_hint(hint));
            }
        };
        Ok(Remote { location, reach })
    }

    /// Returns its location.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Makes the commit `want` and the commits before it, up to those of `haves`, readable in `into`, a temporary
    /// repository of the same object format. A folder's objects are not copied but borrowed (gitrepository-layout,
    /// *objects/info/alternates*).
    ///
    /// # Errors
    /// They could not be fetched whole.
    pub fn fetch_commits(&mut self, want: ObjectId, into: &gix::Repository, haves: &[ObjectId]) -> Result<(), Error> {
        match &mut self.reach {
            #[cfg(feature = "http")]
            Reach::Http(http) => http.fetch(want, into, haves, Extent::Commits),
            #[cfg(any(feature = "daemon", feature = "ssh"))]
            Reach::Stream(stream) => stream.fetch(want, into, haves, Extent::Commits),
            #[cfg(feature = "local")]
            Reach::Local(_, path) => borrow_objects(path, want, into),
        }
    }

    /// Fetches the commit `want` with everything that it reaches into the repository `into`, durably; what `haves` reach is
    /// there.
    ///
    /// # Errors
    /// It could not be fetched whole; `into` is unchanged.
    pub fn fetch(&mut self, want: ObjectId, into: &gix::Repository, haves: &[ObjectId]) -> Result<(), Error> {
        match &mut self.reach {
            #[cfg(feature = "http")]
            Reach::Http(http) => http.fetch(want, into, haves, Extent::Objects),
            #[cfg(any(feature = "daemon", feature = "ssh"))]
            Reach::Stream(stream) => stream.fetch(want, into, haves, Extent::Objects),
            #[cfg(feature = "local")]
            Reach::Local(local, _) => local.fetch(want, into, haves),
        }
    }

    /// Reads HEAD, as a reader sees it.
    ///
    /// # Errors
    /// The answer did not arrive whole.
    pub fn head(&mut self) -> Result<Head, Error> {
        match &mut self.reach {
            #[cfg(feature = "http")]
            Reach::Http(http) => http.head(),
            #[cfg(any(feature = "daemon", feature = "ssh"))]
            Reach::Stream(stream) => stream.head(),
            #[cfg(feature = "local")]
            Reach::Local(local, _) => local.head(),
        }
    }

    /// Lets HEAD name `branch`, a full name: in a folder directly, on a server through the REST API of `forge`.
    ///
    /// # Errors
    /// The server is not a known forge, it is reached over ssh or `git://`, or it does not change HEAD.
    pub fn set_head(&mut self, branch: &BStr, forge: Option<Forge>) -> Result<(), Error> {
        let cannot = |why: &str| Error::new(ErrorKind::Misconfigured, why.to_owned());
        match &mut self.reach {
            #[cfg(feature = "http")]
            Reach::Http(http) => match forge {
                Some(forge) => http.set_default_branch(forge, branch),
                None => Err(cannot("this server is not known to be GitHub, GitLab or Gitea")),
            },
            #[cfg(any(feature = "daemon", feature = "ssh"))]
            Reach::Stream(_) => Err(cannot("git cannot set HEAD over ssh or git://")),
            #[cfg(feature = "local")]
            Reach::Local(local, _) => local.set_head(branch),
        }
    }

    /// Returns the capabilities that an HTTP server offers to readers, once it has sent them. Other servers are asked on
    /// each connection.
    pub fn reading(&self) -> Option<&Capabilities> {
        match &self.reach {
            #[cfg(feature = "http")]
            Reach::Http(http) => http.protocol_2(),
            #[cfg(any(feature = "daemon", feature = "ssh"))]
            Reach::Stream(_) => None,
            #[cfg(feature = "local")]
            Reach::Local(..) => None,
        }
    }

    /// Goes by what the server is remembered to offer to readers, until an error.
    pub fn remember_reading(&mut self, offered: Capabilities) {
        match &mut self.reach {
            #[cfg(feature = "http")]
            Reach::Http(http) => http.remember_protocol_2(offered),
            #[cfg(any(feature = "daemon", feature = "ssh"))]
            Reach::Stream(_) => {}
            #[cfg(feature = "local")]
            Reach::Local(..) => {}
        }
    }

    fn connection(&mut self) -> &mut dyn Connection {
        match &mut self.reach {
            #[cfg(feature = "http")]
            Reach::Http(http) => &mut **http,
            #[cfg(any(feature = "daemon", feature = "ssh"))]
            Reach::Stream(stream) => &mut **stream,
            #[cfg(feature = "local")]
            Reach::Local(local, _) => &mut **local,
        }
    }
}

impl Connection for Remote {
    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        self.connection().advertisement()
    }

    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        self.connection().send(request, pack)
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        self.connection().read_refs(prefixes)
    }

    fn traffic(&self) -> Traffic {
        match &self.reach {
            #[cfg(feature = "http")]
            Reach::Http(http) => http.traffic(),
            #[cfg(any(feature = "daemon", feature = "ssh"))]
            Reach::Stream(stream) => stream.traffic(),
            #[cfg(feature = "local")]
            Reach::Local(local, _) => local.traffic(),
        }
    }
}

fn parsed(text: &BStr) -> Result<gix::Url, Error> {
    gix::url::parse(text).map_err(|_| {
        Error::new(
            ErrorKind::Misconfigured,
            format!("the remote {} is neither a URL nor a path", shown(text)),
        )
        .with_hint("a remote is an https, http, ssh, git or file URL, a path, or the name of a configured remote")
    })
}

fn is_a_word(path: &Path) -> bool {
    path.components().eq([Component::Normal(path.as_os_str())])
}

/// What the longest `url.<base>.pushInsteadOf`, else `insteadOf`, that a URL begins with makes of it (git-config).
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

/// The push URL of a remote, which must be one.
fn only_url<'a>(name_or_url: &BStr, remote: &'a gix::Remote<'_>) -> Result<&'a gix::Url, Error> {
    let mut urls = remote.urls(Direction::Push);
    let what = match (urls.next(), urls.next()) {
        (Some(url), None) => return Ok(url),
        (None, _) => format!("the remote {} has no URL", shown(name_or_url)),
        (Some(_), Some(_)) => format!("the remote {} has more than one URL to push to", shown(name_or_url)),
    };
    Err(Error::new(ErrorKind::Misconfigured, what)
        .with_hint("give it one with `git remote set-url --push <name> <url>`"))
}

#[cfg(feature = "local")]
/// Lets `into` read the objects of the repository at `path`.
fn borrow_objects(path: &Path, want: ObjectId, into: &gix::Repository) -> Result<(), Error> {
    let failed = |why: &dyn fmt::Display| {
        Error::new(
            ErrorKind::Transient,
            format!("cannot read {want} from {}: {why}", path.display()),
        )
    };
    let lender = repository::open(path).map_err(|error| failed(&error))?;
    let objects = fs::canonicalize(lender.objects.store_ref().path()).map_err(|error| failed(&error))?;
    let mut line = gix::path::into_bstr(objects)
        .map_err(|error| failed(&git_push::causes(&error)))?
        .into_owned();
    line.push_char('\n');
    let alternates = into.objects.store_ref().path().join("info/alternates");
    let known = match fs::read(&alternates) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        known => known.map_err(|error| failed(&error))?,
    };
    if !known.lines_with_terminator().any(|known| known == line.as_slice()) {
        let written = fs::create_dir_all(alternates.parent().unwrap_or(&alternates)).and_then(|()| {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(&alternates)?;
            file.write_all(&line)
        });
        written.map_err(|error| failed(&error))?;
    }
    match into.has_object(want) {
        true => Ok(()),
        false => Err(failed(&"it is not there")),
    }
}

/// What was given for a remote, unless it may hold a secret.
fn shown(name_or_url: &BStr) -> String {
    match name_or_url.find_byteset(b"@?") {
        Some(_) => "that is configured".into(),
        None => git_push::cleaned(name_or_url),
    }
}

#[cfg(test)]
mod tests {
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
    fn what_is_shown_has_no_secrets() {
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
    fn a_relative_path_of_a_remote_is_below_the_repository() {
        let (folder, repository) = repository("[remote \"near\"]\n url = ../near.git\n");
        let location = resolve("near".into(), Some(&repository)).expect("a remote");
        assert_eq!(location, Location::Path(folder.path().join("../near.git")));
    }

    #[test]
    fn what_cannot_be_reached_is_told_with_what_to_do() {
        let two =
            "[remote \"two\"]\n pushurl = https://a/r\n pushurl = https://b/r\n[remote \"none\"]\n prune = true\n";
        let cases = [
            ("nobody", "there is no remote named nobody"),
            ("two", "more than one URL"),
            ("none", "has no URL"),
            ("ext::sh -c evil", "over ext are not supported"),
            ("gopher://host/r.git", "not supported"),
        ];
        for (name, expected) in cases {
            let error = resolved(name, two).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{name}");
            assert!(error.to_string().contains(expected), "{name}: {error}");
            assert!(error.hint().is_some(), "{name}");
        }
    }
}
