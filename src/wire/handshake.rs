//! The 68 bytes that open a connection (BEP 3), and the reserved bits in them (BEP 4, 6, 10).

use crate::units::id::{InfoHash, PeerId};
use core::fmt;

/// Bytes of a handshake.
pub const HANDSHAKE_BYTES: usize = 68;
/// Bytes up to and with the info-hash: what a listener needs before it answers.
pub const THROUGH_INFO_HASH: usize = 48;
/// The first byte of the wire protocol: the length of its name.
pub const FIRST_BYTE: u8 = 19;

const PROTOCOL: &[u8; 19] = b"BitTorrent protocol";

/// What both ends say before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Reserved bits; unknown ones are ignored.
    pub reserved: [u8; 8],
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Who is speaking.
    pub peer_id: PeerId,
}

/// The bytes are not a handshake of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotBitTorrent;

impl fmt::Display for NotBitTorrent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the BitTorrent protocol")
    }
}

impl fmt::Display for Handshake {
    /// Its fields in the order of the wire.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reserved = u64::from_be_bytes(self.reserved);
        let Self { info_hash, peer_id, .. } = self;
        write!(f, "handshake reserved {reserved:016x} info-hash {info_hash} peer id {peer_id}")
    }
}

impl Handshake {
    /// Our handshake: fast extension (BEP 6) and extension protocol (BEP 10).
    #[must_use]
    pub const fn ours(info_hash: InfoHash, peer_id: PeerId) -> Self {
        Self { reserved: [0, 0, 0, 0, 0, 0x10, 0, 0x04], info_hash, peer_id }
    }

    /// The same, and that we take part in the DHT (BEP 5), if we do.
    #[must_use]
    pub const fn with_dht(mut self, dht: bool) -> Self {
        if dht {
            self.reserved[7] |= 0x01;
        }
        self
    }

    /// Whether the sender takes part in the DHT (BEP 5).
    #[must_use]
    pub const fn dht(&self) -> bool {
        self.reserved[7] & 0x01 != 0
    }

    /// Whether the sender knows the extension protocol (BEP 10).
    #[must_use]
    pub const fn extended(&self) -> bool {
        self.reserved[5] & 0x10 != 0
    }

    /// Whether the sender knows the fast extension (BEP 6).
    #[must_use]
    pub const fn fast(&self) -> bool {
        self.reserved[7] & 0x04 != 0
    }

    /// Whether what has come so far can still become a handshake.
    ///
    /// # Errors
    /// When a byte of the protocol's name is wrong.
    pub fn check_prefix(bytes: &[u8]) -> Result<(), NotBitTorrent> {
        let name = bytes.iter().skip(1).zip(PROTOCOL).all(|(a, b)| a == b);
        let first = bytes.first().is_none_or(|&b| b == FIRST_BYTE);
        if first && name {
            Ok(())
        } else {
            Err(NotBitTorrent)
        }
    }

    /// The info-hash, once the bytes reach that far.
    #[must_use]
    pub fn info_hash_of(bytes: &[u8]) -> Option<InfoHash> {
        bytes.get(28..THROUGH_INFO_HASH)?.try_into().ok().map(InfoHash)
    }

    /// Reads a whole handshake.
    ///
    /// # Errors
    /// When the first 20 bytes are not those of the protocol.
    pub fn parse(bytes: &[u8; HANDSHAKE_BYTES]) -> Result<Self, NotBitTorrent> {
        Self::check_prefix(bytes)?;
        let part = |from: usize| -> [u8; 20] { core::array::from_fn(|i| bytes[from + i]) };
        Ok(Self {
            reserved: core::array::from_fn(|i| bytes[20 + i]),
            info_hash: InfoHash(part(28)),
            peer_id: PeerId(part(48)),
        })
    }

    /// The bytes of this handshake.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HANDSHAKE_BYTES] {
        let mut bytes = [0; HANDSHAKE_BYTES];
        bytes[0] = FIRST_BYTE;
        bytes[1..20].copy_from_slice(PROTOCOL);
        bytes[20..28].copy_from_slice(&self.reserved);
        bytes[28..48].copy_from_slice(&self.info_hash.0);
        bytes[48..68].copy_from_slice(&self.peer_id.0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_wrong_byte() {
        let ours = Handshake::ours(InfoHash([7; 20]), PeerId(*b"-RP0100-abcdefghijkl"));
        let shown = format!(
            "handshake reserved 0000000000100004 info-hash {} peer id -RP0100-abcdefghijkl",
            "07".repeat(20)
        );
        assert_eq!(ours.to_string(), shown);
        let bytes = ours.to_bytes();
        assert!(bytes.starts_with(b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x04\x07"));
        assert_eq!(Handshake::parse(&bytes), Ok(ours));
        assert!(ours.fast() && ours.extended() && !ours.dht());
        assert_eq!(ours.with_dht(true).to_bytes()[27], 0x05);
        assert!(ours.with_dht(true).dht() && !ours.with_dht(false).dht());
        for at in 0..20 {
            let mut wrong = bytes;
            wrong[at] ^= 1;
            assert_eq!(Handshake::parse(&wrong), Err(NotBitTorrent), "byte {at}");
            assert_eq!(Handshake::check_prefix(&wrong[..at]), Ok(()));
            assert_eq!(Handshake::check_prefix(&wrong[..=at]), Err(NotBitTorrent));
        }
        assert_eq!(Handshake::info_hash_of(&bytes[..47]), None);
        assert_eq!(Handshake::info_hash_of(&bytes[..48]), Some(ours.info_hash));
    }
}
