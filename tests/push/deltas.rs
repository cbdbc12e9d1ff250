//! Deltas of long histories: no larger than git's, no deeper than git's.
use std::path::Path;

use bstr::BString;
use git_push::{Advertisement, Command, pack::Format};
use gix::objs::tree::EntryKind;
use gix::{ObjectId, Repository};

use crate::history::{self, commit, git};
use crate::pack_states::bytes_of_git;

const THIN: Format = Format {
    ofs_delta: true,
    thin: true,
};
/// Of some folders, some of them deep.
const FILES: u32 = 40;

/// A generator of numbers (xorshift), the same in each run.
struct Numbers(u32);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as usize % below
    }
}

/// A file: its path and its lines.
struct File {
    path: String,
    lines: Vec<String>,
}

impl File {
    fn new(number: u32, numbers: &mut Numbers) -> Self {
        let folder = ["", "src/", "src/deep/er/", "docs/", "vendored/a/b/c/"][number as usize % 5];
        // Most are short, some are long.
        let count = if number.is_multiple_of(10) {
            900
        } else {
            20 + numbers.next(150)
        };
        File {
            path: format!("{folder}file-{number}.txt"),
            lines: (0..count).map(|_| line(numbers)).collect(),
        }
    }

    /// Changes, adds and removes some lines.
    fn edit(&mut self, numbers: &mut Numbers) {
        for _ in 0..1 + numbers.next(4) {
            let at = numbers.next(self.lines.len());
            match numbers.next(4) {
                0 if self.lines.len() > 10 => {
                    self.lines.remove(at);
                }
                1 => self.lines[at] = line(numbers),
                _ => self.lines.insert(at, line(numbers)),
            }
        }
    }
}

/// A line of words, some of them rare.
fn line(numbers: &mut Numbers) -> String {
    let words = (0..2 + numbers.next(8)).map(|_| match numbers.next(3) {
        0 => format!("{:x}", numbers.next(1 << 20)),
        _ => format!("word{}", numbers.next(60)),
    });
    words.collect::<Vec<_>>().join(" ") + "\n"
}

/// Writes a history: each commit edits some files, some rename one, some merge a branch. Returns its commits.
fn write(repository: &Repository, length: u32) -> Vec<ObjectId> {
    let mut numbers = Numbers(0x5eed);
    let mut files: Vec<_> = (0..FILES).map(|number| File::new(number, &mut numbers)).collect();
    let mut changed: Vec<usize> = (0..files.len()).collect();
    let mut commits: Vec<ObjectId> = Vec::new();
    let mut tree = ObjectId::empty_tree(repository.object_hash());
    for round in 0..length {
        let mut editor = repository.edit_tree(tree).unwrap();
        // The same few files change again and again.
        for _ in 0..1 + numbers.next(4) {
            changed.push(numbers.next(files.len()).min(numbers.next(files.len())));
        }
        if round % 40 == 39 {
            let file = numbers.next(files.len());
            editor.remove(&*files[file].path).unwrap();
            files[file].path = files[file].path.replace("file-", "renamed-");
            changed.push(file);
        }
        for file in changed.drain(..) {
            files[file].edit(&mut numbers);
            let blob = repository.write_blob(files[file].lines.concat()).unwrap();
            editor.upsert(&*files[file].path, EntryKind::Blob, blob).unwrap();
        }
        tree = editor.write().unwrap().detach();
        let mut parents: Vec<_> = commits.last().copied().into_iter().collect();
        if round % 7 == 6 {
            parents.push(commits[round as usize - 3]);
        }
        commits.push(commit(repository, tree, &parents, round));
    }
    commits
}

/// Makes the pack of a push from `old` to `new`.
fn pack(repository: &Repository, old: Option<ObjectId>, new: ObjectId, format: Format) -> git_push::SpooledPack {
    let name = BString::from("refs/kv/main");
    let advertisement = Advertisement {
        refs: old.map(|old| (name.clone(), old)).into_iter().collect(),
        ..Advertisement::default()
    };
    let old = old.unwrap_or(new.kind().null());
    let commands = [Command { name, old, new }];
    let list = git_push::enumerate::enumerate(repository, &advertisement, &commands).unwrap();
    git_push::pack::write(repository, &list, format).unwrap()
}

/// Makes a mirror that has what `old` reaches, and lets git complete the pack there.
fn assert_arrives(source: &Path, mirror: &Path, old: Option<ObjectId>, pack: std::fs::File) {
    history::repository(mirror, "sha1");
    if let Some(old) = old {
        let refspec = format!("{old}:refs/kv/main");
        git(source, &["push", "-q", mirror.to_str().unwrap(), &refspec], None);
    }
    git(mirror, &["index-pack", "--strict", "--fix-thin", "--stdin"], Some(pack));
}

#[test]
fn packs_of_two_hundred_commits_on_the_same_files_are_no_larger_than_gits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let repository = history::repository(&path, "sha1");
    let commits = write(&repository, 200);
    let tip = commits[commits.len() - 1];
    git(&path, &["update-ref", "refs/kv/main", &tip.to_string()], None);
    for state in ["loose", "packed"] {
        if state == "packed" {
            git(&path, &["repack", "-adfq"], None);
        }
        let repository = gix::open(&path).unwrap();
        for (number, old) in [Some(130), None].into_iter().enumerate() {
            let old = old.map(|old: usize| commits[old]);
            let ours = pack(&repository, old, tip, THIN);
            let theirs = bytes_of_git(&path, old, tip);
            assert!(
                ours.bytes as usize <= theirs,
                "{state}, {number}: {} bytes, git {theirs}",
                ours.bytes
            );
            if number == 0 {
                assert_arrives(&path, &folder.path().join(state), old, ours.file);
            }
        }
    }
}

#[test]
fn chains_are_as_long_as_gits_at_most_and_the_pack_is_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.git");
    let repository = history::repository(&path, "sha1");
    let commits = write(&repository, 100);
    let whole = Format {
        ofs_delta: true,
        thin: false,
    };
    let written = || {
        let mut pack = pack(&repository, None, commits[commits.len() - 1], whole);
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut pack.file, &mut bytes).unwrap();
        bytes
    };
    let bytes = written();
    assert!(bytes == written(), "the same pack");
    let file = folder.path().join("ours.pack");
    std::fs::write(&file, bytes).unwrap();
    git(&path, &["index-pack", "--strict", file.to_str().unwrap()], None);
    let verified = git(&path, &["verify-pack", "-v", file.to_str().unwrap()], None);
    let depth = |line: &str| {
        let (depth, _) = line.strip_prefix("chain length = ")?.split_once(':')?;
        Some(depth.parse::<usize>().expect("a number"))
    };
    let depths = verified.lines().filter_map(depth);
    let deepest = depths.max().expect("deltas");
    assert!((10..=50).contains(&deepest), "{deepest}");
}
