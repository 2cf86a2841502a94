//! SHA-1 (FIPS 180-4), the one hash of BEP 3, and the checksum of BEP 40 and 42.

use sha1::{Digest, Sha1};

/// SHA-1 of `bytes`.
#[must_use]
pub fn sha1(bytes: &[u8]) -> [u8; 20] {
    Sha1::digest(bytes).into()
}

/// CRC-32C (RFC 3720, appendix B.4), bit by bit: 32 bytes at most come here.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
        }
    }
    !crc
}

/// A record with its checksum before it.
#[must_use]
pub fn sealed(record: &[u8]) -> Vec<u8> {
    [sha1(record).as_slice(), record].concat()
}

/// The record behind its checksum; `None` if it was cut or changed.
#[must_use]
pub fn unsealed(bytes: &[u8]) -> Option<&[u8]> {
    let (checksum, record) = bytes.split_at_checked(20)?;
    (sha1(record).as_slice() == checksum).then_some(record)
}

/// SHA-1 of bytes that come in parts.
#[derive(Clone, Debug, Default)]
pub struct Hasher(Sha1);

impl Hasher {
    /// Adds the next part.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all parts.
    #[must_use]
    pub fn finish(self) -> [u8; 20] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_of_nine_digits() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn official_vector_whole_and_in_parts() {
        let digest = sha1(b"abc");
        assert_eq!(digest[..4], [0xa9, 0x99, 0x3e, 0x36]);
        let mut hasher = Hasher::default();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(hasher.finish(), digest);
    }

    #[test]
    fn a_record_that_was_cut_or_changed_is_known() {
        let record = sealed(b"record");
        assert_eq!(unsealed(&record), Some(&b"record"[..]));
        for at in 0..record.len() {
            assert_eq!(unsealed(&record[..at]), None);
            let mut changed = record.clone();
            changed[at] ^= 1;
            assert_eq!(unsealed(&changed), None);
        }
    }
}
