//! The parsers with answers of a real git server (see `fixtures/README.md`), cut everywhere.
use std::path::Path;

use bstr::{BString, ByteSlice};
use git_push::{Advertisement, Command, ErrorKind, Report, Request, Verdict, WireError, advertisement, report_status};
use gix::{ObjectId, hash::Kind};
use proptest::prelude::*;

const ADVERTISEMENTS: [&str; 10] = [
    "sha1",
    "sha256",
    "sha1-upload-pack",
    "sha256-upload-pack",
    "version-1",
    "bare",
    "empty",
    "empty-upload-pack",
    "alternates",
    "shallow",
];

fn fixture(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `old` or `new` of the captured repositories.
fn id(name: &str) -> ObjectId {
    let ids = fixture("ids");
    let line = ids.lines().find(|line| line.starts_with(name.as_bytes())).unwrap();
    ObjectId::from_hex(line.rsplit_once_str(" ").unwrap().1).unwrap()
}

fn parse_advertisement<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Advertisement, WireError> {
    let mut parser = advertisement::Parser::new();
    pieces.into_iter().try_for_each(|piece| parser.feed(piece))?;
    parser.finish()
}

fn parse_report<'a>(
    request: &Request,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Report, Vec<String>), WireError> {
    let mut parser = report_status::Parser::new(request);
    let mut progress = Vec::new();
    for piece in pieces {
        parser.feed(piece)?;
        progress.extend(parser.progress());
    }
    Ok((parser.finish()?, progress))
}

/// The two parts of `bytes` for every place where they can be cut.
fn splits(bytes: &[u8]) -> impl Iterator<Item = [&[u8]; 2]> {
    (0..=bytes.len()).map(|at| [&bytes[..at], &bytes[at..]])
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let cuts = cuts.iter().map(|cut| cut.index(bytes.len() + 1));
    let mut cuts: Vec<_> = cuts.chain([0, bytes.len()]).collect();
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect()
}

fn names(advertisement: &Advertisement) -> Vec<&str> {
    advertisement.refs.keys().map(|name| name.to_str().unwrap()).collect()
}

/// Commands and capabilities of a captured answer.
fn request(capabilities: &str, commands: &[(&str, &str, &str)]) -> Request {
    let resolve = |name: &str| if name == "zero" { Kind::Sha1.null() } else { id(name) };
    let commands = commands.iter().map(|(name, old, new)| Command {
        name: (*name).into(),
        old: resolve(old),
        new: resolve(new),
    });
    let capabilities = capabilities.split(' ').map(BString::from);
    Request::new(commands.collect(), Kind::Sha1, capabilities.collect())
}

const SIDEBAND: &str = "report-status-v2 side-band-64k atomic";
const UPDATE: (&str, &str, &str) = ("refs/kv/main", "old", "new");
const CREATE: (&str, &str, &str) = ("refs/kv/new", "zero", "new");
const STALE: (&str, &str, &str) = ("refs/kv-index/main", "new", "old");
const DELETE: (&str, &str, &str) = ("refs/kv/main", "old", "zero");
const ELSEWHERE: (&str, &str, &str) = ("refs/for/main", "zero", "new");

fn rejected(reason: &str) -> Verdict {
    Verdict::Rejected(reason.into())
}

/// Every captured report, its commands, and the expected verdicts.
fn reports() -> Vec<(&'static str, Request, Vec<Verdict>)> {
    let both = [UPDATE, CREATE];
    let accepted = || vec![Verdict::Accepted, Verdict::Accepted];
    vec![
        ("accepted-version-1", request("report-status", &both), accepted()),
        ("accepted", request(SIDEBAND, &both), accepted()),
        ("progress", request(SIDEBAND, &both), accepted()),
        ("deleted", request(SIDEBAND, &[DELETE]), vec![Verdict::Accepted]),
        ("not-asked-for", request("agent=x", &[CREATE]), vec![Verdict::Unknown]),
        (
            "stale-atomic",
            request(SIDEBAND, &[UPDATE, STALE]),
            vec![
                rejected("atomic transaction failed"),
                rejected("atomic transaction failed"),
            ],
        ),
        (
            "stale-one",
            request("report-status-v2 side-band-64k", &[UPDATE, STALE]),
            vec![Verdict::Accepted, rejected("failed to update ref")],
        ),
        (
            "hook-declined-atomic",
            request(SIDEBAND, &both),
            vec![rejected("atomic push failure"), rejected("hook declined")],
        ),
        (
            "unpack-failed",
            request(SIDEBAND, &both),
            vec![rejected("unpacker error"); 2],
        ),
        (
            "no-pack-version-1",
            request("report-status", &[UPDATE]),
            vec![rejected("unpacker error")],
        ),
        ("other-ref", request(SIDEBAND, &[ELSEWHERE]), vec![Verdict::Unknown]),
    ]
}

#[test]
fn advertisements_say_what_git_said() {
    let all = ["refs/heads/main", "refs/kv-index/main", "refs/kv/main", "refs/tags/v1"];
    for name in [
        "sha1",
        "sha256",
        "version-1",
        "bare",
        "sha1-upload-pack",
        "sha256-upload-pack",
    ] {
        let advertisement = parse_advertisement([&fixture(&format!("advertisement/{name}"))[..]]).unwrap();
        assert_eq!(names(&advertisement), all, "{name}");
        let format = if name.starts_with("sha256") { "sha256" } else { "sha1" };
        assert_eq!(
            advertisement.capabilities.value("object-format").unwrap(),
            format,
            "{name}"
        );
        assert_eq!(
            advertisement.capabilities.offers("atomic"),
            !name.ends_with("upload-pack"),
            "{name}"
        );
        let tag = advertisement.id("refs/tags/v1".into());
        assert!(
            tag.is_some() && tag != advertisement.id("refs/kv/main".into()),
            "{name}: the tag stands for itself"
        );
    }
}

#[test]
fn an_empty_remote_has_capabilities_and_no_refs() {
    for name in ["empty", "empty-upload-pack"] {
        let advertisement = parse_advertisement([&fixture(&format!("advertisement/{name}"))[..]]).unwrap();
        assert!(
            advertisement.refs.is_empty() && advertisement.haves.is_empty(),
            "{name}"
        );
        assert!(advertisement.capabilities.offers("object-format"), "{name}");
    }
}

#[test]
fn borrowed_objects_and_shallow_commits_are_told() {
    let alternates = parse_advertisement([&fixture("advertisement/alternates")[..]]).unwrap();
    assert_eq!(alternates.haves, [id("new")]);
    assert_eq!(names(&alternates), ["refs/heads/main", "refs/tags/v1"]);
    let shallow = parse_advertisement([&fixture("advertisement/shallow")[..]]).unwrap();
    assert_eq!(shallow.shallow, [id("new")]);
}

#[test]
fn advertisements_are_the_same_wherever_they_are_cut() {
    for name in ADVERTISEMENTS {
        let bytes = fixture(&format!("advertisement/{name}"));
        let whole = parse_advertisement([&bytes[..]]).unwrap();
        for split in splits(&bytes) {
            assert_eq!(
                parse_advertisement(split).unwrap(),
                whole,
                "{name} cut at {}",
                split[0].len()
            );
        }
    }
}

#[test]
fn no_part_of_an_advertisement_passes_for_the_whole() {
    for name in ADVERTISEMENTS {
        let bytes = fixture(&format!("advertisement/{name}"));
        for at in 0..bytes.len() {
            let error = parse_advertisement([&bytes[..at]]).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Transient, "{name} up to {at}");
        }
    }
}

#[test]
fn reports_give_these_verdicts_wherever_they_are_cut() {
    for (name, request, expected) in reports() {
        let bytes = fixture(&format!("report/{name}"));
        let (_, progress) = parse_report(&request, [&bytes[..]]).unwrap();
        for split in splits(&bytes) {
            let (report, cut_progress) = parse_report(&request, split).unwrap();
            let verdicts: Vec<_> = report.verdicts().map(|(_, verdict)| verdict.clone()).collect();
            assert_eq!(verdicts, expected, "{name} cut at {}", split[0].len());
            let commands: Vec<_> = report.verdicts().map(|(command, _)| command.clone()).collect();
            assert_eq!(
                commands, request.commands,
                "{name}: in the order in which they were sent"
            );
            assert_eq!(cut_progress, progress, "{name} cut at {}", split[0].len());
        }
    }
}

#[test]
fn a_report_that_is_cut_short_is_uncertain_until_its_flush_is_there() {
    for (name, request, expected) in reports().into_iter().filter(|(name, ..)| *name != "not-asked-for") {
        let bytes = fixture(&format!("report/{name}"));
        let mut complete = false;
        for at in 0..bytes.len() {
            match parse_report(&request, [&bytes[..at]]) {
                Ok((report, _)) => {
                    complete = true;
                    let verdicts: Vec<_> = report.verdicts().map(|(_, verdict)| verdict.clone()).collect();
                    assert_eq!(verdicts, expected, "{name} up to {at}");
                }
                Err(error) => {
                    assert!(!complete, "{name} up to {at}");
                    assert_eq!(error.kind(), ErrorKind::Uncertain, "{name} up to {at}");
                }
            }
        }
    }
}

#[test]
fn progress_is_text_for_a_person() {
    let expected = [
        "checking refs/kv/main",
        "checking refs/kv/new",
        "the watermark is closed",
    ];
    let (_, progress) = parse_report(
        &request(SIDEBAND, &[UPDATE, CREATE]),
        [&fixture("report/hook-declined-atomic")[..]],
    )
    .unwrap();
    assert!(
        expected.iter().all(|line| progress.iter().any(|shown| shown == line)),
        "{progress:?}"
    );
    let (_, progress) = parse_report(&request(SIDEBAND, &[UPDATE, CREATE]), [&fixture("report/progress")[..]]).unwrap();
    assert!(!progress.iter().any(|line| line.contains("50%")), "{progress:?}");
    assert!(progress.ends_with(&["Processing: 100%, done.".into(), "unfinished".into()]));
}

proptest! {
    #[test]
    fn any_cuts_give_the_same_advertisement(name in prop::sample::select(&ADVERTISEMENTS[..]), cuts: Vec<prop::sample::Index>) {
        let bytes = fixture(&format!("advertisement/{name}"));
        prop_assert_eq!(parse_advertisement(pieces(&bytes, &cuts)), parse_advertisement([&bytes[..]]));
    }

    #[test]
    fn any_cuts_give_the_same_report(case in prop::sample::select(reports()), cuts: Vec<prop::sample::Index>) {
        let (name, request, _) = case;
        let bytes = fixture(&format!("report/{name}"));
        prop_assert_eq!(parse_report(&request, pieces(&bytes, &cuts)), parse_report(&request, [&bytes[..]]));
    }

    #[test]
    fn no_damage_makes_a_parser_panic(
        name in prop::sample::select(&ADVERTISEMENTS[..]),
        case in prop::sample::select(reports()),
        damage: Vec<(prop::sample::Index, u8)>,
    ) {
        let spoil = |mut bytes: Vec<u8>| {
            for (at, byte) in &damage {
                if let Some(place) = (!bytes.is_empty()).then(|| at.index(bytes.len())) {
                    bytes[place] = *byte;
                }
            }
            bytes
        };
        let _ = parse_advertisement([&spoil(fixture(&format!("advertisement/{name}")))[..]]);
        let _ = parse_report(&case.1, [&spoil(fixture(&format!("report/{}", case.0)))[..]]);
    }
}
