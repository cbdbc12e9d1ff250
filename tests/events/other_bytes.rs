//! The same JSON in other bytes is the same event: files of earlier versions and of other programs stay as they are.
use std::path::Path;

use durable::clock::SystemClock;
use stargate_mirror::event::{Event, Layout};
use support::git::git;

use crate::{
    context::{context, events, is_sound, simple},
    publish::{bare, commit, publish, someone_commits},
};

fn compact(event: &Event) -> String {
    String::from_utf8(event.to_json()).expect("text")
}

#[test]
fn the_same_event_in_other_bytes_is_known_and_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = bare(folder.path());
    let here = folder.path().join("context");
    let context = context(&here, false);
    commit(&context, "f", &["e-0"]);
    publish(&context, &url).expect("published");
    let [same, moved] = ["e-1", "e-2"].map(|id| simple("f", id));
    let paths = [same.path(Layout::Day), moved.path(Layout::Hour)];
    someone_commits(
        &url,
        &[(&paths[0], Some(&compact(&same))), (&paths[1], Some(&compact(&moved)))],
    );
    // Our commits are made before theirs are fetched.
    commit(&context, "f", &["e-1", "e-2", "e-3"]);
    let published = publish(&context, &url).expect("published");
    assert_eq!((published.events, published.refused.len()), (1, 0));
    let again = context.commit(&[same.clone(), moved.clone()], &SystemClock::default());
    let again = again.expect("nothing to do");
    assert_eq!((again.commit, again.known, again.refused.len()), (None, 2, 0));
    for (path, event) in paths.iter().zip([&same, &moved]) {
        assert_eq!(git(Path::new(&url), &["show", &format!("main:{path}")]), compact(event));
    }
    assert_eq!(events(&here).len(), 4);
    is_sound(&here);
}
