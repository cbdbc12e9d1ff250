//! A scripted LFS server with the faults that a real one does not produce on demand.
use support::scripted::{Received, Scripted, Step, answer};

use super::*;

/// Returns true for a batch request.
fn is_batch(request: &Received) -> bool {
    request.line.starts_with("POST /lfs/objects/batch")
}

/// The answer to a batch request for one object, with further members of its upload action.
fn batch(request: &Received, more: &str) -> Vec<u8> {
    let asked: Value = serde_json::from_slice(&request.body).expect("a batch request");
    assert_eq!(asked["transfers"], serde_json::json!(["basic"]));
    let (oid, size) = (&asked["objects"][0]["oid"], &asked["objects"][0]["size"]);
    let host = request.field("Host").expect("a host");
    let header = format!("\"header\":{{\"Authorization\":\"Bearer {SECRET}\"}}");
    let operation = asked["operation"].as_str().expect("an operation");
    let body = format!(
        "{{\"transfer\":\"basic\",\"objects\":[{{\"oid\":{oid},\"size\":{size},\"actions\":{{\
         \"{operation}\":{{\"href\":\"http://{host}/put?sig={SECRET}\",{header}{more}}},\
         \"verify\":{{\"href\":\"http://{host}/verify\",{header}}}}}}}]}}"
    );
    answer(
        "200 OK",
        &["Content-Type: application/vnd.git-lfs+json"],
        body.as_bytes(),
    )
}

/// A world whose only branch needs an object, with this server.
fn world(server: &Scripted, contents: &str) -> (World, Pointer) {
    let world = World::new();
    world.stargate.configure("lfs.url", &server.url("lfs"));
    let pointer = world.push_pointer(contents, "refs/heads/main");
    world.store(&pointer, contents);
    (world, pointer)
}

fn lines(server: &Scripted) -> Vec<String> {
    let received = server.received();
    let words = received
        .iter()
        .map(|request| request.line.split('?').next().unwrap_or_default());
    words
        .map(|line| line.trim_end_matches(" HTTP/1.1").to_owned())
        .collect()
}

fn serve(reply: fn(&Received) -> Vec<u8>) -> Scripted {
    Scripted::serve(std::iter::repeat(Step::Reply(reply)))
}

fn good(request: &Received) -> Vec<u8> {
    if is_batch(request) {
        batch(request, "")
    } else {
        answer("200 OK", &[], b"")
    }
}

/// Runs a cycle that is to fail for this reason, and returns its report.
fn fails(reply: fn(&Received) -> Vec<u8>, outcome: &str, why: &str) {
    let server = serve(reply);
    let (world, pointer) = world(&server, "big");
    git(&world.client, ["checkout", "-q", "HEAD~"]);
    world.push("refs/heads/plain");
    let report = world.run();
    let held = group(&report, "refs/heads/main");
    assert_eq!(held["outcome"], outcome, "{report}");
    let error = held["error"].as_str().expect("an error");
    assert!(error.contains(why), "{error}");
    assert!(!world.has("refs/heads/main"), "{}", pointer.oid);
    assert_eq!(group(&report, "refs/heads/plain")["outcome"], "mirrored", "{report}");
    // The search for the group that needs the object asks the server nothing.
    let asked = server.received();
    assert_eq!(asked.iter().filter(|request| is_batch(request)).count(), 1, "{why}");
}

#[test]
fn an_object_is_uploaded_with_the_headers_of_its_action_and_verified() {
    let server = serve(good);
    let (world, pointer) = world(&server, "big");
    let report = world.run();
    assert_eq!(
        (&report["outcome"], &report["lfs"]["uploaded"]),
        (&"mirrored".into(), &1.into()),
        "{report}"
    );
    assert_eq!(lines(&server), ["POST /lfs/objects/batch", "PUT /put", "POST /verify"]);
    let [asked, put, verify] = &server.received()[..] else {
        panic!("three requests")
    };
    // The token belongs to the mirror, which is elsewhere.
    assert_eq!(asked.field("Authorization"), None);
    let expected = format!("Bearer {SECRET}");
    for request in [put, verify] {
        assert_eq!(request.field("Authorization"), Some(expected.as_str()));
    }
    assert_eq!(
        (put.body.as_slice(), put.field("Content-Length")),
        (&b"big"[..], Some("3"))
    );
    let verified: Value = serde_json::from_slice(&verify.body).expect("JSON");
    assert_eq!(
        (verified["oid"].as_str(), verified["size"].as_u64()),
        (Some(pointer.oid.as_str()), Some(3))
    );
}

#[test]
fn an_object_that_the_server_has_is_not_sent() {
    let server = serve(|request| {
        let asked: Value = serde_json::from_slice(&request.body).expect("a batch request");
        let body = format!("{{\"objects\":{}}}", asked["objects"]);
        answer("200 OK", &[], body.as_bytes())
    });
    let (world, _) = world(&server, "big");
    assert_eq!(world.run()["outcome"], "mirrored");
    assert_eq!(lines(&server), ["POST /lfs/objects/batch"]);
}

#[test]
fn an_object_that_is_refused_or_fails_holds_up_its_own_group() {
    fn put(request: &Received, status: &str) -> Vec<u8> {
        if is_batch(request) {
            batch(request, "")
        } else {
            // An echo of the secret is not shown.
            answer(status, &["Content-Type: text/plain"], SECRET.as_bytes())
        }
    }
    fails(
        |request| put(request, "413 Too Large"),
        "rejected",
        "too large (HTTP 413)",
    );
    fails(|request| put(request, "422 Invalid"), "rejected", "invalid (HTTP 422)");
    let not_verified: fn(&Received) -> Vec<u8> = |request| {
        if request.line.starts_with("POST /verify") {
            answer("500 Oh", &[], SECRET.as_bytes())
        } else {
            good(request)
        }
    };
    fails(not_verified, "transient", "verification: the server failed (HTTP 500)");
    fails(
        |request| put(request, "503 Later"),
        "transient",
        "upload: the server asks to retry later (HTTP 503)",
    );
    let refused: fn(&Received) -> Vec<u8> = |request| {
        let asked: Value = serde_json::from_slice(&request.body).expect("a batch request");
        let oid = &asked["objects"][0]["oid"];
        let body = format!("{{\"objects\":[{{\"oid\":{oid},\"error\":{{\"code\":422,\"message\":\"quota\"}}}}]}}");
        answer("200 OK", &[], body.as_bytes())
    };
    fails(refused, "rejected", "(HTTP 422): quota");
}

#[test]
fn a_server_that_refuses_or_makes_no_sense_is_named() {
    fails(
        |_| answer("401 No", &[], b""),
        "misconfigured",
        "does not accept the credentials (HTTP 401)",
    );
    fails(
        |_| answer("200 OK", &[], b"<html>"),
        "rejected",
        "not a valid batch response",
    );
    fails(
        |_| answer("429 Wait", &["Retry-After: 3600"], b""),
        "transient",
        "retry later (HTTP 429)",
    );
}

#[test]
fn failures_of_the_server_are_retried_within_the_cycle() {
    let failure = |status: &str| Step::Answer(answer(status, &[], b""));
    let wait = Step::Answer(answer("429 Wait", &["Retry-After: 0"], b""));
    let failures = || {
        ["500 Oh", "502 Oh", "503 Oh", "504 Oh"]
            .map(failure)
            .into_iter()
            .chain([wait.clone()])
    };
    let good = || Step::Reply(good);
    // Of batch requests, of uploads, of verifications.
    let mut script: Vec<Step> = failures().chain([Step::CloseAfterBody]).collect();
    for failure in failures().chain([Step::CloseBeforeBody]) {
        script.extend([good(), failure]);
    }
    for failure in failures().chain([Step::CloseAfterBody]) {
        script.extend([good(), good(), failure]);
    }
    script.extend([good(), good(), good()]);
    let requests = script.len();
    let server = Scripted::serve(script);
    let (world, _) = world(&server, "big");
    git(&world.stargate.git_dir, ["config", "stargate.attempts", "19"]);
    world.stargate.configure("stargate.maxDelay", "1ms");
    let report = world.run();
    assert_eq!(report["outcome"], "mirrored", "{report}");
    assert_eq!(report["groups"][0]["attempts"], 19, "{report}");
    let received = server.received();
    assert_eq!(received.len(), requests);
    // Traffic with LFS servers is counted apart from that with the repository.
    let bytes: usize = received.iter().map(|request| request.body.len()).sum();
    let lfs = &report["lfs"];
    assert_eq!(lfs["requests"], requests, "{report}");
    assert!(lfs["bytes_sent"].as_u64() >= Some(bytes as u64), "{report}");
    assert_eq!(report["http_requests"], 0, "{report}");
}

#[test]
fn a_delay_that_an_lfs_server_asks_for_ends_a_cycle_if_it_is_long() {
    let server = serve(|request| {
        if is_batch(request) {
            batch(request, "")
        } else {
            answer("429 Wait", &["Retry-After: 3600"], b"")
        }
    });
    let (world, _) = world(&server, "big");
    git(&world.stargate.git_dir, ["config", "stargate.attempts", "3"]);
    let report = world.run();
    assert_eq!(group(&report, "refs/heads/main")["outcome"], "transient", "{report}");
    assert_eq!(lines(&server), ["POST /lfs/objects/batch", "PUT /put"]);
}

#[test]
fn an_expired_action_is_asked_for_again() {
    let server = serve(|request| {
        if is_batch(request) {
            batch(request, ",\"expires_at\":\"2001-01-01T00:00:00Z\"")
        } else {
            good(request)
        }
    });
    let (world, _) = world(&server, "big");
    assert_eq!(world.run()["outcome"], "mirrored");
    let asked = "POST /lfs/objects/batch";
    // The last action is used, because the clocks may differ.
    assert_eq!(lines(&server), [asked, asked, asked, "PUT /put", "POST /verify"]);
}

#[test]
fn a_connection_that_is_lost_in_the_body_is_retried() {
    let script = [
        Step::Reply(good),
        Step::CloseBeforeBody,
        Step::Reply(good),
        Step::Reply(good),
        Step::Reply(good),
    ];
    let server = Scripted::serve(script);
    let (world, _) = world(&server, &"big ".repeat(1 << 20));
    git(&world.stargate.git_dir, ["config", "stargate.attempts", "2"]);
    let report = world.run();
    assert_eq!(report["outcome"], "mirrored", "{report}");
    assert_eq!(server.received()[3].body.len(), 4 << 20);
}

#[test]
fn a_wrong_file_never_reaches_its_end() {
    let server = serve(good);
    let (world, pointer) = world(&server, "big");
    world.store(&pointer, "bug");
    let report = world.run();
    assert_eq!(group(&report, "refs/heads/main")["outcome"], "broken", "{report}");
    let received = server.received();
    let bodies: Vec<usize> = received
        .iter()
        .filter(|request| !is_batch(request))
        .map(|request| request.body.len())
        .collect();
    assert!(bodies.iter().all(|length| *length < 3), "{bodies:?}");
}

#[test]
fn an_endless_answer_is_cut_off() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.git-lfs+json\r\n\r\n".to_vec();
    let server = Scripted::serve([Step::Endless(head, vec![b' '; 64 << 10])]);
    let (world, _) = world(&server, "big");
    let report = world.run();
    assert_ne!(report["outcome"], "mirrored", "{report}");
    assert!(!world.has("refs/heads/main"));
}

#[test]
fn the_stargates_own_server_is_a_source() {
    fn source(request: &Received) -> Vec<u8> {
        if is_batch(request) {
            batch(request, "")
        } else {
            assert!(request.line.starts_with("GET /put"));
            answer("200 OK", &[], b"big")
        }
    }
    fn liar(request: &Received) -> Vec<u8> {
        if is_batch(request) {
            batch(request, "")
        } else {
            answer("200 OK", &[], b"bug")
        }
    }
    for (reply, outcome) in [(source as fn(&Received) -> Vec<u8>, "mirrored"), (liar, "incomplete")] {
        let server = serve(reply);
        let world = World::new();
        world.stargate.configure("stargate.lfsUrl", &server.url("lfs"));
        let pointer = world.push_pointer("big", "refs/heads/main");
        let report = world.run();
        assert_eq!(report["outcome"], outcome, "{report}");
        assert_eq!(world.mirror_object(&pointer).exists(), outcome == "mirrored");
    }
}

#[test]
fn over_ssh_the_server_names_the_place_and_the_headers() {
    let server = serve(good);
    let (world, _) = world(&server, "big");
    git(&world.stargate.git_dir, ["config", "--unset", "lfs.url"]);
    git(
        &world.stargate.git_dir,
        [
            "config",
            "stargate.remote",
            &format!("ssh://host{}", world.mirror().display()),
        ],
    );
    let program = world.stargate.folder().join("carrier");
    let granted = format!(
        "{{\"href\":\"{}\",\"header\":{{\"Authorization\":\"RemoteAuth {SECRET}\"}}}}",
        server.url("lfs")
    );
    let script = format!(
        "for last; do :; done\ncase $last in\ngit-lfs-authenticate*upload) echo '{granted}' ;;\n*) exec sh -c \"$last\" ;;\nesac"
    );
    executable::script(&program, &script);
    let environment = [
        ("GIT_SSH", program.to_str().expect("UTF-8")),
        ("GIT_SSH_VARIANT", "ssh"),
    ];
    let report = world.run_with(&environment);
    assert_eq!(report["outcome"], "mirrored", "{report}");
    let expected = format!("RemoteAuth {SECRET}");
    assert_eq!(server.received()[0].field("Authorization"), Some(expected.as_str()));
}
