//! PURE: the body of a request that creates a feed.
use super::{index::About, policy::Policy, store::NewFeed};
use crate::{
    event::{Form, Json, Members, Problem, check_name, read_json},
    uuid,
};

/// Maximum length of the name of a feed, in bytes.
const MAX_FEED_NAME: usize = 1024;

/// Parses `{"name": …, "policy_json"?: …, "feed_id"?: …}`. With a `feed_id`, the name may be missing, too.
///
/// # Errors
/// Returns all problems.
pub fn feed_to_make(body: &[u8]) -> Result<NewFeed, Vec<Problem>> {
    let problem = |field: &str, problem: String| Problem {
        field: field.into(),
        problem,
    };
    let members = match read_json(body) {
        Ok(Json::Object(members)) => members,
        Ok(_) => return Err(vec![problem("", "is not a JSON object".into())]),
        Err(error) => return Err(vec![problem("", error)]),
    };
    let id = text(&members, "feed_id", |id| check_name(id).map_err(str::to_owned));
    let name = text(&members, "name", check_feed_name);
    let mut problems: Vec<_> = members
        .sorted()
        .filter(|(name, _)| !["feed_id", "name", "policy_json"].contains(name))
        .map(|(name, _)| problem(name, "is unknown: a feed has name, policy_json and feed_id".into()))
        .collect();
    problems.extend(id.as_ref().err().map(|what| problem("feed_id", what.clone())));
    problems.extend(name.as_ref().err().map(|what| problem("name", what.clone())));
    let policy = members.get("policy_json");
    problems.extend(
        policy
            .into_iter()
            .flat_map(|policy| Policy::of(policy).problems().to_vec()),
    );
    if members.get("feed_id").is_none() && members.get("name").is_none() {
        problems.push(problem("name", "is missing".into()));
    }
    match (id, name) {
        (Ok(id), Ok(name)) if problems.is_empty() => Ok(new_feed(id, name, policy)),
        _ => Err(problems),
    }
}

fn new_feed(id: Option<&str>, name: Option<&str>, policy: Option<&Json>) -> NewFeed {
    let id = id.map_or_else(|| uuid::version_4(uuid::random()), str::to_owned);
    NewFeed {
        is_named: name.is_some(),
        has_policy: policy.is_some(),
        sets_policy: false,
        about: About {
            name: name.unwrap_or(&id).into(),
            policy: text_of(policy.unwrap_or(&Json::Null)),
            id: id.into(),
        },
    }
}

/// Parses a policy that is to be set for a stored feed.
///
/// # Errors
/// Returns all problems.
pub fn policy_to_set(stored: &About, body: &[u8]) -> Result<NewFeed, Vec<Problem>> {
    let problem = |problem| Problem {
        field: String::new(),
        problem,
    };
    let json = read_json(body).map_err(|error| vec![problem(error)])?;
    let problems = Policy::of(&json).problems().to_vec();
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(NewFeed {
        is_named: false,
        has_policy: true,
        sets_policy: true,
        about: About {
            policy: text_of(&json),
            ..stored.clone()
        },
    })
}

fn text_of(json: &Json) -> Box<str> {
    let mut text = Vec::new();
    json.write(&mut text, Form::Compact)
        .expect("JSON is written into memory");
    String::from_utf8(text).expect("JSON is UTF-8").into()
}

/// Returns a member that is a string and valid, if it is there.
fn text<'a>(
    members: &'a Members,
    name: &str,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<Option<&'a str>, String> {
    match members.get(name) {
        None => Ok(None),
        Some(Json::String(text)) => check(text).map(|()| Some(text.as_str())),
        Some(_) => Err("is not a string".into()),
    }
}

fn check_feed_name(name: &str) -> Result<(), String> {
    match name.len() {
        0 => Err("is empty".into()),
        1..=MAX_FEED_NAME => Ok(()),
        _ => Err(format!("is longer than {MAX_FEED_NAME} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_has_a_name_or_an_id_or_both() {
        let made = |body: &str| feed_to_make(body.as_bytes()).expect(body);
        let feed = made(r#"{"feed_id":"general"}"#);
        assert_eq!(
            (&*feed.about.id, &*feed.about.name, &*feed.about.policy),
            ("general", "general", "null")
        );
        assert!(!feed.is_named && !feed.has_policy);
        let feed = made(r#"{"name":"A/B","policy_json":{"b":1,"a":[null]},"feed_id":"g"}"#);
        let About { id, name, policy } = &feed.about;
        assert_eq!((&**id, &**name, &**policy), ("g", "A/B", r#"{"b":1,"a":[null]}"#));
        let [one, other] = [0, 1].map(|_| made(r#"{"name":"A"}"#).about.id);
        assert!(one.len() == 36 && one != other, "{one} {other}");
        for (body, fields) in [
            (r#"{"feed_id":"../x","name":1}"#, &["feed_id", "name"][..]),
            (r#"{"id":"general"}"#, &["id", "name"]),
            (r#"{"feed_id":7}"#, &["feed_id"]),
            (r#"{"name":""}"#, &["name"]),
            (
                r#"{"name":"","policy_json":{"enforce":{"read":"x","types":["a"]},"members":1,"read":"x"}}"#,
                &["name", "policy_json.enforce.read"],
            ),
            ("[]", &[""]),
            ("", &[""]),
        ] {
            let problems = feed_to_make(body.as_bytes()).expect_err(body);
            let told: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
            assert_eq!(told, fields, "{body}");
        }
    }
}
