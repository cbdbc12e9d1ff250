//! Messages in a stream that no relay wrote, and streams that lose messages.
use std::{fs, time::Duration};

use async_nats::{
    HeaderMap,
    jetstream::{self, stream::Config},
};
use support::{
    nats::Servers,
    relay::{Relay, Start, event},
};

use crate::shared::{all_when, folder_of};

const RECEIVED: &str = "2026-01-10T12:00:00.000Z";

/// Runs with a client of the servers.
pub fn with_client<T>(servers: &Servers, run: impl AsyncFnOnce(jetstream::Context) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let url = format!("nats://127.0.0.1:{}", servers.ports()[0]);
        let client = async_nats::connect(url).await.expect("a connection");
        run(jetstream::new(client)).await
    })
}

/// Publishes messages of which only the last one is an event of a relay.
pub fn publish_strange(servers: &Servers) {
    with_client(servers, async |context| {
        let publish = async |subject: &str, received: Option<&str>, payload: String| {
            let mut headers = HeaderMap::new();
            if let Some(received) = received {
                headers.insert("Relay-Received", received);
            }
            let sent = context
                .publish_with_headers(subject.to_owned(), headers, payload.into())
                .await;
            sent.expect("a connection").await.expect("an acknowledgement");
        };
        let text = |name: &str| event("f", name).to_string();
        publish("test.event.f", None, text("no-header")).await;
        publish("test.event.f", Some(RECEIVED), text("cut")[..40].into()).await;
        publish("test.event.g", Some(RECEIVED), text("of-another-feed")).await;
        publish(
            "test.event.f",
            Some(RECEIVED),
            text("1").replace("\"name\"", "\"other\""),
        )
        .await;
        publish("test.feed.f", Some(RECEIVED), "{\"id\":\"f\"}".into()).await;
        publish("test.event.f", Some(RECEIVED), text("last")).await;
    });
}

#[test]
fn a_message_that_no_relay_wrote_is_reported_and_ignored() {
    let servers = Servers::one();
    let folder = folder_of(&servers.url("test"));
    let relay = Relay::start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    let first = client.post_event(&event("f", "1"));
    publish_strange(&servers);
    let expected = [(first, event("f", "1")), (first + 6, event("f", "last"))];
    assert_eq!(all_when(&client, "f", 2), expected);
    assert_eq!(
        relay.said().matches("which was not written by a relay").count(),
        5,
        "{}",
        relay.said()
    );
    assert_eq!(client.post_event(&event("f", "2")), first + 7);
    relay.stop();
    // A copy that is made anew is the same.
    fs::remove_dir_all(folder.path().join("data")).expect("a folder");
    let relay = Relay::start(folder.path());
    let all = relay.client().all("f");
    assert_eq!((&all[..2], all.len()), (&expected[..], 3));
}

#[test]
fn a_stream_that_loses_messages_is_refused() {
    let servers = Servers::one();
    with_client(&servers, async |context| {
        let config = Config {
            name: "test".into(),
            subjects: vec!["test.event.*".into(), "test.feed.*".into()],
            max_age: Duration::from_secs(3600),
            ..Config::default()
        };
        context.create_stream(config).await.expect("a stream");
    });
    let folder = folder_of(&servers.url("test"));
    let output = Start::default().command(folder.path()).output().expect("an end");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("max_age must be 0"), "{told}");
}
