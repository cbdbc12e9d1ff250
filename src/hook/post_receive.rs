//! `post-receive`: appends a pending journal entry for each mirrored ref update, and makes it durable before it ends.
//!
//! git runs it after the refs have moved (githooks, *post-receive*), with lines of `old SP new SP ref LF` on standard
//! input. Refs that are not mirrored are ignored. The journal's sole consumer is the worker, `stargate-mirror run`.
//!
//! The order is: chained hook, journal, intent, log, messages. An unwritable log or a closed connection to the pusher
//! (Rust ignores SIGPIPE) does not affect the journal.
//!
//! The intent of `pre-receive` is removed when all entries of the push are durable. If one is not (the disk is full,
//! the lock is held, the journal cannot be opened), the intent stays, and the worker appends the missing entries. If
//! there is no intent, the hook writes one.
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use bstr::{BStr, ByteSlice};
use durable::{
    clock::{Clock, SystemClock},
    storage::{Disk, Storage},
};

use super::{
    chained::{self, Chained},
    hook_output::{HookOutput, LOG, readable},
    input,
    push::{Drafting, configuration},
    rejections,
};
use crate::{
    journal::{Draft, FOLDER, Writer, oldest_pending},
    ref_update::RefUpdate,
};

/// Maximum number of ref updates of a push that are logged by name. All of them are in the journal.
const MAX_LOGGED: usize = 100;
/// Maximum number of failed ref updates that are named to the pusher.
const MAX_LISTED: usize = 10;
/// Minimum age of the backlog that is reported to the pusher.
const OLD: Duration = Duration::from_secs(10 * 60);

/// Runs the hook in this process's environment: standard input, `$GIT_DIR`, the disk. `chained` is the hook to run
/// first.
pub fn main(chained: Option<&Path>) -> ExitCode {
    let environment = |name: &str| std::env::var_os(name);
    let git_dir = environment("GIT_DIR").map_or_else(|| ".".into(), PathBuf::from);
    let clock = SystemClock::default();
    let mut output = HookOutput::new(clock);
    let mirrors = configuration(&git_dir, &mut output);
    let config = &mirrors.repository;

    let mut drafting = Drafting::new(&environment, config, &git_dir);
    let mut drafts = Vec::new();
    let kept = input::read(io::stdin().lock(), chained.is_some(), &mut output, |update| {
        if mirrors.has(update.name.as_bstr()) {
            drafts.push(drafting.draft(update));
        }
    });
    let chained = chained.and_then(|program| start_chained(program, kept, &mut output));
    if !drafts.is_empty() {
        let writer = Writer::new(Disk, clock, &git_dir, config.lock_timeout).allow_network(config.allow_nfs);
        if record(&writer, &drafts, &mut output) {
            let waited =
                oldest_pending(&Disk, &git_dir).and_then(|then| clock.now().duration_since(then).try_into().ok());
            output.tell_pusher(&queued(drafts.len(), waited));
            rejections::tell(&git_dir, &mirrors, &drafts, &mut output);
        }
    }
    output.write_log(&Disk, &git_dir);
    let complete = output.complete;
    // The connection to the pusher may be closed. There is nowhere else to report that.
    let _ = io::stderr().write_all(output.into_messages().as_bytes());
    let complete = end_chained(chained, &git_dir, clock) && complete;
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn start_chained(program: &Path, input: Vec<u8>, output: &mut HookOutput<impl Clock>) -> Option<Chained> {
    match Chained::run_first(program.into(), input, chained::PATIENCE) {
        Ok(chained) => {
            if !chained.has_ended() {
                output.log(&format!(
                    "{} is still running; writing the journal without waiting for it",
                    program.display()
                ));
            }
            Some(chained)
        }
        Err(error) => {
            output.log(&format!("cannot run {}: {error}", program.display()));
            output.complete = false;
            None
        }
    }
}

/// Waits for a chained hook. Logs its failure and returns false then.
fn end_chained(chained: Option<Chained>, git_dir: &Path, clock: impl Clock) -> bool {
    let Some(chained) = chained else { return true };
    let why = match chained.wait() {
        Ok(status) if status.success() => return true,
        Ok(status) => format!("failed with {status}"),
        Err(error) => format!("could not be run: {error}"),
    };
    let mut output = HookOutput::new(clock);
    output.log(&format!("the chained hook {why}"));
    output.write_log(&Disk, git_dir);
    false
}

/// Returns the message to the pusher after a success. `waited` is the age of the oldest pending entry.
fn queued(updates: usize, waited: Option<Duration>) -> String {
    let plural = if updates == 1 { "" } else { "s" };
    let text = format!("queued for the mirror: {updates} ref update{plural}");
    match waited.filter(|waited| *waited >= OLD) {
        None => text,
        Some(waited) => format!(
            "{text}; the oldest pending update has been waiting for {}: please tell the administrator of this server",
            rounded(waited)
        ),
    }
}

fn rounded(duration: Duration) -> String {
    match duration.as_secs() / 60 {
        minutes @ ..120 => format!("{minutes} minutes"),
        minutes if minutes < 48 * 60 => format!("{} hours", minutes / 60),
        minutes => format!("{} days", minutes / (24 * 60)),
    }
}

/// Appends the drafts to the journal and reports the result to `output`. Returns true if all of them are durable.
fn record<S: Storage, C: Clock>(writer: &Writer<S, C>, drafts: &[Draft], output: &mut HookOutput<impl Clock>) -> bool {
    let failed = match writer.append(drafts) {
        Ok(appended) => {
            if let Some(repair) = appended.repaired {
                output.log(&format!("repaired the journal: {repair}"));
            }
            if let Some(segment) = appended.segment {
                output.log(&format!(
                    "the journal could not be synced: rotated it and started segment {segment}"
                ));
            }
            log_written(drafts, &appended.written, &appended.failed, output);
            let failed = appended.failed.into_iter();
            failed.map(|(index, cause)| (index, cause.to_string())).collect()
        }
        Err(error) => {
            let why = error.to_string();
            (0..drafts.len()).map(|index| (index, why.clone())).collect::<Vec<_>>()
        }
    };
    if failed.is_empty() {
        if let Err(error) = writer.forget_intent(drafts) {
            output.log(&format!("cannot remove the intent, so the worker will: {error}"));
        }
    } else {
        output.complete = false;
        let spooled = spool(writer, drafts, &failed, output);
        report_failed(drafts, &failed, spooled, output);
    }
    failed.is_empty()
}

/// Makes sure that an intent covers the failed drafts. Returns false if it cannot be written.
fn spool<S: Storage, C: Clock, T>(
    writer: &Writer<S, C>,
    drafts: &[Draft],
    failed: &[(usize, T)],
    output: &mut HookOutput<impl Clock>,
) -> bool {
    if writer.is_intended(drafts).unwrap_or(false) {
        return true;
    }
    let failed: Vec<_> = failed.iter().map(|(index, _)| drafts[*index].clone()).collect();
    match writer.spool(&failed) {
        Ok(id) => {
            output.log(&format!("saved the unrecorded updates as intent {id}"));
            true
        }
        Err(error) => {
            output.log(&format!("cannot save the unrecorded updates as an intent: {error}"));
            false
        }
    }
}

fn log_written<T>(
    drafts: &[Draft],
    written: &[ulid::Ulid],
    failed: &[(usize, T)],
    output: &mut HookOutput<impl Clock>,
) {
    // Both lists are in the order of the drafts.
    let (mut ids, mut failed) = (written.iter(), failed.iter().map(|(index, _)| *index).peekable());
    let recorded = drafts
        .iter()
        .enumerate()
        .filter_map(|(index, draft)| match failed.next_if_eq(&index) {
            Some(_) => None,
            None => Some(format!("recorded {} as {}", described(&draft.update), ids.next()?)),
        });
    output.log_all(recorded.take(MAX_LOGGED));
    if let Some(more) = written.len().checked_sub(MAX_LOGGED).filter(|more| *more > 0) {
        output.log(&format!("recorded {more} more, up to {}", written[written.len() - 1]));
    }
}

fn report_failed(drafts: &[Draft], failed: &[(usize, String)], spooled: bool, output: &mut HookOutput<impl Clock>) {
    output.tell_pusher(&format!(
        "push accepted by this server, but {} of its {} mirrored ref updates {} not yet queued for the mirror:",
        failed.len(),
        drafts.len(),
        if failed.len() == 1 { "is" } else { "are" },
    ));
    for (count, (index, why)) in failed.iter().enumerate() {
        let update = &drafts[*index].update;
        output.log(&format!("not recorded: {}: {why}", described(update)));
        if count < MAX_LISTED {
            output.tell_pusher(&format!("  {}: {why}", readable(update.name.as_bstr())));
        }
    }
    if failed.len() > MAX_LISTED {
        output.tell_pusher(&format!("  and {} more", failed.len() - MAX_LISTED));
    }
    let then = if spooled {
        "they are saved, and the mirror's worker will queue them"
    } else {
        "the next recorded push to the same ref will mirror them, too"
    };
    output.tell_pusher(&format!(
        "please tell the administrator of this server ({FOLDER}/{LOG} in the repository has the details); {then}"
    ));
}

fn described(update: &RefUpdate) -> String {
    let name: &BStr = update.name.as_bstr();
    format!("{} {}..{}", readable(name), update.old, update.new)
}
