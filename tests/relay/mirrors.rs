//! Positions of mirrors on the page and in `GET /status`.
use serde_json::json;
use support::relay::{Client, Relay, event};

use crate::{devtools::Tab, folder};

#[test]
fn the_position_of_the_mirror_is_shown_for_each_feed() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    ["none", "some", "all"].iter().for_each(|feed| client.make_feed(feed));
    let first = client.post_event(&event("some", "1"));
    for name in ["2", "3"] {
        client.post_event(&event("some", name));
    }
    let last = client.post_event(&event("all", "4"));
    for (feed, by, seq) in [("some", "a", first), ("some", "b", first + 1), ("all", "a", last)] {
        let confirmed = client.put(&format!("/feeds/{feed}/confirmed"), &json!({"by": by, "seq": seq}));
        assert_eq!(confirmed.status, 200, "{confirmed:?}");
    }
    let positions = |client: &Client| {
        let status = client.get("/status").json;
        let feeds = status["feeds"].as_array().expect("feeds").clone();
        feeds
            .iter()
            .map(|feed| json!([feed["confirmed"], feed["behind"]]))
            .collect::<Vec<_>>()
    };
    let expected = [json!([last, 0]), json!([first, 2]), json!([null, null])];
    assert_eq!(positions(&client), expected);
    relay.stop();
    let relay = Relay::start(folder.path());
    assert_eq!(positions(&relay.client()), expected);
    let mut tab = Tab::open(&folder.path().join("profile"), &format!("http://{}/", relay.address));
    let cells = "[...document.querySelectorAll('#feeds .mirror')].map((cell) => cell.textContent)";
    tab.until(&format!("{cells}.join() !== ''"));
    let shown = json!(["has all events", format!("has events up to {first}, 2 behind"), "none"]);
    assert_eq!(tab.value(cells), shown);
}
