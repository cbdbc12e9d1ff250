//! `post-receive`: each mirrored ref update becomes a pending entry of the journal, durably, before the hook ends.
//!
//! git runs it after the refs have moved (githooks, *post-receive*), with lines of `old SP new SP ref LF` on standard
//! input. Refs that are not mirrored leave no trace. The journal's sole consumer is the worker, `stargate-mirror run`.
//!
//! The order is: chained hook, journal, log, talk. Neither a log that cannot be written nor a pusher who has gone (Rust
//! ignores SIGPIPE) keeps an entry out of the journal.
use std::{
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use bstr::{BStr, ByteSlice};

use super::{
    Environment,
    account::{Account, LOG, readable},
    chained::{self, Chained},
    identity,
    meta::{self, TxnIds},
};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    journal::{Draft, FOLDER, Lines, Meta, QUARANTINE, Repair, Source, Writer},
    ref_pattern::RefPatterns,
    ref_update::RefUpdate,
    storage::{Disk, Storage},
};

/// A longer line is nothing that git writes, in bytes: a pkt-line has at most as many.
pub const MAX_INPUT_LINE: usize = 64 << 10;
/// How much of a line that is no ref update is logged, in bytes.
const MAX_LOGGED: usize = 200;
/// How many failed ref updates the pusher is told by name.
const MAX_TOLD: usize = 10;

/// Runs the hook in this process's environment: standard input, `$GIT_DIR`, the disk. `chained` is where a hook that is
/// to run first would be.
pub fn main(chained: Option<&Path>) -> ExitCode {
    let environment = |name: &str| std::env::var_os(name);
    let git_dir = environment("GIT_DIR").map_or_else(|| ".".into(), PathBuf::from);
    let clock = SystemClock::default();
    let mut account = Account::new(clock);
    let config = configuration(&git_dir, &mut account);

    let chained = chained.filter(|program| chained::is_program(program));
    let (updates, kept) = read_input(io::stdin().lock(), &config.refs, chained.is_some(), &mut account);
    let chained = chained.and_then(|program| start_chained(program, kept, &mut account));
    if !updates.is_empty() {
        let drafts = drafts(updates, &environment, &config, &git_dir);
        let writer = Writer::new(Disk, clock, &git_dir, config.lock_timeout);
        record(&writer, &drafts, &mut account);
    }
    account.write_log(&Disk, &git_dir);
    let complete = account.complete;
    // The pusher may have gone, and nobody else is there to be told.
    let _ = io::stderr().write_all(account.into_told().as_bytes());
    let complete = end_chained(chained, &git_dir, clock) && complete;
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn configuration(git_dir: &Path, account: &mut Account<impl Clock>) -> Config {
    let config = Config::load(git_dir).unwrap_or_else(|error| {
        let text = format!("cannot read git's configuration, so defaults are used: {error:#}");
        account.log(&text);
        account.tell(&text);
        Config::default()
    });
    for problem in &config.problems {
        let text = format!("configuration: {problem}; the default is used");
        account.log(&text);
        account.tell(&text);
    }
    config
}

/// The mirrored ref updates that `input` tells of, and all its bytes if they are to be kept.
fn read_input(
    input: impl Read,
    refs: &RefPatterns,
    keep: bool,
    account: &mut Account<impl Clock>,
) -> (Vec<RefUpdate>, Vec<u8>) {
    let kept = keep.then(Vec::new);
    let mut lines = Lines::new(BufReader::new(Tee { input, kept }), 0, MAX_INPUT_LINE);
    let mut updates = Vec::new();
    for number in 1u64.. {
        let parsed = match lines.next_line() {
            Ok(None) => break,
            Ok(Some(line)) if line.bytes.is_none() => Err(format!("longer than {MAX_INPUT_LINE} bytes")),
            Ok(Some(line)) if !line.terminated => Err("cut off: no line feed ends it".into()),
            Ok(Some(line)) => {
                let bytes = line.bytes.unwrap_or_default();
                RefUpdate::parse(bytes).map_err(|error| format!("{error}: {}", excerpt(bytes)))
            }
            Err(error) => {
                malformed(account, number, &format!("cannot be read: {error}"));
                break;
            }
        };
        match parsed {
            Ok(update) if refs.matches(update.name.as_bstr()) => updates.push(update),
            Ok(_) => {}
            Err(why) => malformed(account, number, &why),
        }
    }
    let kept = lines.into_inner().into_inner().kept;
    (updates, kept.unwrap_or_default())
}

fn malformed(account: &mut Account<impl Clock>, number: u64, why: &str) {
    let text = format!("line {number} of the hook's input is no ref update and not recorded: {why}");
    account.log(&text);
    account.tell(&text);
    account.complete = false;
}

fn excerpt(line: &[u8]) -> String {
    format!("{:?}", line[..line.len().min(MAX_LOGGED)].as_bstr())
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

fn drafts(updates: Vec<RefUpdate>, environment: Environment<'_>, config: &Config, git_dir: &Path) -> Vec<Draft> {
    let pusher = identity::pusher(environment, config);
    let absolute = git_dir.canonicalize().unwrap_or_else(|_| git_dir.into());
    let repo = identity::repo(environment, config, &absolute);
    let push_options = meta::push_options(environment);
    let objects = environment("GIT_OBJECT_DIRECTORY").map_or_else(|| git_dir.join("objects"), PathBuf::from);
    let mut txn_ids = None;
    let mut draft = |update: RefUpdate| {
        let txn_id = if update.is_delete() {
            None
        } else {
            let ids = txn_ids.get_or_insert_with(|| TxnIds::open(objects.clone(), update.new.kind()));
            ids.of(update.new)
        };
        let meta = Meta {
            txn_id,
            push_options: push_options.clone(),
        };
        Draft {
            update,
            pusher: pusher.clone(),
            repo: repo.clone(),
            source: Source::PostReceive,
            meta: (meta != Meta::default()).then_some(meta),
        }
    };
    updates.into_iter().map(&mut draft).collect()
}

/// Appends the drafts to the journal, and gives an account of it.
fn record<S: Storage, C: Clock>(writer: &Writer<S, C>, drafts: &[Draft], account: &mut Account<impl Clock>) {
    let failed = match writer.append(drafts) {
        Ok(appended) => {
            log_repair(appended.repaired, account);
            log_written(drafts, &appended.written, &appended.failed, account);
            let failed = appended.failed.into_iter();
            failed.map(|(index, cause)| (index, cause.to_string())).collect()
        }
        Err(error) => {
            let why = error.to_string();
            (0..drafts.len()).map(|index| (index, why.clone())).collect::<Vec<_>>()
        }
    };
    if !failed.is_empty() {
        account.complete = false;
        tell_failed(drafts, &failed, account);
    }
}

fn log_repair(repaired: Option<Repair>, account: &mut Account<impl Clock>) {
    match repaired {
        None => {}
        Some(Repair::Completed) => account.log("repaired the journal: its last entry lacked a line feed"),
        Some(Repair::Quarantined { name, length }) => account.log(&format!(
            "repaired the journal: {length} bytes of an incomplete entry went to {FOLDER}/{QUARANTINE}/{name}"
        )),
    }
}

fn log_written<T>(drafts: &[Draft], written: &[ulid::Ulid], failed: &[(usize, T)], account: &mut Account<impl Clock>) {
    // Both lists are in the order of the drafts.
    let (mut ids, mut failed) = (written.iter(), failed.iter().map(|(index, _)| *index).peekable());
    for (index, draft) in drafts.iter().enumerate() {
        if failed.next_if_eq(&index).is_none()
            && let Some(id) = ids.next()
        {
            account.log(&format!("recorded {} as {id}", described(&draft.update)));
        }
    }
}

fn tell_failed(drafts: &[Draft], failed: &[(usize, String)], account: &mut Account<impl Clock>) {
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
    account.tell(&format!(
        "please tell the administrator of this server ({FOLDER}/{LOG} in the repository has the details); the next \
         push to the same ref that is recorded carries it along"
    ));
}

fn described(update: &RefUpdate) -> String {
    let name: &BStr = update.name.as_bstr();
    format!("{} {}..{}", readable(name), update.old, update.new)
}

/// Reads, and keeps what it read when it is to.
struct Tee<R> {
    input: R,
    kept: Option<Vec<u8>>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(&buffer[..read]);
        }
        Ok(read)
    }
}
