//! Feeds: their ids, names and policies.
use serde_json::{Value, json};

use crate::{folder, requests::fields};
use support::relay::{Relay, event};

#[test]
fn a_feed_is_made_once_and_its_id_is_a_plain_name() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    assert_eq!(client.get("/feeds").json, json!([]));
    let made = client.post("/feeds", &json!({"feed_id": "grüße & co"}));
    assert_eq!((made.status, &made.json["id"]), (201, &json!("grüße & co")));
    let again = client.post("/feeds", &json!({"feed_id": "grüße & co"}));
    assert_eq!((again.status, &again.json), (200, &made.json));
    assert_eq!(client.get("/feeds/gr%C3%BC%C3%9Fe%20%26%20co").json, made.json);
    for bad in ["../x", "a/b", ".git", "con", ""] {
        let refused = client.post("/feeds", &json!({"feed_id": bad}));
        assert_eq!((refused.status, fields(&refused.json)), (400, vec!["feed_id"]), "{bad}");
    }
    for unknown in [
        "/feeds/x",
        "/feeds/%FF",
        "/feeds/x/events",
        "/feeds/x/stream",
        "/feeds/a%2Fb/events",
    ] {
        let answer = client.get(unknown);
        assert_eq!(answer.status, 404, "{unknown}");
        assert_eq!(
            answer.json.as_object().map(|members| members.len()),
            Some(1),
            "only an error"
        );
    }
    assert_eq!(client.post("/feeds/x/events", &event("x", "1")).status, 404);
    assert_eq!(client.get("/feeds").json.as_array().map(Vec::len), Some(1));
}

#[test]
fn a_feed_has_a_name_and_a_policy_and_no_other_case() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    let policy = json!({"members": ["x"], "n": 1});
    let body = json!({"feed_id": "f", "name": "The feed", "policy_json": policy});
    let made = client.post("/feeds", &body);
    let created_at = made.json["created_at"].clone();
    assert!(created_at.as_str().expect("a time").ends_with('Z'), "{created_at}");
    let expected = json!({"id": "f", "name": "The feed", "policy_json": policy, "created_at": created_at});
    assert_eq!((made.status, &made.json), (201, &expected));
    for (body, status) in [
        (body.clone(), 200),
        (json!({"feed_id": "f"}), 200),
        (json!({"feed_id": "f", "name": "Another"}), 409),
        (json!({"feed_id": "f", "policy_json": null}), 409),
        (json!({"feed_id": "F"}), 409),
    ] {
        let answer = client.post("/feeds", &body);
        let feed = if status == 200 {
            &answer.json
        } else {
            &answer.json["stored"]
        };
        assert_eq!((answer.status, feed), (status, &expected), "{body}");
    }
    let named = client.post("/feeds", &json!({"name": "The feed"}));
    assert_eq!((named.status, &named.json["policy_json"]), (201, &Value::Null));
    let id = named.json["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        (id.len(), client.get(&format!("/feeds/{id}")).json),
        (36, named.json.clone())
    );
    let feeds = json!([named.json, expected]);
    assert_eq!(client.get("/feeds").json, feeds, "newest first");
    relay.stop();
    assert_eq!(Relay::start(folder.path()).client().get("/feeds").json, feeds);
}
