//! `cargo bench --bench hook [-- --quick]`: the cost of the hook for a pusher, compared with alternatives.
//!
//! Measures whole processes on the file system of the folder for temporary files: p50 of the hook; of a *bare* program
//! (`benches/bare.rs`) that only reads its input, opens, locks, writes the same number of bytes and fsyncs; of bash
//! with flock and jq; of sqlite3 with a WAL and `synchronous=FULL`. Then counts system calls with strace.
//!
//! The shipped hook is linked statically, and so is the bare program. To measure a static hook, run `cargo bench --target
//! x86_64-unknown-linux-musl --bench hook`. `STARGATE_HOOK` selects another hook program.
#![cfg(unix)]
use std::{
    env,
    ffi::OsString,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Targets for a static program, in the order in which they are tried.
const STATIC: [&[&str]; 2] = [
    &["--target", "x86_64-unknown-linux-musl"],
    &["-C", "target-feature=+crt-static"],
];
const REFS: [usize; 3] = [1, 100, 10_000];
const AT_ONCE: [usize; 3] = [1, 8, 64];
const BASH: &str = r#"exec 9>>journal.bash; flock 9
jq -Rc 'split(" ") | {entry_id:"01JBAXF5Z8J8M7R2TK7G9QW3EN",timestamp:(now|todate),event:"ref_update",ref:.[2],
old_oid:.[0],new_oid:.[1],pusher:null,repo:"o/r",source:"post-receive",status:"pending",meta:null}' >&9
sync journal.bash"#;

fn main() {
    let quick = env::args().any(|argument| argument == "--quick");
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::new(folder.path(), if quick { 20 } else { 200 });
    println!(
        "p50 of whole processes, {} runs each; hook: {} ({}); bare: {}\n",
        bench.runs,
        bench.hook.display(),
        linkage(&bench.hook),
        linkage(&bench.bare),
    );
    println!(
        "| refs | at once | hook ms | bare ms | hook/bare | bash+jq ms | bash/hook | sqlite3 ms | sqlite/hook | pre-receive ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for refs in REFS {
        bench.compare(refs, 1);
    }
    for at_once in &AT_ONCE[1..] {
        bench.compare(1, *at_once);
    }
    bench.count_calls();
}

/// Builds the bare program, statically if possible.
fn build_bare(folder: &Path) -> PathBuf {
    let program = folder.join("bare");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/bare.rs");
    let build = |linked: &[&str]| {
        let mut rustc = Command::new("rustc");
        rustc
            .args(["--edition", "2024", "-C", "opt-level=3", "-C", "strip=symbols"])
            .args(linked);
        rustc.arg("-o").arg(&program).arg(&source).stderr(Stdio::null());
        rustc.status().is_ok_and(|status| status.success())
    };
    let built = STATIC.into_iter().chain([&[][..]]).any(build);
    assert!(built, "rustc cannot build {}", source.display());
    program
}

fn linkage(program: &Path) -> &'static str {
    let bytes = fs::read(program).expect("a program");
    // A dynamically linked program contains the path of its loader.
    let loader = bytes
        .windows(6)
        .take(4096)
        .any(|window| window == b"/lib64" || window == b"ld-lin");
    if loader { "dynamically linked" } else { "static" }
}

struct Bench {
    git_dir: PathBuf,
    hook: PathBuf,
    bare: PathBuf,
    runs: usize,
}

/// A program with its arguments.
type Program = Vec<OsString>;

impl Bench {
    fn new(folder: &Path, runs: usize) -> Self {
        let git_dir = folder.join("o/r.git");
        fs::create_dir_all(&git_dir).expect("a folder");
        gix::init_bare(&git_dir).expect("a repository");
        let hook = env::var_os("STARGATE_HOOK").unwrap_or_else(|| env!("CARGO_BIN_EXE_stargate-hook").into());
        Bench {
            git_dir,
            // It runs in another folder.
            hook: fs::canonicalize(hook).expect("a hook program"),
            bare: build_bare(folder),
            runs,
        }
    }

    fn compare(&self, refs: usize, at_once: usize) {
        let input = input(refs);
        let (hook, bare) = ((self.hook("post-receive"), &input), (self.bare(refs), &input));
        let bash = (["bash".into(), "-c".into(), BASH.into()].into(), &input);
        let (sqlite, script) = self.sqlite(refs);
        let [hook, bare, bash, sqlite] = self.measure([hook, bare, bash, (sqlite, &script)], at_once);
        // Separate from the others: it leaves intents, which post-receive would search.
        let [pre_receive] = self.measure([(self.hook("pre-receive"), &input)], at_once);
        fs::remove_dir_all(self.git_dir.join(".stargate/intents")).expect("intents");
        let times = |other: Option<f64>, to: Option<f64>| match (other, to) {
            (Some(other), Some(to)) => format!("{:.2}", other / to),
            _ => "-".into(),
        };
        let ms = |time: Option<f64>| time.map_or("-".into(), |time| format!("{time:.2}"));
        println!(
            "| {refs} | {at_once} | {} | {} | {} | {} | {} | {} | {} | {} |",
            ms(hook),
            ms(bare),
            times(hook, bare),
            ms(bash),
            times(bash, hook),
            ms(sqlite),
            times(sqlite, hook),
            ms(pre_receive),
        );
    }

    fn hook(&self, name: &str) -> Program {
        [self.hook.clone().into_os_string(), name.into()].into()
    }

    /// The bare program, writing as many bytes as the hook does.
    fn bare(&self, refs: usize) -> Program {
        let journal = self.git_dir.join(".stargate/mirror-journal.ndjson");
        let before = fs::metadata(&journal).map_or(0, |metadata| metadata.len());
        self.run(&self.hook("post-receive"), &input(refs));
        let bytes = fs::metadata(&journal).expect("a journal").len() - before;
        let bare = self.bare.clone().into_os_string();
        [bare, "journal.bare".into(), bytes.to_string().into()].into()
    }

    /// sqlite3, with a script for this many inserts in a transaction.
    fn sqlite(&self, refs: usize) -> (Program, Vec<u8>) {
        let program: Program = ["sqlite3".into(), "journal.db".into()].into();
        let create = "PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, line TEXT);\n";
        if which("sqlite3") {
            self.run(&program, create.as_bytes());
        }
        let line = "x".repeat(330);
        let inserts = format!("INSERT INTO entry (line) VALUES ('{line}');\n").repeat(refs);
        let script = format!(".timeout 60000\nPRAGMA synchronous=FULL;\nBEGIN IMMEDIATE;\n{inserts}COMMIT;\n");
        (program, script.into_bytes())
    }

    /// p50 of each program in milliseconds; `None` if it is not installed. The programs take turns, so that other load
    /// on this machine affects all of them alike.
    fn measure<const N: usize>(&self, programs: [(Program, &Vec<u8>); N], at_once: usize) -> [Option<f64>; N] {
        let largest = programs[0].1.len();
        let rounds = (self.runs / at_once.max(largest / 100_000).max(1)).max(5);
        let mut times = programs.each_ref().map(|_| Vec::new());
        for round in 0..=rounds {
            for ((program, input), times) in programs.iter().zip(&mut times) {
                if which(&program[0]) {
                    let taken = self.round(program, input, at_once);
                    // The first one warms up.
                    times.extend(taken.into_iter().filter(|_| round > 0));
                }
            }
        }
        times.map(|mut times: Vec<Duration>| {
            times.sort_unstable();
            Some(times.get(times.len() / 2)?.as_secs_f64() * 1e3)
        })
    }

    /// Starts this many processes at once, and returns their durations.
    fn round(&self, program: &Program, input: &[u8], at_once: usize) -> Vec<Duration> {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(|| self.run(program, input))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a run"))
                .collect()
        })
    }

    fn run(&self, program: &Program, input: &[u8]) -> Duration {
        let mut command = self.command(program);
        let started = Instant::now();
        let mut child = command.spawn().expect("it starts");
        child.stdin.take().expect("a pipe").write_all(input).expect("it reads");
        let status = child.wait().expect("it ends");
        assert!(status.success(), "{program:?}: {status}");
        started.elapsed()
    }

    fn command(&self, program: &Program) -> Command {
        let mut command = Command::new(&program[0]);
        command
            .args(&program[1..])
            .current_dir(&self.git_dir)
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("GIT_DIR", ".")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn count_calls(&self) {
        if !which("strace") {
            println!("\nsystem calls: strace is not installed");
            return;
        }
        println!("\n| refs | system calls of the hook | of the bare program |\n|---|---|---|");
        for refs in REFS {
            let (hook, bare) = (
                self.calls(&self.hook("post-receive"), refs),
                self.calls(&self.bare(refs), refs),
            );
            println!("| {refs} | {hook} | {bare} |");
        }
    }

    fn calls(&self, program: &Program, refs: usize) -> String {
        let summary = self.git_dir.join("calls");
        let mut strace: Program = ["strace", "-f", "-c", "-o"].map(OsString::from).into();
        strace.push(summary.clone().into());
        strace.extend(program.iter().cloned());
        self.run(&strace, &input(refs));
        let text = fs::read_to_string(summary).expect("a summary");
        let total = text.lines().find(|line| line.ends_with("total")).unwrap_or_default();
        total.split_whitespace().nth(3).unwrap_or("?").to_owned()
    }
}

fn input(refs: usize) -> Vec<u8> {
    let (old, new) = ("0".repeat(40), "a1".repeat(20));
    let line = |number: usize| format!("{old} {new} refs/kv/number-{number}\n");
    (0..refs).map(line).collect::<String>().into_bytes()
}

fn which(program: impl AsRef<Path>) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program.as_ref()).is_file())
}
