//! Search for LFS pointers of a push whose objects the Stargate does not have.
//!
//! The work is bounded, so that the pusher does not wait for it: only objects that take little space are read, and at most
//! [`MAX_READ`] of them, from the end of a pack, where git puts blobs.
//!
//! # Limitations
//!
//! Only new objects are looked at, not those that another ref already had. The worker looks at everything that the mirror lacks.
use std::path::Path;

use bstr::ByteSlice;
use durable::clock::Clock;
use gix::objs::{Find, FindHeader, Kind};

use super::{hook_output::HookOutput, new_objects::Stored};
use crate::{
    config::{Config, LfsSetting, Mirrors},
    journal::Draft,
    lfs_pointer::{MAX_POINTER, Pointer},
};

/// Maximum number of objects that are read.
const MAX_READ: usize = 1_000;
/// Largest stored size of a pointer: deflate adds at most a few bytes.
const MAX_STORED: u64 = MAX_POINTER + 64;

/// What happens to refs whose LFS objects are missing, unless the mirror has the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Consequence {
    /// They are mirrored without the objects.
    Alone,
    /// They wait.
    Wait,
}

/// Warns the pusher of LFS objects that the Stargate does not have, if a mirror of these refs needs them.
pub(super) fn warn_of_missing(
    new: &[Stored],
    objects: &gix::odb::Handle,
    (git_dir, mirrors, drafts): (&Path, &Mirrors, &[Draft]),
    output: &mut HookOutput<impl Clock>,
) {
    let own = git_dir.join("lfs/objects");
    let concerns = |mirror: &&Config| {
        // An LFS server that has the objects is not asked: that would take time.
        let is_known = mirror.lfs != LfsSetting::Off && mirror.lfs_url.is_none();
        is_known
            && drafts
                .iter()
                .any(|draft| mirror.refs.matches(draft.update.name.as_bstr()))
    };
    let concerned: Vec<&Config> = mirrors.each.iter().filter(concerns).collect();
    if concerned.is_empty() {
        return;
    }
    let pointers = pointers(new, objects);
    let mut worst: Option<(Consequence, Vec<&Pointer>)> = None;
    for mirror in concerned {
        let missing: Vec<&Pointer> = pointers
            .iter()
            .filter(|pointer| is_missing(pointer, mirror, &own))
            .collect();
        let consequence = consequence(mirror, &own);
        if !missing.is_empty() && worst.as_ref().is_none_or(|(known, _)| *known < consequence) {
            worst = Some((consequence, missing));
        }
    }
    if let Some((consequence, missing)) = worst {
        output.tell_pusher(&message(consequence, &missing));
    }
}

/// Returns the pointers among new objects. Skips objects that it cannot read, because the result is only a warning.
fn pointers(new: &[Stored], objects: &gix::odb::Handle) -> Vec<Pointer> {
    let mut buffer = Vec::new();
    let mut pointer = |stored: &Stored| {
        let header = objects.try_header(&stored.id).ok()??;
        if header.kind != Kind::Blob || header.size > MAX_POINTER {
            return None;
        }
        Pointer::parse(objects.try_find(&stored.id, &mut buffer).ok()??.data)
    };
    let small = new.iter().rev().filter(|stored| stored.size <= MAX_STORED);
    let mut found: Vec<Pointer> = small.take(MAX_READ).filter_map(&mut pointer).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Returns true if no folder has the object. A folder that cannot be read may have it.
fn is_missing(pointer: &Pointer, mirror: &Config, own: &Path) -> bool {
    let paths = pointer.oid.paths(own, mirror.lfs_store.as_deref());
    paths.iter().all(|path| matches!(path.try_exists(), Ok(false)))
}

/// Returns what the worker does with refs whose objects are missing (see `lfs::carrier`).
fn consequence(mirror: &Config, own: &Path) -> Consequence {
    let has_source = mirror.lfs_store.is_some() || !matches!(own.try_exists(), Ok(false));
    if mirror.lfs == LfsSetting::Require || has_source {
        Consequence::Wait
    } else {
        Consequence::Alone
    }
}

fn message(consequence: Consequence, missing: &[&Pointer]) -> String {
    let first = missing.first().map(|pointer| pointer.oid.as_str()).unwrap_or_default();
    let (count, it) = match missing.len() {
        1 => (format!("1 LFS object of this push ({first}) is"), "it"),
        several => (
            format!("{several} LFS objects of this push (the first is {first}) are"),
            "them",
        ),
    };
    match consequence {
        Consequence::Wait => format!(
            "{count} not on this server: unless the mirror has {it}, the refs wait until `git lfs push --all` sends {it} here"
        ),
        Consequence::Alone => {
            format!("{count} not on this server: unless the mirror has {it}, the refs are mirrored without {it}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_with_a_source_waits_and_one_without_goes_alone() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("lfs/objects");
        let config = |lfs, store: Option<&str>| Config {
            lfs,
            lfs_store: store.map(Into::into),
            ..Config::default()
        };
        assert_eq!(consequence(&config(LfsSetting::Auto, None), &own), Consequence::Alone);
        assert_eq!(consequence(&config(LfsSetting::Require, None), &own), Consequence::Wait);
        assert_eq!(
            consequence(&config(LfsSetting::Auto, Some("/s")), &own),
            Consequence::Wait
        );
        std::fs::create_dir_all(&own).unwrap();
        assert_eq!(consequence(&config(LfsSetting::Auto, None), &own), Consequence::Wait);
    }

    #[test]
    fn the_message_names_number_and_first_object() {
        let pointer = |digit: &str| Pointer {
            oid: digit.repeat(64).parse().unwrap(),
            size: 1,
        };
        let (a, b) = (pointer("a"), pointer("b"));
        let one = message(Consequence::Alone, &[&a]);
        assert!(
            one.starts_with("1 LFS object of this push (aaaa") && one.ends_with("mirrored without it"),
            "{one}"
        );
        let two = message(Consequence::Wait, &[&a, &b]);
        assert!(
            two.starts_with("2 LFS objects of this push (the first is aaaa"),
            "{two}"
        );
        assert!(
            two.contains("the refs wait until `git lfs push --all` sends them here"),
            "{two}"
        );
    }
}
