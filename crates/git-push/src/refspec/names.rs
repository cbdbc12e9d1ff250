//! Short names, full names and patterns.
use bstr::{BStr, BString, ByteSlice};

/// Prefixes and suffixes that make a full name from a short one.
const RULES: [(&str, &str); 6] = [
    ("", ""),
    ("refs/", ""),
    ("refs/tags/", ""),
    ("refs/heads/", ""),
    ("refs/remotes/", ""),
    ("refs/remotes/", "/HEAD"),
];

/// Returns the refs that `short` stands for: branches, tags, and refs that it names in full or below `refs/`; if there are
/// none of those, all others.
pub(super) fn standing_for(short: &BStr, is_there: impl Fn(&BString) -> bool) -> Vec<BString> {
    let mut strong = Vec::new();
    let mut weak = Vec::new();
    for (at, full) in full_names(short).enumerate() {
        if is_there(&full) {
            let is_strong = at < 2 || full.starts_with(b"refs/heads/") || full.starts_with(b"refs/tags/");
            if is_strong { &mut strong } else { &mut weak }.push(full);
        }
    }
    if strong.is_empty() { weak } else { strong }
}

/// Returns the full names that `short` may stand for, in the order of gitrevisions (*\<refname\>*).
pub fn full_names(short: &BStr) -> impl Iterator<Item = BString> {
    let full = move |(before, after): (&str, &str)| [before.as_bytes(), short, after.as_bytes()].concat().into();
    RULES.into_iter().map(full)
}

/// Returns true if `short` may stand for the ref `full`.
#[must_use]
pub fn may_stand_for(short: &BStr, full: &BStr) -> bool {
    let rest = |(before, after): &(&str, &str)| {
        full.strip_prefix(before.as_bytes())
            .and_then(|rest| rest.strip_suffix(after.as_bytes()))
            .is_some_and(|rest| rest == short.as_bytes())
    };
    RULES.iter().any(rest)
}

/// Fills in the `*` of `destination` with the part of `name` that the `*` of `source` matches. Returns `None` if `name` does
/// not match `source`.
#[must_use]
pub fn filled(source: &BStr, name: &BStr, destination: &BStr) -> Option<BString> {
    let Some((before, after)) = source.split_once_str("*") else {
        return (source == name).then(|| destination.into());
    };
    let middle = name.strip_prefix(before)?.strip_suffix(after)?;
    Some(destination.replacen("*", middle, 1).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rules_are_those_of_gitrevisions() {
        let fits = |short: &str, full: &str| may_stand_for(short.into(), full.into());
        for full in [
            "a",
            "refs/a",
            "refs/tags/a",
            "refs/heads/a",
            "refs/remotes/a",
            "refs/remotes/a/HEAD",
        ] {
            assert!(fits("a", full), "{full}");
        }
        for full in [
            "refs/heads/b/a",
            "refs/kv/a",
            "refs/heads/a/b",
            "refs/heads/",
            "refs/remotes/HEAD",
        ] {
            assert!(!fits("a", full), "{full}");
        }
    }

    proptest! {
        #[test]
        fn what_stands_for_a_name_may_do_so(short in "[a-z]{1,3}(/[a-z]{1,3})?", names: Vec<prop::sample::Index>) {
            let all: Vec<BString> = RULES.iter().map(|(before, after)| format!("{before}{short}{after}").into()).collect();
            let there: Vec<_> = names.iter().map(|index| index.get(&all).clone()).collect();
            let found = standing_for(short.as_bytes().as_bstr(), |name| there.contains(name));
            prop_assert_eq!(found.is_empty(), there.is_empty());
            for name in found {
                prop_assert!(there.contains(&name));
                prop_assert!(may_stand_for(short.as_bytes().as_bstr(), name.as_ref()));
            }
        }

        #[test]
        fn a_pattern_carries_over_what_its_star_stands_for(
            sides in prop::array::uniform4("[a-z/]{0,4}"),
            middle in "[a-z/]{0,6}",
        ) {
            let [before, after, to_before, to_after] = sides;
            let (source, destination) = (format!("{before}*{after}"), format!("{to_before}*{to_after}"));
            let name = format!("{before}{middle}{after}");
            let there = filled((&*source).into(), (&*name).into(), (&*destination).into());
            prop_assert_eq!(there, Some(format!("{to_before}{middle}{to_after}").into()));
            let back = filled((&*destination).into(), format!("{to_before}{middle}{to_after}").as_bytes().as_bstr(), (&*source).into());
            prop_assert_eq!(back, Some(name.into()));
        }

        #[test]
        fn a_name_that_is_shorter_than_its_pattern_does_not_fit(side in "[a-z]{1,4}") {
            let pattern = format!("{side}*{side}");
            prop_assert_eq!(filled((&*pattern).into(), (&*side).into(), "x".into()), None);
        }
    }
}
