//! `pre-receive`: rejects a push that cannot be recorded.
//!
//! git runs it before the refs move (githooks, *pre-receive*), with the same input as `post-receive`. Its failure rejects
//! the whole push, and no ref moves. So this hook makes sure that an accepted push can be journaled:
//!
//! 1. It locks the journal and repairs a torn tail.
//! 2. It allocates blocks after the journal's end for the new entries (`fallocate`, where the file system supports it).
//! 3. It writes the *intent* durably. If `post-receive` does not run or cannot append, the worker turns the intent into
//!    entries.
//!
//! A chained hook runs first. If it rejects the push, no intent is written. Then the ref names are checked, and the
//! append-only guard runs, if it is configured. A push without mirrored refs leaves no trace. For an accepted push, the hook
//! warns of blobs that the mirror may reject, and of LFS objects that are not there.
//!
//! # Limitations
//!
//! Concurrent pushes share the allocated blocks. There are at least 64 KiB, enough for about 180 entries. If the disk
//! is full nevertheless, the push still has its intent.
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
    chained::Chained,
    guard,
    hook_output::HookOutput,
    input,
    large_blobs::{MAX_BLOB, large_blobs},
    lfs_objects,
    new_objects::{self, Stored},
    push::{Drafting, configuration},
    ref_names::RefNames,
};
use crate::{
    config::Mirrors,
    journal::{Draft, Writer},
};

/// Maximum number of large blobs that are named to the pusher.
const MAX_LISTED: usize = 3;

/// Runs the hook in this process's environment: standard input, `$GIT_DIR`, the disk. `chained` is the hook to run
/// first.
pub fn main(chained: Option<&Path>) -> ExitCode {
    let environment = |name: &str| std::env::var_os(name);
    let git_dir = environment("GIT_DIR").map_or_else(|| ".".into(), PathBuf::from);
    let clock = SystemClock::default();
    // post-receive reports problems of the configuration.
    let mirrors = configuration(&git_dir, &mut HookOutput::new(clock));
    let config = &mirrors.repository;
    let mut output = HookOutput::new(clock);

    let mut drafting = Drafting::new(&environment, config, &git_dir);
    let (mut drafts, mut guarded, mut names) = (Vec::new(), Vec::new(), RefNames::default());
    let kept = input::read(io::stdin().lock(), chained.is_some(), &mut output, |update| {
        names.add(&update);
        if guard::is_enabled(config) {
            guarded.push(update.clone());
        }
        if mirrors.has(update.name.as_bstr()) {
            drafts.push(drafting.draft(update));
        }
    });
    if let Some(Err(why)) = chained.map(|program| run_chained(program, kept)) {
        output.tell_pusher(&why);
        output.complete = false;
    }
    if output.complete {
        names.check(&git_dir, &mut output);
    }
    if output.complete {
        guard::check(&guarded, &environment, config, &git_dir, &mut output);
    }
    if output.complete && !drafts.is_empty() {
        let writer = Writer::new(Disk, clock, &git_dir, config.lock_timeout).allow_network(config.allow_nfs);
        if let Err(error) = writer.intend(&drafts) {
            reject(&error.to_string(), &git_dir, &mut output);
        } else if let Some(quarantine) = environment("GIT_QUARANTINE_PATH") {
            warn(Path::new(&quarantine), (&git_dir, &mirrors, &drafts), &mut output);
        }
    }
    let accepted = output.complete;
    // The connection to the pusher may be closed. There is nowhere else to report that.
    let _ = io::stderr().write_all(output.into_messages().as_bytes());
    if accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the chained hook to its end. It writes its own reasons to the pusher.
fn run_chained(program: &Path, input: Vec<u8>) -> Result<(), String> {
    match Chained::run(program, &input) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("push rejected by {} ({status})", program.display())),
        Err(error) => Err(format!("push rejected: cannot run {}: {error}", program.display())),
    }
}

/// Warns the pusher of new objects that will not reach the mirror.
fn warn(quarantine: &Path, push: (&Path, &Mirrors, &[Draft]), output: &mut HookOutput<impl Clock>) {
    let (_, _, drafts) = push;
    let kind = drafts[0].update.new.kind();
    let new = new_objects::stored(quarantine, kind);
    let Ok(objects) = gix::odb::at(quarantine.to_owned(), kind) else {
        return;
    };
    warn_of_large_blobs(&new, &objects, output);
    lfs_objects::warn_of_missing(&new, &objects, push, output);
}

fn warn_of_large_blobs(new: &[Stored], objects: &gix::odb::Handle, output: &mut HookOutput<impl Clock>) {
    let large = large_blobs(new, objects);
    let names = large
        .iter()
        .take(MAX_LISTED)
        .map(|(id, size)| format!("{id} ({} MiB)", size >> 20));
    let names: Vec<_> = names.collect();
    if !names.is_empty() {
        output.tell_pusher(&format!(
            "{} larger than {} MiB, and GitHub rejects a push with such a blob: {}",
            if large.len() == 1 {
                "one blob in this push is".into()
            } else {
                format!("{} blobs in this push are", large.len())
            },
            MAX_BLOB >> 20,
            names.join(", ")
        ));
    }
}

fn reject(why: &str, git_dir: &Path, output: &mut HookOutput<impl Clock>) {
    output.complete = false;
    output.tell_pusher("push rejected, and no ref was updated, because it could not be queued for the mirror:");
    output.tell_pusher(&format!("  {why}"));
    output.tell_pusher("please tell the administrator of this server");
    output.log(&format!("rejected a push: {why}"));
    output.write_log(&Disk, git_dir);
}
