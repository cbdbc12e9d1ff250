//! Description of LFS objects that the mirror lacks and the Stargate does not have.
use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;
use gix::ObjectId;

use super::{carrier::Alone, scan::Place};
use crate::lfs_pointer::Pointer;

/// Number of objects that a message names.
const MAX_NAMED: usize = 5;

/// Lines about objects.
pub(super) struct Lacked {
    /// A line for each object, and one for those beyond [`MAX_NAMED`].
    pub(super) lines: Vec<String>,
    /// All refs that need some, each with the lines of its objects.
    pub(super) by_ref: Alone,
}

/// Describes these objects, at most [`MAX_NAMED`] of them, also for each ref with the pointers that it adds. `place` finds the
/// place of a pointer, which takes time.
pub(super) fn described(
    objects: &BTreeMap<Pointer, ObjectId>,
    refs: &[(BString, BTreeSet<Pointer>)],
    place: impl Fn(ObjectId) -> Option<Place>,
) -> Lacked {
    let with_place = |(number, (pointer, blob)): (usize, (&Pointer, &ObjectId))| {
        let place = (number < MAX_NAMED).then(|| place(*blob)).flatten();
        (pointer.clone(), line(pointer, *blob, place))
    };
    let lines: Vec<_> = objects.iter().enumerate().map(with_place).collect();
    let of_ref = |pointers: &BTreeSet<Pointer>| {
        let own = lines.iter().filter(|(pointer, _)| pointers.contains(pointer));
        summary(own.map(|(_, line)| line))
    };
    let by_ref = refs.iter().map(|(name, pointers)| (name.clone(), of_ref(pointers)));
    Lacked {
        by_ref: by_ref.filter(|(_, lines)| !lines.is_empty()).collect(),
        lines: summary(lines.iter().map(|(_, line)| line)),
    }
}

fn line(Pointer { oid, size }: &Pointer, blob: ObjectId, place: Option<Place>) -> String {
    let shown = match place {
        Some(Place { path, commit }) => format!("{path} in commit {commit}"),
        None => format!("the blob {blob}"),
    };
    format!("LFS object {oid} ({size} bytes) of {shown} is missing")
}

/// Returns the first lines, and the number of the others.
fn summary<'a>(lines: impl Iterator<Item = &'a String>) -> Vec<String> {
    let all: Vec<_> = lines.collect();
    let mut some: Vec<_> = all.iter().take(MAX_NAMED).map(|line| (*line).clone()).collect();
    if all.len() > MAX_NAMED {
        some.push(format!("{} more LFS objects are missing", all.len() - MAX_NAMED));
    }
    some
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ref_that_needs_an_object_is_named_however_many_there_are() {
        let pointer = |number: u8| {
            let text = format!(
                "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 7\n",
                format!("{number:02x}").repeat(32)
            );
            Pointer::parse(text.as_bytes()).expect("a pointer")
        };
        let objects = (0..9).map(|number| (pointer(number), ObjectId::Sha1([number; 20])));
        let refs = [
            ("refs/heads/all", (0..9).collect::<Vec<_>>()),
            ("refs/heads/last", vec![8]),
            ("refs/heads/none", vec![77]),
        ];
        let refs = refs.map(|(name, numbers)| (name.into(), numbers.into_iter().map(pointer).collect()));
        let place = |blob: ObjectId| {
            assert!(blob < ObjectId::Sha1([5; 20]), "few are looked up");
            Some(Place {
                path: "a.bin".into(),
                commit: blob,
            })
        };
        let lacked = described(&objects.collect(), &refs, place);
        assert_eq!(lacked.lines.len(), MAX_NAMED + 1);
        assert!(lacked.lines[0].contains("a.bin in commit"), "{:?}", lacked.lines);
        assert_eq!(lacked.lines[5], "4 more LFS objects are missing");
        let names: Vec<_> = lacked.by_ref.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["refs/heads/all", "refs/heads/last"]);
        assert_eq!(lacked.by_ref[&BString::from("refs/heads/all")], lacked.lines);
        let last = &lacked.by_ref[&BString::from("refs/heads/last")];
        assert!(last.len() == 1 && last[0].contains("of the blob 0808"), "{last:?}");
    }
}
