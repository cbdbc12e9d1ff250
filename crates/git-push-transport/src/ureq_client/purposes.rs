//! Purposes of a certificate (RFC 5280, section 4.2.1.12, *Extended Key Usage*). PURE.

/// `id-ce-extKeyUsage`
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// `id-kp-serverAuth`
const SERVER: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 6;
const OCTET_STRING: u8 = 4;
/// `[3] EXPLICIT Extensions` of a certificate.
const EXTENSIONS: u8 = 0xa3;

/// A tag and a content.
type Value<'a> = (u8, &'a [u8]);

/// Returns true if the certificate (DER) may be that of a server: it names this purpose, or no purposes at all. False if it
/// cannot be read. As in OpenSSL and webpki, `anyExtendedKeyUsage` does not count.
pub(super) fn may_serve(certificate: &[u8]) -> bool {
    match purposes(certificate) {
        Some(Some(purposes)) => values(purposes).is_some_and(|purposes| {
            let mut purposes = purposes.into_iter();
            purposes.any(|(tag, id)| tag == OBJECT_IDENTIFIER && id == SERVER)
        }),
        Some(None) => true,
        None => false,
    }
}

/// Returns the purposes that a certificate names, if it names some. None if it cannot be read.
fn purposes(certificate: &[u8]) -> Option<Option<&[u8]>> {
    let (_, signed) = *content(certificate, SEQUENCE).and_then(values)?.first()?;
    let fields = values(signed)?;
    let Some((_, extensions)) = fields.into_iter().find(|(tag, _)| *tag == EXTENSIONS) else {
        return Some(None);
    };
    for (_, extension) in values(content(extensions, SEQUENCE)?)? {
        let parts = values(extension)?;
        if parts.first() == Some(&(OBJECT_IDENTIFIER, EXTENDED_KEY_USAGE)) {
            let (_, octets) = parts.into_iter().find(|(tag, _)| *tag == OCTET_STRING)?;
            return Some(Some(content(octets, SEQUENCE)?));
        }
    }
    Some(None)
}

/// Returns the content of the first value, which must have this tag.
fn content(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let ((found, content), _) = value(bytes)?;
    (found == tag).then_some(content)
}

/// Returns all values, each with its tag.
fn values(mut bytes: &[u8]) -> Option<Vec<Value<'_>>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (one, rest) = value(bytes)?;
        all.push(one);
        bytes = rest;
    }
    Some(all)
}

/// Splits the first value off. Lengths have four bytes at most.
fn value(bytes: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (
                digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)),
                rest,
            )
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some(((tag, content), rest))
}
