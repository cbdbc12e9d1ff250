//! Reader of refs in files (gitrepository-layout, *HEAD*, *refs*, *packed-refs*, *commondir*) or in reftables: the branch of
//! `HEAD`, and the targets of symbolic refs.
//!
//! gitoxide's repositories and ref store would make the hook too large. So the file `HEAD` decides on the storage format: it
//! names [`HEAD_TARGET`] where refs are in reftables. A ref that cannot be read or parsed is an error, never an absent ref.
mod conflict;

use std::{
    fs, io,
    io::{BufRead, BufReader, ErrorKind},
    path::{Path, PathBuf},
};

use bstr::{BStr, BString, ByteSlice};
use git_reftable::{HEAD_TARGET, Stack, Value};
use gix::{ObjectId, hash::Kind};

pub(super) use self::conflict::Names;

/// Number of symbolic refs in a row that git follows.
const MAX_DEPTH: usize = 5;

/// Reasons why a ref cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// The file cannot be read.
    #[error("cannot read {}: {}", .0.display(), .1)]
    File(PathBuf, io::Error),
    /// The file has invalid content.
    #[error("{} contains neither an object id nor the name of a ref; run `git fsck` on the server", .0.display())]
    Content(PathBuf),
    /// A line of `packed-refs` is invalid.
    #[error("{} has an invalid line; run `git fsck` on the server", .0.display())]
    Packed(PathBuf),
    /// The reftables of this git directory cannot be read.
    #[error("cannot read the reftables of {}: {}", .0.display(), with_cause(.1))]
    Tables(PathBuf, git_reftable::Error),
    /// A record of the reftables names an invalid ref.
    #[error("{0} leads to an invalid ref name; run `git refs verify` on the server")]
    Target(BString),
    /// Too many symbolic refs in a row, most likely a cycle.
    #[error("{0} leads through more than {MAX_DEPTH} symbolic refs; check for a cycle with `git symbolic-ref`")]
    TooDeep(BString),
}

fn with_cause(error: &git_reftable::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Refs of a repository.
pub(super) struct Refs {
    git_dir: PathBuf,
    /// Folder of the refs that all worktrees share.
    common_dir: PathBuf,
    /// None where refs are in files.
    tables: Option<Tables>,
}

/// Snapshots of the reftables.
struct Tables {
    /// The stack with `HEAD`, for a worktree with a separate stack.
    worktree: Option<Stack>,
    shared: Stack,
}

/// Result of looking up a ref by name.
enum Found {
    Nothing,
    Id(ObjectId),
    /// A symbolic ref with this target.
    Symbolic(BString),
}

impl Refs {
    /// Opens the refs of the repository at `git_dir`, with ids of kind `format`.
    pub(super) fn open(git_dir: &Path, format: Kind) -> Result<Self, Unreadable> {
        let link = git_dir.join("commondir");
        let common_dir = match fs::read(&link) {
            Ok(path) => git_dir.join(path.trim_end().to_path_lossy()),
            Err(error) if error.kind() == ErrorKind::NotFound => git_dir.into(),
            Err(error) => return Err(Unreadable::File(link, error)),
        };
        let mut refs = Refs {
            git_dir: git_dir.into(),
            common_dir,
            tables: None,
        };
        if let Found::Symbolic(name) = refs.head()?
            && name == HEAD_TARGET
        {
            refs.tables = Some(Tables::open(&refs, format)?);
        }
        Ok(refs)
    }

    /// Returns the name and the commit of the branch of `HEAD`, or `HEAD` itself if it is detached. `None` if that branch
    /// does not exist.
    pub(super) fn branch_of_head(&self) -> Result<Option<(BString, ObjectId)>, Unreadable> {
        Ok(match self.head()? {
            Found::Nothing => None,
            Found::Id(id) => Some(("HEAD".into(), id)),
            Found::Symbolic(name) => {
                let (name, id) = self.resolved(name.as_bstr())?;
                id.map(|id| (name, id))
            }
        })
    }

    /// Returns the ref that moves when `name` is pushed to: the end of the chain of symbolic refs, which need not exist.
    pub(super) fn target(&self, name: &BStr) -> Result<BString, Unreadable> {
        Ok(self.resolved(name)?.0)
    }

    fn resolved(&self, name: &BStr) -> Result<(BString, Option<ObjectId>), Unreadable> {
        let mut at = name.to_owned();
        for _ in 0..=MAX_DEPTH {
            match self.find(at.as_bstr())? {
                Found::Symbolic(next) => at = next,
                Found::Id(id) => return Ok((at, Some(id))),
                Found::Nothing => return Ok((at, None)),
            }
        }
        Err(Unreadable::TooDeep(name.to_owned()))
    }

    fn find(&self, name: &BStr) -> Result<Found, Unreadable> {
        if let Some(tables) = &self.tables {
            return record(&tables.shared, &self.common_dir, name);
        }
        match loose(&self.common_dir.join(name.to_path_lossy()))? {
            Found::Nothing => packed(&self.common_dir.join("packed-refs"), name),
            found => Ok(found),
        }
    }

    fn head(&self) -> Result<Found, Unreadable> {
        let path = self.git_dir.join("HEAD");
        let head = match &self.tables {
            Some(tables) => record(tables.head(), &self.git_dir, "HEAD".into())?,
            None => loose(&path)?,
        };
        match head {
            Found::Nothing => Err(Unreadable::File(path, ErrorKind::NotFound.into())),
            found => Ok(found),
        }
    }
}

impl Tables {
    fn open(refs: &Refs, format: Kind) -> Result<Self, Unreadable> {
        let open =
            |folder: &Path| Stack::open(folder, format).map_err(|error| Unreadable::Tables(folder.into(), error));
        let is_worktree = refs.git_dir != refs.common_dir;
        Ok(Tables {
            worktree: is_worktree.then(|| open(&refs.git_dir)).transpose()?,
            shared: open(&refs.common_dir)?,
        })
    }

    fn head(&self) -> &Stack {
        self.worktree.as_ref().unwrap_or(&self.shared)
    }
}

/// A record of the reftables in `folder`.
fn record(stack: &Stack, folder: &Path, name: &BStr) -> Result<Found, Unreadable> {
    let found = stack
        .find(name)
        .map_err(|error| Unreadable::Tables(folder.into(), error))?;
    Ok(match found.map(|record| record.value) {
        None => Found::Nothing,
        Some(Value::Id(id) | Value::Peeled { id, .. }) => Found::Id(id),
        Some(Value::Symbolic(target)) => {
            Found::Symbolic(ref_name(&target).ok_or_else(|| Unreadable::Target(name.to_owned()))?)
        }
    })
}

/// Reads the file of a loose ref, which may be a symbolic link to another ref (git-config, `core.preferSymlinkRefs`).
fn loose(path: &Path) -> Result<Found, Unreadable> {
    if let Ok(link) = fs::read_link(path)
        && let Some(name) = ref_name(&gix::path::into_bstr(link).unwrap_or_default())
    {
        return Ok(Found::Symbolic(name));
    }
    let content = match fs::read(path) {
        Ok(content) => content,
        // A folder contains other refs, and nothing exists below the file of a ref.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Found::Nothing);
        }
        Err(error) => return Err(Unreadable::File(path.into(), error)),
    };
    let found = match content.strip_prefix(b"ref:") {
        Some(name) => ref_name(name.trim()).map(Found::Symbolic),
        None => content.fields().next().and_then(id).map(Found::Id),
    };
    found.ok_or_else(|| Unreadable::Content(path.into()))
}

/// Looks up a ref in `packed-refs`.
fn packed(path: &Path, name: &BStr) -> Result<Found, Unreadable> {
    let mut found = Found::Nothing;
    scan_packed(path, &mut |id, named| {
        if named == name {
            found = Found::Id(id);
        }
        matches!(found, Found::Nothing)
    })?;
    Ok(found)
}

/// Calls `take` with each ref of `packed-refs` until it returns false. A line is `<id> SP <name>`, `^<id>` (the target of the
/// tag before), or a comment.
fn scan_packed(path: &Path, take: &mut dyn FnMut(ObjectId, &[u8]) -> bool) -> Result<(), Unreadable> {
    let unreadable = |error| Unreadable::File(path.into(), error);
    let mut file = match fs::File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line).map_err(unreadable)? > 0 {
        if !line.starts_with(b"#") && !line.starts_with(b"^") {
            let parsed = line.trim_end().split_once_str(" ");
            let parsed = parsed.and_then(|(hex, named)| Some((id(hex)?, named)));
            let (id, named) = parsed.ok_or_else(|| Unreadable::Packed(path.into()))?;
            if !take(id, named) {
                return Ok(());
            }
        }
        line.clear();
    }
    Ok(())
}

fn id(hex: &[u8]) -> Option<ObjectId> {
    ObjectId::from_hex(hex).ok()
}

/// Returns `name` if a ref can have it, so that no other name ever becomes a path.
fn ref_name(name: &[u8]) -> Option<BString> {
    let valid = name.starts_with(b"refs/") && gix::validate::reference::name(name.as_bstr()).is_ok();
    (valid || name == HEAD_TARGET.as_bytes()).then(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";
    const OTHER: &str = "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2";

    /// A folder with these files.
    fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        write(&folder, files);
        folder
    }

    fn write(folder: &tempfile::TempDir, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn branch(folder: &tempfile::TempDir) -> Result<Option<(String, String)>, Unreadable> {
        let branch = Refs::open(folder.path(), Kind::Sha1)?.branch_of_head()?;
        Ok(branch.map(|(name, id)| (name.to_string(), id.to_string())))
    }

    fn target(folder: &tempfile::TempDir, name: &str) -> Result<String, Unreadable> {
        let target = Refs::open(folder.path(), Kind::Sha1)?.target(name.into())?;
        Ok(target.to_string())
    }

    #[test]
    fn a_loose_branch_hides_a_packed_one_and_a_detached_head_is_its_own() {
        let folder = repository(&[("HEAD", "ref: refs/heads/main\n")]);
        assert_eq!(branch(&folder).unwrap(), None);
        let packed = format!("# pack-refs with: peeled\n{OTHER} refs/heads/mai\n{ONE} refs/heads/main\n^{OTHER}\n");
        write(&folder, &[("packed-refs", &packed)]);
        assert_eq!(branch(&folder).unwrap(), Some(("refs/heads/main".into(), ONE.into())));
        write(&folder, &[("refs/heads/main", &format!("{OTHER}\n"))]);
        assert_eq!(branch(&folder).unwrap(), Some(("refs/heads/main".into(), OTHER.into())));
        write(&folder, &[("HEAD", &format!("{ONE}\n"))]);
        assert_eq!(branch(&folder).unwrap(), Some(("HEAD".into(), ONE.into())));
    }

    #[test]
    fn symbolic_refs_are_followed_to_their_targets() {
        let folder = repository(&[
            ("HEAD", "ref: refs/heads/master"),
            ("refs/heads/master", "ref: refs/heads/main\n"),
            ("refs/heads/main", ONE),
            ("refs/x/latest", "ref:refs/heads/master"),
            ("refs/x/dangling", "ref: refs/heads/none"),
        ]);
        assert_eq!(branch(&folder).unwrap(), Some(("refs/heads/main".into(), ONE.into())));
        for (name, expected) in [
            ("refs/x/latest", "refs/heads/main"),
            ("refs/x/dangling", "refs/heads/none"),
            ("refs/heads/main", "refs/heads/main"),
            ("refs/heads/new", "refs/heads/new"),
            ("refs/heads", "refs/heads"),
            ("refs/heads/main/below", "refs/heads/main/below"),
        ] {
            assert_eq!(target(&folder, name).unwrap(), expected, "{name}");
        }
        write(&folder, &[("refs/x/circle", "ref: refs/x/circle")]);
        assert!(matches!(target(&folder, "refs/x/circle"), Err(Unreadable::TooDeep(_))));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("refs/heads/main", folder.path().join("refs/x/link")).unwrap();
            assert_eq!(target(&folder, "refs/x/link").unwrap(), "refs/heads/main");
        }
    }

    #[test]
    fn a_worktree_has_its_own_head_and_the_refs_of_the_repository() {
        let folder = repository(&[
            ("r.git/HEAD", "ref: refs/heads/other"),
            ("r.git/refs/heads/main", ONE),
            ("r.git/worktrees/w/HEAD", "ref: refs/heads/main"),
            ("r.git/worktrees/w/commondir", "../..\n"),
        ]);
        let branch = Refs::open(&folder.path().join("r.git/worktrees/w"), Kind::Sha1)
            .unwrap()
            .branch_of_head();
        assert_eq!(branch.unwrap().unwrap().0, "refs/heads/main");
    }

    #[test]
    fn an_unreadable_ref_is_an_error_and_not_absent() {
        let unreadable = |files: &[(&str, &str)]| {
            let folder = repository(&[("HEAD", "ref: refs/heads/main")]);
            write(&folder, files);
            branch(&folder).expect_err("unreadable").to_string()
        };
        for head in ["ref: ../../etc/passwd", "ref: refs/heads/../../x", "nonsense", ""] {
            assert!(
                unreadable(&[("HEAD", head)]).contains("HEAD contains neither"),
                "{head}"
            );
        }
        for content in ["", "nonsense", &ONE[1..]] {
            let told = unreadable(&[("refs/heads/main", content)]);
            assert!(told.contains("refs/heads/main contains neither"), "{told}");
        }
        let told = unreadable(&[(
            "packed-refs",
            &format!("{ONE} refs/heads/a\n{} refs/heads/main\n", &ONE[1..]),
        )]);
        assert!(told.contains("packed-refs has an invalid line"), "{told}");
        let reftable = unreadable(&[("HEAD", "ref: refs/heads/.invalid\n")]);
        assert!(reftable.contains("cannot read the reftables"), "{reftable}");
        let folder = tempfile::tempdir().unwrap();
        assert!(branch(&folder).is_err(), "no repository");
    }
}
