//! Overwrites a branch, but only if the remote still has the commit that was seen there before:
//!
//! ```sh
//! cargo run -p git-push-transport --example lease -- /tmp/r.git refs/heads/topic <expected id> <new id>
//! ```
use std::error::Error;

use bstr::BStr;
use git_push::{Command, Connection, ErrorKind, Push, Verdict};
use git_push_transport::{Location, Remote, Settings};
use gix::ObjectId;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [remote, name, expected, new] = &arguments[..] else {
        return Err("usage: lease REMOTE REF EXPECTED NEW".into());
    };
    let repository = gix::discover(".")?;
    let settings = Settings::from_environment(|name| std::env::var_os(name))?.with_git_config(&repository)?;
    let mut connection = Remote::open(Location::parse(BStr::new(remote))?, &settings)?;
    let ids = (
        ObjectId::from_hex(expected.as_bytes())?,
        ObjectId::from_hex(new.as_bytes())?,
    );
    println!("{:?}", push_with_lease(&mut connection, &repository, name, ids)?);
    Ok(())
}

/// Moves the ref `name` from the first of `ids` to the second.
///
/// # Errors
/// [`ErrorKind::NotSent`] when the remote has another id, and those of a push.
pub fn push_with_lease(
    connection: &mut dyn Connection,
    repository: &gix::Repository,
    name: &str,
    (expected, new): (ObjectId, ObjectId),
) -> Result<Verdict, git_push::Error> {
    let advertisement = connection.advertisement()?;
    if advertisement.id(name.into()) != Some(expected) {
        let what = format!("{name} is no longer {expected} on the remote");
        return Err(git_push::Error::new(ErrorKind::NotSent, what).with_hint("fetch, and decide again"));
    }
    // The server compares the old id once more, under its own lock.
    let command = Command::update(name, expected, new);
    let report = Push::new(repository, &advertisement)
        .command(command)
        .send(connection)?;
    Ok(report.verdict(name.into()).cloned().unwrap_or(Verdict::Unknown))
}
