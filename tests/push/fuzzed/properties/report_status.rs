//! A server's report: only reported commands are accepted, and half a report is not a report.
use bstr::{BString, ByteSlice};
use git_push::{
    Command, ErrorKind, MAX_LINE, MAX_LINES, Report, Request, Verdict, WireError, cleaned, report_status::Parser,
};
use gix::{ObjectId, hash::Kind};

use super::{beginnings, control, pieces};

const NAMES: [&str; 3] = ["refs/kv/main", "refs/kv-mirror/main", "refs/kv/new"];
const CAPABILITIES: [&str; 4] = [
    "report-status",
    "report-status-v2",
    "report-status side-band-64k",
    "report-status-v2 side-band-64k atomic",
];

/// The first byte selects the negotiated capabilities.
pub fn check(bytes: &[u8]) {
    let (variant, bytes) = control(bytes, CAPABILITIES.len() as u8);
    let request = request(CAPABILITIES[usize::from(variant)]);
    let whole = parse(&request, [bytes]);
    assert_eq!(parse(&request, pieces(bytes)), whole, "in pieces");
    for beginning in beginnings(bytes) {
        match (parse(&request, [beginning]), &whole) {
            (Err(error), _) => assert_eq!(error.kind(), ErrorKind::Uncertain),
            // The report was complete. Later bytes do not change it, although the framing around it may break.
            (Ok((report, _)), Ok((later, _))) => assert_eq!(report, *later),
            (Ok(_), Err(_)) => assert!(request.negotiated("side-band-64k")),
        }
    }
    match &whole {
        Ok((report, progress)) => check_report(&request, report, progress, bytes),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Uncertain, "the commands were sent"),
    }
    assert!(!cleaned(bytes).contains(char::is_control));
}

fn request(capabilities: &str) -> Request {
    let command = |name: &&str| Command {
        name: (*name).into(),
        old: Kind::Sha1.null(),
        new: ObjectId::Sha1([7; 20]),
    };
    let capabilities = capabilities.split(' ').map(BString::from);
    Request::new(NAMES.iter().map(command).collect(), Kind::Sha1, capabilities.collect())
}

fn parse<'a>(
    request: &Request,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Report, Vec<String>), WireError> {
    let mut parser = Parser::new(request);
    pieces.into_iter().try_for_each(|piece| parser.feed(piece))?;
    let progress = parser.progress().collect();
    Ok((parser.finish()?, progress))
}

fn check_report(request: &Request, report: &Report, progress: &[String], bytes: &[u8]) {
    assert!(report.verdicts().map(|(command, _)| command).eq(&request.commands));
    // A band may cut the words in two anywhere.
    let banded = request.negotiated("side-band-64k");
    for (command, verdict) in report.verdicts() {
        let said = |word: &str| banded || bytes.contains_str(format!("{word} {}", command.name));
        match verdict {
            Verdict::Accepted => assert!(said("ok") && (banded || bytes.contains_str("unpack ok")), "{command:?}"),
            Verdict::Rejected(_) => assert!(banded || bytes.contains_str("ng ") || bytes.contains_str("unpack")),
            Verdict::Unknown => {}
            Verdict::UpToDate => panic!("no server says that"),
        }
    }
    assert!(progress.len() <= MAX_LINES);
    for line in progress {
        // A character that is not UTF-8 becomes one of three bytes.
        assert!(
            line.len() <= 3 * MAX_LINE && !line.contains(char::is_control),
            "{line:?}"
        );
    }
}
