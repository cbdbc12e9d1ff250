//! `stargate-mirror journal`: inspects or repairs the journal by hand.
use std::path::PathBuf;

use bstr::ByteSlice;
use durable::{clock::SystemClock, storage::Disk};
use ulid::Ulid;

use super::{
    output::counted,
    report::{Exit, Failure},
};
use crate::{
    config::Config,
    journal::{Backlog, Entry, Located, MAX_PROBLEMS, Status, Writer, visit},
    namespace::namespace,
    worker,
};

const EXAMPLES: &str = "\
Examples:
  stargate-mirror journal --repo r.git list --status pending
  stargate-mirror journal --repo r.git list --namespace main
  stargate-mirror journal --repo r.git verify
  stargate-mirror journal --repo r.git retry 01JBAXF5Z8J8M7R2TK7G9QW3EN";

/// Inspect or repair the journal by hand.
///
/// The worker repairs and rotates the journal in every cycle. These commands may run at the same time.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The repository [default: GIT_DIR, else found from the current directory]
    #[arg(long, value_name = "DIR", global = true)]
    repo: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print the entries, oldest first
    List {
        /// Only entries with this status
        #[arg(long, value_enum)]
        status: Option<StatusName>,
        /// Only entries of this namespace, of any family
        #[arg(long = "namespace", visible_alias = "ns", value_name = "NS")]
        namespace: Option<String>,
    },
    /// Check every line and report problems; exits with 1 if there are any
    Verify,
    /// Repair damage that a crash left: torn tails, lines that are not JSON, ids that no hook can have assigned
    Repair,
    /// Make failed or skipped entries pending again
    Retry {
        /// Ids of entries
        #[arg(required = true, value_name = "ENTRY", value_parser = entry_id)]
        entries: Vec<Ulid>,
    },
    /// Move the journal aside as a segment, and start a new one
    Rotate,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum StatusName {
    Pending,
    Done,
    Failed,
    Skipped,
}

impl From<StatusName> for Status {
    fn from(name: StatusName) -> Self {
        match name {
            StatusName::Pending => Status::Pending,
            StatusName::Done => Status::Done,
            StatusName::Failed => Status::Failed,
            StatusName::Skipped => Status::Skipped,
        }
    }
}

fn entry_id(text: &str) -> Result<Ulid, String> {
    text.parse()
        .map_err(|_| "expected an entry_id of 26 letters and digits, as `journal list` prints it".to_owned())
}

/// Runs the command.
///
/// # Errors
/// The journal cannot be read or written; or an entry does not exist, or cannot be retried.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    let git_dir = super::located(args.repo.as_deref())?;
    let config = Config::load(&git_dir)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read git's configuration: {error}")))?;
    let clock = SystemClock::default();
    let writer = Writer::new(Disk, clock, &git_dir, config.lock_timeout).allow_network(config.allow_nfs);
    let journal = Journal { git_dir, writer };
    match &args.action {
        Action::List { status, namespace } => journal.list(status.map(Status::from), namespace.as_deref()),
        Action::Verify => journal.verify(),
        Action::Repair => journal.repair(),
        Action::Retry { entries } => journal.retry(entries),
        Action::Rotate => journal.rotate(),
    }
}

/// Prints the problems of a journal and the number of its entries. Returns exit code 1 if there are problems.
pub(super) fn tell_health(backlog: &Backlog) -> Exit {
    for problem in &backlog.problems {
        println!("{problem}");
    }
    let more = backlog.problem_count - backlog.problems.len() as u64;
    if more > 0 {
        println!("and {}", counted(more, "more problem"));
    }
    let counts = backlog.counts;
    println!(
        "{} pending, {} done, {} failed, {} skipped; {}",
        counts.pending,
        counts.done,
        counts.failed,
        counts.skipped,
        counted(backlog.problem_count, "problem")
    );
    match backlog.problem_count {
        0 => Exit::Done,
        _ => Exit::Incomplete,
    }
}

struct Journal {
    git_dir: PathBuf,
    writer: Writer<Disk, SystemClock>,
}

impl Journal {
    fn list(&self, status: Option<Status>, of: Option<&str>) -> Result<Exit, Failure> {
        let print = |located: Located| {
            let has_status = status.is_none_or(|status| status == located.entry.status);
            let found = namespace(located.entry.update.name.as_bstr());
            if has_status && of.is_none_or(|of| found.is_some_and(|found| found == of)) {
                println!("{}", line(&located.entry));
            }
        };
        visit(&Disk, &self.git_dir, None, print).map_err(unreadable)?;
        Ok(Exit::Done)
    }

    fn verify(&self) -> Result<Exit, Failure> {
        let backlog = Backlog::load_whole(&Disk, &self.git_dir).map_err(unreadable)?;
        Ok(tell_health(&backlog))
    }

    fn repair(&self) -> Result<Exit, Failure> {
        if let Some(repair) = self.writer.repair()? {
            println!("{repair}");
        }
        loop {
            // A backlog keeps only the first problems, so the next ones appear after these are repaired.
            let backlog = Backlog::load_whole(&Disk, &self.git_dir).map_err(unreadable)?;
            let mended = self.writer.mend(&backlog.problems)?;
            for repair in &mended {
                println!("{repair}");
            }
            if mended.is_empty() || backlog.problem_count <= MAX_PROBLEMS as u64 {
                return self.verify();
            }
        }
    }

    fn retry(&self, ids: &[Ulid]) -> Result<Exit, Failure> {
        let mut found: Vec<Located> = Vec::new();
        let take = |located: Located| {
            if ids.contains(&located.entry.entry_id) {
                found.push(located);
            }
        };
        visit(&Disk, &self.git_dir, None, take).map_err(unreadable)?;
        for id in ids {
            let entry = found.iter().find(|located| located.entry.entry_id == *id);
            let why = match entry.map(|located| located.entry.status) {
                None => "the journal has no such entry",
                Some(Status::Done) => "it is done, and was seen on the mirror",
                Some(Status::Pending | Status::Failed | Status::Skipped) => continue,
            };
            return Err(Failure::new(Exit::Refused, format!("cannot retry {id}: {why}")));
        }
        worker::forget_settled(&self.git_dir, ids, &SystemClock::default())?;
        let retried = self.writer.retry(&found)?;
        if let Some((index, cause)) = retried.failed.first() {
            let id = found[*index].entry.entry_id;
            return Err(Failure::new(Exit::Failed, format!("cannot retry {id}: {cause}")));
        }
        println!("{} made pending again", counted(retried.settled as u64, "entry"));
        Ok(Exit::Done)
    }

    fn rotate(&self) -> Result<Exit, Failure> {
        match self.writer.rotate()? {
            None => println!("the journal is empty; nothing was changed"),
            Some(segment) => println!("the journal was moved to the segment {segment}"),
        }
        Ok(Exit::Done)
    }
}

fn unreadable(error: std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot read the journal: {error}"))
}

fn line(entry: &Entry) -> String {
    let update = &entry.update;
    let short = |id: &gix::ObjectId| {
        if id.is_null() {
            "-".to_owned()
        } else {
            id.to_hex_with_len(10).to_string()
        }
    };
    format!(
        "{}  {:.3}  {:<7}  {} -> {}  {}",
        entry.entry_id,
        entry.timestamp,
        entry.status,
        short(&update.old),
        short(&update.new),
        update.name.to_str_lossy().escape_debug()
    )
}
