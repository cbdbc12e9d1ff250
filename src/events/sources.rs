//! Sources of a run: opened, and started on threads of their own.
use std::{
    io,
    thread::{self, JoinHandle},
};

use git_push::{Error, ErrorKind};
use git_push_transport::web::Web;

#[cfg(feature = "nats")]
use super::{
    Context,
    confirmer::{Confirmer, Numbers, mirror_name},
    settings::Source,
    source::stream,
};
use super::{
    inbox::Sender,
    run::RunError,
    settings::Settings,
    source::{Arrival, lines},
    target::SharedEnvironment,
};
use crate::config::USER_AGENT;

/// Thread of a source, with its result.
pub type SourceThread = JoinHandle<Result<(), Error>>;

/// Returns the result of a source. A source that panicked has not delivered everything.
pub fn failure_of(ended: thread::Result<Result<(), Error>>) -> Result<(), Error> {
    ended.unwrap_or_else(|_| {
        let what = "a source of events crashed (a defect of this program): not everything was read";
        Err(Error::new(ErrorKind::Transient, what))
    })
}

/// Opens the relay; returns it with the feeds to follow.
///
/// # Errors
/// The relay cannot be used as it is configured.
pub fn open_relay<'a>(
    settings: &'a Settings,
    environment: &SharedEnvironment,
) -> Result<Option<(Web, &'a [String])>, RunError> {
    let Some(relay) = settings.relay() else {
        return Ok(None);
    };
    let connection = git_push_transport::Settings::from_environment(&**environment).map_err(RunError::Remote)?;
    let connection = connection.with_user_agent(USER_AGENT);
    let web = Web::open(&relay.url, relay.token.clone(), connection).map_err(RunError::Relay)?;
    Ok(Some((web, &relay.feeds)))
}

/// Opens and follows the stream, if it is the source. Its confirmer acknowledges what was pushed.
///
/// # Errors
/// The stream cannot be used.
#[cfg(feature = "nats")]
pub fn start_stream(
    settings: &Settings,
    context: &Context,
    sender: &Sender<Arrival>,
    numbers: &Numbers,
) -> Result<Option<(SourceThread, Confirmer)>, RunError> {
    let Source::Stream(source) = &settings.source else {
        return Ok(None);
    };
    let connection = crate::nats::link::Settings {
        address: source.url.parse().map_err(RunError::StreamAddress)?,
        credentials: source.credentials.clone(),
        replicas: None,
        creates: false,
    };
    let mirror = mirror_name(&context.git_dir()).map_err(RunError::MirrorName)?;
    let name = format!("{mirror}-{}", stream::short_hash(&settings.branch));
    let source = stream::Source::open(&connection, &source.feeds, name)?;
    let (thread, acknowledger) = source.start(sender.clone(), settings.once);
    Ok(Some((thread, Confirmer::of_stream(acknowledger, numbers.clone()))))
}

/// Reads standard input to its end.
///
/// # Errors
/// It cannot be read.
pub fn read_stdin(sender: &Sender<Arrival>) -> Result<(), Error> {
    let take = |arrival: Arrival| {
        let bytes = arrival.bytes;
        sender.send(arrival, bytes).is_ok()
    };
    let read = lines::read(io::stdin().lock(), take);
    read.map_err(|error| Error::new(ErrorKind::Transient, format!("cannot read standard input: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_panicked_is_a_failure() {
        assert!(failure_of(Ok(Ok(()))).is_ok());
        let error = failure_of(Err(Box::new("a panic"))).expect_err("a failure");
        assert!(error.to_string().contains("not everything was read"), "{error}");
    }
}
