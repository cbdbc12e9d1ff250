//! Server of a monitor: one thread, until the process ends.
use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use durable::clock::SystemClock;
use prometheus_client::metrics::gauge::Gauge;
use tokio::runtime::Builder;

use super::{Monitor, gate::Gate, routes::router};
use crate::http_server::{Limits, Server, Stop, listen};

/// Maximum number of connections.
pub const CONNECTIONS: u32 = 256;
/// Time that a connection may be idle.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Listens at this address, and answers on a thread of its own until the process ends. Returns the address. The watch takes
/// its steps by the same `clock`.
///
/// # Errors
/// An error of the system: for instance, the address is in use.
pub fn serve(address: SocketAddr, monitor: Arc<Monitor>, clock: SystemClock, gate: Gate) -> io::Result<SocketAddr> {
    let listener = listen(address, CONNECTIONS)?;
    let address = listener.local_addr()?;
    let limits = Limits {
        connections: CONNECTIONS,
        idle_timeout: IDLE_TIMEOUT,
    };
    let server = Server::new(router(monitor, clock, gate), limits, Gauge::default());
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || {
        if let Err(error) = runtime.block_on(accept(listener, &server)) {
            tracing::error!(%error, "monitors cannot connect");
        }
    });
    Ok(address)
}

async fn accept(listener: TcpListener, server: &Server) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    server.accept(&listener, &Stop::default()).await;
    Ok(())
}
