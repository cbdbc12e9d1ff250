//! PURE: the canonical form of JSON (RFC 8785, JCS): members sorted by the UTF-16 code units of their names, no blanks, and
//! strings and numbers as `JSON.stringify` writes them.
//!
//! RFC 8785 has doubles only, and would round other numbers. One signature would then hold for several events, so such numbers
//! are refused. Lone surrogates, which it excludes, are not in a string of [`Json`].
use std::cmp::Ordering;

use super::{Form, Json, number};

/// A number that the canonical form would round.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the number {0}, which RFC 8785 would round; write it as a string")]
pub struct RoundedNumber(Box<str>);

/// Returns the canonical form of an object with these members.
///
/// # Errors
/// [`RoundedNumber`]
pub fn object<'a>(members: impl Iterator<Item = (&'a str, &'a Json)>) -> Result<Vec<u8>, RoundedNumber> {
    let mut text = Vec::new();
    write_object(&mut text, members)?;
    Ok(text)
}

fn write(to: &mut Vec<u8>, value: &Json) -> Result<(), RoundedNumber> {
    match value {
        Json::Number(digits) if !number::is_double(digits) => return Err(RoundedNumber(digits.clone())),
        Json::Array(elements) => {
            to.push(b'[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    to.push(b',');
                }
                write(to, element)?;
            }
            to.push(b']');
        }
        Json::Object(members) => write_object(to, members.sorted())?,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => write_plain(to, value),
    }
    Ok(())
}

fn write_object<'a>(to: &mut Vec<u8>, members: impl Iterator<Item = (&'a str, &'a Json)>) -> Result<(), RoundedNumber> {
    let mut members: Vec<_> = members.collect();
    members.sort_unstable_by(|one, other| by_code_units(one.0, other.0));
    to.push(b'{');
    for (index, (name, value)) in members.into_iter().enumerate() {
        if index > 0 {
            to.push(b',');
        }
        write_plain(to, &Json::String(name.to_owned()));
        to.push(b':');
        write(to, value)?;
    }
    to.push(b'}');
    Ok(())
}

/// Writes a value that has no members or elements.
fn write_plain(to: &mut Vec<u8>, value: &Json) {
    value.write(to, Form::Compact).expect("JSON is written into memory");
}

fn by_code_units(one: &str, other: &str) -> Ordering {
    one.encode_utf16().cmp(other.encode_utf16())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::read_json;

    fn canonical(text: &str) -> Result<String, RoundedNumber> {
        let Ok(Json::Object(members)) = read_json(text.as_bytes()) else {
            panic!("an object: {text}")
        };
        object(members.sorted()).map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // Section 3.2.2; its first number, 333333333.33333329, is not the double that is written.
        let text = r#"{"numbers": [333333333.3333333, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"#;
        let expected = r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#;
        assert_eq!(canonical(text).as_deref(), Ok(expected));
        // Section 3.2.3: the order is not that of UTF-8.
        let text = r#"{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
            "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control",
            "\u00f6": "Latin Small Letter O With Diaeresis"}"#;
        let values: Vec<_> = [
            "Carriage Return",
            "One",
            "Control",
            "Latin Small Letter O With Diaeresis",
            "Euro Sign",
            "Emoji: Grinning Face",
            "Hebrew Letter Dalet With Dagesh",
        ]
        .into();
        let sorted = canonical(text).expect("canonical");
        let places: Vec<_> = values.iter().map(|value| sorted.find(value).expect(value)).collect();
        assert!(places.is_sorted(), "{sorted}");
        assert!(sorted.starts_with(r#"{"\r":"#), "{sorted}");
        assert_eq!(canonical("{ }").as_deref(), Ok("{}"));
    }

    #[test]
    fn the_numbers_of_the_rfc() {
        // Appendix B: bits of a double, and how it is written.
        for (bits, expected) in [
            (0x0000_0000_0000_0000_u64, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5556, "333333333.3333334"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            assert_eq!(expected.parse(), Ok(f64::from_bits(bits)), "{bits:x}");
            let text = format!("{{\"n\":{expected}}}");
            assert_eq!(canonical(&text), Ok(text), "{bits:x}");
        }
    }

    #[test]
    fn a_number_that_would_be_rounded_is_refused() {
        for number in [
            "9007199254740993",
            "333333333.33333329",
            "1e+400",
            "-12345678901234567890",
        ] {
            let refused = canonical(&format!("{{\"a\":[{{\"n\":{number}}}]}}")).expect_err(number);
            assert_eq!(refused, RoundedNumber(number.into()));
        }
        assert!(read_json(br#"{"a":"\ud800"}"#).is_err(), "a lone surrogate");
    }
}
