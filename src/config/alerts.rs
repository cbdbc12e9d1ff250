//! Settings of alerts.
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice, ByteVec};
use secrecy::SecretString;

/// Default of [`AlertConfig::stale_after`].
const STALE_AFTER: Duration = Duration::from_secs(15 * 60);

/// Recipients of alerts, and the lag that is reported.
#[derive(Debug, Clone)]
pub struct AlertConfig {
    /// `stargate.alertCommand`: a program and its arguments. Empty for none.
    pub command: Vec<BString>,
    /// `stargate.alertUrl`, which may contain secrets.
    pub url: Option<SecretString>,
    /// `stargate.alertSecretFile`: the file with the key of signatures.
    pub secret_file: Option<BString>,
    /// True if one of these comes from the repository's own configuration.
    pub is_of_repository: bool,
    /// `stargate.staleAfter`: age of the oldest pending entry at which the mirror is stale.
    pub stale_after: Duration,
}

impl Default for AlertConfig {
    fn default() -> Self {
        AlertConfig {
            command: Vec::new(),
            url: None,
            secret_file: None,
            is_of_repository: false,
            stale_after: STALE_AFTER,
        }
    }
}

impl AlertConfig {
    /// Returns true if alerts have a recipient.
    pub fn is_any(&self) -> bool {
        !self.command.is_empty() || self.url.is_some()
    }
}

/// Splits a command line into words as a shell does, without its expansions. Blanks separate words. Single quotes keep
/// everything, double quotes everything but `\"` and `\\`, and a backslash keeps the next byte.
///
/// # Errors
/// The reason why it is not a command line, as text.
pub(super) fn words(line: &BStr) -> Result<Vec<BString>, String> {
    let mut words = Vec::new();
    let mut word: Option<BString> = None;
    let mut quote = None;
    let mut bytes = line.bytes();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (None, b' ' | b'\t' | b'\n' | b'\r') => words.extend(word.take()),
            (None, b'\'' | b'"') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (Some(open), close) if open == close => quote = None,
            (None | Some(b'"'), b'\\') => {
                let Some(kept) = bytes.next() else {
                    return Err("nothing follows the last backslash".into());
                };
                let word = word.get_or_insert_default();
                if quote.is_some() && !matches!(kept, b'"' | b'\\') {
                    word.push_byte(byte);
                }
                word.push_byte(kept);
            }
            _ => word.get_or_insert_default().push_byte(byte),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".into());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_split_as_by_a_shell_and_never_expanded() {
        let split =
            |line: &str| words(line.into()).map(|words| words.iter().map(ToString::to_string).collect::<Vec<_>>());
        for (line, expected) in [
            ("", &[][..]),
            (" \t ", &[]),
            ("notify", &["notify"]),
            ("  a  b\tc ", &["a", "b", "c"]),
            ("mail -s 'Mirror trouble' ops", &["mail", "-s", "Mirror trouble", "ops"]),
            (r#"a "b \"c\" \\ \n" '' """#, &["a", r#"b "c" \ \n"#, "", ""]),
            (r"a\ b 'c\d' e'f'g", &["a b", r"c\d", "efg"]),
            ("x $HOME `id` * > y; z", &["x", "$HOME", "`id`", "*", ">", "y;", "z"]),
        ] {
            assert_eq!(
                split(line),
                Ok(expected.iter().map(|word| (*word).to_owned()).collect()),
                "{line}"
            );
        }
        for line in ["a 'b", "a \"b", "a \\", "\"\\"] {
            assert!(split(line).is_err(), "{line}");
        }
    }
}
