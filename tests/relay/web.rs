//! Web pages of other origins, and tokens in the query.
use serde_json::Value;

use crate::folder;
use support::relay::{Listener, Relay, Start, event};

const PAGE: &str = "https://example.com";

/// Asks with these headers; returns the status and the headers of the answer.
fn ask(relay: &Relay, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, ureq::http::HeaderMap) {
    let mut request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("http://{}{path}", relay.address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    let agent: ureq::Agent = config.allow_non_standard_methods(true).build().into();
    let answer = agent.run(request.body(()).expect("a request")).expect("an answer");
    (answer.status().as_u16(), answer.headers().clone())
}

fn preflight(relay: &Relay, path: &str, origin: &str) -> (u16, ureq::http::HeaderMap) {
    let headers = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type"),
    ];
    ask(relay, "OPTIONS", path, &headers)
}

#[test]
fn only_pages_of_allowed_origins_may_use_the_relay() {
    let folder = folder();
    let arguments = ["--cors-origin", PAGE, "--cors-origin", "http://localhost:8080"];
    let start = Start {
        arguments: &arguments,
        token: Some("secret"),
        ..Start::default()
    };
    let relay = start.start(folder.path());
    for origin in [PAGE, "http://localhost:8080"] {
        // A preflight has no token.
        let (status, headers) = preflight(&relay, "/feeds", origin);
        assert_eq!(status, 200);
        assert_eq!(headers["access-control-allow-origin"], origin);
        let allowed = headers["access-control-allow-headers"].to_str().expect("text");
        for header in ["authorization", "content-type", "last-event-id"] {
            assert!(allowed.contains(header), "{allowed}");
        }
        let methods = headers["access-control-allow-methods"].to_str().expect("text");
        assert_eq!(methods, "GET,POST");
        assert!(!headers.contains_key("access-control-allow-credentials"));
        for (token, expected) in [("Bearer secret", 200), ("Bearer wrong", 401)] {
            let (status, headers) = ask(&relay, "GET", "/feeds", &[("Origin", origin), ("Authorization", token)]);
            // A page can read why it was refused.
            assert_eq!(
                (status, &headers["access-control-allow-origin"]),
                (expected, &origin.parse().expect("a value"))
            );
            let exposed = headers["access-control-expose-headers"].to_str().expect("text");
            assert_eq!(exposed, "relay-seq,link,retry-after");
            assert!(headers["vary"].to_str().expect("text").contains("origin"));
        }
    }
    for origin in [
        "https://example.com:8443",
        "http://example.com",
        "https://example.com.evil.net",
        "https://a.example.com",
        "null",
    ] {
        let (_, headers) = preflight(&relay, "/feeds", origin);
        assert!(!headers.contains_key("access-control-allow-origin"), "{origin}");
        let asked = [("Origin", origin), ("Authorization", "Bearer secret")];
        let (_, headers) = ask(&relay, "GET", "/health", &asked);
        assert!(!headers.contains_key("access-control-allow-origin"), "{origin}");
    }
    relay.stop();

    let relay = Relay::start(folder.path());
    let (status, headers) = preflight(&relay, "/feeds", PAGE);
    assert_eq!(status, 405);
    assert!(!headers.contains_key("access-control-allow-origin"), "none by default");
}

#[test]
fn a_token_in_the_query_is_for_those_who_ask_for_it_and_never_logged() {
    let folder = folder();
    let start = |arguments| Start {
        behind: &["env", "STARGATE_LOG=trace"],
        arguments,
        token: Some("canary+7d1a"),
    };
    let relay = start(&["--token-in-query"]).start(folder.path());
    let client = relay.client();
    let owner = client.clone().with_token("canary+7d1a");
    owner.make_feed("f");
    let query = "access_token=canary%2B7d1a";
    let seq = owner.post_event(&event("f", "1"));
    for (path, status) in [
        (format!("/feeds?{query}"), 200),
        (format!("/v1/feeds/f?{query}"), 200),
        (format!("/feeds/f/events?limit=1&{query}"), 200),
        ("/feeds?access_token=canary".into(), 401),
        ("/feeds/f/events".into(), 401),
        (format!("/feeds/f/events?limit=x&{query}"), 400),
    ] {
        assert_eq!(client.get(&path).status, status, "{path}");
    }
    let posted = client.try_post(&format!("/feeds/f/events?{query}"), &event("f", "2").to_string());
    assert_eq!(posted.expect("an answer").status, 201);
    let page = client.get(&format!("/feeds/f/events?limit=1&{query}"));
    let next = page.next.expect("another page");
    assert!(!next.contains("canary"), "{next}");
    let mut listener = Listener::open(relay.address, &format!("/stream?feed=f&after_seq=0&{query}"), None);
    assert_eq!(listener.event().0, seq);
    let said = relay.said();
    assert!(said.contains("listening") && !said.contains("canary"), "{said}");
    relay.stop();

    let relay = start(&[]).start(folder.path());
    let refused = relay.client().get(&format!("/feeds?{query}"));
    assert_eq!(refused.status, 401);
    let page = relay
        .client()
        .with_token("canary+7d1a")
        .get(&format!("/feeds/f/events?{query}"));
    assert_eq!(
        (page.status, &page.json["details"][0]["field"]),
        (400, &Value::from("access_token"))
    );
    assert!(!relay.said().contains("canary"), "{}", relay.said());
}
