//! Rules of the package's modules beyond crate boundaries: modules are on floors and import only modules below them,
//! and some modules and crates have no effects. This reads the `use` lines.
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Modules from the top down, with the imports that are allowed in addition to those of lower floors.
const FLOORS: &[&[&str]] = &[
    &["cli"],
    &["monitor"],
    &["worker", "hook", "porcelain", "events", "relay"],
    &["http_server", "lfs", "mirror", "nats", "object_store"],
    &["journal"],
    &["local_repository"],
    &["refs"],
    &["config"],
    &["append_only"],
    &[
        "ref_update",
        "ref_pattern",
        "event",
        "odd_name",
        "git_objects",
        "lfs_pointer",
        "advice",
    ],
    &["namespace", "openmetrics", "parts", "releasing_clock", "uuid"],
];

/// The files in them that do have effects.
const ACTING: &[&str] = &[
    // Opens commit-graphs.
    "crates/git-push/src/commit_graph.rs",
    // Read trees on all cores.
    "crates/git-push/src/enumerate.rs",
    "crates/git-push/src/enumerate/ahead.rs",
    // Opens loose objects, packs and bitmaps.
    "crates/git-push/src/object_files.rs",
    // The folder for temporary files.
    "crates/git-push/src/pack/output.rs",
    // Encodes on all cores.
    "crates/git-push/src/pack/spool.rs",
    // Finds the repository by `GIT_DIR`, or around the current directory, and reads its `config`.
    "crates/git-push/src/repository.rs",
];
/// Modules without effects. They must not use the names below.
const PURE: &[&str] = &[
    "src/mirror",
    "src/append_only",
    "src/git_objects",
    "src/cli/doctor/checks",
    "crates/git-push/src",
];
const EFFECTS: &[&str] = &[
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "fs::read",
    "File::open",
    "File::create",
    "tempfile::tempfile",
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
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry of it").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// Every source file below `folder` of the workspace, by its path there.
fn texts(folder: &str) -> Vec<(PathBuf, String)> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"));
    let texts = sources(&workspace.join(folder)).into_iter().map(|path| {
        let text = fs::read_to_string(&path).expect("a source file");
        (
            path.strip_prefix(workspace).expect("below the workspace").to_owned(),
            text,
        )
    });
    texts.collect()
}

/// Every source file of this package except the roots, with its module.
fn rooms() -> Vec<(String, PathBuf, String)> {
    let named = texts("src").into_iter().filter_map(|(path, text)| {
        let room = path.iter().nth(1)?.to_str()?.trim_end_matches(".rs").to_owned();
        (!["lib", "main", "bin"].contains(&room.as_str())).then_some((room, path, text))
    });
    named.collect()
}

/// The code of a file without its unit tests.
fn without_tests(text: &str) -> &str {
    let of_tests = ["#[cfg(test)]", "#[cfg(all(test,"];
    let start = of_tests.iter().filter_map(|attribute| text.find(attribute)).min();
    &text[..start.unwrap_or(text.len())]
}

/// The modules that a file names after `crate::`, one by one or in braces.
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
                "{}: {room} imports {name}, which does not stand below it",
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
fn what_decides_knows_no_effects() {
    for (file, text) in PURE.iter().flat_map(|folder| texts(folder)) {
        if ACTING.iter().any(|acting| file == Path::new(acting)) {
            continue;
        }
        for effect in EFFECTS {
            let named = without_tests(&text).contains(effect);
            assert!(!named, "{} is pure and names {effect}", file.display());
        }
    }
}

#[test]
fn the_hook_reaches_no_network_code() {
    let reached = [
        "hook",
        "journal",
        "refs",
        "config",
        "append_only",
        "git_objects",
        "event",
        "odd_name",
        "lfs_pointer",
        "ref_update",
        "ref_pattern",
        "namespace",
    ];
    let reached_rooms = rooms()
        .into_iter()
        .filter(|(room, ..)| reached.contains(&room.as_str()));
    for (room, file, text) in reached_rooms {
        for name in imports(&text) {
            assert!(
                reached.contains(&name.as_str()),
                "{}: {room} reaches {name}",
                file.display()
            );
        }
        // `git_push` and `git_push_transport`.
        assert!(
            !without_tests(&text).contains("git_push"),
            "{}: {room} reaches a crate for pushes",
            file.display()
        );
    }
}

#[test]
fn the_object_store_names_no_event() {
    let foreign = ["event", "events", "feed", "feeds", "day", "days", "relay", "context"];
    for (room, file, text) in rooms().into_iter().filter(|(room, ..)| room == "object_store") {
        let others = imports(&text)
            .into_iter()
            .filter(|name| *name != room && *name != "git_objects");
        let others: Vec<_> = others.collect();
        assert!(others.is_empty(), "{} imports {others:?}", file.display());
        let text = text.replace("line feed", "").to_lowercase();
        let mut words = text.split(|c: char| !c.is_alphabetic());
        let named = words.find(|word| foreign.contains(word));
        assert_eq!(named, None, "{} is about any files", file.display());
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
    let others = ["src", "crates/git-push/src", "crates/git-push-transport/src"];
    for (file, text) in others.iter().flat_map(|folder| texts(folder)) {
        for verb in verbs {
            let done = without_tests(&text).contains(verb);
            assert!(!done, "{} does {verb} itself", file.display());
        }
    }
}

#[test]
fn only_one_room_opens_repositories() {
    let verbs = [
        "gix::open(",
        "gix::open_opts(",
        "gix::discover(",
        "ThreadSafeRepository::open",
        "Options::default().open(",
    ];
    for (room, file, text) in rooms().into_iter().filter(|(room, ..)| room != "repository") {
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
    let text = "use crate::{\n    event::Event,\n    journal::{Entry, Status},\n    ref_update::RefUpdate,\n};\nuse crate::config;\n// use crate::cli;\nlet x = crate::mirror::watermark::f();";
    assert_eq!(imports(text), ["event", "journal", "ref_update", "config", "mirror"]);
}
