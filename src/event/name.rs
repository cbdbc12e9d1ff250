//! PURE: names of files and folders that are plain on every system and harmless in a Git repository.
use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use bstr::ByteSlice;
use gix::validate::path::component;

use super::is_of_git;

/// The longest id that names a file or a folder, in bytes.
pub const MAX_NAME: usize = 200;

/// A name whose case does not count: names that are equal are one file on macOS and Windows.
#[derive(Debug, Clone)]
pub struct Folded(pub Arc<str>);

impl Folded {
    fn characters(&self) -> impl Iterator<Item = char> {
        self.0.chars().map(|char| {
            let upper = single(char, char.to_uppercase());
            single(upper, upper.to_lowercase())
        })
    }
}

/// Returns the only character of `mapped`, or else `char`.
fn single(char: char, mut mapped: impl Iterator<Item = char>) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(only), None) => only,
        _ => char,
    }
}

impl PartialEq for Folded {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.characters().eq(other.characters())
    }
}

impl Eq for Folded {}

impl fmt::Display for Folded {
    /// Writes the name without its case: the same text for names that are equal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.characters().try_for_each(|char| write!(f, "{char}"))
    }
}

impl Hash for Folded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.characters().for_each(|char| char.hash(state));
    }
}

/// Characters that some system forbids in names (Windows, *Naming Files, Paths, and Namespaces*).
const RESERVED: &[char] = &['/', '\\', '<', '>', ':', '"', '|', '?', '*'];

/// Checks that `name` is a plain file name on every system and harmless in a Git repository.
///
/// # Errors
/// The reason why it is not.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let ntfs_and_hfs = component::Options {
        protect_windows: true,
        protect_hfs: true,
        protect_ntfs: true,
    };
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    match name {
        "" => Err("is empty"),
        _ if name.len() > MAX_NAME => Err("is longer than 200 bytes"),
        _ if name.contains(char::is_control) => Err("has a control character"),
        _ if name.contains(RESERVED) => Err(r#"has one of / \ < > : " | ? *"#),
        _ if name.ends_with(['.', ' ']) => Err("ends with a dot or a space"),
        _ if is_device(stem) => Err("is a reserved device name"),
        _ if is_of_git(name.into()) => Err("is a name that git reserves"),
        _ => match component(name.as_bytes().as_bstr(), None, ntfs_and_hfs) {
            Ok(_) => Ok(()),
            Err(_) => Err("is not a plain file name"),
        },
    }
}

/// Returns true for names that Windows reserves for devices, with any extension.
fn is_device(stem: &str) -> bool {
    let stem = stem.to_ascii_uppercase();
    let numbered = |name: &str| matches!(stem.strip_prefix(name), Some(rest) if rest.chars().count() == 1 && rest.contains(|c| "0123456789¹²³".contains(c)));
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&stem.as_str()) || numbered("COM") || numbered("LPT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_alone_makes_no_other_file() {
        let folded = |name: &str| Folded(name.into());
        for (one, other) in [("E-1", "e-1"), ("GRÜSSE", "grüsse"), ("ΣΑΣ", "σας")] {
            assert_eq!(folded(one), folded(other));
        }
        for (one, other) in [("e-1", "e-2"), ("straße", "STRASSE"), ("a", "ä")] {
            assert_ne!(folded(one), folded(other));
        }
    }

    #[test]
    fn names_that_are_not_plain_everywhere_are_refused() {
        let long = "x".repeat(MAX_NAME + 1);
        let refused = [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "../a",
            ".git",
            ".GIT",
            ".Git ",
            "git~1",
            ".gitmodules",
            "GITMOD~1",
            ".gitattributes",
            ".git\u{200d}ignore",
            ".mailmap",
            ".g\u{200c}it",
            "CON",
            "nul",
            "aux.txt",
            "com1",
            "LPT9.x",
            "COM¹",
            "a.",
            "a ",
            "a\nb",
            "a\0",
            "a\u{7f}",
            "a:b",
            "a*",
            "a?",
            "a|b",
            "<a",
            "a\"",
            &long,
        ];
        for name in refused {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in [
            "a",
            "01JBAXF5Z8J8M7R2TK7G9QW3EN",
            "a.b-c_d",
            "grüße",
            "console",
            "com10",
            &long[1..],
        ] {
            assert_eq!(check_name(name), Ok(()), "{name:?}");
        }
    }
}
