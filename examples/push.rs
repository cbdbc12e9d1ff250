//! Pushes a commit that exists only in memory, on top of the remote's branch:
//!
//! ```sh
//! git init --bare /tmp/notes.git
//! cargo run --example push -- /tmp/notes.git 'a note'
//! git -C /tmp/notes.git log -p notes
//! ```
//!
//! The remote is a path or an http(s) URL; `GITHUB_PAT` is the token for the latter.
use std::error::Error;

use bstr::{BStr, ByteSlice};
use git_push::{Command, Connection, Push, Verdict};
use git_push_transport::{Location, Remote, Settings};
use gix::{ObjectId, objs::tree::EntryKind};

/// The branch that notes are pushed to.
pub const BRANCH: &str = "refs/heads/notes";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(remote), Some(note)) = (arguments.next(), arguments.next()) else {
        return Err("usage: push REMOTE NOTE".into());
    };
    let (id, verdict) = push_note(&remote, &note)?;
    println!("{id} to {BRANCH}: {verdict:?}");
    Ok(())
}

/// Pushes a commit that contains `note`. Returns its id and the verdict.
///
/// # Errors
/// The remote cannot be reached, or its report does not match its refs.
pub fn push_note(remote: &str, note: &str) -> Result<(ObjectId, Verdict), Box<dyn Error>> {
    let settings = Settings::from_environment(|name| std::env::var_os(name))?;
    let mut connection = Remote::open(Location::parse(BStr::new(remote))?, &settings)?;
    let advertisement = connection.advertisement()?;
    let name = BStr::new(BRANCH);
    let there = advertisement.id(name);

    // Objects written to this repository stay in memory. The parent commit need not be here.
    let folder = tempfile::tempdir()?;
    let repository = gix::init_bare(folder.path())?.with_object_memory();
    let id = write_commit(&repository, note, there)?;

    let command = Command::set(name, &advertisement, id);
    let report = Push::new(&repository, &advertisement)
        .command(command)
        .send(&mut connection)?;
    let verdict = report.verdict(name).cloned().unwrap_or(Verdict::Unknown);

    // Check the server's report: read the ref back.
    let refs = connection.read_refs(&[name.to_owned()])?;
    let stands = refs.iter().any(|found| found.name == name && found.id == id);
    match stands == (verdict == Verdict::Accepted) {
        true => Ok((id, verdict)),
        false => Err(format!("the remote reports {verdict:?}, but has {refs:?}").into()),
    }
}

fn write_commit(
    repository: &gix::Repository,
    note: &str,
    parent: Option<ObjectId>,
) -> Result<ObjectId, Box<dyn Error>> {
    let blob = repository.write_blob(note)?;
    let mut tree = repository.edit_tree(ObjectId::empty_tree(repository.object_hash()))?;
    tree.upsert("note", EntryKind::Blob, blob)?;
    let now = gix::date::Time::now_utc().to_string();
    let author = gix::actor::SignatureRef {
        name: b"An Example".as_bstr(),
        email: b"example@example.com".as_bstr(),
        time: &now,
    };
    let commit = repository.new_commit_as(author, author, note, tree.write()?, parent)?;
    Ok(commit.id)
}
