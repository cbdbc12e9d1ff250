//! Pushed names that are refused: watermarks, and namespaces that cannot exist together. Real git, refs in files and in
//! reftables.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use support::stargate::{FORMATS, Stargate, git, stderr, try_git};

/// A Stargate with the hook, and a client of it.
fn world(format: &str, refs: &str) -> (Stargate, PathBuf) {
    let stargate = Stargate::of_formats(format, refs);
    stargate.install();
    let client = stargate.client("one");
    (stargate, client)
}

fn push(client: &Path, refspecs: &[&str]) -> Output {
    try_git(client, [&["push", "-q", "origin"], refspecs].concat())
}

fn assert_accepted(client: &Path, refspecs: &[&str]) {
    let output = push(client, refspecs);
    assert!(output.status.success(), "{refspecs:?}: {}", stderr(&output));
}

/// Asserts that the whole push is refused, and that the pusher sees these words.
fn assert_refused(stargate: &Stargate, client: &Path, refspecs: &[&str], words: &[&str]) {
    let before = git(&stargate.git_dir, ["for-each-ref"]);
    let output = push(client, refspecs);
    let told = stderr(&output);
    assert!(!output.status.success(), "{refspecs:?}");
    for word in words {
        assert!(told.contains(word), "{refspecs:?}: {told}");
    }
    assert!(told.contains("push rejected, and no ref was updated: "), "{told}");
    assert_eq!(git(&stargate.git_dir, ["for-each-ref"]), before, "{refspecs:?}");
}

#[test]
fn a_pushed_watermark_is_refused_whatever_is_configured() {
    for (format, refs) in FORMATS {
        for pattern in [None, Some("refs/heads/*"), Some("refs/kv-mirror/*")] {
            let (stargate, client) = world(format, refs);
            if let Some(pattern) = pattern {
                stargate.configure("stargate.ref", pattern);
            }
            let words = ["refs/kv-mirror/main is a watermark", "Push without refs/kv-mirror/*"];
            let refspecs = ["HEAD:refs/kv/main", "HEAD:refs/kv-mirror/main"];
            assert_refused(&stargate, &client, &refspecs, &words);
            git(&stargate.git_dir, ["config", "stargate.force", "nonsense"]);
            assert_refused(&stargate, &client, &["HEAD:refs/kv-mirror/main"], &words);
            assert_eq!(stargate.intents(), [""; 0]);
            assert!(stargate.log().contains("is a watermark"), "{}", stargate.log());
        }
    }
}

#[test]
fn namespaces_of_one_push_that_cannot_exist_together_are_refused() {
    for (format, refs) in FORMATS {
        let (stargate, client) = world(format, refs);
        for family in ["kv", "kv-index", "kv-epoch", "kv-chunks", "kv-archive", "kv-watchlog"] {
            let (one, other) = (format!("refs/{family}/a"), format!("refs/{family}/a/b"));
            let words = [format!("{other} cannot exist together with {one}")];
            let refspecs = [format!("HEAD:{one}"), format!("HEAD:{other}")];
            let refspecs: Vec<&str> = refspecs.iter().map(String::as_str).collect();
            assert_refused(&stargate, &client, &refspecs, &[&words[0]]);
        }
        // Refs in different folders can coexist, and so can names with a common beginning.
        assert_accepted(
            &client,
            &[
                "HEAD:refs/kv/a",
                "HEAD:refs/kv/ab",
                "HEAD:refs/kv/a-b/c",
                "HEAD:refs/kv-chunks/a@1",
                "HEAD:refs/kv-chunks/a/b@1",
            ],
        );
    }
}

#[test]
fn a_namespace_above_or_below_an_existing_one_is_refused() {
    for (format, refs) in FORMATS {
        for packed in [false, true] {
            let (stargate, client) = world(format, refs);
            assert_accepted(&client, &["HEAD:refs/kv/a", "HEAD:refs/kv-index/x/y/z"]);
            if packed {
                git(&stargate.git_dir, ["pack-refs", "--all"]);
            }
            let words = [
                "refs/kv/a/b cannot exist together with refs/kv/a,",
                "or delete refs/kv/a",
            ];
            assert_refused(
                &stargate,
                &client,
                &["HEAD:refs/kv/a/b", "HEAD:refs/kv-index/a/b"],
                &words,
            );
            let words = ["refs/kv-index/x cannot exist together with refs/kv-index/x/y/z,"];
            assert_refused(&stargate, &client, &["HEAD:refs/kv-index/x", "HEAD:refs/kv/x"], &words);
            let words = ["refs/kv-index/x/y cannot exist together with refs/kv-index/x/y/z,"];
            assert_refused(&stargate, &client, &["HEAD:refs/kv-index/x/y"], &words);
            // Existing refs can be updated.
            git(&client, ["commit", "-q", "--allow-empty", "-m", "two"]);
            assert_accepted(&client, &["HEAD:refs/kv/a", "HEAD:refs/kv/x"]);
        }
    }
}

#[test]
fn a_deletion_in_the_same_push_makes_room() {
    for (format, refs) in FORMATS {
        for packed in [false, true] {
            let (stargate, client) = world(format, refs);
            assert_accepted(&client, &["HEAD:refs/kv/a", "HEAD:refs/kv-index/x/y"]);
            if packed {
                git(&stargate.git_dir, ["pack-refs", "--all"]);
            }
            assert_accepted(&client, &[":refs/kv/a", "HEAD:refs/kv/a/b"]);
            assert_accepted(&client, &[":refs/kv-index/x/y", "HEAD:refs/kv-index/x"]);
            let listed = git(
                &stargate.git_dir,
                ["for-each-ref", "--format=%(refname)", "refs/kv", "refs/kv-index"],
            );
            assert_eq!(listed.lines().collect::<Vec<_>>(), ["refs/kv-index/x", "refs/kv/a/b"]);
        }
    }
}
