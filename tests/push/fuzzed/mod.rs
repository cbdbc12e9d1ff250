//! Runs every finding of the fuzzers and every seed: the properties for arbitrary bytes must hold for each.
mod properties;

use std::{
    collections::BTreeSet,
    fs, panic,
    path::{Path, PathBuf},
};

use properties::TARGETS;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
}

#[test]
fn every_seed_and_every_finding_keeps_its_properties() {
    for (name, check) in TARGETS {
        let files = files(&fixtures().join("fuzz").join(name));
        assert!(!files.is_empty(), "{name} starts from nothing");
        for file in files {
            let bytes = fs::read(&file).expect("a file");
            if panic::catch_unwind(|| check(&bytes)).is_err() {
                panic!("{} does not keep the properties of {name}", file.display());
            }
        }
    }
}

#[test]
fn seeds_of_reftables_are_tables() {
    for file in files(&fixtures().join("fuzz/reftable")) {
        let bytes = fs::read(&file).expect("a file");
        let is_finding = file
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("found-"));
        let table = git_reftable::Table::open("seed", Box::new(bytes[1..].to_vec()));
        assert!(is_finding || table.is_ok(), "{}: {:?}", file.display(), table.err());
    }
}

#[test]
fn nothing_is_kept_of_a_target_that_is_none() {
    let folders = files(&fixtures().join("fuzz"));
    let kept: BTreeSet<_> = folders
        .iter()
        .map(|folder| folder.file_name().expect("a name").to_owned())
        .collect();
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).into()).collect();
    assert_eq!(kept, targets);
}

#[test]
fn every_answer_of_a_real_server_keeps_its_properties() {
    let mut checked = 0;
    for (folder, variants, check) in [
        ("advertisement", 0..1, properties::advertisement::check as fn(&[u8])),
        ("report", 0..4, properties::report_status::check),
    ] {
        for file in files(&fixtures().join(folder)) {
            let bytes = fs::read(&file).expect("a file");
            match variants.len() {
                1 => check(&bytes),
                _ => variants
                    .clone()
                    .for_each(|variant| check(&[&[variant][..], &bytes].concat())),
            }
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked}");
}
