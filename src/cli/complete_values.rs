//! `stargate-mirror complete-values`: prints refs, remotes or namespaces, for the completion scripts of shells.
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use bstr::{BString, ByteSlice};

use super::report::{Exit, Failure};
use crate::{config::Mirrors, namespace::namespace, ref_pattern::RefPatterns, worker::Stargate};

/// Maximum number of values. Shells are slow with more.
const MOST_VALUES: usize = 10_000;

/// Print values for the completion scripts of shells.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kind of the values
    what: What,
    /// Words of the command line so far; `--repo` among them names the repository
    #[arg(last = true)]
    words: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Refs,
    Remotes,
    Namespaces,
}

/// Runs the command. Without a repository that can be read, there are no values, because a shell has no place for an error.
///
/// # Errors
/// None.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    let repo = repo(&args.words);
    let values = super::located(repo.as_deref()).and_then(|git_dir| values(args.what, &git_dir));
    match values {
        Ok(values) => {
            for value in values.iter().take(MOST_VALUES) {
                super::output::say_bytes(&[value.as_slice(), b"\n"].concat());
            }
        }
        Err(failure) => tracing::debug!(%failure, "there is nothing to complete"),
    }
    Ok(Exit::Done)
}

fn values(what: What, git_dir: &Path) -> Result<BTreeSet<BString>, Failure> {
    let stargate = Stargate::open(git_dir)?;
    if what == What::Remotes {
        let mirrors = Mirrors::load(git_dir).map_err(|error| Failure::new(Exit::Failed, error))?;
        let remotes = stargate.repository().remote_names();
        let remotes = remotes.iter().map(|name| BString::from(name.as_bstr()));
        let mirrors = mirrors.names().filter(|name| !name.is_empty()).map(BString::from);
        return Ok(remotes.chain(mirrors).collect());
    }
    let refs = stargate.mirrored_refs(&RefPatterns::everything());
    let names = refs.known().keys();
    Ok(if what == What::Refs {
        names.cloned().collect()
    } else {
        let namespaces = names.filter_map(|name| namespace(name.as_bstr()));
        namespaces.map(ToOwned::to_owned).collect()
    })
}

/// Returns the last value of `--repo` among these words. bash splits words at `=`.
fn repo(words: &[OsString]) -> Option<PathBuf> {
    let mut found = None;
    let mut words = words.iter().filter(|word| *word != "=").peekable();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if word == "--repo" {
            found = words.peek().map(|value| expanded(value));
        } else if let Some(value) = text.strip_prefix("--repo=") {
            found = Some(expanded(OsStr::new(value)));
        }
    }
    found
}

/// Returns the path of a word as the shell would pass it: `~/` is the home directory.
fn expanded(word: &OsStr) -> PathBuf {
    let path = Path::new(word);
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_found_among_the_words() {
        let found = |line: &str| repo(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(found("stargate-mirror wait --ref"), None);
        for line in [
            "wait --repo r.git --ref",
            "wait --repo=r.git --ref",
            "wait --repo = r.git --ref",
        ] {
            assert_eq!(found(line), Some("r.git".into()), "{line}");
        }
        assert_eq!(found("wait --repo"), None);
    }
}
