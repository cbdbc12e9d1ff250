//! PURE except for [`random()`]: UUIDs of version 4 (RFC 9562, section 5.4).

/// Makes a UUID of these random bits.
pub fn version_4(random: u128) -> String {
    let bits = random & !(0xf << 76) & !(0b11 << 62) | 0x4 << 76 | 0b10 << 62;
    let hex = format!("{bits:032x}");
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

/// Returns 128 random bits, from two ULIDs with 80 each.
pub fn random() -> u128 {
    ulid::Ulid::generate().0 << 64 | ulid::Ulid::generate().0 & u128::from(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_of_version_4() {
        assert_eq!(version_4(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(version_4(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_ne!(version_4(random()), version_4(random()));
    }
}
