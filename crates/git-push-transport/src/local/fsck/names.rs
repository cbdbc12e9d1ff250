//! Names that some file systems take for `.git`, `.gitmodules` and the like: HFS+ ignores some characters, NTFS ignores dots
//! and spaces at the end, has short names, and takes `\` as a separator.

/// A file of git with a meaning of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    Modules,
    Attributes,
    Ignore,
    Mailmap,
}

impl Special {
    pub const ALL: [Special; 4] = [Special::Modules, Special::Attributes, Special::Ignore, Special::Mailmap];

    /// Returns the name without its dot, and the start of its short name on NTFS if `~1` to `~4` are taken.
    fn texts(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Special::Modules => (b"gitmodules", b"gi7eba"),
            Special::Attributes => (b"gitattributes", b"gi7d29"),
            Special::Ignore => (b"gitignore", b"gi250a"),
            Special::Mailmap => (b"mailmap", b"maba30"),
        }
    }

    /// Returns true if a file system may take `name` for this file.
    pub fn is(self, name: &[u8]) -> bool {
        is_hfs(name, self.texts().0) || self.is_ntfs(name)
    }

    /// The same for NTFS alone.
    pub fn is_ntfs(self, name: &[u8]) -> bool {
        let (full, fallback) = self.texts();
        let lower = name.to_ascii_lowercase();
        let dotted = lower.strip_prefix(b".").and_then(|rest| rest.strip_prefix(full));
        let short = lower
            .strip_prefix(&full[..6])
            .and_then(|rest| rest.strip_prefix(b"~"))
            .and_then(|rest| rest.split_first().filter(|(digit, _)| (b'1'..=b'4').contains(*digit)));
        let rest = dotted
            .or(short.map(|(_, rest)| rest))
            .or_else(|| after_fallback(&lower, fallback));
        rest.is_some_and(|rest| is_padding(rest, b":"))
    }
}

/// Returns the rest after a short name of 8 characters: a start of `prefix`, a tilde, a number without leading zero.
fn after_fallback<'a>(lower: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (short, rest) = lower.split_at_checked(8)?;
    let tilde = short.iter().position(|byte| *byte == b'~')?;
    let (start, number) = (&short[..tilde], &short[tilde + 1..]);
    let is_number =
        number.first().is_some_and(|digit| (b'1'..=b'9').contains(digit)) && number.iter().all(u8::is_ascii_digit);
    (prefix.starts_with(start) && is_number).then_some(rest)
}

/// Returns true if a file system may take `name` for `.git`.
pub(super) fn is_dot_git(name: &[u8]) -> bool {
    is_hfs(name, b"git") || is_ntfs_dot_git(name)
}

/// The same for NTFS alone.
pub(super) fn is_ntfs_dot_git(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    let rest = lower.strip_prefix(b".git").or_else(|| lower.strip_prefix(b"git~1"));
    rest.is_some_and(|rest| is_padding(rest, b":/\\"))
}

/// Returns true for dots and spaces up to the end or to one of `ends`.
fn is_padding(rest: &[u8], ends: &[u8]) -> bool {
    let other = rest.iter().find(|byte| !b" .".contains(byte));
    other.is_none_or(|byte| ends.contains(byte))
}

/// Returns true if HFS+ takes `name` for `.` and `plain`, which has lowercase letters.
fn is_hfs(name: &[u8], plain: &[u8]) -> bool {
    // What is no character ends the name, as in git, if all before it matches.
    let valid = match std::str::from_utf8(name) {
        Ok(name) => name,
        Err(error) => std::str::from_utf8(&name[..error.valid_up_to()]).unwrap_or_default(),
    };
    let characters = valid
        .chars()
        .take_while(|char| !matches!(char, '\u{fffe}' | '\u{ffff}'));
    let mut seen = characters.filter(|char| !is_ignored_by_hfs(*char));
    let mut plain = [b"."].into_iter().flatten().chain(plain);
    let matches = plain.all(|byte| {
        seen.next()
            .is_some_and(|char| char.to_ascii_lowercase() == char::from(*byte))
    });
    matches && seen.next().is_none_or(|char| char == '/')
}

fn is_ignored_by_hfs(char: char) -> bool {
    matches!(char, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_git_are_known_in_every_disguise() {
        for name in [
            ".git",
            ".GIT",
            ".git ",
            ".git...",
            "git~1",
            "GIT~1 .",
            ".git::$INDEX_ALLOCATION",
            ".git\\x",
            ".g\u{200c}it",
            "\u{feff}.git",
        ] {
            assert!(is_dot_git(name.as_bytes()), "{name}");
        }
        for name in ["git", ".gitx", "git~2", ".gi\u{200b}t", "x.git", ".git~1"] {
            assert!(!is_dot_git(name.as_bytes()), "{name}");
        }
        for name in [
            ".gitmodules",
            ".GitModules",
            ".gitmodules .",
            ".gitmodules:x",
            "gitmod~1",
            "GITMOD~4",
            "gi7eba~1",
            "gi7eb~10",
            "gi~12345",
            ".gitm\u{200d}odules",
        ] {
            assert!(Special::Modules.is(name.as_bytes()), "{name}");
        }
        for name in [
            "gitmodules",
            ".gitmodulesx",
            "gitmod~5",
            "gi7eba~0",
            "gi7ebb~1",
            "gi7eba~",
            ".gitattributes",
        ] {
            assert!(!Special::Modules.is(name.as_bytes()), "{name}");
        }
    }
}
