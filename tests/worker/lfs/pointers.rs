//! Pointers, compared with the real git-lfs.
use support::random::Random;

use super::*;

/// Number of texts that are compared, each in a process of git-lfs.
const TEXTS: usize = 60;

#[test]
fn pointers_are_those_of_git_lfs() {
    for contents in ["a", "a\r\nb\n", "ü\0", &"long ".repeat(10_000)] {
        assert_eq!(pointer(contents).size, contents.len() as u64);
    }
}

/// Returns true if git-lfs takes the text for a pointer.
fn git_lfs_accepts(folder: &Path, text: &str) -> bool {
    let mut command = clean_command("git-lfs");
    command.args(["pointer", "--check", "--stdin"]).current_dir(folder);
    let output = feed(command, text);
    match output.status.code() {
        Some(0) => true,
        Some(1) => false,
        other => panic!("git-lfs: {other:?}: {}", stderr(&output)),
    }
}

/// A pointer with up to three changes.
fn text(random: &mut Random) -> String {
    let oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
    let extension = format!("ext-0-case sha256:{oid}\n");
    let other = format!("ext-1-zip sha256:{oid}\n");
    let mut text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12345\n");
    let changes: [(&str, &str); 22] = [
        ("oid", &format!("{extension}oid")),
        ("size", &format!("{other}size")),
        ("oid", &format!("{other}oid")),
        ("ext-1", "ext-x"),
        ("ext-1", "ext-10"),
        ("-zip", "-"),
        ("git-lfs.github.com/spec/v1", "hawser.github.com/spec/v1"),
        ("https://git-lfs.github.com/spec/v1", "http://git-media.io/v/2"),
        ("/v1", "/v2"),
        ("12345", "0"),
        ("12345", "-1"),
        ("12345", "9223372036854775808"),
        ("12345", "1 2"),
        ("sha256", "sha1"),
        ("2393\nsize", "239\nsize"),
        ("size", "\nsize"),
        ("size 12345\n", ""),
        ("size 12345\n", "size 12345\nsize 12345\n"),
        ("version", " \nversion"),
        ("size", "note x\nsize"),
        ("\n", "\r\n"),
        ("oid ", "oid\t"),
    ];
    for _ in 0..random.below(4) {
        let (from, to) = changes[random.below(changes.len())];
        text = text.replacen(from, to, if from == "\n" { usize::MAX } else { 1 });
    }
    text
}

#[test]
fn a_text_is_a_pointer_if_git_lfs_takes_it_for_one() {
    let folder = tempfile::tempdir().expect("a folder");
    git(folder.path(), ["init", "-q"]);
    let mut random = Random::new(14);
    let mut accepted = 0;
    for _ in 0..TEXTS {
        let text = text(&mut random);
        let expected = git_lfs_accepts(folder.path(), &text);
        assert_eq!(Pointer::parse(text.as_bytes()).is_some(), expected, "{text:?}");
        accepted += usize::from(expected);
    }
    assert!((TEXTS / 6..TEXTS * 5 / 6).contains(&accepted), "{accepted} of {TEXTS}");
}
