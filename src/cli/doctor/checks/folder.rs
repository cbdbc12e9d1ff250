//! Ownership of the folder `.stargate`: the owner of the repository, as whom git runs the hooks, and the worker must both
//! be able to write there.
use std::fmt;

use super::{
    check::{Check, Name, Verdict},
    commands::{Commands, quoted},
};

/// Permission of the owner to write.
const OWNER_WRITES: u32 = 0o200;
/// Permission of the group to write.
const GROUP_WRITES: u32 = 0o020;
/// Permission of all others to write.
const OTHERS_WRITE: u32 = 0o002;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Number.
    pub id: u32,
    /// Name, if the system knows one.
    pub name: Option<String>,
}

impl User {
    /// Returns the name, else the number, as `chown` takes it.
    fn word(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.id.to_string())
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "uid {}", self.id),
        }
    }
}

/// A file or folder below `.stargate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedFile {
    /// Path in the repository.
    pub path: String,
    /// Its owner.
    pub user: User,
    /// Its group.
    pub group: u32,
    /// Its permissions.
    pub mode: u32,
    /// True for a lock or a memory of the worker.
    pub is_of_worker: bool,
}

/// Facts about the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderFacts {
    /// Owner of the repository.
    pub owner: User,
    /// Group of the repository.
    pub group: u32,
    /// User of this process.
    pub this: User,
    /// True if the repository is shared with its group.
    pub is_shared: bool,
    /// The folder and the files below it. Empty if it does not exist.
    pub files: Vec<OwnedFile>,
}

/// Checks the folder. Root can write to all files, so a repository of root has no findings.
pub fn checks(facts: &FolderFacts, commands: &Commands) -> Vec<Check> {
    if facts.owner.id == 0 {
        return Vec::new();
    }
    let found = [this_user(facts, commands), files(facts, commands)];
    found.into_iter().flatten().collect()
}

fn this_user(facts: &FolderFacts, commands: &Commands) -> Option<Check> {
    let FolderFacts { owner, this, .. } = facts;
    if this.id == 0 || this.id == owner.id || facts.is_shared {
        return None;
    }
    let repository = commands.repository();
    let found =
        format!("this runs as {this}, but {repository} belongs to {owner}: neither can write to files of the other");
    let folder = quoted(repository);
    let hint = format!(
        "run the worker as {owner}; or share the repository with its group, as {owner}: {}, `chmod -R g+rwX {folder}` and \
         `find {folder} -type d -exec chmod g+s {{}} +`",
        commands.set("core.sharedRepository", "group")
    );
    Some(Check::new(Name::Owner, Verdict::Problem, found).hint(hint))
}

fn files(facts: &FolderFacts, commands: &Commands) -> Option<Check> {
    let closed: Vec<&OwnedFile> = facts.files.iter().filter(|file| !facts.is_writable(file)).collect();
    let of_other = |file: &&&OwnedFile| file.user.id != facts.owner.id;
    let of_worker = closed.iter().filter(of_other).find(|file| file.is_of_worker);
    let first = of_worker.or(closed.first())?;
    let (owner, folder) = (&facts.owner, commands.path(".stargate"));
    let others = match closed.len() - 1 {
        0 => String::new(),
        others => format!(" (and {others} more)"),
    };
    let (path, user) = (&first.path, &first.user);
    let chown = format!("`chown -R {} {folder}`", quoted(&owner.word()));
    let (found, hint) = if of_worker.is_some() {
        (
            format!(
                "the worker has run as {user}, which owns {path}{others}, but {owner} owns the repository: pushes by {owner} are \
                 rejected"
            ),
            format!(
                "as root, run {chown}; then run the worker as {owner} (User= in its unit, or the crontab of {owner})"
            ),
        )
    } else if closed.iter().any(|file| of_other(&file)) {
        (
            format!(
                "the owner of the repository ({owner}) cannot write to {path}{others}, which belongs to {user}: pushes are \
                 rejected"
            ),
            format!("as root, run {chown}"),
        )
    } else {
        (
            format!(
                "the owner of the repository ({owner}) cannot write to {path} (mode {:04o}){others}: pushes are rejected",
                first.mode
            ),
            format!("run `chmod -R u+rwX {folder}`"),
        )
    };
    Some(Check::new(Name::Owner, Verdict::Problem, found).hint(hint))
}

impl FolderFacts {
    /// Returns true if the owner of the repository can write to the file.
    fn is_writable(&self, file: &OwnedFile) -> bool {
        let needed = if file.user.id == self.owner.id {
            OWNER_WRITES
        } else if file.group == self.group {
            GROUP_WRITES
        } else {
            OTHERS_WRITE
        };
        file.mode & needed != 0
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn user(id: u32, name: &str) -> User {
        User {
            id,
            name: Some(name.into()),
        }
    }

    fn file(path: &str, user: User, mode: u32) -> OwnedFile {
        OwnedFile {
            is_of_worker: path.contains("worker"),
            path: path.into(),
            group: user.id,
            user,
            mode,
        }
    }

    /// Findings about these files, of a repository of `git`, by root.
    fn found(files: Vec<OwnedFile>) -> Vec<Check> {
        let facts = FolderFacts {
            owner: user(998, "git"),
            group: 998,
            this: user(0, "root"),
            is_shared: false,
            files,
        };
        checks(&facts, &Commands::new("", Path::new("/r.git")))
    }

    #[test]
    fn files_that_the_owner_cannot_write_are_a_problem() {
        let git = || user(998, "git");
        let mine = || file(".stargate", git(), 0o755);
        let mut of_group = file(".stargate/mirror-journal.ndjson", user(33, "www-data"), 0o664);
        of_group.group = 998;
        assert_eq!(found(vec![mine(), of_group]), []);
        for (planted, says, hint) in [
            (
                file(".stargate/worker.json", user(33, "www-data"), 0o644),
                "the worker has run as www-data",
                "`chown -R git /r.git/.stargate`; then run the worker as git",
            ),
            (
                file(".stargate/mirror-journal.ndjson", user(0, "root"), 0o644),
                "cannot write to .stargate/mirror-journal.ndjson, which belongs to root",
                "`chown -R git /r.git/.stargate`",
            ),
            (
                file(".stargate/intents", git(), 0o555),
                ".stargate/intents (mode 0555)",
                "`chmod -R u+rwX /r.git/.stargate`",
            ),
        ] {
            let checks = found(vec![mine(), planted]);
            let [check] = &checks[..] else {
                panic!("one check: {checks:?}")
            };
            assert_eq!(check.verdict, Verdict::Problem);
            assert!(check.found.contains(says), "{check:?}");
            assert!(
                check.hint.as_ref().is_some_and(|given| given.contains(hint)),
                "{check:?}"
            );
        }
    }

    #[test]
    fn another_user_can_work_only_in_a_shared_repository() {
        let facts = |is_shared| FolderFacts {
            owner: user(998, "git"),
            group: 998,
            this: user(33, "www-data"),
            is_shared,
            files: Vec::new(),
        };
        let commands = Commands::new("", Path::new("/r.git"));
        assert_eq!(checks(&facts(true), &commands), []);
        let [check] = &checks(&facts(false), &commands)[..] else {
            panic!("one check")
        };
        assert!(
            check.found.contains("this runs as www-data, but /r.git belongs to git"),
            "{check:?}"
        );
        assert!(
            check
                .hint
                .as_ref()
                .is_some_and(|hint| hint.contains("core.sharedRepository group`, `chmod -R g+rwX /r.git`")),
            "{check:?}"
        );
    }

    #[test]
    fn an_owner_without_a_name_is_a_number() {
        let nameless = |id| User { id, name: None };
        let facts = FolderFacts {
            owner: nameless(54321),
            group: 54321,
            this: nameless(0),
            is_shared: false,
            files: vec![file(".stargate", nameless(54322), 0o755)],
        };
        let [check] = &checks(&facts, &Commands::new("", Path::new("/r.git")))[..] else {
            panic!("one check")
        };
        assert!(check.found.contains("belongs to uid 54322"), "{check:?}");
        let chown = "as root, run `chown -R 54321 /r.git/.stargate`";
        assert_eq!(check.hint.as_deref(), Some(chown), "{check:?}");
    }
}
