//! Repositories made by git, and git's own list of their refs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use git_reftable::bstr::{BStr, BString, ByteSlice};
use git_reftable::gix_hash::{Kind, ObjectId};
use git_reftable::{Record, Stack, Value};
use tempfile::TempDir;

/// Refs by name.
pub type Refs = BTreeMap<BString, Value>;

/// A bare repository with refs in reftables and a few objects.
pub struct Repo {
    dir: TempDir,
    pub hash: Kind,
}

/// The objects of every [`Repo`].
#[derive(Debug, Clone)]
pub struct Objects {
    pub commits: Vec<ObjectId>,
    /// Annotated tags and what they lead to; the last one is a tag of a tag.
    pub tags: Vec<(ObjectId, ObjectId)>,
}

impl Objects {
    /// All values that are ids, commits first.
    pub fn values(&self) -> Vec<Value> {
        let commits = self.commits.iter().map(|id| Value::Id(*id));
        commits
            .chain(self.tags.iter().map(|&(id, peeled)| Value::Peeled { id, peeled }))
            .collect()
    }
}

impl Repo {
    pub fn new(hash: Kind) -> Self {
        let repo = Self {
            dir: tempfile::tempdir().unwrap(),
            hash,
        };
        copy(template(hash).0.path(), repo.path());
        repo
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn folder(&self) -> PathBuf {
        self.path().join("reftable")
    }

    pub fn objects(&self) -> &'static Objects {
        &template(self.hash).1
    }

    pub fn git<const N: usize>(&self, args: [&str; N]) -> BString {
        git(self.path(), &args, b"")
    }

    pub fn config(&self, key: &str, value: &str) {
        self.git(["config", key, value]);
    }

    /// One transaction of the commands of `git update-ref --stdin -z`.
    pub fn update(&self, commands: &Commands) {
        git(self.path(), &["update-ref", "--stdin", "-z"], &commands.0);
    }

    pub fn stack(&self) -> Stack {
        Stack::open(self.path(), self.hash).unwrap()
    }

    /// The names of the current tables.
    pub fn tables(&self) -> Vec<String> {
        let list = fs::read_to_string(self.folder().join("tables.list")).unwrap();
        list.lines().map(str::to_owned).collect()
    }

    /// Name, id, peeled id, and symbolic target of every ref that leads to an object.
    pub fn for_each_ref(&self) -> Vec<[BString; 4]> {
        let format = "--format=%(refname)%00%(objectname)%00%(*objectname)%00%(symref)";
        let out = self.git(["for-each-ref", "--include-root-refs", format]);
        out.lines()
            .map(|line| {
                let fields: Vec<BString> = line.split_str("\0").map(BString::from).collect();
                fields.try_into().unwrap()
            })
            .collect()
    }
}

/// Commands of one transaction.
#[derive(Debug, Default)]
pub struct Commands(Vec<u8>);

impl Commands {
    pub fn set<'a>(&mut self, name: impl Into<&'a BStr>, id: ObjectId) -> &mut Self {
        self.add(b"update ", name.into(), &[id.to_string().as_bytes(), b""])
    }

    pub fn delete<'a>(&mut self, name: impl Into<&'a BStr>) -> &mut Self {
        self.add(b"delete ", name.into(), &[b""])
    }

    pub fn point<'a>(&mut self, name: impl Into<&'a BStr>, target: &[u8]) -> &mut Self {
        self.add(b"symref-update ", name.into(), &[target, b"", b""])
    }

    fn add(&mut self, verb: &[u8], name: &BStr, fields: &[&[u8]]) -> &mut Self {
        self.0.extend_from_slice(b"option no-deref\0");
        self.0.extend_from_slice(verb);
        for field in [name.as_bytes()].iter().chain(fields) {
            self.0.extend_from_slice(field);
            self.0.push(0);
        }
        self
    }
}

/// All refs of a stack, in its order.
pub fn list(stack: &Stack) -> Vec<Record> {
    stack.iter().unwrap().collect::<Result<_, _>>().unwrap()
}

/// The refs of a stack by name, which must come in the order of names.
pub fn refs(stack: &Stack) -> Refs {
    let list = list(stack);
    assert!(list.is_sorted_by(|a, b| a.name < b.name), "the order of names");
    list.into_iter().map(|record| (record.name, record.value)).collect()
}

/// Returns the output of `git for-each-ref` for the refs of a stack. Symbolic refs are followed to their end.
pub fn as_git_prints(stack: &Stack) -> Vec<[BString; 4]> {
    let refs = refs(stack);
    let mut lines = Vec::new();
    for (name, value) in &refs {
        let (mut target, mut resolved) = (BString::default(), Some(value));
        for _ in 0..5 {
            let Some(Value::Symbolic(next)) = resolved else { break };
            (target, resolved) = (next.clone(), refs.get(next));
        }
        let (id, peeled) = match resolved {
            Some(Value::Id(id)) => (id.to_string(), String::new()),
            Some(Value::Peeled { id, peeled }) => (id.to_string(), peeled.to_string()),
            Some(Value::Symbolic(_)) | None => continue,
        };
        lines.push([name.clone(), id.into(), peeled.into(), target]);
    }
    lines
}

/// Runs git, which must succeed, without any configuration of the machine.
pub fn git(dir: &Path, args: &[&str], stdin: &[u8]) -> BString {
    let mut command = Command::new("git");
    command
        .current_dir(dir)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIT_")) {
        command.env_remove(name);
    }
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for who in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{who}_NAME"), "A")
            .env(format!("GIT_{who}_EMAIL"), "a@example.com");
    }
    let mut child = command.spawn().expect("the tests need git 2.46 or later");
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "git {args:?}: {}", out.stderr.as_bstr());
    out.stdout.into()
}

/// A repository from which the others are copied.
fn template(hash: Kind) -> &'static (TempDir, Objects) {
    static SHA1: OnceLock<(TempDir, Objects)> = OnceLock::new();
    static SHA256: OnceLock<(TempDir, Objects)> = OnceLock::new();
    let cell = if hash == Kind::Sha1 { &SHA1 } else { &SHA256 };
    cell.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let format = format!("--object-format={hash}");
        git(
            dir.path(),
            &[
                "init",
                "-q",
                "--bare",
                "--ref-format=reftable",
                "-b",
                "main",
                &format,
                ".",
            ],
            b"",
        );
        git(dir.path(), &["config", "core.logAllRefUpdates", "always"], b"");
        let objects = make_objects(dir.path());
        (dir, objects)
    })
}

fn make_objects(dir: &Path) -> Objects {
    let id = |bytes: BString| ObjectId::from_hex(bytes.trim_ascii()).unwrap();
    let tree = id(git(dir, &["mktree"], b""));
    let write = |kind: &str, text: String| id(git(dir, &["hash-object", "-t", kind, "-w", "--stdin"], text.as_bytes()));
    let commits: Vec<_> = (0..6)
        .map(|n| {
            let who = format!("A <a@example.com> {n} +0000");
            write("commit", format!("tree {tree}\nauthor {who}\ncommitter {who}\n\n{n}\n"))
        })
        .collect();
    let tag = |object: ObjectId, kind: &str| {
        write(
            "tag",
            format!("object {object}\ntype {kind}\ntag v\ntagger A <a@example.com> 0 +0000\n\nv\n"),
        )
    };
    let first = tag(commits[0], "commit");
    let second = tag(commits[1], "commit");
    let of_first = tag(first, "tag");
    Objects {
        tags: vec![(first, commits[0]), (second, commits[1]), (of_first, commits[0])],
        commits,
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
