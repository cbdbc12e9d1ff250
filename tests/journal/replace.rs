//! Replacement of a file: durable, as a whole, and without remains, even if a step fails.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use durable::{
    replace::{NewFile, lock_path, replace},
    storage::{Disk, FILE_MODE},
};
use support::faulty::{Fault, Faulty};
use tempfile::TempDir;

/// A folder with one file of the content `old`.
fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    (folder, path)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_content_is_durable_before_it_has_the_name_and_the_name_at_the_end() {
    let (folder, path) = file();
    let faulty = Faulty::new(&|_, _| None);
    replace(&&faulty, &path, b"new", FILE_MODE).unwrap();
    // `write_new` includes the fsync of the content.
    assert_eq!(faulty.calls.take(), ["write_new", "rename", "sync_dir"]);
    assert_eq!(fs::read(&path).unwrap(), b"new");
    replace(&Disk, &folder.path().join("another"), b"first", FILE_MODE).unwrap();
    assert_eq!(names(folder.path()), ["another", "file"]);
}

#[test]
fn whichever_step_fails_the_file_is_whole_and_nothing_else_is_left() {
    for (step, expected) in [(0, "old"), (1, "old"), (2, "new")] {
        let (folder, path) = file();
        let fault = |_: &str, call| (call == step).then_some(Fault::Error(io::ErrorKind::StorageFull));
        let faulty = Faulty::new(&fault);
        let error = replace(&&faulty, &path, b"new", FILE_MODE).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "step {step}");
        assert_eq!(fs::read_to_string(&path).unwrap(), expected, "step {step}");
        assert_eq!(names(folder.path()), ["file"], "step {step}");
    }
}

#[test]
fn what_a_crash_has_left_is_overwritten() {
    // The process dies at its second call: its temporary file stays.
    let (folder, path) = file();
    let fault = |_: &str, call| (call > 0).then_some(Fault::Error(io::ErrorKind::BrokenPipe));
    replace(&&Faulty::new(&fault), &path, b"lost", FILE_MODE).unwrap_err();
    assert_eq!(names(folder.path()), ["file", "file.new"]);
    replace(&Disk, &path, b"new", FILE_MODE).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn one_process_at_a_time_has_the_lock_of_a_file() {
    let (folder, path) = file();
    let locked = |bytes| NewFile::locked(&Disk, &path, bytes, FILE_MODE);
    let first = locked(b"first").unwrap();
    assert!(lock_path(&path).is_file());
    assert_eq!(locked(b"second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"old", "nothing changes before the commit");
    first.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"first");

    drop(locked(b"third").unwrap());
    locked(b"fourth").unwrap().discard().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn a_file_that_was_renamed_is_committed_by_the_fsync_of_its_folder() {
    let (folder, path) = file();
    let faulty = Faulty::new(&|_, _| None);
    let storage = &faulty;
    let mut new = NewFile::locked(&storage, &path, b"new", FILE_MODE).unwrap();
    new.rename().unwrap();
    assert_eq!(names(folder.path()), ["file"]);
    new.commit().unwrap();
    assert_eq!(faulty.calls.take(), ["write_new", "rename", "sync_dir"]);
}
