//! The format of commits and tags: lines in their order, identities, dates.
use bstr::ByteSlice;
use gix::{ObjectId, objs::Kind};

use super::{
    message::Message,
    report::{Faulty, Report},
};

/// Lines of an object that were not read yet.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    /// Returns the rest of the next line if it starts with `prefix`, and goes on to the line after it.
    fn take(&mut self, prefix: &[u8]) -> Option<&'a [u8]> {
        let rest = self.0.strip_prefix(prefix)?;
        let (line, after) = rest.split_once_str(b"\n").unwrap_or((rest, b""));
        self.0 = after;
        Some(line)
    }
}

/// Checks the format of a commit.
///
/// # Errors
/// It has a fault that the push must not have.
pub(super) fn check_commit(id: ObjectId, data: &[u8], report: &mut Report<'_>) -> Result<(), Faulty> {
    check_end(id, data, report)?;
    let mut lines = Lines(data);
    let Some(tree) = lines.take(b"tree ") else {
        return report.fault(id, Message::MissingTree, "invalid format - expected 'tree' line");
    };
    if !is_id(tree, id.kind()) {
        report.fault(id, Message::BadTreeSha1, "invalid 'tree' line format - bad sha1")?;
    }
    while let Some(parent) = lines.take(b"parent ") {
        if !is_id(parent, id.kind()) {
            report.fault(id, Message::BadParentSha1, "invalid 'parent' line format - bad sha1")?;
        }
    }
    let mut authors = 0;
    while let Some(author) = lines.take(b"author ") {
        authors += 1;
        check_identity(id, author, report)?;
    }
    match authors {
        0 => report.fault(id, Message::MissingAuthor, "invalid format - expected 'author' line")?,
        1 => {}
        _ => report.fault(id, Message::MultipleAuthors, "invalid format - multiple 'author' lines")?,
    }
    let Some(committer) = lines.take(b"committer ") else {
        return report.fault(
            id,
            Message::MissingCommitter,
            "invalid format - expected 'committer' line",
        );
    };
    check_identity(id, committer, report)?;
    if data.contains(&0) {
        report.fault(id, Message::NulInCommit, "NUL byte in the commit object body")?;
    }
    Ok(())
}

/// Checks the format of a tag.
///
/// # Errors
/// It has a fault that the push must not have.
pub(super) fn check_tag(id: ObjectId, data: &[u8], report: &mut Report<'_>) -> Result<(), Faulty> {
    check_end(id, data, report)?;
    let mut lines = Lines(data);
    let Some(object) = lines.take(b"object ") else {
        return report.fault(id, Message::MissingObject, "invalid format - expected 'object' line");
    };
    if !is_id(object, id.kind()) {
        report.fault(id, Message::BadObjectSha1, "invalid 'object' line format - bad sha1")?;
    }
    let Some(kind) = lines.take(b"type ") else {
        return report.fault(id, Message::MissingTypeEntry, "invalid format - expected 'type' line");
    };
    if Kind::from_bytes(kind).is_err() {
        report.fault(id, Message::BadType, "invalid 'type' value")?;
    }
    let Some(name) = lines.take(b"tag ") else {
        return report.fault(id, Message::MissingTagEntry, "invalid format - expected 'tag' line");
    };
    let full = [b"refs/tags/", name].concat();
    if gix::validate::reference::name(full.as_bstr()).is_err() {
        let text = format!("invalid 'tag' name: {}", name.as_bstr());
        report.fault(id, Message::BadTagName, &text)?;
    }
    match lines.take(b"tagger ") {
        // Early tags have none.
        None => report.fault(
            id,
            Message::MissingTaggerEntry,
            "invalid format - expected 'tagger' line",
        )?,
        Some(tagger) => check_identity(id, tagger, report)?,
    }
    if !lines.0.is_empty() && !lines.0.starts_with(b"\n") {
        let text = "invalid format - extra header(s) after 'tagger'";
        report.fault(id, Message::ExtraHeaderEntry, text)?;
    }
    Ok(())
}

/// Checks that the header ends with its last line, and has no NUL.
fn check_end(id: ObjectId, data: &[u8], report: &mut Report<'_>) -> Result<(), Faulty> {
    let end = data.find(b"\n\n").unwrap_or(data.len());
    if let Some(at) = data[..end].find_byte(0) {
        let text = format!("unterminated header: NUL at offset {at}");
        return report.fault(id, Message::NulInHeader, &text);
    }
    if end == data.len() && !data.ends_with(b"\n") {
        return report.fault(id, Message::UnterminatedHeader, "unterminated header");
    }
    Ok(())
}

fn is_id(text: &[u8], hash: gix::hash::Kind) -> bool {
    text.len() == hash.len_in_hex() && text.iter().all(u8::is_ascii_hexdigit)
}

/// Checks an identity with its date: `Name <email> 1700000000 +0100`.
fn check_identity(id: ObjectId, line: &[u8], report: &mut Report<'_>) -> Result<(), Faulty> {
    match identity_fault(line) {
        None => Ok(()),
        Some((message, what)) => report.fault(id, message, &format!("invalid author/committer line - {what}")),
    }
}

fn identity_fault(line: &[u8]) -> Option<(Message, &'static str)> {
    let missing_space = "missing space before email";
    if line.starts_with(b"<") {
        return Some((Message::MissingNameBeforeEmail, missing_space));
    }
    let Some(at) = line.find_byteset(b"<>") else {
        return Some((Message::MissingEmail, "missing email"));
    };
    if line[at] == b'>' {
        return Some((Message::BadName, "bad name"));
    }
    if line[at - 1] != b' ' {
        return Some((Message::MissingSpaceBeforeEmail, missing_space));
    }
    let email = &line[at + 1..];
    let Some(end) = email.find_byteset(b"<>").filter(|end| email[*end] == b'>') else {
        return Some((Message::BadEmail, "bad email"));
    };
    match email[end + 1..].strip_prefix(b" ") {
        None => Some((Message::MissingSpaceBeforeDate, "missing space before date")),
        Some(date) => date_fault(date),
    }
}

fn date_fault(text: &[u8]) -> Option<(Message, &'static str)> {
    let text = text.trim_start_with(|char| char == ' ' || char == '\t');
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at(digits);
    let bad = Some((Message::BadDate, "bad date"));
    if number.is_empty() {
        return bad;
    }
    if number[0] == b'0' && text.get(1) != Some(&b' ') {
        return Some((Message::ZeroPaddedDate, "zero-padded date"));
    }
    // Digits are UTF-8. A number that is too large overflows, too.
    if number.to_str_lossy().parse::<i64>().is_err() {
        return Some((Message::BadDateOverflow, "date causes integer overflow"));
    }
    let Some(zone) = rest.strip_prefix(b" ") else {
        return bad;
    };
    let is_zone = matches!(zone, [b'+' | b'-', hours @ ..] if hours.len() == 4 && hours.iter().all(u8::is_ascii_digit));
    (!is_zone).then_some((Message::BadTimezone, "bad time zone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_one_fault_at_most() {
        for (line, fault) in [
            ("A <a@b> 1700000000 +0100", None),
            ("A <a@b>  0 -0000", None),
            ("<a@b> 1 +0000", Some(Message::MissingNameBeforeEmail)),
            ("A> <a@b> 1 +0000", Some(Message::BadName)),
            ("A a@b 1 +0000", Some(Message::MissingEmail)),
            ("A<a@b> 1 +0000", Some(Message::MissingSpaceBeforeEmail)),
            ("A <a@b 1 +0000", Some(Message::BadEmail)),
            ("A <a<b> 1 +0000", Some(Message::BadEmail)),
            ("A <a@b>1 +0000", Some(Message::MissingSpaceBeforeDate)),
            ("A <a@b> x +0000", Some(Message::BadDate)),
            ("A <a@b> 1+0000", Some(Message::BadDate)),
            ("A <a@b> 01 +0000", Some(Message::ZeroPaddedDate)),
            ("A <a@b> 9223372036854775808 +0000", Some(Message::BadDateOverflow)),
            ("A <a@b> 1 +000", Some(Message::BadTimezone)),
            ("A <a@b> 1 +00000", Some(Message::BadTimezone)),
            ("A <a@b> 1 0000", Some(Message::BadTimezone)),
        ] {
            assert_eq!(
                identity_fault(line.as_bytes()).map(|(message, _)| message),
                fault,
                "{line}"
            );
        }
    }
}
