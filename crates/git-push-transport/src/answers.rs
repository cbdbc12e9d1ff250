//! The answer of a server to a push, independent of the transport.
use git_push::{Error, Report, Request, cleaned, report_status::Parser};

/// A report on a push that is read piece by piece, with the server's human-readable lines.
pub(crate) struct PushAnswer<F> {
    parser: Parser,
    /// Removes secrets from a text of the server.
    scrub: F,
    words: Vec<String>,
}

impl<F: Fn(&str) -> String> PushAnswer<F> {
    /// Awaits the report on `request`.
    pub(crate) fn new(request: &Request, scrub: F) -> Self {
        PushAnswer {
            parser: Parser::new(request),
            scrub,
            words: Vec::new(),
        }
    }

    /// Takes the next piece, and logs human-readable lines. Returns true if the report is complete.
    ///
    /// # Errors
    /// The bytes cannot be part of a report.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<bool, Error> {
        let fed = self.parser.feed(piece);
        let lines: Vec<_> = self.parser.progress().collect();
        self.show(lines);
        fed?;
        Ok(self.parser.has_ended())
    }

    /// Returns the report. A complete report counts, even if the connection fails afterwards. Otherwise `failure` turns
    /// the parser's error into that of the push.
    ///
    /// # Errors
    /// The report is not complete. The error has the server's lines.
    pub(crate) fn finish(mut self, failure: impl FnOnce(Error) -> Error) -> Result<Report, Error> {
        let lines: Vec<_> = self.parser.last_progress().collect();
        self.show(lines);
        match self.parser.finish() {
            Ok(report) => {
                let report = report.map_reasons(|reason| (self.scrub)(&cleaned(reason)));
                Ok(report.with_server_words(self.words))
            }
            Err(error) => Err(failure(error.into()).with_server_words(self.words)),
        }
    }

    fn show(&mut self, lines: Vec<String>) {
        for line in lines {
            let line = (self.scrub)(&line);
            tracing::info!("remote: {line}");
            self.words.push(line);
        }
    }
}
