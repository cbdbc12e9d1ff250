//! Connections: accepted within limits, and served until they end or the server stops.
use std::{
    io,
    net::{SocketAddr, TcpListener},
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
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    net::TcpStream,
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use super::stall_timeout::StallTimeout;

/// Maximum number of headers in a request.
const MAX_HEADERS: usize = 64;
/// Maximum size of a request's headers and of a connection's buffer, in bytes.
const MAX_BUFFER: usize = 32 << 10;
/// Time that requests in progress get when the server stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Delay before accepting again after the system refused a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Stops a server, from any thread.
#[derive(Debug, Clone, Default)]
pub struct Stop(watch::Sender<bool>);

/// Address of a connection's other end.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Limits of a server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of connections; the next one waits for one to end.
    pub connections: u32,
    /// Time that a connection may be idle.
    pub idle_timeout: Duration,
}

/// Server of one router.
pub struct Server {
    router: Router,
    limits: Limits,
    slots: Arc<Semaphore>,
    open: Gauge,
}

impl Stop {
    /// Stops accepting connections; requests in progress are completed, and streams end.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Returns a receiver that changes to true at the stop.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }

    /// Waits until the server is to stop.
    pub async fn requested(&self) {
        stop_requested(&mut self.subscribe()).await;
    }
}

impl Server {
    /// Creates a server. `open` has the number of connections.
    pub fn new(router: Router, limits: Limits, open: Gauge) -> Self {
        Server {
            router,
            limits,
            slots: Arc::new(Semaphore::new(limits.connections as usize)),
            open,
        }
    }

    /// Accepts connections and serves them, until this future is dropped.
    pub async fn accept(&self, listener: &tokio::net::TcpListener, stop: &Stop) {
        // The semaphore is never closed.
        while let Ok(slot) = self.slots.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let stream = (stream, Peer(peer));
                    let served = connection(stream, self.router.clone(), self.limits.idle_timeout, stop.subscribe());
                    let open = self.open.clone();
                    tokio::spawn(async move {
                        open.inc();
                        served.await;
                        open.dec();
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    /// Waits until all connections have ended, at most [`SHUTDOWN_GRACE`].
    pub async fn drain(&self) {
        // All slots are free when all connections have ended.
        let all = self.slots.acquire_many(self.limits.connections);
        if timeout(SHUTDOWN_GRACE, all).await.is_err() {
            tracing::warn!("closing connections that did not end in time");
        }
    }
}

/// Listens at this address, for this many connections.
///
/// # Errors
/// An error of the system: for instance, the address is in use or does not belong to this machine.
pub fn listen(address: SocketAddr, connections: u32) -> io::Result<TcpListener> {
    allow_connections(connections);
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
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

async fn stop_requested(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which also ends the server.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Raises the limit of open files to the allowed maximum: each connection needs one.
#[cfg(unix)]
fn allow_connections(connections: u32) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = u64::from(connections) + 256;
    let possible = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if limit.current.is_some_and(|current| current < possible) {
        limit.current = Some(possible);
        // If this fails, fewer connections are accepted at once.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

#[cfg(not(unix))]
fn allow_connections(_: u32) {}
