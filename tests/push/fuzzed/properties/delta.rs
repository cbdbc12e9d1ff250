//! Deltas: an encoded delta produces the target and is not too long; anything that is not a delta is refused.
use git_push::delta::{apply, encode};

use super::control;

/// No test needs a larger result.
const LARGEST: usize = 1 << 20;

/// The first byte determines where the rest is cut in two: a base, and a delta for it or another version of it.
pub fn check(bytes: &[u8]) {
    let (cut, bytes) = control(bytes, 128);
    let (base, rest) = bytes.split_at(bytes.len() * usize::from(cut) / 128);
    check_encoding(base, rest);
    // Inputs that resemble versions of a file: they have much in common.
    let long = base.repeat(8);
    check_encoding(&long, &[&long, rest, &long].concat());
    check_encoding(&[rest, &long].concat(), &long);
    check_applying(base, rest);
}

fn check_encoding(base: &[u8], target: &[u8]) {
    for limit in [usize::MAX, target.len(), target.len() / 2] {
        match encode(base, target, limit) {
            Some(delta) => {
                assert!(delta.len() <= limit);
                assert_eq!(apply(base, &delta).as_deref(), Ok(target));
            }
            None => assert!(target.is_empty() || limit < usize::MAX, "a delta always exists"),
        }
    }
}

fn check_applying(base: &[u8], delta: &[u8]) {
    let (Some((_, after)), claimed) = (size(delta), size(delta).and_then(|(_, after)| size(after))) else {
        assert!(apply(base, delta).is_err());
        return;
    };
    let _ = after;
    if claimed.is_some_and(|(claimed, _)| claimed > LARGEST) {
        return;
    }
    if let Ok(result) = apply(base, delta) {
        assert_eq!(Some(result.len()), claimed.map(|(claimed, _)| claimed));
    }
}

/// The size at the start, and what follows it.
fn size(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let digits = bytes[..length].iter().enumerate();
    let size = digits.fold(0u128, |size, (place, byte)| {
        size | u128::from(byte & 0x7f) << (7 * place).min(120)
    });
    Some((usize::try_from(size).unwrap_or(usize::MAX), &bytes[length..]))
}
