//! Refs that a repository hides from pushes (git-config, *transfer.hideRefs*, *receive.hideRefs*).
use bstr::{BStr, BString, ByteSlice};

/// Patterns of hidden refs, in the order of the configuration.
pub(super) struct Hidden(Vec<BString>);

impl Hidden {
    pub(super) fn of(repository: &gix::Repository) -> Self {
        let config = repository.config_snapshot();
        let sections = config.plumbing().sections().filter(|section| {
            let name = section.header().name();
            section.header().subsection_name().is_none()
                && ["transfer", "receive"]
                    .iter()
                    .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        });
        let patterns = sections.flat_map(|section| section.values("hideRefs"));
        Hidden(
            patterns
                .map(|pattern| pattern.trim_end_with(|char| char == '/').into())
                .collect(),
        )
    }

    /// Returns true if pushes neither see nor change the ref. The last pattern that matches it counts; one with `!` shows it.
    pub(super) fn hides(&self, name: &BStr) -> bool {
        let decisions = self.0.iter().rev().filter_map(|pattern| {
            let (shows, pattern) = match pattern.strip_prefix(b"!") {
                Some(pattern) => (true, pattern),
                None => (false, pattern.as_slice()),
            };
            // The full name of a ref; without namespaces, it is the name.
            let pattern = pattern.strip_prefix(b"^").unwrap_or(pattern);
            let below = name.strip_prefix(pattern)?;
            (below.is_empty() || below.starts_with(b"/")).then_some(!shows)
        });
        decisions.into_iter().next().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pattern_that_matches_counts() {
        let hidden = |patterns: &[&str], name: &str| {
            let patterns = patterns.iter().map(|pattern| BString::from(*pattern));
            Hidden(patterns.collect()).hides(name.into())
        };
        for (patterns, name, expected) in [
            (&["refs/a"][..], "refs/a/b", true),
            (&["refs/a"], "refs/a", true),
            (&["refs/a"], "refs/ab", false),
            (&["refs/a", "!refs/a/b"], "refs/a/b", false),
            (&["!refs/a/b", "refs/a"], "refs/a/b", true),
            (&["^refs/a"], "refs/a/b", true),
            (&["refs", "!^refs/a"], "refs/a/b", false),
            (&[], "refs/a", false),
        ] {
            assert_eq!(hidden(patterns, name), expected, "{patterns:?} {name}");
        }
    }
}
