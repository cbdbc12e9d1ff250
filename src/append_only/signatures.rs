//! Check of the signatures of new event files.
use bstr::ByteSlice;
use gix::objs::{Find, FindHeader};

use super::{
    Added, Error, Malformed,
    schema::{content, is_skipped, not_a_file},
};
use crate::event::{Authenticity, Event, MAX_FILE};

/// Events that must be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signatures {
    /// None: a signature must be right if there is one.
    Optional,
    /// All new events.
    Required,
}

/// Returns the new files whose signature is wrong or cannot be checked, or missing although it is required. Skips files whose
/// name starts with a dot, such as `.gitkeep`.
///
/// # Errors
/// An object cannot be read.
pub fn badly_signed(
    objects: &(impl Find + FindHeader),
    added: &[Added],
    signatures: Signatures,
) -> Result<Vec<Malformed>, Error> {
    let mut found = Vec::new();
    for file in added.iter().filter(|file| !is_skipped(file.path.as_bstr())) {
        let problem = match not_a_file(file.kind) {
            Some(problem) => Some(problem.to_owned()),
            None => match content(objects, file.id)? {
                Some(json) => problem(&json, signatures),
                None => Some(format!("the event is longer than {MAX_FILE} bytes")),
            },
        };
        found.extend(problem.map(|problem| Malformed {
            path: file.path.clone(),
            commit: file.commit,
            problems: vec![problem],
        }));
    }
    Ok(found)
}

fn problem(json: &[u8], signatures: Signatures) -> Option<String> {
    let event = match Event::parse_file(json) {
        Ok(event) => event,
        Err(problems) => return Some(format!("it is not an event: {}", problems[0])),
    };
    match (event.verify(), signatures) {
        (Err(problem), _) => Some(problem.to_string()),
        (Ok(Authenticity::Unsigned), Signatures::Required) => Some("`signature` is missing".into()),
        (Ok(Authenticity::Signed | Authenticity::Unsigned), _) => None,
    }
}
