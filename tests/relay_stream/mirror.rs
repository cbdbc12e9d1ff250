//! `events run --source`: a stream into a context repository, through kills of servers, relays and the mirror.
use std::{collections::BTreeSet, path::Path, sync::Arc, thread};

use async_nats::jetstream::consumer::pull;
use futures_util::TryStreamExt;
use serde_json::json;
use support::{
    counter::Counter,
    git::git,
    nats::Servers,
    programs,
    relay::{Relay, Start, event},
    running::Running,
    stargate::clean_command,
};

use crate::{
    messages::{publish_strange, with_client},
    shared::{folder_of, post_until_stored},
};

/// Arguments and variables of a mirror into `folder/context`, which pushes to `folder/remote.git`.
pub fn mirror(folder: &Path, url: &str, more: &[&str]) -> std::process::Command {
    let mut command = clean_command(programs::mirror());
    command
        .args(["events", "run", "--source", url, "--repo"])
        .arg(folder.join("context"))
        .args(more);
    command.envs([
        ("FEED_IDS", "f"),
        ("COMMIT_BATCH_TIMEOUT_MS", "50"),
        ("PUSHES_PER_MINUTE", "0"),
    ]);
    command.env("GITHUB_REPO_URL", folder.join("remote.git"));
    command
}

fn once(folder: &Path, url: &str) -> (Option<i32>, String) {
    let output = mirror(folder, url, &["--once"]).output().expect("a program");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Names of the events on the remote.
pub fn on_remote(folder: &Path) -> Vec<String> {
    let listed = git(
        &folder.join("remote.git"),
        &["ls-tree", "-r", "--name-only", "main", "events/"],
    );
    let names = listed
        .lines()
        .filter_map(|path| path.rsplit('/').next()?.strip_suffix(".json"));
    names.map(str::to_owned).collect()
}

/// Number up to which the only consumer is acknowledged.
fn acknowledged(servers: &Servers) -> u64 {
    with_client(servers, async |context| {
        let stream = context.get_stream("test").await.expect("a stream");
        let consumers: Vec<_> = stream.consumers().try_collect().await.expect("consumers");
        let durable: Vec<_> = consumers
            .iter()
            .filter(|info| info.config.durable_name.is_some())
            .collect();
        assert_eq!(durable.len(), 1, "{durable:?}");
        let consumer = stream
            .get_consumer::<pull::Config>(&durable[0].name)
            .await
            .expect("a consumer");
        consumer.cached_info().ack_floor.stream_sequence
    })
}

#[test]
fn events_of_a_stream_are_acknowledged_once_they_are_pushed() {
    let servers = Servers::one();
    let url = servers.url("test");
    let folder = folder_of(&url);
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let last = ["1", "2", "3"].map(|name| client.post_event(&event("f", name)))[2];
    // There is no such remote.
    let (code, told) = once(folder.path(), &url);
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(acknowledged(&servers), 0);
    git(folder.path(), &["init", "-q", "--bare", "remote.git"]);
    let last = last.max(client.post_event(&event("f", "new")));
    let (code, told) = once(folder.path(), &url);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(acknowledged(&servers), last);
    assert_eq!(on_remote(folder.path()), ["e-1", "e-2", "e-3", "e-new"]);
    // From there on, and no other feeds.
    client.make_feed("g");
    client.post_event(&event("g", "elsewhere"));
    let next = client.post_event(&event("f", "4"));
    let (code, told) = once(folder.path(), &url);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("added=1 known=0"), "{told}");
    assert_eq!((on_remote(folder.path()).len(), acknowledged(&servers)), (5, next));
}

#[test]
fn a_message_that_no_relay_wrote_is_not_mirrored() {
    let servers = Servers::one();
    let url = servers.url("test");
    let folder = folder_of(&url);
    git(folder.path(), &["init", "-q", "--bare", "remote.git"]);
    let relay = Relay::start(folder.path());
    relay.client().make_feed("f");
    relay.client().post_event(&event("f", "1"));
    publish_strange(&servers);
    let (code, told) = once(folder.path(), &url);
    assert_eq!(code, Some(3), "{told}");
    assert!(
        told.contains("which was not written by a relay: it has no header"),
        "{told}"
    );
    assert_eq!(on_remote(folder.path()), ["e-1", "e-last"]);
}

#[test]
fn every_acknowledged_event_is_on_the_remote_once_whatever_is_killed() {
    const WRITERS: usize = 3;
    const EVENTS: usize = 60;
    let mut servers = Servers::three();
    let url = servers.url("test");
    let folders = [(); 2].map(|()| folder_of(&url));
    let start = Start {
        arguments: &["--replicas", "3"],
        ..Start::default()
    };
    let mut relays = [0, 1].map(|number| Some(start.start(folders[number].path())));
    let clients = relays.each_ref().map(|relay| relay.as_ref().expect("a relay").client());
    post_until_stored(&clients[..1], "/feeds", &json!({"feed_id": "f"}));
    post_until_stored(&clients[1..], "/feeds", &json!({"feed_id": "f"}));
    git(folders[0].path(), &["init", "-q", "--bare", "remote.git"]);
    let mut mirroring = Running::of(mirror(folders[0].path(), &url, &[]));
    mirroring.until("following the feed");

    let stored = Arc::new(Counter::new());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (clients, stored) = (clients.clone(), stored.clone());
            thread::spawn(move || {
                for name in 0..EVENTS {
                    let event = event("f", &format!("{writer}-{name}"));
                    post_until_stored(&clients, "/feeds/f/events", &event);
                    stored.add();
                }
            })
        })
        .collect();
    // One after the other, in the middle of the writing.
    stored.wait_beyond(20);
    relays[0].take().expect("a relay").kill();
    stored.wait_beyond(40);
    mirroring.kill();
    let mirroring = Running::of(mirror(folders[0].path(), &url, &[]));
    stored.wait_beyond(60);
    servers.kill(0);
    stored.wait_beyond(100);
    servers.restart(0);
    writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
    mirroring.terminate();

    let (code, told) = once(folders[0].path(), &url);
    assert_eq!(code, Some(0), "{told}");
    let names = on_remote(folders[0].path());
    let expected: BTreeSet<_> = (0..WRITERS)
        .flat_map(|writer| (0..EVENTS).map(move |name| format!("e-{writer}-{name}")))
        .collect();
    assert_eq!(names.len(), expected.len());
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), expected);
}
