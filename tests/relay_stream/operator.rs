//! Keys, JWTs and files of credentials as `nsc` makes them, for servers in operator mode.
use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

/// Owner of a key: the first five bits of its public form, which are the letters O, A and U.
#[derive(Clone, Copy)]
enum Owner {
    Operator = 14 << 3,
    Account = 0,
    User = 20 << 3,
}

/// Prefix of seeds, the letter S.
const SEED: u8 = 18 << 3;
/// Time of all JWTs, in seconds.
const ISSUED: u64 = 1_768_000_000;

/// A key of an owner (nkey).
struct Key {
    owner: Owner,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl Key {
    /// Creates a key; the same number makes the same key.
    fn new(owner: Owner, number: u8) -> Self {
        let seed = [number; 32];
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed of 32 bytes");
        Key { owner, seed, pair }
    }

    fn public(&self) -> String {
        with_checksum(&[self.owner as u8], self.pair.public_key().as_ref())
    }

    fn seed(&self) -> String {
        let owner = self.owner as u8;
        with_checksum(&[SEED | (owner >> 5), owner << 3], &self.seed)
    }

    /// Signs claims about a key.
    fn jwt(&self, about: &Key, nats: Value) -> String {
        let (issuer, subject) = (self.public(), about.public());
        let claims =
            json!({"jti": subject, "iat": ISSUED, "iss": issuer, "name": subject, "sub": subject, "nats": nats});
        let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
        let header = encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
        let signed = format!("{header}.{}", encode(claims.to_string().as_bytes()));
        let signature = encode(self.pair.sign(signed.as_bytes()).as_ref());
        format!("{signed}.{signature}")
    }
}

/// Encodes bytes with their CRC-16 (XMODEM) in base32.
fn with_checksum(prefix: &[u8], bytes: &[u8]) -> String {
    let mut all = [prefix, bytes].concat();
    let shift = |crc: u16| {
        if crc & 0x8000 == 0 {
            crc << 1
        } else {
            (crc << 1) ^ 0x1021
        }
    };
    let add = |crc: u16, byte: &u8| (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| shift(crc));
    let crc = all.iter().fold(0, add);
    all.extend(crc.to_le_bytes());
    let digit = |number: usize| {
        let (byte, bit) = (number * 5 / 8, number * 5 % 8);
        let pair = u16::from_be_bytes([all[byte], all.get(byte + 1).copied().unwrap_or(0)]);
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from((pair >> (11 - bit)) & 31)])
    };
    (0..(all.len() * 8).div_ceil(5)).map(digit).collect()
}

/// An operator with an account for the system and one for relays.
pub struct Operator {
    key: Key,
    system: Key,
    relays: Key,
}

/// A user of the relays' account.
pub struct User(Key);

impl Operator {
    /// Creates an operator; the same number makes the same operator.
    pub fn new(number: u8) -> Self {
        Operator {
            key: Key::new(Owner::Operator, number),
            system: Key::new(Owner::Account, number + 1),
            relays: Key::new(Owner::Account, number + 2),
        }
    }

    /// Lines for the configuration of a server that knows these accounts; it refuses the users that are revoked.
    pub fn configuration(&self, revoked: &[&User]) -> String {
        let operator = self.key.jwt(&self.key, json!({"type": "operator", "version": 2}));
        let system = self.account(&self.system, &[]);
        let relays = self.account(&self.relays, revoked);
        let (system_key, relays_key) = (self.system.public(), self.relays.public());
        format!(
            "operator: {operator:?}\nsystem_account: {system_key}\nresolver: MEMORY\n\
            resolver_preload: {{\n {system_key}: {system:?}\n {relays_key}: {relays:?}\n}}\n"
        )
    }

    fn account(&self, account: &Key, revoked: &[&User]) -> String {
        let unlimited = [
            "subs",
            "data",
            "payload",
            "imports",
            "exports",
            "conn",
            "leaf",
            "mem_storage",
            "disk_storage",
            "streams",
            "consumer",
        ];
        let mut limits: Value = unlimited
            .into_iter()
            .map(|limit| (limit.to_owned(), json!(-1)))
            .collect();
        limits["wildcards"] = json!(true);
        // JetStream is not for the system's account.
        if account.public() == self.system.public() {
            limits["mem_storage"] = json!(0);
            limits["disk_storage"] = json!(0);
        }
        let revocations: Value = revoked.iter().map(|user| (user.0.public(), json!(ISSUED))).collect();
        self.key.jwt(
            account,
            json!({"limits": limits, "revocations": revocations, "type": "account", "version": 2}),
        )
    }

    /// Writes a file of credentials of a user who may publish and subscribe to these subjects.
    pub fn write_credentials(&self, file: &Path, user: &User, [publish, subscribe]: [&[&str]; 2]) -> PathBuf {
        let jwt = self.relays.jwt(
            &user.0,
            json!({
                "pub": {"allow": publish}, "sub": {"allow": subscribe}, "subs": -1, "data": -1, "payload": -1,
                "type": "user", "version": 2
            }),
        );
        let seed = user.0.seed();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
            ************************* IMPORTANT *************************\n\
            NKEY Seed printed below can be used to sign and prove identity.\n\
            NKEYs are sensitive and should be treated as secrets.\n\n\
            -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n\n\
            *************************************************************\n"
        );
        std::fs::write(file, text).expect("a file");
        file.to_owned()
    }
}

impl User {
    /// Creates a user; the same number makes the same user.
    pub fn new(number: u8) -> Self {
        User(Key::new(Owner::User, number))
    }

    /// The user's secret.
    pub fn seed(&self) -> String {
        self.0.seed()
    }
}
