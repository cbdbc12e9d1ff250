//! PURE: the part of a feed's policy that the relay enforces.
//!
//! ```json
//! {"enforce": {"require_signatures": true, "authors": ["did:key:z6Mk…", "alice"], "types": ["message"],
//!              "max_event_bytes": 65536, "read": ["reader"], "write": ["bot"]}}
//! ```
//!
//! The protocol allows any JSON as a policy. The relay enforces the rules in `enforce`; it keeps the rest, and ignores
//! it. All rules are optional. `read` and `write` are names of tokens; they narrow what the tokens allow, except for
//! the owner's.
//!
//! A rule that is unknown or of another type is refused when a feed is created. A policy that another version stored
//! may still have such a rule. Then nothing is written to the feed. If that rule is `read`, only the owner reads the
//! feed.
use super::tokens::{Right, Token};
use crate::event::{Authenticity, Event, Json, Members, Problem, is_did_key, read_json};

/// Member of a policy with the rules.
const ENFORCE: &str = "enforce";
const RULES: [&str; 6] = [
    "require_signatures",
    "authors",
    "types",
    "max_event_bytes",
    "read",
    "write",
];

/// Rules for a feed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    require_signatures: bool,
    authors: Option<Vec<String>>,
    types: Option<Vec<String>>,
    max_event_bytes: Option<u64>,
    read: Option<Vec<String>>,
    write: Option<Vec<String>>,
    problems: Vec<Problem>,
}

impl Policy {
    /// Reads the policy of a feed from JSON.
    pub fn read(json: &str) -> Self {
        if json == "null" {
            return Policy::default();
        }
        match read_json(json.as_bytes()) {
            Ok(json) => Policy::of(&json),
            Err(problem) => Policy::closed(new_problem("policy_json", problem)),
        }
    }

    /// The policy of a feed that only the owner reads.
    fn closed(problem: Problem) -> Self {
        Policy {
            read: Some(Vec::new()),
            problems: vec![problem],
            ..Policy::default()
        }
    }

    /// Reads the policy of a feed.
    pub fn of(json: &Json) -> Self {
        let Json::Object(policy) = json else {
            return Policy::default();
        };
        let members = match policy.get(ENFORCE) {
            None => return Policy::default(),
            Some(Json::Object(members)) => members,
            Some(_) => return Policy::closed(new_problem("policy_json.enforce", "is not an object of rules")),
        };
        let mut reader = Reader {
            members,
            problems: Vec::new(),
        };
        let mut policy = Policy {
            require_signatures: reader.flag("require_signatures"),
            authors: reader.names("authors"),
            types: reader.names("types"),
            max_event_bytes: reader.size("max_event_bytes"),
            read: reader.names("read"),
            write: reader.names("write"),
            problems: Vec::new(),
        };
        for (name, _) in members.sorted().filter(|(name, _)| !RULES.contains(name)) {
            reader.note(name, "is not a rule that the relay knows");
        }
        policy.problems = reader.problems;
        policy
    }

    /// Rules that are not understood.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns true if the policy lets the holder of a token read the feed, or write to it. Without tokens, no request
    /// has a name.
    pub fn admits(&self, right: Right, token: Option<&Token>) -> bool {
        let names = match right {
            Right::Read => &self.read,
            Right::Write => &self.write,
            Right::Admin => &None,
        };
        let is_named = |names: &Vec<String>| token.is_some_and(|token| token.is_owner() || names.contains(&token.name));
        names.as_ref().is_none_or(is_named)
    }

    /// Checks an event of this many bytes, whose signature is known to be right or missing.
    ///
    /// # Errors
    /// All violations.
    pub fn check(&self, event: &Event, authenticity: Authenticity, bytes: usize) -> Result<(), Vec<Problem>> {
        if !self.problems.is_empty() {
            return Err(self.problems.clone());
        }
        let mut violations = Vec::new();
        let mut note = |field: &str, problem: String| violations.push(new_problem(field, problem));
        if let Some(most) = self.max_event_bytes.filter(|most| bytes as u64 > *most) {
            note("", format!("has {bytes} bytes; the policy of the feed allows {most}"));
        }
        let is_listed =
            |list: &Option<Vec<String>>, value| list.as_ref().is_none_or(|list| list.iter().any(|one| one == value));
        if !is_listed(&self.types, event.kind()) {
            note("type", "is not in the policy of the feed".into());
        }
        if !is_listed(&self.authors, event.author()) {
            note("author_identity_id", "is not in the policy of the feed".into());
        }
        if authenticity == Authenticity::Unsigned {
            if self.require_signatures {
                note("signature", "is missing; the policy of the feed requires one".into());
            } else if self.authors.is_some() && is_did_key(event.author()) {
                // Otherwise, anyone could write in the name of an author of the list.
                note(
                    "signature",
                    "is missing; the policy of the feed lists authors, so an author with a key must sign".into(),
                );
            }
        }
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }
}

/// Reads members and notes those of another type.
struct Reader<'a> {
    members: &'a Members,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn flag(&mut self, name: &str) -> bool {
        match self.members.get(name) {
            None => false,
            Some(Json::Bool(value)) => *value,
            Some(_) => {
                self.note(name, "is not true or false");
                true
            }
        }
    }

    fn size(&mut self, name: &str) -> Option<u64> {
        let value = self.members.get(name)?;
        let size = match value {
            Json::Number(digits) => digits.parse().ok(),
            _ => None,
        };
        if size.is_none() {
            self.note(name, "is not a number of bytes");
        }
        size
    }

    /// Returns a list of strings. A value that is not understood becomes an empty list.
    fn names(&mut self, name: &str) -> Option<Vec<String>> {
        let value = self.members.get(name)?;
        let names: Option<Vec<_>> = match value {
            Json::Array(elements) => elements.iter().map(text).collect(),
            _ => None,
        };
        if names.is_none() {
            self.note(name, "is not an array of strings");
        }
        Some(names.unwrap_or_default())
    }

    fn note(&mut self, name: &str, problem: &str) {
        self.problems
            .push(new_problem(&format!("policy_json.enforce.{name}"), problem));
    }
}

fn text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn new_problem(field: &str, problem: impl Into<String>) -> Problem {
    Problem {
        field: field.into(),
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, author: &str) -> Event {
        let text = format!(
            r#"{{"event_id":"e","feed_id":"f","type":"{kind}","author_identity_id":"{author}","payload":{{}},
            "source":{{"platform":"p","adapter_id":"a","source_msg_id":null}},"ts":"2026-01-10T12:00:00Z"}}"#
        );
        Event::parse_posted(text.as_bytes()).expect("an event")
    }

    fn fields(problems: &[Problem]) -> Vec<&str> {
        problems.iter().map(|problem| problem.field.as_str()).collect()
    }

    #[test]
    fn a_policy_of_another_kind_means_nothing() {
        for json in [
            "null",
            "7",
            "[]",
            "\"private\"",
            "{}",
            r#"{"members":[],"permissions":{"read":1}}"#,
            r#"{"read":["*"],"types":7}"#,
            r#"{"enforce":{}}"#,
        ] {
            assert_eq!(Policy::read(json), Policy::default(), "{json}");
        }
    }

    #[test]
    fn events_are_checked_by_type_author_size_and_signature() {
        const ALICE: &str = "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw";
        let policy = format!(
            r#"{{"enforce":{{"types":["message","snapshot"],"authors":["bob","{ALICE}"],"max_event_bytes":100}}}}"#
        );
        let policy = Policy::read(&policy);
        assert_eq!(policy.problems(), []);
        let (signed, unsigned) = (Authenticity::Signed, Authenticity::Unsigned);
        for (kind, author, authenticity, bytes, expected) in [
            ("message", "bob", unsigned, 100, &[][..]),
            ("snapshot", ALICE, signed, 100, &[]),
            ("snapshot", ALICE, unsigned, 100, &["signature"]),
            ("note", "eve", unsigned, 101, &["", "type", "author_identity_id"]),
        ] {
            let checked = policy.check(&event(kind, author), authenticity, bytes);
            let violations = checked.err().unwrap_or_default();
            assert_eq!(fields(&violations), expected, "{kind} {author}");
        }
        let policy = Policy::read(r#"{"enforce":{"require_signatures":true}}"#);
        assert_eq!(policy.check(&event("x", ALICE), signed, 1), Ok(()));
        let violations = policy.check(&event("x", ALICE), unsigned, 1).expect_err("refused");
        assert_eq!(fields(&violations), ["signature"]);
        let policy = Policy::read(r#"{"enforce":{"authors":[],"require_signatures":false}}"#);
        assert!(
            policy.check(&event("x", "y"), signed, 1).is_err(),
            "an empty list allows none"
        );
    }

    #[test]
    fn names_narrow_what_tokens_allow() {
        let policy = Policy::read(r#"{"enforce":{"read":["a"],"write":[]}}"#);
        let owner = Token::owner();
        for (right, nobody) in [(Right::Read, false), (Right::Write, false), (Right::Admin, true)] {
            assert!(policy.admits(right, Some(&owner)), "{right:?}");
            assert_eq!(policy.admits(right, None), nobody, "{right:?}");
            assert!(Policy::default().admits(right, None));
        }
    }

    #[test]
    fn a_member_that_is_not_understood_allows_nothing() {
        for (member, value) in [
            ("require_signatures", "1"),
            ("authors", "\"alice\""),
            ("types", "[\"a\",1]"),
            ("max_event_bytes", "\"1\""),
            ("max_event_bytes", "-1"),
            ("max_event_bytes", "1.5"),
            ("read", "null"),
            ("write", "{}"),
            ("reads", "[]"),
        ] {
            let policy = Policy::read(&format!("{{\"enforce\":{{\"{member}\":{value}}}}}"));
            assert_eq!(
                fields(policy.problems()),
                [format!("policy_json.enforce.{member}")],
                "{value}"
            );
            let refused = policy.check(&event("a", "alice"), Authenticity::Signed, 1);
            assert!(refused.is_err(), "{member}");
            assert_eq!(policy.admits(Right::Read, None), member != "read", "{member}");
        }
        for json in ["{", r#"{"enforce":[]}"#] {
            let policy = Policy::read(json);
            assert!(!policy.admits(Right::Read, None) && policy.problems().len() == 1);
        }
    }
}
