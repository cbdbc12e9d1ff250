//! Reverse indices of packs: the order of the entries is that of sorting, and a file that is damaged changes nothing.
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use git_push::enumerate::enumerate_bitmapped;
use git_push::pack::Format;
use git_push::reverse_index::EntryOrder;
use gix::ObjectId;
use gix_pack::index;
use proptest::prelude::*;
use proptest::sample::select;

use crate::bitmaps::{long_history, point, push, replace};
use crate::history::random::{self, Step, steps};
use crate::history::{self, commit, git};

/// Packs all objects. Returns the path of the reverse index.
fn repack(repository: &Path) -> PathBuf {
    git(
        repository,
        &["-c", "pack.writeReverseIndex=true", "repack", "-adfbq"],
        None,
    );
    let files = fs::read_dir(repository.join("objects/pack")).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    files
        .find(|path| path.extension().is_some_and(|extension| extension == "rev"))
        .unwrap()
}

/// Writes and packs a history. Returns the reverse index, and the index of its pack.
fn packed(folder: &Path, format: &str, steps: &[Step]) -> (Vec<u8>, index::File) {
    let repository = history::repository(folder, format);
    for (number, tip) in random::write(&repository, steps).iter().enumerate() {
        point(&repository, &format!("refs/kv/{number}"), *tip);
    }
    let path = repack(folder);
    let index = index::File::at(path.with_extension("idx"), repository.object_hash()).unwrap();
    (fs::read(path).unwrap(), index)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reverse_index_of_git_has_the_order_of_sorting_and_no_damage_gives_another(
        format in select(&["sha1", "sha1", "sha256"][..]),
        steps in steps(),
        other in steps(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (file, index) = packed(&folder.path().join("one.git"), format, &steps);
        let sorted = EntryOrder::sorted(&index);
        prop_assert_eq!(EntryOrder::read(&file, &index), Some(sorted.clone()));

        let (foreign, of_foreign) = packed(&folder.path().join("other.git"), format, &other);
        if foreign != file {
            prop_assert_eq!(EntryOrder::read(&foreign, &index), None);
            prop_assert_eq!(EntryOrder::read(&file, &of_foreign), None);
        }
        for place in 0..file.len() {
            prop_assert_eq!(EntryOrder::read(&file[..place], &index), None, "{} bytes", place);
            let mut damaged = file.clone();
            damaged[place] ^= 1;
            // The checksum at the end is not verified.
            let expected = Some(sorted.clone()).filter(|_| place + index.object_hash().len_in_bytes() >= file.len());
            prop_assert_eq!(EntryOrder::read(&damaged, &index), expected, "byte {}", place);
        }
        let longer = [&file[..], b"x"].concat();
        prop_assert_eq!(EntryOrder::read(&longer, &index), None);
    }
}

#[test]
fn packs_are_the_same_with_any_file_in_place_of_the_reverse_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let (_, commits) = long_history(&path, 40);
    let reverse_index = repack(&path);
    let pack = || {
        let repository = gix::open(&path).unwrap();
        let (advertisement, commands) = push(&[commits[10]].into(), &[commits[39]].into());
        let list = enumerate_bitmapped(&repository, &advertisement, &commands).unwrap();
        let format = Format {
            ofs_delta: true,
            thin: true,
        };
        let mut pack = git_push::pack::write(&repository, &list.unwrap(), format).unwrap();
        let mut bytes = Vec::new();
        pack.file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    let whole = fs::read(&reverse_index).unwrap();
    let with_it = pack();
    fs::remove_file(&reverse_index).unwrap();
    let sorted = pack();
    assert_eq!(with_it, sorted);
    fs::create_dir(&reverse_index).unwrap();
    assert_eq!(pack(), sorted, "it cannot be read");
    fs::remove_dir(&reverse_index).unwrap();

    let other = folder.path().join("other.git");
    let repository = history::repository(&other, "sha1");
    let empty = repository.write_object(gix::objs::Tree::empty()).unwrap().detach();
    point(
        &repository,
        "refs/heads/main",
        commit(&repository, empty, &[] as &[ObjectId], 1),
    );
    let foreign = fs::read(repack(&other)).unwrap();
    let swapped = {
        let mut swapped = whole.clone();
        swapped[12..20].rotate_left(4);
        swapped
    };
    for damaged in [&foreign, &swapped, &whole[..whole.len() / 2].to_vec(), &Vec::new()] {
        fs::write(&reverse_index, &whole).unwrap();
        replace(&reverse_index, damaged);
        assert_eq!(pack(), sorted);
    }
}
