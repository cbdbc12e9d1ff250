//! Results with the same reason, for output that does not grow with refs.
use std::collections::BTreeMap;

/// Collects items with equal keys, in the order of the first of each.
pub fn alike<T: Copy, K: Ord>(items: impl IntoIterator<Item = T>, key: impl Fn(T) -> K) -> Vec<Vec<T>> {
    let mut places: BTreeMap<K, usize> = BTreeMap::new();
    let mut all: Vec<Vec<T>> = Vec::new();
    for item in items {
        let place = *places.entry(key(item)).or_insert(all.len());
        match all.get_mut(place) {
            Some(others) => others.push(item),
            None => all.push(vec![item]),
        }
    }
    all
}

/// Returns the number of items beside the first one, for a log line about all of them; none if there are no others.
pub(super) fn others<T>(alike: &[T]) -> Option<usize> {
    alike.len().checked_sub(1).filter(|others| *others > 0)
}

/// Returns a reason without these names and without object ids, so that reasons that differ in them only are equal.
pub fn without_names<'a>(reason: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let is_id = |word: &str| word.len() >= 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut reason = reason.to_owned();
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        reason = reason.replace(name, "REF");
    }
    let words = reason.split(' ').map(|word| if is_id(word) { "ID" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_collected_in_the_order_of_the_first_of_each_kind() {
        let found = alike([3, 2, 5, 4, 1], |number| number % 2);
        assert_eq!(found, [vec![3, 5, 1], vec![2, 4]]);
    }

    #[test]
    fn reasons_that_differ_in_names_and_ids_are_equal() {
        let (one, other) = ("a1".repeat(20), "b2".repeat(32));
        let one = without_names(&format!("refs/tags/v1 is at {one} there"), ["refs/tags/v1", ""]);
        let other = without_names(&format!("refs/tags/v2 is at {other} there"), ["refs/tags/v2"]);
        assert_eq!(one, other);
        assert_eq!(without_names("decade is a word", []), "decade is a word");
    }
}
