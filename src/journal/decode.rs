//! Decoder of the line of an entry. The format is specified in [`journal`](crate::journal).
use std::ops::Range;

use base64::{Engine, prelude::BASE64_STANDARD};
use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use ulid::Ulid;

use super::{
    encode::EVENT,
    entry::{Entry, Located, Meta, Place, Source},
    status::{self, WIDTH},
};
use crate::ref_update::{MalformedLine, RefUpdate};

/// Reasons why a line is not an entry.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The line is not JSON, or a key is missing or has a value of another type.
    #[error("not a journal entry: {0}")]
    Json(#[from] serde_json::Error),
    /// `event` has another value.
    #[error("event is {0:?}, expected \"ref_update\"")]
    Event(String),
    /// `entry_id` is not a ULID.
    #[error("entry_id {0:?} is not a ULID")]
    EntryId(String),
    /// `timestamp` is not a time.
    #[error("timestamp {0:?} is not a time such as 2025-10-26T12:34:56.789Z")]
    Timestamp(String),
    /// `status` has an unknown value.
    #[error("status is {0}, expected \"pending\", \"done\", \"failed\" or \"skipped\"")]
    Status(String),
    /// The ids or the ref name are invalid.
    #[error("old_oid, new_oid and ref are not a valid ref update: {0}")]
    Update(#[from] MalformedLine),
    /// `meta.ref_b64` is not base64.
    #[error("meta.ref_b64 {0:?} is not base64")]
    RefB64(String),
}

/// Decodes the entry in a line at `offset` in the file, given without its line feed. A status that mixes two statuses
/// counts as pending.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(line: &[u8], offset: u64) -> Result<Located, DecodeError> {
    decode_strictly(line, offset).or_else(|error| match status::unmixed(line) {
        Some(pending) => decode_strictly(&pending, offset),
        None => Err(error),
    })
}

/// Returns true if a line is one JSON value of any kind, so that other readers can skip it.
pub(super) fn is_json(line: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

fn decode_strictly(line: &[u8], offset: u64) -> Result<Located, DecodeError> {
    let read: ReadLine = serde_json::from_slice(line)?;
    if read.event != EVENT {
        return Err(DecodeError::Event(read.event));
    }
    let meta = read.meta.unwrap_or_default();
    let entry = Entry {
        entry_id: Ulid::from_string(&read.entry_id).map_err(|_| DecodeError::EntryId(read.entry_id))?,
        timestamp: read
            .timestamp
            .parse()
            .map_err(|_| DecodeError::Timestamp(read.timestamp))?,
        update: update(read.old_oid, &read.new_oid, read.r#ref, meta.ref_b64)?,
        pusher: read.pusher.map(BString::from),
        repo: read.repo.map(BString::from),
        source: read.source,
        status: serde_json::from_str(read.status.get())
            .map_err(|_| DecodeError::Status(read.status.get().to_owned()))?,
        meta: Some(Meta {
            txn_id: meta.txn_id.map(BString::from),
            push_options: meta.push_options.into_iter().map(BString::from).collect(),
        })
        .filter(|meta| *meta != Meta::default()),
    };
    Ok(Located {
        entry,
        place: Place {
            segment: None,
            offset,
            status: status_range(line, offset, read.status.get()),
        },
        copies: Vec::new(),
    })
}

#[derive(Deserialize)]
struct ReadLine<'a> {
    entry_id: String,
    timestamp: String,
    event: String,
    r#ref: String,
    #[serde(deserialize_with = "present")]
    old_oid: Option<String>,
    new_oid: String,
    pusher: Option<String>,
    repo: Option<String>,
    source: Source,
    #[serde(borrow)]
    status: &'a RawValue,
    meta: Option<ReadMeta>,
}

#[derive(Deserialize, Default)]
struct ReadMeta {
    txn_id: Option<String>,
    #[serde(default)]
    push_options: Vec<String>,
    ref_b64: Option<String>,
}

/// Requires the key: null means a creation, and a missing key means damage.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

/// Validates the ids and the name by the rules of a hook's input, so that a journal yields no ref that git would reject.
fn update(old: Option<String>, new: &str, name: String, name_base64: Option<String>) -> Result<RefUpdate, DecodeError> {
    let name = match name_base64 {
        None => name.into_bytes(),
        Some(text) => BASE64_STANDARD.decode(&text).map_err(|_| DecodeError::RefB64(text))?,
    };
    let old = match old {
        Some(old) => old,
        None => {
            let new = ObjectId::from_hex(new.as_bytes()).map_err(|_| MalformedLine::Id)?;
            new.kind().null().to_string()
        }
    };
    let name: &BStr = name.as_bstr();
    Ok(RefUpdate::parse(&[old.as_bytes(), new.as_bytes(), name].join(&b' '))?)
}

/// Returns the range of the status value in the file, including the padding, up to the width of a status.
fn status_range(line: &[u8], offset: u64, value: &str) -> Range<u64> {
    // The value borrows from the line: this is its index there.
    let start = value.as_ptr().addr() - line.as_ptr().addr();
    let after = &line[start + value.len()..];
    let blanks = after.iter().take_while(|byte| **byte == b' ').count();
    let width = (value.len() + blanks).min(WIDTH);
    offset + start as u64..offset + (start + width) as u64
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::journal::{
        BLOCK, Status, encode,
        encode::tests::{example, id},
    };

    fn text(entry: &Entry) -> String {
        String::from_utf8(encode(entry, 0)).unwrap()
    }

    #[test]
    fn a_name_that_is_not_utf8_is_encoded_in_base64() {
        let mut entry = example();
        entry.meta = None;
        entry.update.name = b"refs/kv/\xff".into();
        assert!(text(&entry).contains("\"ref\":\"refs/kv/\u{fffd}\""));
        assert!(text(&entry).ends_with("\"meta\":{\"ref_b64\":\"cmVmcy9rdi//\"}}\n"));
        assert_eq!(
            decode(text(&entry).trim_end().as_bytes(), 0).unwrap().entry.update.name,
            entry.update.name
        );
    }

    #[test]
    fn a_line_with_other_keys_order_and_spaces_is_read() {
        let one = "11".repeat(20);
        let line = format!(
            r#"{{ "status": "done" , "meta": {{"host": 1}}, "x": [1,2], "source":"manual", "ref":"refs/kv/a", "old_oid":null,
            "new_oid":"{one}", "event":"ref_update", "timestamp":"2025-10-26T14:34:56+02:00", "entry_id":"01JBAXF5Z8J8M7R2TK7G9QW3EN" }}"#
        );
        let located = decode(line.as_bytes(), 1000).unwrap();
        assert_eq!(located.entry.meta, None);
        assert_eq!(located.entry.timestamp, "2025-10-26T12:34:56Z".parse().unwrap());
        assert!(located.entry.update.is_create());
        assert_eq!(located.place.status, 1012..1019, "the value and its one blank");
    }

    #[test]
    fn the_error_says_why_a_line_is_not_an_entry() {
        let valid = text(&example());
        let cases = [
            ("ref_update", "ref_updated", "event is"),
            ("01JBAX", "01JB!X", "is not a ULID"),
            ("2025-10-26", "2025-13-26", "is not a time"),
            ("refs/kv/main", "refs/kv/../main", "not a valid ref name"),
            ("a1a1", "zza1", "hexadecimal"),
            ("\"old_oid\"", "\"older_oid\"", "missing field `old_oid`"),
            ("\"pending\"", "\"waiting\"", "status is \"waiting\", expected"),
            ("\"pending\"", "7", "status is 7, expected"),
            ("\"repo\"", "\"pusher\"", "duplicate field"),
            ("post-receive", "post", "unknown variant"),
            ("{\"txn_id\"", "[\"txn_id\"", "expected"),
        ];
        for (from, to, why) in cases {
            let error = decode(valid.trim_end().replacen(from, to, 1).as_bytes(), 0)
                .unwrap_err()
                .to_string();
            assert!(error.contains(why), "{from} -> {to}: {error}");
        }
    }

    fn bytes(max: usize) -> impl Strategy<Value = BString> {
        proptest::collection::vec(any::<u8>(), 0..max).prop_map(BString::from)
    }

    prop_compose! {
        fn any_entry()(
            entry_id in any::<u128>(),
            milliseconds in 0i64..4_000_000_000_000,
            sha256 in any::<bool>(),
            (old, new) in (0u8..3, 0u8..3),
            name in proptest::collection::vec(prop_oneof![Just(b'"'), b'a'..=b'z', 0x80u8..], 1..20),
            pusher in proptest::option::of(bytes(20)),
            repo in proptest::option::of(bytes(20)),
            source in prop_oneof![
                Just(Source::PostReceive), Just(Source::Recovered), Just(Source::Reconcile), Just(Source::Manual)
            ],
            status in prop_oneof![
                Just(Status::Pending), Just(Status::Done), Just(Status::Failed), Just(Status::Skipped)
            ],
            txn_id in proptest::option::of(bytes(10)),
            push_options in proptest::collection::vec(bytes(10), 0..3),
        ) -> Entry {
            let kind = if sha256 { gix::hash::Kind::Sha256 } else { gix::hash::Kind::Sha1 };
            Entry {
                entry_id: Ulid(entry_id),
                timestamp: Timestamp::from_millisecond(milliseconds).unwrap(),
                update: RefUpdate {
                    old: id(old, kind),
                    new: id(new, kind),
                    name: [&b"refs/kv/"[..], &name].concat().into(),
                },
                pusher, repo, source, status,
                meta: Some(Meta { txn_id, push_options }),
            }
        }
    }

    /// Returns the entry as a line preserves it: as text, and without an empty meta.
    fn lossy(mut entry: Entry) -> Entry {
        let text = |bytes: BString| BString::from(bytes.to_str_lossy().into_owned());
        entry.pusher = entry.pusher.map(text);
        entry.repo = entry.repo.map(text);
        entry.meta = entry.meta.filter(|meta| *meta != Meta::default()).map(|meta| Meta {
            txn_id: meta.txn_id.map(text),
            push_options: meta.push_options.into_iter().map(text).collect(),
        });
        entry
    }

    proptest! {
        #[test]
        fn a_decoded_entry_equals_the_encoded_one_and_its_status_lies_within_a_block(entry in any_entry(), offset in 0u64..20_000) {
            let line = encode(&entry, offset);
            let (last, content) = line.split_last().unwrap();
            prop_assert_eq!(*last, b'\n');
            prop_assert!(!content.contains(&b'\n'));
            let located = decode(content, offset).unwrap();
            let status = located.place.status.clone();
            let within = (status.start - offset) as usize..(status.end - offset) as usize;
            prop_assert_eq!(&content[within], &entry.status.padded()[..]);
            prop_assert_eq!(status.start / BLOCK, (status.end - 1) / BLOCK);
            prop_assert_eq!(located.place.offset, offset);
            prop_assert_eq!(located.entry, lossy(entry));
        }
    }
}
