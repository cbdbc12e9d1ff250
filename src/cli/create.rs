//! `stargate-mirror create`: makes the mirror, an empty private repository on a forge.
use std::path::{Path, PathBuf};

use bstr::BStr;
use git_push::{Connection, repository};
use git_push_transport::{Forge, Location, Remote, Settings, forge_repository::ForgeRepository, resolve};

use super::{
    environment,
    report::{Exit, Failure},
};
use crate::{
    config::{Config, USER_AGENT},
    hook::identity,
    worker,
};

const EXAMPLES: &str = "\
Examples:
  GITHUB_PAT=… stargate-mirror create --remote https://github.com/o/r.git
  stargate-mirror create --repo r.git --host gitea \\
    --remote https://git.example.com/o/r.git

Exit codes: 0 the repository exists and is empty, 1 the forge failed, 2 the kind
of the host is not known, 3 the repository is not empty, or its name is taken, 4
the token may not create it";

/// Create the mirror: an empty private repository on GitHub, GitLab, Gitea or Forgejo.
///
/// Issues and the wiki are switched off, and the description names the URL for pushes. An existing empty repository is
/// used as it is. The token needs more permissions than a push: docs/tokens.md lists them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The mirrored repository [default: GIT_DIR, else found from the current directory, if there is one]
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// The mirror's https URL, or the name of a remote [default: stargate.remote]
    #[arg(long, value_name = "URL")]
    remote: Option<String>,
    /// Kind of the host, if its name does not show it
    #[arg(long, value_name = "KIND")]
    host: Option<Host>,
    /// URL for pushes, named in the description
    #[arg(long, value_name = "URL")]
    source: Option<String>,
}

/// Kind of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Host {
    /// GitHub Enterprise
    Github,
    /// GitLab
    Gitlab,
    /// Gitea or Forgejo
    Gitea,
}

/// The repository to make.
#[derive(Debug)]
pub struct NewMirror<'a> {
    /// The mirrored repository, if there is one.
    pub git_dir: Option<&'a Path>,
    /// The URL of the mirror, or the name of a remote.
    pub remote: Option<&'a str>,
    /// Kind of the host.
    pub host: Option<Host>,
    /// URL where pushes belong.
    pub source: Option<&'a str>,
}

/// Runs the command.
///
/// # Errors
/// The repository was not made, and does not exist as an empty one.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    let git_dir = match &args.repo {
        Some(given) => Some(super::repository(Some(given))?),
        None => repository::locate(None).ok(),
    };
    let new = NewMirror {
        git_dir: git_dir.as_deref(),
        remote: args.remote.as_deref(),
        host: args.host,
        source: args.source.as_deref(),
    };
    print!("{}", new.make()?);
    Ok(Exit::Done)
}

impl NewMirror<'_> {
    /// Makes the repository. Returns the text to print.
    ///
    /// # Errors
    /// The repository was not made, and does not exist as an empty one.
    pub fn make(&self) -> Result<String, Failure> {
        let (local, config) = self.local()?;
        let configured = config.remote.as_ref().map(ToString::to_string);
        let name = worker::remote_name(self.remote.map(str::to_owned), configured, &environment);
        let name = name.ok_or_else(|| Failure::new(Exit::Usage, "there is no remote").hint("give --remote URL"))?;
        let location = resolve(BStr::new(&name), local.as_ref())?;
        let forge = self.forge(&location, &config)?;
        let description = self.description(&config, &location)?;
        let settings = Settings::from_environment(environment)?.with_user_agent(USER_AGENT);
        let settings = match &local {
            Some(local) => settings.with_git_config(local)?,
            None => settings.with_user_config()?,
        };
        let Location::Http(url) = &location else {
            let failure = Failure::new(Exit::Usage, format!("{location} is not an https URL"));
            return Err(failure.hint("give the https URL of the mirror: the API of the host needs a token"));
        };
        let mut mirror = ForgeRepository::open(url, forge, &settings)?;
        if mirror.exists()? {
            return take(location, &settings);
        }
        let made = mirror.create(&description)?;
        if !made.features_off {
            eprintln!("Issues and the wiki could not be switched off: do that in the settings of {location}.");
        }
        let without = if made.features_off {
            ", without issues and wiki"
        } else {
            ""
        };
        Ok(format!(
            "Created {location} on {forge}: empty, private{without}.\nIts description: {description}\n"
        ))
    }

    /// Returns the mirrored repository and its configuration.
    fn local(&self) -> Result<(Option<gix::Repository>, Config), Failure> {
        let Some(git_dir) = self.git_dir else {
            return Ok((None, Config::default()));
        };
        let (local, _) = repository::open_any_refs(git_dir)?;
        let config = Config::load(git_dir)
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot read git's configuration: {error}")))?;
        Ok((Some(local), config))
    }

    /// Returns the kind of the host. It is never guessed.
    fn forge(&self, location: &Location, config: &Config) -> Result<Forge, Failure> {
        let given = self.host.map(|host| match host {
            Host::Github => Forge::GitHub,
            Host::Gitlab => Forge::GitLab,
            Host::Gitea => Forge::Gitea,
        });
        given
            .or_else(|| worker::forge_at(location, config.forge))
            .ok_or_else(|| {
                let what = format!("the host of {location} is not known to be GitHub, GitLab or Gitea");
                Failure::new(Exit::Usage, what).hint("give --host github, gitlab or gitea, or set stargate.forge")
            })
    }

    fn description(&self, config: &Config, location: &Location) -> Result<String, Failure> {
        let known = self
            .git_dir
            .and_then(|git_dir| identity::repo(&environment, config, git_dir));
        let name = known.map_or_else(|| name_in(&location.to_string()), |name| name.to_string());
        let source = self.source.unwrap_or("the repository that it mirrors");
        if gix::url::parse(source).is_ok_and(|url| url.password().is_some()) {
            let failure = Failure::new(Exit::Usage, "the URL of --source contains a password");
            return Err(failure.hint("give the URL without it: the description is public to all readers of the mirror"));
        }
        let text = format!("mirror of {name}; push to {source}");
        Ok(git_push::cleaned(text.as_bytes()))
    }
}

/// Returns `o/r` for `https://host/o/r.git`.
fn name_in(url: &str) -> String {
    let path = url.trim_end_matches('/').trim_end_matches(".git");
    let names: Vec<&str> = path.rsplitn(3, '/').take(2).collect();
    names.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// Takes an existing repository, if it is empty.
fn take(location: Location, settings: &Settings) -> Result<String, Failure> {
    let shown = location.to_string();
    let refs = Remote::open(location, settings)?.advertisement()?.refs;
    let Some(first) = refs.keys().next() else {
        return Ok(format!(
            "{shown} already exists and is empty, so it is used as it is.\n"
        ));
    };
    let failure = Failure::new(
        Exit::Refused,
        format!("{shown} already exists and is not empty: it has {first}"),
    );
    Err(failure.hint("choose another name, or set stargate.remote to its URL to mirror into this repository anyway"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_mirror_is_its_owner_and_its_name() {
        for (url, expected) in [
            ("https://host/o/r.git", "o/r"),
            ("https://host/g/sub/r", "sub/r"),
            ("https://host/o/r/", "o/r"),
        ] {
            assert_eq!(name_in(url), expected);
        }
    }
}
