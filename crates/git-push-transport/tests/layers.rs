//! Checks the picture of modules in `lib.rs`: a module uses only modules of lower lines.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Heights of modules by name, the highest line first in the picture.
fn heights(lib: &str) -> BTreeMap<String, usize> {
    let picture = lib.split("//! ```text\n").nth(1).expect("a picture");
    let lines: Vec<_> = picture.lines().take_while(|line| *line != "//! ```").collect();
    let mut heights = BTreeMap::new();
    for (height, line) in lines.iter().rev().enumerate() {
        let names = line.trim_start_matches("//! ").split("   ").next().unwrap_or_default();
        for name in names.split("  ").filter(|name| !name.is_empty()) {
            heights.insert(name.to_owned(), height);
        }
    }
    heights
}

/// Checks the modules that the code of a file names as `crate::<name>`.
fn check(module: &str, file: &Path, heights: &BTreeMap<String, usize>) {
    let text = fs::read_to_string(file).expect("a source file");
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let text = code.collect::<Vec<_>>().join("\n");
    let height = heights
        .get(module)
        .unwrap_or_else(|| panic!("{module} is not in the picture"));
    for used in text.split("crate::").skip(1) {
        let used: String = used
            .chars()
            .take_while(|char| char.is_alphanumeric() || *char == '_')
            .collect();
        let lower = used == module || heights.get(&used).is_some_and(|used| used < height);
        assert!(lower, "{}: {module} uses {used}", file.display());
    }
    assert!(!text.contains("super::super"), "{}: use crate::", file.display());
}

/// Returns all files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

#[test]
fn modules_use_lower_ones_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let heights = heights(&fs::read_to_string(src.join("lib.rs")).expect("lib.rs"));
    let mut checked = 0;
    for file in files(&src) {
        let below = file.strip_prefix(&src).expect("a file of the crate");
        let module = below.iter().next().map(Path::new).expect("a name");
        let module = module.file_stem().expect("a name").to_string_lossy();
        if module != "lib" {
            check(&module, &file, &heights);
            checked += 1;
        }
    }
    assert!(checked >= heights.len(), "{checked} files");
}
