//! Encoder of the line of an entry. The format is specified in [`journal`](crate::journal).
use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use bstr::{BString, ByteSlice};
use gix::ObjectId;
use jiff::Timestamp;
use serde::Serialize;
use ulid::Ulid;

use super::{
    BLOCK,
    entry::{Draft, Entry, Source, Status},
    status::{self, WIDTH},
};
use crate::ref_update::RefUpdate;

/// Value of `event` in every entry.
pub(super) const EVENT: &str = "ref_update";

/// Encodes an entry as a line with its line feed, to be written at `offset` in the file. The offset determines the
/// number of spaces in front of the line.
pub fn encode(entry: &Entry, offset: u64) -> Vec<u8> {
    let meta = entry.meta.as_ref();
    let fields = Fields {
        entry_id: entry.entry_id,
        timestamp: &timestamp(entry.timestamp),
        update: &entry.update,
        pusher: entry.pusher.as_ref(),
        repo: entry.repo.as_ref(),
        source: entry.source,
        status: entry.status,
        txn_id: meta.and_then(|meta| meta.txn_id.as_ref()),
        push_options: meta.map_or(&[], |meta| &meta.push_options),
    };
    let mut line = Vec::new();
    fields.write(offset, &mut line);
    line
}

/// Appends the line of a draft to `lines`: a pending entry with this id, [`timestamp()`] and source.
pub(super) fn encode_draft(
    draft: &Draft,
    (entry_id, timestamp): (Ulid, &str),
    source: Source,
    offset: u64,
    lines: &mut Vec<u8>,
) {
    let origin = &*draft.origin;
    let fields = Fields {
        entry_id,
        timestamp,
        update: &draft.update,
        pusher: origin.pusher.as_ref(),
        repo: origin.repo.as_ref(),
        source,
        status: Status::Pending,
        txn_id: draft.txn_id.as_ref(),
        push_options: &origin.push_options,
    };
    fields.write(offset, lines);
}

/// Formats a time as in an entry.
pub(super) fn timestamp(moment: Timestamp) -> String {
    format!("{moment:.3}")
}

/// Borrowed fields of an entry.
struct Fields<'a> {
    entry_id: Ulid,
    timestamp: &'a str,
    update: &'a RefUpdate,
    pusher: Option<&'a BString>,
    repo: Option<&'a BString>,
    source: Source,
    status: Status,
    txn_id: Option<&'a BString>,
    push_options: &'a [BString],
}

impl Fields<'_> {
    /// Appends the line to `out`, to be written at `offset` in the file.
    fn write(&self, offset: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let name = self.update.name.to_str_lossy();
        self.write_head(&name, out);
        out.extend_from_slice(status::KEY);
        // Move a status that would cross a block to the beginning of the next one.
        let room = BLOCK - (offset + (out.len() - start) as u64) % BLOCK;
        if room < WIDTH as u64 {
            let blanks = [b' '; WIDTH];
            out.splice(start..start, blanks.into_iter().take(room as usize));
        }
        out.extend_from_slice(self.status.padded());
        out.extend_from_slice(br#","meta":"#);
        if self.txn_id.is_none() && self.push_options.is_empty() && matches!(name, Cow::Borrowed(_)) {
            out.extend_from_slice(b"null");
        } else {
            json(&self.meta(), out);
        }
        out.extend_from_slice(b"}\n");
    }

    fn meta(&self) -> WrittenMeta {
        let lossy = |text: &BString| text.to_str_lossy().into_owned();
        let name = &self.update.name;
        WrittenMeta {
            txn_id: self.txn_id.map(lossy),
            push_options: self.push_options.iter().map(lossy).collect(),
            ref_b64: name.to_str().is_err().then(|| BASE64_STANDARD.encode(name)),
        }
    }

    /// Appends all keys before the status. Skips JSON escaping where it is not needed, because a push may have ten thousand
    /// entries.
    fn write_head(&self, name: &str, out: &mut Vec<u8>) {
        let RefUpdate { old, new, .. } = self.update;
        out.extend_from_slice(br#"{"entry_id":""#);
        out.extend_from_slice(self.entry_id.array_to_str(&mut [0; ulid::ULID_LEN]).as_bytes());
        out.extend_from_slice(br#"","timestamp":""#);
        out.extend_from_slice(self.timestamp.as_bytes());
        out.extend_from_slice(br#"","event":""#);
        out.extend_from_slice(EVENT.as_bytes());
        out.extend_from_slice(br#"","ref":"#);
        json(&name, out);
        out.extend_from_slice(br#","old_oid":"#);
        if self.update.is_create() {
            out.extend_from_slice(b"null");
        } else {
            quoted_id(old, out);
        }
        out.extend_from_slice(br#","new_oid":"#);
        quoted_id(new, out);
        for (key, value) in [(&br#","pusher":"#[..], self.pusher), (br#","repo":"#, self.repo)] {
            out.extend_from_slice(key);
            json(&value.map(|text| text.to_str_lossy()), out);
        }
        out.extend_from_slice(br#","source":"#);
        json(&self.source, out);
    }
}

fn quoted_id(id: &ObjectId, out: &mut Vec<u8>) {
    out.push(b'"');
    id.write_hex_to(&mut *out).expect("writing to memory cannot fail");
    out.push(b'"');
}

#[derive(Serialize)]
struct WrittenMeta {
    #[serde(skip_serializing_if = "Option::is_none")]
    txn_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    push_options: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ref_b64: Option<String>,
}

fn json(value: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("strings always serialize");
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::journal::entry::Meta;

    pub(in crate::journal) fn id(byte: u8, kind: gix::hash::Kind) -> ObjectId {
        ObjectId::from_bytes_or_panic(&vec![byte; kind.len_in_bytes()])
    }

    pub(in crate::journal) fn example() -> Entry {
        Entry {
            entry_id: "01JBAXF5Z8J8M7R2TK7G9QW3EN".parse().unwrap(),
            timestamp: "2025-10-26T12:34:56.7891Z".parse().unwrap(),
            update: RefUpdate {
                old: id(0xa1, gix::hash::Kind::Sha1),
                new: id(0x0f, gix::hash::Kind::Sha1),
                name: "refs/kv/main".into(),
            },
            pusher: Some("user@example.com".into()),
            repo: Some("flyingrobots/git-kv".into()),
            source: Source::PostReceive,
            status: Status::Pending,
            meta: Some(Meta {
                txn_id: Some("01JBAXF5Z8J8M7R2".into()),
                push_options: Vec::new(),
            }),
        }
    }

    fn text(entry: &Entry) -> String {
        String::from_utf8(encode(entry, 0)).unwrap()
    }

    #[test]
    fn a_line_has_exactly_these_keys_in_this_order() {
        let (a1, of) = ("a1".repeat(20), "0f".repeat(20));
        assert_eq!(
            text(&example()),
            format!(
                r#"{{"entry_id":"01JBAXF5Z8J8M7R2TK7G9QW3EN","timestamp":"2025-10-26T12:34:56.789Z","event":"ref_update","ref":"refs/kv/main","old_oid":"{a1}","new_oid":"{of}","pusher":"user@example.com","repo":"flyingrobots/git-kv","source":"post-receive","status":"pending","meta":{{"txn_id":"01JBAXF5Z8J8M7R2"}}}}"#
            ) + "\n"
        );
    }

    #[test]
    fn unknown_values_are_null_and_so_is_the_old_id_of_a_creation() {
        let mut entry = example();
        entry.pusher = None;
        entry.repo = None;
        entry.meta = None;
        entry.update.old = gix::hash::Kind::Sha1.null();
        assert!(text(&entry).contains(r#""old_oid":null,"#));
        assert!(text(&entry).contains(r#""pusher":null,"repo":null,"#));
        assert!(text(&entry).ends_with("\"meta\":null}\n"));
        entry.update.old = entry.update.new;
        entry.update.new = gix::hash::Kind::Sha1.null();
        assert!(text(&entry).contains(&format!(r#""new_oid":"{}""#, "0".repeat(40))));
    }

    #[test]
    fn every_status_has_the_same_width() {
        for (status, written) in [
            (Status::Pending, r#""status":"pending","meta""#),
            (Status::Done, r#""status":"done"   ,"meta""#),
            (Status::Failed, r#""status":"failed" ,"meta""#),
            (Status::Skipped, r#""status":"skipped","meta""#),
        ] {
            let entry = Entry { status, ..example() };
            assert!(text(&entry).contains(written), "{}", text(&entry));
        }
    }
}
