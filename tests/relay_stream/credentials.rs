//! Files of credentials: rights that are enough, and users that the servers refuse.
use std::path::Path;

use support::{
    git::git,
    nats::Servers,
    relay::{Start, event},
};

use crate::{
    mirror::{mirror, on_remote},
    operator::{Operator, User},
    shared::{folder_of, post_until_stored},
};

/// Subjects that a relay publishes and subscribes to, as docs/jetstream.md has them.
const OF_RELAY: [&[&str]; 2] = [
    &["$JS.API.>", "test.event.*", "test.feed.*", "test.turn"],
    &["_INBOX.>", "test.turn"],
];
/// The same for `events run`.
const OF_MIRROR: [&[&str]; 2] = [&["$JS.API.>", "$JS.ACK.test.>"], &["_INBOX.>"]];

/// Lines that let a server store events of every size, and those of an operator.
fn lines(operator: &Operator, revoked: &[&User]) -> String {
    format!("max_payload: 2MB\n{}", operator.configuration(revoked))
}

#[test]
fn users_with_credentials_are_served_until_they_are_revoked() {
    let (operator, relay_user, mirror_user) = (Operator::new(1), User::new(11), User::new(12));
    let no_turns = User::new(13);
    let mut servers = Servers::one_with(&lines(&operator, &[]));
    let url = servers.url("test");
    let folder = folder_of(&url);
    let file = |name: &str| folder.path().join(name);
    let of_relay = operator.write_credentials(&file("relay.creds"), &relay_user, OF_RELAY);
    let of_mirror = operator.write_credentials(&file("mirror.creds"), &mirror_user, OF_MIRROR);
    let foreign = Operator::new(21).write_credentials(&file("foreign.creds"), &relay_user, OF_RELAY);
    let refused = |credentials: Option<&Path>, expected: &str| {
        let arguments = credentials.map(|file| ["--credentials", file.to_str().expect("UTF-8")]);
        let start = Start {
            arguments: arguments.as_ref().map_or(&[], |arguments| &arguments[..]),
            ..Start::default()
        };
        let output = start.command(folder.path()).output().expect("an end");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{told}");
        assert!(
            told.contains(expected) && told.contains("authorization violation"),
            "{told}"
        );
        assert!(!told.contains(&relay_user.seed()), "{told}");
    };
    refused(None, "refuses a connection without credentials");
    refused(Some(&foreign), "foreign.creds");

    let arguments = ["--credentials", of_relay.to_str().expect("UTF-8")];
    let start = Start {
        arguments: &arguments,
        ..Start::default()
    };
    let relay = start.start(folder.path());
    let client = relay.client();
    client.make_feed("f");
    client.post_event(&event("f", "1"));
    git(folder.path(), &["init", "-q", "--bare", "remote.git"]);
    let once = || {
        let arguments = ["--once", "--credentials", of_mirror.to_str().expect("UTF-8")];
        let output = mirror(folder.path(), &url, &arguments).output().expect("a program");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, told) = once();
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(on_remote(folder.path()), ["e-1"]);

    // The right to ask for turns is not necessary, but its absence is reported.
    let other = folder_of(&url);
    let rights = [OF_RELAY[0], &["_INBOX.>"]];
    let file = operator.write_credentials(&other.path().join("relay.creds"), &no_turns, rights);
    let arguments = ["--credentials", file.to_str().expect("UTF-8")];
    let start = Start {
        arguments: &arguments,
        ..start
    };
    let without = start.start(other.path());
    without.until("Permissions Violation for Subscription to \"test.turn\"");
    without.client().post_event(&event("f", "without"));
    without.stop();

    let configure = |servers: &mut Servers, revoked: &[&User]| {
        servers.kill(0);
        servers.configure(0, &lines(&operator, revoked));
        servers.restart(0);
    };
    configure(&mut servers, &[&relay_user, &mirror_user]);
    relay.until("authorization violation");
    assert_eq!(client.post("/feeds/f/events", &event("f", "2")).status, 503);
    let (code, told) = once();
    assert_eq!(code, Some(4), "{told}");
    assert!(told.contains("mirror.creds: authorization violation"), "{told}");
    // Once the user is admitted again, the relay goes on.
    configure(&mut servers, &[]);
    post_until_stored(std::slice::from_ref(&client), "/feeds/f/events", &event("f", "2"));
    assert!(!relay.said().contains("Permissions Violation"), "{}", relay.said());
    relay.stop();
    configure(&mut servers, &[&relay_user]);
    refused(Some(&of_relay), "relay.creds");
}
