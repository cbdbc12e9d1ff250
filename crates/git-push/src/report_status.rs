//! The server's report on commands (gitprotocol-pack, *Report Status*), bare or in sideband 1 (*Packfile Data*).
//!
//! ```text
//! "unpack ok" | "unpack" SP <error>
//! ( "ok" SP <ref> | "ng" SP <ref> SP <reason> )      one for each command
//! ( "option" SP <key> [ SP <value> ] )*              report-status-v2: about the ref before
//! flush
//! ```
//!
//! Sideband 2 is progress, sideband 3 a fatal error. A report is complete with its flush-pkt: later output, such as that of
//! the `post-receive` hook, does not change it. Every error is [`ErrorKind::Uncertain`](super::ErrorKind::Uncertain),
//! because the commands were sent.
use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
};

use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;

use super::pkt_line::{Answer, Line};
use super::progress::{self, Progress};
use super::{Command, Fault, Report, ReportedUpdate, Request, Verdict, WireError};

/// Maximum size of an answer in bytes, progress included.
pub const MAX_BYTES: u64 = 256 << 20;

/// Parser of a report whose bytes arrive in pieces.
#[derive(Debug)]
#[must_use = "the report is returned by `finish()`"]
pub struct Parser {
    /// The outer layer: pkt-lines whose first byte is the band.
    sideband: Option<Answer<Progress>>,
    /// The report itself.
    report: Answer<Lines>,
    asked: bool,
}

/// Content of a report's lines so far.
#[derive(Debug)]
struct Lines {
    state: State,
    commands: Vec<Command>,
    verdicts: Vec<Option<Verdict>>,
    /// Updates made for each command. `None` after an `ok` whose options have not come.
    updates: BTreeMap<usize, Vec<Option<ReportedUpdate>>>,
    index: HashMap<BString, usize>,
    unpack_error: Option<BString>,
}

/// States are named after the line that is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unpack,
    /// A status, an option of the previous status (with the index of its command), or the flush-pkt.
    Status(Option<usize>),
}

impl Parser {
    /// Creates a parser for the answer to `request`.
    pub fn new(request: &Request) -> Self {
        let asked = request.negotiated("report-status") || request.negotiated("report-status-v2");
        let sideband = request.negotiated("side-band-64k");
        let names = request.commands.iter().enumerate();
        let lines = Lines {
            state: State::Unpack,
            index: names.map(|(index, command)| (command.name.clone(), index)).collect(),
            verdicts: vec![None; request.commands.len()],
            updates: BTreeMap::new(),
            commands: request.commands.clone(),
            unpack_error: None,
        };
        Parser {
            sideband: sideband.then(|| Answer::new(MAX_BYTES, Progress::default())),
            report: if asked {
                Answer::new(MAX_BYTES, lines)
            } else {
                Answer::ended(lines)
            },
            asked,
        }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// The piece cannot be part of a report on these commands, or the server reports that it failed.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let report = &mut self.report;
        let fed = match &mut self.sideband {
            Some(sideband) => sideband.feed(bytes, |progress, line| band(line, progress, report)),
            None => report.feed(bytes, Lines::take),
        };
        fed.map_err(WireError::uncertain)
    }

    /// Returns the lines of progress that ended since the last call, each in its last state. They are bounded in number and
    /// length ([`MAX_LINES`](super::MAX_LINES), [`MAX_LINE`](super::MAX_LINE)) and safe for a terminal.
    pub fn progress(&mut self) -> impl Iterator<Item = String> + '_ {
        self.sideband.iter_mut().flat_map(|sideband| sideband.content.take())
    }

    /// Returns the remaining lines of progress, including an incomplete one. Call it at the end of the answer.
    pub fn last_progress(&mut self) -> impl Iterator<Item = String> + '_ {
        self.sideband.iter_mut().flat_map(|sideband| {
            sideband.content.end_line();
            sideband.content.take()
        })
    }

    /// Returns true if nothing follows on a connection that stays open. Always false if no report was requested.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match &self.sideband {
            Some(sideband) => sideband.has_ended(),
            None => self.asked && self.report.has_ended(),
        }
    }

    /// Returns the report: a verdict for every command, [`Verdict::Unknown`] on those that the server does not mention.
    ///
    /// # Errors
    /// The report is not complete.
    pub fn finish(self) -> Result<Report, WireError> {
        let complete = self.report.has_ended();
        self.report.content.finish(complete).map_err(WireError::uncertain)
    }
}

impl Lines {
    fn take(&mut self, line: Line) -> Result<ControlFlow<()>, WireError> {
        self.state = match line {
            Line::Data(line) => self.data(line.strip_suffix(b"\n").unwrap_or(&line).as_bstr())?,
            Line::Flush if self.state == State::Unpack => return Err(WireError::premature("`unpack`")),
            Line::Flush => return Ok(ControlFlow::Break(())),
            Line::Delimiter | Line::ResponseEnd => return Err(protocol_2()),
        };
        Ok(ControlFlow::Continue(()))
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
                let (name, reason) = rest.split_once_str(" ").unwrap_or((rest, b"failed"));
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
        let updates = self.updates.entry(index).or_default();
        if verdict == Verdict::Accepted {
            updates.push(None);
        } else {
            updates.clear();
        }
        let slot = &mut self.verdicts[index];
        // In version 2 a ref may come twice, if a hook carried it out as several updates. A contradiction proves nothing.
        *slot = Some(match slot.take() {
            Some(before) if before != verdict => Verdict::Unknown,
            _ => verdict,
        });
        Ok(State::Status(Some(index)))
    }

    /// Takes an option. `refname` and `new-oid` report an update that differs from the command.
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
        if let Some(last) = self.updates.get_mut(&index).and_then(|updates| updates.last_mut()) {
            add_option(last.get_or_insert_default(), option);
        }
    }

    fn finish(self, complete: bool) -> Result<Report, WireError> {
        match self.state {
            _ if complete => {}
            State::Unpack => return Err(WireError::premature("the report")),
            State::Status(_) => return Err(WireError::premature("the end of the report")),
        }
        let unpack_error = self.unpack_error;
        let commands = &self.commands;
        let updates = self.updates.into_iter().map(|(index, updates)| {
            let updates: Vec<_> = updates.into_iter().flatten().collect();
            (commands[index].name.clone(), updates)
        });
        let updates: BTreeMap<_, _> = updates.filter(|(_, updates)| !updates.is_empty()).collect();
        let verdict = |reported: Option<Verdict>| match (&unpack_error, reported) {
            (None, reported) => reported.unwrap_or(Verdict::Unknown),
            // Without its objects, no command can be accepted.
            (Some(_), Some(Verdict::Accepted | Verdict::Unknown)) => Verdict::Unknown,
            (Some(_), Some(rejected)) => rejected,
            (Some(error), None) => Verdict::Rejected(format!("unpack failed: {error}").into()),
        };
        let verdicts = self.commands.into_iter().zip(self.verdicts.into_iter().map(verdict));
        let verdicts = verdicts.collect();
        Ok(Report::new(verdicts)
            .with_updates(updates)
            .with_unpack_error(unpack_error))
    }
}

/// Adds an option to an update. Unknown ones are ignored, as in git.
fn add_option(update: &mut ReportedUpdate, option: &[u8]) {
    let id = |hex: &[u8]| ObjectId::from_hex(hex).ok();
    match option.split_once_str(" ") {
        Some((b"refname", name)) => update.name = Some(name.into()),
        Some((b"old-oid", hex)) => update.old = id(hex),
        Some((b"new-oid", hex)) => update.new = id(hex),
        _ if option == b"forced-update" => update.forced = true,
        _ => {}
    }
}

/// Takes a line of the sideband: bytes of the report, progress, or a fatal error.
fn band(line: Line, progress: &mut Progress, report: &mut Answer<Lines>) -> Result<ControlFlow<()>, WireError> {
    let line = match line {
        Line::Data(line) => line,
        Line::Flush => {
            progress.end_line();
            return Ok(ControlFlow::Break(()));
        }
        Line::Delimiter | Line::ResponseEnd => return Err(protocol_2()),
    };
    match line.split_first() {
        Some((1, bytes)) => report.feed(bytes, Lines::take)?,
        Some((2, bytes)) => progress.feed(bytes),
        // The verdicts are known. The failure came after them.
        Some((3, _)) if report.has_ended() => {}
        Some((3, words)) => {
            let words = progress::cleaned(words);
            return Err(Fault::Said { words, refused: false }.into());
        }
        _ => {
            let line = line.as_bstr();
            return Err(WireError::err_line(line).unwrap_or_else(|| WireError::line("expected a sideband", line)));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn protocol_2() -> WireError {
    WireError::line("a special line of protocol 2 in a report", b"")
}

#[cfg(test)]
mod tests;
