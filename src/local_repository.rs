//! A local repository with refs in files or in reftables: its objects, its refs, and revision expressions (gitrevisions).
//!
//! Refs in files are read by gix, which also supports reflogs and upstream branches. gix cannot read reftables. There,
//! the module [`refs`](crate::refs) reads the ref at the start of an expression, and gix resolves the rest from its id.
//! `git_reftable` writes remote-tracking refs there.
//!
//! # Limitations
//!
//! With reftables, expressions that need a reflog, an upstream branch or a search of all refs are errors: `@{1}`,
//! `main@{yesterday}`, `main@{upstream}`, `@{-1}`, `:/text`.
mod expression;
mod tables;
mod tracking_ref;
mod tracking_tables;

use std::{collections::BTreeMap, path::Path};

use bstr::{BStr, BString, ByteSlice};
use git_push::{
    causes,
    repository::{self, OpenError, RefStorage},
};
use gix::{
    ObjectId, Repository,
    hash::{Kind, Prefix},
    refs::{FullName, TargetRef},
};

use self::{
    expression::{Meaning, abbreviated, meaning, split},
    tables::TableRefs,
};

pub use self::tracking_ref::set_tracking_ref;

/// A repository whose refs and revisions are read, see the [module](self).
#[derive(Debug)]
pub struct LocalRepository {
    repository: Repository,
    /// `None` if refs are in files.
    tables: Option<TableRefs>,
}

/// All refs of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllRefs {
    /// Ids by full name. Symbolic refs have the id of their target; dangling ones and `HEAD` are left out.
    pub ids: BTreeMap<BString, ObjectId>,
    /// Targets of symbolic refs, `HEAD` among them.
    pub symbolic: BTreeMap<BString, BString>,
}

/// The refs of a repository cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the refs of {git_dir}: {reason}")]
pub struct UnreadableRefs {
    git_dir: String,
    reason: String,
}

/// Reasons why an expression names no object.
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// The ref that it starts with cannot be read.
    #[error(transparent)]
    Unreadable(#[from] UnreadableRefs),
    /// Nothing has this name.
    #[error("{0}")]
    Unknown(String),
}

impl LocalRepository {
    /// Opens the repository at `git_dir`.
    ///
    /// # Errors
    /// There is no repository, it cannot be read, or its format is not understood.
    pub fn open(git_dir: &Path) -> Result<Self, OpenError> {
        Self::opened(repository::open_any_refs(git_dir)?)
    }

    fn opened((repository, storage): (Repository, RefStorage)) -> Result<Self, OpenError> {
        let tables = match storage {
            RefStorage::Files => None,
            RefStorage::Reftable => Some(TableRefs::new(&repository)),
        };
        Ok(LocalRepository { repository, tables })
    }

    /// Opens the same with settings of git configuration, `key=value` or `key`, that override those in files.
    ///
    /// # Errors
    /// As [`open()`](LocalRepository::open()), or a setting is invalid.
    pub fn open_with(git_dir: &Path, settings: &[BString]) -> Result<Self, OpenError> {
        let options = gix::open::Options::default().cli_overrides(settings.iter().cloned());
        Self::opened(repository::open_any_refs_with(git_dir, options)?)
    }

    /// Returns true if the refs are in reftables, which gix does not read.
    pub fn has_tables(&self) -> bool {
        self.tables.is_some()
    }

    /// Returns the repository itself, for everything but its refs and revisions.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns the repository itself, to set up caches and replacements.
    pub fn repository_mut(&mut self) -> &mut Repository {
        &mut self.repository
    }

    /// Sets remote-tracking refs, with `message` for their reflogs. The null id deletes one. Failures are only logged,
    /// because the next fetch corrects the refs.
    pub fn set_tracking_refs(&self, refs: &[(FullName, ObjectId)], message: &str) {
        if let Some(tables) = &self.tables {
            tracking_tables::set(&self.repository, tables, refs, message);
        } else {
            for (name, id) in refs {
                set_tracking_ref(&self.repository, name.clone(), *id, message);
            }
        }
    }

    /// Reads the ref with this full name. A dangling symbolic ref is `None`.
    ///
    /// # Errors
    /// The ref may exist, but cannot be read.
    pub fn find(&self, name: &BStr) -> Result<Option<ObjectId>, UnreadableRefs> {
        if let Some(tables) = &self.tables {
            return tables.find(name).map_err(|error| self.unreadable(&error.to_string()));
        }
        let unreadable = |error: gix::Error| self.unreadable(&causes(&error));
        let found = self.repository.try_find_reference(name).map_err(unreadable)?;
        // Like git, treat a dangling symbolic ref as absent.
        Ok(found
            .and_then(|mut found| found.follow_to_object().ok())
            .map(gix::Id::detach))
    }

    /// Reads all refs.
    ///
    /// # Errors
    /// A ref cannot be read.
    pub fn all_refs(&self) -> Result<AllRefs, UnreadableRefs> {
        match &self.tables {
            Some(tables) => tables.all().map_err(|error| self.unreadable(&error.to_string())),
            None => self.all_in_files().map_err(|error| self.unreadable(&causes(&error))),
        }
    }

    fn all_in_files(&self) -> Result<AllRefs, gix::Error> {
        let mut all = AllRefs::default();
        for reference in self.repository.references()?.all()? {
            let mut reference = reference?;
            let name = BString::from(reference.name().as_bstr());
            if let TargetRef::Symbolic(target) = reference.target() {
                all.symbolic.insert(name.clone(), target.as_bstr().into());
            }
            // Like git, skip a dangling symbolic ref.
            if let Ok(id) = reference.follow_to_object() {
                all.ids.insert(name, id.detach());
            }
        }
        if let Some(name) = self.repository.head_name()? {
            all.symbolic.insert("HEAD".into(), name.as_bstr().into());
        }
        Ok(all)
    }

    /// Returns the object that an expression names, such as `HEAD`, `main~2` or an abbreviated id.
    ///
    /// # Errors
    /// See [`RevisionError`].
    pub fn object(&self, expression: &BStr) -> Result<ObjectId, RevisionError> {
        let Some(tables) = &self.tables else {
            return self.resolve(expression);
        };
        let find = |name: &BStr| tables.find(name);
        match meaning(expression, find).map_err(|error| self.unreadable(&error.to_string()))? {
            Meaning::OfId(expression) => self.resolve(expression.as_ref()),
            Meaning::Nothing => Err(RevisionError::Unknown(format!(
                "nothing has the name {expression:?} (reflogs and upstream branches are not read from reftables)"
            ))),
        }
    }

    fn resolve(&self, expression: &BStr) -> Result<ObjectId, RevisionError> {
        let expression = self.with_whole_id(expression)?;
        let found = self.repository.rev_parse_single(expression.as_bstr());
        found
            .map(gix::Id::detach)
            .map_err(|error| RevisionError::Unknown(self.explained(expression.as_bstr(), &error.to_string())))
    }

    /// Returns the reason in words where gix names its own functions.
    fn explained(&self, expression: &BStr, reason: &str) -> String {
        if !reason.contains("delegate.") {
            return reason.to_owned();
        }
        let (name, rest) = split(expression);
        match self.repository.rev_parse_single(name) {
            Ok(id) => format!("{name} is {id}, which has no {rest}"),
            Err(_) => format!("neither a ref nor an object has the name {name}"),
        }
    }

    /// Returns the expression with an abbreviated id at its start completed. gix completes ids, too, but does not find
    /// loose objects in a repository with SHA-256.
    fn with_whole_id(&self, expression: &BStr) -> Result<BString, RevisionError> {
        let (name, rest) = split(expression);
        let kind = self.repository.object_hash();
        let digits = abbreviated(name).filter(|digits| kind != Kind::Sha1 && digits.len() < kind.len_in_hex());
        // Like git, prefer a ref with this name.
        let is_ref = || matches!(self.repository.try_find_reference(name), Ok(Some(_)));
        let Some(digits) = digits.filter(|_| !is_ref()) else {
            return Ok(expression.to_owned());
        };
        match self
            .prefixed(digits)
            .map_err(|error| RevisionError::Unknown(causes(&error)))?
        {
            Some(Ok(id)) => Ok([id.to_string().as_bytes(), rest].concat().into()),
            Some(Err(())) => {
                let message = format!("the abbreviated id {digits} is ambiguous; give more digits");
                Err(RevisionError::Unknown(message))
            }
            None => Ok(expression.to_owned()),
        }
    }

    /// Returns the only object whose id starts with these digits. The inner error means that there are several.
    fn prefixed(&self, digits: &BStr) -> Result<Option<Result<ObjectId, ()>>, gix::Error> {
        let width = self.repository.object_hash().len_in_hex();
        let padded = format!("{:0<width$}", digits.to_string());
        let id = ObjectId::from_hex(padded.as_bytes())?;
        let prefix = Prefix::new(&id, digits.len())?;
        self.repository.objects.lookup_prefix(prefix, None)
    }

    fn unreadable(&self, reason: &str) -> UnreadableRefs {
        UnreadableRefs {
            git_dir: self.repository.git_dir().display().to_string(),
            reason: reason.to_owned(),
        }
    }
}
