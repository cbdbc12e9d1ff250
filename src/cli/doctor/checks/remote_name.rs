//! A remote's name that is misspelt.

/// Largest edit distance at which a name is suggested.
const MOST_EDITS: usize = 3;

/// Returns the known name that is nearest to `name`, if it is near.
pub fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let distance = |known: &str| strsim::osa_distance(&known.to_lowercase(), &name.to_lowercase());
    let (edits, nearest) = known.iter().map(|known| (distance(known), known)).min()?;
    (edits <= MOST_EDITS && edits < name.len().min(nearest.len())).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let known = ["github".to_owned(), "backup".to_owned()];
        for (name, expected) in [
            ("gihtub", Some("github")),
            ("GitHub", Some("github")),
            ("backups", Some("backup")),
            ("origin", None),
            ("x", None),
        ] {
            assert_eq!(nearest(name, &known), expected, "{name}");
        }
        assert_eq!(nearest("github", &[]), None);
    }
}
