//! Location of the mirror's LFS objects (git-lfs, *docs/api/server-discovery.md*).
use std::path::PathBuf;

use bstr::{BStr, BString, ByteSlice};
use git_push::{Error, ErrorKind};
use git_push_transport::Location;

/// Path below the URL of a repository.
const BELOW: &str = "/info/lfs";

/// Location of the mirror's LFS objects.
#[derive(Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A server of the batch API.
    Http(gix::Url),
    /// A repository on a server over ssh, whose `git-lfs-authenticate` names the server of the batch API.
    Ssh(gix::Url),
    /// A repository in a folder.
    Folder(PathBuf),
    /// None: `git://` has no LFS.
    None,
}

/// Settings that name an endpoint, in the order in which they count.
#[derive(Debug, Clone, Default)]
pub(super) struct Named {
    /// `lfs.pushUrl`, else `lfs.url`, of git configuration.
    pub(super) of_all: Option<BString>,
    /// `remote.<name>.lfsPushUrl`, else `remote.<name>.lfsUrl`.
    pub(super) of_remote: Option<BString>,
    /// The same of `.lfsconfig` in the tree of HEAD, which pushers can change.
    pub(super) of_tree: Option<BString>,
}

impl Named {
    /// Reads git configuration, and `.lfsconfig` if there is one.
    pub(super) fn read(config: &gix::config::File, lfsconfig: Option<&gix::config::File>, remote: &str) -> Self {
        let text = |file: &gix::config::File, keys: [String; 2]| {
            let values = keys.iter().map(|key| file.string(key.as_str()));
            values.flatten().find(|value| !value.is_empty())
        };
        let all = || ["lfs.pushurl".to_owned(), "lfs.url".to_owned()];
        let one = || [format!("remote.{remote}.lfspushurl"), format!("remote.{remote}.lfsurl")];
        Named {
            of_all: text(config, all()),
            of_remote: text(config, one()),
            of_tree: lfsconfig.and_then(|file| text(file, all()).or_else(|| text(file, one()))),
        }
    }

    /// Returns the endpoint of the mirror at `location`.
    ///
    /// # Errors
    /// The named URL is not one of http, https or ssh. One from `.lfsconfig` may be neither ssh nor a folder, because pushers could
    /// make this machine connect anywhere with its keys.
    pub(super) fn endpoint(&self, location: &Location) -> Result<Endpoint, Error> {
        if let Some(url) = self.of_all.as_ref().or(self.of_remote.as_ref()) {
            return named(url.as_bstr(), true);
        }
        if let Some(url) = &self.of_tree {
            return named(url.as_bstr(), false);
        }
        match location {
            Location::Http(url) => Ok(Endpoint::Http(below(url)?)),
            Location::Ssh(url) => Ok(Endpoint::Ssh(url.clone())),
            Location::Path(path) => Ok(Endpoint::Folder(path.clone())),
            _ => Ok(Endpoint::None),
        }
    }
}

impl Endpoint {
    /// Parses the URL of a server of the batch API.
    pub(super) fn of_server(url: &BStr) -> Result<Self, Error> {
        named(url, false)
    }
}

fn named(url: &BStr, may_be_ssh: bool) -> Result<Endpoint, Error> {
    let refused = || {
        let what = "the URL of the LFS server is not one of http, https or ssh";
        Error::new(ErrorKind::Misconfigured, what)
            .with_hint("correct lfs.url, remote.<name>.lfsurl, .lfsconfig or stargate.lfsUrl")
    };
    match Location::parse(url).map_err(|_| refused())? {
        Location::Http(url) => Ok(Endpoint::Http(url)),
        Location::Ssh(url) if may_be_ssh => Ok(Endpoint::Ssh(url)),
        Location::Path(path) if may_be_ssh => Ok(Endpoint::Folder(path)),
        _ => Err(refused()),
    }
}

/// Returns the endpoint below a repository, as git-lfs does: with `.git`.
fn below(repository: &gix::Url) -> Result<gix::Url, Error> {
    let mut url = repository.clone();
    let path = url.path.trim_end_with(|char| char == '/').to_vec();
    let suffix = if path.ends_with(b".git") { "" } else { ".git" };
    url.path = [&path[..], suffix.as_bytes(), BELOW.as_bytes()].concat().into();
    Ok(url)
}

/// Returns true if scheme, host and port are the same. Credentials of the mirror belong to its origin.
pub(super) fn same_origin(one: &gix::Url, other: &gix::Url) -> bool {
    one.scheme == other.scheme
        && one.host().map(str::to_ascii_lowercase) == other.host().map(str::to_ascii_lowercase)
        && one.port_or_default() == other.port_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> gix::config::File {
        gix::config::File::try_from(text).expect("git configuration")
    }

    fn shown(endpoint: Result<Endpoint, Error>) -> String {
        match endpoint {
            Ok(Endpoint::Http(url) | Endpoint::Ssh(url)) => url.to_bstring().to_string(),
            Ok(Endpoint::Folder(path)) => path.display().to_string(),
            Ok(Endpoint::None) => "none".into(),
            Err(error) => format!("{:?}", error.kind()),
        }
    }

    #[test]
    fn the_first_named_url_counts() {
        let mirror = Location::parse("https://h/o/r".into()).expect("a URL");
        for (git, tree, expected) in [
            ("", "", "https://h/o/r.git/info/lfs"),
            ("", "[lfs]\nurl = https://tree/lfs", "https://tree/lfs"),
            (
                "[remote \"m\"]\nlfsurl = https://m/lfs",
                "[lfs]\nurl = https://tree/lfs",
                "https://m/lfs",
            ),
            (
                "[lfs]\nurl = https://all/lfs\n[remote \"m\"]\nlfsurl = https://m/lfs",
                "",
                "https://all/lfs",
            ),
            (
                "[lfs]\nurl = https://all/lfs\npushurl = https://push/lfs",
                "",
                "https://push/lfs",
            ),
            ("[lfs]\nurl = ssh://git@h/o/r", "", "ssh://git@h/o/r"),
            ("", "[lfs]\nurl = ssh://git@h/o/r", "Misconfigured"),
            ("", "[lfs]\nurl = /etc", "Misconfigured"),
            ("[lfs]\nurl = ftp://h", "", "Misconfigured"),
        ] {
            let tree = config(tree);
            let named = Named::read(&config(git), Some(&tree), "m");
            assert_eq!(
                shown(named.endpoint(&mirror)),
                expected,
                "{git} {tree}",
                tree = tree.to_bstring()
            );
        }
    }

    #[test]
    fn each_kind_of_mirror_has_its_endpoint() {
        for (mirror, expected) in [
            ("https://h:8443/o/r.git/", "https://h:8443/o/r.git/info/lfs"),
            ("git@h:o/r.git", "git@h:o/r.git"),
            ("/srv/mirror.git", "/srv/mirror.git"),
            ("git://h/r", "none"),
        ] {
            let location = Location::parse(mirror.into()).expect("a URL");
            assert_eq!(shown(Named::default().endpoint(&location)), expected);
        }
    }
}
