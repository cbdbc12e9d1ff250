//! `pre-receive`: no journal, no push.
//!
//! git runs it before the refs move (githooks, *pre-receive*), with the same lines on standard input as `post-receive`
//! gets, and its failure rejects the whole push: nothing is updated. So here it is made sure that what is accepted can be
//! journaled: the journal is locked, repaired if a writer has left half a line, and blocks for the new entries are set
//! aside behind its end (`fallocate`, where the file system has it; an entry appended later uses them up). Then the
//! *intent* is written durably: when `post-receive` does not run, or cannot append, the worker makes the entries of it.
//!
//! A hook that is chained runs first, and its rejection rejects, and leaves no intent. Then the append-only guard, if one
//! is configured. A push without mirrored refs leaves no trace. A push that is accepted is told of blobs that the mirror
//! may refuse.
//!
//! # Limitations
//!
//! Blocks that are set aside are shared by pushes that run at the same time. There are at least 64 KiB of them, some 180
//! entries; a push that finds the disk full nevertheless has its intent.
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use bstr::ByteSlice;
use durable::{
    clock::{Clock, SystemClock},
    storage::Disk,
};

use super::{
    account::Account,
    chained::Chained,
    guard, input,
    large_blobs::{MAX_BLOB, large_blobs},
    push::{Drafting, configuration},
};
use crate::journal::Writer;

/// How many large blobs the pusher is told by name.
const MAX_TOLD: usize = 3;

/// Runs the hook in this process's environment: standard input, `$GIT_DIR`, the disk. `chained` is a hook that is to run
/// first.
pub fn main(chained: Option<&Path>) -> ExitCode {
    let environment = |name: &str| std::env::var_os(name);
    let git_dir = environment("GIT_DIR").map_or_else(|| ".".into(), PathBuf::from);
    let clock = SystemClock::default();
    // What is wrong with the configuration is told by post-receive.
    let config = configuration(&git_dir, &mut Account::new(clock));
    let mut account = Account::new(clock);

    let mut drafting = Drafting::new(&environment, &config, &git_dir);
    let (mut drafts, mut judged) = (Vec::new(), Vec::new());
    let kept = input::read(io::stdin().lock(), chained.is_some(), &mut account, |update| {
        if guard::is_on(&config) {
            judged.push(update.clone());
        }
        if config.refs.matches(update.name.as_bstr()) {
            drafts.push(drafting.draft(update));
        }
    });
    if let Some(Err(why)) = chained.map(|program| ask(program, kept)) {
        account.tell(&why);
        account.complete = false;
    }
    if account.complete {
        guard::judge(&judged, &environment, &config, &git_dir, &mut account);
    }
    if account.complete && !drafts.is_empty() {
        let writer = Writer::new(Disk, clock, &git_dir, config.lock_timeout).allow_network(config.allow_nfs);
        if let Err(error) = writer.intend(&drafts) {
            reject(&error.to_string(), &git_dir, &mut account);
        } else if let Some(quarantine) = environment("GIT_QUARANTINE_PATH") {
            warn_of_large_blobs(Path::new(&quarantine), drafts[0].update.new.kind(), &mut account);
        }
    }
    let accepted = account.complete;
    // The pusher may have gone, and nobody else is there to be told.
    let _ = io::stderr().write_all(account.into_told().as_bytes());
    if accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the chained hook to its end. It tells the pusher itself why it rejects.
fn ask(program: &Path, input: Vec<u8>) -> Result<(), String> {
    match Chained::run(program, &input) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("rejected by {}, which ended with {status}", program.display())),
        Err(error) => Err(format!(
            "rejected, because {} cannot be run: {error}",
            program.display()
        )),
    }
}

fn warn_of_large_blobs(quarantine: &Path, kind: gix::hash::Kind, account: &mut Account<impl Clock>) {
    let large = large_blobs(quarantine, kind);
    let names = large
        .iter()
        .take(MAX_TOLD)
        .map(|(id, size)| format!("{id} ({} MiB)", size >> 20));
    let names: Vec<_> = names.collect();
    if !names.is_empty() {
        account.tell(&format!(
            "{} over {} MiB: GitHub refuses that, and what comes with it; {}",
            if large.len() == 1 {
                "one blob of this push is".into()
            } else {
                format!("{} blobs of this push are", large.len())
            },
            MAX_BLOB >> 20,
            names.join(", ")
        ));
    }
}

fn reject(why: &str, git_dir: &Path, account: &mut Account<impl Clock>) {
    account.complete = false;
    account.tell("this push is rejected, and nothing was updated, because it could not be queued for the mirror:");
    account.tell(&format!("  {why}"));
    account.tell("please tell the administrator of this server");
    account.log(&format!("rejected a push: {why}"));
    account.write_log(&Disk, git_dir);
}
