//! Words of commands that are printed for a shell.
use std::path::Path;

/// Returns a text as one word for the shell.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%=".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Returns a path as one word for the shell.
pub(super) fn quoted_path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_spaces_or_quotes_is_one_word() {
        assert_eq!(quoted("/srv/git/o/r.git"), "/srv/git/o/r.git");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted_path(Path::new("/srv/a b.git")), "'/srv/a b.git'");
    }
}
