//! PURE: a commit, as bytes.
use gix::{
    ObjectId,
    objs::{Commit, WriteTo},
};
use jiff::Timestamp;

use super::Error;

/// Default name and address of the author.
const NAME: &str = "stargate-mirror";
const EMAIL: &str = "stargate-mirror@localhost";

/// A name and an e-mail address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// As in `A U Thor`.
    pub name: String,
    /// As in `author@example.com`.
    pub email: String,
}

/// Builds a commit by `author`, or else by the author in git's configuration, or else by this program.
///
/// # Errors
/// The author has characters that a commit cannot store.
pub fn commit_object(
    repository: &gix::Repository,
    author: Option<&Author>,
    tree: ObjectId,
    parents: &[ObjectId],
    message: &str,
    now: Timestamp,
) -> Result<Vec<u8>, Error> {
    let configured = || {
        let author = repository.author()?.ok()?;
        Some((author.name.to_owned(), author.email.to_owned()))
    };
    let (name, email) = match author {
        Some(author) => (author.name.as_str().into(), author.email.as_str().into()),
        None => configured().unwrap_or((NAME.into(), EMAIL.into())),
    };
    let time = gix::date::Time::new(now.as_second(), 0);
    let who = gix::actor::Signature { name, email, time };
    let commit = Commit {
        tree,
        parents: parents.iter().copied().collect(),
        author: who.clone(),
        committer: who,
        encoding: None,
        message: message.into(),
        extra_headers: Vec::new(),
    };
    let mut bytes = Vec::new();
    commit.write_to(&mut bytes).map_err(|error| {
        Error::refused(format!("the author of commits is invalid: {error}"))
            .with_hint("use a name and an e-mail address without `<`, `>` and line feeds")
    })?;
    Ok(bytes)
}
