//! The extension protocol's handshake (BEP 10), with the keys of BEP 21.

use super::bencode::{self, Limits};
use bendy::encoding::Encoder;
use core::net::IpAddr;

/// What we call ourselves to other clients (`v`).
pub const CLIENT: &str = concat!("reactor-peer ", env!("CARGO_PKG_VERSION"));
/// Longest client name that is kept.
const CLIENT_BYTES_MAX: usize = 64;
/// An honest handshake is flat and short.
const LIMITS: Limits = Limits { depth: 10, tokens: 2_000 };

/// What the extension handshake says, as far as we use it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// `p`: the port on which the sender listens.
    pub listen_port: Option<u16>,
    /// `reqq`: requests that the sender queues.
    pub reqq: Option<u32>,
    /// `upload_only` (BEP 21): the sender wants nothing.
    pub upload_only: bool,
    /// `v`: the sender's name and version; remote text.
    pub client: Option<String>,
    /// `yourip`: the address under which the sender sees the receiver.
    pub your_ip: Option<IpAddr>,
}

/// The payload is no dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotADictionary;

impl Handshake {
    /// Reads a payload. A key of the wrong type counts as absent.
    ///
    /// # Errors
    /// When the payload is not one bencoded dictionary.
    pub fn parse(payload: &[u8]) -> Result<Self, NotADictionary> {
        let (value, _) = bencode::parse_within(payload, LIMITS).map_err(|_| NotADictionary)?;
        let dict = value.as_dict().ok_or(NotADictionary)?;
        let int = |key: &str| dict.get(key).and_then(|v| v.as_int());
        let bytes = |key: &str| dict.get(key).and_then(|v| v.as_bytes());
        let port = int("p").and_then(|p| u16::try_from(p).ok()).filter(|&p| p != 0);
        let client = bytes("v").map(|v| {
            let v = &v[..v.len().min(CLIENT_BYTES_MAX)];
            String::from_utf8_lossy(v).into_owned()
        });
        let your_ip = bytes("yourip").and_then(|ip| {
            let v4 = <[u8; 4]>::try_from(ip).map(IpAddr::from).ok();
            v4.or_else(|| <[u8; 16]>::try_from(ip).map(IpAddr::from).ok())
        });
        Ok(Self {
            listen_port: port,
            reqq: int("reqq").and_then(|r| u32::try_from(r).ok()),
            upload_only: int("upload_only").is_some_and(|u| u != 0),
            client,
            your_ip,
        })
    }

    /// The payload: keys in order, absent ones left out.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        let written = encoder.emit_dict(|mut dict| {
            dict.emit_pair_with(b"m", |m| m.emit_dict(|_| Ok(())))?;
            if let Some(port) = self.listen_port {
                dict.emit_pair(b"p", port)?;
            }
            if let Some(reqq) = self.reqq {
                dict.emit_pair(b"reqq", reqq)?;
            }
            if self.upload_only {
                dict.emit_pair(b"upload_only", 1)?;
            }
            if let Some(client) = &self.client {
                dict.emit_pair(b"v", client.as_str())?;
            }
            if let Some(ip) = self.your_ip {
                dict.emit_pair_with(b"yourip", |e| match ip {
                    IpAddr::V4(ip) => e.emit_bytes(&ip.octets()),
                    IpAddr::V6(ip) => e.emit_bytes(&ip.octets()),
                })?;
            }
            Ok(())
        });
        written.and_then(|()| encoder.get_output()).expect("keys are in order and nothing is deep")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_bytes_both_ways() {
        let hello = Handshake {
            listen_port: Some(5000),
            reqq: Some(512),
            upload_only: true,
            client: Some("x".into()),
            your_ip: Some([10, 0, 0, 1].into()),
        };
        let bytes = b"d1:mde1:pi5000e4:reqqi512e11:upload_onlyi1e1:v1:x6:yourip4:\x0a\0\0\x01e";
        assert_eq!(hello.to_bytes(), bytes);
        assert_eq!(Handshake::parse(bytes), Ok(hello));
    }

    #[test]
    fn wrong_types_count_as_absent_and_order_does_not_matter() {
        let odd = Handshake::parse(b"d1:vi5e1:p2:xx4:reqqi-1ee").unwrap();
        assert_eq!(odd, Handshake::default());
        assert_eq!(Handshake::parse(b"d1:pi70000ee").unwrap().listen_port, None);
        assert_eq!(Handshake::parse(b"le"), Err(NotADictionary));
        assert_eq!(Handshake::parse(b"d1:"), Err(NotADictionary));
    }
}
