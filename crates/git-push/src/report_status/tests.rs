use gix::hash::Kind;

use super::*;
use crate::{ErrorKind, pkt_line};

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
    let report = Report::new(vec![(command, rejected("unpacker error"))]).with_unpack_error(Some("disk full".into()));
    let louder = report.map_reasons(|words| words.to_str_lossy().to_uppercase());
    assert_eq!(louder.unpack_error(), Some("DISK FULL".into()));
    let explained = louder.with_reasons_explained();
    let verdict = explained.verdict("refs/kv/main".into());
    assert_eq!(verdict, Some(&rejected("unpack failed: DISK FULL (UNPACKER ERROR)")));
    let fine = Report::new(Vec::new());
    assert_eq!(fine.clone().with_reasons_explained(), fine);
}

#[test]
fn updates_that_a_hook_made_are_kept_for_each_ok() {
    let (old, new) = ("01".repeat(20), "02".repeat(20));
    let report = lines(&[
        "unpack ok",
        "ok refs/kv/main",
        "option refname refs/changes/1",
        &format!("option new-oid {new}"),
        "ok refs/kv/main",
        "option forced-update",
        &format!("option old-oid {old}"),
        "ok refs/kv-mirror/main",
        "",
    ]);
    let mut parser = Parser::new(&request(&["report-status-v2"]));
    parser.feed(&report).unwrap();
    let report = parser.finish().unwrap();
    let [first, second] = report.updates("refs/kv/main".into()) else {
        panic!("two updates")
    };
    assert_eq!(
        (first.name.clone(), first.new),
        (Some("refs/changes/1".into()), ObjectId::from_hex(new.as_bytes()).ok())
    );
    assert_eq!((second.name.as_ref(), second.forced), (None, true));
    assert_eq!(second.old, ObjectId::from_hex(old.as_bytes()).ok());
    assert!(report.updates("refs/kv-mirror/main".into()).is_empty());
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
