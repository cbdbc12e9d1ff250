//! Pipe between the thread that makes a pack and the one that sends it.
//!
//! A writer that is more than [`BOUND`] bytes ahead waits for the reader. The last piece is marked, so that a reader
//! knows when it has everything. If the writer disappears before that, the reader gets an error, never an end.
//!
//! Memory: [`BOUND`] bytes, one piece that is being written, and one that is being read.
use std::io::{self, Cursor, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a piece.
const PIECE: usize = 64 << 10;
/// Maximum of the bytes that wait for the reader.
const BOUND: usize = 2 << 20;

/// A piece of a pack.
enum Piece {
    Inner(Vec<u8>),
    /// The rest. It is not empty.
    Last(Vec<u8>),
}

/// The end of the pipe at which the pack is made.
pub(super) struct PipeWriter {
    sender: SyncSender<Piece>,
    piece: Vec<u8>,
    /// True once the reader was found to be gone.
    pub(super) is_hung_up: bool,
}

/// The end of the pipe at which the pack is sent.
#[derive(Debug)]
pub(super) struct PipeReader {
    incoming: Incoming,
    piece: Cursor<Vec<u8>>,
    is_last: bool,
    /// True if the writer went away before the last piece.
    is_broken: bool,
}

/// The pieces that wait. They are shared, so that the pipe can be closed while its reader exists.
#[derive(Clone, Debug)]
pub(super) struct Incoming(Arc<Mutex<Option<Receiver<Piece>>>>);

/// Creates a pipe that begins with `head`.
pub(super) fn pipe(head: Vec<u8>) -> (PipeWriter, PipeReader) {
    let (sender, receiver) = sync_channel(BOUND / PIECE);
    let writer = PipeWriter {
        sender,
        piece: Vec::new(),
        is_hung_up: false,
    };
    let reader = PipeReader {
        incoming: Incoming(Arc::new(Mutex::new(Some(receiver)))),
        piece: Cursor::new(head),
        is_last: false,
        is_broken: false,
    };
    (writer, reader)
}

impl PipeWriter {
    /// Sends the rest, which ends the pack.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.piece);
        self.send(Piece::Last(rest))
    }

    fn send(&mut self, piece: Piece) -> io::Result<()> {
        self.sender.send(piece).map_err(|_| {
            self.is_hung_up = true;
            io::ErrorKind::BrokenPipe.into()
        })
    }
}

impl Write for PipeWriter {
    /// Takes bytes. A full piece stays until more come: it may be the last one.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() >= PIECE && !bytes.is_empty() {
            let full = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
            self.send(Piece::Inner(full))?;
        }
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PipeReader {
    /// Returns true if all bytes of the pack were read.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_last && self.piece.position() >= self.piece.get_ref().len() as u64
    }

    /// Returns true if the writer went away before the last piece.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Returns a handle that closes the pipe.
    pub(super) fn incoming(&self) -> Incoming {
        self.incoming.clone()
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.piece.read(buffer)?;
            if read > 0 || buffer.is_empty() || self.is_last {
                return Ok(read);
            }
            self.piece = match self.incoming.next() {
                Some(Piece::Inner(piece)) => Cursor::new(piece),
                Some(Piece::Last(piece)) => {
                    self.is_last = true;
                    Cursor::new(piece)
                }
                None => {
                    self.is_broken = true;
                    return Err(io::Error::other("the pack could not be completed"));
                }
            };
        }
    }
}

impl Incoming {
    /// Closes the pipe. The writer fails from then on.
    pub(super) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn next(&self) -> Option<Piece> {
        let receiver = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        receiver.as_ref()?.recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn all_bytes_come_through_in_order_and_the_end_is_known_with_the_last_one() {
        for length in [1, PIECE - 1, PIECE, PIECE + 1, BOUND, 2 * BOUND + 7] {
            let bytes: Vec<u8> = (0..length).map(|number| (number * 7 % 251) as u8).collect();
            let (mut writer, mut reader) = pipe(b"head".to_vec());
            let sent = bytes.clone();
            let maker = thread::spawn(move || {
                writer.write_all(&sent)?;
                writer.finish()
            });
            let mut read = vec![0; 4 + length - 1];
            reader.read_exact(&mut read).expect("all but one");
            assert!(!reader.is_at_end());
            let mut last = [0];
            reader.read_exact(&mut last).expect("the last one");
            assert!(reader.is_at_end(), "{length}");
            read.extend(last);
            assert_eq!(read, [b"head".as_slice(), &bytes].concat());
            assert_eq!(reader.read(&mut last).expect("the end"), 0);
            maker.join().expect("no panic").expect("all was taken");
        }
    }

    #[test]
    fn a_writer_that_goes_away_is_an_error_and_no_end() {
        let (mut writer, mut reader) = pipe(Vec::new());
        writer.write_all(&[7; PIECE + 1]).expect("room");
        drop(writer);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).expect_err("no last piece");
        assert_eq!(read.len(), PIECE, "the incomplete piece is lost");
        assert!(reader.is_broken() && !reader.is_at_end());
    }

    #[test]
    fn a_closed_pipe_stops_its_writer_even_if_the_reader_exists() {
        let (mut writer, reader) = pipe(Vec::new());
        reader.incoming().close();
        writer.write_all(&[7; 2 * PIECE]).expect_err("nothing is taken");
        assert!(writer.is_hung_up);
    }

    #[test]
    fn a_writer_waits_when_the_bound_is_reached() {
        let (mut writer, reader) = pipe(Vec::new());
        // The bound, and the piece that is being written.
        writer.write_all(&vec![7; BOUND + PIECE]).expect("room");
        let waiting = writer.sender.try_send(Piece::Inner(Vec::new()));
        assert!(waiting.is_err(), "there is no more room");
        drop(reader);
    }
}
