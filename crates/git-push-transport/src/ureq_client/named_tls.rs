//! Connections with a configuration of TLS that ureq cannot build itself. Without one, ureq connects as it does by default.
use std::{
    io::{Read, Write},
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, DefaultConnector, Either, LazyBuffers, NextTimeout,
    TcpConnector, Transport, TransportAdapter,
};

/// Opens connections.
#[derive(Debug, Default)]
pub(super) struct Opens {
    by_default: DefaultConnector,
    tls: Option<Arc<ClientConfig>>,
}

impl Opens {
    /// Opens connections of TLS with this configuration, if there is one.
    pub(super) fn new(tls: Option<Arc<ClientConfig>>) -> Self {
        let by_default = DefaultConnector::default();
        Opens { by_default, tls }
    }

    /// Opens a connection, through a proxy if ureq has one.
    pub(super) fn connect(&self, details: &ConnectionDetails<'_>) -> Result<Option<Box<dyn Transport>>, Error> {
        let Some(tls) = &self.tls else {
            return self.by_default.connect(details, None);
        };
        let proxied = ConnectProxyConnector::default().connect(details, None::<()>)?;
        let connection: Option<Box<dyn Transport>> = match proxied {
            Some(Either::B(proxied)) => Some(proxied),
            _ => {
                let opened = TcpConnector::default().connect(details, None::<()>)?;
                opened.map(|opened| Box::new(opened) as Box<dyn Transport>)
            }
        };
        match connection {
            Some(connection) if details.needs_tls() && !connection.is_tls() => {
                Ok(Some(Box::new(Tls::handshake(tls.clone(), connection, details)?)))
            }
            connection => Ok(connection),
        }
    }
}

/// A connection of TLS over another one.
struct Tls {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Tls {
    fn handshake(
        config: Arc<ClientConfig>,
        below: Box<dyn Transport>,
        details: &ConnectionDetails<'_>,
    ) -> Result<Self, Error> {
        let host = details.uri.host().unwrap_or_default();
        // An address of IPv6 is in brackets.
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        let name = name.map_err(|_| Error::Tls("the host is neither a name nor an address"))?;
        let mut connection = ClientConnection::new(config, name)?;
        let mut socket = TransportAdapter::new(below, details.current_time.clone());
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket)?;
        let (input, output) = (details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Tls {
            buffers: LazyBuffers::new(input, output),
            stream: StreamOwned::new(connection, socket),
        })
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Transport for Tls {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.get_mut().set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.get_mut().set_timeout(timeout);
        let read = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
