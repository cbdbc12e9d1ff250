//! Policies of feeds: what they refuse, who reads and writes, and policies that are not understood.
use std::{fs, path::Path};

use serde_json::{Value, json};
use support::relay::{Client, Heard, Listener, Relay, event};

use crate::{
    folder,
    requests::fields,
    signed::signed,
    tokens::{entry, start, write},
};

/// Private key of an author, and the author.
const ALICE: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const ALICES_DID: &str = "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw";

fn make(client: &Client, feed: &str, policy: &Value) {
    let answer = client.post("/feeds", &json!({"feed_id": feed, "policy_json": policy}));
    assert_eq!((answer.status, &answer.json["policy_json"]), (201, policy));
}

fn post(client: &Client, event: &Value) -> (u16, Vec<String>) {
    let feed = event["feed_id"].as_str().expect("a feed");
    let answer = client.post(&format!("/feeds/{feed}/events"), event);
    let details = match &answer.json["details"] {
        Value::Null => Vec::new(),
        _ => fields(&answer.json).into_iter().map(str::to_owned).collect(),
    };
    (answer.status, details)
}

#[test]
fn events_that_the_policy_does_not_allow_are_refused_with_details() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    make(
        &client,
        "typed",
        &json!({"enforce": {"types": ["message", "snapshot"]}, "members": ["kept"], "read": ["*"]}),
    );
    make(
        &client,
        "authors",
        &json!({"enforce": {"authors": ["i-1", ALICES_DID]}}),
    );
    make(
        &client,
        "signed",
        &json!({"enforce": {"require_signatures": true, "max_event_bytes": 400}}),
    );
    make(&client, "any", &json!(["not", "an", "object"]));
    let with = |feed: &str, name: &str, member: &str, value: &str| {
        let mut event = event(feed, name);
        event[member] = value.into();
        event
    };
    let long = "x".repeat(400);
    for (event, status, details) in [
        (event("typed", "1"), 201, &[][..]),
        (with("typed", "2", "type", "note"), 403, &["type"]),
        (event("authors", "3"), 201, &[]),
        (
            with("authors", "4", "author_identity_id", "eve"),
            403,
            &["author_identity_id"],
        ),
        // An author that has a key signs, wherever authors matter.
        (
            with("authors", "5", "author_identity_id", ALICES_DID),
            403,
            &["signature"],
        ),
        (signed(ALICE, &event("authors", "6")), 201, &[]),
        (event("signed", "7"), 403, &["signature"]),
        (signed(ALICE, &event("signed", "8")), 201, &[]),
        (with("signed", "9", "more", &long), 403, &["", "signature"]),
        (event("any", "10"), 201, &[]),
    ] {
        let details: Vec<_> = details.iter().map(|field| (*field).to_owned()).collect();
        assert_eq!(post(&client, &event), (status, details), "{event}");
    }
    let bad = json!({"feed_id": "bad", "policy_json": {"enforce": {"types": "message", "read": [1], "max_event_bytes": "9", "wrote": []}}});
    let answer = client.post("/feeds", &bad);
    let expected = ["types", "max_event_bytes", "read", "wrote"].map(|name| format!("policy_json.enforce.{name}"));
    assert_eq!(
        (answer.status, fields(&answer.json)),
        (400, expected.iter().map(String::as_str).collect())
    );
    assert_eq!(client.get("/feeds/bad").status, 404);
}

#[test]
fn a_policy_narrows_which_tokens_read_and_write() {
    let folder = folder();
    let everything = ["read", "write"];
    let names = ["ann", "ben"];
    let mut tokens: Vec<_> = names.iter().map(|name| entry(name, &everything, &["*"])).collect();
    tokens.push(entry("reader", &["read"], &["open"]));
    write(folder.path(), &tokens);
    let relay = start(folder.path());
    let [owner, ann, ben] = ["owner", "ann", "ben"].map(|token| relay.client().with_token(token));
    owner.make_feed("open");
    make(
        &owner,
        "team",
        &json!({"enforce": {"read": ["ann", "reader"], "write": ["ben"]}}),
    );
    let one = event("team", "1");
    assert_eq!(post(&ann, &one), (403, vec!["policy_json.enforce.write".to_owned()]));
    assert_eq!(post(&ben, &one), (201, vec![]));
    assert_eq!(
        post(&owner, &event("team", "2")),
        (201, vec![]),
        "the owner's token allows everything"
    );
    for (path, allowed) in [
        ("/feeds/team", 200),
        ("/feeds/team/events", 200),
        ("/v1/feeds/team/events?after_seq=0", 200),
    ] {
        assert_eq!((ann.get(path).status, ben.get(path).status), (allowed, 403), "{path}");
        assert_eq!(
            relay.client().with_token("reader").get(path).status,
            403,
            "not by its token: {path}"
        );
    }
    for path in ["/feeds/team/stream", "/stream?feed=open&feed=team"] {
        let answer = ben.get(path);
        assert_eq!(
            (answer.status, fields(&answer.json)),
            (403, vec!["policy_json.enforce.read"]),
            "{path}"
        );
        let path = format!("{path}{}access_token=ann", if path.contains('?') { '&' } else { '?' });
        assert!(matches!(
            Listener::open(relay.address, &path, None).next(),
            Heard::Id(_)
        ));
    }
    let feeds = |client: &Client| client.get("/feeds").json.as_array().expect("a list").len();
    assert_eq!((feeds(&owner), feeds(&ann), feeds(&ben)), (2, 2, 1));
    // Ben reads of no stored event of the feed, but for his own.
    let mut guess = event("open", "1");
    guess["payload"] = json!("a guess");
    let answer = ben.post("/feeds/open/events", &guess);
    assert_eq!((answer.status, answer.json["stored"].clone()), (409, Value::Null));
    assert_eq!(ann.post("/feeds/open/events", &guess).json["stored"], one);
}

#[test]
fn a_feed_for_tokens_is_closed_without_tokens() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    make(&client, "team", &json!({"enforce": {"read": ["ann"]}}));
    assert_eq!(client.get("/feeds").json, json!([]));
    assert_eq!(client.get("/feeds/team/events").status, 403);
    assert_eq!(post(&client, &event("team", "1")), (201, vec![]), "it may be written");
}

#[test]
fn a_feed_is_not_described_to_a_token_that_may_not_read_it() {
    let folder = folder();
    write(folder.path(), &[entry("admin", &["admin"], &["*"])]);
    let relay = start(folder.path());
    let [owner, admin] = ["owner", "admin"].map(|token| relay.client().with_token(token));
    let secret = json!({"feed_id": "f", "name": "secret", "policy_json": {"members": ["secret"]}});
    assert_eq!(owner.post("/feeds", &secret).status, 201);
    let known = admin.post("/feeds", &json!({"feed_id": "f"}));
    assert_eq!((known.status, known.json), (200, json!({"id": "f"})));
    let other = admin.post("/feeds", &json!({"feed_id": "f", "name": "guess"}));
    assert_eq!(other.status, 409);
    assert!(!other.json.to_string().contains("secret"), "{}", other.json);
    let made = admin.post("/feeds", &json!({"feed_id": "g", "name": "mine"}));
    assert_eq!((made.status, &made.json["name"]), (201, &json!("mine")));
}

/// Changes the log of a relay that does not run, as an older version could have written it.
fn rewrite(folder: &Path, from: &str, to: &str) {
    let path = folder.join("data/events.ndjson");
    let log = fs::read_to_string(&path).expect("the log");
    assert!(log.contains(from), "{log}");
    fs::write(&path, log.replace(from, to)).expect("the log");
}

#[test]
fn a_stored_policy_that_is_not_understood_refuses_events() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    make(&client, "typed", &json!({"enforce": {"types": ["message"]}}));
    make(&client, "read", &json!({"enforce": {"read": ["nobody"]}}));
    let one = event("typed", "1");
    client.post_event(&one);
    relay.stop();
    rewrite(folder.path(), r#"{"types":["message"]}"#, r#"{"types":"message"}"#);
    rewrite(folder.path(), r#"{"read":["nobody"]}"#, r#"{"read":"everyone"}"#);

    let relay = Relay::start(folder.path());
    let client = relay.client();
    for feed in ["typed", "read"] {
        let told = format!("the feed \"{feed}\" accepts no events, because its policy is not understood");
        assert!(relay.said().contains(&told), "{}", relay.said());
    }
    let field = vec!["policy_json.enforce.types".to_owned()];
    assert_eq!(post(&client, &event("typed", "2")), (403, field));
    assert_eq!(client.get("/feeds/typed/events").json, json!([one]), "it can be read");
    assert_eq!(client.get("/feeds/read/events").status, 403);

    let policy = json!({"enforce": {"types": ["message"]}});
    assert_eq!(client.put("/feeds/typed/policy", &policy).json["policy_json"], policy);
    assert_eq!(
        post(&client, &event("typed", "2")),
        (201, vec![]),
        "another policy repairs it"
    );
}

#[test]
fn an_admin_sets_another_policy_and_streams_end() {
    let folder = folder();
    let tokens = [
        entry("ann", &["read", "write"], &["*"]),
        entry("admin", &["admin"], &["team"]),
    ];
    write(folder.path(), &tokens);
    let relay = start(folder.path());
    let [owner, ann, admin] = ["owner", "ann", "admin"].map(|token| relay.client().with_token(token));
    owner.make_feed("team");
    owner.make_feed("other");
    let mut listener = Listener::open(relay.address, "/feeds/team/stream?access_token=ann", None);
    assert!(matches!(listener.next(), Heard::Id(_)));
    let policy = json!({"enforce": {"read": [], "types": ["note"]}, "members": [1]});
    for (client, path, body, status) in [
        (&ann, "/feeds/team/policy", &policy, 403),
        (&admin, "/feeds/other/policy", &policy, 403),
        (&owner, "/feeds/none/policy", &policy, 404),
        (&admin, "/feeds/team/policy", &json!({"enforce": {"types": 1}}), 400),
    ] {
        assert_eq!(client.put(path, body).status, status, "{path} {body}");
    }
    assert_eq!(post(&ann, &event("team", "1")), (201, vec![]));
    assert_eq!(listener.event().1, event("team", "1"));
    let set = admin.put("/feeds/team/policy", &policy);
    assert_eq!((set.status, set.json), (200, json!({"id": "team"})));
    assert_eq!(listener.try_next().expect("an end that is clean"), None);
    assert_eq!(ann.get("/feeds/team/stream").status, 403);
    assert_eq!(post(&ann, &event("team", "2")), (403, vec!["type".to_owned()]));
    let again = admin.post("/feeds", &json!({"feed_id": "team", "policy_json": policy}));
    assert_eq!(again.status, 200, "it is the policy of the feed");
    let feeds = owner.get("/feeds").json;
    assert_eq!((&feeds[1]["id"], &feeds[1]["policy_json"]), (&json!("team"), &policy));
    relay.stop();
    let relay = start(folder.path());
    assert_eq!(relay.client().with_token("owner").get("/feeds").json, feeds);
    assert_eq!(relay.client().with_token("ann").get("/feeds/team").status, 403);
}

#[test]
fn a_policy_ends_streams_without_tokens_too() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    relay.client().make_feed("f");
    let mut listener = Listener::connect(relay.address, "f", None);
    assert!(matches!(listener.next(), Heard::Id(_)));
    assert_eq!(relay.client().put("/feeds/f/policy", &json!(null)).status, 200);
    assert_eq!(
        relay
            .client()
            .put("/feeds/f/policy", &json!({"enforce": {"read": ["ann"]}}))
            .status,
        200
    );
    assert_eq!(listener.try_next().expect("an end that is clean"), None);
}
