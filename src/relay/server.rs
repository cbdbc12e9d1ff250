//! The server: serves requests on one thread until it is stopped, and closes the store.
use std::{io, net::TcpListener, path::PathBuf, sync::Arc, time::Duration};

use tokio::runtime::Builder;

use super::{
    access::Access,
    cors::Origin,
    metrics::Metrics,
    observe::Observer,
    routes::{App, router},
    store::{Handle, Store, TURNS},
};
use crate::{
    http_server::{Limits, Server},
    journal::WriteError,
};

pub use crate::http_server::Stop;

/// Maximum number of connections; the next one waits for one to end.
pub const MAX_CONNECTIONS: u32 = 16_384;
/// Number of threads that read the disk.
const READERS: usize = 4;
// Readers leave a thread to parse bodies.
const _: () = assert!(TURNS < READERS);

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

async fn accept(
    listener: TcpListener,
    store: Handle,
    settings: Settings,
    stop: &Stop,
    ready: impl FnOnce(),
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (mut policies, access) = (store.watch_policies(), settings.access.clone());
    let mut app = App::new(store.clone(), settings.access, settings.idle_timeout, stop.subscribe());
    app.require_signatures = settings.require_signatures;
    let observer = Arc::new(Observer {
        metrics: Metrics::new(store.write_metrics()),
        store: store.clone(),
        data: settings.data,
        access_log: settings.access_log,
    });
    let limits = Limits {
        connections: MAX_CONNECTIONS,
        idle_timeout: settings.idle_timeout,
    };
    let open = observer.metrics.connections.clone();
    let server = Server::new(router(app, settings.origins, observer), limits, open);
    ready();
    let checking = async {
        // Clients of a feed whose policy another relay has set may not be allowed to read any more.
        while policies.changed().await.is_ok() {
            access.end_streams();
        }
    };
    tokio::select! {
        () = server.accept(&listener, stop) => {}
        () = checking => {}
        () = stop.requested() => {}
        () = store.failed() => stop.stop(),
    }
    drop(listener);
    server.drain().await;
    Ok(())
}
