//! The server's report on commands (gitprotocol-pack, *Report Status*), bare or in sideband 1 (*Packfile Data*).
//!
//! ```text
//! "unpack ok" | "unpack" SP <error>
//! ( "ok" SP <ref> | "ng" SP <ref> SP <reason> )      one for each command
//! ( "option" SP <key> [ SP <value> ] )*              report-status-v2: about the ref before
//! flush
//! ```
//!
//! Sideband 2 is progress, sideband 3 a fatal error. A report counts as soon as its flush-pkt is there: what a server
//! says or fails to say afterwards (its `post-receive` hook) changes nothing. Every error is
//! [`Outcome::Ambiguous`](super::Outcome::Ambiguous): the commands were sent.
use std::collections::HashMap;

use bstr::{BStr, BString, ByteSlice};

use super::pkt_line::{Line, Reader};
use super::progress::{self, Progress};
use super::{Command, Fault, Report, Request, Verdict, WireError};

/// The most bytes of an answer, progress included.
pub const MAX_BYTES: u64 = 256 << 20;

/// A report out of bytes that arrive in pieces.
#[derive(Debug)]
pub struct Parser {
    sideband: Option<Sideband>,
    report: Lines,
}

/// The outer layer: pkt-lines whose first byte tells the band.
#[derive(Debug)]
struct Sideband {
    reader: Reader,
    progress: Progress,
    ended: bool,
}

/// The report itself.
#[derive(Debug)]
struct Lines {
    reader: Reader,
    state: State,
    commands: Vec<Command>,
    verdicts: Vec<Option<Verdict>>,
    index: HashMap<BString, usize>,
    unpack_error: Option<BString>,
}

/// Named after what is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unpack,
    /// A status, an option of the status before (the index of its command), or the flush-pkt.
    Status(Option<usize>),
    /// Nothing: the report is complete, or none was asked for.
    End,
}

impl Parser {
    /// A parser that awaits the answer to `request`.
    pub fn new(request: &Request) -> Self {
        let asked = request.negotiated("report-status") || request.negotiated("report-status-v2");
        let sideband = request.negotiated("side-band-64k").then(|| Sideband {
            reader: Reader::new(MAX_BYTES),
            progress: Progress::default(),
            ended: false,
        });
        let names = request.commands.iter().enumerate();
        Parser {
            sideband,
            report: Lines {
                reader: Reader::new(MAX_BYTES),
                state: if asked { State::Unpack } else { State::End },
                index: names.map(|(index, command)| (command.name.clone(), index)).collect(),
                verdicts: vec![None; request.commands.len()],
                commands: request.commands.clone(),
                unpack_error: None,
            },
        }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// When it cannot be part of a report on these commands, or when the server says that it failed.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let fed = match &mut self.sideband {
            Some(sideband) => sideband.feed(bytes, &mut self.report),
            None => self.report.feed(bytes),
        };
        fed.map_err(WireError::ambiguous)
    }

    /// Lines of progress that came since the last call: bounded in number and length
    /// ([`MAX_LINES`](super::MAX_LINES), [`MAX_LINE`](super::MAX_LINE)), and safe for a terminal.
    pub fn progress(&mut self) -> impl Iterator<Item = String> + '_ {
        self.sideband.iter_mut().flat_map(|sideband| sideband.progress.take())
    }

    /// The report: a verdict for every command, [`Verdict::Unknown`] on those that the server does not mention.
    ///
    /// # Errors
    /// When the report is not complete.
    pub fn finish(self) -> Result<Report, WireError> {
        self.report.finish().map_err(WireError::ambiguous)
    }
}

impl Sideband {
    fn feed(&mut self, bytes: &[u8], report: &mut Lines) -> Result<(), WireError> {
        if self.ended {
            return Ok(());
        }
        self.reader.feed(bytes);
        while !self.ended
            && let Some(line) = self.reader.next()?
        {
            match line {
                Line::Data(line) => self.data(line.as_bstr(), report)?,
                Line::Flush => self.ended = true,
                Line::Delimiter | Line::ResponseEnd => return Err(protocol_2()),
            }
        }
        if self.ended {
            self.progress.end_line();
        }
        Ok(())
    }

    fn data(&mut self, line: &BStr, report: &mut Lines) -> Result<(), WireError> {
        match line.split_first() {
            Some((1, bytes)) => report.feed(bytes),
            Some((2, bytes)) => {
                self.progress.feed(bytes);
                Ok(())
            }
            // The verdicts are known; what failed comes after them.
            Some((3, _)) if report.state == State::End => Ok(()),
            Some((3, words)) => {
                let words = progress::cleaned(words);
                Err(Fault::Said { words, refused: false }.into())
            }
            _ => Err(WireError::err_line(line).unwrap_or_else(|| WireError::line("expected a sideband", line))),
        }
    }
}

impl Lines {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        if self.state == State::End {
            return Ok(());
        }
        self.reader.feed(bytes);
        while self.state != State::End
            && let Some(line) = self.reader.next()?
        {
            self.state = match line {
                Line::Data(line) => self.data(line.strip_suffix(b"\n").unwrap_or(&line).as_bstr())?,
                Line::Flush if self.state == State::Unpack => return Err(WireError::premature("`unpack`")),
                Line::Flush => State::End,
                Line::Delimiter | Line::ResponseEnd => return Err(protocol_2()),
            };
        }
        Ok(())
    }

    fn data(&mut self, line: &BStr) -> Result<State, WireError> {
        let (word, rest) = line.split_once_str(" ").unwrap_or((line, b""));
        match (self.state, word) {
            (State::Unpack, b"unpack") => {
                self.unpack_error = (rest != b"ok").then(|| rest.into());
                Ok(State::Status(None))
            }
            (State::Unpack, _) => {
                Err(WireError::err_line(line).unwrap_or_else(|| WireError::line("expected `unpack`", line)))
            }
            (_, b"ok") => self.status(rest, Verdict::Accepted, line),
            (_, b"ng") => {
                let (name, reason) = rest.split_once_str(" ").unwrap_or((rest, b"no reason given"));
                self.status(name, Verdict::Rejected(reason.into()), line)
            }
            (State::Status(Some(index)), b"option") => {
                self.option(index, rest);
                Ok(self.state)
            }
            _ => Err(WireError::line(
                "expected `ok`, `ng`, or an `option` after one of them",
                line,
            )),
        }
    }

    fn status(&mut self, name: &[u8], verdict: Verdict, line: &BStr) -> Result<State, WireError> {
        let Some(&index) = self.index.get(name) else {
            return Err(WireError::line("a status of a ref that no command names", line));
        };
        let slot = &mut self.verdicts[index];
        // A ref may come twice in version 2 (a hook carried it out as several updates); a contradiction tells nothing.
        *slot = Some(match slot.take() {
            Some(before) if before != verdict => Verdict::Unknown,
            _ => verdict,
        });
        Ok(State::Status(Some(index)))
    }

    /// `option refname` and `option new-oid` say that something else was done than what was asked for.
    fn option(&mut self, index: usize, option: &[u8]) {
        let command = &self.commands[index];
        let as_asked = match option.split_once_str(" ") {
            Some((b"refname", name)) => command.name == name,
            Some((b"new-oid", id)) => command.new.to_string().as_bytes() == id,
            _ => true,
        };
        if !as_asked {
            self.verdicts[index] = Some(Verdict::Unknown);
        }
    }

    fn finish(self) -> Result<Report, WireError> {
        match self.state {
            State::Unpack => return Err(WireError::premature("the report")),
            State::Status(_) => return Err(WireError::premature("the end of the report")),
            State::End => {}
        }
        let unpack_error = self.unpack_error;
        let verdict = |reported: Option<Verdict>| match (&unpack_error, reported) {
            (None, reported) => reported.unwrap_or(Verdict::Unknown),
            // Nothing can be accepted of what was not unpacked.
            (Some(_), Some(Verdict::Accepted | Verdict::Unknown)) => Verdict::Unknown,
            (Some(error), _) => Verdict::Rejected(format!("unpack failed: {error}").into()),
        };
        let verdicts = self.commands.into_iter().zip(self.verdicts.into_iter().map(verdict));
        Ok(Report::new(verdicts.collect()))
    }
}

fn protocol_2() -> WireError {
    WireError::line("a special line of protocol 2 in a report", b"")
}
