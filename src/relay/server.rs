//! Connections: accepted on one thread, within limits and timeouts, until it is told to stop.
use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpStream,
    runtime::Builder,
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use super::{
    access::Access,
    connection::StallTimeout,
    routes::{App, router},
    store::{Handle, Store},
};
use crate::journal::WriteError;

/// So many connections at once; the next one waits for one to end.
pub const MAX_CONNECTIONS: usize = 16_384;
/// So many headers in a request.
const MAX_HEADERS: usize = 64;
/// So many bytes of a request's headers, and of what is buffered for a connection.
const MAX_BUFFER: usize = 32 << 10;
/// Threads that read the disk.
const READERS: usize = 4;
/// Requests that are under way may take so long when the relay stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// When the system has no room for another connection, it is asked again after this.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Ends a relay, from any thread.
#[derive(Debug, Clone, Default)]
pub struct Stop(watch::Sender<bool>);

/// How to serve.
#[derive(Debug)]
pub struct Settings {
    /// Who may ask.
    pub access: Access,
    /// How long a connection may stand still.
    pub idle_timeout: Duration,
}

/// Why a relay ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The system does not give what it needs.
    #[error("cannot serve: {0}")]
    System(#[from] io::Error),
    /// The log has failed.
    #[error(transparent)]
    Log(#[from] WriteError),
}

impl Stop {
    /// No more connections; what is under way is finished, and listeners are sent away.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Serves until it is stopped, then waits until everything that was posted is durable. `ready` is called when requests are
/// taken.
///
/// # Errors
/// [`ServeError`]
pub fn serve(
    listener: TcpListener,
    store: Store,
    settings: Settings,
    stop: &Stop,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    listener.set_nonblocking(true)?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READERS)
        .build()?;
    let served = runtime.block_on(accept(listener, store.handle(), settings, stop, ready));
    // Connections that are still there go with it, and their handles of the store.
    drop(runtime);
    store.close()?;
    Ok(served?)
}

/// A listener at this address.
///
/// # Errors
/// The system's: the address is in use, or not of this machine.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    allow_connections();
    TcpListener::bind(address)
}

async fn accept(
    listener: TcpListener,
    store: Handle,
    settings: Settings,
    stop: &Stop,
    ready: impl FnOnce(),
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut stopped = stop.0.subscribe();
    let app = App::new(store.clone(), settings.access, settings.idle_timeout, stopped.clone());
    let router = router(app);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    ready();
    let accepting = async {
        // The semaphore is never closed.
        while let Ok(slot) = slots.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let served = connection(stream, router.clone(), settings.idle_timeout, stop.0.subscribe());
                    tokio::spawn(async move {
                        served.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stop_requested(&mut stopped) => {}
        () = store.failed() => stop.stop(),
    }
    drop(listener);
    // All places are free when all connections have ended.
    if timeout(SHUTDOWN_GRACE, slots.acquire_many(MAX_CONNECTIONS as u32))
        .await
        .is_err()
    {
        tracing::warn!("some connections did not end, and are cut");
    }
    Ok(())
}

async fn connection(stream: TcpStream, router: Router, idle_timeout: Duration, mut stopped: watch::Receiver<bool>) {
    // Where it cannot be set, answers are a little later.
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(idle_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER);
    let stream = TokioIo::new(StallTimeout::new(stream, idle_timeout));
    let served = http.serve_connection(stream, TowerToHyperService::new(router));
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop_requested(&mut stopped) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

/// Returns when the relay is to stop.
async fn stop_requested(stopped: &mut watch::Receiver<bool>) {
    // When the one who could say so has gone, nobody wants it to go on.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Raises the limit for open files as far as this process may: each connection is one.
#[cfg(unix)]
fn allow_connections() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = MAX_CONNECTIONS as u64 + 256;
    let possible = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if limit.current.is_some_and(|current| current < possible) {
        limit.current = Some(possible);
        // Where it is refused, fewer connections are accepted at once.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

#[cfg(not(unix))]
fn allow_connections() {}
