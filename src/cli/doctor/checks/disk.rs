//! File systems of a repository: local, writable, and with room for pushes.
//!
//! `git gc` in the hints keeps unreachable objects, because a pending entry can name one.
use super::{
    check::{Check, Name, Verdict},
    commands::{Commands, quoted},
};

/// Free bytes below which pushes are about to fail.
const FEW_BYTES: u64 = 32 << 20;
/// Free bytes below which a large push may fail, if that is also a small part of the disk.
const SHORT_BYTES: u64 = 1 << 30;
/// Free inodes below which pushes are about to fail.
const FEW_FILES: u64 = 500;
/// Free inodes below which many pushes may fail, if that is also a small part of the disk.
const SHORT_FILES: u64 = 20_000;
/// Divisor of a small part of a disk: 5 %.
const SMALL_PART: u64 = 20;

/// Facts about the file system of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFacts {
    /// The folder.
    pub folder: String,
    /// Kind of network file system, if it is one.
    pub network: Option<&'static str>,
    /// True if `stargate.allowNfs` accepts a network file system.
    pub allows_network: bool,
    /// True if it is mounted read-only.
    pub is_read_only: bool,
    /// Bytes that are free for users.
    pub free_bytes: u64,
    /// All bytes.
    pub all_bytes: u64,
    /// Inodes that are free for users.
    pub free_files: u64,
    /// All inodes; zero if the file system does not limit them.
    pub all_files: u64,
}

/// Checks one file system.
pub fn checks(facts: &DiskFacts, commands: &Commands) -> Vec<Check> {
    let found = [
        network(facts, commands),
        read_only(facts),
        bytes(facts, commands),
        files(facts, commands),
    ];
    let found: Vec<Check> = found.into_iter().flatten().collect();
    if !found.is_empty() {
        return found;
    }
    let free = format!("{} free at {}", shown_bytes(facts.free_bytes), facts.folder);
    vec![Check::new(Name::Disk, Verdict::Ok, free)]
}

fn network(facts: &DiskFacts, commands: &Commands) -> Option<Check> {
    let (folder, kind) = (&facts.folder, facts.network?);
    let unreliable = format!("{folder} is on {kind}, where file locks are unreliable");
    if facts.allows_network {
        let found =
            format!("{unreliable}: concurrent writers could corrupt the journal (stargate.allowNfs accepts that)");
        let hint = format!(
            "move the repository to a local disk, then run {}",
            commands.unset("stargate.allowNfs")
        );
        return Some(Check::new(Name::Disk, Verdict::Warning, found).hint(hint));
    }
    let hint = format!(
        "move the repository to a local disk, or accept the risk with {}",
        commands.set("stargate.allowNfs", "true")
    );
    let found = format!("{unreliable}: the hook rejects pushes");
    Some(Check::new(Name::Disk, Verdict::Problem, found).hint(hint))
}

fn read_only(facts: &DiskFacts) -> Option<Check> {
    let folder = &facts.folder;
    let hint = format!(
        "look for the reason in `dmesg` (the kernel does this after a disk error), then run `mount -o \
         remount,rw \"$(findmnt -no TARGET --target {})\"`",
        quoted(folder)
    );
    let found = format!("{folder} is on a file system that is mounted read-only: pushes are rejected");
    facts
        .is_read_only
        .then(|| Check::new(Name::Disk, Verdict::Problem, found).hint(hint))
}

fn bytes(facts: &DiskFacts, commands: &Commands) -> Option<Check> {
    let free = facts.free_bytes;
    let is_short = free < SHORT_BYTES && free < facts.all_bytes / SMALL_PART;
    let verdict = verdict(free < FEW_BYTES, is_short)?;
    let found = format!("only {} are free at {}", shown_bytes(free), facts.folder);
    let hint = format!(
        "find large folders with `du -xh -d 2 {}`, and free space; {} packs the objects",
        quoted(commands.repository()),
        commands.git("gc --no-prune")
    );
    Some(Check::new(Name::Disk, verdict, found).hint(hint))
}

fn files(facts: &DiskFacts, commands: &Commands) -> Option<Check> {
    let (free, all) = (facts.free_files, facts.all_files);
    let is_short = free < SHORT_FILES && free < all / SMALL_PART;
    let verdict = verdict(free < FEW_FILES, is_short).filter(|_| all > 0)?;
    let found = format!("only {free} inodes are free at {}", facts.folder);
    let hint = format!("pack loose objects and refs: {}", commands.git("gc --no-prune"));
    Some(Check::new(Name::Disk, verdict, found).hint(hint))
}

fn verdict(is_problem: bool, is_warning: bool) -> Option<Verdict> {
    if is_problem {
        Some(Verdict::Problem)
    } else {
        is_warning.then_some(Verdict::Warning)
    }
}

/// Returns a number of bytes in a unit that a person reads.
pub fn shown_bytes(bytes: u64) -> String {
    match bytes {
        0..=0xfffff => format!("{} KiB", bytes >> 10),
        0x10_0000..=0x3fff_ffff => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn large() -> DiskFacts {
        DiskFacts {
            folder: "/srv/git/r.git".into(),
            network: None,
            allows_network: false,
            is_read_only: false,
            free_bytes: 50 << 30,
            all_bytes: 100 << 30,
            free_files: 1 << 20,
            all_files: 1 << 22,
        }
    }

    #[test]
    fn a_disk_that_fails_pushes_is_a_problem_and_a_short_one_is_a_warning() {
        let commands = Commands::new("", Path::new("/srv/git/r.git"));
        type Plant = fn(&mut DiskFacts);
        let cases: [(Plant, Verdict, &str, &str); 10] = [
            (|_| {}, Verdict::Ok, "50.0 GiB free", ""),
            (
                |facts| facts.network = Some("NFS"),
                Verdict::Problem,
                "on NFS",
                "stargate.allowNfs true`",
            ),
            (
                |facts| (facts.network, facts.allows_network) = (Some("SMB2"), true),
                Verdict::Warning,
                "on SMB2",
                "--unset-all stargate.allowNfs`",
            ),
            (
                |facts| facts.is_read_only = true,
                Verdict::Problem,
                "mounted read-only",
                "remount,rw",
            ),
            (
                |facts| facts.free_bytes = 5 << 20,
                Verdict::Problem,
                "only 5 MiB",
                " gc --no-prune`",
            ),
            (
                |facts| facts.free_bytes = 900 << 20,
                Verdict::Warning,
                "only 900 MiB",
                "`du -xh",
            ),
            // A small disk that is rather empty.
            (
                |facts| (facts.free_bytes, facts.all_bytes) = (600 << 20, 1 << 30),
                Verdict::Ok,
                "600 MiB free",
                "",
            ),
            (
                |facts| facts.free_files = 7,
                Verdict::Problem,
                "only 7 inodes",
                " gc --no-prune`",
            ),
            (
                |facts| facts.free_files = 9_000,
                Verdict::Warning,
                "only 9000 inodes",
                " gc --no-prune`",
            ),
            // btrfs has no limit.
            (
                |facts| (facts.free_files, facts.all_files) = (0, 0),
                Verdict::Ok,
                "free",
                "",
            ),
        ];
        for (plant, verdict, found, hint) in cases {
            let mut facts = large();
            plant(&mut facts);
            let checks = checks(&facts, &commands);
            let [check] = &checks[..] else {
                panic!("one check: {checks:?}")
            };
            assert_eq!(check.verdict, verdict, "{check:?}");
            assert!(check.found.contains(found), "{check:?}");
            assert!(check.hint.clone().unwrap_or_default().contains(hint), "{check:?}");
        }
    }
}
