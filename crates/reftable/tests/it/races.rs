//! A reader beside writers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use git_reftable::bstr::{BString, ByteSlice};
use git_reftable::gix_hash::Kind;
use git_reftable::{Stack, Value};

use crate::git::{Commands, Repo, refs};

const TRANSACTIONS: usize = 60;
const STABLE: usize = 300;

fn name(n: usize) -> BString {
    format!("refs/heads/new/{n:04}").into()
}

/// Sets the flag also when the writer panics, so that the readers end.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Adds a ref and rewrites another one in each transaction, and compacts everything from time to time.
fn write(repo: &Repo, written: &AtomicUsize) {
    let commits = &repo.objects().commits;
    for n in 0..TRANSACTIONS {
        let id = commits[n % commits.len()];
        repo.update(
            Commands::default()
                .set(name(n).as_bstr(), id)
                .set("refs/heads/moving", id),
        );
        written.store(n + 1, SeqCst);
        if n % 7 == 6 {
            repo.git(["pack-refs", "--all"]);
        }
    }
}

/// Checks that the stack is consistent and that nothing written before it was read is missing.
fn check(repo: &Repo, stack: &Stack, written_before: usize) {
    let commits = &repo.objects().commits;
    let all = refs(stack);
    for n in 0..STABLE {
        let name = BString::from(format!("refs/heads/stable/{n}"));
        assert_eq!(
            all.get(&name),
            Some(&Value::Id(commits[0])),
            "{name} of {written_before}"
        );
    }
    let new = (0..).take_while(|n| all.contains_key(&name(*n))).count();
    assert!(
        new >= written_before,
        "{new} refs are there, {written_before} had been written"
    );
    assert_eq!(
        all.len(),
        1 + STABLE + new + usize::from(new > 0),
        "refs come in the order in which they were written"
    );
    if let Some(last) = new.checked_sub(1) {
        let moving = &all["refs/heads/moving".as_bytes().as_bstr()];
        assert_eq!(
            *moving,
            Value::Id(commits[last % commits.len()]),
            "one transaction is seen as a whole"
        );
        assert_eq!(stack.find(name(last).as_bstr()).unwrap().unwrap().value, *moving);
    }
}

#[test]
fn a_reader_beside_a_writer_never_fails_and_never_misses_a_ref() {
    for hash in [Kind::Sha1, Kind::Sha256] {
        let repo = Repo::new(hash);
        let mut stable = Commands::default();
        for n in 0..STABLE {
            stable.set(format!("refs/heads/stable/{n}").as_str(), repo.objects().commits[0]);
        }
        repo.update(&stable);
        let (written, done) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _done = Done(&done);
                write(&repo, &written);
            });
            let mut kept = repo.stack();
            while !done.load(SeqCst) {
                let before = written.load(SeqCst);
                check(&repo, &repo.stack(), before);
                let before = written.load(SeqCst);
                kept.refresh().unwrap();
                check(&repo, &kept, before);
            }
        });
        assert_eq!(written.load(SeqCst), TRANSACTIONS);
        check(&repo, &repo.stack(), TRANSACTIONS);
    }
}
