//! The server: accepts connections on one thread, within limits and timeouts, until it is stopped.
use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper::{
    server::conn::http1,
    service::{Service, service_fn},
};
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
    cors::Origin,
    metrics::Metrics,
    observe::{Observer, Peer},
    routes::{App, router},
    stall_timeout::StallTimeout,
    store::{Handle, Store, TURNS},
};
use crate::journal::WriteError;

/// Maximum number of connections; the next one waits for one to end.
pub const MAX_CONNECTIONS: usize = 16_384;
/// Maximum number of headers in a request.
const MAX_HEADERS: usize = 64;
/// Maximum size of a request's headers and of a connection's buffer, in bytes.
const MAX_BUFFER: usize = 32 << 10;
/// Number of threads that read the disk.
const READERS: usize = 4;
// Readers leave a thread to parse bodies.
const _: () = assert!(TURNS < READERS);
/// Time that requests in progress get when the relay stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Delay before accepting again after the system refused a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Stops a relay, from any thread.
#[derive(Debug, Clone, Default)]
pub struct Stop(watch::Sender<bool>);

/// Settings of the server.
#[derive(Debug)]
pub struct Settings {
    /// Access control.
    pub access: Arc<Access>,
    /// Time that a connection may be idle.
    pub idle_timeout: Duration,
    /// Origins of web pages that may use the relay.
    pub origins: Vec<Origin>,
    /// Folder of the store.
    pub data: PathBuf,
    /// Writes an access log.
    pub access_log: bool,
    /// Refuse events without a signature.
    pub require_signatures: bool,
}

/// Error that ended a relay.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The system refused a resource.
    #[error("cannot serve: {0}")]
    System(#[from] io::Error),
    /// The log has failed.
    #[error(transparent)]
    Log(#[from] WriteError),
}

impl Stop {
    /// Stops accepting connections; requests in progress are completed, and streams end.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Serves until it is stopped, then waits until all posted events are durable. Calls `ready` when requests are accepted.
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
    // This drops the remaining connections and their handles of the store.
    drop(runtime);
    store.close()?;
    Ok(served?)
}

/// Listens at this address.
///
/// # Errors
/// An error of the system: for instance, the address is in use or does not belong to this machine.
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
    let (mut policies, access) = (store.watch_policies(), settings.access.clone());
    let mut app = App::new(store.clone(), settings.access, settings.idle_timeout, stopped.clone());
    app.require_signatures = settings.require_signatures;
    let observer = Arc::new(Observer {
        metrics: Metrics::new(store.write_metrics()),
        store: store.clone(),
        data: settings.data,
        access_log: settings.access_log,
    });
    let router = router(app, settings.origins, observer.clone());
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    ready();
    let accepting = async {
        // The semaphore is never closed.
        while let Ok(slot) = slots.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let stream = (stream, Peer(peer));
                    let served = connection(stream, router.clone(), settings.idle_timeout, stop.0.subscribe());
                    let connections = observer.metrics.connections.clone();
                    tokio::spawn(async move {
                        connections.inc();
                        served.await;
                        connections.dec();
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    };
    let checking = async {
        // Clients of a feed whose policy another relay has set may not be allowed to read any more.
        while policies.changed().await.is_ok() {
            access.end_streams();
        }
    };
    tokio::select! {
        () = accepting => {}
        () = checking => {}
        () = stop_requested(&mut stopped) => {}
        () = store.failed() => stop.stop(),
    }
    drop(listener);
    // All slots are free when all connections have ended.
    if timeout(SHUTDOWN_GRACE, slots.acquire_many(MAX_CONNECTIONS as u32))
        .await
        .is_err()
    {
        tracing::warn!("closing connections that did not end in time");
    }
    Ok(())
}

async fn connection(
    (stream, peer): (TcpStream, Peer),
    router: Router,
    idle_timeout: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    // If this fails, responses are slightly delayed.
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(idle_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER);
    let stream = TokioIo::new(StallTimeout::new(stream, idle_timeout));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let served = http.serve_connection(stream, service);
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

/// Waits until the relay is to stop.
async fn stop_requested(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which also ends the relay.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Raises the limit of open files to the allowed maximum: each connection needs one.
#[cfg(unix)]
fn allow_connections() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = MAX_CONNECTIONS as u64 + 256;
    let possible = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if limit.current.is_some_and(|current| current < possible) {
        limit.current = Some(possible);
        // If this fails, fewer connections are accepted at once.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

#[cfg(not(unix))]
fn allow_connections() {}
