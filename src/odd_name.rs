//! PURE: names that a person or a file system may confuse with another name. They are allowed; `doctor` and
//! `check append-only` report them.
use std::fmt;

use bstr::{BStr, BString, ByteSlice};

/// Code points that change the direction of text: the property `Bidi_Control` (Unicode 16.0, `PropList.txt`).
const BIDI: &[(u32, u32)] = &[(0x061c, 0x061c), (0x200e, 0x200f), (0x202a, 0x202e), (0x2066, 0x2069)];
/// Invisible code points: the property `Default_Ignorable_Code_Point` (Unicode 16.0, `DerivedCoreProperties.txt`).
const INVISIBLE: &[(u32, u32)] = &[
    (0x00ad, 0x00ad),
    (0x034f, 0x034f),
    (0x061c, 0x061c),
    (0x115f, 0x1160),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x200b, 0x200f),
    (0x202a, 0x202e),
    (0x2060, 0x206f),
    (0x3164, 0x3164),
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfff8),
    (0x1bca0, 0x1bca3),
    (0x1d173, 0x1d17a),
    (0xe0000, 0xe0fff),
];

/// Reason why a name is odd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oddity {
    /// It contains a character that changes the direction of text.
    Bidirectional(char),
    /// It contains an invisible character.
    Invisible(char),
    /// It differs from this name only in case.
    Case(BString),
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Oddity::Bidirectional(point) => write!(f, "has the bidirectional control U+{:04X}", u32::from(*point)),
            Oddity::Invisible(point) => write!(f, "has the invisible character U+{:04X}", u32::from(*point)),
            Oddity::Case(other) => {
                write!(f, "differs only in case from {}", other.to_str_lossy().escape_debug())
            }
        }
    }
}

/// Returns the first bidirectional control or invisible character of a name.
pub fn hidden(name: &BStr) -> Option<Oddity> {
    name.chars().find_map(|point| {
        if is_in(BIDI, point) {
            Some(Oddity::Bidirectional(point))
        } else if is_in(INVISIBLE, point) {
            Some(Oddity::Invisible(point))
        } else {
            None
        }
    })
}

/// Folds the case of a name: names that differ only in case become equal. Names that are not UTF-8 are folded as ASCII.
pub fn fold(name: &BStr) -> BString {
    match name.to_str() {
        // Lower, upper, lower again: ẞ, ß and ss become equal.
        Ok(name) => name
            .chars()
            .flat_map(char::to_lowercase)
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase)
            .collect::<String>()
            .into(),
        Err(_) => name.to_ascii_lowercase().into(),
    }
}

/// Finds odd names among these paths (with `/`), in their order. Each component of a path is reported once, with the path
/// up to it. A name is odd if it differs only in case from an earlier one, or contains a hidden character.
pub fn find<'a>(names: impl IntoIterator<Item = &'a BStr>) -> Vec<(BString, Oddity)> {
    let mut first = std::collections::HashMap::new();
    let mut seen = std::collections::HashSet::new();
    let mut found = Vec::new();
    for name in names {
        let ends = name.find_iter("/").chain([name.len()]);
        let mut start = 0;
        for end in ends {
            let (path, part) = (BStr::new(&name[..end]), BStr::new(&name[start..end]));
            start = end + 1;
            if !seen.insert(path) {
                continue;
            }
            let other = *first.entry(fold(path)).or_insert(path);
            // A difference in a parent folder is reported for that folder.
            let differs = fold(part) == fold(last_part(other)) && part != last_part(other);
            let oddity = hidden(part).or_else(|| differs.then(|| Oddity::Case(other.into())));
            found.extend(oddity.map(|oddity| (path.to_owned(), oddity)));
        }
    }
    found
}

fn last_part(path: &BStr) -> &BStr {
    let start = path.rfind_byte(b'/').map_or(0, |slash| slash + 1);
    BStr::new(&path[start..])
}

fn is_in(ranges: &[(u32, u32)], point: char) -> bool {
    let point = u32::from(point);
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&point))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn described(names: &[&str]) -> Vec<String> {
        let found = find(names.iter().map(BStr::new));
        found.iter().map(|(name, oddity)| format!("{name} {oddity}")).collect()
    }

    #[test]
    fn a_name_is_odd_by_case_in_any_of_its_parts_and_once() {
        assert_eq!(
            described(&[
                "refs/kv/main",
                "refs/KV/main",
                "refs/KV/other",
                "refs/kv/MAIN",
                "refs/kv/Straße",
                "refs/kv/STRASSE"
            ]),
            [
                "refs/KV differs only in case from refs/kv",
                "refs/kv/MAIN differs only in case from refs/kv/main",
                "refs/kv/STRASSE differs only in case from refs/kv/Straße",
            ]
        );
        assert_eq!(described(&["a/b", "a/b/c", "a", "ab", "a/c"]), [""; 0]);
    }

    #[test]
    fn hidden_characters_are_shown_by_number() {
        assert_eq!(
            described(&[
                "refs/kv/\u{202e}niam",
                "refs/kv/ma\u{200b}in",
                "refs/kv/\u{2066}x\u{200b}",
                "refs/kv/grüße"
            ]),
            [
                "refs/kv/\u{202e}niam has the bidirectional control U+202E",
                "refs/kv/ma\u{200b}in has the invisible character U+200B",
                "refs/kv/\u{2066}x\u{200b} has the bidirectional control U+2066",
            ]
        );
        assert_eq!(hidden(BStr::new(b"\xff\xfe")), None);
        assert_ne!(fold(BStr::new(b"\xffa")), fold(BStr::new(b"\xfeA")));
    }

    proptest! {
        #[test]
        fn case_folds_once_and_for_all(name in any::<String>()) {
            let folded = fold(name.as_str().into());
            prop_assert_eq!(&fold(folded.as_ref()), &folded);
            let [upper, lower] = [name.to_ascii_uppercase(), name.to_ascii_lowercase()];
            prop_assert_eq!(fold(upper.as_str().into()), folded.clone());
            prop_assert_eq!(fold(lower.as_str().into()), folded);
        }

        #[test]
        fn the_findings_equal_a_comparison_of_all_pairs(names in prop::collection::vec("[aAbB](/[aA])?", 0..8)) {
            let found = find(names.iter().map(BStr::new));
            let mut parts: Vec<&str> = Vec::new();
            for name in &names {
                for end in name.find('/').into_iter().chain([name.len()]) {
                    if !parts.contains(&&name[..end]) {
                        parts.push(&name[..end]);
                    }
                }
            }
            let folded = |path: &str| path.to_lowercase();
            let of_part = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
            let expected: Vec<_> = parts
                .iter()
                .enumerate()
                .filter_map(|(place, path)| {
                    let other = parts[..=place].iter().find(|other| folded(other) == folded(path))?;
                    (of_part(other) != of_part(path)).then(|| (BString::from(*path), Oddity::Case(BString::from(*other))))
                })
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
