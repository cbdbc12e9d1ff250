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
            LinkError::Connect(..) => "check the address, TLS and the credentials, and that the servers run",
            LinkError::Refused { .. } => {
                "set --credentials to the credentials of a user of these servers, which must not be revoked or expired"
            }
            LinkError::JetStream(..) => "check that the servers run JetStream, and the rights of the credentials",
            LinkError::Unsuitable(..) => "choose another name for the stream in the URL, and the relay creates it",
        };
        Failure::new(Exit::from(&error), error).hint(hint)
    }
}
