//! Events: an accepted event can be read from its file, and its path is unique.
use stargate_mirror::event::{Event, Layout, MAX_NAME, check_name};

pub fn check(bytes: &[u8]) {
    let Ok(event) = Event::parse(bytes) else { return };
    for id in [event.event_id(), event.feed_id()] {
        assert_eq!(check_name(id), Ok(()), "{id:?}");
        check_plain(id);
    }
    for (layout, folders) in [(Layout::Day, 4), (Layout::Hour, 5)] {
        let path = event.path(layout);
        let parts: Vec<_> = path.split('/').collect();
        assert_eq!(parts.len(), folders, "{path:?}");
        assert_eq!((parts[0], parts[1]), ("events", event.feed_id()));
        assert_eq!(parts[folders - 1].strip_suffix(".json"), Some(event.event_id()));
        assert!(
            parts[2..folders - 1]
                .iter()
                .all(|part| part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')),
            "{path:?}"
        );
    }
    // The pretty form may be longer than the limit of a relay.
    let file = event.to_file();
    let again = Event::parse_file(&file).expect("an event");
    assert_eq!(again, event);
    assert_eq!(again.to_file(), file, "equal events give equal bytes");
}

fn check_plain(name: &str) {
    assert!(!name.is_empty() && name.len() <= MAX_NAME);
    assert!(
        !name.contains(|character: char| character.is_control() || r#"/\<>:"|?*"#.contains(character)),
        "{name:?}"
    );
    assert!(![".", "..", ".git"].contains(&name.to_lowercase().as_str()), "{name:?}");
}
