//! PURE: selection of events by their type and author.
use std::borrow::Cow;

use serde::Deserialize;

/// Query parameter with a type.
pub const TYPE: &str = "type";
/// Query parameter with an author.
pub const AUTHOR: &str = "author";

/// Types and authors to select. An event must have one of each; an empty list allows all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    types: Vec<String>,
    authors: Vec<String>,
}

/// Members of an event that are compared.
#[derive(Deserialize)]
struct Compared<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    author_identity_id: Cow<'a, str>,
}

impl Filter {
    /// Adds a value of [`TYPE`] or [`AUTHOR`]; returns false if `name` is another parameter.
    pub fn take(&mut self, name: &str, value: &str) -> bool {
        match name {
            TYPE => self.types.push(value.into()),
            AUTHOR => self.authors.push(value.into()),
            _ => return false,
        }
        true
    }

    /// Returns true if all events are selected.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty() && self.authors.is_empty()
    }

    /// Returns true if this event is selected.
    ///
    /// # Errors
    /// The event cannot be parsed.
    pub fn selects(&self, event: &[u8]) -> serde_json::Result<bool> {
        if self.is_empty() {
            return Ok(true);
        }
        let event: Compared<'_> = serde_json::from_slice(event)?;
        let has = |list: &[String], value: &str| list.is_empty() || list.iter().any(|one| one == value);
        Ok(has(&self.types, &event.kind) && has(&self.authors, &event.author_identity_id))
    }

    /// Query parameters of this filter, in order.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let types = self.types.iter().map(|value| (TYPE, value.as_str()));
        types.chain(self.authors.iter().map(|value| (AUTHOR, value.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_one_of_the_types_and_one_of_the_authors() {
        let event = |kind: &str, author: &str| {
            format!(r#"{{"payload":{{"type":"x"}},"type":"{kind}","author_identity_id":"{author}","n":1e400}}"#)
        };
        let filter = |parameters: &[(&str, &str)]| {
            let mut filter = Filter::default();
            for (name, value) in parameters {
                assert!(filter.take(name, value));
            }
            filter
        };
        let selects = |filter: &Filter, kind: &str, author: &str| {
            let event = event(kind, author);
            filter.selects(event.as_bytes()).expect("an event")
        };
        let of_two = filter(&[("type", "message"), ("type", "a\"b"), ("author", "me")]);
        assert!(selects(&of_two, "message", "me") && selects(&of_two, "a\\u0022b", "me"));
        assert!(!selects(&of_two, "x", "me") && !selects(&of_two, "message", "you"));
        assert!(selects(&filter(&[]), "x", "y") && selects(&filter(&[("author", "y")]), "x", "y"));
        assert!(of_two.selects(b"{}").is_err());
        assert!(!Filter::default().take("limit", "1"));
        let again = of_two.parameters().collect::<Vec<_>>();
        assert_eq!(filter(&again), of_two);
    }
}
