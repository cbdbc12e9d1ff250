//! A service that the built-in ssh client started, as a [`Channel`].
use std::{
    collections::VecDeque,
    future::Future,
    io::{self, Read, Write},
    sync::PoisonError,
    time::Duration,
};

use git_push::Error;
use russh::client::{Handle, Msg};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect};
use tokio::{
    runtime::Runtime,
    time::{Instant, timeout, timeout_at},
};

use super::builtin::{Farewell, Guard, NAME};
use super::channel::{Channel, PIECE};
use super::ssh_failure::{self, Ending, MAX_WORDS};

/// Time limit for the end of a service that has nothing left to do.
const GRACE: Duration = Duration::from_secs(2);

/// Maximum number of bytes that are received while something is sent.
const MAX_AHEAD: usize = 1 << 20;

/// A running service.
pub(super) struct Session {
    runtime: Runtime,
    /// The connection. It ends with this.
    handle: Handle<Guard>,
    input: ChannelWriteHalf<Msg>,
    output: ChannelReadHalf,
    heard: Heard,
    farewell: Farewell,
    idle_timeout: Duration,
    is_silent: bool,
}

/// Everything that the service has sent and the caller has not read.
#[derive(Default)]
struct Heard {
    output: VecDeque<u8>,
    /// Standard error: the last bytes.
    words: Vec<u8>,
    ending: Option<Ending>,
    /// Nothing more comes.
    is_closed: bool,
    /// No more output comes.
    has_ended: bool,
}

impl Session {
    pub(super) fn new(
        runtime: Runtime,
        handle: Handle<Guard>,
        channel: russh::Channel<Msg>,
        farewell: Farewell,
        idle_timeout: Duration,
    ) -> Self {
        let (output, input) = channel.split();
        Session {
            runtime,
            handle,
            input,
            output,
            heard: Heard::default(),
            farewell,
            idle_timeout,
            is_silent: false,
        }
    }

    fn silence(&mut self) -> io::Error {
        self.is_silent = true;
        io::Error::from(io::ErrorKind::TimedOut)
    }

    /// Closes the input, and gives the service some time to end by itself.
    fn end(&mut self) {
        if self.heard.is_closed || self.is_silent {
            return;
        }
        let (input, output, heard) = (&self.input, &mut self.output, &mut self.heard);
        let end = async {
            // The connection may be lost already.
            let _ = input.eof().await;
            while !heard.is_closed {
                heard.take(output.wait().await);
                heard.output.clear();
            }
        };
        // Past the limit, the end is unknown.
        let _ = self.runtime.block_on(timed(GRACE, end));
    }
}

impl Read for Session {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (output, heard) = (&mut self.output, &mut self.heard);
        let wait = async {
            let deadline = Instant::now() + self.idle_timeout;
            while heard.output.is_empty() && !heard.has_ended {
                heard.take(timeout_at(deadline, output.wait()).await?);
            }
            Ok::<_, tokio::time::error::Elapsed>(())
        };
        match self.runtime.block_on(wait) {
            Ok(()) => self.heard.output.read(buffer),
            Err(_) => Err(self.silence()),
        }
    }
}

impl Write for Session {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE)];
        let sent = self.runtime.block_on(timed(
            self.idle_timeout,
            send(&self.input, piece, &mut self.output, &mut self.heard),
        ));
        match sent {
            Some(true) => Ok(piece.len()),
            Some(false) => Err(io::ErrorKind::BrokenPipe.into()),
            None => Err(self.silence()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Channel for Session {
    fn last_words(&mut self) -> Option<Error> {
        self.end();
        let words = ssh_failure::in_one_line(&self.heard.words);
        if let Some(ending) = &self.heard.ending {
            return ssh_failure::ended(NAME, ending, &words);
        }
        let farewell = self.farewell.lock().unwrap_or_else(PoisonError::into_inner);
        let words = if farewell.is_empty() { words } else { farewell.clone() };
        ssh_failure::ended(NAME, &Ending::Lost, &words)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
        let goodbye = self.handle.disconnect(Disconnect::ByApplication, "", "");
        // The connection may be lost already.
        let _ = self.runtime.block_on(timed(GRACE, goodbye));
    }
}

impl Heard {
    /// Takes a message of the server; none after the last one.
    fn take(&mut self, message: Option<ChannelMsg>) {
        match message {
            Some(ChannelMsg::Data { data }) => self.output.extend(data.iter()),
            Some(ChannelMsg::ExtendedData { data, .. }) => {
                self.words.extend_from_slice(&data);
                let surplus = self.words.len().saturating_sub(MAX_WORDS);
                self.words.drain(..surplus);
            }
            Some(ChannelMsg::ExitStatus { exit_status: 0 }) => self.ending = Some(Ending::Success),
            Some(ChannelMsg::ExitStatus { exit_status }) => {
                self.ending = Some(Ending::Failure(format!("exit status: {exit_status}")));
            }
            Some(ChannelMsg::ExitSignal { .. }) => self.ending = Some(Ending::Lost),
            Some(ChannelMsg::Failure) => {
                self.ending = Some(Ending::Failure("the server does not run commands".into()));
                self.has_ended = true;
            }
            Some(ChannelMsg::Eof) => self.has_ended = true,
            Some(ChannelMsg::Close) | None => {
                self.has_ended = true;
                self.is_closed = true;
            }
            Some(_) => {}
        }
    }
}

/// Sends `piece`, and receives meanwhile: a server that cannot send may not receive. Returns false if the service has
/// ended.
async fn send(input: &ChannelWriteHalf<Msg>, piece: &[u8], output: &mut ChannelReadHalf, heard: &mut Heard) -> bool {
    let sent = input.data_bytes(piece.to_vec());
    tokio::pin!(sent);
    loop {
        if heard.is_closed {
            return false;
        }
        let has_room = heard.output.len() < MAX_AHEAD;
        tokio::select! {
            sent = &mut sent => return sent.is_ok(),
            message = output.wait(), if has_room => heard.take(message),
        }
    }
}

/// Waits for `future`, at most for `limit`. The timer needs the runtime, so it starts inside of it.
async fn timed<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    timeout(limit, future).await.ok()
}
