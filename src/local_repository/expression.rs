//! Revision expressions (gitrevisions): the name at the start is looked up, the rest is kept. PURE.
use bstr::{BStr, BString, ByteSlice};
use git_push::refspec::full_names;
use gix::ObjectId;

/// Files outside `refs/` that git writes with every ref storage.
const FILES: [&str; 2] = ["FETCH_HEAD", "MERGE_HEAD"];
/// Number of digits of the shortest abbreviated id.
const SHORTEST: usize = 4;

/// The meaning of an expression in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// This expression, which starts with an id or an abbreviated one.
    OfId(BString),
    /// Neither a ref nor an object has this name.
    Nothing,
}

/// Returns the meaning of `expression`. `find` reads the ref with a full name. If several refs match, the first one in
/// the order of gitrevisions is used.
pub(super) fn meaning<E>(expression: &BStr, find: impl Fn(&BStr) -> Result<Option<ObjectId>, E>) -> Result<Meaning, E> {
    let (name, rest) = split(expression);
    let name = if name == "@" { BStr::new("HEAD") } else { name };
    // A full id is an id, even if a ref has this name.
    if ObjectId::from_hex(name).is_ok() {
        return Ok(Meaning::OfId(expression.to_owned()));
    }
    if !name.is_empty() {
        for full in full_names(name) {
            if let Some(id) = find(full.as_bstr())? {
                return Ok(Meaning::OfId([id.to_string().as_bytes(), rest].concat().into()));
            }
        }
    }
    Ok(
        if abbreviated(name).is_some() || FILES.iter().any(|file| name == *file) {
            Meaning::OfId(expression.to_owned())
        } else {
            Meaning::Nothing
        },
    )
}

/// Splits an expression after the name that it starts with. No ref name has one of these characters.
pub(super) fn split(expression: &BStr) -> (&BStr, &BStr) {
    let ends = [expression.find_byteset("^~:"), expression.find("@{")];
    let end = ends.into_iter().flatten().min().unwrap_or(expression.len());
    let (name, rest) = expression.split_at(end);
    (name.as_bstr(), rest.as_bstr())
}

/// Returns the digits of an abbreviated id, or of the one at the end of the output of `git describe`.
pub(super) fn abbreviated(name: &BStr) -> Option<&BStr> {
    let is_short = |id: &[u8]| id.len() >= SHORTEST && id.iter().all(u8::is_ascii_hexdigit);
    if is_short(name) {
        return Some(name);
    }
    let digits = &name[name.rfind("-g")? + 2..];
    is_short(digits).then(|| digits.as_bstr())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ObjectId = ObjectId::Sha1([1; 20]);
    const TWO: ObjectId = ObjectId::Sha1([2; 20]);

    fn means(expression: &str) -> Option<String> {
        let find = |name: &BStr| -> Result<_, &str> {
            Ok(match name.to_str().expect("text") {
                "HEAD" | "refs/heads/main" | "refs/tags/both" | "refs/heads/feed" => Some(ONE),
                "refs/heads/both" | "refs/heads/a@b" | "refs/remotes/origin/HEAD" | "refs/kv/a" => Some(TWO),
                "refs/heads/damaged" => return Err("damaged"),
                _ => None,
            })
        };
        match meaning(expression.into(), find).ok()? {
            Meaning::OfId(expression) => {
                let text = expression.to_string();
                Some(text.replace(&ONE.to_string(), "ONE").replace(&TWO.to_string(), "TWO"))
            }
            Meaning::Nothing => Some("nothing".into()),
        }
    }

    #[test]
    fn the_name_at_the_start_is_replaced_by_its_id() {
        let full_id = "a".repeat(40);
        for (expression, expected) in [
            ("main", "ONE"),
            ("main~2^{tree}", "ONE~2^{tree}"),
            ("main:folder/file@{1}", "ONE:folder/file@{1}"),
            ("@", "ONE"),
            ("@~1", "ONE~1"),
            ("HEAD^2", "ONE^2"),
            ("a@b~1", "TWO~1"),
            ("both", "ONE"),
            ("heads/both", "TWO"),
            ("origin", "TWO"),
            ("kv/a", "TWO"),
            ("refs/kv/a^0", "TWO^0"),
            ("feed", "ONE"),
            ("main@{upstream}", "ONE@{upstream}"),
            (&full_id, &full_id),
            ("a1b2c3~1", "a1b2c3~1"),
            ("v1-3-ga1b2c3", "v1-3-ga1b2c3"),
            ("FETCH_HEAD", "FETCH_HEAD"),
        ] {
            assert_eq!(means(expression).as_deref(), Some(expected), "{expression}");
        }
    }

    #[test]
    fn the_digits_of_an_abbreviated_id_are_found() {
        let digits = |name: &'static str| abbreviated(name.into()).map(ToString::to_string);
        for (name, expected) in [
            ("a1b2", Some("a1b2")),
            ("v1-3-ga1b2c3", Some("a1b2c3")),
            ("v1-g1-ga1b2", Some("a1b2")),
            ("a1b", None),
            ("v1-ga1b", None),
            ("main", None),
        ] {
            assert_eq!(digits(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_name_of_nothing_has_no_meaning_and_a_damaged_ref_is_an_error() {
        for expression in [
            "",
            "none",
            "a/b~1",
            "@{1}",
            "@{-1}",
            ":/text",
            "^main",
            "abc",
            "x-gabc",
            "main..feed",
        ] {
            assert_eq!(means(expression).as_deref(), Some("nothing"), "{expression}");
        }
        assert_eq!(means("damaged~1"), None);
    }
}
