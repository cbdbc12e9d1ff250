//! Lines of the dialogue with a remote helper (gitremote-helpers). PURE: lines in, values out.
//!
//! ```text
//! > capabilities               < [ "*" ] <capability> ... <empty line>
//! > option <name> <value>      < "ok" | "unsupported" | "error" SP <message>
//! > connect <service>          < <empty line>, and then the service; or "fallback"
//! > list for-push              < ( <id> | "@" <ref> | "?" ) SP <name> [ SP <attributes> ]
//!                                | ":object-format" SP <format> ... <empty line>
//! > push [ "+" ] <src>:<dst> ... <empty line>
//!                              < "ok" SP <dst> | "error" SP <dst> SP <why>
//!                                | "option" SP <key> SP <value> ... <empty line>
//! ```
use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};
use git_push::{Command, pkt_line};
use gix::ObjectId;

use crate::head::Head;

/// Capabilities of a helper that concern a push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Capabilities {
    pub(super) connect: bool,
    pub(super) push: bool,
    /// It takes pushes as streams of `git fast-export`.
    pub(super) export: bool,
    pub(super) option: bool,
    /// It reads in protocol 2, and lists no refs to readers then.
    pub(super) stateless_connect: bool,
    pub(super) object_format: bool,
}

/// Refs that a helper lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) refs: BTreeMap<BString, ObjectId>,
    /// The ref that `HEAD` names, or its id.
    head: Option<Result<BString, ObjectId>>,
    pub(super) format: gix::hash::Kind,
}

/// Answer to an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Taken,
    Unsupported,
    Refused(String),
}

/// A line that breaks the protocol, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Nonsense(pub(super) String);

impl Nonsense {
    pub(super) fn new(why: &str, line: &BStr) -> Self {
        Nonsense(format!("{why}: `{}`", git_push::cleaned(line)))
    }
}

impl Capabilities {
    /// Takes one line.
    ///
    /// # Errors
    /// The helper needs a capability that is unknown here.
    pub(super) fn take(&mut self, line: &BStr) -> Result<(), Nonsense> {
        let (name, is_mandatory) = match line.strip_prefix(b"*") {
            Some(name) => (name, true),
            None => (line.as_bytes(), false),
        };
        // Some have values.
        match name.split_str(" ").next().unwrap_or_default() {
            b"connect" => self.connect = true,
            b"push" => self.push = true,
            b"export" => self.export = true,
            b"option" => self.option = true,
            b"object-format" => self.object_format = true,
            b"stateless-connect" => self.stateless_connect = true,
            b"fetch"
            | b"import"
            | b"bidi-import"
            | b"check-connectivity"
            | b"refspec"
            | b"signed-tags"
            | b"export-marks"
            | b"import-marks"
            | b"no-private-update" => {}
            _ if is_mandatory => return Err(Nonsense::new("it needs a capability that is unknown", line)),
            _ => {}
        }
        Ok(())
    }
}

impl Answer {
    pub(super) fn parse(line: &BStr) -> Result<Self, Nonsense> {
        match line.as_bytes() {
            b"ok" => Ok(Answer::Taken),
            b"unsupported" => Ok(Answer::Unsupported),
            _ => match line.strip_prefix(b"error") {
                Some(why) => Ok(Answer::Refused(git_push::cleaned(why.trim()))),
                None => Err(Nonsense::new("it answered an option with", line)),
            },
        }
    }
}

impl Listing {
    pub(super) fn new() -> Self {
        Listing {
            refs: BTreeMap::new(),
            head: None,
            format: gix::hash::Kind::Sha1,
        }
    }

    /// Takes one line.
    ///
    /// # Errors
    /// It is not a ref, or one without a value.
    pub(super) fn take(&mut self, line: &BStr) -> Result<(), Nonsense> {
        if let Some(keyword) = line.strip_prefix(b":") {
            return self.keyword(keyword, line);
        }
        let malformed = || Nonsense::new("malformed response in ref list", line);
        let mut words = line.split_str(" ");
        let (Some(value), Some(name)) = (words.next(), words.next()) else {
            return Err(malformed());
        };
        if value == b"?" {
            return Err(Nonsense::new("it does not report the ids of refs", line));
        }
        let value = match value.strip_prefix(b"@") {
            Some(target) => Err(target),
            None => Ok(self.id(value).ok_or_else(malformed)?),
        };
        match (name, value) {
            (b"HEAD", Err(target)) => self.head = Some(Ok(target.into())),
            (b"HEAD", Ok(id)) => self.head = Some(Err(id)),
            // Another symbolic ref. Its target is listed, too.
            (_, Err(_)) => {}
            (name, Ok(id)) if gix::validate::reference::name(name.as_bstr()).is_ok() => {
                self.refs.insert(name.into(), id);
            }
            _ => return Err(malformed()),
        }
        Ok(())
    }

    fn keyword(&mut self, keyword: &[u8], line: &BStr) -> Result<(), Nonsense> {
        if let Some(format) = keyword.strip_prefix(b"object-format ") {
            let known = std::str::from_utf8(format).ok().and_then(|format| format.parse().ok());
            self.format = known.ok_or_else(|| Nonsense::new("unsupported object format", line))?;
        }
        // Others are ignored, as by git.
        Ok(())
    }

    fn id(&self, hex: &[u8]) -> Option<ObjectId> {
        ObjectId::from_hex(hex).ok().filter(|id| id.kind() == self.format)
    }

    /// Returns HEAD, as a reader sees it.
    pub(super) fn head(&self) -> Head {
        match &self.head {
            Some(Ok(name)) if self.refs.contains_key(name) => Head::Names(name.clone()),
            Some(Ok(name)) => Head::Dangles(Some(name.clone())),
            Some(Err(id)) => Head::Detached(*id),
            None => Head::Dangles(None),
        }
    }
}

/// Returns the line that pushes a command. `source` names its new object in the local repository.
pub(super) fn push_line(command: &Command, source: &BStr, forced: bool) -> Vec<u8> {
    let (force, source) = match (command.is_delete(), forced) {
        (true, _) => ("", BStr::new("")),
        (false, true) => ("+", source),
        (false, false) => ("", source),
    };
    [b"push ", force.as_bytes(), source, b":", &command.name, b"\n"].concat()
}

/// Returns the line that sets an option.
pub(super) fn option_line(name: &str, value: &BStr) -> Vec<u8> {
    [b"option ", name.as_bytes(), b" ", &quoted(value), b"\n"].concat()
}

/// Quotes a value as in C, if it needs that, like git.
fn quoted(value: &BStr) -> Vec<u8> {
    let is_plain = |byte: &u8| (b' '..0x7f).contains(byte) && !b"\"\\".contains(byte);
    if value.iter().all(is_plain) {
        return value.to_vec();
    }
    let mut out = vec![b'"'];
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\t' => out.extend(b"\\t"),
            _ if is_plain(&byte) => out.push(byte),
            _ => out.extend(format!("\\{byte:03o}").bytes()),
        }
    }
    out.push(b'"');
    out
}

/// Returns the status of a ref as a line of a server's report (gitprotocol-pack, *Report Status*). None if the helper reports
/// that it did nothing.
///
/// # Errors
/// The line is not a status.
pub(super) fn status_line(line: &BStr) -> Result<Option<Status>, Nonsense> {
    let (word, rest) = line.split_once_str(" ").unwrap_or((line, b""));
    if word == b"option" {
        return Ok(Some(Status::packed(None, line)));
    }
    let (name, message) = match rest.split_once_str(" ") {
        Some((name, message)) => (name, Some(unquoted(message.as_bstr()))),
        None => (rest, None),
    };
    if message
        .as_ref()
        .is_some_and(|message| message == "no match" || message == "expecting report")
    {
        return Ok(None);
    }
    let reported = match word {
        // A message says how: `forced update`, `up to date`.
        b"ok" => [b"ok ", name].concat(),
        b"error" => {
            let reason = message.filter(|reason| !reason.is_empty());
            [b"ng ", name, b" ", &reason.unwrap_or_else(|| "failed".into())].concat()
        }
        _ => return Err(Nonsense::new("expected ok/error", line)),
    };
    Ok(Some(Status::packed(Some(name.into()), reported.as_bstr())))
}

/// A line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    /// Name of the ref. None for an option, which belongs to the ref before.
    pub(super) name: Option<BString>,
    /// The pkt-line.
    pub(super) packed: Vec<u8>,
}

impl Status {
    fn packed(name: Option<BString>, line: &BStr) -> Self {
        let mut packed = Vec::new();
        pkt_line::data(&mut packed, line);
        Status { name, packed }
    }
}

fn unquoted(message: &BStr) -> BString {
    match gix::quote::ansi_c::undo(message) {
        Ok((text, _)) if message.starts_with(b"\"") => text.into_owned(),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2";

    #[test]
    fn capabilities_are_known_or_optional() {
        let mut found = Capabilities::default();
        for line in ["*push", "option", "refspec refs/heads/*:refs/far/*", "shine", "*fetch"] {
            found.take(line.into()).expect(line);
        }
        let expected = Capabilities {
            push: true,
            option: true,
            ..Capabilities::default()
        };
        assert_eq!(found, expected);
        let error = found.take("*shine".into()).expect_err("mandatory");
        assert!(error.0.contains("`*shine`"), "{error:?}");
    }

    #[test]
    fn a_list_has_refs_and_a_head() {
        let mut listing = Listing::new();
        for line in [
            ":object-format sha1",
            ":later",
            &format!("{ID} refs/heads/main"),
            &format!("{ID} refs/heads/side unchanged"),
            "@refs/heads/main HEAD",
            "@refs/heads/main refs/heads/alias",
        ] {
            listing.take(line.into()).expect(line);
        }
        let names: Vec<_> = listing.refs.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["refs/heads/main", "refs/heads/side"]);
        assert_eq!(listing.head(), Head::Names("refs/heads/main".into()));
        for line in [
            "? refs/heads/main",
            "refs/heads/main",
            &ID[..39],
            &format!("{}  refs/heads/a", &ID[..39]),
            &format!("{ID} refs/heads/a..b"),
            &format!("{ID} "),
            ":object-format md5",
        ] {
            assert!(Listing::new().take(line.into()).is_err(), "{line}");
        }
    }

    #[test]
    fn ids_have_the_length_of_the_object_format() {
        let mut listing = Listing::new();
        listing.take(":object-format sha256".into()).expect("known");
        assert!(listing.take(format!("{ID} refs/heads/a").as_str().into()).is_err());
        let long = format!("{ID}{} refs/heads/a", &ID[..24]);
        listing.take(long.as_str().into()).expect("64 digits");
        assert_eq!(listing.head(), Head::Dangles(None));
    }

    #[test]
    fn lines_are_written_as_git_writes_them() {
        let id = ObjectId::from_hex(ID.as_bytes()).expect("an id");
        let update = Command::create("refs/heads/b", id);
        let line = |command: &Command, forced| BString::from(push_line(command, "refs/heads/a".into(), forced));
        assert_eq!(line(&update, false), "push refs/heads/a:refs/heads/b\n");
        assert_eq!(line(&update, true), "push +refs/heads/a:refs/heads/b\n");
        assert_eq!(line(&Command::delete("refs/heads/b", id), true), "push :refs/heads/b\n");
        for (value, expected) in [
            ("a b", "option o a b\n"),
            ("c\"d\\", "option o \"c\\\"d\\\\\"\n"),
            ("\u{e9}\n\t\u{7}", "option o \"\\303\\251\\n\\t\\007\"\n"),
        ] {
            assert_eq!(BString::from(option_line("o", value.into())), expected);
        }
    }

    #[test]
    fn statuses_become_lines_of_a_report() {
        let line = |text: &str| status_line(text.into()).map(|status| status.map(|is| BString::from(is.packed)));
        for (text, expected) in [
            ("ok refs/heads/a", Some("0013ok refs/heads/a")),
            ("ok refs/heads/a forced update", Some("0013ok refs/heads/a")),
            ("error refs/heads/a", Some("001ang refs/heads/a failed")),
            ("error refs/heads/a \"a\\tb\"", Some("0017ng refs/heads/a a\tb")),
            (
                "error refs/heads/a not \"now\"",
                Some("001dng refs/heads/a not \"now\""),
            ),
            ("error refs/heads/a no match", None),
            ("option refname refs/heads/b", Some("001foption refname refs/heads/b")),
        ] {
            assert_eq!(line(text).expect(text), expected.map(BString::from), "{text}");
        }
        assert!(line("okay").is_err());
        assert!(line("").is_err());
    }

    #[test]
    fn options_have_three_answers() {
        assert_eq!(Answer::parse("ok".into()), Ok(Answer::Taken));
        assert_eq!(Answer::parse("unsupported".into()), Ok(Answer::Unsupported));
        assert_eq!(Answer::parse("error bad".into()), Ok(Answer::Refused("bad".into())));
        assert!(Answer::parse("perhaps".into()).is_err());
    }
}
