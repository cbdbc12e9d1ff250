//! `stargate-mirror relay`: the embedded source of events.
use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use secrecy::SecretString;

use super::{
    environment,
    report::{Exit, Failure},
    signals,
};
use crate::config::parse_duration;
use crate::http_server::listen;
use crate::relay::{
    access::{Access, NoAccess, TokenSources},
    cors::{Origin, parse_origin},
    permission::misunderstood,
    retention::Limits,
    server::{MAX_CONNECTIONS, Settings, Stop, serve},
    store::{Found, Store},
};

const EXAMPLES: &str = "\
Examples:
  stargate-mirror relay
  curl -H 'Content-Type: application/json' -d '{\"feed_id\":\"general\"}' \\
    http://127.0.0.1:3000/feeds
  curl http://127.0.0.1:3000/feeds/general/events?after_seq=0
  curl http://127.0.0.1:3000/metrics
  RELAY_TOKEN=… stargate-mirror relay --listen 0.0.0.0:3000 --data /srv/relay
  stargate-mirror relay --access-log --log-format json 2>>relay.log
  stargate-mirror relay --require-signatures
  stargate-mirror relay --store tls://one:4222,two:4222/chat \\
    --credentials relay.creds --replicas 3

http://…/ is a page that shows the feeds and their events, and http://…/metrics
is for Prometheus. http://…/openapi.json describes requests and answers. After
SIGTERM or Ctrl-C, it exits when all posted events are durable. As a systemd
service of Type=notify it reports when it is ready.

Environment:
  RELAY_TOKEN  clients must send it (Authorization: Bearer …); required if other
               machines can reach the relay";

/// Receive events over HTTP, store them, and stream them to readers.
///
/// An event is durable before the relay answers. It is identified by its id and its source, so it is stored once even
/// if it is sent twice. Readers use pages, or a stream (server-sent events) that resumes where they stopped.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Address to listen on; port 0 selects a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// Folder for the events, or for the copy of the stream; created if it is missing
    #[arg(long, value_name = "DIR", default_value = "stargate-relay")]
    data: PathBuf,
    /// Keep the events in a stream of NATS JetStream, such as nats://127.0.0.1:4222/stargate; other relays may share it
    #[arg(long, value_name = "URL", conflicts_with_all = ["keep", "keep_bytes"])]
    store: Option<String>,
    /// File of credentials for the servers of the stream
    #[arg(long, value_name = "FILE", requires = "store")]
    credentials: Option<PathBuf>,
    /// Number of servers that store the stream; 1 if it is created without this option
    #[arg(long, value_name = "N", requires = "store", value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: Option<u8>,
    /// Remove events that arrived longer ago, such as 90d, and that all mirrors have confirmed; not with --store
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    keep: Option<Duration>,
    /// Remove the oldest events beyond this size, such as 10GiB, that all mirrors have confirmed; not with --store
    #[arg(long, value_name = "SIZE", value_parser = size)]
    keep_bytes: Option<u64>,
    /// Size of a file of events; whole files are removed
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    segment_bytes: u64,
    /// How long a connection may be idle before it is closed
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = idle_timeout)]
    idle_timeout: Duration,
    /// Origin of web pages that may use the relay, with its scheme and port; repeatable
    #[arg(long = "cors-origin", value_name = "ORIGIN", value_parser = parse_origin)]
    origins: Vec<Origin>,
    /// File of tokens, each with its feeds and rights; SIGHUP reads it again
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Accept the token as the query parameter access_token, too; others may see it there
    #[arg(long)]
    token_in_query: bool,
    /// Log every request: method, path, status, bytes, duration, name of the token, feed, remote address
    #[arg(long)]
    access_log: bool,
    /// Refuse events without a signature, in all feeds; a wrong one is always refused
    #[arg(long)]
    require_signatures: bool,
}

/// Runs the command.
///
/// # Errors
/// The relay cannot listen, another relay uses the folder, or the disk fails.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    let token = environment("RELAY_TOKEN").map(|token| token.into_string().map(SecretString::from));
    let token = token.transpose().map_err(|_| NoAccess::BadToken)?;
    let sources = TokenSources {
        owner: token,
        file: args.tokens.as_deref(),
        in_query: args.token_in_query,
    };
    let access = Arc::new(Access::new(args.listen.ip(), sources)?);
    let limits = Limits {
        segment: args.segment_bytes,
        keep: args.keep,
        keep_bytes: args.keep_bytes,
    };
    let (store, found) = match &args.store {
        None => Store::open(&args.data, limits)?,
        Some(url) => open_stream(args, url, limits)?,
    };
    report_recovery(&args.data, &found);
    for problem in misunderstood(&store.handle()) {
        tracing::error!("{problem}");
    }
    let unavailable = |error: io::Error| {
        let failure = Failure::new(Exit::Failed, format!("cannot listen on {}: {error}", args.listen));
        failure.hint("choose another address with --listen; port 0 selects a free port")
    };
    let listener = listen(args.listen, MAX_CONNECTIONS).map_err(unavailable)?;
    let address = listener.local_addr().map_err(unavailable)?;
    let stop = Stop::default();
    let (stopped, reloaded) = (stop.clone(), access.clone());
    signals::listen(move |request| {
        if request == signals::Request::Stop || !reload(&reloaded) {
            signals::stopping();
            stopped.stop();
        }
    })?;
    let settings = Settings {
        access,
        idle_timeout: args.idle_timeout,
        origins: args.origins.clone(),
        data: args.data.clone(),
        access_log: args.access_log,
        require_signatures: args.require_signatures,
    };
    let ready = || {
        announce(address);
        signals::alive()();
    };
    serve(listener, store, settings, &stop, ready)?;
    tracing::info!("stopped; all acknowledged events are on disk");
    Ok(Exit::Done)
}

#[cfg(feature = "nats")]
fn open_stream(args: &Args, url: &str, limits: Limits) -> Result<(Store, Found), Failure> {
    let replicas = args.replicas.map(usize::from);
    let settings = super::stream::settings(url, args.credentials.as_deref(), replicas)?;
    Ok(Store::open_stream(&args.data, limits, &settings)?)
}

#[cfg(not(feature = "nats"))]
fn open_stream(_: &Args, _: &str, _: Limits) -> Result<(Store, Found), Failure> {
    Err(super::stream::refused("--store"))
}

/// Reads the tokens again. Returns false if there is no file of them: then SIGHUP, too, stops the program.
fn reload(access: &Access) -> bool {
    match access.reload() {
        Ok(None) => return false,
        Ok(Some(tokens)) => tracing::info!(tokens, "reloaded the tokens"),
        Err(error) => tracing::error!("{error}; the previous tokens stay in use"),
    }
    true
}

/// Logs the result of opening the folder.
fn report_recovery(folder: &Path, found: &Found) {
    if let Some(repair) = &found.repaired {
        tracing::warn!("{repair}");
    }
    for problem in &found.problems {
        tracing::error!("{problem}");
    }
    if found.more > 0 {
        tracing::error!("{} more lines were not written by a relay", found.more);
    }
    tracing::info!(data = %folder.display(), feeds = found.feeds, events = found.events, "opened");
}

/// Logs and prints the address of a server.
pub(super) fn announce(address: SocketAddr) {
    tracing::info!("listening on http://{address}");
    // For scripts. A failure is harmless: the address is logged, too.
    let _ = writeln!(io::stdout(), "listening on http://{address}").and_then(|()| io::stdout().flush());
}

/// Parses a size in bytes, KiB, MiB, GiB or TiB.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|char: char| !char.is_ascii_digit());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err("expected a size such as 500MiB or 10GiB".into()),
    };
    let number: Option<u64> = digits.parse().ok();
    let bytes = number
        .and_then(|number| number.checked_mul(unit))
        .filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| "expected a size such as 500MiB or 10GiB".into())
}

fn idle_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("it must be more than zero".into()),
        idle_timeout => Ok(idle_timeout),
    }
}
