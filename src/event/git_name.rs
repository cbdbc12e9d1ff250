//! Names that git reserves, on any file system.
//!
//! A folder with such a name blocks a repository: `git fsck` reports the tree as an error, and a remote with
//! `receive.fsckObjects` refuses every later push. The rules are those of git's `fsck.c`, `path.c` (NTFS) and `utf8.c` (HFS+).
use bstr::{BStr, ByteSlice};
use gix::validate::path::component;

/// Files that git reads from a tree, except `.git` and `.gitmodules`, which the library handles. Each has the prefix of
/// the short name that NTFS gives it when `~1` to `~4` are taken.
const FILES: [(&str, &str); 3] = [
    ("gitattributes", "gi7d29"),
    ("gitignore", "gi250a"),
    ("mailmap", "maba30"),
];

/// Returns true if git treats `name`, one component of a path, as `.git`, `.gitmodules`, `.gitattributes`, `.gitignore` or
/// `.mailmap`.
pub fn is_of_git(name: &BStr) -> bool {
    let options = component::Options {
        protect_windows: false,
        protect_hfs: true,
        protect_ntfs: true,
    };
    // The library looks for `.gitmodules` among symbolic links only; git's fsck looks everywhere.
    let checked = component(name, Some(component::Mode::Symlink), options);
    let is_known = matches!(
        checked,
        Err(component::Error::DotGitDir | component::Error::SymlinkedGitModules)
    );
    is_known
        || FILES
            .iter()
            .any(|(file, short)| is_on_hfs(name, file) || is_on_ntfs(name, file, short))
}

/// Returns true if `name` is `.file` on HFS+.
fn is_on_hfs(name: &BStr, file: &str) -> bool {
    let mut seen = name.chars().filter(|point| !is_ignored_by_hfs(*point));
    seen.next() == Some('.') && seen.map(|point| point.to_ascii_lowercase()).eq(file.chars())
}

/// Code points that HFS+ ignores when it compares names (Apple's Technical Note TN1150).
fn is_ignored_by_hfs(point: char) -> bool {
    matches!(point, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

/// Returns true if `name` is `.file` on NTFS: its long name, a numbered short name, or a hashed short name.
fn is_on_ntfs(name: &[u8], file: &str, short: &str) -> bool {
    let long = name.strip_prefix(b".").and_then(|rest| after(rest, file));
    let numbered = after(name, &file[..6]).and_then(|rest| match rest {
        [b'~', b'1'..=b'4', rest @ ..] => Some(rest),
        _ => None,
    });
    let rests = [long, numbered, after_hashed(name, short)];
    rests.into_iter().flatten().any(is_end_on_ntfs)
}

/// Returns the rest of `name` after `prefix`, ignoring case.
fn after<'a>(name: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let (head, rest) = name.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix.as_bytes()).then_some(rest)
}

/// Returns the rest of `name` after eight bytes that consist of a prefix of `short`, a tilde and a number.
fn after_hashed<'a>(name: &'a [u8], short: &str) -> Option<&'a [u8]> {
    let (head, rest) = name.split_at_checked(8)?;
    let tilde = head.find_byte(b'~')?;
    let begins = short.as_bytes().get(..tilde)?.eq_ignore_ascii_case(&head[..tilde]);
    let digits = &head[tilde + 1..];
    let is_number = matches!(digits.first(), Some(b'1'..=b'9')) && digits.iter().all(u8::is_ascii_digit);
    (begins && is_number).then_some(rest)
}

/// Returns true if NTFS ignores this end of a name: blanks and dots, up to the name of a stream.
fn is_end_on_ntfs(rest: &[u8]) -> bool {
    let end = rest.iter().find(|byte| !b". ".contains(byte));
    end.is_none_or(|byte| *byte == b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_git_are_known_in_every_disguise() {
        for name in [
            ".git",
            ".GIT",
            "git~1",
            ".gitmodules",
            ".GITMODULES",
            "gitmod~1",
            "GITMOD~4",
            "gi7eba~1",
            "~1000000",
            ".gitattributes",
            ".GitAttributes . ",
            "gitatt~2",
            "gi7d29~9",
            "GI7D2~10",
            "gi7d~123",
            ".gitignore",
            ".git\u{200c}ignore",
            "\u{feff}.GITIGNORE\u{202e}",
            "gitign~3",
            "gi250a~1..",
            ".mailmap",
            ".mailmap:x",
            "mailma~1",
            "MABA30~1",
            ".gitignore::$DATA",
        ] {
            assert!(is_of_git(name.into()), "{name:?}");
        }
        for name in [
            "",
            ".",
            "git",
            "gitmodules",
            ".gitmodule",
            ".gitmodules.json",
            ".gitkeep",
            "gitmod~5",
            "gitmod~0",
            "gitmod~1x",
            "gi7d29~",
            "gi7d29~0",
            "gi7d29x~1",
            "gi7d30~1",
            "~0000000",
            "~100000",
            "mailmap",
            "mailma~",
            ".mailmaps",
            "a.gitignore",
            ".gitignore\u{200b}",
            ". gitignore",
        ] {
            assert!(!is_of_git(name.into()), "{name:?}");
        }
    }
}
