//! HEAD of a mirror in a folder.
use bstr::BStr;
use git_push::{Error, ErrorKind, causes};
use gix::head::Kind;
use gix::lock::acquire::Fail;
use gix::refs::transaction::{Change, LogChange, PreviousValue, RefEdit};
use gix::refs::{FullName, Target};

use super::{Local, ownership::Made, transaction::LOCK_TIMEOUT};
use crate::head::Head;

impl Local {
    /// Reads HEAD.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn head(&self) -> Result<Head, Error> {
        let head = self.repository.head();
        let head = head.map_err(|error| self.failed("read HEAD of", &causes(&error)))?;
        Ok(match head.kind {
            Kind::Symbolic(reference) => Head::Names(reference.name.into_inner()),
            Kind::Unborn(name) => Head::Dangles(Some(name.into_inner())),
            Kind::Detached { target, .. } => Head::Detached(target),
        })
    }

    /// Lets HEAD name `branch`, a full name. A repository with a work tree is refused, because its files would no longer be
    /// those of HEAD.
    ///
    /// # Errors
    /// It has a work tree, or HEAD cannot be written.
    pub fn set_head(&mut self, branch: &BStr) -> Result<(), Error> {
        if self.repository.workdir().is_some() {
            let what = format!("{} has a work tree", self.repository.git_dir().display());
            return Err(Error::new(ErrorKind::Misconfigured, what).with_hint("use `git switch` there"));
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
