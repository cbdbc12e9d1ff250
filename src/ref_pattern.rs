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

/// A set of patterns. A ref matches when an inclusion matches it and no exclusion does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefPatterns {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
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

    /// Returns true if the ref of this full name is mirrored.
    pub fn matches(&self, name: &BStr) -> bool {
        self.include.iter().any(|pattern| pattern.matches(name)) && !self.exclude.iter().any(|p| p.matches(name))
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

impl Pattern {
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
    fn bad_patterns_are_named() {
        assert_eq!(RefPatterns::new(["kv/*"]), Err(InvalidPattern::NotFull("kv/*".into())));
        assert_eq!(
            RefPatterns::new(["^refs/*/*"]),
            Err(InvalidPattern::Stars("refs/*/*".into()))
        );
    }
}
