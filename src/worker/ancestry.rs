//! Ancestry of commits on a mirror, even of commits that are not available locally.
//!
//! A local repository answers if it has both commits. Otherwise the commits are fetched into a temporary repository,
//! without trees and blobs if the server supports that.
use git_push::{self, Error, ErrorKind};
use git_push_transport::{Remote, local::lend_objects};
use gix::ObjectId;

/// Source of answers about ancestry.
pub(super) struct Ancestry<'a> {
    local: Option<&'a gix::Repository>,
    /// True if `local` has everything that its commits reach, so that nothing needs to be fetched.
    is_whole: bool,
    fetched: Option<Fetched>,
}

struct Fetched {
    repository: gix::Repository,
    tips: Vec<ObjectId>,
    /// Removed when dropped, after the repository.
    _folder: tempfile::TempDir,
}

impl<'a> Ancestry<'a> {
    /// Uses a clone that may be shallow and may lack some commits.
    pub(super) fn beside(local: Option<&'a gix::Repository>) -> Self {
        Ancestry {
            local,
            is_whole: false,
            fetched: None,
        }
    }

    /// Uses a Stargate, which has everything that its commits reach.
    pub(super) fn of_stargate(stargate: &'a gix::Repository) -> Self {
        Ancestry {
            local: Some(stargate),
            is_whole: true,
            fetched: None,
        }
    }

    /// Returns true if `whole`, a commit of the remote, is `part` or descends from it.
    ///
    /// # Errors
    /// The commits cannot be fetched or read.
    pub(super) fn contains(&mut self, remote: &mut Remote, whole: ObjectId, part: ObjectId) -> Result<bool, Error> {
        match self.local_with(&[whole, part]) {
            Some(local) => git_push::fast_forward(local, part, whole),
            None => git_push::fast_forward(self.fetched(remote, &[whole], &[part])?, part, whole),
        }
    }

    /// Returns the merge base of two commits of the remote. Tags are peeled. Other objects have no merge base.
    ///
    /// # Errors
    /// The commits cannot be fetched or read.
    pub(super) fn common(
        &mut self,
        remote: &mut Remote,
        one: ObjectId,
        other: ObjectId,
    ) -> Result<Option<ObjectId>, Error> {
        let repository = match self.local_with(&[one, other]) {
            Some(local) => local,
            None => self.fetched(remote, &[one, other], &[])?,
        };
        let (Some(one), Some(other)) = (commit(repository, one)?, commit(repository, other)?) else {
            return Ok(None);
        };
        let bases = repository.merge_bases_many(one, &[other]);
        let bases = bases.map_err(|error| unreadable(one, &error))?;
        Ok(bases.first().map(|base| base.detach()))
    }

    fn local_with(&self, commits: &[ObjectId]) -> Option<&'a gix::Repository> {
        self.local
            .filter(|local| commits.iter().all(|commit| local.has_object(*commit)))
    }

    /// Returns the temporary repository with these commits of the remote. Commits of `known` that a Stargate has are not
    /// fetched.
    fn fetched(
        &mut self,
        remote: &mut Remote,
        wanted: &[ObjectId],
        known: &[ObjectId],
    ) -> Result<&gix::Repository, Error> {
        let lender = self.local.filter(|_| self.is_whole);
        let fetched = match self.fetched.take() {
            Some(fetched) => fetched,
            None => Fetched::new(wanted[0].kind(), lender)?,
        };
        let fetched = self.fetched.insert(fetched);
        let lent = |commit: &&ObjectId| lender.is_some_and(|lender| lender.has_object(**commit));
        for want in wanted {
            if fetched.repository.has_object(*want) {
                continue;
            }
            let known = known.iter().chain(wanted).filter(lent);
            let haves: Vec<ObjectId> = fetched.tips.iter().chain(known).copied().collect();
            remote.fetch_commits(*want, &fetched.repository, &haves)?;
            fetched.tips.push(*want);
        }
        Ok(&fetched.repository)
    }
}

/// Peels tags and returns the commit. Returns none for another kind of object.
fn commit(repository: &gix::Repository, id: ObjectId) -> Result<Option<ObjectId>, Error> {
    let object = repository.find_object(id).map_err(|error| unreadable(id, &error))?;
    let object = object.peel_tags_to_end().map_err(|error| unreadable(id, &error))?;
    Ok((object.kind == gix::objs::Kind::Commit).then_some(object.id))
}

fn unreadable(id: ObjectId, error: &gix::Error) -> Error {
    let what = format!("cannot read the history of {id}: {}", git_push::causes(error));
    Error::new(ErrorKind::Transient, what)
}

impl Fetched {
    fn new(object_format: gix::hash::Kind, lender: Option<&gix::Repository>) -> Result<Self, Error> {
        let failed = |why: String| {
            let what = format!(
                "cannot create a temporary repository in {}: {why}",
                std::env::temp_dir().display()
            );
            Error::new(ErrorKind::Misconfigured, what)
                .with_hint("free some space there, or set TMPDIR to another folder")
        };
        let folder = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
        let options = gix::create::Options {
            object_hash: Some(object_format),
            ..Default::default()
        };
        let kind = gix::create::Kind::Bare;
        let opened = gix::ThreadSafeRepository::init_opts(folder.path(), kind, options, gix::open::Options::isolated());
        let repository = opened.map_err(|error| failed(error.to_string()))?.to_thread_local();
        if let Some(lender) = lender {
            lend_objects(lender, &repository).map_err(|error| failed(error.to_string()))?;
        }
        Ok(Fetched {
            repository,
            tips: Vec::new(),
            _folder: folder,
        })
    }
}
