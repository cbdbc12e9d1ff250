//! Several relays over one stream, and servers that die: what is acknowledged is stored once, and everywhere.
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{Arc, Barrier},
    thread,
    time::Instant,
};

use serde_json::{Value, json};
use support::{
    certificates,
    counter::Counter,
    nats::Servers,
    relay::{Client, Heard, Listener, PATIENCE, Relay, STORE, Start, event},
};
use tempfile::TempDir;

use crate::messages::with_client;

/// A folder of a relay with this store.
pub fn folder_of(url: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join(STORE), url).expect("a file");
    folder
}

/// Posts until the event is stored, to one relay after the other; returns the status of the last answer.
pub fn post_until_stored(clients: &[Client], path: &str, json: &Value) -> u16 {
    let start = Instant::now();
    for client in clients.iter().cycle() {
        match client.try_post(path, &json.to_string()) {
            Ok(answer) if [200, 201].contains(&answer.status) => return answer.status,
            Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
            // The relay was killed.
            Err(_) => {}
        }
        assert!(start.elapsed() < PATIENCE, "{json} is not stored");
    }
    unreachable!("there are clients")
}

/// Waits until a relay has this many events of a feed, and returns them.
pub fn all_when(client: &Client, feed: &str, count: usize) -> Vec<(u64, Value)> {
    let start = Instant::now();
    loop {
        let all = client.all(feed);
        if all.len() >= count {
            return all;
        }
        assert!(start.elapsed() < PATIENCE, "{} of {count} events", all.len());
    }
}

#[test]
fn relays_that_share_a_stream_store_each_event_once_with_the_same_number() {
    const WRITERS: usize = 4;
    const EVENTS: usize = 60;
    let servers = Servers::one();
    let folders = [(); 2].map(|()| folder_of(&servers.url("test")));
    let relays = [0, 1].map(|number| Relay::start(folders[number].path()));
    relays[0].client().make_feed("f");
    // The other relay looks for a feed that it does not have.
    assert_eq!(relays[1].client().get("/feeds/f").status, 200);
    assert_eq!(relays[1].client().get("/feeds/unknown").status, 404);
    let start = Arc::new(Barrier::new(2 * WRITERS));
    let writers: Vec<_> = (0..2 * WRITERS)
        .map(|number| {
            let (client, start) = (relays[number % 2].client(), start.clone());
            thread::spawn(move || {
                start.wait();
                // Each event is posted to both relays.
                let post = |name: usize| {
                    let event = event("f", &format!("{}-{name}", number / 2));
                    client.post("/feeds/f/events", &event).status
                };
                (0..EVENTS).map(post).collect::<Vec<_>>()
            })
        })
        .collect();
    let statuses: Vec<_> = writers
        .into_iter()
        .flat_map(|writer| writer.join().expect("a writer"))
        .collect();
    let new = statuses.iter().filter(|status| **status == 201).count();
    assert!(
        statuses.iter().all(|status| [200, 201].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(new, WRITERS * EVENTS, "each event is new once");
    let [one, other] = relays
        .each_ref()
        .map(|relay| all_when(&relay.client(), "f", WRITERS * EVENTS));
    assert_eq!(one, other);
    let ids: BTreeSet<_> = one.iter().map(|(_, event)| event["event_id"].to_string()).collect();
    assert_eq!((ids.len(), one.len()), (WRITERS * EVENTS, WRITERS * EVENTS));

    // A relay with an empty folder has the same, and knows the same.
    let third = folder_of(&servers.url("test"));
    let third = Relay::start(third.path());
    assert_eq!(third.client().all("f"), one);
    assert_eq!(third.client().get("/feeds").json, relays[0].client().get("/feeds").json);
    let mut retried = event("f", "0-0");
    retried["event_id"] = "another".into();
    assert_eq!(third.client().post("/feeds/f/events", &retried).status, 200);
    retried["payload"] = json!({"other": 1});
    assert_eq!(third.client().post("/feeds/f/events", &retried).status, 409);
}

#[test]
fn relays_that_are_busy_all_the_time_take_turns() {
    const WRITERS: usize = 4;
    const EVENTS: usize = 40;
    let servers = Servers::one();
    let folders = [(); 2].map(|()| folder_of(&servers.url("test")));
    let relays = [0, 1].map(|number| Relay::start(folders[number].path()));
    relays[0].client().make_feed("f");
    assert_eq!(relays[1].client().get("/feeds/f").status, 200);
    let done = Counter::new();
    // One relay is busy as long as the other one.
    let busy = |writer: usize, name: usize| match writer % 2 {
        0 => done.get() < WRITERS && name < 20 * EVENTS,
        _ => name < EVENTS,
    };
    let posted: Vec<usize> = thread::scope(|scope| {
        let write = |writer: usize| {
            let (client, busy, done) = (relays[writer % 2].client(), &busy, &done);
            scope.spawn(move || {
                let names = (0..).take_while(|name| busy(writer, *name));
                let posted = names.map(|name| client.post_event(&event("f", &format!("{writer}-{name}"))));
                let count = posted.count();
                if writer % 2 == 1 {
                    done.add();
                }
                count
            })
        };
        let writers: Vec<_> = (0..2 * WRITERS).map(write).collect();
        writers
            .into_iter()
            .map(|writer| writer.join().expect("every POST is answered with 201"))
            .collect()
    });
    let of = |relay: usize| posted.iter().skip(relay).step_by(2).sum::<usize>();
    assert_eq!(of(1), WRITERS * EVENTS);
    assert!(of(0) < 5 * of(1), "one relay wrote {}, the other {}", of(0), of(1));
    let all = all_when(&relays[1].client(), "f", of(0) + of(1));
    let ids: BTreeSet<_> = all.iter().map(|(_, event)| event["event_id"].to_string()).collect();
    assert_eq!((ids.len(), all.len()), (of(0) + of(1), of(0) + of(1)));
    let stored = with_client(&servers, async |context| {
        let mut stream = context.get_stream("test").await.expect("a stream");
        stream.info().await.expect("an answer").state.messages
    });
    assert_eq!(stored, 1 + all.len() as u64, "the feed, and each event once");
}

#[test]
fn a_policy_that_one_relay_sets_ends_the_streams_of_the_other() {
    let servers = Servers::one();
    let folders = [(); 2].map(|()| folder_of(&servers.url("test")));
    let relays = [0, 1].map(|number| Relay::start(folders[number].path()));
    relays[0].client().make_feed("f");
    let mut listener = Listener::connect(relays[1].address, "f", None);
    assert!(matches!(listener.next(), Heard::Id(_)));
    let set = relays[0]
        .client()
        .put("/feeds/f/policy", &json!({"enforce": {"read": ["nobody"]}}));
    assert_eq!(set.status, 200, "{set:?}");
    while listener.try_next().expect("a connection").is_some() {}
    assert_eq!(relays[1].client().get("/feeds/f/events").status, 403);
}

#[test]
fn without_the_servers_a_post_is_refused_and_nothing_acknowledged_is_lost() {
    let mut servers = Servers::one();
    let folder = folder_of(&servers.url("test"));
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let first = (client.post_event(&event("f", "1")), event("f", "1"));
    // A server that does not answer may have stored the event nevertheless.
    servers.pause(0);
    assert_eq!(client.post("/feeds/f/events", &event("f", "slow")).status, 503);
    servers.resume(0);
    post_until_stored(std::slice::from_ref(&client), "/feeds/f/events", &event("f", "slow"));
    let slow = client.all("f");
    assert_eq!((slow.len(), &slow[0], &slow[1].1), (2, &first, &event("f", "slow")));
    servers.kill(0);
    let refused = client.post("/feeds/f/events", &event("f", "2"));
    assert_eq!(refused.status, 503, "{refused:?}");
    let problem = refused.json["error"].as_str().expect("a problem");
    assert!(problem.contains("send it again"), "{problem}");
    assert_eq!(client.post("/feeds", &json!({"feed_id": "g"})).status, 503);
    // What is stored is served, and recognised.
    assert_eq!(client.all("f"), slow);
    assert_eq!(client.post("/feeds/f/events", &first.1).status, 200);
    servers.restart(0);
    post_until_stored(std::slice::from_ref(&client), "/feeds/f/events", &event("f", "2"));
    let all = client.all("f");
    assert_eq!((all.len(), &all[..2]), (3, &slow[..]));
    // A relay that is killed has lost nothing either.
    relay.kill();
    assert_eq!(Relay::start(folder.path()).client().all("f"), all);
}

#[test]
fn a_stream_that_was_lost_is_not_filled_from_a_copy() {
    let mut servers = Servers::one();
    let folder = folder_of(&servers.url("test"));
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let seq = client.post_event(&event("f", "1"));
    servers.kill(0);
    servers.wipe(0);
    servers.restart(0);
    assert_eq!(client.post("/feeds/f/events", &event("f", "2")).status, 503);
    assert_eq!(client.all("f"), [(seq, event("f", "1"))]);
    relay.stop();
    let output = Start::default().command(folder.path()).output().expect("an end");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("is a copy of the stream test"), "{told}");
}

#[test]
fn a_folder_belongs_to_one_store() {
    let servers = Servers::one();
    let folder = folder_of(&servers.url("test"));
    Relay::start(folder.path()).client().make_feed("f");
    let refusal = |folder: &Path| {
        let output = Start::default().command(folder).output().expect("an end");
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    fs::write(folder.path().join(STORE), servers.url("other")).expect("a file");
    let told = refusal(folder.path());
    assert!(told.contains("is a copy of the stream test"), "{told}");
    fs::remove_file(folder.path().join(STORE)).expect("a file");
    let told = refusal(folder.path());
    assert!(told.contains("is a copy of the stream test"), "{told}");
    let own = tempfile::tempdir().expect("a temporary folder");
    Relay::start(own.path()).client().make_feed("f");
    fs::write(own.path().join(STORE), servers.url("test")).expect("a file");
    let told = refusal(own.path());
    assert!(told.contains("contains its own events"), "{told}");
}

#[test]
fn an_event_that_the_servers_do_not_accept_is_refused() {
    let servers = Servers::one_with("max_payload: 64KB\n");
    let folder = folder_of(&servers.url("test"));
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let mut large = event("f", "1");
    large["payload"] = json!({"text": "x".repeat(64 << 10)});
    let refused = client.post("/feeds/f/events", &large);
    assert_eq!(refused.status, 413, "{refused:?}");
    large["payload"] = json!({"text": "x".repeat(60 << 10)});
    client.post_event(&large);
}

#[test]
fn certificates_are_checked_and_a_bad_file_of_credentials_is_named() {
    let keys = tempfile::tempdir().expect("a temporary folder");
    certificates::make(keys.path());
    let file = |name: &str| keys.path().join(name).display().to_string();
    let servers = Servers::one_with(&format!(
        "tls {{ cert_file: {:?}, key_file: {:?} }}\n",
        file("server.pem"),
        file("server.key")
    ));
    let folder = folder_of(&servers.url("test").replace("nats://", "tls://"));
    let output = Start::default().command(folder.path()).output().expect("an end");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{told}");
    assert!(told.contains("cannot connect to tls://"), "{told}");
    let trusted = format!("SSL_CERT_FILE={}", file("authority.pem"));
    let start = Start {
        behind: &["env", &trusted],
        ..Start::default()
    };
    let relay = start.start(folder.path());
    relay.client().make_feed("f");
    relay.client().post_event(&event("f", "1"));
    relay.stop();
    let missing = Start {
        arguments: &["--credentials", "missing.creds"],
        ..start
    };
    let output = missing.command(folder.path()).output().expect("an end");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{told}");
    assert!(told.contains("missing.creds"), "{told}");
}
