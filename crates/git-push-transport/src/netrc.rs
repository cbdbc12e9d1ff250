//! `.netrc`: users and passwords of hosts, as curl reads them (curl, *The .netrc file*).
//!
//! ```text
//! machine <host> login <user> password <password>     any white space between words, also line feeds
//! default login <user> password <password>            for every host; nothing after it counts
//! macdef <name> LF ... LF LF                          skipped
//! # comment                                           a whole line
//! ```
//! A word may be in double quotes, with `\"`, `\\`, `\n`, `\r` and `\t` in it.
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use git_push::{Error, ErrorKind};
use secrecy::{ExposeSecret, SecretString};

use crate::credentials::Authorization;

/// Limit of the part of a file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Returns the user and the password that the file at `path` has for `url`. A file that does not exist has none.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if the file cannot be read.
pub(crate) fn read(path: Option<&Path>, url: &gix::Url) -> Result<Option<Authorization>, Error> {
    let Some(path) = path else { return Ok(None) };
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
    let text = SecretString::from(text);
    match read {
        Ok(_) => Ok(find(text.expose_secret(), url.host().unwrap_or_default(), url.user())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => {
            let what = format!("cannot read passwords from {}: {error}", path.display());
            Err(Error::new(ErrorKind::Misconfigured, what)
                .with_hint("make the file readable to the user of this process"))
        }
    }
}

/// Returns the first entry for `host` and, if it is given, `user`.
fn find(text: &str, host: &str, user: Option<&str>) -> Option<Authorization> {
    let mut entry = Entry::default();
    let mut rest = text;
    while let Some((word, after)) = next_word(rest) {
        rest = after;
        match word.as_str() {
            "machine" | "default" => {
                if let Some(found) = entry.found(user) {
                    return Some(found);
                }
                let mut matches = word == "default";
                if let (false, Some((name, after))) = (matches, next_word(rest)) {
                    matches = name.eq_ignore_ascii_case(host);
                    rest = after;
                }
                entry = Entry {
                    matches,
                    ..Entry::default()
                };
            }
            "macdef" => rest = rest.split_once("\n\n").map_or("", |(_, after)| after),
            "login" | "password" | "account" => {
                let Some((value, after)) = next_word(rest) else { break };
                rest = after;
                match word.as_str() {
                    "login" => entry.login = Some(value),
                    "password" => entry.password = Some(value),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    entry.found(user)
}

#[derive(Default)]
struct Entry {
    matches: bool,
    login: Option<String>,
    password: Option<String>,
}

impl Entry {
    fn found(&self, user: Option<&str>) -> Option<Authorization> {
        let password = self.password.as_deref().filter(|_| self.matches)?;
        match (user, self.login.as_deref()) {
            (Some(user), Some(login)) if user != login => None,
            (user, login) => Some(Authorization::basic(user.or(login)?, password)),
        }
    }
}

/// Returns the next word, and the text after it.
fn next_word(text: &str) -> Option<(String, &str)> {
    let mut text = text.trim_start();
    while text.starts_with('#') {
        text = text.split_once('\n').map_or("", |(_, after)| after).trim_start();
    }
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut word = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((word, &quoted[at + 1..])),
            '\\' => word.extend(chars.next().map(|(_, escaped)| match escaped {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                other => other,
            })),
            other => word.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, host: &str, user: Option<&str>) -> Option<String> {
        match find(text, host, user)? {
            Authorization::Basic { user, password } => Some(format!("{user}:{}", password.expose_secret())),
            Authorization::Header(_) => panic!("a header in .netrc"),
        }
    }

    #[test]
    fn the_first_entry_for_host_and_user_counts() {
        let text = "# machine commented login a password b\nmachine one.example login me password secret\n\
                    machine two.example\n\tlogin you\n\tpassword \"with \\\"quotes\\\" and space\"\n\
                    machine two.example login other account x password theirs\n\
                    macdef init\nmachine fake.example login a password b\n\n\
                    machine nobody.example password alone\nmachine open.example login me\n\
                    default login anonymous password guest\nmachine late.example login a password b\n";
        let cases = [
            ("one.example", None, Some("me:secret")),
            ("ONE.example", Some("me"), Some("me:secret")),
            ("two.example", None, Some("you:with \"quotes\" and space")),
            ("two.example", Some("other"), Some("other:theirs")),
            ("fake.example", None, Some("anonymous:guest")),
            ("nobody.example", Some("she"), Some("she:alone")),
            ("nobody.example", None, Some("anonymous:guest")),
            ("open.example", None, Some("anonymous:guest")),
            ("late.example", None, Some("anonymous:guest")),
            ("one.example", Some("somebody"), None),
        ];
        for (host, user, expected) in cases {
            assert_eq!(found(text, host, user).as_deref(), expected, "{host} {user:?}");
        }
    }

    #[test]
    fn what_is_cut_off_or_odd_gives_nothing() {
        for text in [
            "",
            "machine",
            "machine h login",
            "machine h password",
            "machine h login \"a",
            "h me secret",
            "macdef x",
        ] {
            assert_eq!(found(text, "h", None), None, "{text}");
        }
    }
}
