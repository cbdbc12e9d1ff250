//! Reading JSON without losing anything, and measuring its pretty-printed form without building it.
use std::io;

use bstr::ByteSlice;

use super::value::{Form, Json, Members};

/// Prefix of the keys that serde_json uses for numbers and raw text. It interprets an object with such a key as a
/// number or as raw text.
pub const PRIVATE: &str = "$serde_json::private::";

/// Reads a value. Numbers become those that `JSON.stringify` writes; their values are unchanged.
///
/// # Errors
/// The text is not JSON, or has an object key that begins with [`PRIVATE`].
pub fn read(json: &[u8]) -> Result<Json, String> {
    if has_private_key(json) {
        return Err(format!(
            "has a key that begins with `{PRIVATE}`, which cannot be stored"
        ));
    }
    serde_json::from_slice(json).map_err(|error| format!("is not JSON: {error}"))
}

/// Returns true if two texts are the same JSON value.
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    one == other || read(one).is_ok_and(|one| read(other) == Ok(one))
}

/// Returns true if an object has at most `most` bytes when pretty-printed.
pub fn fits_pretty(value: &Members, most: usize) -> bool {
    value.write(&mut Left(most), Form::Pretty).is_ok()
}

/// Searches the text, because the parser delivers such an object key and a number in the same way.
fn has_private_key(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(start) = rest.find_byte(b'"') {
        let Some((literal, after)) = literal(&rest[start..]) else {
            return false;
        };
        if is_private(literal) && after.trim_ascii_start().starts_with(b":") {
            return true;
        }
        rest = after;
    }
    false
}

/// Splits `json` after the string literal that it begins with.
fn literal(json: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(json.split_at(at + 1)),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn is_private(literal: &[u8]) -> bool {
    // The dollar sign may be written as an escape.
    matches!(literal.get(1), Some(b'$' | b'\\'))
        && serde_json::from_slice::<String>(literal).is_ok_and(|key| key.starts_with(PRIVATE))
}

/// A writer that discards a number of bytes and fails at the next one.
struct Left(usize);

impl io::Write for Left {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(value: &Json) -> String {
        let mut bytes = Vec::new();
        value.write(&mut bytes, Form::Compact).expect("memory");
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn a_key_that_the_parser_would_take_for_something_else_is_refused() {
        for refused in [
            r#"{"$serde_json::private::Number":"1"}"#,
            r#"[[{"a":"\\","$serde_json::private::RawValue" : "[[]]"}]]"#,
            "{\"\\u0024serde_json\\u003a:private::Number\"\r\n\t:\"1\"}",
            r#"{"\"":{"$\u0073erde_json::private::":1}}"#,
        ] {
            let problem = read(refused.as_bytes()).expect_err(refused);
            assert!(problem.contains(PRIVATE), "{refused}: {problem}");
        }
        for taken in [
            r#"["$serde_json::private::Number"]"#,
            r#"{"a":"$serde_json::private::Number","b":"\"$serde_json::private::Number\":1"}"#,
            r#"{"$serde_json":1,"$":2,"":3,"\\$serde_json::private::Number":4,"a\u0000":5.10}"#,
        ] {
            let value = read(taken.as_bytes()).expect(taken);
            let again = read(text_of(&value).as_bytes()).expect("JSON");
            assert_eq!(again, value, "{taken}");
        }
        for bad in ["", "\"", "\"\\", "{\"$serde_json::private::Number", "{"] {
            assert!(read(bad.as_bytes()).expect_err(bad).starts_with("is not JSON"), "{bad}");
        }
    }

    #[test]
    fn the_measured_length_is_the_written_length() {
        let Ok(Json::Object(value)) = read(br#"{"c": "d\n", "a": [1, {"b": []}]}"#) else {
            panic!("an object")
        };
        let mut written = Vec::new();
        value.write(&mut written, Form::Pretty).expect("memory");
        let length = written.len();
        assert!(fits_pretty(&value, length) && !fits_pretty(&value, length - 1));
    }
}
