//! The file that sets a key.
use std::path::PathBuf;

use bstr::{BStr, ByteSlice};

/// Values of a key, and the file with the last of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file. `None` if a variable of the environment sets the key.
    pub file: Option<PathBuf>,
    /// Number of values in that file.
    pub values: usize,
}

/// Returns the origin of a key such as `stargate.attempts` or `stargate.backup.attempts`. If a value is given, other values
/// do not count. Returns none if the key is not set.
pub fn origin(config: &gix::config::File, key: &str, value: Option<&BStr>) -> Option<Origin> {
    let (section, rest) = key.split_once('.')?;
    let (middle, name) = match rest.rsplit_once('.') {
        Some((middle, name)) => (Some(BStr::new(middle)), name),
        None => (None, rest),
    };
    let mut found: Option<Origin> = None;
    for section in config.sections_by_name(section).into_iter().flatten() {
        let is_it = section.header().subsection_name() == middle;
        let values = section.values(name);
        let values = values
            .iter()
            .filter(|text| value.is_none_or(|value| value == text.as_bstr()));
        let values = values.count();
        if !is_it || values == 0 {
            continue;
        }
        let file = section.meta().path.clone();
        let before = found
            .filter(|before| before.file == file)
            .map_or(0, |before| before.values);
        found = Some(Origin {
            file,
            values: before + values,
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use gix::config::{File, Source, file::Metadata};

    use super::*;

    fn parsed(path: Option<&str>, text: &str) -> File {
        let metadata = Metadata {
            path: path.map(PathBuf::from),
            ..Metadata::from(Source::Local)
        };
        File::from_bytes_no_includes(text.as_bytes(), metadata, Default::default()).expect("git configuration")
    }

    #[test]
    fn the_last_file_with_a_value_is_the_origin() {
        let mut config = parsed(Some("/etc/gitconfig"), "[stargate]\nref = a\nattempts = 1\n");
        let local = "[stargate]\nref = b\nref = c\n[stargate \"x.y\"]\nref = d\n[Stargate]\nREF = b\n";
        config
            .append(parsed(Some("/r.git/config"), local))
            .expect("it is appended");
        config
            .append(parsed(None, "[stargate]\nverify = x\n"))
            .expect("it is appended");
        let found = |key: &str, value: Option<&str>| {
            let origin = origin(&config, key, value.map(BStr::new))?;
            let file = origin.file.map(|file| file.display().to_string());
            Some((file.unwrap_or_default(), origin.values))
        };
        let expected = |file: &str, values| Some((file.to_owned(), values));
        assert_eq!(found("stargate.ref", None), expected("/r.git/config", 3));
        assert_eq!(found("stargate.ref", Some("b")), expected("/r.git/config", 2));
        assert_eq!(found("stargate.ref", Some("a")), expected("/etc/gitconfig", 1));
        assert_eq!(found("stargate.x.y.ref", None), expected("/r.git/config", 1));
        assert_eq!(found("stargate.attempts", None), expected("/etc/gitconfig", 1));
        assert_eq!(found("stargate.verify", None), expected("", 1));
        assert_eq!(found("stargate.force", None), None);
    }
}
