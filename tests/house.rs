//! The house has floors: a room may import the rooms below it, never one above. This reads the `use` lines.
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Rooms from the top down, with what may be imported beside the rooms of lower floors.
const FLOORS: &[&[&str]] = &[
    &["cli"],
    &["worker", "hook", "by_refspec", "events", "relay"],
    &["mirror"],
    &["transport"],
    &["journal"],
    &["push"],
    &["storage", "config"],
    &["append_only"],
    &["ref_update", "ref_pattern", "event", "odd_name", "retry", "clock"],
];

/// Rooms that decide and never act: what they may not name.
const PURE: &[&str] = &["mirror", "push", "append_only"];
const EFFECTS: &[&str] = &[
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "ureq",
    "rustls",
    "Timestamp::now",
    "SystemTime::now",
];

fn floor(room: &str) -> usize {
    FLOORS
        .iter()
        .position(|rooms| rooms.contains(&room))
        .unwrap_or_else(|| panic!("src/{room} stands on no floor; add it to the house here and in lib.rs"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => files.extend(sources(&path)),
            false => files.push(path),
        }
    }
    files
}

/// Every source file but the roots, with its room.
fn rooms() -> Vec<(String, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut rooms = Vec::new();
    for path in sources(&src) {
        let inside = path.strip_prefix(&src).expect("below src").to_owned();
        let room = inside
            .components()
            .next()
            .expect("a name")
            .as_os_str()
            .to_string_lossy()
            .replace(".rs", "");
        if !["lib", "main", "bin"].contains(&room.as_str()) {
            let text = fs::read_to_string(&path).expect("a source file");
            rooms.push((room, inside, text));
        }
    }
    rooms
}

/// The rooms that a file names after `crate::`, one by one or in braces.
fn imports(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join(" ");
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => names.push(word(rest)),
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (index, character) in list.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && depth == 0 && c.is_alphabetic() => {
                            names.push(word(&list[index..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names.retain(|name| name.starts_with(char::is_lowercase));
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_point_downward_only() {
    let mut checked = 0;
    for (room, file, text) in rooms() {
        for name in imports(&text) {
            if name == room {
                continue;
            }
            checked += 1;
            assert!(
                floor(&room) < floor(&name),
                "src/{}: {room} imports {name}, which does not stand below it",
                file.display()
            );
        }
    }
    assert!(
        checked > 30,
        "only {checked} imports were found; the reader of `use` lines is broken"
    );
}

#[test]
fn the_pure_rooms_know_no_effects() {
    for (room, file, text) in rooms().into_iter().filter(|(room, ..)| PURE.contains(&room.as_str())) {
        if file == Path::new("push/pack.rs") {
            // Reads the repository and spools to the folder for temporary files.
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for effect in EFFECTS {
            assert!(
                !code.contains(effect),
                "src/{}: {room} is pure and names {effect}",
                file.display()
            );
        }
    }
}

#[test]
fn the_hook_reaches_no_network_code() {
    let reached = [
        "hook",
        "journal",
        "storage",
        "config",
        "append_only",
        "event",
        "odd_name",
        "clock",
        "ref_update",
        "ref_pattern",
        "retry",
    ];
    for (room, file, text) in rooms()
        .into_iter()
        .filter(|(room, ..)| reached.contains(&room.as_str()))
    {
        for name in imports(&text) {
            assert!(
                reached.contains(&name.as_str()),
                "src/{}: {room} reaches {name}",
                file.display()
            );
        }
    }
}

#[test]
fn only_storage_fsyncs_locks_and_renames() {
    let verbs = [
        "sync_all",
        "sync_data",
        "fs::rename",
        ".try_lock()",
        ".lock_exclusive",
        "fsync(",
    ];
    for (room, file, text) in rooms().into_iter().filter(|(room, ..)| room != "storage") {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for verb in verbs {
            assert!(
                !code.contains(verb),
                "src/{}: {room} does {verb} itself",
                file.display()
            );
        }
    }
}

#[test]
fn the_readers_of_use_lines_see_every_form() {
    let text = "use crate::{\n    clock::Clock,\n    push::{Error, Outcome},\n    retry::RetryPolicy,\n};\nuse crate::config;\n// use crate::cli;\nlet x = crate::mirror::watermark::f();";
    assert_eq!(imports(text), ["clock", "push", "retry", "config", "mirror"]);
}
