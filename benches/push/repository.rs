//! Pushes of a clone of any repository: `--repository PATH`, or `--repository generated`.
//!
//! | row | what is pushed |
//! |---|---|
//! | `first` | all branches and tags, to an empty remote, from one pack without a bitmap |
//! | `first-bitmap` | the same, as `git gc` leaves a bare repository: with a bitmap and a commit-graph |
//! | `commits-N` | the last N first-parent commits of HEAD, 2,000 or as many as there are, without a bitmap |
//! | `commits-N-bitmap` | the same, as `git gc` leaves it |
//! | `one-by-one-N` | the last N first-parent commits, 40 or as many as there are, in a push each, as `git gc` leaves it |
//!
//! Each row is compared with `git push`, and with `git push` as fast as this git can be (`pack.usePathWalk`, git 2.51;
//! `http.proactiveAuth`, git 2.46). A row of several pushes shows the median of wall and CPU time, the largest peak of memory,
//! all bytes, and the requests of one push.
//!
//! `--against NAME=PROGRAM` compares with another program too: `PROGRAM SOURCE URL ID:REF…` pushes atomically, with the token
//! of `GITHUB_PAT`. A push of everything has a refspec for each ref.
//!
//! Further arguments are names of rows; without any, all rows are measured.
use std::path::{Path, PathBuf};

use crate::generated;
use crate::measure::{Cost, best, git, git_output, init, line, print};
use crate::server::Server;

/// Number of commits of the long push.
const MANY: usize = 2000;
/// Number of pushes of one commit.
const PUSHES: usize = 40;
const BRANCH: &str = "refs/heads/main";

/// The clones, and their history.
struct Clones {
    folder: tempfile::TempDir,
    /// First-parent commits of HEAD, the newest first.
    commits: Vec<String>,
}

/// One push after the other.
struct Task {
    name: String,
    source: PathBuf,
    /// What the remote starts with.
    before: PathBuf,
    /// Ids and names of the refs of each push.
    pushes: Vec<Vec<(String, String)>>,
}

/// What ours is compared with.
struct Opponent {
    name: String,
    program: Program,
}

enum Program {
    /// `git push`, with these options of git.
    Git(Vec<&'static str>),
    Other(PathBuf),
}

/// What the command line asks for.
#[derive(Default)]
pub struct Options<'a> {
    /// Makes less of everything.
    pub quick: bool,
    /// Names and paths of other programs.
    pub against: Vec<(&'a str, &'a str)>,
    /// Names of the rows to measure. Empty means all.
    pub rows: Vec<&'a str>,
}

/// Prints a table of pushes of the repository at `path`, or of a generated one.
pub fn table(path: &str, options: &Options<'_>) {
    let quick = options.quick;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = match path {
        "generated" => generated::repository(&folder.path().join("generated.git"), quick),
        path => std::path::absolute(path).expect("a path"),
    };
    let clones = Clones::new(&path, folder);
    let server = Server::new(None);
    let mut opponents = gits();
    opponents.extend(options.against.iter().map(|(name, path)| Opponent {
        name: (*name).into(),
        program: Program::Other(std::path::absolute(path).expect("a path")),
    }));
    println!(
        "{} at {}: {} first-parent commits, {} objects, {} refs",
        path.display(),
        clones.commits[0],
        clones.commits.len(),
        git_output(&clones.plain(), &["rev-list", "--all", "--objects", "--count"]),
        clones.all_refs().len(),
    );
    let mut lines = Vec::new();
    let is_wanted = |task: &Task| options.rows.is_empty() || options.rows.contains(&task.name.as_str());
    for task in clones.tasks(quick).into_iter().filter(is_wanted) {
        eprintln!("{} …", task.name);
        let measured = task.measure(&server, &opponents);
        // Printed at once, in case the rest is interrupted.
        measured.iter().for_each(|line| eprintln!("{line}"));
        lines.extend(measured);
    }
    print(&lines);
}

fn gits() -> Vec<Opponent> {
    let version = git_output(Path::new("."), &["version"]);
    let number = version.split(' ').nth(2).unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.parse().unwrap_or(0));
    let known: (u32, u32) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let mut options = Vec::new();
    for (since, option) in [
        ((2, 51), "pack.usePathWalk=true"),
        ((2, 46), "http.proactiveAuth=basic"),
    ] {
        if known >= since {
            options.extend(["-c", option]);
        } else {
            println!("git {number} has no {option}");
        }
    }
    println!("git is git {number}; git+ is the same with {}", options.join(" "));
    let git = |name: &str, options| Opponent {
        name: name.into(),
        program: Program::Git(options),
    };
    vec![git("git", Vec::new()), git("git+", options)]
}

impl Clones {
    fn new(path: &Path, folder: tempfile::TempDir) -> Self {
        let clones = |name: &str| folder.path().join(name).display().to_string();
        let [plain, collected, empty] = ["plain.git", "collected.git", "empty.git"].map(clones);
        git(
            folder.path(),
            &["clone", "-q", "--bare", &path.display().to_string(), &plain],
        );
        git(Path::new(&plain), &["repack", "-adq", "--no-write-bitmap-index"]);
        for graph in ["commit-graph", "commit-graphs"] {
            let graph = Path::new(&plain).join("objects/info").join(graph);
            // A clone has none, unless it was copied.
            let _ = std::fs::remove_file(&graph).or_else(|_| std::fs::remove_dir_all(&graph));
        }
        git(folder.path(), &["clone", "-q", "--bare", &plain, &collected]);
        git(Path::new(&collected), &["-c", "repack.writeBitmaps=true", "gc", "-q"]);
        init(Path::new(&empty));
        let commits = git_output(Path::new(&plain), &["rev-list", "--first-parent", "HEAD"]);
        Clones {
            folder,
            commits: commits.lines().map(str::to_owned).collect(),
        }
    }

    fn plain(&self) -> PathBuf {
        self.folder.path().join("plain.git")
    }

    /// Returns ids and names of all branches and tags.
    fn all_refs(&self) -> Vec<(String, String)> {
        let format = "--format=%(objectname) %(refname)";
        let refs = git_output(&self.plain(), &["for-each-ref", format, "refs/heads/", "refs/tags/"]);
        let refs = refs.lines().filter_map(|line| line.split_once(' '));
        refs.map(|(id, name)| (id.to_owned(), name.to_owned())).collect()
    }

    /// Makes a repository with the history up to a commit that is this many behind.
    fn behind(&self, commits: usize) -> PathBuf {
        let path = self.folder.path().join(format!("behind-{commits}.git"));
        init(&path);
        let refspec = format!("{}:{BRANCH}", self.commits[commits]);
        git(&self.plain(), &["push", "-q", &path.display().to_string(), &refspec]);
        path
    }

    fn tasks(&self, quick: bool) -> Vec<Task> {
        let (plain, collected) = (self.plain(), self.folder.path().join("collected.git"));
        let behind = self.commits.len() - 1;
        let (many, one_by_one) = (
            behind.min(if quick { 200 } else { MANY }),
            behind.min(if quick { 4 } else { PUSHES }),
        );
        let task = |name: String, source: &Path, before: &Path, pushes: Vec<Vec<(String, String)>>| Task {
            name,
            source: source.to_owned(),
            before: before.to_owned(),
            pushes,
        };
        let empty = self.folder.path().join("empty.git");
        let old = self.behind(many);
        let to = |commits: usize| vec![(self.commits[commits].clone(), BRANCH.to_owned())];
        let steps = (0..one_by_one).rev().map(to).collect();
        vec![
            task("first".into(), &plain, &empty, vec![self.all_refs()]),
            task("first-bitmap".into(), &collected, &empty, vec![self.all_refs()]),
            task(format!("commits-{many}"), &plain, &old, vec![to(0)]),
            task(format!("commits-{many}-bitmap"), &collected, &old, vec![to(0)]),
            task(
                format!("one-by-one-{one_by_one}"),
                &collected,
                &self.behind(one_by_one),
                steps,
            ),
        ]
    }
}

impl Task {
    fn measure(&self, server: &Server, opponents: &[Opponent]) -> Vec<String> {
        let ours = self.all(server, |wanted| server.next_of_ours(&self.source, wanted));
        let line = |opponent: &Opponent| {
            let push = |wanted: &[(String, String)]| {
                let each = || wanted.iter().map(|(id, name)| format!("{id}:{name}")).collect();
                match &opponent.program {
                    Program::Other(program) => server.next_of(program, &self.source, each()),
                    Program::Git(options) if wanted.len() == 1 => server.next_of_git(&self.source, options, &each()),
                    Program::Git(options) => {
                        let all = ["refs/heads/*", "refs/tags/*"].map(|all| format!("{all}:{all}"));
                        server.next_of_git(&self.source, options, &all)
                    }
                }
            };
            line(&self.name, &opponent.name, [ours, self.all(server, push)])
        };
        opponents.iter().map(line).collect()
    }

    fn all(&self, server: &Server, push: impl Fn(&[(String, String)]) -> Cost) -> Cost {
        let once = || {
            server.reset(&self.before);
            let costs = self.pushes.iter().map(|wanted| push(wanted));
            together(costs.collect())
        };
        if self.pushes.len() == 1 { best(once) } else { once() }
    }
}

/// Returns the cost of several pushes as one.
fn together(mut costs: Vec<Cost>) -> Cost {
    let middle = costs.len() / 2;
    costs.sort_by(|one, other| one.cpu.total_cmp(&other.cpu));
    let cpu = costs[middle].cpu;
    costs.sort_by_key(|cost| cost.wall);
    Cost {
        requests: costs.iter().map(|cost| cost.requests).max().unwrap_or(0),
        bytes: costs.iter().map(|cost| cost.bytes).sum(),
        wall: costs[middle].wall,
        cpu,
        memory: costs.iter().map(|cost| cost.memory).max().unwrap_or(0),
    }
}
