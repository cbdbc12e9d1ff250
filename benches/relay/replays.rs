//! POSTs beside thousands of listeners that replay a feed.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Relay, event, percentile, program, write_log};

/// Listeners that replay at once, and how long there are POSTs beside them.
const REPLAYS: (usize, Duration) = (2_500, Duration::from_secs(20));
/// The same for `--quick`.
const QUICK_REPLAYS: (usize, Duration) = (500, Duration::from_secs(5));
/// Connections for POSTs beside them.
const WRITERS: usize = 4;
/// Events that are replayed: their index is larger than what a relay keeps of it in memory.
const REPLAYED: usize = 100_000;
/// Maximum of the p99 of a POST beside them.
const TARGET: Duration = Duration::from_millis(100);

/// POSTs beside replays, of this program and of others.
pub fn compare(others: &[String], is_quick: bool) {
    let (listeners, time) = if is_quick { QUICK_REPLAYS } else { REPLAYS };
    allow_files();
    println!("POSTs over {WRITERS} connections beside {listeners} listeners that replay {REPLAYED} events\n");
    println!(
        "| program | replays in progress | replays completed | replayed MB/s | POSTs | p50 ms | p99 ms | max ms |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut verdicts = Vec::new();
    for program in others.iter().cloned().chain([program()]) {
        let folder = tempfile::tempdir().expect("a folder");
        write_log(folder.path(), REPLAYED);
        let relay = Relay::start_program(&program, &[], folder.path());
        let replays = Arc::new(Replays::default());
        let (address, counters) = (relay.address.clone(), replays.clone());
        // The listeners end with the process.
        thread::spawn(move || replay_for_ever(&address, listeners, &counters));
        while replays.begun.load(Ordering::Relaxed) < listeners {
            thread::sleep(Duration::from_millis(10));
        }
        let (before, start) = (replays.sent.load(Ordering::Relaxed), Instant::now());
        let mut times = relay.post_for(WRITERS, time);
        let replayed = replays.sent.load(Ordering::Relaxed) - before;
        let rate = replayed as f64 / start.elapsed().as_secs_f64() / 1e6;
        let (open, complete) = (
            replays.open.load(Ordering::Relaxed),
            replays.complete.load(Ordering::Relaxed),
        );
        drop(relay);
        times.sort_unstable();
        println!(
            "| {program} | {open} | {complete} | {rate:.0} | {} | {:.2} | {:.2} | {:.2} |",
            times.len(),
            percentile(&times, 50),
            percentile(&times, 99),
            percentile(&times, 100),
        );
        let is_reached = percentile(&times, 99) < TARGET.as_secs_f64() * 1000.0;
        verdicts.push((program, if is_reached { "reached" } else { "MISSED" }));
    }
    for (program, verdict) in verdicts {
        println!("\n{program}: target of a p99 below {} ms {verdict}", TARGET.as_millis());
    }
}

/// Numbers of replays and their bytes.
#[derive(Default)]
struct Replays {
    /// Bytes that were received.
    sent: AtomicU64,
    /// Listeners that have received something.
    begun: AtomicUsize,
    /// Replays that have begun and not ended.
    open: AtomicUsize,
    /// Replays up to the last event.
    complete: AtomicUsize,
}

/// Listeners that each read events up to the last one, and begin again at the first one. They begin at different events.
fn replay_for_ever(address: &str, listeners: usize, replays: &Arc<Replays>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let tasks = tokio::task::LocalSet::new();
    for listener in 0..listeners {
        let (address, replays) = (address.to_owned(), replays.clone());
        tasks.spawn_local(async move {
            let mut first = REPLAYED * listener / listeners;
            let mut is_new = true;
            // The relay is killed in the end.
            while let Ok(stream) = tokio::net::TcpStream::connect(&address).await {
                replays.open.fetch_add(1, Ordering::Relaxed);
                let is_complete = replay(&stream, first, |bytes| {
                    replays.sent.fetch_add(bytes as u64, Ordering::Relaxed);
                    replays
                        .begun
                        .fetch_add(usize::from(std::mem::take(&mut is_new)), Ordering::Relaxed);
                });
                let is_complete = is_complete.await;
                replays.complete.fetch_add(usize::from(is_complete), Ordering::Relaxed);
                replays.open.fetch_sub(1, Ordering::Relaxed);
                first = 0;
            }
        });
    }
    runtime.expect("a runtime").block_on(tasks);
}

/// Reads the events after the first ones, and counts the bytes. Returns false if the connection ends before.
async fn replay(stream: &tokio::net::TcpStream, first: usize, mut count: impl FnMut(usize)) -> bool {
    let mut buffer = vec![0; 64 << 10];
    // Number 1 is the feed.
    let request = format!(
        "GET /feeds/f/stream HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {}\r\n\r\n",
        first + 1
    );
    let asked = stream.try_write(request.as_bytes());
    if asked.is_err() || asked.is_ok_and(|bytes| bytes < request.len()) {
        return false;
    }
    let mut left = (REPLAYED - first) * event("00000000").len();
    while left > 0 && stream.readable().await.is_ok() {
        match stream.try_read(&mut buffer) {
            Ok(0) => return false,
            Ok(bytes) => {
                left = left.saturating_sub(bytes);
                count(bytes);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
    }
    left == 0
}

/// Lets this process and the relay have a file for each connection.
fn allow_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("a limit");
}
