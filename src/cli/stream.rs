//! Streams of NATS JetStream on the command line. A program without the feature `nats` refuses them.
#[cfg(feature = "nats")]
use std::path::Path;

#[cfg(feature = "nats")]
use super::report::STREAM_URL;
use super::report::{Exit, Failure};
#[cfg(feature = "nats")]
use crate::nats::{
    address::BadAddress,
    link::{LinkError, Settings},
};

/// Reads the URL of the stream in `--store`.
///
/// # Errors
/// It is invalid.
#[cfg(feature = "nats")]
pub fn settings(url: &str, credentials: Option<&Path>, replicas: Option<usize>) -> Result<Settings, Failure> {
    let address = url.parse().map_err(|error: BadAddress| {
        let failure = Failure::new(Exit::Misconfigured, format!("--store {error}"));
        failure.hint(STREAM_URL)
    })?;
    Ok(Settings {
        address,
        credentials: credentials.map(Path::to_owned),
        replicas,
        creates: true,
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
            LinkError::Refused { .. } | LinkError::Unsuitable(..) => Exit::Misconfigured,
        }
    }
}

#[cfg(feature = "nats")]
impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        let hint = match error {
            LinkError::Connect(..) => "check that the servers run, their address, TLS, and the file of credentials",
            LinkError::Refused { .. } => {
                "name the credentials of a user of these servers with --credentials, one that is neither revoked nor expired"
            }
            LinkError::JetStream(..) => "check that the servers run JetStream, and the rights of the credentials",
            LinkError::Unsuitable(..) => "let the relay create a stream: choose another name behind the servers",
        };
        Failure::new(Exit::from(&error), error).hint(hint)
    }
}
