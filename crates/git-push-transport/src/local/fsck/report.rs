//! Faults that were found, as lines for the person who pushes.
use std::collections::BTreeSet;

use gix::ObjectId;

use super::{
    message::{Message, Severity},
    rules::Rules,
};

/// Lines and conclusions of a check.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub rules: &'a Rules,
    /// Lines for the person who pushes, as git writes them.
    pub words: Vec<String>,
    /// Blobs that are a `.gitmodules` or a `.gitattributes` of a checked tree.
    pub modules: BTreeSet<ObjectId>,
    pub attributes: BTreeSet<ObjectId>,
}

/// A fault that ends the check of an object.
#[derive(Debug)]
pub(super) struct Faulty;

impl<'a> Report<'a> {
    pub fn new(rules: &'a Rules) -> Self {
        Report {
            rules,
            words: Vec::new(),
            modules: BTreeSet::new(),
            attributes: BTreeSet::new(),
        }
    }

    /// Adds a fault of an object.
    ///
    /// # Errors
    /// It is one that the push must not have.
    pub fn fault(&mut self, id: ObjectId, message: Message, text: &str) -> Result<(), Faulty> {
        let severity = self.rules.severity(message, id);
        let word = match severity {
            Severity::Ignore => return Ok(()),
            Severity::Warn => "warning",
            Severity::Error => "error",
        };
        self.words
            .push(format!("{word}: object {id}: {}: {text}", message.name()));
        if severity == Severity::Error {
            Err(Faulty)
        } else {
            Ok(())
        }
    }
}
