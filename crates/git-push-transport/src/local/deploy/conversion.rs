//! Settings that make the content of files another one than that of their blobs (gitattributes, git-config).
use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read},
    path::PathBuf,
};

use bstr::{BStr, BString, ByteSlice};
use git_push::causes;
use gix::Repository;

use super::{Change, Leaves, Refusal, files::Folder, folders, refused};

/// Limit of the size of a file with attributes, in bytes. Git reads no larger ones.
const LARGEST: u64 = 100 << 20;

/// Refuses settings of a repository, and attributes of two commits, that change the content of files.
pub(super) fn check(repository: &Repository, commits: [&Leaves; 2]) -> Result<(), Refusal> {
    let config = repository.config_snapshot();
    for key in ["core.sparseCheckout", "core.ignoreCase"] {
        if config.boolean(key) == Some(true) {
            return Err(refused(&format!("{key} is true")));
        }
    }
    if config.boolean("core.symlinks") == Some(false) {
        return Err(refused("core.symlinks is false"));
    }
    if config.string("core.autocrlf").is_some() && config.boolean("core.autocrlf") != Some(false) {
        return Err(refused("core.autocrlf is set"));
    }
    if config
        .string("core.eol")
        .is_some_and(|value| value.eq_ignore_ascii_case(b"crlf"))
    {
        return Err(refused("core.eol is crlf"));
    }
    for path in outside(repository)? {
        match fs::read(&path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(refused(&format!("{}: {error}", path.display()))),
            Ok(text) => check_text(&text, &path.display().to_string())?,
        }
    }
    let files = commits.into_iter().flatten();
    for (path, leaf) in files.filter(|(path, _)| is_attributes(path.as_bstr())) {
        let blob = repository.find_object(leaf.id);
        let blob = blob.map_err(|error| refused(&format!("{path}: {}", causes(&error))))?;
        check_text(&blob.data, &path.to_string())?;
    }
    Ok(())
}

/// Refuses attributes above changed files that change the content of files, as they are in the work tree, tracked or not.
/// Links are not followed, as by git.
pub(super) fn check_on_disk(folder: &Folder<'_>, changes: &[Change]) -> Result<(), Refusal> {
    let above = changes.iter().flat_map(|change| folders(change.path.as_bstr()));
    let names = above.map(|above| BString::from([above.as_bytes(), b"/.gitattributes"].concat()));
    let names: BTreeSet<_> = names.chain([".gitattributes".into()]).collect();
    for name in &names {
        folder.go_on()?;
        let name = name.as_bstr();
        let failed = |error: io::Error| refused(&format!("{name}: {error}"));
        let found = folder.look(name).map_err(failed)?;
        if folder.has_link_above(name) || !found.is_some_and(|kind| kind.is_file()) {
            continue;
        }
        let mut text = Vec::new();
        let file = fs::File::open(folder.native(name)).map_err(failed)?;
        file.take(LARGEST + 1).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > LARGEST {
            return Err(refused(&format!("{name} is too large")));
        }
        check_text(&text, &name.to_string())?;
    }
    Ok(())
}

fn is_attributes(path: &BStr) -> bool {
    path.rsplit(|byte| *byte == b'/').next() == Some(b".gitattributes")
}

/// Returns the files with attributes that are outside the work tree.
fn outside(repository: &Repository) -> Result<Vec<PathBuf>, Refusal> {
    const KEY: &str = "core.attributesFile";
    let mut files = vec![repository.common_dir().join("info/attributes")];
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let config = repository.config_snapshot();
    let named = config.trusted_path(KEY);
    let named = named.map_err(|error| refused(&format!("{KEY}: {}", causes(&error))))?;
    files.extend(named.or_else(|| {
        let folder = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
        folder.map(|folder| folder.join("git/attributes"))
    }));
    if variable("GIT_ATTR_NOSYSTEM").is_none() {
        files.push("/etc/gitattributes".into());
    }
    Ok(files)
}

fn check_text(text: &[u8], name: &str) -> Result<(), Refusal> {
    match text.lines().find_map(converting) {
        Some(attribute) => Err(refused(&format!("the attribute {} in {name}", attribute.as_bstr()))),
        None => Ok(()),
    }
}

/// Returns an attribute of a line that changes the content of files. On Windows, `text` is one.
fn converting(line: &[u8]) -> Option<&[u8]> {
    let line = line.trim();
    if line.starts_with(b"#") {
        return None;
    }
    // The pattern is not told apart: one with the name of an attribute is refused, too.
    line.fields().find(|word| {
        let (name, value) = word
            .split_once_str("=")
            .map_or((*word, None), |(name, value)| (name, Some(value)));
        match name {
            b"filter" | b"ident" | b"working-tree-encoding" | b"crlf" => true,
            b"eol" => value != Some(b"lf"),
            b"text" => cfg!(windows),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_that_change_content_are_found() {
        for line in [
            "*.c filter=x",
            "a ident",
            "*.txt eol=crlf",
            "* text working-tree-encoding=UTF-16",
            "[attr]m filter=lfs",
            "* crlf",
        ] {
            assert!(converting(line.as_bytes()).is_some(), "{line}");
        }
        for line in [
            "# filter",
            "*.c -text diff=cpp",
            "* text=auto eol=lf",
            "*.png binary",
            "a -filter -ident",
            "",
        ] {
            assert!(converting(line.as_bytes()).is_none(), "{line}");
        }
    }
}
