//! Damaged indices of packs: offsets of more than 31 bits that are nowhere.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use support::git::{self, git};

/// Objects of the pack.
const OBJECTS: usize = 9;
/// Start of the offsets in the index: after its header, ids and checksums.
const OFFSETS: usize = 8 + 256 * 4 + OBJECTS * (20 + 4);
const END: usize = OFFSETS + OBJECTS * 4;

fn source(folder: &Path) -> PathBuf {
    let source = folder.join("source.git");
    git(folder, &["init", "-q", "--bare", "source.git"]);
    let mut tip: Option<String> = None;
    for content in ["one", "two", "three"] {
        tip = Some(git::commit(&source, tip.as_deref(), content));
    }
    git(&source, &["update-ref", "refs/heads/main", &tip.expect("a commit")]);
    git(&source, &["repack", "-adq"]);
    source
}

fn index_of(source: &Path) -> PathBuf {
    let files = fs::read_dir(source.join("objects/pack")).expect("a folder");
    let mut paths = files.map(|file| file.expect("a file").path());
    paths
        .find(|path| path.extension().is_some_and(|extension| extension == "idx"))
        .expect("an index")
}

fn push(source: &Path, receiver: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stargate-mirror"));
    command
        .args(["push", &receiver.display().to_string(), "main"])
        .current_dir(source)
        .env_clear()
        .envs(git::ISOLATED)
        .env("HOME", source);
    command.output().expect("it runs")
}

#[test]
fn an_index_with_offsets_that_are_nowhere_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = source(folder.path());
    let receiver = folder.path().join("receiver.git");
    git(folder.path(), &["init", "-q", "--bare", "receiver.git"]);
    let path = index_of(&source);
    let intact = fs::read(&path).expect("an index");
    let one: fn(&mut Vec<u8>) = |index| index[OFFSETS] |= 0x80;
    let all: fn(&mut Vec<u8>) = |index| (0..OBJECTS).for_each(|number| index[OFFSETS + number * 4] |= 0x80);
    let beyond_the_table: fn(&mut Vec<u8>) = |index| {
        index[OFFSETS..OFFSETS + 4].copy_from_slice(&[0x80, 0, 0, 5]);
        index.splice(END..END, [0; 8]);
    };
    for damage in [one, all, beyond_the_table] {
        let mut index = intact.clone();
        damage(&mut index);
        fs::remove_file(&path).expect("a file");
        fs::write(&path, index).expect("a file");
        let output = push(&source, &receiver);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{said}");
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(said.contains(name) && said.contains("index-pack"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    fs::remove_file(&path).expect("a file");
    let pack = path.with_extension("pack");
    git(&source, &["index-pack", &pack.display().to_string()]);
    assert!(push(&source, &receiver).status.success(), "the hint helps");
    git(&receiver, &["fsck", "--strict"]);
}
