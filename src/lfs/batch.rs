//! Requests and answers of the batch API, as plain data (git-lfs, *docs/api/batch.md*).
use std::collections::{BTreeMap, HashMap};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::action::Action;
use crate::lfs_pointer::{Oid, Pointer};

/// Media type of requests and answers.
pub(super) const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";
/// Number of objects in one request. GitHub and GitLab take 100.
pub(super) const MAX_OBJECTS: usize = 100;

/// Direction of the transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Operation {
    Upload,
    Download,
}

#[derive(Serialize)]
struct Request<'a> {
    operation: Operation,
    transfers: [&'static str; 1],
    objects: Vec<Object<'a>>,
    hash_algo: &'static str,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<Reference<'a>>,
}

#[derive(Serialize)]
struct Object<'a> {
    oid: &'a str,
    size: u64,
}

#[derive(Serialize)]
struct Reference<'a> {
    name: &'a str,
}

/// Returns the body of a request for these objects. `reference` is the ref that is pushed, if its name is UTF-8.
pub(super) fn request(operation: Operation, pointers: &[Pointer], reference: Option<&str>) -> Vec<u8> {
    let objects = pointers.iter().map(|pointer| Object {
        oid: pointer.oid.as_str(),
        size: pointer.size,
    });
    let request = Request {
        operation,
        transfers: ["basic"],
        objects: objects.collect(),
        hash_algo: "sha256",
        reference: reference.map(|name| Reference { name }),
    };
    serde_json::to_vec(&request).expect("a request is JSON")
}

#[derive(Deserialize)]
struct Answer {
    transfer: Option<String>,
    hash_algo: Option<String>,
    objects: Vec<Answered>,
}

#[derive(Deserialize)]
struct Answered {
    oid: String,
    #[serde(default)]
    actions: Option<Actions>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Actions {
    upload: Option<RawAction>,
    verify: Option<RawAction>,
    download: Option<RawAction>,
}

#[derive(Deserialize)]
struct RawAction {
    href: SecretString,
    #[serde(default)]
    header: Option<BTreeMap<String, SecretString>>,
    expires_in: Option<i64>,
    expires_at: Option<String>,
}

/// Reason why the server refuses one object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Refusal {
    pub(super) code: u16,
    #[serde(default)]
    pub(super) message: String,
}

/// Answer of the server on one object.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// The server has it, or, for a download, names no way to it.
    Present,
    Upload {
        action: Action,
        verify: Option<Action>,
    },
    Download(Action),
    Refused(Refusal),
}

/// An answer that does not follow the batch API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadAnswer {
    #[error("the LFS server's answer is not a valid batch response")]
    NotJson,
    #[error("the LFS server chose the transfer {0:?}, but only \"basic\" was offered")]
    Transfer(String),
    #[error("the LFS server chose the hash {0:?}, but only \"sha256\" was offered")]
    Hash(String),
    #[error("the LFS server did not answer on the object {0}")]
    Missing(Oid),
}

/// Returns the verdict on each of these objects, in their order. Objects that were not asked for are skipped.
pub(super) fn verdicts(body: &[u8], pointers: &[Pointer]) -> Result<Vec<Verdict>, BadAnswer> {
    // The error of the parser may quote the body.
    let answer: Answer = serde_json::from_slice(body).map_err(|_| BadAnswer::NotJson)?;
    if let Some(other) = answer.transfer.filter(|name| name != "basic") {
        return Err(BadAnswer::Transfer(other));
    }
    if let Some(other) = answer.hash_algo.filter(|name| name != "sha256") {
        return Err(BadAnswer::Hash(other));
    }
    let mut answered: HashMap<String, Answered> = HashMap::new();
    for object in answer.objects {
        answered.insert(object.oid.clone(), object);
    }
    let verdict = |pointer: &Pointer| match answered.remove(pointer.oid.as_str()) {
        Some(object) => Ok(object.verdict()),
        None => Err(BadAnswer::Missing(pointer.oid.clone())),
    };
    pointers.iter().map(verdict).collect()
}

impl Answered {
    fn verdict(self) -> Verdict {
        if let Some(refusal) = self.error {
            return Verdict::Refused(refusal);
        }
        match self.actions {
            Some(Actions {
                upload: Some(action),
                verify,
                ..
            }) => Verdict::Upload {
                action: action.into(),
                verify: verify.map(Into::into),
            },
            Some(Actions {
                download: Some(action), ..
            }) => Verdict::Download(action.into()),
            _ => Verdict::Present,
        }
    }
}

impl From<RawAction> for Action {
    fn from(raw: RawAction) -> Self {
        let headers = raw.header.unwrap_or_default().into_iter().collect();
        Action::new(raw.href, headers, raw.expires_in, raw.expires_at.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(digit: &str) -> Pointer {
        Pointer {
            oid: digit.repeat(64).parse().expect("an id"),
            size: 3,
        }
    }

    fn body(objects: &str) -> Vec<u8> {
        format!("{{\"transfer\":\"basic\",\"objects\":[{objects}]}}").into_bytes()
    }

    #[test]
    fn a_request_names_the_objects() {
        let text = request(Operation::Upload, &[pointer("a")], Some("refs/heads/main"));
        let expected = format!(
            "{{\"operation\":\"upload\",\"transfers\":[\"basic\"],\"objects\":[{{\"oid\":\"{}\",\"size\":3}}],\
             \"hash_algo\":\"sha256\",\"ref\":{{\"name\":\"refs/heads/main\"}}}}",
            "a".repeat(64)
        );
        assert_eq!(String::from_utf8(text).expect("text"), expected);
    }

    #[test]
    fn each_object_has_its_verdict() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|digit| digit.repeat(64));
        let objects = format!(
            "{{\"oid\":\"{b}\",\"size\":3}},{{\"oid\":\"{a}\",\"actions\":{{\"upload\":{{\"href\":\"http://h/a\",\
             \"header\":{{\"Authorization\":\"canary\"}}}},\"verify\":{{\"href\":\"http://h/v\"}}}}}},\
             {{\"oid\":\"{c}\",\"error\":{{\"code\":422,\"message\":\"no\"}}}},{{\"oid\":\"{d}\"}}"
        );
        let found = verdicts(&body(&objects), &[pointer("a"), pointer("b"), pointer("c")]).expect("an answer");
        assert!(!format!("{found:?}").contains("canary"), "{found:?}");
        assert!(
            matches!(
                &found[..],
                [
                    Verdict::Upload { verify: Some(_), .. },
                    Verdict::Present,
                    Verdict::Refused(Refusal { code: 422, .. })
                ]
            ),
            "{found:?}"
        );
    }

    #[test]
    fn other_answers_are_refused() {
        let asked = [pointer("a")];
        assert_eq!(verdicts(b"<html>", &asked).unwrap_err(), BadAnswer::NotJson);
        assert_eq!(
            verdicts(&body(""), &asked).unwrap_err(),
            BadAnswer::Missing(asked[0].oid.clone())
        );
        let tus = b"{\"transfer\":\"tus\",\"objects\":[]}";
        assert_eq!(verdicts(tus, &asked).unwrap_err(), BadAnswer::Transfer("tus".into()));
        let other = b"{\"hash_algo\":\"md5\",\"objects\":[]}";
        assert_eq!(verdicts(other, &asked).unwrap_err(), BadAnswer::Hash("md5".into()));
    }
}
