//! Pushes a commit that exists only in memory:
//!
//! ```sh
//! git init --bare /tmp/notes.git
//! cargo run -p git-push-transport --example memory -- /tmp/notes.git 'a note'
//! ```
use std::error::Error;

use bstr::{BStr, ByteSlice};
use git_push::{Command, Connection, Push, Report};
use git_push_transport::{Location, Remote, Settings};
use gix::{ObjectId, objs::tree::EntryKind};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(remote), Some(note)) = (arguments.next(), arguments.next()) else {
        return Err("usage: memory REMOTE NOTE".into());
    };
    let settings = Settings::from_environment(|name| std::env::var_os(name))?;
    let mut connection = Remote::open(Location::parse(BStr::new(&remote))?, &settings)?;
    println!("{:?}", push_note(&mut connection, "refs/heads/notes", &note)?);
    Ok(())
}

/// Adds a commit that contains `note` to the branch `name` of the remote.
///
/// # Errors
/// The remote cannot be reached, or a local temporary file cannot be written.
pub fn push_note(connection: &mut dyn Connection, name: &str, note: &str) -> Result<Report, Box<dyn Error>> {
    let advertisement = connection.advertisement()?;
    // Objects written to this repository stay in memory. The parent commit need not be here.
    let folder = tempfile::tempdir()?;
    let repository = gix::init_bare(folder.path())?.with_object_memory();
    let commit = write_commit(&repository, note, advertisement.id(name.into()))?;
    let push = Push::new(&repository, &advertisement).command(Command::set(name, &advertisement, commit));
    Ok(push.atomic(true).send(connection)?)
}

fn write_commit(
    repository: &gix::Repository,
    note: &str,
    parent: Option<ObjectId>,
) -> Result<ObjectId, Box<dyn Error>> {
    let blob = repository.write_blob(note)?.detach();
    let entry = gix::objs::tree::Entry {
        mode: EntryKind::Blob.into(),
        filename: "note".into(),
        oid: blob,
    };
    let tree = repository.write_object(gix::objs::Tree { entries: vec![entry] })?;
    let author = gix::actor::SignatureRef {
        name: b"An Example".as_bstr(),
        email: b"example@example.com".as_bstr(),
        time: "1700000000 +0000",
    };
    let commit = repository.new_commit_as(author, author, note, tree.detach(), parent)?;
    Ok(commit.id)
}
