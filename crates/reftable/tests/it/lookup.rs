//! The cost of look-ups, in reads and bytes.

use std::sync::OnceLock;

use git_reftable::bstr::BStr;
use git_reftable::gix_hash::Kind;

use crate::git::{Commands, Repo};
use crate::source::counted;

const REFS: usize = 100_000;
const BLOCK: u64 = 4096;

fn name(n: usize) -> String {
    format!("refs/heads/group-{:03}/topic-{n:06}", n / 1000)
}

/// A repository with a table of 100,000 refs and a small table on top of it.
fn large() -> &'static Repo {
    static LARGE: OnceLock<Repo> = OnceLock::new();
    LARGE.get_or_init(make_large)
}

fn make_large() -> Repo {
    let repo = Repo::new(Kind::Sha1);
    repo.config("core.logAllRefUpdates", "false");
    let commits = &repo.objects().commits;
    let mut commands = Commands::default();
    for n in 0..REFS {
        commands.set(name(n).as_str(), commits[n % commits.len()]);
    }
    repo.update(&commands);
    repo.git(["pack-refs", "--all"]);
    repo.update(Commands::default().set(name(5).as_str(), commits[0]));
    repo
}

#[test]
fn a_look_up_in_100_000_refs_reads_a_block_per_level() {
    let repo = large();
    let names = repo.tables();
    let base = &names[..1];
    let (stack, reads) = counted(&repo.folder(), base, Kind::Sha1);
    let (_, bytes) = reads.take();
    assert!(
        bytes <= 2 * BLOCK,
        "opening reads header, footer, and the first type: {bytes} bytes"
    );

    let size = std::fs::metadata(repo.folder().join(&base[0])).unwrap().len();
    let leaves = size / BLOCK;
    assert!(leaves > 500, "the table is large: {leaves} blocks");
    // 500 leaves and more need two levels of index blocks: the root level, of up to three blocks, and one below.
    let mut worst = 0;
    for n in (0..REFS).step_by(97) {
        for (name, exists) in [(name(n), true), (name(n) + "x", false)] {
            let found = stack.find(name.as_str()).unwrap();
            assert_eq!(found.is_some(), exists, "{name}");
            let (count, bytes) = reads.take();
            assert!(
                count <= 5 && bytes <= count * BLOCK,
                "{name}: {count} reads, {bytes} bytes"
            );
            worst = worst.max(count);
        }
    }
    assert!(worst >= 2, "an index and a leaf are read: {worst}");
    for absent in ["A", "refs/heads/h", "z"] {
        assert_eq!(stack.find(absent).unwrap(), None);
        assert!(reads.take().0 <= 5, "{absent}");
    }

    let (stack, reads) = counted(&repo.folder(), &names, Kind::Sha1);
    reads.take();
    assert!(stack.find(name(5).as_str()).unwrap().is_some());
    assert_eq!(
        reads.take().0,
        1,
        "what the newest table has is not looked for in older ones"
    );
    assert!(stack.find(name(6).as_str()).unwrap().is_some());
    assert!(reads.take().0 <= names.len() as u64 + 5);
}

#[test]
fn a_prefix_reads_its_own_blocks_and_a_full_iteration_each_block_once() {
    let repo = large();
    let (stack, reads) = counted(&repo.folder(), &repo.tables(), Kind::Sha1);
    reads.take();
    let prefix = "refs/heads/group-050/topic-05000";
    assert_eq!(stack.iter_prefix(BStr::new(prefix)).unwrap().count(), 10);
    let (count, _) = reads.take();
    assert!(count <= 8, "{count} reads for ten refs in a row");

    assert_eq!(stack.iter().unwrap().map(Result::unwrap).count(), REFS + 1);
    let (_, bytes) = reads.take();
    let size: u64 = repo
        .tables()
        .iter()
        .map(|name| std::fs::metadata(repo.folder().join(name)).unwrap().len())
        .sum();
    assert!(bytes <= size, "{bytes} bytes read of {size}");
}
