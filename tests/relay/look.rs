//! The relay's own page, in headless Chromium: clicked, typed into, and read as a screen reader does.
use std::{fs, path::Path, thread};

use rustix::process::Signal;
use serde_json::{Value, json};
use support::relay::{Client, Relay, Start, event};

use crate::{devtools::Tab, folder, tokens};

const HOSTILE: &str = r#"<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>"#;
/// A number that JavaScript would round.
const LARGE: &str = "12345678901234567890123";

/// Selector of the events that are shown.
const SHOWN: &str = "#events li:not([hidden])";

fn shown(count: usize) -> String {
    format!("document.querySelectorAll({SHOWN:?}).length === {count}")
}

/// Posts an event of this type with this text.
fn post(client: &Client, feed: &str, name: &str, (kind, text): (&str, &str)) -> u64 {
    let mut event = event(feed, name);
    event["type"] = json!(kind);
    event["payload"] = json!({ "text": text });
    client.post_event(&event)
}

/// The texts of the events that are shown.
fn texts(tab: &mut Tab) -> Value {
    tab.value(&format!(
        "[...document.querySelectorAll({SHOWN:?})].map((item) => item.querySelector('.text').textContent)"
    ))
}

/// Index of the event that has the focus; -1 without one.
fn focused(tab: &mut Tab) -> Value {
    tab.value(&format!(
        "[...document.querySelectorAll({SHOWN:?})].indexOf(document.activeElement.closest('li'))"
    ))
}

fn open(folder: &Path, relay: &Relay, path: &str) -> Tab {
    Tab::open(&folder.join("profile"), &format!("http://{}{path}", relay.address))
}

#[test]
fn events_are_shown_as_they_arrive_filtered_and_searched() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("general");
    client.make_feed("random");
    post(&client, "general", "1", ("message", "the first one"));
    post(&client, "random", "2", ("note", "a needle in a haystack"));
    let mut tab = open(folder.path(), &relay, "/");
    tab.until(&shown(2));
    tab.until("document.getElementById('connection').dataset.state === 'live'");
    assert_eq!(texts(&mut tab), json!(["a needle in a haystack", "the first one"]));
    post(&client, "general", "3", ("note", "it has just arrived"));
    tab.until(&shown(3));

    tab.fill("#type", "note");
    tab.until(&shown(2));
    post(&client, "general", "4", ("message", "of another type"));
    post(&client, "general", "5", ("note", "of this type"));
    tab.until(&shown(3));
    assert_eq!(
        texts(&mut tab),
        json!(["of this type", "it has just arrived", "a needle in a haystack"])
    );
    assert_eq!(tab.value("location.search"), "?type=note");
    tab.fill("#search", "NEEDLE");
    tab.until(&shown(1));
    assert_eq!(
        tab.value("document.getElementById('count').textContent"),
        "1 of the newest 3"
    );
    tab.fill("#search", "");
    tab.fill("#type", "");
    tab.until(&shown(5));
    // A feed of the table.
    tab.click("#feeds tr:first-child button");
    tab.until(&shown(1));
    assert_eq!(tab.value("location.search"), "?feed=random");
    tab.navigate("Page.reload", json!({}));
    tab.until(&shown(1));
    assert_eq!(texts(&mut tab), json!(["a needle in a haystack"]));
    let numbers = "[...document.querySelectorAll('#feeds .number')].map((cell) => cell.textContent)";
    assert_eq!(tab.value(numbers), json!(["4", "7"]));

    tab.click("#pause");
    post(&client, "random", "6", ("note", "while paused"));
    tab.until("document.getElementById('waiting').textContent === '1 waiting'");
    assert_eq!(texts(&mut tab), json!(["a needle in a haystack"]));
    tab.click("#pause");
    tab.until(&shown(2));

    // A feed that is made meanwhile comes with the next look at the feeds, which a return to the tab brings about.
    tab.value("document.getElementById('feed').value = ''; document.getElementById('feed').dispatchEvent(new Event('change', { bubbles: true }))");
    tab.until(&shown(6));
    client.make_feed("new");
    post(&client, "new", "7", ("note", "in a new feed"));
    tab.value("document.dispatchEvent(new Event('visibilitychange'))");
    tab.until(&shown(7));
    assert_eq!(texts(&mut tab)[0], "in a new feed");
}

#[test]
fn content_of_events_is_text_and_the_policy_blocks_the_rest() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let named = client.post("/feeds", &json!({"feed_id": "g", "name": HOSTILE}));
    assert_eq!(named.status, 201);
    let mut hostile = event("f", "1");
    for member in ["type", "author_identity_id"] {
        hostile[member] = json!(HOSTILE);
    }
    hostile["payload"] = json!({ "text": HOSTILE, "n": "NUMBER", "deep": [[], {}, ["\\\"{"]] });
    let posted = hostile.to_string().replace("\"NUMBER\"", LARGE);
    assert_eq!(
        client.try_post("/feeds/f/events", &posted).expect("an answer").status,
        201
    );
    let mut tab = open(folder.path(), &relay, "/");
    tab.until(&shown(1));
    assert_eq!(texts(&mut tab), json!([HOSTILE]));
    tab.click("#events .event");
    let raw = tab.value("document.querySelector('#events pre').textContent");
    let raw = raw.as_str().expect("text");
    assert!(raw.contains(&format!("\"n\": {LARGE}")), "digit for digit: {raw}");
    let stored: Value = serde_json::from_str(raw).expect("JSON");
    assert_eq!(stored, client.get("/feeds/f/events").json[0]);
    assert_eq!(tab.value("document.querySelectorAll('img, body script').length"), 0);
    assert_eq!(tab.value("document.querySelector('#feeds .name').textContent"), HOSTILE);

    // What an attacker could do with an element anyhow.
    for (attack, blocked) in [
        (
            "document.body.append(Object.assign(document.createElement('script'), { textContent: \"document.title='owned'\" }))",
            "script-src-elem",
        ),
        (
            "document.body.append(Object.assign(document.createElement('img'), { src: '/health' }))",
            "img-src",
        ),
        (
            "document.body.insertAdjacentHTML('beforeend', '<p onclick=\"document.title=1\">')",
            "script-src-attr",
        ),
        ("fetch('http://127.0.0.1:9/').catch(() => {})", "connect-src"),
        (
            "document.body.append(Object.assign(document.createElement('iframe'), { src: '/' }))",
            "frame-src",
        ),
        (
            "document.body.append(Object.assign(document.createElement('base'), { href: 'http://127.0.0.1:9/' }))",
            "base-uri",
        ),
        ("document.getElementById('filter').submit()", "form-action"),
    ] {
        let violation = format!(
            "new Promise((done) => {{ document.addEventListener('securitypolicyviolation', ({{ effectiveDirective }}) => done(effectiveDirective), {{ once: true }}); {attack}; }})"
        );
        assert_eq!(tab.value(&violation), blocked, "{attack}");
    }
    assert_eq!(tab.value("document.title"), "Relay");

    // No other page may show this one in a frame, or load it as something else.
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    for (path, kind) in [
        ("/", "text/html"),
        ("/v1/", "text/html"),
        ("/page.js", "text/javascript"),
        ("/relay.js", "text/javascript"),
        ("/page.css", "text/css"),
    ] {
        let answer = agent
            .get(format!("http://{}{path}", relay.address))
            .call()
            .expect("a page");
        let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
        assert_eq!(header("content-type"), format!("{kind}; charset=utf-8"));
        assert_eq!(header("x-content-type-options"), "nosniff");
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}

#[test]
fn keys_and_screen_readers_reach_everything() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    for number in 0..5 {
        post(
            &client,
            "f",
            &number.to_string(),
            ("message", &format!("text {number}")),
        );
    }
    let mut tab = open(folder.path(), &relay, "/");
    tab.until(&shown(5));
    // The first key reaches the link that leads to the events, and the next but one the newest event.
    tab.press(&["Tab"]);
    assert_eq!(tab.value("document.activeElement.className"), "skip");
    tab.press(&["Enter", "Tab"]);
    assert_eq!(tab.value("document.activeElement.id"), "pause");
    tab.press(&["Tab"]);
    assert_eq!(focused(&mut tab), 0);
    tab.press(&["ArrowDown", "ArrowDown"]);
    assert_eq!(focused(&mut tab), 2);
    post(&client, "f", "5", ("message", "text 5"));
    tab.until(&shown(6));
    assert_eq!(focused(&mut tab), 3, "the focus stays at its event");
    tab.press(&["End", "ArrowDown"]);
    assert_eq!(focused(&mut tab), 5);
    tab.press(&["Enter"]);
    let json = "JSON.parse(document.querySelector('#events pre').textContent).event_id";
    assert_eq!(tab.value(json), "e-0");
    assert_eq!(tab.value("document.activeElement.ariaExpanded"), "true");
    tab.press(&["Tab"]);
    assert_eq!(tab.value("document.activeElement.tagName"), "PRE");
    tab.press(&["Escape"]);
    assert_eq!(tab.value("document.querySelector('#events pre')"), Value::Null);
    assert_eq!(focused(&mut tab), 5);
    tab.press(&["Home"]);
    assert_eq!(focused(&mut tab), 0);
    let outline = "getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(tab.value(outline), "solid", "the focus is visible");

    let roles = tab.roles();
    for (role, name) in [
        ("banner", ""),
        ("main", ""),
        ("search", "Events"),
        ("region", "Events"),
        ("region", "Feeds"),
        ("heading", "Relay"),
        ("combobox", "Feed"),
        ("searchbox", "Search"),
        ("status", ""),
        ("table", "Feeds"),
        ("list", ""),
    ] {
        assert!(
            roles.contains(&(role.into(), name.into())),
            "{role} {name:?} in {roles:?}"
        );
    }
    for (role, name) in &roles {
        let is_control = ["button", "link", "combobox", "textbox", "searchbox"].contains(&role.as_str());
        assert!(!is_control || !name.is_empty(), "a {role} has no name");
    }
    assert!(
        roles
            .iter()
            .any(|(role, name)| role == "button" && name.contains("message i-1 in f text 5"))
    );
}

/// The least contrast of text to its background (WCAG 2.2, section 1.4.3).
pub const CONTRAST: &str = "(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const channel = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const back = (element) => {
    const [r, g, b, a = 1] = numbers(getComputedStyle(element).backgroundColor);
    return a === 1 || !element.parentElement ? [r, g, b] : back(element.parentElement);
  };
  const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== '');
  const texts = [...document.body.querySelectorAll('*')].filter((one) => hasText(one) && one.checkVisibility());
  return Math.min(...texts.map((one) => {
    const pair = [light(numbers(getComputedStyle(one).color)), light(back(one))].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
  }));
})()";

#[test]
fn it_is_readable_on_a_phone_in_light_and_dark() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    for feed in ["general", "builds", "decisions"] {
        client.make_feed(feed);
    }
    for (number, (feed, author, kind, text)) in [
        (
            "general",
            "ada",
            "message",
            "Shall we move the release to Thursday? The migration needs one more day.",
        ),
        ("builds", "ci", "build", "main is green: 1,204 tests in 3 min 12 s"),
        (
            "general",
            "grace",
            "message",
            "Thursday is fine. I will tell the others.",
        ),
        (
            "decisions",
            "ada",
            "decision",
            "The release is on Thursday, 15 January.",
        ),
        ("general", "linus", "message", "Noted; the mirror has caught up, too."),
        ("builds", "ci", "build", "release-2.4 is red: tests/journey timed out"),
        ("general", "grace", "reaction", "+1"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut event = event(feed, &number.to_string());
        event["author_identity_id"] = json!(author);
        event["type"] = json!(kind);
        event["ts"] = json!(format!("2026-01-10T12:0{number}:00.000Z"));
        event["payload"] = json!({ "text": text });
        let seq = client.post_event(&event);
        if feed == "decisions" || (feed == "general" && number < 6) {
            client.put(
                &format!("/feeds/{feed}/confirmed"),
                &json!({"by": "backup", "seq": seq}),
            );
        }
    }
    let mut tab = open(folder.path(), &relay, "/");
    tab.until(&shown(7));
    tab.until("document.querySelectorAll('#feeds .mirror:not(:empty)').length === 3");
    tab.emulate(1000, false);
    tab.click("#events li:nth-child(4) .event");
    tab.value("document.activeElement.blur(); scrollTo(0, 0)");
    for is_dark in [false, true] {
        tab.emulate(1000, is_dark);
        let contrast = tab.value(CONTRAST).as_f64().expect("a number");
        assert!(contrast >= 4.5, "contrast {contrast}, dark: {is_dark}");
        if let Some(into) = std::env::var_os("RELAY_SCREENSHOTS") {
            let name = if is_dark { "relay-dark.png" } else { "relay-light.png" };
            fs::write(Path::new(&into).join(name), tab.screenshot()).expect("an image");
        }
    }
    let background = "getComputedStyle(document.documentElement).backgroundColor";
    assert_ne!(tab.value(background), "rgb(255, 255, 255)");

    // A long word, and an event with its JSON.
    post(&client, "general", "long", ("message", &"x".repeat(2000)));
    tab.until(&shown(8));
    tab.emulate(360, true);
    tab.click("#events li:first-child .event");
    tab.until("document.querySelectorAll('#events pre').length === 2");
    assert_eq!(tab.value("document.documentElement.scrollWidth"), 360);
    let widest = "Math.max(...[...document.querySelectorAll('body *:not(.unseen, .skip)')].map((one) => one.getBoundingClientRect().right))";
    assert!(tab.value(widest).as_f64().expect("a number") <= 360.0);
}

#[test]
fn a_token_is_asked_for_and_stays_in_the_tab() {
    let folder = folder();
    let mut reader = tokens::entry("canary-7d1a", &["read"], &["f"]);
    reader["name"] = json!("reader");
    tokens::write(folder.path(), &[reader]);
    let file = folder.path().join("tokens.json");
    let arguments = ["--tokens", file.to_str().expect("UTF-8"), "--access-log"];
    let start = Start {
        arguments: &arguments,
        token: Some("owner"),
        behind: &["env", "STARGATE_LOG=trace"],
    };
    let relay = start.start(folder.path());
    let owner = relay.client().with_token("owner");
    owner.make_feed("f");
    owner.make_feed("secret");
    post(&owner, "f", "1", ("message", "the first one"));
    let mut tab = open(folder.path(), &relay, "/");
    let is_asked = "!document.getElementById('access').hidden";
    tab.until(is_asked);
    tab.fill("#token", "canary-wrong");
    tab.until("document.getElementById('access-problem').textContent.includes('the token is wrong')");
    tab.fill("#token", "canary-7d1a");
    tab.until(&shown(1));
    assert_eq!(tab.value(is_asked), false);
    let feeds = "[...document.querySelectorAll('#feeds button')].map((one) => one.textContent)";
    assert_eq!(tab.value(feeds), json!(["f"]));
    tab.navigate("Page.reload", json!({}));
    tab.until(&shown(1));
    // The stream ends, and the page comes back with its token.
    tab.until("document.getElementById('connection').dataset.state === 'live'");
    relay.signal(Signal::HUP);
    relay.until("reloaded the tokens");
    tab.until("document.getElementById('connection').dataset.state === 'lost'");
    post(&owner, "f", "2", ("message", "the second one"));
    tab.until(&shown(2));
    assert_eq!(
        tab.value("location.href + document.cookie + JSON.stringify(localStorage)"),
        format!("http://{}/{{}}", relay.address)
    );
    // A token that is taken away.
    tokens::write(folder.path(), &[]);
    relay.signal(Signal::HUP);
    tab.until(is_asked);
    let said = relay.said();
    assert!(said.contains("token=\"reader\"") && !said.contains("canary"), "{said}");
}

#[test]
fn the_page_is_bounded_and_comes_back_after_a_restart() {
    let folder = folder();
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    thread::scope(|scope| {
        for mut numbers in [0..160, 160..320, 320..490] {
            let client = client.clone();
            scope.spawn(move || numbers.all(|number| client.post_event(&event("f", &number.to_string())) > 0));
        }
    });
    let mut tab = open(folder.path(), &relay, "/");
    tab.until(&shown(490));
    for number in 490..520 {
        client.post_event(&event("f", &number.to_string()));
    }
    let newest = "document.querySelector('#events .text').textContent.includes('519')";
    tab.until(newest);
    assert_eq!(tab.value("document.querySelectorAll('#events li').length"), 500);
    // The feed is number 1, the first event number 2.
    assert_eq!(tab.value("document.querySelector('#events li:last-child').value"), 22);
    let address = relay.address.to_string();
    relay.stop();
    tab.until("document.getElementById('connection').dataset.state === 'lost'");

    let arguments = ["--listen", address.as_str()];
    let again = Start {
        arguments: &arguments,
        ..Start::default()
    };
    let relay = again.start(folder.path());
    relay.client().post_event(&event("f", "later"));
    tab.until("document.querySelector('#events .text').textContent.includes('later')");
    tab.until("document.getElementById('connection').dataset.state === 'live'");
    assert_eq!(tab.value("document.querySelectorAll('#events li').length"), 500);
}
