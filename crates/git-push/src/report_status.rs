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
use std::{collections::HashMap, ops::ControlFlow};

use bstr::{BStr, BString, ByteSlice};

use super::pkt_line::{Answer, Line};
use super::progress::{self, Progress};
use super::{Command, Fault, Report, Request, Verdict, WireError};

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
    }

    fn finish(self, complete: bool) -> Result<Report, WireError> {
        match self.state {
            _ if complete => {}
            State::Unpack => return Err(WireError::premature("the report")),
            State::Status(_) => return Err(WireError::premature("the end of the report")),
        }
        let unpack_error = self.unpack_error;
        let verdict = |reported: Option<Verdict>| match (&unpack_error, reported) {
            (None, reported) => reported.unwrap_or(Verdict::Unknown),
            // Without its objects, no command can be accepted.
            (Some(_), Some(Verdict::Accepted | Verdict::Unknown)) => Verdict::Unknown,
            (Some(_), Some(rejected)) => rejected,
            (Some(error), None) => Verdict::Rejected(format!("unpack failed: {error}").into()),
        };
        let verdicts = self.commands.into_iter().zip(self.verdicts.into_iter().map(verdict));
        let verdicts = verdicts.collect();
        Ok(Report::new(verdicts).with_unpack_error(unpack_error))
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
mod tests {
    use gix::{ObjectId, hash::Kind};

    use super::super::{ErrorKind, pkt_line};
    use super::*;

    fn request(capabilities: &[&str]) -> Request {
        let command = |name: &str| Command {
            name: name.into(),
            old: Kind::Sha1.null(),
            new: ObjectId::Sha1([7; 20]),
        };
        let commands = vec![command("refs/kv/main"), command("refs/kv-mirror/main")];
        let capabilities = capabilities.iter().map(|name| BString::from(*name));
        Request::new(commands, Kind::Sha1, capabilities.collect())
    }

    /// pkt-lines; `""` stands for a flush-pkt.
    fn lines(lines: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in lines {
            if line.is_empty() {
                pkt_line::flush(&mut bytes);
            } else {
                pkt_line::data(&mut bytes, line.as_bytes());
            }
        }
        bytes
    }

    fn parse(capabilities: &[&str], bytes: &[u8]) -> Result<Vec<Verdict>, WireError> {
        let mut parser = Parser::new(&request(capabilities));
        parser.feed(bytes)?;
        Ok(parser
            .finish()?
            .verdicts()
            .map(|(_, verdict)| verdict.clone())
            .collect())
    }

    fn plain(report: &[&str]) -> Result<Vec<Verdict>, WireError> {
        parse(&["report-status-v2"], &lines(report))
    }

    fn sideband(bands: &[&str]) -> Result<Vec<Verdict>, WireError> {
        parse(&["report-status", "side-band-64k"], &lines(bands))
    }

    fn rejected(reason: &str) -> Verdict {
        Verdict::Rejected(reason.into())
    }

    #[test]
    fn what_is_not_mentioned_is_unknown() {
        let verdicts = plain(&["unpack ok", "ok refs/kv/main", ""]).unwrap();
        assert_eq!(verdicts, [Verdict::Accepted, Verdict::Unknown]);
        assert_eq!(
            plain(&["unpack ok\n", ""]).unwrap(),
            [Verdict::Unknown, Verdict::Unknown]
        );
    }

    #[test]
    fn statuses_are_taken_in_any_order() {
        let verdicts = plain(&["unpack ok", "ng refs/kv-mirror/main go away", "ok refs/kv/main", ""]).unwrap();
        assert_eq!(verdicts, [Verdict::Accepted, rejected("go away")]);
    }

    #[test]
    fn a_refusal_needs_no_reason() {
        let verdicts = plain(&["unpack ok", "ng refs/kv/main", ""]).unwrap();
        assert_eq!(verdicts[0], rejected("failed"));
    }

    #[test]
    fn contradictions_are_unknown() {
        let (ok, ng) = ("ok refs/kv/main", "ng refs/kv/main no");
        assert_eq!(plain(&["unpack ok", ok, ng, ""]).unwrap()[0], Verdict::Unknown);
        assert_eq!(plain(&["unpack ok", ng, ok, ""]).unwrap()[0], Verdict::Unknown);
        assert_eq!(plain(&["unpack ok", ok, ok, ""]).unwrap()[0], Verdict::Accepted);
    }

    #[test]
    fn nothing_is_accepted_of_what_was_not_unpacked() {
        let verdicts = plain(&[
            "unpack disk full",
            "ok refs/kv/main",
            "ng refs/kv-mirror/main unpacker error",
            "",
        ]);
        assert_eq!(verdicts.unwrap(), [Verdict::Unknown, rejected("unpacker error")]);
        assert_eq!(
            plain(&["unpack disk full", ""]).unwrap()[0],
            rejected("unpack failed: disk full")
        );
    }

    #[test]
    fn why_nothing_was_unpacked_is_kept_beside_the_reasons() {
        let command = Command {
            name: "refs/kv/main".into(),
            old: ObjectId::null(Kind::Sha1),
            new: ObjectId::null(Kind::Sha1),
        };
        let report =
            Report::new(vec![(command, rejected("unpacker error"))]).with_unpack_error(Some("disk full".into()));
        let louder = report.map_reasons(|words| words.to_str_lossy().to_uppercase());
        assert_eq!(louder.unpack_error(), Some("DISK FULL".into()));
        let explained = louder.with_reasons_explained();
        let verdict = explained.verdict("refs/kv/main".into());
        assert_eq!(verdict, Some(&rejected("unpack failed: DISK FULL (UNPACKER ERROR)")));
        let fine = Report::new(Vec::new());
        assert_eq!(fine.clone().with_reasons_explained(), fine);
    }

    #[test]
    fn options_that_tell_of_something_else_make_it_unknown() {
        let with = |option: &str| plain(&["unpack ok", "ok refs/kv/main", option, ""]).unwrap()[0].clone();
        assert_eq!(with("option refname refs/kv/other"), Verdict::Unknown);
        assert_eq!(with(&format!("option new-oid {}", "8".repeat(40))), Verdict::Unknown);
        assert_eq!(with("option refname refs/kv/main"), Verdict::Accepted);
        assert_eq!(with(&format!("option new-oid {}", "07".repeat(20))), Verdict::Accepted);
        assert_eq!(with("option forced-update"), Verdict::Accepted);
    }

    #[test]
    fn what_is_no_report_is_told_why() {
        let status = "expected `ok`, `ng`, or an `option` after one of them";
        let unsent = "a status of a ref that no command names";
        let cases: [(&[&str], &str); 9] = [
            (&["ok refs/kv/main"], "expected `unpack`"),
            (&["hello"], "expected `unpack`"),
            (&["unpack ok", "unpack ok"], status),
            (&["unpack ok", "hello"], status),
            (&["unpack ok", "option refname x"], status),
            (&["unpack ok", "ok refs/kv/other"], unsent),
            (&["unpack ok", "ng refs/kv/other no"], unsent),
            (&["unpack ok", "ok"], unsent),
            (&["unpack ok", "ok  refs/kv/main"], unsent),
        ];
        for (report, expected) in cases {
            let error = plain(report).expect_err(expected);
            assert_eq!(error.kind(), ErrorKind::Uncertain, "{report:?}");
            match error.fault {
                Fault::Line { why, .. } => assert_eq!(why, expected, "{report:?}"),
                fault => panic!("{report:?}: {fault}"),
            }
        }
    }

    #[test]
    fn a_report_that_ends_early_is_uncertain() {
        let none: [&[&str]; 4] = [&[], &[""], &["unpack ok"], &["unpack ok", "ok refs/kv/main"]];
        for report in none {
            let error = plain(report).unwrap_err();
            assert!(matches!(error.fault, Fault::Premature { .. }), "{report:?}");
            assert_eq!(error.kind(), ErrorKind::Uncertain);
        }
        for bands in [&[][..], &[""], &["\u{1}000eunpack ok\n", ""]] {
            assert!(
                matches!(sideband(bands).unwrap_err().fault, Fault::Premature { .. }),
                "{bands:?}"
            );
        }
    }

    #[test]
    fn a_fatal_error_is_told_in_the_servers_words() {
        for bands in [
            ["\u{2}working", "\u{3}out of \u{1b}[31mmemory\n"],
            ["\u{2}working", "ERR out of memory"],
        ] {
            let error = sideband(&bands).unwrap_err();
            assert_eq!(error.to_string(), "the server says: out of memory");
            assert_eq!(error.kind(), ErrorKind::Uncertain);
        }
        assert_eq!(
            plain(&["ERR out of memory"]).unwrap_err().to_string(),
            "the server says: out of memory"
        );
    }

    #[test]
    fn what_fails_after_the_report_does_not_unsay_it() {
        let report = "\u{1}000eunpack ok\n0013ok refs/kv/main0000";
        let verdicts = sideband(&[report, "\u{3}post-receive hook died", ""]).unwrap();
        assert_eq!(verdicts, [Verdict::Accepted, Verdict::Unknown]);
    }

    #[test]
    fn a_band_that_does_not_exist_is_refused() {
        for bad in ["\u{4}x", "\0x", "unpack ok"] {
            assert!(
                matches!(sideband(&[bad]).unwrap_err().fault, Fault::Line { .. }),
                "{bad:?}"
            );
        }
        let empty = parse(&["report-status", "side-band-64k"], b"0004").unwrap_err();
        assert!(matches!(empty.fault, Fault::Line { .. }));
    }

    #[test]
    fn lines_of_protocol_2_are_refused() {
        assert!(parse(&["report-status"], b"0001").is_err());
        assert!(parse(&["report-status", "side-band-64k"], b"0002").is_err());
    }
}
