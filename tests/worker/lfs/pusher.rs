//! Messages to the pusher about LFS objects that are not there.
use super::*;

const NOT_HERE: &str = "not on this server";

/// Commits a pointer, and returns its id with what the pusher sees.
fn seen(world: &World, contents: &str, name: &str) -> (String, String) {
    let pointer = pointer(contents);
    world.commit(&format!("dir/{contents}"), &pointer.to_string());
    (pointer.oid.to_string(), world.push(name))
}

#[test]
fn the_pusher_hears_of_objects_that_are_not_there_and_of_those_that_the_mirror_did_not_get() {
    let world = World::new();
    let (oid, said) = seen(&world, "one", "refs/heads/main");
    assert!(
        said.contains(&format!("1 LFS object of this push ({oid}) is {NOT_HERE}")),
        "{said}"
    );
    assert!(said.contains("the refs are mirrored without it"), "{said}");
    assert_eq!(world.run()["outcome"], "mirrored");
    let status = world.program(&["status", "--json"], &[]);
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(status["without_lfs_objects"], serde_json::json!(["refs/heads/main"]));

    // The next pusher sees it, also of a push that needs no object; then it is forgotten.
    world.commit("plain", "no pointer");
    let said = world.push("refs/heads/main");
    assert!(
        said.contains("has an earlier update of refs/heads/main without its LFS objects:") && said.contains(&oid),
        "{said}"
    );
    assert!(!said.contains(NOT_HERE), "{said}");
    assert_eq!(world.run()["outcome"], "mirrored");
    world.commit("plain", "still none");
    let said = world.push("refs/heads/main");
    assert!(!said.contains("LFS"), "{said}");
}

#[test]
fn pointers_in_a_pack_are_found_and_objects_that_are_there_are_not_missing() {
    let world = World::new();
    world.stargate.configure("receive.unpackLimit", "1");
    world.store(&pointer("here"), "here");
    for contents in ["here", "two", "three"] {
        world.commit(&format!("dir/{contents}"), &pointer(contents).to_string());
    }
    let said = world.push("refs/heads/main");
    let first = [pointer("two"), pointer("three")].into_iter().min().expect("two");
    assert!(
        said.contains(&format!(
            "2 LFS objects of this push (the first is {}) are {NOT_HERE}",
            first.oid
        )),
        "{said}"
    );
    assert!(
        said.contains("the refs wait until `git lfs push --all` sends them here"),
        "{said}"
    );
    assert_eq!(world.run()["outcome"], "incomplete");

    world.store(&pointer("four"), "four");
    let (_, said) = seen(&world, "four", "refs/heads/other");
    assert!(!said.contains(NOT_HERE), "{said}");
    // A server that is a source may have them.
    world.stargate.configure("stargate.lfsUrl", "https://h.example/lfs");
    assert!(!seen(&world, "five", "refs/heads/other").1.contains(NOT_HERE));
    git(&world.stargate.git_dir, ["config", "--unset", "stargate.lfsUrl"]);
    world.stargate.configure("stargate.lfs", "off");
    assert!(!seen(&world, "six", "refs/heads/other").1.contains(NOT_HERE));
}
