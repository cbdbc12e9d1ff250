//! `stargate-mirror events`: events into a context repository.
mod signing;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use durable::clock::{Clock, SystemClock};

use super::{
    environment,
    report::{Exit, Failure},
    signals,
};
use crate::{
    event::Layout,
    events::{
        self, Author, Context, GUARD, Options, Summary,
        settings::{self, Flags, Settings},
        target::SharedEnvironment,
    },
};

const EXAMPLES: &str = "\
Examples:
  stargate-mirror events init context
  RELAY_URL=http://127.0.0.1:3000 FEED_IDS=general,random \\
    CONTEXT_REPO_PATH=context GITHUB_PAT=… \\
    GITHUB_REPO_URL=https://github.com/o/context.git stargate-mirror events run
  stargate-mirror events run --repo context --stdin < events.ndjson
  stargate-mirror events keygen author.pem
  stargate-mirror events sign --key author.pem < event.json";

const INIT_EXAMPLES: &str = "\
Examples:
  stargate-mirror events init context
  stargate-mirror events init --bare /srv/context.git
  stargate-mirror events init --ci=owner/stargate-mirror@v0.1.0 context

To push a workflow to GitHub, a token must be allowed to change workflows.";

const RUN_EXAMPLES: &str = "\
Examples:
  RELAY_URL=http://127.0.0.1:3000 FEED_IDS=general \\
    stargate-mirror events run --repo context
  stargate-mirror events run --repo context --stdin < events.ndjson
  RELAY_URL=… FEED_IDS=… GITHUB_PAT=… GITHUB_REPO_URL=… \\
    stargate-mirror events run --repo context --once
  FEED_IDS=general stargate-mirror events run --repo context \\
    --source nats://127.0.0.1:4222/stargate

Environment:
  RELAY_URL                the relay; RELAY_TOKEN is its token, if needed
  FEED_IDS                 feeds to follow, separated by commas
  CONTEXT_REPO_PATH        the context repository; created if it is missing
  GITHUB_REPO_URL          the remote; without it or a token, nothing is pushed
  GITHUB_PAT               the token; or GITHUB_PAT_FILE, a file with it
  GITHUB_BRANCH            the branch, locally and on the remote; default main
  COMMIT_BATCH_SIZE        commit after this many events; default 10
  COMMIT_BATCH_TIMEOUT_MS  or this long after the first of them; default 5000
  PUSHES_PER_MINUTE        budget for pushes; default 12; 0 is unlimited
  PORT                     port of 127.0.0.1 for monitors; see --listen

After SIGTERM or Ctrl-C, it commits and pushes what it has, and exits with 0.
--once and --stdin exit with 1 if not everything was fetched or pushed, with 3
if an event was refused, and with an error if events cannot be committed.";

/// Write events into a context repository, and push it; sign events.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Init(Init),
    Run(Run),
    Keygen(signing::Keygen),
    Sign(signing::Sign),
}

/// Create a context repository.
#[derive(Debug, clap::Args)]
#[command(after_help = INIT_EXAMPLES)]
struct Init {
    /// A new or empty folder
    path: PathBuf,
    /// Create it without a work tree
    #[arg(long)]
    bare: bool,
    /// Add a GitHub workflow that runs this action, the append-only guard
    #[arg(long, value_name = "ACTION", num_args = 0..=1, require_equals = true, default_missing_value = GUARD,
        value_parser = action)]
    ci: Option<String>,
    /// Author of the commits, as 'A U Thor <author@example.com>' [default: from git's configuration, else this program]
    #[arg(long, value_name = "AUTHOR", value_parser = author)]
    author: Option<Author>,
}

/// Commit events as they arrive, and push them.
///
/// Follows feeds of a relay, or reads standard input, one JSON object per line. Missed events are fetched first, so that
/// restarts and lost connections lose nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = RUN_EXAMPLES)]
struct Run {
    /// The context repository, instead of CONTEXT_REPO_PATH
    #[arg(long = "repo", value_name = "DIR")]
    repository: Option<PathBuf>,
    /// Fetch all available events, push them, and exit
    #[arg(long)]
    once: bool,
    /// Read events from standard input instead of a relay, and exit at its end
    #[arg(long)]
    stdin: bool,
    /// Follow a stream of NATS JetStream that a relay writes, instead of RELAY_URL
    #[arg(long, value_name = "URL", conflicts_with = "stdin")]
    source: Option<String>,
    /// File of credentials for the servers of the stream
    #[arg(long, value_name = "FILE", requires = "source")]
    credentials: Option<PathBuf>,
    /// A folder for each day, or for each hour of it; use hour for feeds of more than 3,000 events a day
    #[arg(long, value_name = "LAYOUT", value_enum, default_value = "day")]
    layout: LayoutName,
    /// Write events of type snapshot as snapshots/<feed>/<day>/<event>.md, too
    #[arg(long)]
    snapshots: bool,
    /// If the repository is missing, create it without a work tree
    #[arg(long)]
    bare: bool,
    /// Author of the commits, as 'A U Thor <author@example.com>' [default: from git's configuration, else this program]
    #[arg(long, value_name = "AUTHOR", value_parser = author)]
    author: Option<Author>,
    /// Address to answer /health, /healthz, /readyz, /status and /metrics on, instead of PORT; port 0 selects a free port
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LayoutName {
    Day,
    Hour,
}

/// Runs the command.
///
/// # Errors
/// The configuration is invalid, or the context repository cannot be used.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    match &args.what {
        What::Init(args) => init(args),
        What::Run(args) => run(args),
        What::Keygen(args) => signing::keygen(args),
        What::Sign(args) => signing::sign(args),
    }
}

fn init(args: &Init) -> Result<Exit, Failure> {
    let options = Options {
        branch: settings::branch(environment)?,
        layout: Layout::default(),
        snapshots: false,
        author: args.author.clone(),
        bare: args.bare,
        guard: args.ci.clone(),
    };
    Context::init(&args.path, &options, SystemClock::default().now())?.end()?;
    println!("{} is a context repository", args.path.display());
    if args.ci.as_deref() == Some(GUARD) {
        tracing::warn!("replace OWNER in .github/workflows/append-only.yml with the owner of the action");
    }
    Ok(Exit::Done)
}

fn run(args: &Run) -> Result<Exit, Failure> {
    #[cfg(not(feature = "nats"))]
    if args.source.is_some() {
        return Err(super::stream::refused("--source"));
    }
    let flags = Flags {
        repository: args.repository.clone(),
        stdin: args.stdin,
        stream: args.source.clone(),
        credentials: args.credentials.clone(),
        once: args.once,
        layout: match args.layout {
            LayoutName::Day => Layout::Day,
            LayoutName::Hour => Layout::Hour,
        },
        listen: args.listen,
    };
    let settings = Settings::read(&flags, environment)?;
    let options = Options {
        branch: settings.branch.clone(),
        layout: settings.layout,
        snapshots: args.snapshots,
        author: args.author.clone(),
        bare: args.bare,
        guard: None,
    };
    let environment: SharedEnvironment = Arc::new(environment);
    let mut listening = Ok(());
    let done = events::run(&settings, &options, &environment, |stop| {
        // There is no configuration to reload: SIGHUP, too, stops the program.
        listening = signals::listen(move |_| stop.stop());
        signals::alive()();
    });
    signals::stopping();
    listening?;
    Ok(ended(&settings, done?))
}

/// Logs the summary and returns the exit code. A stop by a signal is exit 0.
fn ended(settings: &Settings, summary: Summary) -> Exit {
    let Summary {
        added, known, refused, ..
    } = summary;
    tracing::info!(added, known, refused, "ended");
    if summary.is_pushed == Some(false) {
        tracing::warn!("not everything is pushed; the next run pushes the rest");
    }
    for failure in &summary.failures {
        let hint = failure.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        tracing::error!("not everything was fetched: {failure}{hint}");
    }
    if !settings.ends_by_itself() {
        Exit::Done
    } else if !summary.failures.is_empty() || summary.is_pushed == Some(false) {
        Exit::Incomplete
    } else if refused > 0 {
        Exit::Refused
    } else {
        Exit::Done
    }
}

fn action(text: &str) -> Result<String, String> {
    let is_plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte))
    };
    match text.split_once('@') {
        Some((name, version)) if name.contains('/') && is_plain(name) && is_plain(version) => Ok(text.to_owned()),
        _ => Err("write the action as owner/stargate-mirror@v0.1.0".into()),
    }
}

fn author(text: &str) -> Result<Author, String> {
    let parts = text.strip_suffix('>').and_then(|text| text.split_once('<'));
    match parts.map(|(name, email)| (name.trim(), email.trim())) {
        Some((name, email)) if !name.is_empty() && !format!("{name}{email}").contains(['<', '>', '\n', '\0']) => {
            Ok(Author {
                name: name.to_owned(),
                email: email.to_owned(),
            })
        }
        _ => Err("write the author as 'A U Thor <author@example.com>'".into()),
    }
}
