//! `post-receive`: each mirrored ref update becomes a pending entry of the journal, durably, before the hook ends.
//!
//! git runs it after the refs have moved (githooks, *post-receive*), with lines of `old SP new SP ref LF` on standard
//! input. Refs that are not mirrored leave no trace. The journal's sole consumer is the worker, `stargate-mirror run`.
//!
//! The order is: chained hook, journal, intent, log, talk. Neither a log that cannot be written nor a pusher who has gone
//! (Rust ignores SIGPIPE) keeps an entry out of the journal.
//!
//! The intent of `pre-receive` is the spool: it is removed when all of the push's entries are durable. Where one is not
//! (the disk is full, the lock is held, the journal cannot be opened), it stays, and the worker appends what is missing;
//! where there is none, one is written.
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
    account::{Account, LOG, readable},
    chained::{self, Chained},
    input,
    push::{Drafting, configuration},
};
use crate::{
    journal::{Draft, FOLDER, Writer, oldest_pending},
    ref_update::RefUpdate,
};

/// How many ref updates of a push are logged by name; all of them are in the journal.
const MAX_LOGGED: usize = 100;
/// How many failed ref updates the pusher is told by name.
const MAX_TOLD: usize = 10;
/// The pusher is told the age of a backlog that is older.
const OLD: Duration = Duration::from_secs(10 * 60);

/// Runs the hook in this process's environment: standard input, `$GIT_DIR`, the disk. `chained` is a hook that is to run
/// first.
pub fn main(chained: Option<&Path>) -> ExitCode {
    let environment = |name: &str| std::env::var_os(name);
    let git_dir = environment("GIT_DIR").map_or_else(|| ".".into(), PathBuf::from);
    let clock = SystemClock::default();
    let mut account = Account::new(clock);
    let config = configuration(&git_dir, &mut account);

    let mut drafting = Drafting::new(&environment, &config, &git_dir);
    let mut drafts = Vec::new();
    let kept = input::read(io::stdin().lock(), chained.is_some(), &mut account, |update| {
        if config.refs.matches(update.name.as_bstr()) {
            drafts.push(drafting.draft(update));
        }
    });
    let chained = chained.and_then(|program| start_chained(program, kept, &mut account));
    if !drafts.is_empty() {
        let writer = Writer::new(Disk, clock, &git_dir, config.lock_timeout).allow_network(config.allow_nfs);
        if record(&writer, &drafts, &mut account) {
            let waited =
                oldest_pending(&Disk, &git_dir).and_then(|then| clock.now().duration_since(then).try_into().ok());
            account.tell(&queued(drafts.len(), waited));
        }
    }
    account.write_log(&Disk, &git_dir);
    let complete = account.complete;
    // The pusher may have gone, and nobody else is there to be told.
    let _ = io::stderr().write_all(account.into_told().as_bytes());
    let complete = end_chained(chained, &git_dir, clock) && complete;
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn start_chained(program: &Path, input: Vec<u8>, account: &mut Account<impl Clock>) -> Option<Chained> {
    match Chained::run_first(program.into(), input, chained::PATIENCE) {
        Ok(chained) => {
            if !chained.has_ended() {
                account.log(&format!(
                    "{} is still running; the journal does not wait",
                    program.display()
                ));
            }
            Some(chained)
        }
        Err(error) => {
            account.log(&format!("cannot run {}: {error}", program.display()));
            account.complete = false;
            None
        }
    }
}

/// Waits for a chained hook; false when it failed, which is logged.
fn end_chained(chained: Option<Chained>, git_dir: &Path, clock: impl Clock) -> bool {
    let Some(chained) = chained else { return true };
    let why = match chained.wait() {
        Ok(status) if status.success() => return true,
        Ok(status) => format!("ended with {status}"),
        Err(error) => format!("could not be run: {error}"),
    };
    let mut account = Account::new(clock);
    account.log(&format!("the chained hook {why}"));
    account.write_log(&Disk, git_dir);
    false
}

/// What the pusher is told when all is well, given how long the oldest pending entry has waited.
fn queued(updates: usize, waited: Option<Duration>) -> String {
    let plural = if updates == 1 { "" } else { "s" };
    let text = format!("queued for the mirror: {updates} ref update{plural}");
    match waited.filter(|waited| *waited >= OLD) {
        None => text,
        Some(waited) => format!(
            "{text}; the oldest one that is pending has waited for {}: please tell the administrator of this server",
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

/// Appends the drafts to the journal, and gives an account of it. True when all of them are durable.
fn record<S: Storage, C: Clock>(writer: &Writer<S, C>, drafts: &[Draft], account: &mut Account<impl Clock>) -> bool {
    let failed = match writer.append(drafts) {
        Ok(appended) => {
            if let Some(repair) = appended.repaired {
                account.log(&format!("repaired the journal: {repair}"));
            }
            if let Some(segment) = appended.segment {
                account.log(&format!(
                    "the journal could not be synced: it was put aside, and segment {segment} begun"
                ));
            }
            log_written(drafts, &appended.written, &appended.failed, account);
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
            account.log(&format!("the worker will remove the intent: {error}"));
        }
    } else {
        account.complete = false;
        let spooled = spool(writer, drafts, &failed, account);
        tell_failed(drafts, &failed, spooled, account);
    }
    failed.is_empty()
}

/// Sees to it that there is an intent of what failed.
fn spool<S: Storage, C: Clock, T>(
    writer: &Writer<S, C>,
    drafts: &[Draft],
    failed: &[(usize, T)],
    account: &mut Account<impl Clock>,
) -> bool {
    if writer.is_intended(drafts).unwrap_or(false) {
        return true;
    }
    let failed: Vec<_> = failed.iter().map(|(index, _)| drafts[*index].clone()).collect();
    match writer.spool(&failed) {
        Ok(id) => {
            account.log(&format!("what is not recorded is kept as the intent {id}"));
            true
        }
        Err(error) => {
            account.log(&format!("and it cannot be kept as an intent: {error}"));
            false
        }
    }
}

fn log_written<T>(drafts: &[Draft], written: &[ulid::Ulid], failed: &[(usize, T)], account: &mut Account<impl Clock>) {
    // Both lists are in the order of the drafts.
    let (mut ids, mut failed) = (written.iter(), failed.iter().map(|(index, _)| *index).peekable());
    let recorded = drafts
        .iter()
        .enumerate()
        .filter_map(|(index, draft)| match failed.next_if_eq(&index) {
            Some(_) => None,
            None => Some(format!("recorded {} as {}", described(&draft.update), ids.next()?)),
        });
    account.log_all(recorded.take(MAX_LOGGED));
    if let Some(more) = written.len().checked_sub(MAX_LOGGED).filter(|more| *more > 0) {
        account.log(&format!("recorded {more} more, up to {}", written[written.len() - 1]));
    }
}

fn tell_failed(drafts: &[Draft], failed: &[(usize, String)], spooled: bool, account: &mut Account<impl Clock>) {
    account.tell(&format!(
        "this push is accepted and stands on this server, but {} of its {} mirrored ref updates {} not yet queued for \
         the mirror:",
        failed.len(),
        drafts.len(),
        if failed.len() == 1 { "is" } else { "are" },
    ));
    for (count, (index, why)) in failed.iter().enumerate() {
        let update = &drafts[*index].update;
        account.log(&format!("not recorded: {}: {why}", described(update)));
        if count < MAX_TOLD {
            account.tell(&format!("  {}: {why}", readable(update.name.as_bstr())));
        }
    }
    if failed.len() > MAX_TOLD {
        account.tell(&format!("  and {} more", failed.len() - MAX_TOLD));
    }
    let then = match spooled {
        true => "they are kept, and the worker will queue them",
        false => "the next push to the same ref that is recorded carries it along",
    };
    account.tell(&format!(
        "please tell the administrator of this server ({FOLDER}/{LOG} in the repository has the details); {then}"
    ));
}

fn described(update: &RefUpdate) -> String {
    let name: &BStr = update.name.as_bstr();
    format!("{} {}..{}", readable(name), update.old, update.new)
}
