//! Determines the result of a push whose answer was lost:
//!
//! ```sh
//! cargo run -p git-push-transport --example uncertain -- https://example.com/o/r.git refs/heads/main
//! ```
use std::error::Error;

use bstr::BStr;
use git_push::{Command, Connection, ErrorKind, Push};
use git_push_transport::{Location, Remote, Settings};
use gix::ObjectId;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [remote, name] = &arguments[..] else {
        return Err("usage: uncertain REMOTE REF".into());
    };
    let repository = gix::discover(".")?;
    let new = repository.head_id()?.detach();
    let settings = Settings::from_environment(|name| std::env::var_os(name))?.with_git_config(&repository)?;
    let mut connection = Remote::open(Location::parse(BStr::new(remote))?, &settings)?;
    println!("{:?}", push_and_look(&mut connection, &repository, name, new)?);
    Ok(())
}

/// State of the remote after a push.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The remote has the new id.
    Done,
    /// The remote does not have it: it was rejected, or the request did not arrive. A retry is safe.
    NotDone,
}

/// Sets the ref `name` to `new`. Reads the ref back if the answer is lost.
///
/// # Errors
/// The errors of a push that changed nothing, and of reading the refs.
pub fn push_and_look(
    connection: &mut dyn Connection,
    repository: &gix::Repository,
    name: &str,
    new: ObjectId,
) -> Result<Outcome, git_push::Error> {
    let advertisement = connection.advertisement()?;
    let command = Command::set(name, &advertisement, new);
    match Push::new(repository, &advertisement).command(command).send(connection) {
        Err(error) if error.kind() != ErrorKind::Uncertain => return Err(error),
        // Confirm an `ok` of the server, too.
        Ok(_) | Err(_) => {}
    }
    let refs = connection.read_refs(&[name.into()])?;
    let is_done = refs.iter().any(|found| found.name == name && found.id == new);
    Ok(if is_done { Outcome::Done } else { Outcome::NotDone })
}
