//! Floor 1: bytes to values and back. Says what the octets say and refuses what no rule allows;
//! knows no socket, no file and no clock.

pub mod address;
pub mod announce;
pub mod bencode;
pub mod catalogue;
pub mod choice;
pub mod compact;
pub mod create;
pub mod digest;
pub mod extended;
pub mod gzip;
pub mod handshake;
pub mod http;
pub mod krpc;
pub mod lsd;
pub mod magnet;
pub mod message;
pub mod metadata;
pub mod metainfo;
pub mod pex;
pub mod resume;
pub mod text;
pub mod udp_tracker;
