//! The content of `.gitmodules` and `.gitattributes`: names, paths and URLs of submodules that would lead elsewhere.
use bstr::{BStr, ByteSlice};
use gix::{ObjectId, config};

use super::{
    message::{Message, Severity},
    report::{Faulty, Report},
};

/// Longest line of `.gitattributes` that git reads, in bytes.
const LONGEST_LINE: usize = 2048;

/// Checks a `.gitmodules`. One that cannot be parsed is a fault, although git only warns: it checks the part before the
/// fault, and this parser has no such part.
///
/// # Errors
/// It has a fault that the push must not have.
pub(super) fn check_modules(id: ObjectId, data: &[u8], report: &mut Report<'_>) -> Result<(), Faulty> {
    let metadata = config::file::Metadata::from(config::Source::Api);
    let Ok(file) = config::File::from_bytes_no_includes(data, metadata, Default::default()) else {
        return unparsable(id, report);
    };
    let mut result = Ok(());
    for section in file.sections() {
        let is_submodule = section.header().name().eq_ignore_ascii_case(b"submodule");
        let Some(name) = section.header().subsection_name().filter(|_| is_submodule) else {
            continue;
        };
        let bad = |key: &str, is_bad: fn(&BStr) -> bool| {
            let values = section.values(key).into_iter();
            values.filter(|value| is_bad(value.as_bstr())).collect::<Vec<_>>()
        };
        let mut faults = Vec::new();
        if is_bad_name(name) && section.value_names().next().is_some() {
            faults.push((Message::GitmodulesName, format!("disallowed submodule name: {name}")));
        }
        for (message, key, what, is_bad) in [
            (Message::GitmodulesUrl, "url", "url", is_bad_url as fn(&BStr) -> bool),
            (Message::GitmodulesPath, "path", "path", is_option),
            (Message::GitmodulesUpdate, "update", "update setting", is_command),
        ] {
            let found = bad(key, is_bad).into_iter();
            faults.extend(found.map(|value| (message, format!("disallowed submodule {what}: {value}"))));
        }
        for (message, text) in faults {
            let fault = report.fault(id, message, &text);
            result = result.and(fault);
        }
    }
    result
}

fn unparsable(id: ObjectId, report: &mut Report<'_>) -> Result<(), Faulty> {
    let text = "could not parse gitmodules blob";
    report.fault(id, Message::GitmodulesParse, text)?;
    // Whoever set the severity has decided.
    if report.rules.chosen(Message::GitmodulesParse).is_some()
        || report.rules.severity(Message::GitmodulesParse, id) == Severity::Ignore
    {
        return Ok(());
    }
    report.words.push(
        "error: it cannot be checked, so it is refused; set receive.fsck.gitmodulesParse to warn in order to accept it"
            .into(),
    );
    Err(Faulty)
}

/// Checks a `.gitattributes`.
///
/// # Errors
/// It has a fault that the push must not have.
pub(super) fn check_attributes(id: ObjectId, data: &[u8], report: &mut Report<'_>) -> Result<(), Faulty> {
    let text = data.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.split(|byte| *byte == b'\n').any(|line| line.len() >= LONGEST_LINE) {
        let what = ".gitattributes has too long lines to parse";
        return report.fault(id, Message::GitattributesLineLength, what);
    }
    Ok(())
}

/// Returns true for an empty name, and one with `..` as a folder.
fn is_bad_name(name: &BStr) -> bool {
    name.is_empty() || name.split(|byte| is_separator(*byte)).any(|part| part == b"..")
}

fn is_separator(byte: u8) -> bool {
    byte == b'/' || byte == b'\\'
}

fn is_option(value: &BStr) -> bool {
    value.starts_with(b"-")
}

fn is_command(value: &BStr) -> bool {
    value.starts_with(b"!")
}

/// Returns true for a URL that git takes for an option, or whose parts can change places when it is resolved or decoded.
fn is_bad_url(url: &BStr) -> bool {
    if is_option(url) {
        return true;
    }
    let (ups, rest) = leading_folders(url);
    if rest.len() < url.len() || url.starts_with(b"git://") {
        let is_host = ups > 0 && matches!(rest.first(), Some(b':' | b'/'));
        return is_host || decoded(url).contains(&b'\n');
    }
    match for_http(url) {
        Some(url) => !is_plain_url(url),
        None => false,
    }
}

/// Returns the number of `../` in front, and the text after them and `./`.
fn leading_folders(url: &[u8]) -> (usize, &[u8]) {
    let (mut ups, mut rest) = (0, url);
    loop {
        rest = match rest {
            [b'.', b'.', separator, after @ ..] if is_separator(*separator) => {
                ups += 1;
                after
            }
            [b'.', separator, after @ ..] if is_separator(*separator) => after,
            _ => return (ups, rest),
        };
    }
}

/// Returns the URL for which git uses its transport over HTTP and FTP.
fn for_http(url: &[u8]) -> Option<&[u8]> {
    const SCHEMES: [&str; 4] = ["http", "https", "ftp", "ftps"];
    let after = |end: &str| {
        let matching = |scheme: &&str| url.strip_prefix(format!("{scheme}{end}").as_bytes());
        SCHEMES.iter().find_map(matching)
    };
    after("::").or_else(|| after("://").map(|_| url))
}

/// Returns true for `scheme://[user[:password]@]host[:port][/…]` without line feeds and with valid escapes.
fn is_plain_url(url: &[u8]) -> bool {
    let Some((scheme, rest)) = url.split_once_str("://") else {
        return false;
    };
    let authority = rest.split(|byte| b"/?#".contains(byte)).next().unwrap_or_default();
    let host = authority.rsplit(|byte| *byte == b'@').next().unwrap_or_default();
    let (host, port) = match host.rsplit_once_str(":") {
        Some((host, port)) if !port.contains(&b']') => (host, Some(port)),
        _ => (host, None),
    };
    let is_host = !host.is_empty()
        && host
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_[:]%".contains(byte));
    let is_port =
        port.is_none_or(|port| port.is_empty() || port.to_str().is_ok_and(|port| port.parse::<u16>().is_ok()));
    let is_scheme = !scheme.is_empty()
        && scheme
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(byte));
    is_scheme && is_host && is_port && has_valid_escapes(url) && !decoded(url).contains(&b'\n')
}

fn has_valid_escapes(url: &[u8]) -> bool {
    let is_escape = |at: usize| {
        url.get(at + 1..at + 3)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    url.find_iter("%").all(is_escape)
}

/// Returns the URL with its escapes replaced.
fn decoded(url: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = url;
    while let Some((first, after)) = rest.split_first() {
        let digits = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| digits.to_str().ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_names_that_lead_elsewhere_are_known() {
        for url in [
            "-u./payload",
            "../%0a",
            "../../:x",
            "..//host",
            "git://h/%0ax",
            "https://h/%0a",
            "https:///r.git",
            "http::x",
            "https://h:99999/",
            "https://h/%zz",
            "./../:x",
            "https://h o/",
        ] {
            assert!(is_bad_url(url.into()), "{url}");
        }
        for url in [
            "../r.git",
            "./r",
            "https://user@h:8080/r.git",
            "git@h:r.git",
            "/r",
            "ssh://h/r",
            "http::https://h/r",
            "https://[::1]:80/r",
            "git://h/r",
            "../../r",
        ] {
            assert!(!is_bad_url(url.into()), "{url}");
        }
        for name in ["", "..", "../x", "a/../b", "a\\..", "..\\"] {
            assert!(is_bad_name(name.into()), "{name}");
        }
        for name in ["a", "a..b", "...", ".", "a/..b"] {
            assert!(!is_bad_name(name.into()), "{name}");
        }
    }
}
