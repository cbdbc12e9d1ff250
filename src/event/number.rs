//! PURE: numbers as `JSON.stringify` writes them (ECMA-262, *Number::toString*).
//!
//! JavaScript has doubles only. A number that a double would change, such as `12345678901234567890`, keeps its digits.

/// Exact value of a JSON number: `0.digits × 10^exponent`, without zeros at either end of the digits. Zero has no digits.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    is_negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Parses a JSON number; `None` if its exponent is beyond all bounds.
    fn parse(text: &str) -> Option<Self> {
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0');
        let zeros = all.len() - digits.len();
        let digits = digits.trim_end_matches('0');
        if digits.is_empty() {
            return Some(Decimal {
                is_negative: false,
                digits: String::new(),
                exponent: 0,
            });
        }
        let shift = whole.len() as i64 - zeros as i64;
        Some(Decimal {
            is_negative,
            digits: digits.to_owned(),
            exponent: exponent.parse::<i64>().ok()?.checked_add(shift)?,
        })
    }
}

/// Fewest decimals at which two numbers can be equally close to a double, and both give it.
const TIE_DECIMALS: usize = 14;

/// Returns a JSON number as `JSON.stringify` writes it, or unchanged if a double has another value.
pub fn canonical(text: &str) -> String {
    let is_plain = text.len() <= 15 && !text.starts_with("-0") && !text.contains(['.', 'e', 'E']);
    let written = match text.parse::<f64>() {
        Ok(value) if !is_plain && value.is_finite() => stringify(value),
        _ => return text.to_owned(),
    };
    match (Decimal::parse(&written), Decimal::parse(text)) {
        (Some(one), Some(other)) if one == other => written,
        _ => text.to_owned(),
    }
}

/// Returns true if a number in the form of [`canonical()`] is a double, as `JSON.stringify` writes it.
pub fn is_double(text: &str) -> bool {
    text.parse::<f64>()
        .is_ok_and(|value| value.is_finite() && stringify(value) == text)
}

/// Returns true if two JSON numbers have the same value.
pub fn is_same(one: &str, other: &str) -> bool {
    one == other || Decimal::parse(one).is_some_and(|one| Decimal::parse(other) == Some(one))
}

/// Writes a finite number: the shortest digits that give the same double.
fn stringify(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let scientific = shortest(value.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = mantissa.replace('.', "");
    // The decimal point is behind this many digits.
    let point = exponent.parse::<i64>().unwrap_or_default() + 1;
    let count = digits.len() as i64;
    let zeros = |number: i64| "0".repeat(number as usize);
    let text = match point {
        1..=21 if count <= point => format!("{digits}{}", zeros(point - count)),
        1..=21 => format!("{}.{}", &digits[..point as usize], &digits[point as usize..]),
        -5..=0 => format!("0.{}{digits}", zeros(-point)),
        _ => {
            let (first, rest) = digits.split_at(1);
            let dot = if rest.is_empty() { "" } else { "." };
            format!("{first}{dot}{rest}e{:+}", point - 1)
        }
    };
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{text}")
}

/// Returns the shortest digits that give this double. If two numbers with these digits are equally close to it,
/// JavaScript takes the one whose last digit is even, and Rust the greater one.
fn shortest(value: f64) -> String {
    let shortest = format!("{value:e}");
    let decimals = shortest.find('e').unwrap_or_default().saturating_sub(2);
    if decimals < TIE_DECIMALS {
        return shortest;
    }
    let closest = format!("{value:.decimals$e}");
    if closest.parse() == Ok(value) {
        closest
    } else {
        shortest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_a_double_has_are_written_as_in_javascript() {
        for (text, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0e7", "0"),
            ("1.50", "1.5"),
            ("-1.0", "-1"),
            ("1e5", "100000"),
            ("1E+20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("123456789012345680000", "123456789012345680000"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("12.5e-8", "1.25e-7"),
            ("5e-324", "5e-324"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("1.7976931348623157E308", "1.7976931348623157e+308"),
            // It is 1424953923781206.25.
            ("1424953923781206.2", "1424953923781206.2"),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
            assert!(is_same(text, expected) && is_double(expected), "{text}");
        }
    }

    #[test]
    fn numbers_that_a_double_would_change_keep_their_digits() {
        for text in [
            "12345678901234567890",
            "12345678901234567890123.50",
            "0.1000000000000000055511151231257827",
            "1e400",
            "-1e99999999999999999999",
        ] {
            assert_eq!(canonical(text), text);
            assert!(!is_double(text), "{text}");
        }
        assert!(is_same("12345678901234567890123.50", "1234567890123456789012350e-2"));
        assert!(!is_same("12345678901234567890", "12345678901234567891"));
        assert!(!is_same("1e99999999999999999999", "1e99999999999999999998"));
    }
}
