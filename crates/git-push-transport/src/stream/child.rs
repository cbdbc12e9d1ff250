//! A program of this machine as a [`Channel`]: pipes with limits of silence.
//!
//! Pipes have no timeouts. So each has a thread that reads or writes it, and the channel waits for the thread. A thread that
//! is blocked ends with the program, which is killed with the channel.
use std::{
    io,
    io::{Read, Write},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use git_push::Error;

use super::channel::{Channel, PIECE};
use super::ssh_failure::{self, MAX_WORDS};
use crate::process::ended_within;

/// Number of pieces that are read ahead.
const AHEAD: usize = 16;

/// Time limit for the end of a program that has nothing left to do.
const GRACE: Duration = Duration::from_secs(2);

/// Returns the error for the end of a program with this name, status and standard error. None if it is in order. There is no
/// status if it had to be killed.
pub(super) type Ended = fn(&str, Option<ExitStatus>, &str) -> Option<Error>;

/// A running program.
pub(super) struct Program {
    name: String,
    ended: Ended,
    child: Child,
    /// Pieces to write; none once the input is closed.
    input: Option<SyncSender<Vec<u8>>>,
    written: Receiver<io::Result<()>>,
    output: Receiver<io::Result<Vec<u8>>>,
    piece: io::Cursor<Vec<u8>>,
    words: Arc<Words>,
    idle_timeout: Duration,
    is_silent: bool,
}

/// The program's standard error.
#[derive(Default)]
struct Words {
    heard: Mutex<Heard>,
    changed: Condvar,
}

#[derive(Default)]
struct Heard {
    bytes: Vec<u8>,
    ended: bool,
}

impl Program {
    /// Starts `command`, which is shown as `name`.
    pub(super) fn start(mut command: Command, name: &str, idle_timeout: Duration, ended: Ended) -> io::Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (mut stdin, mut stdout) = (child.stdin.take(), child.stdout.take());
        let (input, to_write) = sync_channel::<Vec<u8>>(1);
        let (acknowledge, written) = sync_channel(1);
        thread::spawn(move || {
            let Some(stdin) = &mut stdin else { return };
            for piece in to_write {
                if acknowledge.send(stdin.write_all(&piece)).is_err() {
                    return;
                }
            }
        });
        let (give, output) = sync_channel(AHEAD);
        thread::spawn(move || {
            let Some(stdout) = &mut stdout else { return };
            while let Some(piece) = next_piece(stdout) {
                if give.send(piece).is_err() {
                    return;
                }
            }
        });
        let words = Arc::<Words>::default();
        if let Some(stderr) = child.stderr.take() {
            let words = words.clone();
            thread::spawn(move || words.listen(stderr));
        }
        Ok(Program {
            name: name.to_owned(),
            ended,
            child,
            input: Some(input),
            written,
            output,
            piece: io::Cursor::default(),
            words,
            idle_timeout,
            is_silent: false,
        })
    }

    /// Sets the time limit of silence.
    pub(super) fn set_idle_timeout(&mut self, limit: Duration) {
        self.idle_timeout = limit;
    }

    /// Reads a line, without its end. The end of the output in it is [`io::ErrorKind::UnexpectedEof`], and more than `limit` bytes
    /// are [`io::ErrorKind::InvalidData`].
    pub(super) fn line(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            self.read_exact(&mut byte)?;
            match byte {
                [b'\n'] => return Ok(line),
                _ if line.len() == limit => return Err(io::ErrorKind::InvalidData.into()),
                [byte] => line.push(byte),
            }
        }
    }

    /// Closes the input, and waits for the end. Returns the status, if it came in time, and the last lines of standard error.
    pub(super) fn finish(mut self) -> (Option<ExitStatus>, Vec<String>) {
        self.input = None;
        let patience = if self.is_silent {
            Duration::ZERO
        } else {
            self.idle_timeout
        };
        let status = ended_within(&mut self.child, patience);
        (status, ssh_failure::lines(&self.words.taken()))
    }

    fn silence(&mut self) -> io::Error {
        self.is_silent = true;
        io::Error::from(io::ErrorKind::TimedOut)
    }

    /// Closes the input, and gives the program some time to end by itself.
    fn end(&mut self) -> Option<ExitStatus> {
        self.input = None;
        let patience = if self.is_silent { Duration::ZERO } else { GRACE };
        ended_within(&mut self.child, patience)
    }
}

impl Read for Program {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.piece.read(buffer)?;
        if length > 0 || buffer.is_empty() {
            return Ok(length);
        }
        match self.output.recv_timeout(self.idle_timeout) {
            Ok(piece) => {
                self.piece = io::Cursor::new(piece?);
                self.piece.read(buffer)
            }
            Err(RecvTimeoutError::Timeout) => Err(self.silence()),
            Err(RecvTimeoutError::Disconnected) => Ok(0),
        }
    }
}

impl Write for Program {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE)];
        let sent = self.input.as_ref().map(|input| input.send(piece.to_vec()));
        let Some(Ok(())) = sent else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        match self.written.recv_timeout(self.idle_timeout) {
            Ok(written) => written.map(|()| piece.len()),
            Err(RecvTimeoutError::Timeout) => Err(self.silence()),
            Err(RecvTimeoutError::Disconnected) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Channel for Program {
    fn last_words(&mut self) -> Option<Error> {
        let status = self.end();
        let words = ssh_failure::in_one_line(&self.words.taken());
        (self.ended)(&self.name, status, &words)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.end().is_none() {
            // It may have ended meanwhile.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Words {
    fn listen(&self, mut stderr: ChildStderr) {
        let mut piece = vec![0; MAX_WORDS];
        loop {
            let length = match stderr.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.unwrap_or(0),
            };
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.bytes.extend_from_slice(&piece[..length]);
            let surplus = heard.bytes.len().saturating_sub(MAX_WORDS);
            heard.bytes.drain(..surplus);
            heard.ended = length == 0;
            self.changed.notify_all();
            if length == 0 {
                return;
            }
        }
    }

    /// Returns all of it. It does not wait long for the end, because another program may keep the pipe open.
    fn taken(&self) -> Vec<u8> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(heard, GRACE / 10, |heard| !heard.ended);
        let (heard, _) = waited.unwrap_or_else(PoisonError::into_inner);
        heard.bytes.clone()
    }
}

/// Reads the next piece; `None` at the end.
fn next_piece(stdout: &mut impl Read) -> Option<io::Result<Vec<u8>>> {
    let mut piece = vec![0; PIECE];
    loop {
        match stdout.read(&mut piece) {
            Ok(0) => return None,
            Ok(length) => {
                piece.truncate(length);
                return Some(Ok(piece));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Some(Err(error)),
        }
    }
}
