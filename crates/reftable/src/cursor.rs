use crate::error::Damage;

/// Bytes that are consumed from the front, each length checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Begins at `at`; positions count from the start of `bytes`.
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at: at.min(bytes.len()),
        }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or(Damage::CutRecord)?;
        self.at += len;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Damage> {
        Ok(self.take(1)?[0])
    }

    /// The variable-length integer of offset deltas in packs.
    pub(crate) fn varint(&mut self) -> Result<u64, Damage> {
        let mut byte = self.byte()?;
        let mut value = u64::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = self.byte()?;
            let more = value
                .checked_add(1)
                .filter(|value| *value <= u64::MAX >> 7)
                .ok_or(Damage::Overflow)?;
            value = more << 7 | u64::from(byte & 0x7f);
        }
        Ok(value)
    }

    /// A varint that is a number of bytes in memory.
    pub(crate) fn length(&mut self) -> Result<usize, Damage> {
        usize::try_from(self.varint()?).map_err(|_| Damage::CutRecord)
    }
}

/// Appends a variable-length integer, the inverse of [`Cursor::varint`].
pub(crate) fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    let start = bytes.len();
    bytes.push((value & 0x7f) as u8);
    while value > 0x7f {
        value = (value >> 7) - 1;
        bytes.push(0x80 | (value & 0x7f) as u8);
    }
    bytes[start..].reverse();
}

/// An unsigned big-endian integer of up to eight bytes.
pub(crate) fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_varint(&mut bytes, value);
        bytes
    }

    #[test]
    fn varints_come_back() {
        for shift in 0..64 {
            for value in [
                (1_u64 << shift) - 1,
                1 << shift,
                (1 << shift) + 1,
                u64::MAX - (1 << shift),
            ] {
                let bytes = encode(value);
                let mut cursor = Cursor::new(&bytes, 0);
                assert_eq!(cursor.varint(), Ok(value));
                assert_eq!(cursor.at(), bytes.len());
            }
        }
        assert_eq!(Cursor::new(&encode(u64::MAX), 0).varint(), Ok(u64::MAX));
    }

    #[test]
    fn a_varint_without_end_is_cut_and_a_long_one_overflows() {
        assert_eq!(Cursor::new(&[], 0).varint(), Err(Damage::CutRecord));
        assert_eq!(Cursor::new(&[0x80, 0xff], 0).varint(), Err(Damage::CutRecord));
        assert_eq!(Cursor::new(&[0xff; 20], 0).varint(), Err(Damage::Overflow));
    }

    #[test]
    fn nothing_is_taken_beyond_the_end() {
        let mut cursor = Cursor::new(b"abc", 1);
        assert_eq!(cursor.take(usize::MAX), Err(Damage::CutRecord));
        assert_eq!(cursor.take(2), Ok(&b"bc"[..]));
        assert_eq!(cursor.byte(), Err(Damage::CutRecord));
    }
}
