//! Reading JSON without losing anything, and measuring its pretty-printed form without building it.
use std::io;

use bstr::ByteSlice;
use serde::Serialize;
use serde_json::Value;

/// Prefix of the keys that serde_json uses for numbers and raw text. It reads an object with such a key as something else.
pub const PRIVATE: &str = "$serde_json::private::";

/// Reads a value without changing anything in it.
///
/// # Errors
/// The text is not JSON, or has an object key that begins with [`PRIVATE`].
pub fn read(json: &[u8]) -> Result<Value, String> {
    if has_private_key(json) {
        return Err(format!(
            "has a key that begins with `{PRIVATE}`, which cannot be stored"
        ));
    }
    serde_json::from_slice(json).map_err(|error| format!("is not JSON: {error}"))
}

/// Returns true if a value has at most `most` bytes when pretty-printed.
pub fn fits_pretty(value: &impl Serialize, most: usize) -> bool {
    serde_json::to_writer_pretty(Left(most), value).is_ok()
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
    use serde_json::json;

    use super::*;

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
            let again = read(value.to_string().as_bytes()).expect("JSON");
            assert_eq!(again, value, "{taken}");
        }
        for bad in ["", "\"", "\"\\", "{\"$serde_json::private::Number", "{"] {
            assert!(read(bad.as_bytes()).expect_err(bad).starts_with("is not JSON"), "{bad}");
        }
    }

    #[test]
    fn the_measured_length_is_the_written_length() {
        let value = json!({"a": [1, {"b": []}], "c": "d\n"});
        let length = serde_json::to_vec_pretty(&value).expect("JSON").len();
        assert!(fits_pretty(&value, length) && !fits_pretty(&value, length - 1));
    }
}
