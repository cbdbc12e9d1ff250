//! The URLs of a repository's resources in the API of its forge.
use crate::forge::Forge;
use crate::url::{HttpUrl, encoded};

/// A repository on a forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) forge: Forge,
    /// Root of the API, without a slash at its end.
    pub(crate) api: String,
    /// Names of the owner: one, or the groups of GitLab.
    owner: Vec<String>,
    name: String,
}

impl Address {
    /// Returns the address of the repository at `url`; `None` if it cannot be a repository of this forge.
    pub(crate) fn new(forge: Forge, url: &HttpUrl) -> Option<Self> {
        let (origin, path) = url.origin_and_path();
        let path = path.trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let names: Vec<&str> = path.split('/').collect();
        let (api, names) = match (forge, &names[..]) {
            (Forge::GitHub, [_, _]) => (github_api(origin, url.host()), &names[..]),
            (Forge::GitLab, [_, _, ..]) => (format!("{origin}/api/v4"), &names[..]),
            (Forge::Gitea, [below @ .., _, _]) => {
                let below: String = below.iter().map(|name| format!("/{name}")).collect();
                (format!("{origin}{below}/api/v1"), &names[names.len() - 2..])
            }
            _ => return None,
        };
        let (name, owner) = names.split_last()?;
        Some(Address {
            forge,
            api,
            owner: owner.iter().map(|name| (*name).to_owned()).collect(),
            name: (*name).to_owned(),
        })
    }

    /// Returns the URL of the repository.
    pub(crate) fn repository(&self) -> String {
        let name = encoded(&self.name);
        match self.forge {
            Forge::GitHub | Forge::Gitea => self.below(&format!("repos/{}/{name}", self.owner_encoded("/"))),
            Forge::GitLab => self.below(&format!("projects/{}%2F{name}", self.owner_encoded("%2F"))),
        }
    }

    /// Returns the URL of `path`, which is encoded already, below the root of the API.
    pub(crate) fn below(&self, path: &str) -> String {
        format!("{}/{path}", self.api)
    }

    /// Returns the name of the owner, with slashes between groups.
    pub(crate) fn owner(&self) -> String {
        self.owner.join("/")
    }

    /// Returns the name of the owner as one name of a path.
    pub(crate) fn owner_encoded(&self, separator: &str) -> String {
        let names: Vec<_> = self.owner.iter().map(|name| encoded(name)).collect();
        names.join(separator)
    }

    /// Returns the name of the repository.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

fn github_api(origin: &str, host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if host == "github.com" || host.ends_with(".ghe.com") {
        format!("https://api.{host}")
    } else {
        format!("{origin}/api/v3")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(forge: Forge, url: &str) -> Option<String> {
        let url = HttpUrl::new(&gix::url::parse(url).expect("a URL")).expect("of http");
        Address::new(forge, &url).map(|address| address.repository())
    }

    #[test]
    fn each_forge_has_its_urls() {
        use Forge::{GitHub, GitLab, Gitea};
        for (forge, url, expected) in [
            (GitHub, "https://github.com/o/r.git", "https://api.github.com/repos/o/r"),
            (GitHub, "https://me@GitHub.com/o/r/", "https://api.github.com/repos/o/r"),
            (GitHub, "https://a.ghe.com/o/r", "https://api.a.ghe.com/repos/o/r"),
            (
                GitHub,
                "https://git.example.com:8443/o/r.git",
                "https://git.example.com:8443/api/v3/repos/o/r",
            ),
            (
                GitLab,
                "https://gitlab.com/g/sub/r.git",
                "https://gitlab.com/api/v4/projects/g%2Fsub%2Fr",
            ),
            (
                Gitea,
                "https://codeberg.org/o/r.git",
                "https://codeberg.org/api/v1/repos/o/r",
            ),
            (
                Gitea,
                "https://example.com/git/o/r.git",
                "https://example.com/git/api/v1/repos/o/r",
            ),
        ] {
            assert_eq!(repository(forge, url).expect(url), expected);
        }
        for (forge, url) in [
            (GitHub, "https://github.com/r.git"),
            (GitHub, "https://git.example.com/git/o/r.git"),
            (GitLab, "https://gitlab.com/r.git"),
            (Gitea, "https://codeberg.org"),
        ] {
            assert_eq!(repository(forge, url), None, "{url}");
        }
    }
}
