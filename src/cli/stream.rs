//! Streams of NATS JetStream on the command line. A program without the feature `nats` refuses them.
#[cfg(feature = "nats")]
use std::path::Path;

use super::report::{Exit, Failure};
#[cfg(feature = "nats")]
use crate::nats::link::{LinkError, Settings};

/// Reads the URL of a stream, which an option has.
///
/// # Errors
/// It is invalid.
#[cfg(feature = "nats")]
pub fn settings(
    option: &str,
    url: &str,
    credentials: Option<&Path>,
    replicas: Option<usize>,
) -> Result<Settings, Failure> {
    let address = url.parse().map_err(|error| {
        let failure = Failure::new(Exit::Misconfigured, format!("{option} {error}"));
        failure.hint("name the servers and the stream, such as nats://127.0.0.1:4222/stargate")
    })?;
    Ok(Settings {
        address,
        credentials: credentials.map(Path::to_owned),
        replicas,
    })
}

/// Returns the error of an option that needs the feature `nats`.
#[cfg(not(feature = "nats"))]
pub fn refused(option: &str) -> Failure {
    let failure = Failure::new(
        Exit::Misconfigured,
        format!("{option}: this program was built without NATS"),
    );
    failure.hint("build it with `cargo install stargate-mirror --features nats`")
}

#[cfg(feature = "nats")]
impl From<&LinkError> for Exit {
    fn from(error: &LinkError) -> Self {
        match error {
            LinkError::Connect(..) | LinkError::JetStream(..) => Exit::Failed,
            LinkError::Unsuitable(..) => Exit::Misconfigured,
        }
    }
}

#[cfg(feature = "nats")]
impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        let hint = match error {
            LinkError::Connect(..) => "check that the servers run, their address, TLS, and the credentials",
            LinkError::JetStream(..) => "check that the servers run JetStream, and the rights of the credentials",
            LinkError::Unsuitable(..) => "let the relay create a stream: choose another name behind the servers",
        };
        Failure::new(Exit::from(&error), error).hint(hint)
    }
}
