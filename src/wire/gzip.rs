//! gzip (RFC 1952), one member of it: some trackers send it to who has not asked. The output has a
//! bound; what is damaged is no output at all.

use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{decompress, DecompressorOxide};
use miniz_oxide::inflate::TINFLStatus;

/// Bytes of output that there is room for at first; it is doubled as often as needed.
const ROOM: usize = 4096;

/// Why there is no output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not gzip, or damaged, or cut off.
    Damaged,
    /// More than is wanted.
    TooLong,
}

/// The content of a gzip file, at most `most` bytes. What follows its first member is left.
///
/// # Errors
/// When there is none, or it is longer.
pub fn gunzip(bytes: &[u8], most: usize) -> Result<Vec<u8>, Error> {
    let mut rest = head(bytes).ok_or(Error::Damaged)?;
    let mut inflater = Box::<DecompressorOxide>::default();
    let (mut out, mut length) = (vec![0; most.min(ROOM)], 0);
    loop {
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, read, written) = decompress(&mut inflater, rest, &mut out, length, flags);
        (rest, length) = (&rest[read..], length + written);
        match status {
            TINFLStatus::Done => break,
            TINFLStatus::HasMoreOutput if out.len() == most => return Err(Error::TooLong),
            TINFLStatus::HasMoreOutput => out.resize(most.min(out.len() * 2), 0),
            _ => return Err(Error::Damaged),
        }
    }
    out.truncate(length);
    let trailer = rest.first_chunk::<8>().ok_or(Error::Damaged)?;
    let sums = [crc32fast::hash(&out), u32::try_from(length).map_err(|_| Error::TooLong)?];
    let right = trailer.chunks(4).zip(sums).all(|(said, sum)| said == sum.to_le_bytes());
    right.then_some(out).ok_or(Error::Damaged)
}

/// What follows the head of the member.
fn head(bytes: &[u8]) -> Option<&[u8]> {
    let (&[0x1f, 0x8b, 8, flags, _, _, _, _, _, _], mut rest) = bytes.split_first_chunk()? else {
        return None;
    };
    if flags & 4 != 0 {
        let (length, extra) = rest.split_first_chunk()?;
        rest = extra.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    // A name and a comment, each up to its zero.
    for flag in [8, 16] {
        if flags & flag != 0 {
            let zero = rest.iter().position(|&byte| byte == 0)?;
            rest = &rest[zero + 1..];
        }
    }
    rest.get(usize::from(flags & 2)..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Written by zlib. NAMED has all that a head may have: extra bytes, a name, a comment, a sum.
    const STORED: &[u8] =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00\x01\x10\x00\xef\xff\x64\x38\x3a\x69\x6e\x74\x65\
        \x72\x76\x61\x6c\x69\x36\x30\x65\x65\x19\x5e\xf2\xec\x10\x00\x00\x00";
    const FIXED: &[u8] =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00\x4b\xb1\xb0\xca\xcc\x2b\x49\x2d\x2a\x4b\xcc\xc9\
        \x34\x33\x48\x35\xb5\x2a\x48\x4d\x2d\x2a\x36\xb0\x4a\x4d\x05\x00\x7e\xe2\xbb\x49\x1a\x00\
        \x00\x00";
    const NAMED: &[u8] =
        b"\x1f\x8b\x08\x1e\x00\x00\x00\x00\x00\x00\x03\x00\x61\x62\x63\x6e\x00\x63\x00\x99\x99\x4b\
        \xb1\xb0\xca\xcc\x2b\x49\x2d\x2a\x4b\xcc\xc9\x34\x33\x48\x35\xb5\x2a\x48\x4d\x2d\x2a\x36\
        \xb0\x4a\x4d\x05\x00\x7e\xe2\xbb\x49\x1a\x00\x00\x00";
    const DYNAMIC: &[u8] =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00\xed\x93\x8b\x91\x03\x31\x08\x43\x5b\x51\x09\x06\
        \xfc\xed\xbf\xb1\x7b\x62\xaf\x8c\xcc\x24\xd9\x8d\x2d\x40\x08\x31\x14\x9a\x7a\x8a\xad\x5c\
        \xaa\xad\xf9\xb4\xa7\x6e\x28\xc6\x50\x24\xcf\x39\xb9\x05\xf1\x80\x80\x01\x75\x75\x4a\x11\
        \xdc\x4f\x9f\x0f\x65\x95\xf2\xe8\x80\x4c\x6e\x78\x26\x7f\x2b\x74\x2f\x98\xa3\x1c\x97\xaf\
        \xee\x52\xac\xe4\x8e\x9a\x24\x0e\xe0\x97\x04\x4b\x8f\xb7\xb3\x74\xf4\x92\x17\x8e\x0e\xe5\
        \x1d\x02\x90\x98\x49\x0c\x01\x8f\x18\x90\x93\x9c\x8b\x53\x0a\x25\x85\xca\xd8\x50\xc6\xd5\
        \x85\xe1\x80\xc6\xe3\x41\x0f\xf0\x1a\x4f\x54\xc8\x24\xed\xe0\x72\x12\x53\xc6\xd2\xd1\xd4\
        \x72\x05\x12\x8d\x12\xe7\x6b\x6b\x13\xe1\xd2\x56\x82\xf3\x47\xa1\xa0\x34\x8f\xc7\x29\x37\
        \x45\x2e\xb3\x9e\x43\x9b\x60\x77\x6f\xa5\xe8\x60\x91\x95\xd3\xb8\x16\x2d\xb5\xb7\x1c\x19\
        \x2e\x64\x40\x69\xa3\x02\x22\x15\x4c\xdc\xe4\x22\x8b\x19\xc3\xc2\x82\x10\xbc\x80\x5b\x4d\
        \x0a\x5b\xdd\x65\xaa\xbc\xfb\x0c\x92\xaf\x74\x4b\x68\xc4\x24\x36\xbf\xd5\x9f\xfe\xcb\x21\
        \x57\x00\x8c\x6b\xbc\xe3\x1c\xef\x3c\xef\xcb\xdb\xf9\xd3\xc5\xee\x57\xb9\x19\xc0\xc4\x8c\
        \xb2\xe9\x99\xa5\xd9\x36\xeb\xff\x16\xb2\x3b\x72\x67\xeb\xeb\xd3\xfd\xba\xef\x7d\x5b\x05\
        \xab\x81\x28\xd6\xc6\x1a\xe5\xa7\x98\x95\x33\x87\x5c\xad\x27\xb2\x5a\xdd\x6a\xa5\xad\x38\
        \xc2\x5b\x7f\x8f\xc1\xd3\xf0\x54\x3c\x1d\xaa\x79\x58\x9e\xd9\xe8\x09\xf6\x20\x4f\x8f\xd5\
        \x8c\x3d\x65\x4f\x9b\xa9\x9b\x2a\x1e\xb0\x15\x70\xc4\x8b\xf6\x87\x7d\xe2\x36\x47\xb4\x7b\
        \xcc\x89\x0c\xf4\x78\xda\x5d\x36\xd9\xfa\x1c\x07\x6b\xf0\xf6\xa1\xfd\x78\x1d\xd3\x1e\xb5\
        \x57\xb1\xac\x49\xe5\x69\x1f\xdb\xcf\xb6\xf3\x69\x8f\xdb\xeb\xed\x79\xbc\x8f\xb8\x2c\xc2\
        \xea\x9d\xf0\x6e\xf4\x8e\x78\x57\xf2\xdb\x1d\x84\xa2\x47\xc0\xd5\xab\xc5\x82\x3d\x36\x2d\
        \x34\x7e\x1b\xf7\xdb\xb8\x6f\xe3\xfe\x00\xc5\x05\xab\x94\x7d\x05\x00\x00";
    const ZEROS: &[u8] =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00\xed\xc1\x31\x01\x00\x00\x00\xc2\xa0\xf5\x4f\x6d\
        \x0d\x0f\xa0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x57\x03\x7d\x95\x11\xd4\xa0\x86\x01\x00";

    /// `i*i % 251` as text, 400 numbers.
    fn squares() -> Vec<u8> {
        (0..400).flat_map(|i| format!("{} ", i * i % 251).into_bytes()).collect()
    }

    #[test]
    fn blocks_of_every_kind() {
        assert_eq!(gunzip(STORED, 100), Ok(b"d8:intervali60ee".to_vec()));
        assert_eq!(gunzip(FIXED, 100), Ok(b"d8:intervali60e5:peers0:ee".to_vec()));
        assert_eq!(gunzip(NAMED, 100), Ok(b"d8:intervali60e5:peers0:ee".to_vec()));
        assert_eq!(gunzip(DYNAMIC, 10_000), Ok(squares()));
        assert_eq!(gunzip(ZEROS, 100_000), Ok(vec![0; 100_000]));
        let more = [FIXED, b"more"].concat();
        assert_eq!(gunzip(&more, 26), Ok(b"d8:intervali60e5:peers0:ee".to_vec()));
    }

    #[test]
    fn what_is_cut_or_changed_or_too_long_is_refused() {
        for whole in [STORED, FIXED, NAMED, DYNAMIC, ZEROS] {
            let right = gunzip(whole, 100_000).unwrap();
            assert_eq!(gunzip(whole, right.len() - 1), Err(Error::TooLong));
            for cut in 0..whole.len() {
                assert_eq!(gunzip(&whole[..cut], 100_000), Err(Error::Damaged), "{cut}");
            }
            for at in (0..3).chain(whole.len() - 8..whole.len()) {
                let mut bytes = whole.to_vec();
                bytes[at] ^= 1;
                assert_eq!(gunzip(&bytes, 100_000), Err(Error::Damaged), "{at}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(flags in 0..32_u8, tail in prop::collection::vec(any::<u8>(), 0..300), at in 10..200_usize) {
            let head = [0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 0];
            let out = gunzip(&[&head[..], &tail].concat(), 1000);
            prop_assert!(out.is_err() || out.is_ok_and(|out| out.len() <= 1000));
            let mut bytes = DYNAMIC.to_vec();
            bytes[at] = bytes[at].wrapping_add(flags);
            let out = gunzip(&bytes, 10_000);
            prop_assert!(out.is_err() || out == Ok(squares()));
        }
    }
}
