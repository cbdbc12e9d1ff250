//! Signatures of events.
//!
//! `signature` is an Ed25519 signature (RFC 8032, section 5.1) of the [canonical form](super::canonical) of the event without
//! this member: 64 bytes in base64url without padding (RFC 4648, section 5), 86 characters. `author_identity_id` is the public
//! key as a `did:key`: `did:key:z` and the base58 of the bytes `ed 01` and the 32 bytes of the key.
//!
//! The check is strict. Each signature, key and canonical form has one representation, and points of small order, for which a
//! signature can hold for many messages, are refused.
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::signature::{ED25519, UnparsedPublicKey};

use super::{Event, Json, Members, Problem, canonical, new_problem};

/// Member that holds the signature.
pub const SIGNATURE: &str = "signature";
/// Member that holds the author.
pub(super) const AUTHOR: &str = "author_identity_id";

/// Method and multibase prefix of a `did:key`.
const DID_KEY: &str = "did:key:z";
/// Multicodec prefix of an Ed25519 public key.
const MULTICODEC: [u8; 2] = [0xed, 0x01];
/// Length of a public key, and of the point in a signature, in bytes.
const POINT: usize = 32;
/// Length of a signature in bytes.
const LENGTH: usize = 64;

/// Encoded y coordinates of the points of small order, without the sign of x.
const SMALL_ORDER: [[u8; POINT]; 5] = [
    [0; POINT],
    field(1, 0, 0),
    field(0xec, 0xff, 0x7f),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// Result of checking the signature of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authenticity {
    /// The author signed the event.
    Signed,
    /// The event has no signature.
    Unsigned,
}

impl Event {
    /// Returns true if the event has a signature, right or wrong. One that is null is none.
    pub fn is_signed(&self) -> bool {
        !matches!(self.members.get(SIGNATURE), None | Some(Json::Null))
    }

    /// Checks the signature of the event, if it has one.
    ///
    /// # Errors
    /// The signature is wrong or cannot be checked.
    pub fn verify(&self) -> Result<Authenticity, Problem> {
        let text = match self.members.get(SIGNATURE) {
            None | Some(Json::Null) => return Ok(Authenticity::Unsigned),
            Some(Json::String(text)) => text,
            Some(_) => return Err(new_problem(SIGNATURE, "is not a string")),
        };
        let problem = "is not the did:key of an Ed25519 key (did:key:z6Mk…), but the event has a signature";
        let key = key_of(self.author()).ok_or_else(|| new_problem(AUTHOR, problem))?;
        let problem = "is not 64 bytes in base64url without padding";
        let signature = signature_of(text).ok_or_else(|| new_problem(SIGNATURE, problem))?;
        let message = message(&self.members)?;
        if verify(&key, &message, &signature) {
            Ok(Authenticity::Signed)
        } else {
            Err(new_problem(
                SIGNATURE,
                "is not a signature of this event by its author_identity_id",
            ))
        }
    }
}

/// Returns true if an author is the `did:key` of an Ed25519 key.
pub fn is_did_key(author: &str) -> bool {
    key_of(author).is_some()
}

/// Returns the bytes that are signed: the canonical form of the event without its signature.
///
/// # Errors
/// The event has a number that the canonical form would round.
pub(super) fn message(members: &Members) -> Result<Vec<u8>, Problem> {
    let signed = members.sorted().filter(|(name, _)| *name != SIGNATURE);
    canonical::object(signed).map_err(|number| new_problem(SIGNATURE, format!("cannot cover {number}")))
}

/// Returns the `did:key` of a public key.
#[cfg(feature = "events")]
pub(super) fn did_key(key: &[u8]) -> String {
    format!(
        "{DID_KEY}{}",
        bs58::encode([&MULTICODEC[..], key].concat()).into_string()
    )
}

/// Returns the text of a signature.
#[cfg(feature = "events")]
pub(super) fn signature_text(signature: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(signature)
}

fn key_of(author: &str) -> Option<[u8; POINT]> {
    let mut bytes = [0; MULTICODEC.len() + POINT];
    let length = bs58::decode(author.strip_prefix(DID_KEY)?).onto(&mut bytes).ok()?;
    let key = bytes.strip_prefix(&MULTICODEC)?.try_into().ok()?;
    (length == bytes.len()).then_some(key)
}

fn signature_of(text: &str) -> Option<[u8; LENGTH]> {
    // Refuses padding, and bits behind the last byte.
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn verify(key: &[u8; POINT], message: &[u8], signature: &[u8; LENGTH]) -> bool {
    let is_strict = [&key[..], &signature[..POINT]].into_iter().all(is_strong);
    // This refuses an S that is not reduced (RFC 8032, section 5.1.7).
    is_strict && UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
}

/// Returns true for an encoded point that is neither of small order nor encoded in two ways.
fn is_strong(point: &[u8]) -> bool {
    let mut y = [0; POINT];
    y.copy_from_slice(point);
    y[POINT - 1] &= 0x7f;
    let is_reduced = y[0] < 0xed || y[1..POINT - 1].iter().any(|byte| *byte != 0xff) || y[POINT - 1] != 0x7f;
    is_reduced && !SMALL_ORDER.contains(&y)
}

/// Bytes of a number: the first one, those between, the last one.
const fn field(first: u8, between: u8, last: u8) -> [u8; POINT] {
    let mut bytes = [between; POINT];
    bytes[0] = first;
    bytes[POINT - 1] = last;
    bytes
}

#[cfg(all(test, feature = "events"))]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::event::{SigningKey, pem, read_json};

    /// The first key of RFC 8032, section 7.1.
    const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const DID: &str = "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw";

    /// A signature of `small R` with the first key, whose R is the neutral point.
    const SMALL_R: &str = "010000000000000000000000000000000000000000000000000000000000000017b76c68cdf640492434979a90098e71524faef838e073346be3c4fcbe9df20a";

    fn bytes<const LENGTH: usize>(hex: &str) -> [u8; LENGTH] {
        let digits = |index: usize| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).expect("hex");
        std::array::from_fn(digits)
    }

    fn key() -> SigningKey {
        SigningKey::from_pem(&pem(&bytes(SEED))).expect("a key")
    }

    fn unsigned(payload: Value) -> Value {
        json!({
            "event_id": "e-1", "feed_id": "general", "type": "message",
            "source": {"platform": "chat", "adapter_id": "a-1", "source_msg_id": null},
            "ts": "2026-01-10T12:00:00.000Z", "payload": payload
        })
    }

    fn signed(payload: Value) -> Event {
        let text = unsigned(payload).to_string();
        key().sign(text.as_bytes()).expect("an event")
    }

    /// The outcome for a signed event with other members.
    fn with(members: &[(&str, Value)]) -> Result<Authenticity, String> {
        let mut event: Value = serde_json::from_slice(&signed(json!({"text": "hello"})).to_json()).expect("JSON");
        for (name, value) in members {
            event[*name] = value.clone();
        }
        let event = Event::from_value(event).expect("an event");
        event.verify().map_err(|problem| problem.to_string())
    }

    #[test]
    fn the_signatures_of_rfc_8032() {
        for (seed, public, message, signature) in [
            (
                SEED,
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                &[][..],
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                &[0x72],
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
            (
                "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
                &[0xaf, 0x82],
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ),
        ] {
            let key = SigningKey::from_pem(&pem(&bytes(seed))).expect("a key");
            assert_eq!(key_of(&key.author()), Some(bytes(public)));
            assert!(verify(&bytes(public), message, &bytes(signature)), "{seed}");
            assert!(!verify(&bytes(public), b"another", &bytes(signature)), "{seed}");
        }
        assert_eq!(key().author(), DID);
    }

    #[test]
    fn a_signature_holds_for_the_event_in_any_order_and_form() {
        let event = signed(json!({"b": 1.0, "a": ["ä\u{2028}", 1e21, {}], "\u{fb33}": 1, "😀": 2}));
        assert_eq!(event.verify(), Ok(Authenticity::Signed));
        let value: Value = serde_json::from_slice(&event.to_json()).expect("JSON");
        let sorted = serde_json::to_vec_pretty(&value).expect("JSON");
        assert_ne!(sorted, event.to_json());
        for text in [sorted, event.to_file()] {
            assert_eq!(
                Event::parse(&text).expect("an event").verify(),
                Ok(Authenticity::Signed)
            );
        }
        let text =
            unsigned(json!({}))
                .to_string()
                .replacen('{', &format!("{{\"{AUTHOR}\":\"x\",\"signature\":null,"), 1);
        let event = Event::parse_posted(text.as_bytes()).expect("an event");
        assert_eq!((event.is_signed(), event.verify()), (false, Ok(Authenticity::Unsigned)));
    }

    #[test]
    fn a_wrong_signature_is_refused_with_the_reason() {
        let other = SigningKey::from_pem(&pem(&[7; POINT])).expect("a key").author();
        assert_eq!(with(&[]), Ok(Authenticity::Signed));
        let not_of_it = "`signature` is not a signature of this event by its author_identity_id";
        let not_base64 = "`signature` is not 64 bytes in base64url without padding";
        let not_a_key =
            "`author_identity_id` is not the did:key of an Ed25519 key (did:key:z6Mk…), but the event has a signature";
        let zeros = "A".repeat(86);
        for (name, value, problem) in [
            ("event_id", json!("e-2"), not_of_it),
            ("ts", json!("2026-01-10T12:00:00Z"), not_of_it),
            ("payload", json!({"text": "Hello"}), not_of_it),
            ("more", json!(null), not_of_it),
            (AUTHOR, json!(other), not_of_it),
            (SIGNATURE, json!(zeros), not_of_it),
            (SIGNATURE, json!(format!("{zeros}==")), not_base64),
            (SIGNATURE, json!(format!("{}B", &zeros[1..])), not_base64),
            (SIGNATURE, json!(&zeros[..84]), not_base64),
            (SIGNATURE, json!(""), not_base64),
            (SIGNATURE, json!([]), "`signature` is not a string"),
            (AUTHOR, json!("alice"), not_a_key),
            (AUTHOR, json!(format!("{DID}#{}", &DID[8..])), not_a_key),
            (AUTHOR, json!(DID.replace(":z", ":z1")), not_a_key),
            // The public key of X25519 (multicodec ec 01).
            (
                AUTHOR,
                json!("did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc"),
                not_a_key,
            ),
            (
                "payload",
                json!(9_007_199_254_740_993_u64),
                "`signature` cannot cover the number 9007199254740993, which RFC 8785 would round; write it as a string",
            ),
        ] {
            assert_eq!(
                with(&[(name, value.clone())]),
                Err(problem.to_owned()),
                "{name} {value}"
            );
        }
    }

    #[test]
    fn a_signature_has_one_form() {
        // S plus the order of the group.
        const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
        let signature = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
        let key = key_of(DID).expect("a key");
        let mut other: [u8; LENGTH] = bytes(signature);
        let mut carry = 0;
        for (digit, more) in other[POINT..].iter_mut().zip(bytes::<POINT>(ORDER)) {
            let sum = u16::from(*digit) + u16::from(more) + carry;
            (*digit, carry) = ((sum & 0xff) as u8, sum >> 8);
        }
        assert!(carry == 0 && verify(&key, b"", &bytes(signature)) && !verify(&key, b"", &other));
    }

    #[test]
    fn points_of_small_order_are_refused() {
        let lax = |key: &[u8; POINT], message: &[u8], signature: &[u8]| {
            UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
        };
        // R is the base point, and S is 1: it holds wherever the hash is a multiple of the key's order.
        let mut signature = [0; LENGTH];
        signature[..POINT].copy_from_slice(&field(0x58, 0x66, 0x66));
        signature[POINT] = 1;
        let not_reduced = [field(0xed, 0xff, 0x7f), field(0xee, 0xff, 0x7f)];
        let mut found = 0;
        for point in SMALL_ORDER.into_iter().chain(not_reduced) {
            for sign in [0, 0x80] {
                let mut key = point;
                key[POINT - 1] |= sign;
                for message in 0..100_u8 {
                    found += u32::from(lax(&key, &[message], &signature));
                    assert!(!verify(&key, &[message], &signature), "{key:x?}");
                }
            }
        }
        assert!(found > 100, "{found}: the others accept none");
        // R is the neutral point.
        let signature = bytes(SMALL_R);
        let key = key_of(DID).expect("a key");
        assert!(lax(&key, b"small R", &signature) && !verify(&key, b"small R", &signature));
        assert!(is_strong(&field(0xec, 0xff, 0x7e)) && is_strong(&field(0xeb, 0xff, 0x7f)));
    }

    fn payload() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z$0-9ä]{0,3}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_changed_event_never_verifies(payload in payload(), place in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let event = signed(payload);
            prop_assert_eq!(event.verify(), Ok(Authenticity::Signed));
            for text in [event.to_json(), event.to_file()] {
                let mut changed = text.clone();
                changed[place.index(text.len())] ^= 1_u8 << bit;
                let verifies = |event: &Event| event.verify() == Ok(Authenticity::Signed);
                if let Some(other) = Event::parse(&changed).ok().filter(verifies) {
                    prop_assert!(other == event, "{}", String::from_utf8_lossy(&changed));
                }
            }
        }

        #[test]
        fn two_values_have_two_canonical_forms(one in payload(), other in payload()) {
            let canonical = |value: &Value| {
                let json = read_json(json!({ "v": value }).to_string().as_bytes()).expect("JSON");
                let Json::Object(members) = json else { panic!("an object") };
                (message(&members).expect("doubles"), members)
            };
            let (one, other) = (canonical(&one), canonical(&other));
            prop_assert_eq!(one.0 == other.0, one.1 == other.1);
            let again = read_json(&one.0).expect("JSON");
            prop_assert!(again == Json::Object(one.1));
        }
    }
}
