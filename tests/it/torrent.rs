//! Torrents made by hand, so that what the program makes and reads is compared with another hand.

use sha1::{Digest, Sha1};
use std::fs;
use std::path::Path;

/// Bytes of a piece, where a test has no wish of its own.
pub const PIECE: usize = 32 * 1024;
/// Bytes of a block.
pub const BLOCK: usize = 16 * 1024;

/// A torrent, and the content it describes.
pub struct Torrent {
    pub name: String,
    /// The .torrent file.
    pub bytes: Vec<u8>,
    pub info_hash: [u8; 20],
    /// All files laid end to end.
    pub content: Vec<u8>,
    /// Path below the name and length; no path for a single file.
    files: Vec<(String, usize)>,
    pub piece_length: usize,
}

impl Torrent {
    /// A single file of `length` bytes that depend on the name.
    pub fn single(name: &str, length: usize) -> Self {
        Self::of(name, PIECE, &[("", length)], None)
    }

    /// The same with an announce.
    pub fn announced(name: &str, length: usize, announce: &str) -> Self {
        Self::of(name, PIECE, &[("", length)], Some(announce))
    }

    pub fn of(
        name: &str,
        piece_length: usize,
        files: &[(&str, usize)],
        announce: Option<&str>,
    ) -> Self {
        let length = files.iter().map(|(_, length)| length).sum();
        let mut content = noise(name, length);
        let mut start = 0;
        for (path, length) in files {
            if is_pad(path) {
                content[start..start + length].fill(0);
            }
            start += length;
        }
        let mut info = b"d".to_vec();
        match files {
            [("", length)] => info.extend(format!("6:lengthi{length}e").bytes()),
            _ => {
                info.extend(b"5:filesl");
                for (path, length) in files {
                    let parts = path.split('/').map(|part| format!("{}:{part}", part.len()));
                    let parts: String = parts.collect();
                    let attr = if is_pad(path) { "4:attr1:p" } else { "" };
                    info.extend(format!("d{attr}6:lengthi{length}e4:pathl{parts}ee").bytes());
                }
                info.push(b'e');
            }
        }
        let hashes: Vec<u8> = content.chunks(piece_length).flat_map(Sha1::digest).collect();
        let (name_length, hash_bytes) = (name.len(), hashes.len());
        info.extend(
            format!(
                "4:name{name_length}:{name}12:piece lengthi{piece_length}e6:pieces{hash_bytes}:"
            )
            .bytes(),
        );
        info.extend(hashes);
        info.push(b'e');
        let mut bytes = b"d".to_vec();
        if let Some(announce) = announce {
            bytes.extend(format!("8:announce{}:{announce}", announce.len()).bytes());
        }
        bytes.extend(b"4:info");
        bytes.extend(&info);
        bytes.push(b'e');
        Self {
            name: name.to_owned(),
            bytes,
            info_hash: Sha1::digest(&info).into(),
            content,
            files: files.iter().map(|(path, length)| ((*path).to_owned(), *length)).collect(),
            piece_length,
        }
    }

    /// The info-hash in hexadecimal.
    pub fn hex(&self) -> String {
        self.info_hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub fn piece_count(&self) -> usize {
        self.content.len().div_ceil(self.piece_length)
    }

    /// The bytes of this block.
    pub fn block(&self, index: u32, begin: u32, length: u32) -> &[u8] {
        let from = index as usize * self.piece_length + begin as usize;
        &self.content[from..from + length as usize]
    }

    /// A bitfield of everything.
    pub fn full_bitfield(&self) -> Vec<u8> {
        let mut bits = vec![0; self.piece_count().div_ceil(8)];
        (0..self.piece_count()).for_each(|piece| bits[piece / 8] |= 0x80 >> (piece % 8));
        bits
    }

    /// Writes all files below `folder`.
    pub fn write_content(&self, folder: &Path) {
        self.each_file(folder, |path, bytes| {
            fs::create_dir_all(path.parent().expect("it is below a folder")).expect("a folder");
            fs::write(path, bytes).expect("content is written");
        });
    }

    /// Compares all files below `folder`, byte by byte.
    pub fn expect_content(&self, folder: &Path) {
        self.each_file(folder, |path, bytes| {
            let found = fs::read(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            assert!(found == bytes, "{path:?} has other bytes");
        });
    }

    fn each_file(&self, folder: &Path, mut f: impl FnMut(&Path, &[u8])) {
        let mut rest = &self.content[..];
        for (path, length) in &self.files {
            let (bytes, after) = rest.split_at(*length);
            rest = after;
            if is_pad(path) {
                continue;
            }
            let path = if path.is_empty() {
                folder.join(&self.name)
            } else {
                folder.join(&self.name).join(path)
            };
            f(&path, bytes);
        }
    }
}

/// Padding (BEP 47) has a path like this.
fn is_pad(path: &str) -> bool {
    path.starts_with(".pad/")
}

/// Bytes without a pattern, the same for the same name.
fn noise(name: &str, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 20);
    let mut turn = 0_u32;
    while bytes.len() < length {
        bytes.extend(Sha1::digest(format!("{name}/{turn}")));
        turn += 1;
    }
    bytes.truncate(length);
    bytes
}
