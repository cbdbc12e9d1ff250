//! `stargate-mirror demo`: shows the journey of a push in a temporary folder, without git or a network.
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use bstr::{BStr, ByteSlice};
use durable::{clock::SystemClock, storage::Disk};
use git_push::repository;
use git_push_transport::{Remote, Settings, resolve};
use gix::{ObjectId, refs::transaction::PreviousValue};

use super::{
    environment,
    install::hook_program,
    report::{Exit, Failure},
};
use crate::{
    hook::{
        POST_RECEIVE, PRE_RECEIVE,
        install::{Installation, install},
    },
    journal,
    worker::{self, Options, RemoteFence, WaitOutcome},
};

const LEDGER: &str = "refs/kv/main";
const INDEX: &str = "refs/kv-index/main";
const WATERMARK: &str = "refs/kv-mirror/main";

/// Show the journey of a push in a temporary folder.
///
/// Creates a Stargate and a mirror, writes commits as a push would, and runs the hook as its own process. Then it does
/// the work of run and wait. Shows the state after each step. Needs no git and no network.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep the folder
    #[arg(long)]
    keep: bool,
}

/// Runs the command.
///
/// # Errors
/// A step failed; the message says which.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    let folder = tempfile::Builder::new()
        .prefix("stargate-demo-")
        .tempdir()
        .map_err(|e| failed("create a folder", e))?;
    let demo = Demo::new(folder.path())?;
    demo.show()?;
    if args.keep {
        println!("\nKept: {}", folder.keep().display());
    } else {
        println!("\nThe folder was removed. Run `stargate-mirror demo --keep` to keep it.");
    }
    Ok(Exit::Done)
}

struct Demo {
    stargate: gix::Repository,
    mirror: PathBuf,
}

impl Demo {
    fn new(folder: &Path) -> Result<Self, Failure> {
        println!(
            "A Stargate and its mirror, two bare repositories in {}\n",
            folder.display()
        );
        let stargate = gix::init_bare(folder.join("stargate.git")).map_err(|e| failed("create the Stargate", e))?;
        let mirror = folder.join("mirror.git");
        gix::init_bare(&mirror).map_err(|e| failed("create the mirror", e))?;
        Ok(Demo { stargate, mirror })
    }

    fn show(&self) -> Result<(), Failure> {
        let git_dir = self.stargate.git_dir();
        let (program, _) = hook_program()?;
        let installation = Installation {
            git_dir,
            program: &program,
            chain: false,
            pre_receive: true,
        };
        install(&Disk, installation)?;
        println!("1. install: hooks/pre-receive and hooks/post-receive are in place");

        let first = self.push(None, "answer = 41")?;
        let second = self.push(Some(first), "answer = 42")?;

        let options = Options {
            remote: Some(self.mirror.display().to_string()),
            ..Default::default()
        };
        let report = worker::run(git_dir, &options, &environment, &SystemClock::default())?;
        let groups: Vec<_> = report.groups.iter().map(|group| group.outcome.word()).collect();
        println!(
            "\n4. run: {} ({} pending now). The journal:",
            groups.join(", "),
            report.pending
        );
        self.show_journal()?;
        println!("   The mirror:");
        self.show_mirror()?;
        if report.pending > 0 {
            let errors = report.groups.iter().filter_map(|group| group.error.clone());
            return Err(Failure::new(Exit::Incomplete, errors.collect::<Vec<_>>().join("; ")));
        }
        self.wait(second, &options)
    }

    /// Simulates a client's push on the server: writes objects, runs pre-receive, moves the refs, runs post-receive.
    fn push(&self, parent: Option<ObjectId>, content: &str) -> Result<ObjectId, Failure> {
        let number = if parent.is_some() { 3 } else { 2 };
        let ledger = self.commit(parent, content).map_err(|e| failed("write a commit", e))?;
        let old_index = self.id(&self.stargate, INDEX);
        let index = self
            .commit(old_index, &format!("index of {content}"))
            .map_err(|e| failed("write a commit", e))?;
        let mut lines = String::new();
        for (name, old, new) in [(LEDGER, parent, ledger), (INDEX, old_index, index)] {
            let null = self.stargate.object_hash().null();
            lines += &format!("{} {new} {name}\n", old.unwrap_or(null));
        }
        self.run_hook(PRE_RECEIVE, &lines)?;
        for (name, new) in [(LEDGER, ledger), (INDEX, index)] {
            self.stargate
                .reference(name, new, PreviousValue::Any, "demo")
                .map_err(|e| failed("move a ref", e))?;
        }
        println!("\n{number}. push of \"{content}\", which pre-receive and post-receive have recorded. The journal:");
        self.run_hook(POST_RECEIVE, &lines)?;
        self.show_journal()?;
        Ok(ledger)
    }

    fn commit(&self, parent: Option<ObjectId>, content: &str) -> Result<ObjectId, gix::Error> {
        let repository = &self.stargate;
        let blob = repository.write_blob(content)?;
        let mut tree = repository.empty_tree().edit()?;
        tree.upsert("data", gix::object::tree::EntryKind::Blob, blob)?;
        let tree = tree.write()?;
        let who = gix::actor::SignatureRef {
            name: "A client".into(),
            email: "client@example.com".into(),
            time: "1700000000 +0000",
        };
        let message = format!("{content}\n\nKV-Txn: demo\n");
        Ok(repository.new_commit_as(who, who, message, tree, parent)?.id)
    }

    fn run_hook(&self, name: &str, lines: &str) -> Result<(), Failure> {
        let git_dir = self.stargate.git_dir();
        let hook = git_dir.join("hooks").join(name);
        let mut child = Command::new(&hook)
            .current_dir(git_dir)
            .env("GIT_DIR", ".")
            .env("GIT_PUSHER_NAME", "client@example.com")
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|e| failed("start the hook", e))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin
                .write_all(lines.as_bytes())
                .map_err(|e| failed("write to the hook", e))?;
        }
        let status = child.wait().map_err(|e| failed("wait for the hook", e))?;
        if status.success() {
            Ok(())
        } else {
            Err(failed("run the hook", status))
        }
    }

    fn wait(&self, commit: ObjectId, options: &Options) -> Result<(), Failure> {
        let name = options.remote.clone().unwrap_or_default();
        let mut remote = Remote::open(
            resolve(BStr::new(&name), None)?,
            &Settings::from_environment(environment)?,
        )?;
        let mut fence = RemoteFence::new(&mut remote, BStr::new("main"), None);
        let waited = worker::wait(&mut fence, commit, Duration::from_secs(10), &SystemClock::default())?;
        match waited {
            WaitOutcome::Visible(_) => println!("\n5. wait --oid {commit}: visible"),
            WaitOutcome::TimedOut { .. } | WaitOutcome::Rewound(_) => {
                return Err(Failure::new(Exit::TimedOut, "wait timed out"));
            }
        }
        Ok(())
    }

    fn show_journal(&self) -> Result<(), Failure> {
        let path = journal::path_in(self.stargate.git_dir());
        let text = std::fs::read_to_string(&path).map_err(|e| failed("read the journal", e))?;
        for item in journal::Reader::new(text.as_bytes(), 0) {
            if let Ok(journal::Item::Entry(located)) = item {
                let entry = located.entry;
                let new = entry.update.new.to_hex_with_len(10);
                println!(
                    "     {}  {:<20} {new}  {}",
                    entry.entry_id,
                    entry.update.name.to_str_lossy(),
                    entry.status
                );
            }
        }
        Ok(())
    }

    fn show_mirror(&self) -> Result<(), Failure> {
        let mirror = repository::open(&self.mirror).map_err(|e| failed("open the mirror", e))?;
        for name in [LEDGER, INDEX, WATERMARK] {
            let stands = self
                .id(&mirror, name)
                .map_or("absent".into(), |id| id.to_hex_with_len(10).to_string());
            println!("     {name:<20} {stands}");
        }
        Ok(())
    }

    fn id(&self, repository: &gix::Repository, name: &str) -> Option<ObjectId> {
        repository
            .find_reference(name)
            .ok()
            .map(|reference| reference.id().detach())
    }
}

fn failed(what: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("cannot {what}: {why}"))
}
