use std::time::SystemTime;

use gix::ObjectId;

use super::*;

const ID: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";

struct Mirror {
    folder: tempfile::TempDir,
    place: Place,
}

fn mirror() -> Mirror {
    let folder = tempfile::tempdir().unwrap();
    let git_dir = folder.path().join("r.git");
    for name in ["objects/pack", "refs/kv"] {
        fs::create_dir_all(git_dir.join(name)).unwrap();
    }
    let objects = git_dir.join("objects");
    Mirror {
        folder,
        place: Place {
            git_dir,
            storage: RefStorage::Files,
            objects,
            shared: None,
        },
    }
}

impl Mirror {
    /// Creates the files of a killed push of these refs. Returns its folder.
    fn died(&self, commands: &[(&str, &str)]) -> PathBuf {
        let command = |(name, new): &(&str, &str)| Command {
            name: (*name).into(),
            old: ObjectId::null(gix::hash::Kind::Sha1),
            new: new.parse().unwrap(),
        };
        let commands: Vec<_> = commands.iter().map(command).collect();
        let mut incoming = self.place.begin(&commands).unwrap();
        incoming.alive = None;
        let folder = incoming.folder.clone();
        std::mem::forget(incoming);
        folder
    }

    /// Creates a lock with this content and of this age.
    fn lock(&self, name: &str, content: &str, seconds: u64) -> PathBuf {
        let path = self.place.git_dir.join(format!("{name}.lock"));
        fs::write(&path, content).unwrap();
        let then = SystemTime::now() - Duration::from_secs(seconds);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(then)
            .unwrap();
        path
    }
}

#[test]
fn the_locks_of_a_dead_push_are_taken_away_and_those_of_others_are_not() {
    let mirror = mirror();
    let names = ["refs/kv/whole", "refs/kv/part", "refs/kv/empty", "refs/kv/other"].map(|name| (name, ID));
    let folder = mirror.died(&names);
    let ours = [
        mirror.lock("refs/kv/whole", &format!("{ID}\n"), 2),
        mirror.lock("refs/kv/part", &ID[..7], 2),
        mirror.lock("refs/kv/empty", "", 2),
    ];
    let others = [
        mirror.lock("refs/kv/other", &format!("{}\n", ID.replace("a1", "b2")), 2),
        mirror.lock("refs/kv/not-named", &format!("{ID}\n"), 2),
        mirror.lock("packed-refs", "", 120),
    ];
    mirror.place.clear().unwrap();
    assert!(ours.iter().all(|path| !path.exists()));
    assert!(others.iter().all(|path| path.exists()));
    assert!(!folder.exists());
}

#[test]
fn the_keep_files_of_a_dead_push_are_removed_in_every_layout() {
    let mirror = mirror();
    let there = mirror.place.objects.join("pack");
    for below in ["", PACKS] {
        let folder = mirror.died(&[]);
        fs::create_dir_all(folder.join(below)).unwrap();
        for name in ["pack-1.keep", "pack-1.pack"] {
            fs::write(folder.join(below).join(name), "").unwrap();
            fs::write(there.join(name), "").unwrap();
        }
        fs::write(there.join("pack-2.keep"), "").unwrap();
        mirror.place.clear().unwrap();
        assert!(!folder.exists() && !there.join("pack-1.keep").exists(), "{below:?}");
        assert!(there.join("pack-1.pack").exists() && there.join("pack-2.keep").exists());
    }
}

#[test]
fn a_young_lock_is_looked_at_a_second_time() {
    let mirror = mirror();
    mirror.died(&[("refs/kv/a", ID)]);
    let lock = mirror.lock("refs/kv/a", "", 0);
    mirror.place.clear().unwrap();
    assert!(!lock.exists());
}

#[test]
fn the_lock_of_packed_refs_is_left_until_it_is_old_and_so_is_what_tells_of_it() {
    let mirror = mirror();
    let folder = mirror.died(&[("refs/kv/gone", &"0".repeat(40))]);
    let lock = mirror.lock("packed-refs", "", 30);
    mirror.place.clear().unwrap();
    assert!(lock.exists() && folder.exists());
    mirror.lock("packed-refs", "", 61);
    mirror.place.clear().unwrap();
    assert!(!lock.exists() && !folder.exists());
}

#[test]
fn the_recorded_lock_of_an_index_is_removed_when_it_is_old_and_no_other_file_is() {
    let mirror = mirror();
    fs::create_dir_all(mirror.place.git_dir.join("worktrees/w")).unwrap();
    for name in ["index", "worktrees/w/index"] {
        let folder = mirror.died(&[]);
        let index = mirror.place.git_dir.join(name);
        IndexLock::new(&folder, &mirror.place.git_dir).begin(&index).unwrap();
        let lock = mirror.lock(name, "", 30);
        mirror.place.clear().unwrap();
        assert!(lock.exists() && folder.exists(), "{name}");
        mirror.lock(name, "", 61);
        mirror.place.clear().unwrap();
        assert!(!lock.exists() && !folder.exists(), "{name}");
    }
    let others = [mirror.lock("index", "", 61), mirror.lock("config", "", 61)];
    let records = [
        "",
        "config",
        "../r.git/index",
        "worktrees/../index",
        "worktrees/w/config",
    ];
    for record in records {
        let folder = mirror.died(&[]);
        fs::write(folder.join("index"), record).unwrap();
        mirror.place.clear().unwrap();
        assert!(others.iter().all(|path| path.exists()) && !folder.exists(), "{record}");
    }
    let folder = mirror.died(&[]);
    let ended = IndexLock::new(&folder, &mirror.place.git_dir);
    ended.begin(&mirror.place.git_dir.join("index")).unwrap();
    ended.end().unwrap();
    mirror.place.clear().unwrap();
    assert!(others[0].exists(), "the lock of another process");
}

#[test]
fn what_lives_is_left_alone() {
    let mirror = mirror();
    let incoming = mirror.place.begin(&[]).unwrap();
    mirror.place.clear().unwrap();
    assert!(incoming.folder.join(RECORD).exists());
    let folder = incoming.folder.clone();
    drop(incoming);
    assert!(!folder.exists());

    // A push that has only just created its folder.
    let begun = mirror.place.objects.join(format!("{PREFIX}begun"));
    fs::create_dir(&begun).unwrap();
    mirror.place.clear().unwrap();
    assert!(begun.exists());
    let then = SystemTime::now() - BEGUN;
    fs::File::open(&begun).unwrap().set_modified(then).unwrap();
    mirror.place.clear().unwrap();
    assert!(!begun.exists());
}

#[test]
fn a_record_leads_nowhere_but_to_refs() {
    let mirror = mirror();
    let folder = mirror.died(&[]);
    let outside = mirror.folder.path().join("x.lock");
    let config = mirror.lock("config", "", 120);
    fs::write(&outside, "").unwrap();
    let record = format!("{ID} refs/../../x\n{ID} /x\n{ID} config\n{ID} refs/kv/\n{ID}\n");
    fs::write(folder.join(RECORD), record).unwrap();
    mirror.place.clear().unwrap();
    assert!(outside.exists() && config.exists());
    assert!(!folder.exists());
}
