//! Commits, objects and HEAD of a repository in a folder.
use bstr::BStr;
use git_push::{Advertisement, Capabilities, Command, Error, ErrorKind, Push, causes, repository::RefStorage};
use gix::head::Kind;
use gix::lock::acquire::Fail;
use gix::refs::transaction::{Change, LogChange, PreviousValue, RefEdit};
use gix::refs::{FullName, Target};

use super::{
    Local, lend_objects,
    ownership::Made,
    tables::{self, with_causes},
    transaction::LOCK_TIMEOUT,
};
use crate::fetch::{Extent, Wanted};
use crate::forge::Forge;
use crate::head::Head;
use crate::received;
use crate::transport::Transport;

impl Transport for Local {
    /// Fetches commits with everything that they reach. Lends commits alone to `into`: nothing is copied.
    fn fetch(&mut self, wanted: Wanted<'_>, into: &gix::Repository) -> Result<(), Error> {
        match wanted.extent {
            Extent::Commits => {
                let failed = |why: &str| self.failed(&format!("read {} from", wanted.commit), why);
                lend_objects(&self.repository, into).map_err(|error| failed(&error.to_string()))?;
                if into.has_object(wanted.commit) {
                    Ok(())
                } else {
                    Err(failed("it does not exist there"))
                }
            }
            Extent::Objects => self.copy(wanted, into),
        }
    }

    fn head(&mut self) -> Result<Head, Error> {
        if self.storage == RefStorage::Reftable {
            let head = tables::head(&self.repository);
            return head.map_err(|error| self.failed("read HEAD of", &with_causes(&error)));
        }
        let head = self.repository.head();
        let head = head.map_err(|error| self.failed("read HEAD of", &causes(&error)))?;
        Ok(match head.kind {
            Kind::Symbolic(reference) => Head::Names(reference.name.into_inner()),
            Kind::Unborn(name) => Head::Dangles(Some(name.into_inner())),
            Kind::Detached { target, .. } => Head::Detached(target),
        })
    }

    /// Sets HEAD. A repository with a work tree is refused, because its files would no longer be those of HEAD.
    fn set_head(&mut self, branch: &BStr, _: Option<Forge>) -> Result<(), Error> {
        if self.repository.workdir().is_some() {
            let what = format!("{} has a work tree", self.repository.git_dir().display());
            return Err(Error::new(ErrorKind::Misconfigured, what).with_hint("use `git switch` there"));
        }
        if self.storage == RefStorage::Reftable {
            let set = tables::set_head(&self.repository, branch);
            set.map_err(|error| self.failed("set HEAD of", &with_causes(&error)))?;
            Made::in_tables(&self.repository).settle();
            return Ok(());
        }
        let name = |name: &BStr| {
            let name = FullName::try_from(name);
            name.map_err(|error| self.failed("set HEAD of", &error.to_string()))
        };
        let edit = RefEdit {
            change: Change::Update {
                log: LogChange::default(),
                expected: PreviousValue::Any,
                new: Target::Symbolic(name(branch)?),
            },
            name: name("HEAD".into())?,
            deref: false,
        };
        let made = Made::of_head(&self.repository);
        let patience = Fail::AfterDurationWithBackoff(LOCK_TIMEOUT);
        let prepared = self.repository.refs.transaction().prepare([edit], patience, patience);
        let written = prepared
            .map_err(|error| self.failed("set HEAD of", &causes(&error)))?
            .commit(None);
        written.map_err(|error| self.failed("set HEAD of", &causes(&error)))?;
        made.settle();
        Ok(())
    }
}

impl Local {
    /// Copies the wanted commit with everything that it reaches into the repository `into`, durably.
    fn copy(&self, wanted: Wanted<'_>, into: &gix::Repository) -> Result<(), Error> {
        let (ours, theirs) = (into.object_hash(), self.repository.object_hash());
        if ours != theirs {
            let path = self.repository.git_dir().display();
            let what = format!(
                "the object format of {path} is {theirs}, that of {} is {ours}",
                into.git_dir().display()
            );
            return Err(Error::new(ErrorKind::Misconfigured, what));
        }
        let had = wanted.haves.iter().filter(|id| self.repository.has_object(*id));
        let taker = Advertisement {
            haves: had.copied().collect(),
            capabilities: Capabilities {
                list: vec![("ofs-delta".into(), None), ("no-thin".into(), None)],
            },
            ..Advertisement::default()
        };
        let fetched = Command::create("refs/heads/fetched", wanted.commit);
        let pack = Push::new(&self.repository, &taker).command(fetched).pack()?;
        received::index(pack.file, into)?.settle(into)?;
        received::require(wanted.commit, into)
    }
}
