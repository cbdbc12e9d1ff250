//! Patterns of mirrored refs, with at most one `*` as in a refspec (gitglossary, *refspec*), and exclusions.
use std::fmt;

use bstr::{BStr, BString, ByteSlice};

/// Patterns used when `stargate.ref` is not set: every [family](crate::namespace::Family) of a namespace's refs.
pub const DEFAULT_PATTERNS: [&str; 6] = [
    "refs/kv/*",
    "refs/kv-index/*",
    "refs/kv-chunks/*",
    "refs/kv-epoch/*",
    "refs/kv-archive/*",
    "refs/kv-watchlog/*",
];

/// Refs that are internal to a server, that mirrors refuse, or that are temporary ([`parts`](crate::parts)). A pattern
/// that also covers other refs, such as `refs/*`, leaves them out. To mirror some of them, add a pattern for exactly
/// those refs: `refs/pull/*`, `refs/pull/1/head`.
pub const LEFT_OUT: [&str; 16] = [
    "refs/pull/*",
    "refs/pull-requests/*",
    "refs/merge-requests/*",
    "refs/changes/*",
    "refs/cache-automerge/*",
    "refs/users/*",
    "refs/meta/*",
    "refs/for/*",
    "refs/keep-around/*",
    "refs/environments/*",
    "refs/pipelines/*",
    "refs/stash",
    "refs/replace/*",
    "refs/remotes/*",
    "refs/original/*",
    "refs/stargate-parts/*",
];

/// A set of patterns. A ref matches when an inclusion matches it and no exclusion does. Refs in [`LEFT_OUT`] match only
/// inclusions that name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefPatterns {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

/// Purpose of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its refs are mirrored.
    Included,
    /// Its refs are not mirrored.
    Excluded,
}

/// Reasons why a pattern is invalid.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidPattern {
    /// It does not start with `refs/`.
    #[error("pattern {0:?} does not start with refs/")]
    NotFull(BString),
    /// It has more than one `*`.
    #[error("pattern {0:?} has more than one '*'")]
    Stars(BString),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    prefix: BString,
    /// None for a pattern without a star, which names a single ref.
    suffix: Option<BString>,
}

impl Default for RefPatterns {
    fn default() -> Self {
        RefPatterns::new(DEFAULT_PATTERNS).expect("the default patterns are valid")
    }
}

impl RefPatterns {
    /// Creates a set from configured patterns. A leading `!` or `^` excludes. If there are only exclusions, they apply to
    /// [`DEFAULT_PATTERNS`].
    ///
    /// # Errors
    /// See [`InvalidPattern`].
    pub fn new<P: AsRef<[u8]>>(patterns: impl IntoIterator<Item = P>) -> Result<Self, InvalidPattern> {
        let mut set = RefPatterns {
            include: Vec::new(),
            exclude: Vec::new(),
        };
        for pattern in patterns {
            match pattern.as_ref() {
                [b'!' | b'^', excluded @ ..] => set.exclude.push(Pattern::new(excluded)?),
                included => set.include.push(Pattern::new(included)?),
            }
        }
        if set.include.is_empty() {
            for pattern in DEFAULT_PATTERNS {
                set.include.push(Pattern::new(pattern.as_bytes())?);
            }
        }
        Ok(set)
    }

    /// Creates a set that matches every ref, also those in [`LEFT_OUT`].
    pub fn everything() -> Self {
        RefPatterns::new(["refs/*"].iter().chain(&LEFT_OUT)).expect("the patterns are valid")
    }

    /// Returns this set without the refs that match one of these patterns.
    ///
    /// # Errors
    /// A pattern is invalid.
    pub fn without<P: AsRef<[u8]>>(mut self, patterns: impl IntoIterator<Item = P>) -> Result<Self, InvalidPattern> {
        for pattern in patterns {
            self.exclude.push(Pattern::new(pattern.as_ref())?);
        }
        Ok(self)
    }

    /// Returns true if the ref of this full name is mirrored.
    pub fn matches(&self, name: &BStr) -> bool {
        let family = family(name);
        let included = |pattern: &Pattern| pattern.matches(name) && family.is_none_or(|family| pattern.names(family));
        self.include.iter().any(included) && !self.exclude.iter().any(|pattern| pattern.matches(name))
    }

    /// Returns true if a ref below this folder, a name with a slash at the end, can match.
    pub fn may_match_below(&self, folder: &BStr) -> bool {
        let family = family(folder);
        let may = |pattern: &Pattern| {
            let prefix = &pattern.prefix;
            (prefix.starts_with(folder) || folder.starts_with(prefix))
                && family.is_none_or(|family| pattern.names(family))
        };
        self.include.iter().any(may)
    }

    /// Returns true if an inclusion covers refs in [`LEFT_OUT`] without naming them.
    pub fn leaves_out(&self) -> bool {
        let covers = |pattern: &Pattern| {
            let mut prefixes = LEFT_OUT.iter().map(|family| family.trim_end_matches('*'));
            pattern.suffix.is_some()
                && prefixes.any(|family| family.as_bytes().starts_with(&pattern.prefix) && !pattern.names(family))
        };
        self.include.iter().any(covers)
    }

    /// Returns each pattern as a set of its own. An exclusion becomes an inclusion of the same refs.
    pub fn each(&self) -> impl Iterator<Item = (Kind, Self)> + '_ {
        let alone = |pattern: &Pattern| RefPatterns {
            include: vec![pattern.clone()],
            exclude: Vec::new(),
        };
        let included = self.include.iter().map(move |pattern| (Kind::Included, alone(pattern)));
        included.chain(self.exclude.iter().map(move |pattern| (Kind::Excluded, alone(pattern))))
    }

    /// Returns the fixed prefix of each inclusion, for `ref-prefix` of protocol 2.
    pub fn prefixes(&self) -> impl Iterator<Item = &BStr> {
        self.include.iter().map(|pattern| pattern.prefix.as_bstr())
    }
}

/// Writes the patterns as configured, separated by commas.
impl fmt::Display for RefPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let included = self.include.iter().map(|pattern| ("", pattern));
        let excluded = self.exclude.iter().map(|pattern| ("!", pattern));
        for (number, (sign, pattern)) in included.chain(excluded).enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{sign}{}", pattern.prefix)?;
            if let Some(suffix) = &pattern.suffix {
                write!(f, "*{suffix}")?;
            }
        }
        Ok(())
    }
}

/// Returns the fixed start of the family in [`LEFT_OUT`] that this ref or folder belongs to.
fn family(name: &BStr) -> Option<&'static str> {
    let mut families = LEFT_OUT.iter().map(|pattern| (pattern, pattern.trim_end_matches('*')));
    let found = families.find(|(pattern, start)| {
        if pattern.ends_with('*') {
            name.starts_with(start.as_bytes())
        } else {
            name == start.as_bytes()
        }
    });
    found.map(|(_, start)| start)
}

impl Pattern {
    /// Returns true if this pattern matches nothing outside the family with this fixed start.
    fn names(&self, family: &str) -> bool {
        self.prefix.starts_with(family.as_bytes())
    }

    fn new(pattern: &[u8]) -> Result<Self, InvalidPattern> {
        if !pattern.starts_with(b"refs/") {
            return Err(InvalidPattern::NotFull(pattern.into()));
        }
        let mut parts = pattern.splitn(3, |byte| *byte == b'*');
        let prefix = parts.next().unwrap_or_default().into();
        let suffix = parts.next().map(BString::from);
        match parts.next() {
            Some(_) => Err(InvalidPattern::Stars(pattern.into())),
            None => Ok(Pattern { prefix, suffix }),
        }
    }

    fn matches(&self, name: &BStr) -> bool {
        match &self.suffix {
            None => name == self.prefix,
            Some(suffix) => {
                name.len() >= self.prefix.len() + suffix.len()
                    && name.starts_with(&self.prefix)
                    && name.ends_with(suffix)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_are_shown_as_they_are_configured() {
        let shown = |patterns: &[&str]| RefPatterns::new(patterns).unwrap().to_string();
        assert_eq!(shown(&[]), DEFAULT_PATTERNS.join(", "));
        let patterns = ["refs/heads/*", "refs/x/*/y", "refs/tags/v1", "!refs/heads/wip"];
        assert_eq!(shown(&patterns), patterns.join(", "));
    }

    /// The naive model: a star stands for some substring, so try every one.
    fn naive(pattern: &str, name: &str) -> bool {
        match pattern.find('*') {
            None => pattern == name,
            Some(star) => (0..=name.len())
                .flat_map(|from| (from..=name.len()).map(move |to| (from, to)))
                .any(|(from, to)| format!("{}{}{}", &pattern[..star], &name[from..to], &pattern[star + 1..]) == name),
        }
    }

    fn pattern() -> impl Strategy<Value = String> {
        "refs/[ab/]{0,4}\\*?[ab/]{0,3}"
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_the_naive_model_matches(pattern in pattern(), name in "refs/[ab/]{0,8}") {
            let set = RefPatterns::new([&pattern]).unwrap();
            prop_assert_eq!(set.matches(name.as_str().into()), naive(&pattern, &name));
        }

        #[test]
        fn an_exclusion_wins_wherever_it_stands(
            patterns in proptest::collection::vec((any::<bool>(), pattern()), 1..5),
            name in "refs/[ab/]{0,8}",
        ) {
            let written = patterns.iter().map(|(out, p)| if *out { format!("!{p}") } else { p.clone() });
            let set = RefPatterns::new(written).unwrap();
            let hit = |out: bool| patterns.iter().any(|(o, p)| *o == out && naive(p, &name));
            let any_included = patterns.iter().any(|(out, _)| !out);
            let included = if any_included { hit(false) } else { DEFAULT_PATTERNS.iter().any(|p| naive(p, &name)) };
            prop_assert_eq!(set.matches(name.as_str().into()), included && !hit(true));
        }
    }

    #[test]
    fn the_default_takes_every_family_of_a_namespace_at_any_depth() {
        let set = RefPatterns::default();
        for family in crate::namespace::Family::ALL {
            for namespace in ["main", "team/a"] {
                let name = family.ref_of(namespace.into());
                assert!(set.matches(name.as_bstr()), "{name}");
            }
        }
        for (name, expected) in [
            ("refs/kv-mirror/main", false),
            ("refs/heads/main", false),
            ("refs/kv", false),
            ("refs/kv-other/main", false),
        ] {
            assert_eq!(set.matches(name.into()), expected, "{name}");
        }
    }

    #[test]
    fn refs_of_forges_match_only_a_pattern_that_names_them() {
        let names = [
            "refs/pull/1/head",
            "refs/pull-requests/1/from",
            "refs/merge-requests/1/head",
            "refs/changes/01/1/1",
            "refs/cache-automerge/ab/cd",
            "refs/users/01/1000001",
            "refs/meta/config",
            "refs/for/main",
            "refs/keep-around/a1",
            "refs/environments/production/deployments/1",
            "refs/pipelines/1",
            "refs/stash",
            "refs/replace/a1",
            "refs/remotes/origin/main",
            "refs/original/refs/heads/main",
            "refs/stargate-parts/a1",
        ];
        let matches = |patterns: &[&str], name: &str| RefPatterns::new(patterns).unwrap().matches(name.into());
        for (name, family) in names.iter().zip(LEFT_OUT) {
            assert!(naive(family, name), "{name} is one of {family}");
            let (start, _) = name.split_at("refs/p".len());
            for covering in ["refs/*", &format!("{start}*")] {
                assert!(!matches(&[covering], name), "{covering} leaves out {name}");
            }
            assert!(matches(&["refs/*", family], name), "{family} names {name}");
            assert!(matches(&[name], name), "{name} names itself");
            assert!(!matches(&[family, &format!("!{name}")], name), "an exclusion wins");
            assert!(RefPatterns::everything().matches(BStr::new(name)), "{name}");
        }
        for name in [
            "refs/pulls/1",
            "refs/stashed",
            "refs/stash/1",
            "refs/metadata/x",
            "refs/heads/pull/1",
            "refs/notes/x",
        ] {
            assert!(matches(&["refs/*"], name), "{name} belongs to no forge");
        }
        assert!(
            matches(&["refs/pull/*/head"], "refs/pull/1/head") && !matches(&["refs/pull/*/head"], "refs/pull/1/merge")
        );
    }

    #[test]
    fn folders_without_mirrored_refs_are_known() {
        let below =
            |patterns: &[&str], folder: &str| RefPatterns::new(patterns).unwrap().may_match_below(folder.into());
        for (patterns, folder, expected) in [
            (&["refs/*"][..], "refs/heads/", true),
            (&["refs/*"], "refs/pull/", false),
            (&["refs/*"], "refs/pull/1/", false),
            (&["refs/*", "refs/pull/*"], "refs/pull/1/", true),
            (&["refs/pull/1/head"], "refs/pull/", true),
            (&["refs/heads/*"], "refs/tags/", false),
        ] {
            assert_eq!(below(patterns, folder), expected, "{patterns:?} {folder}");
        }
        for (patterns, expected) in [
            (&["refs/*"][..], true),
            (&["refs/p*"], true),
            (&["refs/pull/*"], false),
            (&["refs/heads/*", "refs/tags/*"], false),
            (&["refs/stash"], false),
        ] {
            assert_eq!(
                RefPatterns::new(patterns).unwrap().leaves_out(),
                expected,
                "{patterns:?}"
            );
        }
    }

    #[test]
    fn bad_patterns_are_named() {
        assert_eq!(RefPatterns::new(["kv/*"]), Err(InvalidPattern::NotFull("kv/*".into())));
        assert_eq!(
            RefPatterns::new(["^refs/*/*"]),
            Err(InvalidPattern::Stars("refs/*/*".into()))
        );
    }
}
