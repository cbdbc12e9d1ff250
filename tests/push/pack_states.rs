//! Packs from repositories in every state: with objects that are loose, packed, packed as deltas, unreachable or in an
//! alternate. Git accepts each push, and finds the mirror complete and equal, without objects that were not pushed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::history::random::{self, closure, steps};
use crate::history::{self, commit, git};
use bstr::BString;
use git_push::{Advertisement, Capabilities, Command, Connection, list::Base, pack::Format};
use git_push_transport::local::Local;
use gix::refs::transaction::PreviousValue;
use gix::{ObjectId, Repository};
use proptest::prelude::*;
use proptest::sample::Index;

/// Storage of the source's objects.
#[derive(Debug, Clone, Copy)]
enum State {
    Loose,
    /// All in one pack, with deltas; more than what is pushed.
    Packed,
    /// The objects of the first push are in a pack of their own, the rest is loose.
    FirstPacked,
    /// A new pack before each push.
    PackPerPush,
    /// No objects of its own: all are in the pack of an alternate.
    Alternate,
    /// Loose and packed both, with grafts, and refs that replace commits.
    Replaced,
}

const STATES: [State; 6] = [
    State::Loose,
    State::Packed,
    State::FirstPacked,
    State::PackPerPush,
    State::Alternate,
    State::Replaced,
];

/// A source, and its later changes of state.
struct Source {
    path: PathBuf,
    state: State,
}

impl Source {
    /// A source in its state before the first push, which is of `first`.
    fn new(
        folder: &Path,
        format: &str,
        state: State,
        steps: &[random::Step],
        first: &[Index],
    ) -> (Self, Vec<ObjectId>) {
        let path = folder.join("source.git");
        let repository = history::repository(&path, format);
        let commits = random::write(&repository, steps);
        let mut source = Source { path, state };
        match state {
            State::Loose => {}
            State::Packed => source.repack(&commits, "-adfbq"),
            State::FirstPacked => source.repack(&choose(&commits, first), "-adfbq"),
            State::PackPerPush => {}
            State::Alternate => {
                source.repack(&commits, "-adfq");
                let objects = repository.objects.store_ref().path().canonicalize().unwrap();
                let alternate = folder.join("alternate.git");
                let info = history::repository(&alternate, format)
                    .git_dir()
                    .join("objects/info/alternates");
                std::fs::write(info, format!("{}\n", objects.display())).unwrap();
                source.path = alternate;
            }
            State::Replaced => {
                source.repack(&commits, "-aq");
                let (one, other) = (commits[0], commits[commits.len() - 1]);
                if one != other {
                    point(&repository, &format!("refs/replace/{one}"), other);
                }
                let graft = format!("{other} {one}\n");
                std::fs::write(source.path.join("info/grafts"), graft).unwrap();
            }
        }
        (source, commits)
    }

    /// Packs what is reachable from these tips, as git does.
    fn repack(&self, tips: &[ObjectId], how: &str) {
        let repository = gix::open(&self.path).unwrap();
        for (number, tip) in tips.iter().enumerate() {
            point(&repository, &format!("refs/kv/{number}"), *tip);
        }
        git(&self.path, &["repack", how], None);
    }

    fn before_push(&self, tips: &[ObjectId]) -> Repository {
        if let State::PackPerPush = self.state {
            self.repack(tips, "-dq");
        }
        gix::open(&self.path).unwrap()
    }
}

fn point(repository: &Repository, name: &str, id: ObjectId) {
    repository.reference(name, id, PreviousValue::Any, "test").unwrap();
}

fn choose(commits: &[ObjectId], choice: &[Index]) -> Vec<ObjectId> {
    let set: BTreeSet<_> = choice.iter().map(|index| commits[index.index(commits.len())]).collect();
    set.into_iter().collect()
}

/// The receiving side of a push.
#[derive(Debug, Clone, Copy)]
enum Receiver {
    Local,
    Git(Format),
}

const RECEIVERS: [Receiver; 4] = [
    Receiver::Local,
    Receiver::Git(Format {
        ofs_delta: true,
        thin: true,
    }),
    Receiver::Git(Format {
        ofs_delta: false,
        thin: true,
    }),
    Receiver::Git(Format {
        ofs_delta: true,
        thin: false,
    }),
];

/// Pushes `tips` as the only `refs/kv/*` of the mirror.
fn push_to(source: &Repository, mirror: &Path, tips: &[ObjectId], receiver: Receiver) {
    let mut connection = Local::open(mirror).unwrap();
    let advertisement = connection.advertisement().unwrap();
    let commands = commands(&advertisement, tips);
    match receiver {
        Receiver::Local => {
            let report = git_push::Push::new(source, &advertisement)
                .commands(commands)
                .send(&mut connection)
                .unwrap();
            assert!(report.all_accepted(), "{report:?}");
        }
        Receiver::Git(format) => {
            let offered = [("ofs-delta", format.ofs_delta), ("no-thin", !format.thin)];
            let offered = offered.into_iter().filter(|(_, offered)| *offered);
            let advertisement = Advertisement {
                capabilities: Capabilities {
                    list: offered.map(|(name, _)| (name.into(), None)).collect(),
                },
                ..advertisement
            };
            let pack = git_push::Push::new(source, &advertisement)
                .commands(commands.clone())
                .pack()
                .unwrap();
            assert_eq!(pack.bytes, pack.file.metadata().unwrap().len());
            git(
                mirror,
                &["index-pack", "--strict", "--fix-thin", "--stdin"],
                Some(pack.file),
            );
            let theirs = gix::open(mirror).unwrap();
            for command in commands {
                let reference = || theirs.find_reference(&command.name.to_string()).unwrap();
                match command.is_delete() {
                    true => reference().delete().unwrap(),
                    false => point(&theirs, &command.name.to_string(), command.new),
                }
            }
        }
    }
}

fn commands(mirror: &Advertisement, tips: &[ObjectId]) -> Vec<Command> {
    let null = tips[0].kind().null();
    let name = |number: usize| BString::from(format!("refs/kv/{number}"));
    let count = tips.len().max(mirror.refs.len());
    let command = |number| Command {
        name: name(number),
        old: mirror.id(name(number).as_ref()).unwrap_or(null),
        new: tips.get(number).copied().unwrap_or(null),
    };
    (0..count)
        .map(command)
        .filter(|command| command.old != command.new)
        .collect()
}

/// Checks that the mirror is complete, has everything that these refs reach, and only objects of `ever`.
fn assert_mirrors(source: &Path, mirror: &Path, tips: &[ObjectId], ever: &[ObjectId]) {
    git(mirror, &["fsck", "--strict", "--full", "--no-dangling"], None);
    let listed = git(mirror, &["rev-list", "--objects", "--no-object-names", "--all"], None);
    let listed: BTreeSet<_> = listed
        .lines()
        .map(|line| ObjectId::from_hex(line.as_bytes()).unwrap())
        .collect();
    let mut original = gix::open(source).unwrap();
    original.objects.ignore_replacements = true;
    assert_eq!(listed, closure(&original, tips.iter().copied()));
    let pushed = closure(&original, ever.iter().copied());
    for id in gix::open(mirror).unwrap().objects.iter().unwrap() {
        let id = id.unwrap();
        assert!(
            pushed.contains(&id),
            "{id} was sent, and is reachable from nothing that was pushed"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pushes_out_of_any_state_arrive(
        format in prop::sample::select(&["sha1", "sha1", "sha256"][..]),
        state in prop::sample::select(&STATES[..]),
        receiver in prop::sample::select(&RECEIVERS[..]),
        steps in steps(),
        pushes in prop::collection::vec(prop::collection::vec(any::<Index>(), 1..3), 1..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (source, commits) = Source::new(folder.path(), format, state, &steps, &pushes[0]);
        let mirror = folder.path().join("mirror.git");
        history::repository(&mirror, format);
        let mut ever = Vec::new();
        let mut tips = Vec::new();
        for push in &pushes {
            tips = choose(&commits, push);
            ever.extend(tips.iter().copied());
            push_to(&source.before_push(&tips), &mirror, &tips, receiver);
        }
        assert_mirrors(&source.path, &mirror, &tips, &ever);
    }
}

/// A repository with a folder of 400 files, some of which change in each commit; and its commits in order.
fn long_history(folder: &Path, length: u32) -> (Repository, Vec<ObjectId>) {
    let repository = history::repository(folder, "sha1");
    let mut commits: Vec<ObjectId> = Vec::new();
    let mut tree = ObjectId::empty_tree(repository.object_hash());
    for round in 0..length {
        let mut editor = repository.edit_tree(tree).unwrap();
        let changed: Vec<u32> = match round {
            0 => (0..400).collect(),
            _ => (0..3).map(|n| (round * 37 + n * 131) % 400).collect(),
        };
        for file in changed {
            let lines: String = (0..40)
                .map(|line| format!("{file}: line {line}, {:x}\n", line * 77_777 + file))
                .collect();
            let blob = repository.write_blob(format!("{lines}round {round}\n")).unwrap();
            editor
                .upsert(format!("data/{file:03}"), gix::objs::tree::EntryKind::Blob, blob)
                .unwrap();
        }
        tree = editor.write().unwrap().detach();
        let parent: Vec<_> = commits.last().copied().into_iter().collect();
        commits.push(commit(&repository, tree, &parent, round));
    }
    (repository, commits)
}

/// Returns the size in bytes of the pack that `git push` sends.
pub fn bytes_of_git(repository: &Path, old: Option<ObjectId>, new: ObjectId) -> usize {
    let revisions = tempfile::NamedTempFile::new().unwrap();
    let old = old.map(|old| format!("^{old}\n")).unwrap_or_default();
    std::fs::write(revisions.path(), format!("{old}{new}\n")).unwrap();
    let pack = tempfile::NamedTempFile::new().unwrap();
    let status = std::process::Command::new("git")
        .args([
            "pack-objects",
            "--thin",
            "--stdout",
            "--revs",
            "--delta-base-offset",
            "-q",
        ])
        .current_dir(repository)
        .stdin(revisions.reopen().unwrap())
        .stdout(pack.reopen().unwrap())
        .status()
        .unwrap_or_else(|error| panic!("these tests need the program git: {error}"));
    assert!(status.success());
    pack.as_file().metadata().unwrap().len() as usize
}

#[test]
fn long_histories_of_wide_folders_are_no_larger_than_gits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let (repository, commits) = long_history(&path, 40);
    let format = Format {
        ofs_delta: true,
        thin: true,
    };
    for packed in [false, true] {
        if packed {
            point(&repository, "refs/kv/main", commits[39]);
            git(&path, &["repack", "-adfq"], None);
        }
        for (old, new) in [(None, 0), (Some(0), 1), (Some(0), 39), (Some(20), 39)] {
            let (old, new) = (old.map(|old: usize| commits[old]), commits[new]);
            let (advertisement, commands) = remote(old, new);
            let repository = gix::open(&path).unwrap();
            let list = git_push::enumerate::enumerate(&repository, &advertisement, &commands).unwrap();
            let pack = git_push::pack::write(&repository, &list, format).unwrap();
            let theirs = bytes_of_git(&path, old, new);
            // zlib-rs and zlib compress differently, by a percent or so.
            assert!(
                pack.bytes as usize <= theirs + theirs / 50,
                "packed: {packed}, {old:?} to {new}: {} bytes, git {theirs}",
                pack.bytes
            );
        }
    }
}

fn remote(old: Option<ObjectId>, new: ObjectId) -> (Advertisement, Vec<Command>) {
    let name = BString::from("refs/kv/main");
    let advertisement = Advertisement {
        refs: old.map(|old| (name.clone(), old)).into_iter().collect(),
        ..Advertisement::default()
    };
    let old = old.unwrap_or(new.kind().null());
    (advertisement, vec![Command { name, old, new }])
}

#[test]
fn a_bitmap_is_believed_only_when_it_says_that_all_is_reached() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let (repository, commits) = long_history(&path, 12);
    let made = |tips: &[ObjectId], theirs: Option<ObjectId>| {
        let (mut advertisement, _) = remote(theirs, tips[0]);
        advertisement.capabilities.list.push(("ofs-delta".into(), None));
        let pack = git_push::Push::new(&gix::open(&path).unwrap(), &advertisement)
            .commands(commands_for(tips))
            .pack()
            .unwrap();
        pack.objects as usize
    };
    let reached = |tips: &[ObjectId]| closure(&repository, tips.iter().copied()).len();
    let side = commit(
        &repository,
        repository.find_commit(commits[3]).unwrap().tree_id().unwrap().detach(),
        &[],
        77,
    );
    point(&repository, "refs/kv/main", commits[11]);
    point(&repository, "refs/kv/side", side);
    git(&path, &["repack", "-adbq"], None);
    let files = || {
        std::fs::read_dir(path.join("objects/pack"))
            .unwrap()
            .flatten()
            .map(|file| file.path())
    };
    let bitmap = files()
        .find(|path| path.extension().is_some_and(|extension| extension == "bitmap"))
        .unwrap();
    let pack = std::fs::read(bitmap.with_extension("pack")).unwrap();

    let both = [commits[11], side];
    for tips in [&both[..], &both[..1], &both[1..], &commits[5..6]] {
        assert_eq!(made(tips, None), reached(tips));
    }
    let (mut advertisement, _) = remote(None, side);
    advertisement.capabilities.list.push(("ofs-delta".into(), None));
    let mut as_it_is = git_push::Push::new(&gix::open(&path).unwrap(), &advertisement)
        .commands(commands_for(&both))
        .pack()
        .unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut as_it_is.file, &mut bytes).unwrap();
    assert!(bytes == pack);
    // A remote that has something, and a bitmap that is damaged.
    assert!(made(&both, Some(commits[4])) < reached(&both));
    let mut bytes = std::fs::read(&bitmap).unwrap();
    bytes[12] ^= 1;
    std::fs::remove_file(&bitmap).unwrap();
    std::fs::write(&bitmap, bytes).unwrap();
    assert_eq!(made(&both, None), reached(&both));
    assert_eq!(made(&both[1..], None), reached(&both[1..]));
}

/// Creates refs.
fn commands_for(tips: &[ObjectId]) -> Vec<Command> {
    let create = |(number, new): (usize, &ObjectId)| Command {
        name: format!("refs/new/{number}").into(),
        old: new.kind().null(),
        new: *new,
    };
    tips.iter().enumerate().map(create).collect()
}

#[test]
fn a_pack_that_holds_what_is_pushed_and_nothing_else_is_sent_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let (repository, commits) = long_history(&path, 12);
    point(&repository, "refs/kv/main", commits[10]);
    git(&path, &["repack", "-adfq"], None);
    let pack = || {
        let packs = std::fs::read_dir(path.join("objects/pack")).unwrap().flatten();
        let mut packs = packs.map(|file| file.path());
        packs
            .find(|path| path.extension().is_some_and(|extension| extension == "pack"))
            .unwrap()
    };
    let written = |tip: ObjectId, ofs_delta| {
        let (advertisement, commands) = remote(None, tip);
        let repository = gix::open(&path).unwrap();
        let list = git_push::enumerate::enumerate(&repository, &advertisement, &commands).unwrap();
        let format = Format { ofs_delta, thin: true };
        let mut pack = git_push::pack::write(&repository, &list, format).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut pack.file, &mut bytes).unwrap();
        bytes
    };
    let local = std::fs::read(pack()).unwrap();
    assert!(written(commits[10], true) == local);
    assert!(written(commits[10], false) != local, "offsets are not understood");
    assert!(written(commits[9], true) != local, "the pack holds more");
    assert!(written(commits[11], true) != local, "the pack holds less");
}

#[test]
fn a_damaged_entry_is_not_copied_when_there_is_another_copy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let (repository, commits) = long_history(&path, 2);
    point(&repository, "refs/kv/main", commits[1]);
    git(&path, &["repack", "-afq"], None);
    let index = index_in(&path);
    let victim = repository.find_commit(commits[0]).unwrap().tree().unwrap();
    let victim = victim
        .lookup_entry_by_path("data/007")
        .unwrap()
        .unwrap()
        .object_id()
        .to_string();
    let shown = git(&path, &["show-index"], Some(std::fs::File::open(&index).unwrap()));
    let line = shown.lines().find(|line| line.contains(&victim)).unwrap();
    let offset: usize = line.split(' ').next().unwrap().parse().unwrap();
    let pack = index.with_extension("pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[offset + 12] ^= 1;
    std::fs::remove_file(&pack).unwrap();
    std::fs::write(&pack, bytes).unwrap();

    let mirror = folder.path().join("mirror.git");
    history::repository(&mirror, "sha1");
    push_to(&gix::open(&path).unwrap(), &mirror, &commits[..1], RECEIVERS[1]);
    git(&mirror, &["fsck", "--strict", "--full"], None);
    std::fs::remove_file(path.join("objects").join(&victim[..2]).join(&victim[2..])).unwrap();
    let (advertisement, commands) = remote(None, commits[0]);
    let error = git_push::Push::new(&gix::open(&path).unwrap(), &advertisement)
        .commands(commands)
        .pack()
        .unwrap_err();
    assert!(error.to_string().contains(&victim), "{error}");
    assert_eq!(error.hint(), Some("run `git fsck` there"));
}

#[test]
fn an_index_with_an_offset_just_before_another_entry_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mirror) = (folder.path().join("source.git"), folder.path().join("mirror.git"));
    let repository = history::repository(&path, "sha1");
    let mut editor = repository
        .edit_tree(ObjectId::empty_tree(repository.object_hash()))
        .unwrap();
    let mut commits: Vec<ObjectId> = Vec::new();
    let mut blobs = Vec::new();
    for round in 0..6u32 {
        blobs.push(repository.write_blob(noise(round, 60)).unwrap().detach());
        let kind = gix::objs::tree::EntryKind::Blob;
        editor.upsert(format!("{round}"), kind, blobs[round as usize]).unwrap();
        let tree = editor.write().unwrap().detach();
        let parent: Vec<_> = commits.last().copied().into_iter().collect();
        commits.push(commit(&repository, tree, &parent, round));
    }
    point(&repository, "refs/kv/main", commits[5]);
    git(&path, &["repack", "-adq"], None);
    history::repository(&mirror, "sha1");

    let index = index_in(&path);
    let whole = std::fs::read(&index).unwrap();
    let count = 18;
    let table = whole.len() - 2 * 20 - 4 * count;
    let offset = |place: usize| u32::from_be_bytes(*whole[table + 4 * place..].first_chunk().unwrap());
    let ids = whole[8 + 4 * 256..].chunks(20);
    let victim = ids.take(count).position(|id| id == blobs[0].as_bytes()).unwrap();
    std::fs::remove_file(&index).unwrap();
    for place in (0..count).filter(|place| offset(*place) > 12) {
        let mut bytes = whole.clone();
        bytes[table + 4 * victim..][..4].copy_from_slice(&(offset(place) - 1).to_be_bytes());
        std::fs::write(&index, bytes).unwrap();
        let mut remote = Local::open(&mirror).unwrap();
        let advertisement = remote.advertisement().unwrap();
        // Its size is looked up before it is read.
        let sent = git_push::Push::new(&gix::open(&path).unwrap(), &advertisement)
            .commands(commands_for(&commits[..1]))
            .send_in_parts(&git_push::parts::Parts::new("refs/parts/", 100), &mut remote);
        let error = sent.expect_err("a blob cannot be read");
        assert_eq!(error.kind(), git_push::ErrorKind::Broken, "{error}");
    }
}

/// Returns the path of the only index.
fn index_in(repository: &Path) -> PathBuf {
    let files = std::fs::read_dir(repository.join("objects/pack")).unwrap().flatten();
    let mut files = files.map(|file| file.path());
    files
        .find(|path| path.extension().is_some_and(|extension| extension == "idx"))
        .unwrap()
}

/// Bytes that do not compress.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn large_and_empty_blobs_arrive_loose_and_packed_whole_and_as_deltas() {
    for packed in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("source.git");
        let source = history::repository(&path, "sha1");
        let mut content = noise(7, 3 << 20);
        let mut commits: Vec<ObjectId> = Vec::new();
        for round in 0..3 {
            content[1_000_000 + round as usize] ^= 1;
            let mut editor = source.edit_tree(ObjectId::empty_tree(source.object_hash())).unwrap();
            for (name, content) in [
                ("large", &content[..]),
                ("empty", b""),
                ("other", &noise(round, 2 << 20)),
            ] {
                let blob = source.write_blob(content).unwrap();
                editor.upsert(name, gix::objs::tree::EntryKind::Blob, blob).unwrap();
            }
            let tree = editor.write().unwrap().detach();
            let parent: Vec<_> = commits.last().copied().into_iter().collect();
            commits.push(commit(&source, tree, &parent, round));
        }
        point(&source, "refs/kv/0", commits[2]);
        if packed {
            git(&path, &["repack", "-adfq"], None);
        }
        let mirror = folder.path().join("mirror.git");
        history::repository(&mirror, "sha1");
        for (number, tip) in commits.iter().enumerate() {
            let receiver = [Receiver::Local, RECEIVERS[1], RECEIVERS[3]][number];
            push_to(&gix::open(&path).unwrap(), &mirror, &[*tip], receiver);
        }
        assert_mirrors(&path, &mirror, &commits[2..], &commits);
        let (advertisement, commands) = remote(Some(commits[1]), commits[2]);
        let source = gix::open(&path).unwrap();
        let list = git_push::enumerate::enumerate(&source, &advertisement, &commands).unwrap();
        assert!(
            list.objects
                .iter()
                .any(|listed| matches!(listed.base, Some(Base::Remote(_))))
        );
        let format = Format {
            ofs_delta: true,
            thin: true,
        };
        let pack = git_push::pack::write(&source, &list, format).unwrap();
        assert!((2 << 20..(2 << 20) + 20_000).contains(&pack.bytes), "{}", pack.bytes);
    }
}
